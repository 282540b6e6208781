"""Every line gets its own bytes and no one else's: language constructs whose truth is known to the byte.

Sizes are unlike each other, so that bytes on a wrong line cannot hide. Programs keep what they make in slots that were
made before: storing there allocates nothing.
"""
import pytest
from support import BYTES, MIB, around_bytearray, counts_lines, record

# Frames are heap objects before 3.11, charged to the line that calls, and stay on a free list: at most that much.
FRAMES = 16 << 10

# What small objects around a construct may leave behind (generators, exceptions, functions, lists).
SMALL = 2 << 10


def near(row, expected, slack):
    assert abs(row.increment - expected) <= slack, row
    return True


def frames(python):
    return 0 if python.version >= (3, 11) else FRAMES


def test_a_block_made_and_deleted(python):
    run = record(python, """
        def work():
            b = bytearray(10_000_000)  # made
            n = b is None  # idle
            del b  # deleted
            return n  # left
        work()  # called
    """)
    process = run.process()
    process.check_exact()
    rows = process.rows
    assert 10_000_000 <= rows["made"].increment <= 10_000_200
    assert rows["deleted"].increment == -rows["made"].increment
    assert rows["made"].own_increment == rows["made"].increment
    assert (rows["made"].live, rows["made"].live_blocks) == (0, 0)
    assert rows["made"].allocated == rows["made"].increment
    assert (rows["idle"].increment, rows["left"].increment) == (0, 0)
    assert near(rows["called"], 0, frames(python))
    assert run.stderr == ""


def test_a_block_that_stays(python):
    process = record(python, """
        keep = None
        def work():
            global keep
            keep = bytearray(10_000_000)  # made
        work()  # called
    """).process()
    made, called = process.rows["made"], process.rows["called"]
    assert made.increment == made.live == made.peak == made.allocated == made.inclusive_live
    assert 10_000_000 <= made.live <= 10_000_200
    assert made.live_blocks == made.allocations == 2
    assert made.increment <= called.increment <= made.increment + frames(python)
    assert called.own_increment <= frames(python)


def test_loops(python):
    process = record(python, """
        def replace():
            for _ in range(100):
                t = bytearray(40 << 20)  # replaced
            del t  # deleted
        def measure():
            for _ in range(100):
                len(bytearray(40 << 20))  # temporary
        replace()
        measure()
    """).process()
    process.check_exact()
    replaced, temporary = process.rows["replaced"], process.rows["temporary"]
    assert 40 * MIB <= replaced.increment <= 40 * MIB + 200
    assert 4000 * MIB <= replaced.allocated <= 4000 * MIB + 100 * 200
    assert 80 * MIB <= replaced.peak <= 80 * MIB + 400
    assert process.rows["deleted"].increment == -replaced.increment
    assert temporary.increment == 0
    assert 4000 * MIB <= temporary.allocated <= 4000 * MIB + 100 * 200
    assert 80 * MIB <= process.totals["peak_bytes"] <= 81 * MIB + 10 * MIB


def test_the_peak_of_a_temporary(python):
    row = record(python, """
        def measure():
            for _ in range(100):
                len(bytearray(4 << 20))  # temporary
        measure()
    """).process().rows["temporary"]
    assert (row.increment, row.live) == (0, 0)
    assert 4 * MIB <= row.peak <= 4 * MIB + 200


def test_recursion_counts_a_line_once(python):
    rows = record(python, """
        SIZES = [100_000 + 1000 * i for i in range(10)]
        keep = [None] * 10
        def grow(n):
            keep[n] = bytes(SIZES[n])  # made
            if n:
                grow(n - 1)  # deeper
        def shrink(n):
            if n:
                shrink(n - 1)  # deeper_too
            keep[n] = None  # freed
        grow(9)  # grown
        shrink(9)  # shrunk
    """).process().rows
    sizes = [100_000 + 1000 * i + BYTES for i in range(10)]
    assert rows["made"].increment == rows["made"].own_increment == sum(sizes)
    assert near(rows["deeper"], sum(sizes[:9]), frames(python))
    assert near(rows["grown"], sum(sizes), frames(python))
    assert abs(rows["deeper"].own_increment) <= frames(python)
    assert rows["freed"].increment == -sum(sizes)
    assert near(rows["deeper_too"], -sum(sizes[:9]), frames(python))
    assert near(rows["shrunk"], -sum(sizes), frames(python))


