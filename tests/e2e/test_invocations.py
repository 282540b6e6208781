"""What each invocation of an entry function retains, however invocations take turns."""
import json
import signal
import time

import pytest
from support import BYTES, memline, record, start

# Somebody else's code, which calls the user's and, as such code does, allocates between two calls.
FRAMEWORK = '''
def log(*arguments):
    return "%d %s" % (len(arguments), arguments)
def call(function, *arguments):
    return function(*arguments)
def call_many(function, count):
    for i in range(count):
        function(i)
        log(function, i)
def call_safely(function, count):
    for i in range(count):
        try:
            function(i)
        except ValueError:
            pass
        log(function, i)
def take_turns(generators):
    while generators:
        generators = [each for each in generators if next(each, None) is not None]
'''

PREPARE = f"""
framework = {{}}
exec(compile({FRAMEWORK!r}, "/elsewhere/framework.py", "exec"), framework)
KEPT = [None] * 1000
"""


class Entry:
    """An entry function of `report --by invocation`."""

    def __init__(self, data, run):
        self.data = data
        with open(run.program, encoding="utf-8") as text:
            self.tags = [line.rstrip().rpartition("# ")[2] if "# " in line else "" for line in text]

    def __getattr__(self, name):
        return self.data[name]

    def retained(self, tag):
        """(bytes, blocks) of the tagged line."""
        number = self.tags.index(tag) + 1
        found = [line for line in self.data["lines"] if line["line"] == number]
        return (found[0]["retained_bytes"], found[0]["retained_blocks"]) if found else (0, 0)

    def retains(self, tag, count, size):
        """Whether the tagged line retains so many bytes objects of that size, and all but nothing else: CPython makes a
        small object or two where a line runs for the first time."""
        number, blocks = self.retained(tag)
        return 0 <= number - count * (BYTES + size) < 300 and 0 <= blocks - count < 5


def invocations(run, *options):
    """The entry functions of the run's one process, by the last part of their names."""
    data = json.loads(memline("report", "--by", "invocation", "--json", *run.sysroot, *options, run.folder))
    (process,) = data["processes"]
    entries = process["invocations"]
    for entry in entries:
        assert entry["retained_bytes"] == sum(line["retained_bytes"] for line in entry["lines"])
        assert entry["retained_blocks"] == sum(line["retained_blocks"] for line in entry["lines"])
        assert entry["last"]["invocations"] == min(entry["invocations"], 10)
        assert entry["allocated_bytes"] >= entry["retained_bytes"] >= entry["last"]["retained_bytes"]
        assert entry["peak_bytes_max"] * max(entry["invocations"], 1) >= entry["retained_bytes"]
    return {entry["name"].rpartition(".")[2]: Entry(entry, run) for entry in entries}


COROUTINES = """
import asyncio
async def leaking(i):
    part = bytearray(3000)
    KEPT[i] = bytes(1000 + i)  # kept
    await asyncio.sleep(0)
    part = None
    await asyncio.sleep(0.001)
    KEPT[500 + i] = bytes(2000)  # kept_later
    await asyncio.sleep(0)
async def passing(i):
    parts = [bytes(5000)]  # passed
    await asyncio.sleep(0)
    parts.append(bytes(5000))
    await asyncio.sleep(0.001)
async def main():
    for at in range(0, 100, 10):
        await asyncio.gather(*[function(i) for i in range(at, at + 10) for function in (leaking, passing)])
asyncio.run(main())
"""


def test_coroutines_take_turns(python):
    """Ten of two functions at a time, on one loop: each has its own, and main none of theirs."""
    entries = invocations(record(python, PREPARE + COROUTINES))
    leaking, passing, main = (entries[name] for name in ("leaking", "passing", "main"))
    assert (leaking.invocations, leaking.unfinished) == (100, 0)
    assert (passing.invocations, passing.unfinished) == (100, 0)
    assert (main.invocations, main.unfinished) == (1, 0)
    wanted = sum(BYTES + 1000 + i for i in range(100))
    assert wanted <= leaking.retained("kept")[0] < wanted + 300
    assert leaking.retains("kept_later", 100, 2000)
    # What asyncio keeps for itself is little.
    assert 0 <= leaking.retained_bytes - wanted - 100 * (BYTES + 2000) < 20000
    assert passing.retained("passed") == (0, 0) and passing.retained_bytes < 20000
    assert main.retained_bytes < 40000
    last = sum(BYTES + 1000 + i + BYTES + 2000 for i in range(90, 100))
    assert 0 <= leaking.last["retained_bytes"] - last < 10000
    for entry, peak in (leaking, 4000), (passing, 10000):
        assert peak < entry.peak_bytes_mean <= entry.peak_bytes_max < peak + 10000


