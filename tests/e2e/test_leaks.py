"""memline leaks: what is live at the end, told apart by line, by stack, and from what was there before."""
import json

import pytest

from support import BYTES, memline, record, record_calls

PROGRAM = """
import sys, time
KEPT = []

def make(size):
    return bytes(size)  # made

def first():
    for i in range(300):
        KEPT.append(make(1000))  # first
    time.sleep(0.05)

def second():
    for i in range(200):
        KEPT.append(make(1000))  # second

first()
second()
bytes(5_000_000)  # temporary
import colorsys
"""

MADE = 1000 + BYTES


def read(run, *options):
    (process,) = json.loads(memline("leaks", "--json", *options, run.folder))["processes"]
    return process


def check_sums(process):
    sites, totals, suppressed = process["sites"], process["totals"], process["suppressed"]
    for name in ("live_bytes", "live_blocks"):
        assert sum(each[name] for each in sites + suppressed) == totals[name]
    allocators = process["allocators"]
    assert sum(allocators[name] for name in ("small_bytes", "malloc_bytes", "mapped_bytes")) == totals["live_bytes"]
    sizes = [site["live_bytes"] for site in sites]
    assert sizes == sorted(sizes, reverse=True)


def site(process, run, tag):
    line = run.report()[0].tags[tag]
    (found,) = [each for each in process["sites"] if each["file"] == run.file and each["line"] == line]
    return found


@pytest.mark.few
def test_lines_and_stacks(python):
    run = record(python, PROGRAM)
    process, tags = read(run), run.process().tags
    check_sums(process)
    made = site(process, run, "made")
    assert (made["live_bytes"], made["live_blocks"], made["stacks"]) == (500 * MADE, 500, 2)
    assert made["function"] == "make" and made["in_scope"] and not made["startup"]
    assert [call["line"] for call in made["stack"][:2]] == [tags["made"], tags["first"]]
    assert made["last_seconds"] - made["first_seconds"] >= 0.04
    own = [each for each in process["sites"] if not each["startup"]]
    assert own[0] == made
    # Nothing of the interpreter's start or of a module that is imported later counts as the program's.
    assert sum(each["live_bytes"] for each in own) < made["live_bytes"] + 20000
    stacks = read(run, "--by", "stack")
    check_sums(stacks)
    assert {each["startup"] for each in stacks["sites"] for call in each["stack"]
            if call["file"] and call["file"].endswith("colorsys.py")} == {True}
    blocks = sorted(each["live_blocks"] for each in stacks["sites"] if each["line"] == tags["made"] and
                    each["file"] == run.file)
    assert blocks == [200, 300]


@pytest.mark.few
@pytest.mark.parametrize("native", ["caller", "full"])
def test_native_threads(python, native):
    """Blocks of threads that Python does not know: who allocated them, with the whole stack if there is one."""
    run, _ = record_calls(python, 'keep = bind("keep", None, number, size)\n', """
        for n in range(3):
            keep(10, 5000)
    """, MEMLINE_NATIVE=native)
    for by in "line", "stack":
        process = read(run, "--by", by, *run.sysroot)
        # What the clock has at the same moment as the start-up is told apart.
        found = [each for each in process["sites"] if each["function"] == "keeping_thread"]
        assert sum(each["live_blocks"] for each in found) == 30
        assert sum(each["live_bytes"] for each in found) == 30 * 5000
        for each in found:
            assert (each["module"], each["in_scope"], each["stacks"]) == ("calls", False, 1)
            functions = [frame["function"] for frame in each["stack"]]
            assert functions[0] == "keeping_thread"
            assert len(functions) == 1 or functions[-1].startswith(("clone", "__clone", "thread_start", "libc+0x"))
            assert (len(functions) > 1) == (native == "full")


@pytest.mark.few
def test_from_tells_apart_what_was_there_before(python):
    run = record(python, PROGRAM)
    middle = site(read(run), run, "made")["last_seconds"] - 0.02  # somewhere in the pause
    process = read(run, "--from", f"{middle:.3f}")
    line = run.process().tags["made"]
    parts = {each["startup"]: each["live_blocks"] for each in process["sites"] if each["line"] == line and
             each["file"] == run.file}
    # The clock is looked at every 64 events.
    assert 300 <= parts[True] <= 364 and parts[True] + parts[False] == 500
    check_sums(process)


@pytest.mark.few
def test_suppressions(python, tmp_path):
    run = record(python, PROGRAM)
    file = tmp_path / "mine.supp"
    file.write_text("# mine\nleak:^second$\nleak:frozen importlib\nleak:^nobody$\n")
    process = read(run, "--suppressions", file)
    check_sums(process)
    second, imports, nobody = process["suppressed"]
    assert second["pattern"] == "^second$" and second["live_blocks"] in (200, 201)  # and perhaps the list
    assert imports["live_blocks"] > 0 and nobody["live_blocks"] == 0
    assert site(process, run, "made")["live_blocks"] == 300
    text = memline("leaks", "--suppressions", file, "--suppressions", "cpython.supp", run.folder)
    assert "suppressed by leak:^second$" in text and "^nobody$" not in text and "leak:/encodings/" in text
    file.write_text("race:x\n")
    memline("leaks", "--suppressions", file, run.folder, status=2)


@pytest.mark.few
def test_child_inherits(python):
    """What a child has from its parent is start-up."""
    run = record(python, """
import os
held = [bytes(1000) for i in range(100)]  # parent
pid = os.fork()
if not pid:
    mine = [bytes(1000) for i in range(30)]  # child
    os._exit(0)
os.waitpid(pid, 0)
""")
    processes = json.loads(memline("leaks", "--json", run.folder))["processes"]
    (child,) = [each for each in processes if each["ppid"] in {each["pid"] for each in processes}]
    check_sums(child)
    parent, mine = site(child, run, "parent"), site(child, run, "child")
    assert parent["startup"] and parent["live_blocks"] >= 100
    assert not mine["startup"] and mine["live_blocks"] >= 30


@pytest.mark.few
def test_text(python):
    run = record(python, PROGRAM)
    text = memline("leaks", run.folder).splitlines()
    rows = [line for line in text if line.endswith(f"make ({run.file}:{run.process().tags['made']})")]
    assert rows and rows[0].split()[:3] == ["504.4", "KiB", "500"]
    assert any("start-up" in line and "--startup" in line for line in text)
    assert any("arenas" in line for line in text)
    more = memline("leaks", "--startup", "--all", run.folder)
    assert "importlib._bootstrap" in more and len(more.splitlines()) > len(text)
    assert not any("make (" in line for line in memline("leaks", "--min-bytes", 10 ** 9, run.folder).splitlines())