def test_two_functions_that_call_each_other(python):
    rows = record(python, """
        SIZES = [100_000 + 1000 * i for i in range(10)]
        keep = [None] * 10
        def even(n):
            keep[n] = bytes(SIZES[n])  # even_made
            if n:
                odd(n - 1)  # even_calls
        def odd(n):
            keep[n] = bytes(SIZES[n])  # odd_made
            even(n - 1)  # odd_calls
        even(8)
    """).process().rows
    sizes = [100_000 + 1000 * i + BYTES for i in range(10)]
    assert rows["even_made"].increment == sum(sizes[0:9:2])
    assert rows["odd_made"].increment == sum(sizes[1:9:2])
    assert near(rows["even_calls"], sum(sizes[:8]), frames(python))
    assert near(rows["odd_calls"], sum(sizes[:7]), frames(python))


def test_generators(python):
    rows = record(python, """
        keep = [None] * 8
        def leaf():
            for i in range(3):
                keep[i] = bytes(100_000)  # leaf_made
                yield i  # leaf_yields
        def middle():
            yield from leaf()  # delegates
        def consume():
            for i in middle():  # resumes
                keep[i + 3] = bytes(20_000)  # consumer_made
            keep[6] = bytes(3_000)  # after
        consume()
        def abandon():
            source = leaf()
            next(source)  # stepped
            keep[0] = None  # dropped
            del source
        abandon()
    """).process().rows
    assert rows["leaf_made"].increment == 3 * (100_000 + BYTES)  # the fourth replaces one
    assert 0 <= rows["leaf_made"].allocated - 4 * (100_000 + BYTES) <= SMALL
    assert near(rows["leaf_yields"], 0, SMALL + frames(python))  # the one left behind is closed there
    assert near(rows["delegates"], 3 * (100_000 + BYTES), SMALL + frames(python))
    assert near(rows["resumes"], 3 * (100_000 + BYTES), SMALL + frames(python))
    assert rows["consumer_made"].increment == 3 * (20_000 + BYTES)
    assert rows["after"].increment == 3_000 + BYTES
    assert near(rows["stepped"], 0, SMALL + frames(python))
    assert rows["dropped"].increment == -(100_000 + BYTES)


def test_async_tasks_that_interleave(python):
    process = record(python, """
        import asyncio
        keep = [None] * 8
        async def first():
            keep[0] = bytes(100_000)  # first_made
            await asyncio.sleep(0)  # first_waits
            keep[1] = bytes(200_000)  # first_more
            await asyncio.sleep(0)  # first_waits_again
            keep[0] = None  # first_freed
        async def second():
            keep[2] = bytes(3_000_000)  # second_made
            await asyncio.sleep(0)  # second_waits
            await deeper()  # second_deeper
        async def deeper():
            keep[3] = bytes(4_000_000)  # deeper_made
            await asyncio.sleep(0)  # deeper_waits
            keep[2] = None  # deeper_freed
        async def main():
            await asyncio.gather(first(), second())  # gathers
        asyncio.run(main())  # runs
    """).process()
    process.check_exact()
    rows = process.rows
    assert rows["first_made"].increment == 100_000 + BYTES
    assert rows["first_more"].increment == 200_000 + BYTES
    assert rows["first_freed"].increment == -(100_000 + BYTES)
    assert rows["second_made"].increment == 3_000_000 + BYTES
    assert rows["deeper_made"].increment == 4_000_000 + BYTES
    assert rows["deeper_freed"].increment == -(3_000_000 + BYTES)
    for waiting in ("first_waits", "first_waits_again", "second_waits", "deeper_waits", "gathers"):
        assert near(rows[waiting], 0, 8 << 10)
    assert near(rows["second_deeper"], 1_000_000, 8 << 10)
    assert near(rows["runs"], 4_200_000, 1 << 20)


