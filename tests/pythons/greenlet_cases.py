"""Runs in each interpreter under walker.so with WALKER=every (see test_walk.py): greenlets of unlike shape switch, and
each event in between is walked. Prints "switches N walks N frames N empty N bad N careful N".

argv: where greenlet is installed, the number of switches. Written for Python 3.8.
"""
import ctypes
import functools
import random
import sys

sys.path.insert(0, sys.argv[1])
import greenlet  # noqa: E402

walker = ctypes.PyDLL(None)
main = greenlet.getcurrent()
choose = random.Random(1).random
wanted = int(sys.argv[2])
switches = 0


def switch():
    """To another greenlet, from whatever depth the current one is in."""
    global switches
    switches += 1
    garbage = [object() for _ in range(3)]
    workers[int(choose() * len(workers))].switch(garbage)


def through_c(depth):
    """Every level enters the interpreter anew, so that each has its own C frames."""
    if depth == 0:
        return switch()
    return sorted([2, 1], key=lambda n: (n, through_c(depth - 1) if n == 1 else None)[0])


def through_python(depth, padding=()):
    if depth == 0:
        return through_c(int(choose() * 4))
    return through_python(depth - 1, (padding, depth))


def generator(depth):
    if depth:
        yield from generator(depth - 1)
    through_python(int(choose() * 5))
    yield depth


class Await:
    def __await__(self):
        switch()
        return iter(())


async def coroutine(depth):
    if depth:
        await coroutine(depth - 1)
    switch()
    await Await()


def run_coroutine(depth):
    try:
        coroutine(depth).send(None)
    except StopIteration:
        pass


def reduce(depth):
    return functools.reduce(lambda a, b: through_c(b % 3) or b, range(depth), 0)


def callback(depth):
    """An allocation right in a C function that was called from a greenlet's first C frame."""
    return list(map(through_python, range(depth)))


SHAPES = [
    lambda: through_c(int(choose() * 20)),
    lambda: through_python(int(choose() * 200)),
    lambda: list(generator(int(choose() * 10))),
    lambda: run_coroutine(int(choose() * 10)),
    lambda: reduce(int(choose() * 5)),
    lambda: callback(int(choose() * 5)),
    switch,
]


def work(*_):
    while switches < wanted:
        SHAPES[int(choose() * len(SHAPES))]()
        if choose() < 0.02:
            renew()


def renew():
    """Replaces one worker by another that starts from here, at this depth of the C stack; the old one dies."""
    place = int(choose() * len(workers))
    if workers[place] is not greenlet.getcurrent():
        workers[place] = greenlet.greenlet(work, main)


workers = []


def begin(depth):
    if depth:
        return list(map(begin, [depth - 1]))
    workers.extend(greenlet.greenlet(work) for _ in range(20))
    while switches < wanted:
        workers[int(choose() * len(workers))].switch()


begin(5)
print("switches", switches, "walks", walker.walker_walks(), "frames", walker.walker_frames(), "empty",
      walker.walker_empty(), "bad", walker.walker_bad(), "careful", walker.walker_careful())
sys.stdout.flush()
import os  # noqa: E402
os._exit(0)
