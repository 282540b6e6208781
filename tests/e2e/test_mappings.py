"""Mappings: exact bytes, in whole pages, whatever part of them comes and goes."""
import mmap

import pytest
from support import record, record_calls

PAGE = mmap.PAGESIZE

NAMES = """
import mmap
PAGE = mmap.PAGESIZE
NONE, WRITE = 0, mmap.PROT_READ | mmap.PROT_WRITE
ANON = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS
NORESERVE, MAYMOVE = 0x4000, 1
map = bind("map", number, number, size, number, number, number)
map_fixed = bind("map_fixed", number, number, size, size, number, number)
unmap = bind("unmap", number, number, size, size)
remap = bind("remap", number, number, size, size, number)
protect = bind("protect", number, number, size, size, number)
map_failures = bind("map_failures", number, number)
move_break = bind("break", number, size)
"""


def anonymous_pages(python, process):
    """Those of the program alone. Newer versions of libffi map pages for the functions that ctypes makes."""
    _, empty = record_calls(python, NAMES, "")
    return (process.totals["mappings"]["anonymous_bytes"] - empty.totals["mappings"]["anonymous_bytes"]) / PAGE


def pages(process, *tags):
    return [process.rows[tag].increment / PAGE for tag in tags]


def test_whole_and_in_part(python):
    _, process = record_calls(python, NAMES, """
        map(1, 10 * PAGE, WRITE, ANON, -1)  # mapped
        unmap(1, 0, 2 * PAGE)  # front
        unmap(1, 8 * PAGE, 2 * PAGE)  # back
        unmap(1, 4 * PAGE, PAGE)  # middle
        unmap(1, 0, 10 * PAGE)  # rest
        map(2, 3 * PAGE - 100, WRITE, ANON, -1)  # rounded
        unmap(2, 0, 3 * PAGE - 200)  # rounded_off
        map(3, 7 * PAGE, WRITE, ANON, -1)  # kept
        unmap(3, PAGE, 3 * PAGE)  # hole
    """)
    process.check_exact()
    assert pages(process, "mapped", "front", "back", "middle", "rest") == [10, -2, -2, -1, -5]
    assert pages(process, "rounded", "rounded_off", "kept", "hole") == [3, -3, 7, -3]
    assert process.rows["mapped"].live == 0
    assert process.rows["kept"].live == 4 * PAGE
    assert anonymous_pages(python, process) == 4


def test_partial_unmap_sums(python):
    """2-1+10, 4-2+10, 5-2+10 and 8-1+10 pages, as a tracer of the field checks them."""
    text = "".join(f"""
def case{at}():
    map({at}, {first} * PAGE, WRITE, ANON, -1)  # first{at}
    unmap({at}, {offset} * PAGE, {cut} * PAGE)  # cut{at}
    map({at + 10}, 10 * PAGE, WRITE, ANON, -1)  # second{at}
case{at}()  # whole{at}
""" for at, (first, offset, cut) in enumerate([(2, 1, 1), (4, 1, 2), (5, 0, 2), (8, 7, 1)]))
    _, process = record_calls(python, NAMES, text)
    assert pages(process, "whole0", "whole1", "whole2", "whole3") == [11, 12, 13, 17]


def test_one_unmap_over_several(python):
    _, process = record_calls(python, NAMES, """
        map(1, 20 * PAGE, NONE, ANON | NORESERVE, -1)  # reserved
        map_fixed(1, 0, 4 * PAGE, WRITE, ANON)  # low
        map_fixed(1, 6 * PAGE, 4 * PAGE, WRITE, ANON)  # high
        unmap(1, 2 * PAGE, 6 * PAGE)  # across
    """)
    process.check_exact()
    assert pages(process, "reserved", "low", "high", "across") == [0, 4, 4, -4]
    assert process.rows["low"].live == process.rows["high"].live == 2 * PAGE
    assert process.totals["mappings"]["reserved_bytes"] == 20 * PAGE - 4 * PAGE - 6 * PAGE


