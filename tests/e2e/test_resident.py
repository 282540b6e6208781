"""memline summary: why memory is resident, and what was live and resident over time."""
import json

import pytest

from support import CALLS, MIB, memline, record


def read(run, *options):
    (process,) = json.loads(memline("summary", "--json", *options, run.folder))["processes"]
    resident = process["resident"]
    parts = sum(resident[name + "_bytes"] for name in ("object", "object_padding", "arena_free", "malloc",
                                                       "malloc_padding", "mapped", "rest"))
    assert parts - resident["not_resident_bytes"] == resident["rss_bytes"] == process["totals"]["rss_bytes"]
    live = sum(resident[name + "_bytes"] for name in ("object", "malloc", "mapped"))
    assert live == process["totals"]["live_bytes"]
    assert process["timeline"]["live_bytes"][-1] == live
    return process


WORK = """
def work():
    for i in range(30000):
        [str(j) for j in range(5)]
"""


@pytest.mark.few
def test_objects_and_arenas(python):
    """What is freed between objects that stay is free in the arenas."""
    run = record(python, WORK + """
many = [str(i) * 20 for i in range(100000)]
kept = many[::40]
del many
work()
""")
    resident = read(run)["resident"]
    assert resident["arena_free_bytes"] > 5 * MIB
    assert resident["object_bytes"] < resident["arena_free_bytes"]
    text = memline("summary", "--chart", run.folder)
    assert "free in CPython's arenas" in text and "over time" in text
    assert "over time" not in memline("summary", run.folder)


@pytest.mark.few
def test_untouched(python):
    """Zeros that nobody has looked at are live, and not resident."""
    run = record(python, """
import ctypes, sys
library = ctypes.CDLL(sys.argv[1])
""" + WORK + """
library.calls_calloc(0, 300, 1 << 20)
work()
""", CALLS)
    resident = read(run)["resident"]
    assert resident["malloc_bytes"] > 300 * MIB
    assert resident["not_resident_bytes"] > 200 * MIB
    assert "never touched" in memline("summary", run.folder)


@pytest.mark.few
def test_kept_after_free(python):
    """What was freed and is resident all the same is in the rest."""
    run = record(python, WORK + """
keep, drop = [], []
for i in range(3000):
    drop.append(bytearray(20000))
    keep.append(bytearray(2000))
del drop
work()
""")
    process = read(run)
    assert process["resident"]["rest_bytes"] > 40 * MIB
    live = process["timeline"]["live_bytes"]
    assert max(live) > 50 * MIB > live[-1]
    assert len(live) == len(process["timeline"]["seconds"]) == len(process["timeline"]["rss_bytes"])
