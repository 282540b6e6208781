"""memline leaks --growth: programs that leak, whose leaking line has to come first, and programs that do not."""
import json

import pytest

from support import CALLS, memline, record

# A program does one round after the other, a few milliseconds apart, for as long as a verdict needs. Its rounds are of
# a fixed number, so that the same is allocated each time.
ROUNDS = """
def rounds():
    for n in range(120):
        yield n
        for i in range(40):
            scratch = [bytearray(100) for k in range(5)]
        time.sleep(0.003)
"""

LEAKY = {
    "list of a module": """
import sys, time
EVENTS = []
for n in rounds():
    for i in range(4):
        EVENTS.append(b"%d" % n + bytes(3000))  # leak
""",
    "lru_cache without a bound": """
import functools, sys, time
@functools.lru_cache(maxsize=None)
def answer(n):
    return bytes(20000)  # leak
for n in rounds():
    answer(n), answer(n // 2)
""",
    "cycle that C keeps": """
import ctypes, sys, time
keep = ctypes.pythonapi.Py_IncRef
keep.argtypes = [ctypes.py_object]
class Session:
    def __init__(self):
        self.me = self
        self.buffer = bytearray(15000)  # leak
    def __del__(self):
        self.me = None
    def called(self):
        return self.buffer
for n in rounds():
    keep(Session().called)
    Session()
""",
    "callbacks of an event loop": """
import asyncio, sys, time
async def main():
    loop = asyncio.get_running_loop()
    for n in rounds():
        payload = bytes(12000)  # leak
        loop.call_later(3600, print, payload)
        await asyncio.sleep(0)
asyncio.run(main())
""",
    "malloc without free": """
import ctypes, sys, time
library = ctypes.CDLL(sys.argv[1])
make = library.calls_malloc
drop = library.calls_free
make.restype = drop.restype = None
make.argtypes = [ctypes.c_int, ctypes.c_size_t]
def parse():
    make(0, 9000)  # leak
    make(1, 50000)
    drop(1)
for n in rounds():
    parse()
""",
}

INNOCENT = {
    "cache with a bound": """
import functools, sys, time
@functools.lru_cache(maxsize=30)
def answer(n):
    return bytes(20000)  # full
for n in rounds():
    answer(n)
""",
    "free lists": """
import sys, time
for n in rounds():
    many = [float(i) for i in range(20 * (n % 5))], [(i, n) for i in range(20 * (n % 3))], [{} for i in range(9)]
    del many
""",
    "fragmented arenas": """
import sys, time
pins = []
for n in rounds():
    blocks = [bytes(200 + n % 7 * 16) for i in range(2000)]
    pins = (pins + blocks[::500])[-40:]
    del blocks
""",
    "interned texts": """
import sys, time
for n in rounds():
    for i in range(50):
        sys.intern("name-%d" % (n * 50 + i if n < 30 else i))
""",
    "imports while it runs": """
import importlib, os, sys, time
folder = os.path.dirname(os.path.abspath(__file__))
for n in rounds():
    if n % 4 == 0:
        with open(os.path.join(folder, "part%d.py" % n), "w") as file:
            file.write("TABLE = [str(i) * 10 for i in range(500)]\\n")  # opened
        importlib.invalidate_caches()
        importlib.import_module("part%d" % n)  # named
""",
}


def program(text):
    """The text with rounds() behind its imports, its first line."""
    first, _, rest = text.lstrip("\n").partition("\n")
    return first + "\n" + ROUNDS + rest


def growth(run, *options):
    (process,) = json.loads(memline("leaks", "--growth", "--json", *options, run.folder))["processes"]
    return process["growth"]


def verdicts(run, verdict="grows"):
    found = growth(run)
    assert len(found["seconds"]) >= 2 * found["points_needed"]
    return [line for line in found["lines"] if line["verdict"] == verdict]