def test_fixed_over_a_mapping(python):
    _, process = record_calls(python, NAMES, """
        map(1, 10 * PAGE, WRITE, ANON, -1)  # under
        map_fixed(1, 3 * PAGE, 2 * PAGE, WRITE, ANON)  # over
    """)
    process.check_exact()
    assert pages(process, "under", "over") == [10, 0]
    assert process.rows["under"].live == 8 * PAGE
    assert process.rows["over"].live == 2 * PAGE
    assert anonymous_pages(python, process) == 10


def test_remap(python):
    _, process = record_calls(python, NAMES, """
        map(1, 4 * PAGE, WRITE, ANON, -1)  # mapped
        assert remap(1, 4 * PAGE, 400 * PAGE, MAYMOVE) == 0  # grown
        assert remap(1, 400 * PAGE, 3 * PAGE, 0) == 0  # shrunk
        unmap(1, 0, 3 * PAGE)  # gone
    """)
    process.check_exact()
    assert pages(process, "mapped", "grown", "shrunk", "gone") == [4, 396, -397, -3]
    assert process.rows["grown"].allocated == 400 * PAGE


def test_a_reservation_is_not_heap(python):
    _, process = record_calls(python, NAMES, """
        map(1, 1 << 30, NONE, ANON | NORESERVE, -1)  # reserved
        protect(1, 16 * PAGE, 5 * PAGE, WRITE)  # opened
        protect(1, 17 * PAGE, PAGE, NONE)  # closed
        protect(1, 16 * PAGE, 5 * PAGE, WRITE)  # opened_again
        map(2, 8 * PAGE, NONE, ANON, -1)  # second
        unmap(2, 0, 8 * PAGE)  # second_gone
    """)
    process.check_exact()
    assert pages(process, "reserved", "opened", "second", "second_gone") == [0, 5, 0, 0]
    # What was written to once stays memory when it is closed.
    assert pages(process, "closed", "opened_again") == [0, 0]
    assert process.rows["opened"].live == 5 * PAGE
    assert process.rows["reserved"].live == 0
    assert process.totals["mappings"]["reserved_bytes"] == (1 << 30) - 5 * PAGE
    assert process.totals["peak_bytes"] < 1 << 29


def test_a_file_is_not_heap(python):
    _, process = record_calls(python, NAMES, """
        import os
        fd = os.open(__file__, os.O_RDONLY)
        private = mmap.MAP_PRIVATE
        before = None
        map(1, 6 * PAGE, mmap.PROT_READ, private, fd)  # file
        unmap(1, 0, 2 * PAGE)  # part
    """)
    assert pages(process, "file", "part") == [0, 0]
    assert process.rows["file"].live == 0
    assert process.totals["mappings"]["file_bytes"] >= 4 * PAGE


def test_failures_change_nothing(python):
    run, process = record_calls(python, NAMES, """
        map(1, 4 * PAGE, WRITE, ANON, -1)
        answer = None
        answer = map_failures(1)  # failures
        print(answer)
    """)
    assert run.answers() == 0
    process.check_exact()
    assert (process.rows["failures"].increment, process.rows["failures"].allocated) == (0, 0)


def test_the_break(python):
    run, process = record_calls(python, NAMES, """
        answer = None
        answer = move_break(64 * 1024)  # moved
        print(answer)
    """)
    assert run.answers() == 0
    moved = process.rows["moved"]
    assert (moved.increment, moved.allocated) == (0, 64 * 1024)


@pytest.mark.parametrize("pages_asked", [1, 2.5, 1000])
def test_pythons_own_mmap(python, pages_asked):
    process = record(python, f"""
        import mmap
        def work():
            m = mmap.mmap(-1, {int(pages_asked * PAGE)})  # mapped
            m.close()  # closed
        work()
    """, env={"MEMLINE_OBJECTS": "off"}).process()
    process.check_exact()
    size = -(-pages_asked // 1) * PAGE
    assert process.rows["mapped"].increment == size
    assert process.rows["closed"].increment == -size
