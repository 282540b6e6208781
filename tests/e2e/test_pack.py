"""memline pack: reports from a pack are those from its traces, also where nothing is left of what they need."""
import json
import os
import shutil

import pytest

from support import CALLS, LOAD, memline, record, start

# A forked child that inherits, native memory, and a library of the program's own.
PROGRAM = LOAD + """
import os
take = bind("memalign", None, number, size, size)
keep = []
def python(count):
    keep.extend(bytearray(1_000) for _ in range(count))  # python
def native(bytes):
    take(0, 64, bytes)  # native
python(100)
native(50_000)
if os.fork() == 0:
    python(10)
    del keep[:50]
    os._exit(0)
os.wait()
"""

COMMANDS = (
    ["report"], ["report", "--json"], ["report", "--wide", "--all"], ["report", "--merge", "--json"],
    ["report", "--from", "0.01", "--end", "last"], ["summary"], ["summary", "--json"], ["peak", "--by", "stack"],
    ["leaks", "--json", "--top", "50"], ["leaks", "--growth"], ["report", "--by", "invocation", "--json"],
    ["dump"], ["export", "--format", "csv"], ["export", "--format", "folded"],
    ["export", "--format", "speedscope", "--metric", "peak"],
)


def outputs(*traces):
    return {" ".join(command): memline(*command, *traces) for command in COMMANDS}


def record_program(python, tmp_path, **more):
    """Records it with a copy of the library, which can be removed."""
    library = str(tmp_path / "calls.so")
    shutil.copy(CALLS, library)
    return record(python, PROGRAM, library, **more), library


def same(one, other):
    for command, text in one.items():
        assert text == other[command], command


@pytest.mark.few
def test_reports_are_the_same_elsewhere(python, tmp_path):
    run, library = record_program(python, tmp_path)
    before = outputs(run.folder)
    name = os.path.basename(run.traces[0])
    assert "python(" in before["report"] and "calls_memalign" in before["report --json"]
    pack = tmp_path / "run.pack"
    memline("pack", "-o", pack, *run.sysroot, run.folder)
    assert os.path.getsize(pack) < sum(map(os.path.getsize, run.traces))
    os.unlink(library)
    os.unlink(run.program)
    shutil.rmtree(run.folder)
    same(before, outputs(pack))
    assert "source not found" not in memline("report", pack)
    memline("pack", "-o", tmp_path / "again.pack", pack)
    same(before, outputs(tmp_path / "again.pack"))
    # One process of it.
    assert memline("report", pack / name) == memline("report", tmp_path / "again.pack" / name)
    assert memline("report", pack / name) in before["report"]


@pytest.mark.few
def test_a_child_has_its_parent_with_it(python, tmp_path):
    run, _ = record_program(python, tmp_path)
    (child,) = [trace for trace in run.traces if "parent_file" in memline("dump", "--defs", trace)]
    before = outputs(child)
    memline("pack", "-o", tmp_path / "child.pack", *run.sysroot, child)
    for trace in run.traces:
        os.unlink(trace)
    same(before, outputs(tmp_path / "child.pack"))
    assert before["report"].count("pid ") == 1


@pytest.mark.few
@pytest.mark.parametrize("damaged", [False, True])
def test_a_child_whose_parents_trace_is_gone(python, tmp_path, damaged):
    """It is packed alone, and reads as it does alone."""
    run, _ = record_program(python, tmp_path)
    (child,) = [trace for trace in run.traces if "parent_file" in memline("dump", "--defs", trace)]
    (parent,) = set(run.traces) - {child}
    os.unlink(parent)
    if damaged:
        with open(parent, "wb") as file:
            file.write(b"no trace")
    before = outputs(child)
    memline("pack", "-o", tmp_path / "child.pack", *run.sysroot, child)
    same(before, outputs(tmp_path / "child.pack"))


@pytest.mark.few
def test_how_it_ended(python, tmp_path):
    program = "\nimport os, signal\nkeep = bytearray(1_000)\nos.kill(os.getpid(), signal.SIGKILL)\n"
    run = record(python, program, status=-9)
    memline("pack", "-o", tmp_path / "killed.pack", run.folder)
    assert ", killed" in memline("report", tmp_path / "killed.pack")


@pytest.mark.few
def test_a_source_that_changed_is_told(python, tmp_path):
    run = record(python, "\nkeep = bytearray(1_000)  # kept\n")
    with open(run.program, "a", encoding="utf-8") as file:
        file.write("# later\n")
    before = memline("report", run.folder)
    assert "source changed since the recording" in before
    memline("pack", "-o", tmp_path / "changed.pack", run.folder)
    os.unlink(run.program)
    assert memline("report", tmp_path / "changed.pack") == before


BUSY = """
import threading, time
keep = [None] * 4
def churn(place):
    while running:
        keep[place] = [bytearray(100) for _ in range(20)]
        time.sleep(0.002)
running = True
threads = [threading.Thread(target=churn, args=(place,)) for place in range(4)]
for thread in threads:
    thread.start()
print("ready", flush=True)
input()
running = False
"""


@pytest.mark.few
def test_of_a_process_that_runs(python, tmp_path):
    """What it has done so far, up to one moment, whatever it does meanwhile."""
    child, run = start(python, BUSY)
    assert child.stdout.readline() == b"ready\n"
    last = 0
    for number in range(3):
        pack = tmp_path / f"{number}.pack"
        memline("pack", "-o", pack, *run.sysroot, run.folder)
        assert ": sound, " in memline("check", pack)
        (process,) = json.loads(memline("report", "--json", pack))["processes"]
        assert process["end"] == "running" and process["totals"]["allocations"] > last
        last = process["totals"]["allocations"]
    memline("pack", "-o", tmp_path / "again.pack", pack)
    child.stdin.write(b"\n")
    run.finish(child)
    assert memline("report", "--json", pack) == memline("report", "--json", tmp_path / "again.pack")
    assert last < run.process().totals["allocations"]


@pytest.mark.few
def test_usage_and_damage(python, tmp_path):
    run = record(python, "\nkeep = bytearray(1_000)\n")
    memline("pack", run.folder, status=2)
    memline("pack", "-o", tmp_path / "no" / "folder", run.folder, status=1)
    memline("pack", "-o", "/dev/full", run.folder, status=1)
    pack = tmp_path / "run.pack"
    memline("pack", "-o", pack, run.folder)
    with open(pack, "r+b") as file:
        file.truncate(os.path.getsize(pack) - 1)
    memline("report", pack, status=1)
    memline("report", pack / "1-2-0.memline", status=1)
