"""Threads: each event belongs to the thread that acted, exactly, also where they run at the same time."""
import pytest
from support import BYTES, record, record_calls

THREADS = 8
COUNT = 5000

NAMES = """
import threading
block_list = ctypes.POINTER(ctypes.c_void_p)
hold = bind("hold", None, size, size, block_list)
drop = bind("drop", None, size, block_list)
meet = bind("meet", None, number)
churn = bind("churn", None, size, size)
native_threads = bind("native_threads", number, number, number, size)
"""

# Functions of their own, so that each thread has lines of its own. What ctypes needs is made ahead.
WORKERS = f"""
COUNT = size({COUNT})
""" + "".join(f"""
size{at} = size({1000 + at})
blocks{at} = (ctypes.c_void_p * {COUNT})()
def work{at}():
    meet({THREADS})  # met{at}
    hold(COUNT, size{at}, blocks{at})  # held{at}
""" for at in range(THREADS))

RUN = f"""
threads = [threading.Thread(target=globals()["work%d" % at]) for at in range({THREADS})]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
"""


def test_each_thread_its_own_bytes(python):
    _, process = record_calls(python, NAMES, WORKERS + RUN)
    process.check_exact()
    for at in range(THREADS):
        row = process.rows[f"held{at}"]
        assert (row.allocations, row.allocated) == (COUNT, COUNT * (1000 + at))
        assert (row.live, row.live_blocks, row.increment) == (COUNT * (1000 + at), COUNT, COUNT * (1000 + at))
        assert process.rows[f"met{at}"].increment == 0


def test_each_thread_its_own_bytes_with_objects(python):
    _, process = record_calls(python, NAMES, WORKERS + RUN, MEMLINE_OBJECTS="on")
    process.check_exact()
    for at in range(THREADS):
        row = process.rows[f"held{at}"]
        assert 0 <= row.live_blocks - COUNT <= 4  # what the call itself has made and keeps, once
        assert 0 <= row.live - COUNT * (1000 + at) <= 512
        assert row.increment == row.live


def test_blocks_freed_by_another_thread(python):
    _, process = record_calls(python, NAMES, WORKERS + RUN + f"""
def drop_all():
    drop(COUNT, blocks0)  # dropped0
    drop(COUNT, blocks1)  # dropped1
    drop(COUNT, blocks2)  # dropped2
other = threading.Thread(target=drop_all)
other.start()
other.join()
""")
    process.check_exact()
    for at in range(THREADS):
        held = process.rows[f"held{at}"]
        assert held.increment == COUNT * (1000 + at)
        if at < 3:
            assert (held.live, held.live_blocks) == (0, 0)
            assert process.rows[f"dropped{at}"].increment == -COUNT * (1000 + at)
        else:
            assert held.live == COUNT * (1000 + at)


def test_addresses_that_go_from_thread_to_thread(python):
    """Blocks of one size from one heap, without the C library's caches of threads: what one thread frees is what the
    next one gets, while all of them run. Both check_exact() and memline check see a record on the wrong side of its
    call."""
    text = "".join(f"""
rounds{at}, size{at} = size(20_000), size(3000)
def work{at}():
    meet({THREADS})
    churn(rounds{at}, size{at})  # churned{at}
""" for at in range(THREADS))
    _, process = record_calls(python, NAMES, text + RUN,
                              GLIBC_TUNABLES="glibc.malloc.arena_max=1:glibc.malloc.tcache_count=0")
    process.check_exact()
    for at in range(THREADS):
        row = process.rows[f"churned{at}"]
        assert (row.allocations, row.allocated, row.live, row.increment) == (20_000, 20_000 * 3000, 0, 0)


def test_threads_that_python_does_not_know(python):
    _, process = record_calls(python, NAMES, """
        answer = None
        before = None
        answer = native_threads(100, 100, 1234)  # started
        print(answer)
    """)
    process.check_exact()
    assert process.data["native"]["increment_bytes"] <= process.totals["live_bytes"]
    assert process.totals["allocations"] >= 10_000
    started = process.rows["started"]
    assert started.allocations < 10_000  # the caller did not make them: they have no Python stack


@pytest.mark.parametrize("objects", ["on", "off"])
def test_threads_that_python_knows_now_and_then(python, objects):
    """What is known of such a thread between two calls says nothing of what it does in one."""
    _, process = record_calls(python, NAMES, """
        entry = ctypes.CFUNCTYPE(None)
        visit = bind("visit", number, entry, number, number, size)
        leak = ctypes.CDLL(None).malloc
        leak.argtypes, leak.restype = [size], None
        def inner(bytes):
            leak(bytes)  # leaked
        def work():
            inner(4321)  # called
        function = entry(work)
        answer = None
        answer = visit(function, 50, 100, 1234)  # started
        print(answer)
    """, MEMLINE_OBJECTS=objects)
    process.check_exact()
    leaked = process.rows["leaked"]
    assert (leaked.live, leaked.live_blocks, leaked.increment) == (50 * 4321, 50, 50 * 4321)
    if objects == "off":
        assert leaked.allocations == 50
    assert process.rows["called"].increment >= 50 * 4321
    assert process.rows["started"].allocations < 5000


@pytest.mark.parametrize("daemon", [False, True])
def test_python_threads(python, daemon):
    process = record(python, f"""
        import threading
        keep = [None] * 8
        def first():
            keep[0] = bytes(100_000)  # first_made
            keep[1] = bytearray(20_000)
        def second():
            for _ in range(50):
                keep[2] = bytes(3_000_000)  # second_made
            keep[0] = None  # second_freed
        a, b = threading.Thread(target=first, daemon={daemon}), threading.Thread(target=second, daemon={daemon})
        a.start()
        a.join()
        b.start()
        b.join()
    """).process()
    process.check_exact()
    rows = process.rows
    assert rows["first_made"].increment == 100_000 + BYTES
    assert rows["first_made"].live == 0
    assert rows["second_made"].increment == 3_000_000 + BYTES
    assert rows["second_made"].allocated == 50 * (3_000_000 + BYTES)
    assert rows["second_freed"].increment == -(100_000 + BYTES)


def test_a_report_of_one_thread(python):
    run = record(python, """
        import json, threading
        keep = [None] * 8
        ids = [0, 0]
        def first():
            ids[0] = threading.get_native_id()
            bytes(1)
            keep[0] = bytes(100_000)  # first_made
        def second():
            ids[1] = threading.get_native_id()
            bytes(1)
            keep[1] = bytes(20_000)  # second_made
        for each in first, second:
            thread = threading.Thread(target=each)
            thread.start()
            thread.join()
        print(json.dumps(ids))
    """)
    first, second = run.answers()
    if first == second:
        pytest.skip("the system gave both threads the same number")
    only = run.process("--thread", first)
    assert only.rows["first_made"].increment == 100_000 + BYTES
    assert only.rows["second_made"].increment == 0