def test_exceptions(python):
    rows = record(python, """
        keep = [None] * 8
        def fail():
            local = bytes(1_000_000)  # local_made
            raise ValueError(len(local))  # raised
        def attempt():
            try:
                fail()  # failed
            except ValueError:  # caught
                keep[0] = bytes(20_000)  # handled
                done = True  # handler_ends
            finally:
                keep[1] = bytes(3_000)  # cleaned
            keep[2] = bytes(400)  # after
            return done
        for _ in range(1):
            attempt()  # attempted
    """).process().rows
    assert rows["local_made"].increment == 1_000_000 + BYTES
    assert rows["handled"].increment == 20_000 + BYTES
    assert rows["cleaned"].increment == 3_000 + BYTES
    assert rows["after"].increment == 400 + BYTES
    freed = rows["caught"].increment + rows["handler_ends"].increment
    assert abs(freed + 1_000_000 + BYTES) <= SMALL + frames(python)
    assert near(rows["failed"], 1_000_000 + BYTES, SMALL + frames(python))
    assert near(rows["attempted"], 23_400 + 3 * BYTES, SMALL + frames(python))


def test_locals_that_die_belong_to_the_line_that_called(python):
    rows = record(python, """
        keep = [None]
        def work():
            local = bytes(1_000_000)  # made
            return 1  # returned
        def yields():
            local = bytes(2_000_000)  # made_by_generator
            yield 1  # yielded
        def between():
            work()  # called
            list(map(work_with, keep))  # called_by_map
            for _ in yields():  # exhausted
                pass
            return 1  # done
        def work_with(_):
            local = bytes(4_000_000)  # made_by_map
            return 1  # returned_to_map
        between()  # outer
    """).process().rows
    for size, made, returned, called in ((1_000_000, "made", "returned", "called"),
                                         (2_000_000, "made_by_generator", "yielded", "exhausted"),
                                         (4_000_000, "made_by_map", "returned_to_map", "called_by_map")):
        assert rows[made].increment == size + BYTES
        assert rows[made].live == 0
        assert near(rows[returned], 0, frames(python))
        assert abs(rows[called].own_increment + size + BYTES) <= SMALL + frames(python)
        assert near(rows[called], 0, SMALL + frames(python))
    assert near(rows["done"], 0, 0)


def test_calls_over_several_lines(python):
    rows = record(python, """
        SIZE = 500_000
        def nothing(*parts):
            return None
        def work():
            nothing(  # head
                bytes(100_000),  # one
                bytes(20_000),  # two
            )  # tail
            b = bytearray(  # split_head
                SIZE  # split_argument
            )
            del b  # deleted
        work()
    """).process().rows
    assert rows["one"].increment == 100_000 + BYTES
    assert rows["two"].increment == 20_000 + BYTES
    assert near(rows["head"], -(120_000 + 2 * BYTES), SMALL + frames(python))
    assert rows["tail"].increment == 0
    assert rows["split_head"].increment == 500_000 + around_bytearray(python)
    assert rows["split_argument"].increment == 0
    assert rows["deleted"].increment == -(500_000 + around_bytearray(python))


def test_comprehensions_and_lambdas_fold_into_their_function(python):
    process = record(python, """
        keep = [None] * 8
        def comprehend():
            keep[0] = [bytes(100_000) for _ in range(3)]  # in_list
            keep[1] = {i: bytes(20_000) for i in range(3)}  # in_dict
            keep[2] = list(bytes(3_000) for _ in range(3))  # in_generator
            keep[3] = [
                bytes(500_000)  # element
                for _ in range(2)  # clause
            ]
            make = lambda: bytes(40_000)  # in_lambda
            keep[4] = make()  # lambda_called
            keep[5] = {len(bytes(7_000)) for _ in range(3)}  # in_set
        comprehend()
    """).process()
    rows = process.rows
    assert near(rows["in_list"], 3 * (100_000 + BYTES), SMALL + frames(python))
    assert near(rows["in_dict"], 3 * (20_000 + BYTES), SMALL + frames(python))
    assert near(rows["in_generator"], 3 * (3_000 + BYTES), SMALL + frames(python))
    assert rows["element"].own_increment >= 2 * (500_000 + BYTES)
    assert near(rows["element"], 2 * (500_000 + BYTES), SMALL + frames(python))
    assert near(rows["in_lambda"], 40_000 + BYTES, SMALL + frames(python))
    assert near(rows["lambda_called"], 40_000 + BYTES, frames(python))
    assert near(rows["in_set"], 0, SMALL + frames(python))
    assert rows["in_set"].allocated >= 3 * (7_000 + BYTES)
    assert {name.rpartition(".")[2] for name in process.functions} <= {"<module>", "comprehend"}


