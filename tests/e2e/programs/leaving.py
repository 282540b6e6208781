"""Every way to leave a function, each from several lines that look alike to what is called.

    leaving.py EVENTS       a busy function has some 80 times as many events
"""
import functools
import gc
import sys
import threading
import weakref

gc.disable()
BUSY = int(sys.argv[1])

# Not made anew each time: nothing is freed where it is swallowed.
ERROR = AttributeError("x")
UNDEAD = [None]


def small():
    return bytes(60)


def busy(error=None):
    """Nothing is freed any more when it is left, which would be an event of its caller."""
    for _ in range(BUSY):
        kept = []
        for i in range(40):
            kept.append(bytes(40 + i))
        small()
    kept = None
    if error:
        raise error


def raises():
    busy()
    raise ERROR


class Dying:
    def __del__(self):
        busy()


class Undead:
    def __del__(self):
        busy()
        UNDEAD[0] = self


class Manager:
    def __enter__(self):
        busy()

    def __exit__(self, *args):
        busy()


def generates():
    busy()
    yield 1
    busy()
    yield 2
    try:
        busy()
        yield 3
    finally:
        busy()


def delegates():
    yield from generates()


class Fails:
    """hasattr() swallows what its attributes raise, in C code."""

    @property
    def plain(self):
        busy()
        raises()

    @property
    def itself(self):
        busy()
        raise ERROR

    @property
    def again(self):
        try:
            busy()
            raises()
        except AttributeError:
            busy()
            raise

    @property
    def at_last(self):
        try:
            busy()
            raises()
        finally:
            busy()

    @property
    def managed(self):
        with Manager():
            busy()
            raises()

    @property
    def dying(self):
        return [Dying(), raises()]

    @property
    def undead(self):
        return [Undead(), busy(ERROR)]

    @property
    def comprehends(self):
        return [raises() for _ in "a"]

    @property
    def yields(self):
        for _ in generates():
            busy()
        raises()


def swallowed():
    o = Fails()
    for name in ("plain", "itself", "again", "at_last", "managed", "dying", "undead", "comprehends", "yields"):
        for _ in range(2):
            hasattr(o, name)
            hasattr(o, name)
            hasattr(o, name)


def key(x):
    busy()
    return x


def callbacks():
    for _ in range(2):
        max((1, 2), key=key)
        max((1, 2), key=key)
        functools.reduce(lambda a, b: key(a), (1, 2))
        functools.reduce(lambda a, b: key(a), (1, 2))


def generators():
    for _ in range(2):
        for _ in generates():
            small()
        sum(generates())
        sum(generates())
        sum(delegates())
        g = generates()
        next(g)
        next(g)
        next(g)
        g.close()
        g = delegates()
        next(g)
        next(g)
        next(g)
        del g


def leaves():
    busy()
    return 5


def dies():
    kept = Dying()
    busy()
    return kept and 5


def tracing(install):
    def tracer(frame, event, arg):
        if frame.f_code.co_name in ("leaves", "dies") and event in ("call", "return"):
            max((1, 2), key=key)
            max((1, 2), key=key)
            key(1)
            key(1)
        return tracer

    leaves()
    install(tracer)
    leaves()
    dies()
    max((1, 2), key=key)
    install(None)
    leaves()
    dies()


def monitoring(tool):
    """Another tool's callbacks, before memline's or behind."""
    def told(code, *_):
        if code.co_name in ("leaves", "dies"):
            busy()

    events = sys.monitoring.events
    sys.monitoring.use_tool_id(tool, "other")
    for event in (events.PY_RETURN, events.PY_START, events.PY_UNWIND):
        sys.monitoring.register_callback(tool, event, told)
    sys.monitoring.set_events(tool, events.PY_RETURN | events.PY_START | events.PY_UNWIND)
    for _ in range(2):
        leaves()
        leaves()
        dies()
        max((1, 2), key=lambda x: leaves())
        max((1, 2), key=lambda x: leaves())
    sys.monitoring.set_events(tool, 0)
    sys.monitoring.free_tool_id(tool)


def references():
    class Kept:
        pass

    def leave(callback):
        kept = Kept()
        found.append(weakref.ref(kept, callback))
        busy()
        raise ERROR

    def driven():
        while True:
            yield
            key(1)

    found = []
    for _ in range(2):
        g = driven()
        next(g)
        for callback in (key, g.send):
            try:
                leave(callback)
            except AttributeError:
                small()
            try:
                leave(callback)
            except AttributeError:
                small()


def recursion(n):
    if n:
        return recursion(n - 1)
    busy()


def everything():
    try:
        swallowed()
        callbacks()
        generators()
        tracing(sys.settrace)
        tracing(sys.setprofile)
        for tool in (0, 5):
            monitoring(tool)
        references()
        for n in (20, 60, 200, 20):
            recursion(n)
            recursion(n)
        thread = threading.Thread(target=swallowed)
        thread.start()
        thread.join()
    finally:
        small()


def nested(n):
    """As everything(), of no use as a barrier, since it handles exceptions: so others are needed."""
    try:
        return nested(n - 1) if n else everything()
    finally:
        small()


nested(12)


def has_been_watched(function):
    monitoring = sys.monitoring
    return bool(monitoring.get_local_events(4, function.__code__) & monitoring.events.PY_RETURN)


if sys.monitoring.get_tool(4):
    print(*sorted(f.__name__ for f in (key, leaves, nested, raises, recursion) if has_been_watched(f)))
