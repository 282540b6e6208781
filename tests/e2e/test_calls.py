"""Each entry point of the C library's allocator: exactly one allocation of exactly that size, freed exactly once.

The calls are made by tests/e2e/objects/calls.c, whose blocks stay in numbered slots; Python's own objects are not
recorded (MEMLINE_OBJECTS=off), so that a line's numbers are those of its one call.
"""
import mmap

import pytest
from support import counts_lines, record, record_calls

PAGE = mmap.PAGESIZE

ALLOCATORS = """
malloc = bind("malloc", None, number, size)
calloc = bind("calloc", None, number, size, size)
realloc = bind("realloc", None, number, size)
reallocarray = bind("reallocarray", None, number, size, size)
posix_memalign = bind("posix_memalign", None, number, size, size)
aligned_alloc = bind("aligned_alloc", None, number, size, size)
memalign = bind("memalign", None, number, size, size)
valloc = bind("valloc", None, number, size)
pvalloc = bind("pvalloc", None, number, size)
strdup = bind("strdup", None, number, size)
free = bind("free", None, number)
free_sized = bind("free_sized", number, number, size)
free_aligned_sized = bind("free_aligned_sized", number, number, size, size)
is_null = bind("is_null", number, number)
"""


# (call, bytes that it asks for)
CALLS_THAT_ALLOCATE = [
    ("malloc(1, 1234)", 1234),
    ("malloc(1, 1)", 1),
    ("malloc(1, 5_000_000)", 5_000_000),
    ("calloc(1, 3, 1234)", 3 * 1234),
    ("realloc(1, 1234)", 1234),
    ("reallocarray(1, 5, 1234)", 5 * 1234),
    ("posix_memalign(1, 64, 1234)", 1234),
    ("posix_memalign(1, 65536, 1234)", 1234),
    ("aligned_alloc(1, 64, 1280)", 1280),
    ("aligned_alloc(1, 64, 1234)", 1234),
    ("memalign(1, 256, 1234)", 1234),
    ("valloc(1, 1234)", 1234),
    ("pvalloc(1, 1234)", PAGE),
    ("pvalloc(1, 4097)", 2 * PAGE),
    ("strdup(1, 1234)", 1234),
    ("malloc(1, 0)", 0),
    ("calloc(1, 0, 16)", 0),
    ("calloc(1, 16, 0)", 0),
    ("posix_memalign(1, 64, 0)", 0),
    ("aligned_alloc(1, 64, 0)", 0),
    ("memalign(1, 64, 0)", 0),
    ("valloc(1, 0)", 0),
]


def test_each_entry_point(python):
    lines = []
    for at, (call, _) in enumerate(CALLS_THAT_ALLOCATE):
        lines += [f"{call}  # made{at}", "assert not is_null(1)", f"free(1)  # freed{at}", f"{call}  # kept{at}",
                  "realloc(1, 777)" if "realloc" in call else "pass", "free(1)"]
    run, process = record_calls(python, ALLOCATORS, "\n".join(lines))
    process.check_exact()
    for at, (call, size) in enumerate(CALLS_THAT_ALLOCATE):
        made, freed = process.rows[f"made{at}"], process.rows[f"freed{at}"]
        assert (made.allocations, made.allocated, made.increment) == (1, size, size), call
        assert (made.live, made.live_blocks) == (0, 0), call
        assert (freed.increment, freed.allocations) == (-size, 0), call
    assert run.stderr == ""


def test_blocks_that_stay(python):
    lines = []
    for at, (call, _) in enumerate(CALLS_THAT_ALLOCATE):
        lines.append(call.replace("(1,", f"({at},", 1) + f"  # made{at}")
    _, process = record_calls(python, ALLOCATORS, "\n".join(lines))
    for at, (call, size) in enumerate(CALLS_THAT_ALLOCATE):
        made = process.rows[f"made{at}"]
        assert (made.allocations, made.live_blocks, made.live, made.increment) == (1, 1, size, size), call