def test_addresses_of_coroutines_are_used_again(python):
    """One after the other, each coroutine mostly where the one before it was."""
    entries = invocations(record(python, PREPARE + """
import asyncio
seen = set()
async def handle(i):
    KEPT[i] = bytes(1000)  # kept
    await asyncio.sleep(0)
    part = bytes(500)
    await asyncio.sleep(0)
async def main():
    for i in range(200):
        coroutine = handle(i)
        seen.add(id(coroutine))
        task = asyncio.ensure_future(coroutine)
        del coroutine
        await task
        del task
asyncio.run(main())
assert len(seen) < 100
"""))
    assert (entries["handle"].invocations, entries["handle"].unfinished) == (200, 0)
    assert entries["handle"].retains("kept", 200, 1000)


def test_threads_of_a_pool(python):
    entries = invocations(record(python, PREPARE + """
import concurrent.futures
def handle(i):
    part = bytearray(100000)
    KEPT[i] = bytes(1000)  # kept
    return inner(i)
def inner(i):
    KEPT[500 + i] = bytes(100)  # kept_inside
    return bytes(2000)  # returned
with concurrent.futures.ThreadPoolExecutor(4) as pool:
    for result in pool.map(handle, range(100)):
        pass
del result
"""))
    assert set(entries) == {"handle"}
    handle = entries["handle"]
    assert (handle.invocations, handle.unfinished) == (100, 0)
    assert handle.retains("kept", 100, 1000)
    assert handle.retains("kept_inside", 100, 100)
    assert handle.retained("returned") == (0, 0)
    assert 100000 < handle.peak_bytes_mean <= handle.peak_bytes_max < 110000


def test_threads_of_their_own(python):
    entries = invocations(record(python, PREPARE + """
import threading
def work(i):
    KEPT[i] = bytes(1000)  # kept
for at in range(0, 40, 4):
    threads = [threading.Thread(target=work, args=(i,)) for i in range(at, at + 4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
"""))
    assert (entries["work"].invocations, entries["work"].unfinished) == (40, 0)
    assert entries["work"].retains("kept", 40, 1000)


def test_generators_take_turns(python):
    """A framework goes on with one of them after the other."""
    entries = invocations(record(python, PREPARE + """
def stream(i):
    for part in range(5):
        KEPT[i * 10 + part] = bytes(1000)  # kept
        yield bytes(3000)
framework["take_turns"]([stream(i) for i in range(20)])
"""))
    assert set(entries) == {"stream"}
    assert (entries["stream"].invocations, entries["stream"].unfinished) == (20, 0)
    assert entries["stream"].retains("kept", 100, 1000)


def test_asynchronous_generators(python):
    """They belong to the coroutine that goes over them."""
    entries = invocations(record(python, PREPARE + """
import asyncio
async def parts(i):
    for part in range(3):
        KEPT[i * 10 + part] = bytes(1000)  # kept
        await asyncio.sleep(0)
        yield bytes(100)
async def handle(i):
    async for part in parts(i):
        await asyncio.sleep(0)
async def main():
    await asyncio.gather(*[handle(i) for i in range(20)])
asyncio.run(main())
"""))
    assert (entries["handle"].invocations, entries["handle"].unfinished) == (20, 0)
    assert entries["handle"].retains("kept", 60, 1000)
    assert "parts" not in entries


def test_exceptions(python):
    """They leave the entry function, and a coroutine that is cancelled ends too."""
    entries = invocations(record(python, PREPARE + """
import asyncio
def handle(i):
    KEPT[i] = bytes(1000)  # kept
    if i % 2:
        raise ValueError(i)
async def wait(i):
    KEPT[500 + i] = bytes(2000)  # kept_waiting
    await asyncio.sleep(1000)
async def main():
    tasks = [asyncio.ensure_future(wait(i)) for i in range(10)]
    await asyncio.sleep(0)
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)
    del task, tasks
framework["call_safely"](handle, 50)
asyncio.run(main())
"""))
    assert (entries["handle"].invocations, entries["handle"].unfinished) == (50, 0)
    assert entries["handle"].retains("kept", 50, 1000)
    assert (entries["wait"].invocations, entries["wait"].unfinished) == (10, 0)
    assert entries["wait"].retains("kept_waiting", 10, 2000)


def test_recursion_and_callbacks(python):
    """The entry function calls itself, also by way of the framework: that is one invocation."""
    entries = invocations(record(python, PREPARE + """
def handle(i, depth=5):
    KEPT[i * 10 + depth] = bytes(1000)  # kept
    if depth % 2:
        handle(i, depth - 1)
    elif depth:
        framework["call"](handle, i, depth - 1)
framework["call_many"](handle, 30)
"""))
    assert set(entries) == {"handle"}
    assert (entries["handle"].invocations, entries["handle"].unfinished) == (30, 0)
    assert entries["handle"].retains("kept", 180, 1000)


NAMED = """
class Shop:
    def order(self, i):
        KEPT[i] = bytes(1000)  # kept
        self.pay(i)
    def pay(self, i):
        KEPT[500 + i] = bytes(2000)  # kept_paying
shop = Shop()
def work():
    for i in range(50):
        shop.order(i)
        bytes(600)
work()
"""


