"""Where the trace goes and how much of it: disks that fill up, file systems that can't do everything, bounds."""
import os
import subprocess
import tempfile

import pytest
from bare import PROGRAMS, counted, meta, run_both
from support import BYTES, MIB, memline, record

EVENTS = 1_000_000

# Keeps its memory, so that the trace's numbers can be told; two to three bytes an event.
MANY = f"""
keep = []
for _ in range({EVENTS}):
    keep.append(bytes(100))  # made
print(len(keep))
"""

MORE = MANY.replace("append(bytes(100))", "append([bytes(100)])")


def mounted(kind, options):
    """A file system of a kind in a new folder, and what ends it."""
    folder = tempfile.mkdtemp(prefix="memline-mount-")
    done = subprocess.run(["mount", "-t", kind, *options, kind, folder], stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT)
    if done.returncode != 0:
        os.rmdir(folder)
        pytest.skip(f"{kind} cannot be mounted here")
    return folder


def unmount(folder):
    subprocess.run(["umount", folder], check=True)
    os.rmdir(folder)


@pytest.fixture
def small_disk():
    """Eight MiB."""
    folder = mounted("tmpfs", ["-o", "size=8m,mode=755"])
    yield folder
    unmount(folder)


@pytest.fixture
def plain_disk():
    """A ramfs: it has no fallocate(2), and does not say how much is free."""
    folder = mounted("ramfs", [])
    yield folder
    unmount(folder)


def check_stopped(process, why):
    """It recorded as long as it could, and says what it could not record."""
    row = process.rows["made"]
    assert any(warning.startswith("recording stopped: " + why) for warning in process.warnings), process.warnings
    dropped = counted(process, "events after recording had stopped")
    assert process.totals["dropped_events"] == dropped > 0
    assert 1000 < row.allocations < EVENTS
    assert row.allocations + dropped >= EVENTS
    assert row.live <= row.allocations * (100 + BYTES + 9) + MIB  # with the list


def free_bytes(folder):
    facts = os.statvfs(folder)
    return facts.f_bavail * facts.f_frsize


@pytest.mark.few
def test_a_disk_that_fills_up(python, small_disk):
    """The trace alone fills it: the program's own files still have what was to be kept free."""
    keep = 6 * MIB
    run = run_both(python, MANY + f"""
import os, sys
with open(os.path.join(sys.argv[1], "own"), "wb") as file:
    for _ in range({keep} >> 12):
        file.write(bytes(4096))
os.unlink(os.path.join(sys.argv[1], "own"))
""", small_disk, folder=os.path.join(small_disk, "traces"), env={"MEMLINE_KEEP_FREE": str(keep)})
    check_stopped(run.process(), "the file system reached MEMLINE_KEEP_FREE")
    assert free_bytes(small_disk) >= keep


@pytest.mark.few
def test_a_tenth_is_kept_free(python, small_disk):
    run = run_both(python, MORE, folder=small_disk)
    process = run.process()
    assert any("KEEP_FREE" in warning for warning in process.warnings)
    assert free_bytes(small_disk) >= 8 * MIB // 10


@pytest.mark.few
def test_a_disk_that_the_trace_fills_to_the_brim(python, small_disk):
    """Nothing is kept free: no store to a mapping may find the disk full (SIGBUS)."""
    run = run_both(python, MORE,
                   folder=os.path.join(small_disk, "traces"), env={"MEMLINE_KEEP_FREE": "0"})
    process = run.process()
    assert process.totals["dropped_events"] > 0
    assert any(warning.startswith("recording stopped: ") for warning in process.warnings)
    assert free_bytes(small_disk) < MIB


@pytest.mark.few
def test_a_disk_that_the_program_fills(python, small_disk):
    run = run_both(python, """
import errno, os, sys
keep = [bytes(100) for _ in range(1000)]  # before
with open(os.path.join(sys.argv[1], "own"), "wb", buffering=0) as file:
    try:
        while True:
            file.write(bytes(4096))
    except OSError as error:
        print(errno.errorcode[error.errno])
for n in range(300_000):
    keep.append([bytes(100)])
def deep(n):
    return deep(n - 1) if n else bytes(1000)
deep(500)
print(len(keep))
os.unlink(os.path.join(sys.argv[1], "own"))
""", small_disk, folder=os.path.join(small_disk, "traces"), env={"MEMLINE_KEEP_FREE": "0"})
    process = run.process()
    assert process.rows["before"].live >= 1000 * (100 + BYTES)
    assert process.totals["dropped_events"] > 0
    assert any(warning.startswith("recording stopped: ") for warning in process.warnings)


@pytest.mark.few
def test_a_full_disk(python, small_disk):
    """No room for a trace at all: none is made."""
    with open(os.path.join(small_disk, "full"), "wb") as file:
        file.truncate(0)
        os.posix_fallocate(file.fileno(), 0, free_bytes(small_disk) - 16384)
    run = run_both(python, MANY, folder=os.path.join(small_disk, "traces"), env={"MEMLINE_KEEP_FREE": "0"})
    assert not os.path.isdir(run.folder) or os.listdir(run.folder) == []


def check_unmapped(process):
    (warning,) = process.warnings
    assert "no shared mapping" in warning
    row = process.rows["made"]
    assert EVENTS <= row.live_blocks <= EVENTS + 1
    assert row.live >= EVENTS * (100 + BYTES)
    assert process.data["end"] == "exit"
    assert process.totals["dropped_events"] == process.totals["unknown_frees"] == 0