def test_realloc(python):
    _, process = record_calls(python, ALLOCATORS, """
        malloc(1, 1000)  # made
        realloc(1, 5000)  # grown
        realloc(1, 300)  # shrunk
        reallocarray(1, 7, 1000)  # array
        realloc(1, 0)  # freed
        assert is_null(1)
        realloc(2, 400)  # fresh
    """)
    process.check_exact()
    rows = process.rows
    assert [rows[tag].increment for tag in ("made", "grown", "shrunk", "array", "freed", "fresh")] == [
        1000, 4000, -4700, 6700, -7000, 400]
    assert [rows[tag].allocated for tag in ("made", "grown", "shrunk", "array", "freed", "fresh")] == [
        1000, 5000, 300, 7000, 0, 400]
    assert [rows[tag].live for tag in ("made", "grown", "shrunk", "array", "freed", "fresh")] == [0, 0, 0, 0, 0, 400]


def test_sized_frees(python):
    run, process = record_calls(python, ALLOCATORS, """
        import json
        answers = [None, None]
        malloc(1, 1000)  # made
        answers[0] = free_sized(1, 1000)  # freed
        free(1)
        memalign(2, 64, 2000)  # made_aligned
        answers[1] = free_aligned_sized(2, 64, 2000)  # freed_aligned
        free(2)
        print(json.dumps(answers))
    """)
    assert process.totals["unknown_frees"] == 0
    assert process.rows["made"].live == process.rows["made_aligned"].live == 0
    # The preload has them also where the C library does not.
    assert run.answers() == [0, 0]
    assert (process.rows["freed"].increment, process.rows["freed_aligned"].increment) == (-1000, -2000)


def test_calls_that_fail_change_nothing(python):
    names = """
failures = bind("failures", number)
bad_alignments = bind("bad_alignments", number)
check_errno = bind("errno", number)
usable = bind("usable", number, number, size)
aligned = bind("aligned", number, number, size)
""" + ALLOCATORS
    run, process = record_calls(python, names, """
        import json
        answers = [None] * 8
        answers[0] = failures()  # failures
        answers[1] = bad_alignments()  # bad_alignments
        answers[2] = check_errno()  # errno
        malloc(1, 1000)
        answers[3] = usable(1, 1000)  # usable
        memalign(2, 4096, 10)
        answers[4] = aligned(2, 4096)
        valloc(3, 10)
        answers[5] = aligned(3, 4096)
        posix_memalign(4, 1 << 20, 10)
        answers[6] = aligned(4, 1 << 20)
        free(5)  # nothing
        print(json.dumps(answers[:7]))
    """)
    assert run.answers() == [0, 0, 0, 1, 1, 1, 1]
    process.check_exact()
    rows = process.rows
    # The one block that the failing reallocs were asked to grow.
    assert (rows["failures"].increment, rows["failures"].allocated, rows["failures"].allocations) == (0, 100, 1)
    assert (rows["bad_alignments"].increment, rows["bad_alignments"].allocations) == (0, 0)
    assert rows["errno"].increment == 0
    assert (rows["usable"].increment, rows["usable"].allocations) == (0, 0)
    assert (rows["nothing"].increment, rows["nothing"].allocations) == (0, 0)
    assert rows["nothing"].seen == counts_lines(python)


@pytest.mark.parametrize("domain", ["PyMem_RawMalloc", "PyMem_Malloc", "PyObject_Malloc"])
@pytest.mark.parametrize("size", [0, 100, 512, 513, 100_000])
def test_a_python_block_is_one_block(python, domain, size):
    """Also where the domain takes it from malloc."""
    run = record(python, f"""
        import ctypes
        allocate = getattr(ctypes.pythonapi, "{domain}")
        release = getattr(ctypes.pythonapi, "{domain.replace("Malloc", "Free")}")
        allocate.restype, allocate.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
        release.restype, release.argtypes = None, [ctypes.c_void_p]
        release(allocate(8))
        p = [None]
        ints = [n for n in range(10_000_000, 10_000_300)]  # 3.14 keeps a hundred that were freed: take them
        def work():
            p[0] = allocate({size})  # made
            release(p[0])  # freed
        work()
    """)
    process = run.process()
    process.check_exact()
    made, freed = process.rows["made"], process.rows["freed"]
    address = made.live  # of the int that ctypes makes of the address, and that p keeps
    assert address in (28, 32)
    assert made.live_blocks == 1
    assert made.increment == size + address
    assert made.allocated >= size + address
    assert freed.increment == -size
