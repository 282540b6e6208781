"""What newer versions of CPython have brought: other scopes, several interpreters, other ways to run the same code."""
import os

import pytest
from support import BYTES, record

SMALL = 2 << 10

FUNCTIONS = """
keep = [None] * 1000
def leaf(n):
    keep[n] = bytes(20_000 + n)  # made
    return n
def middle(n):
    return leaf(n)  # called
class Holder:
    def __init__(self, n):
        self.n = middle(n)  # constructed
def work(start):
    for n in range(start, 1000):
        Holder(n)  # loop
        pass
def clear():
    for n in range(1000):
        keep[n] = None  # cleared
work(1000 - 10)
clear()
work(0)
"""

SIZES = [20_000 + n + BYTES for n in range(1000)]
CLEARED = sum(SIZES[990:])
MADE = sum(SIZES)


def check_functions(process, slack=0):
    process.check_exact()
    rows = process.rows
    assert rows["made"].increment == MADE + CLEARED
    assert (rows["made"].live, rows["made"].live_blocks) == (MADE, 1000)
    assert 0 <= rows["made"].allocated - MADE - CLEARED <= 1010 * 32  # until 3.13 the int takes memory each time
    assert rows["cleared"].increment == -CLEARED
    for tag in "called", "constructed", "loop":
        assert abs(rows[tag].increment - MADE - CLEARED) <= SMALL + slack, tag
        assert abs(rows[tag].own_increment) <= SMALL + slack, tag


@pytest.mark.since(3, 11)
def test_functions_that_are_specialised(python):
    """The thousandth call takes another way through the interpreter than the first."""
    check_functions(record(python, FUNCTIONS).process())


@pytest.mark.since(3, 13)
def test_functions_that_are_compiled(python):
    """The JIT's own memory is mapped by whatever line it compiles; builds without a JIT ignore the variable."""
    check_functions(record(python, FUNCTIONS, env={"PYTHON_JIT": "1"}).process(), slack=1 << 20)


@pytest.mark.since(3, 12)
def test_perf_trampolines(python):
    """Each call goes through a function that was made for it, and a frame of its own."""
    process = record(python, FUNCTIONS, options=["-X", "perf"]).process()
    os.unlink(f"/tmp/perf-{process.data['pid']}.map")
    check_functions(process, slack=64 << 10)


@pytest.mark.since(3, 12)
def test_type_parameters(python):
    """Their scopes run between a definition and the function around it, and belong to the latter."""
    process = record(python, """
        keep = [None] * 8
        def outer():
            def inner[T](x: T = bytes(50_000)) -> T:  # default
                keep[0] = bytes(100_000)  # in_inner
                return x
            class Box[T]:
                data = bytes(20_000)  # in_body
                def put(self, x: T) -> "Box[T]":
                    keep[1] = bytes(3_000)  # in_method
            type Alias[T] = list[T]
            inner(1)  # inner_called
            Box().put(1)  # put_called
            return Alias.__value__
        def top[T: int](x: T) -> T:
            keep[2] = bytes(700_000)  # in_top
        outer()  # outer_called
        top(1)  # top_called
    """).process()
    rows = process.rows
    assert not [name for name in process.functions if "generic parameters" in name]
    assert 0 <= rows["default"].increment - (50_000 + BYTES) <= SMALL
    assert 0 <= rows["in_inner"].increment - (100_000 + BYTES) <= 64  # the tuple of arguments, once
    assert 0 <= rows["in_body"].increment - (20_000 + BYTES) <= 64
    assert 0 <= rows["in_method"].increment - (3_000 + BYTES) <= 64
    assert 0 <= rows["in_top"].increment - (700_000 + BYTES) <= 64
    assert abs(rows["inner_called"].increment - (100_000 + BYTES)) <= SMALL
    assert abs(rows["put_called"].increment - (3_000 + BYTES)) <= SMALL
    assert abs(rows["top_called"].increment - (700_000 + BYTES)) <= SMALL
    assert 0 <= rows["outer_called"].increment - 123_000 <= 8 << 20  # a class brings typing with it


@pytest.mark.since(3, 11)
def test_task_groups_and_groups_of_exceptions(python):
    process = record(python, """
        import asyncio
        keep = [None] * 8
        async def fail(n):
            local = bytes(1_000_000)  # local_made
            await asyncio.sleep(0)
            raise ValueError(n)
        async def hold():
            keep[0] = bytes(200_000)  # held
            await asyncio.sleep(0)
            keep[1] = bytes(30_000)  # never
        async def main():
            try:
                async with asyncio.TaskGroup() as group:
                    group.create_task(fail(1))
                    group.create_task(fail(2))
                    group.create_task(hold())
            except* ValueError as errors:
                keep[2] = bytes(4_000)  # handled
                del errors
            keep[3] = bytes(500)  # after
        asyncio.run(main())
        gc.collect()
    """).process()
    process.check_exact()
    rows = process.rows
    assert rows["local_made"].allocated >= 2 * (1_000_000 + BYTES)
    assert rows["local_made"].live == 0
    assert 0 <= rows["held"].increment - (200_000 + BYTES) <= 64
    assert 0 <= rows["handled"].increment - (4_000 + BYTES) <= 64
    assert 0 <= rows["after"].increment - (500 + BYTES) <= 64


