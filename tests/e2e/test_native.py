"""Native code: which library and which function asked for memory, on the lines that called it."""
import os
import shutil

import pytest
from interpreters import BUILD
from packages import in_folder, packages  # noqa: F401 (a fixture)
from support import CALLS, counts_lines, memline, record, record_calls, stacks

OBJECTS = os.path.join(BUILD, "tests/e2e/objects")


def line_of(process, tag):
    """The JSON of the line with this tag."""
    (line,) = [line for file, _, line in process.lines() if file == process.file and line["line"] == process.tags[tag]]
    return line


def callers(line, module):
    return [caller for caller in line["callers"] if caller["module"] == module]


def check_callers(process):
    """No part of a line, or of what belongs to none, is larger than the whole."""
    for _, _, line in process.lines():
        assert line["python_live_bytes"] + line["native_live_bytes"] == line["live_bytes"]
        assert sum(caller["live_bytes"] for caller in line["callers"]) == line["native_live_bytes"]
        assert sum(caller["allocations"] for caller in line["callers"]) <= line["allocations"]
        assert sum(caller["allocated_bytes"] for caller in line["callers"]) <= line["allocated_bytes"]


NUMPY = """
import numpy
data = numpy.ones(10, dtype=numpy.uint8)
for n in 100_000, 1_234_567:
    data = None
    data = numpy.empty(n, dtype=numpy.uint8)  # made
    data.fill(1)
big = numpy.ones(80_000_000, dtype=numpy.uint8)
for n in range(2):
    total = None
    total = int((big + big).max())  # temporary
assert total == 2, total
"""


@pytest.mark.parametrize("native", ["caller", "full"])
def test_numpy(python, packages, native):
    run = record(python, in_folder(packages(python, "numpy"), NUMPY), env={"MEMLINE_NATIVE": native})
    process = run.process("--scope", "*program.py")
    check_callers(process)
    name = {caller["module"] for caller in line_of(process, "made")["callers"] if caller["live_bytes"]}
    assert name in ({"numpy/_core/_multiarray_umath"}, {"numpy/core/_multiarray_umath"})
    (name,) = name
    made = line_of(process, "made")
    (caller,) = [caller for caller in callers(made, name) if caller["allocated_bytes"] >= 100_000]
    assert (caller["live_bytes"], caller["live_blocks"]) == (1_234_567, 1)
    assert (caller["allocated_bytes"], caller["allocations"]) == (100_000 + 1_234_567, 2)
    assert (made["module"], made["native_live_bytes"]) == (name, 1_234_567)
    temporary = line_of(process, "temporary")
    (caller,) = [caller for caller in callers(temporary, name) if caller["allocated_bytes"] >= 80_000_000]
    assert caller["live_bytes"] == 0
    assert caller["peak_bytes"] == 80_000_000
    assert (caller["allocated_bytes"], caller["allocations"]) == (160_000_000, 2)
    assert temporary["module"] == name


def test_functions_of_a_library(python):
    _, process = record_calls(python, """
calls = {"malloc": bind("malloc", None, number, size), "calloc": bind("calloc", None, number, size, size)}
malloc, calloc, free = calls["malloc"], calls["calloc"], bind("free", None, number)
at, other, n, count = number(1), number(2), size(1001), size(3)
""", """
        malloc(at, n)  # first
        free(at)
        malloc(at, n)  # malloc
        calloc(other, count, n)  # calloc
        free(other)  # free
    """)
    process.check_exact()
    check_callers(process)
    for tag, blocks, allocated in (("malloc", 1, 1001), ("calloc", 0, 3003)):
        line = line_of(process, tag)
        (caller,) = line["callers"]
        assert (caller["module"], caller["path"], caller["function"]) == ("calls", CALLS, "calls_" + tag)
        assert os.path.basename(caller["file"]) == "calls.c"
        with open(caller["file"], encoding="utf-8") as file:
            assert tag + "(" in file.readlines()[caller["line"] - 1]
        assert (caller["live_blocks"], caller["live_bytes"]) == (blocks, blocks * allocated)
        assert (caller["allocations"], caller["allocated_bytes"]) == (1, allocated)
        assert line["module"] == "calls"
    line = line_of(process, "free")
    assert line["module"] is None
    assert [caller["increment_bytes"] for caller in line["callers"]] == [-3003]


def test_python_objects_are_pythons(python):
    process = record(python, """
        keep = bytes(10_000)  # made
    """).process()
    check_callers(process)
    line = line_of(process, "made")
    assert line["module"] == "python"
    assert line["python_live_bytes"] == line["live_bytes"] > 10_000


