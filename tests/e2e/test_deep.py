"""Deep and manifold stacks: bounded time and memory, own lines exact, and what was left out is told."""
import subprocess
import time

import pytest
from bare import counted, run_both
from support import BYTES, LIBRARY, MIB, Run, clean_environment, record, write_program

DEEPER = "events deeper than the frames that are kept"


def deep(depth, body):
    """A program that calls itself that deep. The C stack of older CPythons needs room for it: a thread of its own."""
    return f"""
import sys, threading
sys.setrecursionlimit({depth} + 1000)
threading.stack_size(512 << 20)
keep = []
def down(n):
    if n:
        return down(n - 1)  # call
    {body}
thread = threading.Thread(target=down, args=({depth},))
thread.start()
thread.join()
print(len(keep))
"""


def test_ten_thousand_frames(python):
    run = run_both(python, deep(10_000, """for _ in range(5000):
        keep.append(bytes(1000))  # made
    del keep[1000:]  # deleted"""))
    process = run.process()
    rows = process.rows
    assert process.totals["dropped_events"] == process.totals["unknown_frees"] == 0
    assert rows["made"].live == 1000 * (1000 + BYTES) + rows["made"].live % (1000 + BYTES) < 2000 * (1000 + BYTES)
    assert rows["made"].allocated >= 5000 * (1000 + BYTES)
    assert rows["deleted"].increment <= -4000 * (1000 + BYTES)
    assert counted(process, DEEPER) >= 9000


@pytest.mark.few
def test_every_depth(python):
    """Events on the way down and up: each is told at its own line."""
    run = run_both(python, """
import sys, threading
sys.setrecursionlimit(11_000)
threading.stack_size(512 << 20)
keep = [None] * 10_001
def down(n):
    keep[n] = bytes(1000)  # made
    if n:
        down(n - 1)
    keep[n] = None  # freed
thread = threading.Thread(target=down, args=(10_000,))
thread.start()
thread.join()
""")
    process = run.process()
    rows = process.rows
    made = 10_001 * (1000 + BYTES)
    assert made <= rows["made"].allocated <= made + 1000
    assert -made - 1000 <= rows["freed"].increment <= -made + 1000
    assert rows["made"].live <= 1000
    assert counted(process, DEEPER) >= 2 * 5900


@pytest.mark.few
def test_an_event_far_down_is_not_slow(python):
    """256 frames are compared at an event, and all at every 64th: else this would take a hundred times as long."""
    seconds = {}
    for depth in 100, 10_000:
        run = record(python, deep(depth, f"""import time
    start = time.perf_counter()
    for _ in range(20_000):
        bytes(1000)
    keep.append(time.perf_counter() - start)""").replace("print(len(keep))", "print(keep[0])"))
        seconds[depth] = float(run.stdout)
    assert seconds[10_000] < 12 * seconds[100] + 0.2


WIDE = """
import resource, sys, time
keep = [None]
def left(n):
    if n:
        left(n - 1)
        right(n - 1)
    keep[0] = bytes(1000)  # in_left
def right(n):
    if n:
        left(n - 1)
        right(n - 1)
    keep[0] = bytes(1000)  # in_right
left(DEPTH)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)
"""


@pytest.mark.few
def test_a_million_stacks(python):
    """A million calls, each with a stack of its own. A node has 16 bytes, and 8 to 16 in the index."""
    path = write_program(WIDE.replace("DEPTH", "19"))
    run = Run(python, path, path)
    command = [*python.command, path]
    bare = subprocess.run(command, stdout=subprocess.PIPE, env=clean_environment(), check=True, timeout=120)
    start = time.monotonic()
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, check=True, timeout=120,
                          env=clean_environment(LD_PRELOAD=LIBRARY, MEMLINE_DIR=run.folder))
    assert time.monotonic() - start < 60
    assert done.stderr == b""
    assert int(done.stdout) - int(bare.stdout) < 100 * MIB
    process = run.process()
    calls = (1 << 20) - 1
    assert process.totals["dropped_events"] == 0
    left, right = process.rows["in_left"], process.rows["in_right"]
    assert calls <= left.allocations + right.allocations <= calls + 10
    assert left.allocated + right.allocated >= calls * (1000 + BYTES)
    assert left.increment + right.increment == 1000 + BYTES
    assert counted(process, "the tree of stacks was full") > 100_000


def test_generators_in_generators(python):
    """A stack of five hundred generators, each of which resumes the next."""
    run = run_both(python, """
        import sys
        sys.setrecursionlimit(3000)
        keep = []
        def nest(n):
            if n:
                yield from nest(n - 1)
            else:
                for _ in range(1000):
                    keep.append(bytes(1000))  # made
                    yield
        for _ in nest(500):
            keep.append(bytes(500))  # between
        print(len(keep))
    """)
    rows = run.process().rows
    assert rows["made"].live >= 1000 * (1000 + BYTES)
    assert rows["between"].live >= 1000 * (500 + BYTES)
    assert rows["made"].live + rows["between"].live <= 1000 * (1500 + 2 * BYTES) + 40_000