@pytest.mark.few
@pytest.mark.parametrize("name", LEAKY)
def test_names_the_leaking_line_first(python, name):
    run = record(python, program(LEAKY[name]), CALLS)
    first = verdicts(run)[0]
    process = run.process()
    assert (first["file"], first["line"]) == (run.file, process.tags["leak"])
    assert max(first["bytes"]) >= 120 * 9000
    assert first["bytes_per_minute_low"] <= first["bytes_per_minute"] <= first["bytes_per_minute_high"]
    # What it has come to, in the time that it took.
    seconds = growth(run)["seconds"]
    pace = max(first["bytes"]) / (seconds[-1] - seconds[0]) * 60
    assert 0.6 * pace < first["bytes_per_minute"] < 1.7 * pace
    assert "keep growing" in memline("leaks", "--growth", run.folder)


@pytest.mark.few
@pytest.mark.parametrize("name", INNOCENT)
def test_accuses_no_innocent_line(python, name):
    run = record(python, program(INNOCENT[name]), CALLS)
    assert verdicts(run) == []
    assert "no line keeps growing" in memline("leaks", "--growth", run.folder)


@pytest.mark.few
def test_a_full_cache_has_stopped(python):
    run = record(python, program(INNOCENT["cache with a bound"]))
    stopped = verdicts(run, "stopped")
    (full,) = [line for line in stopped if line["line"] == run.process().tags["full"] and line["file"] == run.file]
    assert full["live_bytes"] == full["bytes"][-1] >= 30 * 20000
    assert full["level_seconds"] < growth(run)["seconds"][-1]
    assert "have grown and stopped" in memline("leaks", "--growth", run.folder)


@pytest.mark.few
def test_what_free_lists_may_hold_is_small(python):
    """It is told, with its numbers, and accused of nothing: each import here leaves its name in sys.modules."""
    run = record(python, program(INNOCENT["imports while it runs"]))
    (named,) = [line for line in verdicts(run, "small")
                if line["line"] == run.process().tags["named"] and line["file"] == run.file]
    assert 0 < max(named["bytes"]) < 16384
    assert "free lists may hold" in memline("leaks", "--growth", run.folder)


@pytest.mark.few
def test_too_short_for_a_verdict(python):
    run = record(python, "kept = [bytes(1000) for i in range(100)]\n")
    found = growth(run, "--to", "0.004")
    assert len(found["seconds"]) < found["points_needed"] and found["lines"] == []
    assert "too few for a verdict" in memline("leaks", "--growth", "--to", "0.004", run.folder)


@pytest.mark.few
def test_by_invocation(python):
    """A leak of so much in each invocation, whose number is what counts and not their time."""
    run = record(python, """
import concurrent.futures, sys, time
KEPT, LAST = [], {}

def handle(n):
    LAST[n % 7] = bytes(30000)
    KEPT.append(bytes(5000))  # leak
    if n == 100:
        time.sleep(0.3)
    return [str(i) for i in range(100)]

with concurrent.futures.ThreadPoolExecutor(1) as pool:
    for n in range(200):
        pool.submit(handle, n).result()
""")
    for options in (["--growth=invocation"], ["--growth=invocation", "--invocations", "handle"]):
        (process,) = json.loads(memline("leaks", "--json", *options, run.folder))["processes"]
        found = process["growth"]
        assert found["invocations"] == sorted(found["invocations"]) and found["invocations"][-1] > 150
        (grows,) = [line for line in found["lines"] if line["verdict"] == "grows" and line["file"] == run.file and
                    line["line"] == run.process().tags["leak"]]
        assert found["lines"][0] == grows
        assert abs(grows["bytes_per_invocation"] - 5033) < 60  # and the list's growth
        assert max(grows["bytes"]) > 150 * 5033
    assert "per invoc." in memline("leaks", "--growth=invocation", run.folder)
    memline("leaks", "--invocations", "handle", run.folder, status=2)
    memline("leaks", "--growth", "--by", "stack", run.folder, status=2)