@pytest.mark.parametrize("native", ["caller", "full"])
def test_a_hundred_foreign_threads(python, native):
    run, process = record_calls(python, """
native_threads = bind("native_threads", number, number, number, size)
""", """
        print(native_threads(100, 100, 1234))
    """, MEMLINE_NATIVE=native)
    process.check_exact()
    (caller,) = [caller for caller in callers(process.data["native"], "calls") if caller["allocations"]]
    assert caller["function"] == "native_thread"
    assert (caller["allocations"], caller["allocated_bytes"]) == (10_000, 10_000 * 1234)
    found = {frames: number for frames, number in stacks(run, having="native_thread").items()
             if frames[-1][0] == "native_thread"}
    assert sum(found.values()) == 10_000
    for frames in found:
        assert not any(place and place.rpartition(":")[0].endswith(".py") for _, place in frames)
        if native == "caller":
            assert len(frames) == 1
        else:
            assert frames[0][0].startswith(("clone", "__clone", "thread_start", "libc+0x"))


TWINS = """
import ctypes, _ctypes, sys
size, pointer = ctypes.c_size_t(1000), ctypes.c_void_p
# What ctypes makes once is made before.
def call(path, name):
    library = ctypes.CDLL(path)
    function = getattr(library, name)
    function.restype = pointer
    places.add(ctypes.cast(function, pointer).value)
    return library, function
places = set()
for n in range(10):
    library, function = call(sys.argv[1], "twin_first")
    kept = function(size)  # first
    _ctypes.dlclose(library._handle)
    library, function = call(sys.argv[2], "twin_second")
    kept = function(size)  # second
    _ctypes.dlclose(library._handle)
print(len(places))
"""


def test_another_library_at_the_same_address(python):
    paths = [os.path.join(OBJECTS, f"twin_{each}.so") for each in ("first", "second")]
    run = record(python, TWINS, *paths, env={"MEMLINE_OBJECTS": "off"})
    process = run.process()
    assert run.answers() < 20, "the loader never used an address again"
    for tag, path in zip(("first", "second"), paths):
        found = callers(line_of(process, tag), "twin_" + tag)
        assert [(each["function"], each["path"], each["allocations"]) for each in found] == [("twin_" + tag, path, 10)]
        assert {each["module"] for each in line_of(process, tag)["callers"]} & {"twin_first", "twin_second"} \
            == {"twin_" + tag}


@pytest.mark.few
def test_a_library_that_was_replaced(python, tmp_path):
    """Its functions are not guessed from the new one, and that is said once."""
    library = str(tmp_path / "libtwin.so.1")
    shutil.copy(os.path.join(OBJECTS, "twin_first.so"), library)
    run = record(python, """
        import ctypes, sys
        size = ctypes.c_size_t(1000)
        first = ctypes.CDLL(sys.argv[1]).twin_first
        first(size)
        first(size)  # first
        first(size)  # again
    """, library, env={"MEMLINE_OBJECTS": "off"})
    assert callers(line_of(run.process("--no-cache"), "first"), "libtwin")[0]["function"] == "twin_first"
    shutil.copy(os.path.join(OBJECTS, "twin_second.so"), library + ".new")
    os.rename(library + ".new", library)
    process = run.process("--no-cache")
    for tag in "first", "again":
        (caller,) = callers(line_of(process, tag), "libtwin")
        assert caller["function"].startswith("libtwin+0x")
        assert caller["file"] is caller["line"] is None
    said = [warning for warning in process.warnings if library in warning]
    assert said == ["native functions are not named, the file has changed since: " + library]
    os.unlink(library)
    said = [warning for warning in run.process("--no-cache").warnings if library in warning]
    assert said == ["native functions are not named, the file is not there: " + library]


@pytest.mark.few
def test_without_callers(python):
    _, process = record_calls(python, 'malloc = bind("malloc", None, number, size)\n', """
        malloc(1, 1001)  # made
    """, MEMLINE_NATIVE="off")
    line = line_of(process, "made")
    assert line["live_bytes"] == 1001
    assert line["module"] is line["python_live_bytes"] is line["native_live_bytes"] is None
    assert line["callers"] == []


@pytest.mark.few
def test_the_text_reports(python):
    run, _ = record_calls(python, """
malloc = bind("malloc", None, number, size)
native_threads = bind("native_threads", number, number, number, size)
at, big = number(1), size(50 << 20)
""", """
        malloc(at, big)  # made
        native_threads(2, 3, 1 << 20)
    """)
    table = memline("report", "--wide", "--all", *run.sysroot, run.folder)
    (row,) = [row for row in table.splitlines() if row.endswith("# made")]
    # Own, Live, Peak, Allocated, Allocs, Python, Native, Module
    assert row.split()[5 + counts_lines(python):] == ["50.0", "MiB"] * 4 + ["1", "0.0", "MiB", "50.0", "MiB", "calls",
                                                     "malloc(at,", "big)", "#", "made"]
    assert "# Who allocated in <native>:\n" in table
    (row,) = [row for row in table.splitlines() if "calls: native_thread at " in row and " 6   calls" in row]
    summary = memline("summary", run.folder)
    at = summary.index("  by module\n")
    (row,) = [row for row in summary[at:].splitlines() if row.endswith("  calls")]
    assert row.split()[:2] == ["50.0", "MiB"]
    assert " calls_malloc " in memline("dump", "--nodes", *run.sysroot, run.folder)
