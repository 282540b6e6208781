"""How processes end, and what stands between them: nothing that was recorded is lost, whatever happens."""
import random
import signal
import struct
import time

import pytest
from bare import HAZARDS, LOAD, run_both
from support import BYTES, memline, record, start, write_program

COUNTING = LOAD + """
import os, threading
keep = None
assert hazards.hazards_count_open(sys.argv[2].encode(), 2) == 0
def first():
    hazards.hazards_count(0)  # first
def second():
    hazards.hazards_count(1)  # second
for work in first, second:
    threading.Thread(target=work, daemon=True).start()
os.write(1, b"ready")
while True:
    keep = [bytes(n) for n in range(500, 700)]
"""

KEPT = 512  # blocks that are alive at a time, as objects/hazards.c has it


def size_of_blocks(start, stop):
    """What objects/hazards.c asks for with its blocks number start to stop."""
    return sum(1000 + n % 9973 for n in range(start, stop))


def check_counts(row, extra, begun, made, freeing, freed):
    """At most one call had been begun and not counted as done. It may or may not have been recorded yet.

    extra is how many objects Python may have made for the call.
    """
    assert made <= row.allocations <= begun + extra <= made + 1 + extra
    frees = row.allocations - row.live_blocks
    assert freed <= frees <= freeing + extra <= freed + 1 + extra
    if not extra:
        assert row.allocated == size_of_blocks(0, row.allocations)
        assert row.live == row.increment == size_of_blocks(frees, row.allocations)


@pytest.mark.few
@pytest.mark.parametrize("seed", range(17))
def test_sigkill_at_any_moment(python, seed):
    """Three threads run when it comes, two of which count what they do in a file."""
    chance = random.Random(f"{python} {seed}")
    path = write_program("", name="counts")
    objects = seed % 2 == 0
    child, run = start(python, COUNTING, HAZARDS, path, env={"MEMLINE_OBJECTS": "on" if objects else "off"})
    if seed % 4:
        assert child.stdout.read(5) == b"ready"
        time.sleep(chance.uniform(0, 0.05))
    else:
        time.sleep(chance.uniform(0, 0.1))  # while Python starts
    child.kill()
    run.finish(child, -signal.SIGKILL)
    if not [trace for trace in run.traces if trace.endswith(".memline")]:  # a name that it gets when it can be read
        assert seed % 4 == 0
        return
    process = run.process()
    assert process.data["end"] == "killed"
    assert process.warnings == []
    assert process.totals["dropped_events"] == process.totals["unknown_frees"] == process.totals["missed_frees"] == 0
    with open(path, "rb") as file:
        counts = list(struct.iter_unpack("=4Q", file.read()))
    for tag, numbers in zip(("first", "second"), counts):
        check_counts(process.rows[tag], 30 if objects else 0, *numbers)


# How a program can end, its status, and what a report says of it.
ENDINGS = {
    "falls off the end": ("pass", 0, "exit"),
    "sys.exit": ("sys.exit(3)", 3, "exit"),
    "sys.exit, a text": ("sys.exit('no')", 1, "exit"),
    "os._exit": ("os._exit(4)", 4, "exit"),
    "exception": ("raise SystemError", 1, "exit"),
    "exception in a thread": ("threading.Thread(target=lambda: 1 / 0).start()", 0, "exit"),
    "exit in a thread": ("threading.Thread(target=lambda: os._exit(5)).start(); time.sleep(60)", 5, "exit"),
    "interrupt": ("os.kill(os.getpid(), signal.SIGINT); time.sleep(60)", -signal.SIGINT, "killed"),
    "abort": ("os.abort()", -signal.SIGABRT, "killed"),
    "SIGTERM": ("os.kill(os.getpid(), signal.SIGTERM)", -signal.SIGTERM, "killed"),
    "SIGKILL": ("os.kill(os.getpid(), signal.SIGKILL)", -signal.SIGKILL, "killed"),
    "SIGSEGV": ("os.kill(os.getpid(), signal.SIGSEGV)", -signal.SIGSEGV, "killed"),
    "SIGTERM, handled": ("signal.signal(signal.SIGTERM, lambda *_: sys.exit(6)); os.kill(os.getpid(), signal.SIGTERM)",
                         6, "exit"),
    "atexit": ("atexit.register(lambda: os._exit(7))", 7, "exit"),
    "C's exit": ("ctypes.CDLL(None).exit(8)", 8, "exit"),
    "C's quick_exit": ("ctypes.CDLL(None).quick_exit(9)", 9, "killed"),
    "system call": ("ctypes.CDLL(None).syscall(231 if os.uname().machine == 'x86_64' else 94, 10)", 10, "killed"),
}


