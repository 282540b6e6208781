"""What memline does for an event takes no call of an allocator, and none that maps memory.

The programs run with objects/warden.c behind memline's library. They say of each call what it is going to be, and the
warden ends them where another one comes.
"""
import itertools
import os

import pytest
from bare import PROGRAMS, allocations, end_of, libpython
from support import BUILD, LIBRARY, Run, by_leaf, memline, ours, record, stacks, write_program

OBJECTS = os.path.join(BUILD, "tests/e2e/objects")
WARDEN, WATCHED, THROWN, *TWINS = (os.path.join(OBJECTS, name + ".so")
                                   for name in ("warden", "watched", "thrown", "twin_first", "twin_second"))

HEAP, SAME = 11, 8  # the blocks of one time in watched_heap(), and those of the size that was asked for

natives = pytest.mark.parametrize("native", ["off", "caller", "full"])


def without_repetition(found):
    """Stacks with each function that calls itself once, and their sums."""
    sums = {}
    for functions, number in found.items():
        shorter = tuple(name for name, _ in itertools.groupby(functions))
        sums[shorter] = sums.get(shorter, 0) + number
    return sums


LOAD = """
import ctypes, shutil, sys, threading
size, number, text, pointer = ctypes.c_size_t, ctypes.c_int, ctypes.c_char_p, ctypes.c_void_p
def bind(library, name, *arguments):
    function = getattr(library, name)
    function.argtypes = arguments
    return function
watched = ctypes.PyDLL(sys.argv[1])
"""

WAYS = LOAD + """
heap = bind(watched, "watched_heap", number, size)
maps = bind(watched, "watched_maps", number)
churn = bind(watched, "watched_churn", number, size)
branches = bind(watched, "watched_branches", number, size)
deep = bind(watched, "watched_deep", number, number, size)
library = bind(watched, "watched_library", text, text, number, size)
fork = bind(watched, "watched_fork", number, size)
threads = bind(watched, "watched_threads", number, number, size)
early = bind(watched, "watched_early", number)
late = bind(watched, "watched_late", number, number, size)
throw = bind(ctypes.CDLL(sys.argv[2]), "thrown_throw", number, size)
first, second = (path.encode() for path in sys.argv[3:])
def outer():
    heap(100, 10_001)  # heap
    maps(100)  # maps
    churn(100_000, 1)  # churn
    branches(10, 10_002)  # branches
    for n in range(3):
        inner()
    assert throw(100, 10_003) == 100  # throw
    assert fork(100, 10_004) == 0
    assert threads(20, 100, 10_005) == 0
def inner():
    assert library(first, b"twin_first_by", 100, 10_006) == 0
    assert library(second, b"twin_second_by", 100, 10_007) == 0
def down(depth):
    deep(depth, 100, 10_008)  # deep
early(20)
outer()
# Each of these has variables of each thread, of which a thread that is there hears when it touches one.
for n in range(40):
    ctypes.CDLL(shutil.copy(sys.argv[1], "./copy%d.so" % n))
late(20, 100, 10_009)
threading.stack_size(256 << 20)
for depth in 100, 10_000, 150_000:
    thread = threading.Thread(target=down, args=(depth,))
    thread.start()
    thread.join()
"""