def test_named_entry_functions(python):
    """A program that nobody calls has no invocations, unless it says which."""
    run = record(python, PREPARE + NAMED)
    assert invocations(run) == {}
    entries = invocations(run, "--invocations", "order")
    assert set(entries) == {"order"} and entries["order"].invocations == 50
    assert entries["order"].retains("kept", 50, 1000)
    assert entries["order"].retains("kept_paying", 50, 2000)
    entries = invocations(run, "--invocations", "pay", "--invocations", "nothing")
    assert set(entries) == {"pay"} and entries["pay"].invocations == 50
    assert entries["pay"].retains("kept_paying", 50, 2000)
    # The outermost counts; and what is shown of it can be chosen.
    assert set(invocations(run, "--invocations", "[op]*", "--invocations", "w*")) == {"work"}
    assert invocations(run, "--invocations", "order", "--function", "pay") == {}
    text = memline("report", "--by", "invocation", *run.sysroot, run.folder)
    assert "--invocations GLOB names" in text
    assert memline("report", "--invocations", "order", *run.sysroot, run.folder) == \
        memline("report", "--by", "invocation", "--invocations", "order", *run.sysroot, run.folder)
    memline("report", "--by", "stack", run.folder, status=2)


def test_named_coroutines_inside_another(python):
    """They are awaited one after the other, while others of the loop have their turns."""
    run = record(python, PREPARE + """
import asyncio
async def order(i):
    KEPT[i] = bytes(1000)  # kept
    await asyncio.sleep(0)
    await asyncio.sleep(0)
async def client(first):
    for i in range(first, first + 10):
        await order(i)
async def main():
    await asyncio.gather(*[client(first) for first in range(0, 100, 10)])
asyncio.run(main())
""")
    assert invocations(run)["client"].invocations == 10
    entries = invocations(run, "--invocations", "order")
    assert set(entries) == {"order"}
    assert (entries["order"].invocations, entries["order"].unfinished) == (100, 0)
    assert entries["order"].retains("kept", 100, 1000)


def test_time_and_the_text(python):
    """What an invocation took is right to a tick of the clock, though it allocates at its start alone."""
    run = record(python, PREPARE + """
import asyncio
import time
def handle(i):
    KEPT[i] = bytes(100000)
    time.sleep(0.1)
async def waiting():
    KEPT[100] = bytes(1000)
    await asyncio.sleep(0.3)
framework["call_many"](handle, 3)
asyncio.run(waiting())
""")
    entries = invocations(run)
    assert 0.09 <= entries["handle"].seconds_mean <= entries["handle"].seconds_max < 5
    assert 0.29 <= entries["waiting"].seconds_mean < 5
    text = memline("report", "--by", "invocation", *run.sysroot, run.folder)
    assert f"handle ({run.file}:" in text and "): 3 invocations\n  retained   97.7 KiB each\n" in text
    assert "KEPT[i] = bytes(100000)\n" in text


def test_unfinished(python):
    """Killed in the middle of one: it is told apart, and not mixed into what the others retain."""
    child, run = start(python, PREPARE + """
import time
def handle(i):
    KEPT[i] = bytes(1000)  # kept
    if i == 9:
        part = bytes(50000)
        print("here", flush=True)
        time.sleep(1000)
framework["call_many"](handle, 10)
""")
    assert child.stdout.readline() == b"here\n"
    time.sleep(0.05)
    child.send_signal(signal.SIGKILL)
    run.finish(child, status=-signal.SIGKILL)
    handle = invocations(run)["handle"]
    assert (handle.invocations, handle.unfinished) == (9, 1)
    assert 51000 + 2 * BYTES <= handle.unfinished_live_bytes < 70000
    assert handle.retains("kept", 9, 1000)
    assert "9 invocations, and 1 unfinished with " in memline("report", "--by", "invocation", *run.sysroot, run.folder)


@pytest.mark.few
@pytest.mark.parametrize("options, count", [(("--from", "half"), 10), (("--to", "half"), 10)])
def test_parts_of_a_run(python, options, count):
    """Invocations are those that begin in the window."""
    child, run = start(python, PREPARE + """
import sys
def handle(i):
    KEPT[i] = bytes(1000)  # kept
framework["call_many"](handle, 10)
print("here", flush=True)
sys.stdin.readline()
framework["call_many"](lambda i: handle(100 + i), 10)
""")
    assert child.stdout.readline() == b"here\n"
    time.sleep(0.05)
    memline("ctl", run.folder, "mark", "half")
    time.sleep(0.05)
    child.stdin.write(b"\n")
    child.stdin.close()
    run.finish(child)
    entries = invocations(run, *options)
    (entry,) = entries.values()
    assert set(entries) == ({"<lambda>"} if "--from" in options else {"handle"})
    assert entry.invocations == count
    assert entry.retains("kept", count, 1000)
