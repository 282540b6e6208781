"""Whichever allocator Python is told to use, and whatever stands on top of it: the same bytes on the same lines."""
import pytest
from support import BYTES, record

# Large enough for the peak to be there, and not where Python compiles its library on a new machine.
PROGRAM = """
keep = [None] * 1000
def work():
    for i in range(1000):
        keep[i] = bytes(100)  # small
    large = bytes(10_000_000)  # large
    del large  # deleted
    for i in range(500):
        keep[i] = None  # freed
    grown = bytearray(300)  # grown
    grown.extend(keep[999])  # extended
    del grown  # grown_deleted
work()
"""

SETTINGS = [
    {"PYTHONMALLOC": "malloc"}, {"PYTHONMALLOC": "debug"}, {"PYTHONMALLOC": "malloc_debug"},
    {"PYTHONMALLOC": "pymalloc"}, {"PYTHONMALLOC": "pymalloc_debug"}, {"PYTHONMALLOC": "default"},
    {"PYTHONDEVMODE": "1"}, {"PYTHONTRACEMALLOC": "1"}, {"PYTHONTRACEMALLOC": "25"},
    {"PYTHONMALLOC": "debug", "PYTHONTRACEMALLOC": "5"}, {},
]


# What tracemalloc notes about a block is memory too, on the line that made the block.
NOTES = 256


def check_rows(process, notes=0):
    rows = process.rows
    assert 1000 * (100 + BYTES) <= rows["small"].increment <= 1000 * (100 + BYTES + notes)
    assert rows["small"].allocations >= 1000
    assert rows["small"].live >= 500 * (100 + BYTES)
    if not notes:
        assert rows["small"].peak == 1000 * (100 + BYTES)
        assert rows["small"].live == 500 * (100 + BYTES)
        assert rows["small"].live_blocks == 500
    assert 0 <= rows["large"].increment - (10_000_000 + BYTES) <= notes
    assert abs(rows["deleted"].increment + rows["large"].increment) <= notes
    assert -500 * notes <= rows["freed"].increment + 500 * (100 + BYTES) <= 0
    grown = rows["grown"].increment + rows["extended"].increment
    assert abs(grown + rows["grown_deleted"].increment) <= notes
    assert process.totals["unknown_frees"] == 0
    assert process.totals["dropped_events"] == 0


@pytest.mark.parametrize("setting", SETTINGS, ids=lambda each: ",".join(map("=".join, each.items())) or "none")
def test_settings(python, setting):
    check_rows(record(python, PROGRAM, env=setting).process(), NOTES if "PYTHONTRACEMALLOC" in setting else 0)


OPTIONS = [["-X", "dev"], ["-X", "tracemalloc=3"], ["-I"], ["-S", "-E"], ["-O"]]


@pytest.mark.parametrize("options", OPTIONS, ids=" ".join)
def test_options(python, options):
    check_rows(record(python, PROGRAM, options=options).process(), NOTES if "tracemalloc=3" in options else 0)


def test_tracemalloc_started_and_stopped_by_the_program(python):
    run = record(python, "import tracemalloc\ntracemalloc.start()\n" + PROGRAM.replace("work()\n", "") + """
work()
print(tracemalloc.get_traced_memory()[1] > 10_000_000)
tracemalloc.stop()
keep[999] = None  # after
""")
    assert run.stdout == "True\n"
    process = run.process()
    assert process.rows["after"].increment == -(100 + BYTES)
    assert 1000 * (100 + BYTES) <= process.rows["small"].increment <= 1000 * (100 + BYTES + NOTES)
    assert process.totals["dropped_events"] == process.totals["unknown_frees"] == 0


def test_without_objects(python):
    """MEMLINE_OBJECTS=off: what reaches the C library alone."""
    rows = record(python, PROGRAM, env={"MEMLINE_OBJECTS": "off"}).process().rows
    assert rows["small"].increment == 0
    assert rows["large"].increment == 10_000_000 + BYTES
    assert rows["deleted"].increment == -(10_000_000 + BYTES)


def test_switched_off(python):
    run = record(python, PROGRAM, env={"MEMLINE_OFF": "1"})
    assert (run.traces, run.stdout, run.stderr) == ([], "", "")


def test_arenas_are_not_counted_again(python):
    process = record(python, """
        keep = None
        def work():
            global keep
            keep = [bytes(100) for _ in range(100_000)]  # made
        work()
    """).process()
    objects = 100_000 * (100 + BYTES)
    assert objects <= process.rows["made"].increment <= objects + (2 << 20)
    assert process.totals["allocator_bytes"] >= objects
    assert process.totals["live_bytes"] < objects + (8 << 20)


def test_objects_without_the_gil(python):
    """An extension that lets go of the GIL too early gets away with it where PyObject_Malloc() is malloc()."""
    run = record(python, """
        import ctypes, threading
        library = ctypes.CDLL(None)  # lets go of the GIL for each call
        allocate, free = library.PyObject_Malloc, library.PyObject_Free
        allocate.restype, allocate.argtypes, free.argtypes = ctypes.c_void_p, [ctypes.c_size_t], [ctypes.c_void_p]
        def work(times):
            for n in range(times):
                free(allocate(50_000 + n % 2))
        threads = [threading.Thread(target=work, args=(3000,)) for n in range(2)]
        for each in threads:
            each.start()
        work(3000)
        for each in threads:
            each.join()
        threading.Thread(target=work, args=(10 ** 9,), daemon=True).start()
        print("done")
    """, env={"PYTHONMALLOC": "malloc"})
    assert run.stdout == "done\n"
    totals = run.process().totals
    assert totals["dropped_events"] == totals["unknown_frees"] == 0
    assert totals["allocations"] >= 9000