@pytest.mark.few
def test_a_file_system_without_fallocate(python):
    """Then a mapping could find the disk full: the trace is written, and says that a kill may lose the last of it."""
    run = run_both(python, MANY, wrapper=[os.path.join(PROGRAMS, "refuse"), "fallocate", "--"])
    check_unmapped(run.process())


@pytest.mark.few
def test_a_plain_file_system(python, plain_disk):
    run = run_both(python, MANY, folder=plain_disk)
    check_unmapped(run.process())


@pytest.mark.few
def test_children_on_a_file_system_without_fallocate(python):
    run = run_both(python, """
        import os
        keep = None
        for n in range(5):
            pid = os.fork()
            if not pid:
                keep = [bytes(100) for _ in range(20_000)]  # in_child
                os._exit(0)
            assert os.waitpid(pid, 0)[1] == 0
        keep = [bytes(100) for _ in range(20_000)]  # in_parent
    """, wrapper=[os.path.join(PROGRAMS, "refuse"), "fallocate", "--"])
    parent, *children = run.report()
    assert len(children) == 5
    assert parent.rows["in_parent"].live >= 20_000 * (100 + BYTES)
    for child in children:
        assert child.rows["in_child"].live >= 20_000 * (100 + BYTES)
        assert child.rows["in_parent"].live == 0


@pytest.mark.few
def test_a_kill_on_a_file_system_without_fallocate(python):
    """The trace can be read; only what was not written yet is missing."""
    run = record(python, MANY + "import os; os.kill(os.getpid(), 9)\n", status=-9,
                 wrapper=[os.path.join(PROGRAMS, "refuse"), "fallocate", "--"])
    process = run.process()
    assert process.data["end"] == "killed"
    assert EVENTS - 10_000 <= process.rows["made"].live_blocks <= EVENTS + 1


# Bounds.

@pytest.mark.few
@pytest.mark.parametrize("bound", [MIB, 3 * MIB])
def test_the_largest_trace(python, bound):
    run = run_both(python, MORE, env={"MEMLINE_MAX_BYTES": str(bound)})
    (trace,) = run.traces
    assert bound - MIB // 2 <= os.path.getsize(trace) <= bound
    process = run.process()
    assert any("stopped: the trace reached MEMLINE_MAX_BYTES" in warning for warning in process.warnings)
    assert process.totals["dropped_events"] == counted(process, "events after recording had stopped") > 0


@pytest.mark.few
def test_children_of_a_process_that_is_no_longer_recorded(python):
    """The bound is one for each trace: a child has its own."""
    run = run_both(python, MORE + """
import os
for _ in range(3):
    pid = os.fork()
    if not pid:
        small = bytes(100_000)  # in_child
        os._exit(0)
    assert os.waitpid(pid, 0)[1] == 0
""", env={"MEMLINE_MAX_BYTES": "1M"})
    parent, *children = run.report()
    assert parent.totals["dropped_events"] > 0
    assert len(children) == 3
    for child in children:
        assert child.totals["dropped_events"] == 0
        assert 0 <= child.rows["in_child"].live - (100_000 + BYTES) <= 200


NODES = """
keep = [None]
def leaf():
    keep[0] = bytes(1000)  # leaf
def both(n):
    if not n:
        return leaf()
    both(n - 1)  # left
    both(n - 1)  # right
both(15)
print(len(keep[0]))
"""


@pytest.mark.few
@pytest.mark.parametrize("bound", [20_000, 40_000])
def test_the_largest_tree(python, bound):
    """Beyond it an event keeps its innermost frame: the line that allocated, though not who called it."""
    run = run_both(python, NODES, env={"MEMLINE_MAX_NODES": str(bound)})
    process = run.process()
    assert 10_000 < counted(process, "the tree of stacks was full") < 1 << 17
    assert process.totals["dropped_events"] == 0
    row = process.rows["leaf"]
    assert 1 << 15 <= row.allocations <= (1 << 15) + 10
    assert row.allocated >= (1000 + BYTES) << 15
    assert row.increment == row.live == 1000 + BYTES
    nodes = [line for line in memline("dump", "--nodes", *run.traces).splitlines() if line.startswith("node ")]
    assert bound < len(nodes) <= bound * 5 // 4 + 3
    assert any(line.endswith("mark truncated") for line in nodes)


@pytest.mark.few
@pytest.mark.parametrize("bound", [1, 100])
def test_hardly_any_nodes(python, bound):
    """Nothing but the bytes can be told, but those are right."""
    run = run_both(python, NODES, env={"MEMLINE_MAX_NODES": str(bound)})
    process = run.process()
    assert counted(process, "the tree of stacks was full") > 1 << 16
    assert process.totals["dropped_events"] == process.totals["unknown_frees"] == 0
    assert process.totals["allocated_bytes"] > (1000 + BYTES) << 15


def test_a_program_that_removes_the_trace(python):
    """Then there is nothing to read, and nothing to complain about."""
    run = run_both(python, """
        import os, shutil
        if "MEMLINE_DIR" in os.environ:
            shutil.rmtree(os.environ["MEMLINE_DIR"])
        keep = [bytes(100) for _ in range(100_000)]
        print(len(keep))
    """)
    assert run.traces == []