def test_nested_functions_and_closures(python):
    process = record(python, """
        keep = [None] * 8
        def outer(size):
            keep[0] = bytes(100_000)  # outer_made
            def inner():
                keep[1] = bytes(size)  # inner_made
            inner()  # inner_called
            return inner
        again = outer(20_000)  # outer_called
        again()  # again_called
    """).process()
    rows = process.rows
    assert rows["outer_made"].increment == 100_000 + BYTES
    assert rows["inner_made"].increment == 20_000 + BYTES
    assert rows["inner_made"].allocated == 2 * (20_000 + BYTES)
    assert near(rows["inner_called"], 20_000 + BYTES, frames(python))
    assert near(rows["outer_called"], 120_000 + 2 * BYTES, SMALL + frames(python))
    assert near(rows["again_called"], 0, frames(python))
    names = {"outer.<locals>.inner" if python.version >= (3, 11) else "inner", "outer", "<module>"}
    assert set(process.functions) == names


def test_class_bodies_and_methods(python):
    rows = record(python, """
        keep = [None] * 200
        class Holder:
            table = bytes(100_000)  # in_body
            __slots__ = ("data",)
            def __init__(self):
                self.data = bytes(20_000)  # in_init
            @property
            def size(self):
                return bytes(3_000) is None  # in_property
        def make():
            for i in range(200):
                keep[i] = Holder()  # constructed
                keep[i].size  # asked
        make()
    """).process().rows
    assert rows["in_body"].increment == 100_000 + BYTES
    assert rows["in_init"].increment == 200 * (20_000 + BYTES)
    assert rows["in_property"].increment == 0
    assert rows["in_property"].allocated == 200 * (3_000 + BYTES)
    assert near(rows["asked"], 0, frames(python))
    # The objects themselves: a slot and the garbage collector's header, 40 to 48 bytes each.
    objects = rows["constructed"].increment - rows["in_init"].increment
    assert 200 * 32 <= objects <= 200 * 64 + frames(python)


def test_exec_belongs_to_the_line_that_calls_it(python):
    process = record(python, """
        keep = [None] * 8
        def work():
            exec("keep[0] = bytes(100_000)")  # executed
            keep[1] = eval("bytes(20_000)")  # evaluated
            code = compile("def made():\\n    keep[2] = bytes(3_000_000)", "<made up>", "exec")
            scope = {"keep": keep}
            exec(code, scope)
            scope["made"]()  # made_called
        work()
    """).process()
    rows = process.rows
    assert near(rows["executed"], 100_000 + BYTES, 16 << 10)
    assert near(rows["evaluated"], 20_000 + BYTES, 16 << 10)
    assert near(rows["made_called"], 3_000_000 + BYTES, frames(python))
    assert abs(rows["made_called"].own_increment - 3_000_000 - BYTES) <= frames(python)
    assert not [file for file, _, _ in process.lines() if "<" in file]


def test_decorators(python):
    rows = record(python, """
        keep = [None] * 8
        def decorate(size):
            def wrap(function):
                keep[0] = bytes(100_000)  # wrapped
                def wrapper():
                    keep[1] = bytes(size)  # in_wrapper
                    return function()  # forwards
                return wrapper
            return wrap
        SIZE = 20_000
        @decorate(  # decorator
            SIZE
        )
        def decorated():  # definition
            keep[2] = bytes(3_000)  # in_decorated
        decorated()  # called
    """).process().rows
    assert rows["wrapped"].increment == 100_000 + BYTES
    assert rows["in_wrapper"].increment == 20_000 + BYTES
    assert rows["in_decorated"].increment == 3_000 + BYTES
    assert near(rows["forwards"], 3_000 + BYTES, frames(python))
    assert near(rows["called"], 23_000 + 2 * BYTES, frames(python))
    # Before 3.10 the function is wrapped on the line of its def.
    wrapping = rows["decorator"].increment + rows["definition"].increment
    assert abs(wrapping - 100_000 - BYTES) <= SMALL + frames(python)