@pytest.mark.parametrize("ending", ENDINGS)
def test_endings(python, ending):
    text, status, end = ENDINGS[ending]
    run = run_both(python, f"""
        import atexit, ctypes, os, signal, sys, threading, time
        signal.signal(signal.SIGINT, signal.default_int_handler)
        keep = None
        keep = bytes(100_000)  # made
        {text}
    """)
    assert run.status == status
    process = run.process()
    assert process.data["end"] == end
    made = process.rows["made"]
    assert made.allocated == made.live == made.increment == 100_000 + BYTES
    assert process.warnings == []


def test_a_running_process(python):
    child, run = start(python, """
        import sys
        keep = None
        keep = bytes(100_000)  # made
        print("ready", flush=True)
        sys.stdin.readline()
    """)
    assert child.stdout.readline() == b"ready\n"
    process = run.process()
    assert process.data["end"] == "running"
    assert process.rows["made"].live == 100_000 + BYTES
    child.stdin.close()
    run.finish(child, 0)
    assert run.process().data["end"] == "exit"


@pytest.mark.few
def test_reports_repeat_themselves(python):
    """The same trace gives the same report, byte for byte, however it is asked for."""
    run = record(python, """
        import json, threading
        def work(n):
            json.loads(json.dumps([bytes(n).hex()] * 100))
        threads = [threading.Thread(target=work, args=(n,)) for n in range(20)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    """)
    for command in ["report"], ["report", "--json"], ["report", "--wide", "--all"], ["summary"], ["dump"]:
        assert memline(*command, run.folder) == memline(*command, run.folder) == memline(*command, *run.traces)


def test_the_end_is_when_python_begins_to_finalize(python):
    run = record(python, """
        keep = [bytes(1000) for _ in range(1000)]  # made
    """)
    assert run.process().rows["made"].live >= 1000 * (1000 + BYTES)
    last = run.process("--end", "last")
    assert last.rows["made"].live == 0
    assert last.totals["allocations"] >= run.process().totals["allocations"]


def test_a_child_frees_what_its_parent_made(python):
    run = record(python, """
        import os
        keep = pid = None
        keep = bytes(5_000_000)  # parent_made
        pid = os.fork()
        if not pid:
            keep = None  # child_freed
            os._exit(0)
        os.waitpid(pid, 0)
    """)
    parent, child = run.report()
    assert parent.rows["parent_made"].live == 5_000_000 + BYTES
    assert child.rows["parent_made"].live == 0
    assert child.totals["live_bytes"] >= 0


WRAPPERS = {
    "env": ["env", "SOME=thing"],
    "timeout": ["timeout", "60"],
    "sh": ["sh", "-c", 'true; "$@"; exit $?', "sh"],
    "nice": ["nice"],
    "setsid": ["setsid", "-w"],
    "node": ["node", "-e", "require('child_process').spawnSync(process.argv[1], process.argv.slice(2),"
                           " {stdio: 'inherit'})"],
}


@pytest.mark.few
@pytest.mark.parametrize("wrapper", WRAPPERS)
def test_wrappers_leave_no_file(python, wrapper):
    if not python.which(WRAPPERS[wrapper][0]):
        pytest.skip(f"{wrapper} is not installed")
    run = record(python, """
        keep = None
        keep = bytes(100_000)  # made
    """, wrapper=WRAPPERS[wrapper])
    assert len(run.traces) == 1
    assert run.process().rows["made"].live == 100_000 + BYTES
    assert run.stderr == ""


def check_sum(rows, sizes):
    """The blocks of these sizes were made on a line, in whichever process; each may have had to fill a free list."""
    small = sum(row.allocated for row in rows) - sum(sizes)
    assert 0 <= small <= 200 * len(rows)
    assert len(sizes) <= sum(row.allocations for row in rows) <= len(sizes) + 3 * len(rows)


@pytest.mark.few
@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_multiprocessing(python, method):
    run = record(python, f"""
        import multiprocessing
        SIZES = [100_000 + n for n in range(30)]
        def work(n):
            keep = bytes(SIZES[n])  # in_child
            return len(keep)
        if __name__ == "__main__":
            multiprocessing.set_start_method("{method}")
            with multiprocessing.Pool(3) as pool:
                assert pool.map(work, range(30)) == list(range(100_000, 100_030))
                pool.close()
                pool.join()
    """)
    made = [each.rows["in_child"] for each in run.report()]
    check_sum(made, [100_000 + n + BYTES for n in range(30)])
    assert run.stderr == ""


@pytest.mark.few
def test_process_pool_executor(python):
    run = record(python, """
        import concurrent.futures
        SIZES = [100_000 + n for n in range(20)]
        def work(n):
            keep = bytes(SIZES[n])  # in_child
            return len(keep)
        if __name__ == "__main__":
            with concurrent.futures.ProcessPoolExecutor(2) as pool:
                print(sum(pool.map(work, range(20))))
    """)
    assert run.stdout == f"{sum(range(100_000, 100_020))}\n"
    check_sum([each.rows["in_child"] for each in run.report()], [100_000 + n + BYTES for n in range(20)])