INTERPRETERS = """
import threading
try:
    import _interpreters as interpreters
except ImportError:
    import _xxsubinterpreters as interpreters
import os, sys
folder = os.path.dirname(os.path.abspath(__file__))
with open(os.path.join(folder, "helper.py"), "w") as file:
    file.write(\"\"\"keep = None
def fill(size):
    global keep
    keep = bytes(size)
    for _ in range(100):
        bytes(size + 1)
def drop():
    global keep
    keep = None
\"\"\")
def work(size):
    interpreter = interpreters.create()
    text = "import sys; sys.path.insert(0, %r); import helper; helper.fill(%d)" % (folder, size)
    interpreters.run_string(interpreter, text)  # filled
    interpreters.run_string(interpreter, "helper.drop()")  # dropped
    interpreters.run_string(interpreter, "helper.fill(5_000)")
    interpreters.destroy(interpreter)  # destroyed
threads = [threading.Thread(target=work, args=(100_000 + 1000 * n,)) for n in range(4)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
print("done")
"""


@pytest.mark.since(3, 12)
def test_interpreters_with_locks_of_their_own(python):
    """Since 3.12 several of them run at once, each with pools of objects of its own."""
    run = record(python, INTERPRETERS, options=["-W", "ignore"])
    assert run.stdout == "done\n"
    process = run.process()
    assert process.totals["dropped_events"] == process.totals["missed_frees"] == 0
    # Since 3.14 an interpreter that ends frees three tables of its allocator, which were made within an allocation.
    assert process.totals["unknown_frees"] == (3 * 4 if python.version >= (3, 14) else 0)
    lines = {(name, line["line"]): line for file, name, line in process.lines() if file.endswith("/helper.py")}
    sizes = [100_000 + 1000 * n for n in range(4)] + [5_000] * 4
    filled, temporary, dropped = lines["fill", 4], lines["fill", 6], lines["drop", 9]
    assert filled["live_bytes"] == temporary["live_bytes"] == 0
    assert 0 <= filled["allocated_bytes"] - sum(size + BYTES for size in sizes) <= SMALL
    assert 0 <= temporary["allocated_bytes"] - 100 * sum(size + 1 + BYTES for size in sizes) <= 800 * 32 + SMALL
    assert abs(dropped["increment_bytes"] + sum(size + BYTES for size in sizes[:4])) <= SMALL


@pytest.mark.since(3, 14)
def test_annotations_that_wait(python):
    """They are computed on their own line, when somebody asks."""
    process = record(python, """
        import annotationlib
        kept = []
        def annotated(a: kept.append(bytes(300_000))) -> int:  # annotation
            return a
        annotated(1)
        nothing = None
        annotationlib.get_annotations(annotated)  # asked
    """).process()
    rows = {name: line for file, name, line in process.lines()
            if file == process.file and line["line"] == process.tags["annotation"]}
    (scope,) = [line for name, line in rows.items() if name.endswith("__annotate__")]
    assert 0 <= scope["own_increment_bytes"] - (300_000 + BYTES) <= SMALL
    assert process.rows["asked"].increment >= 300_000 + BYTES


@pytest.mark.since(3, 14)
def test_template_strings(python):
    process = record(python, """
        keep = [None] * 4
        def work():
            keep[0] = t"{bytes(100_000)}{bytes(20_000)} and {3!r:>10}"  # template
            keep[0] = None  # dropped
        work()
    """).process()
    made, dropped = process.rows["template"], process.rows["dropped"]
    assert 0 <= made.increment - (120_000 + 2 * BYTES) <= SMALL
    assert 0 <= -dropped.increment - (120_000 + 2 * BYTES) <= SMALL
    assert made.live == made.increment + dropped.increment


@pytest.mark.since(3, 15)
def test_lazy_imports(python):
    """A module that is imported lazily runs when its name is first used, so its memory is of that line."""
    process = record(python, """
        import os
        with open(os.path.join(os.path.dirname(__file__), "helper.py"), "w") as file:
            file.write("data = bytes(900_000)\\n")
        lazy import helper  # named
        nothing = None
        size = len(helper.data)  # used
    """).process()
    assert abs(process.rows["named"].increment) <= 16 << 10
    assert process.rows["used"].increment >= 900_000 + BYTES
    lines = {file.rpartition("/")[2]: line for file, _, line in process.lines()
             if line["own_increment_bytes"] > 800_000}
    assert 0 <= lines["helper.py"]["own_increment_bytes"] - (900_000 + BYTES) <= SMALL