def test_module_level(python):
    process = record(python, """
        first = second = None
        first = bytes(100_000)  # made
        second = bytearray(20_000)  # made_too
        first = None  # freed
        for i in range(3):
            third = bytes(3_000)  # in_loop
        if second:
            del second  # deleted
    """).process()
    rows = process.rows
    assert rows["made"].increment == 100_000 + BYTES
    assert rows["made_too"].increment == 20_000 + around_bytearray(python)
    assert rows["freed"].increment == -(100_000 + BYTES)
    assert 3_000 + BYTES <= rows["in_loop"].increment <= 3_000 + BYTES + SMALL  # the first store of a new name
    assert rows["in_loop"].allocated >= 3 * (3_000 + BYTES)
    assert rows["deleted"].increment == -(20_000 + around_bytearray(python))
    assert process.functions == ["<module>"]


def test_an_imported_module_of_the_program(python):
    process = record(python, """
        import os, sys
        with open(os.path.join(os.path.dirname(__file__), "helper.py"), "w") as file:
            file.write("keep = None\\ndef fill(size):\\n    global keep\\n    keep = bytes(size)\\n")
        import helper
        helper.fill(100_000)  # filled
    """).process()
    lines = {(file.rpartition("/")[2], name, line["line"]): line for file, name, line in process.lines()}
    assert lines["helper.py", "fill", 4]["own_increment_bytes"] == 100_000 + BYTES
    assert near(process.rows["filled"], 100_000 + BYTES, frames(python))
    assert abs(process.rows["filled"].own_increment) <= frames(python)


def test_a_block_that_grows_by_realloc(python):
    run = record(python, """
        import json, sys
        def work():
            piece = bytes(1_000_000)  # piece
            b = bytearray(100_000)  # made
            before = sys.getsizeof(b)
            b.extend(piece)  # grown
            between = sys.getsizeof(b)
            b.extend(piece)  # grown_more
            after = sys.getsizeof(b)
            del b[1000:]  # cut
            cut = sys.getsizeof(b)
            b.clear()  # cleared
            return before, between, after, cut
        print(json.dumps(work()))
    """)
    before, between, after, cut = run.answers()
    rows = run.process().rows
    assert rows["made"].increment == before
    assert rows["grown"].increment == between - before
    assert rows["grown_more"].increment == after - between
    assert rows["cut"].increment == cut - after
    assert rows["made"].live <= around_bytearray(python)  # the data went to the lines that reallocated it
    assert rows["grown"].live == 0


@pytest.mark.parametrize("how", ["file", "module", "command", "stdin"])
def test_ways_to_start_a_program(python, how):
    process = record(python, """
        keep = None
        keep = bytes(100_000)  # made
    """, how=how).process()
    assert process.rows["made"].own_increment == 100_000 + BYTES
    assert process.functions == ["<module>"]


def test_garbage_belongs_to_the_line_that_collects_it(python):
    rows = record(python, """
        class Node:
            __slots__ = ("self", "data")
        def work():
            node = Node()
            node.self = node.data = node
            node.data = bytes(100_000)  # made
            node = None  # dropped
            gc.collect()  # collected
        work()
    """).process().rows
    assert rows["made"].increment == 100_000 + BYTES
    assert rows["made"].live == rows["dropped"].increment == 0
    assert near(rows["collected"], -(100_000 + BYTES), 64 << 10)


@pytest.mark.few
@pytest.mark.parametrize("occurrences", ["auto", "on"])
def test_occurrences_where_the_interpreter_does_not_tell_them(python, occurrences):
    process = record(python, "keep = bytearray(1000)  # made\n", env={"MEMLINE_OCCURRENCES": occurrences}).process()
    assert process.rows["made"].occurrences == (1 if counts_lines(python) else None)
    assert process.warnings == ([] if counts_lines(python) or occurrences == "auto" else
                                ["lines were not counted: only CPython 3.12 and later tell which lines run"])