@natives
def test_ways_to_an_event(python, native):
    """New stacks and deep ones, libraries that come and go, exceptions, a fork, and threads whose first event it is."""
    run = record(python, WAYS, WATCHED, THROWN, *TWINS, behind=[WARDEN],
                 env={"MEMLINE_NATIVE": native, "MEMLINE_OBJECTS": "off"})
    pieces = [line for line in memline("dump", "--defs", run.traces[0]).splitlines() if "extent events" in line]
    assert len(pieces) > 20
    parent = run.report()[0]
    for tag, number in (("heap", 100 * HEAP), ("maps", 200), ("churn", 100_000), ("branches", 1 << 10),
                        ("deep", 300 * HEAP)):
        assert parent.rows[tag].allocations == number, tag
    sums = [{n: len(allocations(trace, n)) // SAME for n in (10_004, 10_005, 10_009)} for trace in run.traces]
    assert sums == [{10_004: 100, 10_005: 20 * 100, 10_009: 20 * 100}, {10_004: 100, 10_005: 0, 10_009: 0}]
    assert parent.rows["throw"].allocations >= 101 * (1 + 5)
    found = without_repetition(by_leaf(run, "watched_heap"))
    if native == "caller":
        assert found == {("<module>", "outer", "watched_heap"): 300 * HEAP,
                         ("<module>", "outer", "inner", "watched_heap"): 600 * HEAP,
                         ("watched_heap",): 4000 * HEAP, ("down", "watched_heap"): 300 * HEAP}
    if native == "full":
        below = ("<module>", "outer")
        assert found == {(*below, "watched_heap"): 100 * HEAP, (*below, "watched_fork", "watched_heap"): 200 * HEAP,
                         (*below, "inner", "watched_library", "watched_heap"): 600 * HEAP,
                         ("work", "watched_heap"): 4000 * HEAP,
                         ("down", "watched_deep", "watched_heap"): 200 * HEAP,
                         ("down", "watched_heap"): 100 * HEAP}  # of a stack that is too deep, the caller alone
        assert without_repetition(by_leaf(run, "watched_malloc")) == {
            (*below, "watched_churn", "watched_malloc"): 100_000,
            (*below, "watched_branches", "branch", "watched_malloc"): 1 << 10,
            (*below, "inner", "watched_library", "twin_first_by", "watched_malloc"): 300,
            (*below, "inner", "watched_library", "twin_second_by", "watched_malloc"): 300}
        assert len([frames for frames in stacks(run, having="branch") if "branch" in ours(frames)]) == 1 << 10
        throw = (*below, "thrown_throw", "catches", "throw_from")
        assert without_repetition(by_leaf(run, "__cxa_allocate_exception")) == {throw: 101}
        assert without_repetition(by_leaf(run, "thrown::Passed::~Passed")) == {(*throw, "thrown::Passed::~Passed"): 505}


OBJECTS_PROGRAM = LOAD + """
def work(n, reaches, domain):
    allocate, free = (ctypes.cast(getattr(ctypes.pythonapi, domain + name), pointer) for name in ("Malloc", "Free"))
    objects(20_000, n, reaches, allocate, free)
objects = bind(watched, "watched_objects", number, size, ctypes.c_bool, pointer, pointer)
work(12_345, True, "PyMem_Raw")
for domain in "PyMem_", "PyObject_":
    work(12_345, True, domain)
    work(24, False, domain)
"""


@natives
def test_python_objects(python, native):
    run = record(python, OBJECTS_PROGRAM, WATCHED, behind=[WARDEN], env={"MEMLINE_NATIVE": native})
    (trace,) = run.traces
    assert len(allocations(trace, 12_345)) == 3 * 20_001
    assert len(allocations(trace, 24)) >= 2 * 20_001
    if native == "full":
        found = {frames: number for frames, number in stacks(run, having="watched_objects").items()
                 if ours(frames)[-1:] == ["watched_objects"]}
        assert sum(found.values()) == 5 * 20_001
        assert {tuple(ours(frames)) for frames in found} == {("<module>", "work", "watched_objects")}


def watch(python, native, *arguments, **environment):
    """Runs programs/watch.c. Returns its Run."""
    path = write_program("")
    run = Run(python, path, path)
    words = [os.path.join(PROGRAMS, "watch"), WATCHED, *arguments]
    prefix, built = (python.prefix, python.built) if python else ([], str)
    ended = end_of([*prefix, *map(built, words)], LD_PRELOAD=f"{LIBRARY}:{built(WARDEN)}", MEMLINE_DIR=run.folder,
                   MEMLINE_NATIVE=native, **environment)
    assert (ended.status, ended.stdout, ended.stderr) == (0, b"", b"")
    run.check()
    return run


@natives
def test_a_program_without_python(native):
    assert watch(None, native).traces == []


@natives
def test_a_python_that_comes_late(python, native):
    """Its thread-local variables are made for no thread that does not ask for them."""
    library, home = libpython(python)
    run = watch(python, native, library, "keep = [bytes(1000) for n in range(1000)]", PYTHONHOME=home)
    sums = {n: len(allocations(run.traces[0], n)) // SAME for n in (10_002, 10_003, 10_004, 10_005)}
    assert sums == {10_002: 4 * 100, 10_003: 100, 10_004: 20 * 100, 10_005: 100}
    if native == "full":
        found = by_leaf(run, "watched_heap")
        assert found[("main", "watched_heap")] == found[("main", "watched_fork", "watched_heap")] == 100 * HEAP
        assert found[("work", "watched_heap")] >= (4 + 20) * 100 * HEAP


# The folder of the program, which its traces come into, is not looked into.
MANY_OBJECTS = """
import sys
del sys.path[0]
import json
class Tree:
    def __init__(self, depth):
        self.below = [Tree(depth - 1) for n in range(2)] if depth else []
    def __str__(self):
        return "(" + "".join(map(str, self.below)) + ")"
for n in range(20):
    json.loads(json.dumps({str(n): [str(Tree(5)), float(n)] for n in range(20)}))
"""


def count_calls(python, change):
    """Of the C library's functions, from the start of the process to its end, with a call of malloc() for each
    object."""
    environment = {"MEMLINE_" + name: value for name, value in change.items()}
    environment.update(PYTHONMALLOC="malloc", PYTHONHASHSEED="0", PYTHONDONTWRITEBYTECODE="1",
                       MEMLINE_OCCURRENCES="off", WARDEN_COUNTS="counts")
    run = record(python, MANY_OBJECTS, options=["-S"], behind=[WARDEN], env=environment)
    assert [os.path.getsize(trace) > 1 << 20 for trace in run.traces] == [True] * ("NATIVE" in change)
    with open(os.path.join(os.path.dirname(run.program), "counts"), encoding="utf-8") as counts:
        return {name: int(number) for name, number in map(str.split, counts)}


def test_as_many_calls_as_without(python):
    """CPython 3.15 makes some hundred calls more in one run of forty, recorded or not: so the least count."""
    expected = min((count_calls(python, {"OFF": "full"}) for n in range(3)), key=lambda calls: calls["malloc"])
    assert expected["malloc"] > 100_000
    for native in "off", "caller", "full":
        assert expected in (count_calls(python, {"NATIVE": native}) for n in range(4)), native


def test_what_the_warden_does(python):
    """A control of what the tests above can see."""
    run = record(python, LOAD + """
warden = ctypes.PyDLL(None)
warden.warden_close()
[bytearray(10_000)]
""", WATCHED, behind=[WARDEN], status=97)
    assert run.stderr.startswith("warden: not expected: ")
