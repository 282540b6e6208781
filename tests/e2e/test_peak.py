"""memline peak: who held the memory at the high-water mark, or at another moment."""
import json

import pytest

from support import BYTES, MIB, around_bytearray, memline, record

PROGRAM = """
def make(size):
    return bytes(size)  # made

def work():
    global kept
    kept = [make(100000) for i in range(10)]
    big = bytearray(20 << 20)  # big
    del big

work()  # called
late = bytearray(1 << 20)  # late
"""


def read(run, *options):
    (process,) = json.loads(memline("peak", "--json", *options, run.folder))["processes"]
    return process


def tags(run):
    return run.process().tags


def held(process, run, line):
    """What the line of the program holds: bytes, blocks and inclusive bytes."""
    found = [(site["live_bytes"], site["live_blocks"], site["inclusive_bytes"]) for site in process["sites"]
             if site["file"] == run.file and site["line"] == line]
    assert len(found) < 2
    return found[0] if found else (0, 0, 0)


def test_peak(python):
    run = record(python, PROGRAM)
    process, lines = read(run), tags(run)
    totals = process["totals"]
    assert sum(site["live_bytes"] for site in process["sites"]) == totals["peak_bytes"]
    big = (20 << 20) + around_bytearray(python)
    assert held(process, run, lines["big"])[::2] == (big, big)
    assert held(process, run, lines["made"]) == (10 * (100000 + BYTES), 10, 10 * (100000 + BYTES))
    assert held(process, run, lines["late"]) == (0, 0, 0)
    assert process["sites"][0]["stack"][0]["line"] == lines["big"]
    assert [call["line"] for call in process["sites"][0]["stack"]] == [lines["big"], lines["called"]]


@pytest.mark.few
def test_by_stack(python):
    run = record(python, PROGRAM)
    lines, stacks = read(run), read(run, "--by", "stack")
    assert sum(site["live_bytes"] for site in stacks["sites"]) == stacks["totals"]["peak_bytes"]
    assert all(site["stacks"] == 1 for site in stacks["sites"])
    # What is told apart by stack adds up to what is told by line.
    for line in lines["sites"]:
        key = [line[name] for name in ("file", "line", "function", "module")]
        parts = [site["live_bytes"] for site in stacks["sites"]
                 if [site[name] for name in ("file", "line", "function", "module")] == key]
        assert sum(parts) == line["live_bytes"] and len(parts) <= line["stacks"]
    texts = [json.dumps(site["stack"]) for site in stacks["sites"]]
    assert len(set(texts)) == len(texts)


@pytest.mark.few
def test_at(python):
    """The peak at the moment of the peak; what is live in the end at the end."""
    run = record(python, PROGRAM)
    process = read(run, "--at", "1000000")
    totals = process["totals"]
    assert sum(site["live_bytes"] for site in process["sites"]) == totals["live_bytes"]
    assert held(process, run, tags(run)["late"])[0] == MIB + around_bytearray(python)
    assert held(process, run, tags(run)["big"]) == (0, 0, 0)
    start = read(run, "--at", "0")
    assert start["totals"]["live_bytes"] == 0 and start["sites"] == []


@pytest.mark.few
def test_text(python):
    run = record(python, PROGRAM)
    text = memline("peak", run.folder)
    first = next(line for line in text.splitlines() if "program.py" in line and "MiB" in line)
    assert first.split()[:2] == ["20.0", "MiB"] and first.endswith(f"work ({run.file}:{tags(run)['big']})")
    assert "and " in text.splitlines()[-1] and "--all" in text.splitlines()[-1]
    few = memline("peak", "--min-bytes", 10 * MIB, run.folder)
    assert "work (" in few and "make (" not in few
