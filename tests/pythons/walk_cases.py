"""Runs in each interpreter under walker.so (see test_walk.py): compares walks inside malloc with sys._getframe().

Prints "ok NAME" or "FAILED NAME: what differs" for each case. Written for Python 3.8.
"""
import asyncio
import atexit
import contextlib
import ctypes
import dis
import functools
import gc
import os
import re
import signal
import sys
import threading
import time

MAGIC = 7654321
walker = ctypes.PyDLL(None)
walker.walker_take.restype = walker.walker_refusal.restype = walker.walker_version.restype = ctypes.c_char_p
without_gil = ctypes.CDLL(None)
without_gil.malloc.restype = ctypes.c_void_p
without_gil.malloc.argtypes = [ctypes.c_size_t]
without_gil.free.restype, without_gil.free.argtypes = None, [ctypes.c_void_p]

CASES = []
definitions = {}


def case(function):
    CASES.append(function)
    return function


class Different(Exception):
    pass


def template():
    pass


@functools.lru_cache(maxsize=None)
def line_ranges(first_line, table):
    """[(start, end, line)] in bytes, as this interpreter reads the table."""
    code = template.__code__
    if hasattr(code, "co_lines"):
        return list(code.replace(co_firstlineno=first_line, co_linetable=table).co_lines())
    nop = bytes([dis.opmap["NOP"], 0])
    code = code.replace(co_firstlineno=first_line, co_lnotab=table, co_code=nop * 40000)
    starts = list(dis.findlinestarts(code))
    ends = [start for start, _ in starts[1:]] + [1 << 30]
    return [(start, end, line) for (start, line), end in zip(starts, ends)]


def line_of(first_line, table, place):
    if place >= 0:
        for start, end, line in line_ranges(first_line, table):
            if start <= place < end:
                return first_line if line is None else line
    return first_line


def text(hexadecimal):
    return bytes.fromhex(hexadecimal).decode("utf-8", "surrogatepass")


def take():
    """The walks since the last call: [[(file, name, line, place)], innermost first]."""
    walks = []
    for line in walker.walker_take().decode().split("\n")[:-1]:
        words = line.split(" ")
        if words[0] == "C":
            file, name = map(text, words[4:6])
            definitions[words[1]] = (file, name, int(words[2]), bytes.fromhex(words[6]), int(words[3]))
            continue
        if words[1] != "0":
            raise Different("the walk ended at a bad frame: " + line[:200])
        walks.append([])
        for word in words[2:]:
            number, place = word.split(":")
            file, name, first_line, table, _ = definitions[number]
            walks[-1].append((file, name, line_of(first_line, table, int(place)), int(place)))
    return walks


def chain(frame):
    """What the interpreter says: [(file, name, line, offset)], innermost first."""
    found = []
    while frame:
        code = frame.f_code
        line = code.co_firstlineno if frame.f_lineno is None else frame.f_lineno
        found.append((code.co_filename, getattr(code, "co_qualname", code.co_name), line, frame.f_lasti))
        frame = frame.f_back
    return found


def compare(walk, frames):
    """The innermost frame has gone on since, on the same line; the others must be where they were."""
    if len(walk) != len(frames):
        raise Different("%d frames, not %d: %r, %r" % (len(walk), len(frames), walk[:6], frames[:6]))
    for depth, (ours, theirs) in enumerate(zip(walk, frames)):
        if ours[:3] != theirs[:3] or (depth and ours[3] != theirs[3]):
            raise Different("frame %d: %r, not %r" % (depth, ours, theirs))


def same(frame, walks=1):
    """Compares the newest walk with a frame of the caller's, which has just allocated MAGIC bytes on this line."""
    taken = take()
    if len(taken) != walks:
        raise Different("%d walks, not %d" % (len(taken), walks))
    compare(taken[-1], chain(frame))
    return True


def here():
    """A helper where the caller cannot say it in one expression."""
    return same(bytearray(MAGIC) and sys._getframe())


@case
def plain():
    same(bytearray(MAGIC) and sys._getframe())


@case
def nested():
    def middle():
        def inner():
            return same(bytearray(MAGIC) and sys._getframe())

        return inner()

    middle()
    here()


@case
def several_lines():
    value = [
        1,
        here(),
        2,
    ]
    here(); value.append(
        here())


@case
def recursion():
    def down(n):
        return here() if n == 0 else down(n - 1)

    down(50)


@case
def deep_recursion():
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(20000)

    def down(n):
        return here() if n == 0 else down(n - 1)

    try:
        down(3000)
    finally:
        sys.setrecursionlimit(limit)


@case
def generator():
    def numbers():
        yield same(bytearray(MAGIC) and sys._getframe())
        try:
            yield here()
        finally:
            here()

    each = numbers()
    next(each)
    next(each)
    each.close()
    for _ in numbers():
        here()
    list(numbers())


@case
def generator_throw():
    def catches():
        while True:
            try:
                yield here()
            except ValueError:
                here()

    def delegates():
        yield from catches()

    each = delegates()
    next(each)
    each.throw(ValueError("thrown"))
    each.close()


@case
def yield_from():
    def inner():
        yield here()
        yield here()

    def middle():
        yield from inner()
        here()

    def outer():
        yield from middle()

    for _ in outer():
        here()


@case
def coroutine():
    class Ready:
        def __await__(self):
            here()
            yield
            here()

    async def inner():
        here()
        await Ready()
        here()

    async def outer():
        await inner()

    running = outer()
    running.send(None)
    with contextlib.suppress(StopIteration):
        running.send(None)


@case
def tasks():
    async def leaf(n):
        here()
        await asyncio.sleep(0)
        here()
        return n

    async def branch(n):
        return await leaf(n) + await leaf(n)

    async def main():
        here()
        found = await asyncio.gather(*[branch(n) for n in range(5)])
        await asyncio.wait_for(leaf(1), 5)
        loop = asyncio.get_running_loop()
        loop.call_soon(here)
        await asyncio.sleep(0)
        await loop.run_in_executor(None, here)
        return found

    asyncio.run(main())


@case
def async_generator():
    async def numbers():
        for n in range(2):
            here()
            yield n
            await asyncio.sleep(0)
            here()

    @contextlib.asynccontextmanager
    async def context():
        here()
        yield
        here()

    async def main():
        async with context():
            async for _ in numbers():
                here()
        return [here() async for _ in numbers()]

    asyncio.run(main())


@case
def callbacks():
    sorted([2, 1], key=lambda n: (here(), n)[1])
    list(map(lambda n: here(), [1]))
    functools.reduce(lambda a, b: here(), [1, 2])
    re.sub("a", lambda match: here() and "b", "a")
    functools.partial(here)()

    class Odd:
        def __eq__(self, other):
            return here()

        def __hash__(self):
            return 1

        def __getattr__(self, name):
            return here()

        def __iter__(self):
            here()
            return iter([1])

        @property
        def value(self):
            return here()

    {Odd(): 1}[Odd()]
    Odd().anything, Odd().value, list(Odd())


@case
def finalizers():
    class Dying:
        def __del__(self):
            here()

    Dying()
    cycle = Dying()
    cycle.itself = cycle
    del cycle
    gc.collect()


@case
def class_bodies():
    class Meta(type):
        def __new__(mcs, name, bases, namespace):
            here()
            return super().__new__(mcs, name, bases, namespace)

        def __call__(cls, *arguments):
            here()
            return super().__call__(*arguments)

    class Body(metaclass=Meta):
        here()

        class Inner:
            attribute = same(bytearray(MAGIC) and sys._getframe())

        def __init__(self):
            here()

        def __init_subclass__(cls):
            here()

    Body()

    class Child(Body):
        pass

    Child()


@case
def comprehensions():
    [same(bytearray(MAGIC) and sys._getframe()) for _ in range(2)]
    {same(bytearray(MAGIC) and sys._getframe()) for _ in range(2)}
    {n: same(bytearray(MAGIC) and sys._getframe()) for n in range(2)}
    list(same(bytearray(MAGIC) and sys._getframe()) for _ in range(2))
    [[here() for _ in range(2)] for _ in range(2)]
    [
        n
        for n in range(2)
        if here()
    ]


@case
def closures():
    def outer(a, b=1, *rest, c=2, **others):
        def inner():
            nonlocal a
            a += 1
            here()
            return a, b, c, rest, others

        here()
        return inner

    outer(1, 2, 3, c=4, d=5)()


@case
def specialised():
    class Thing:
        def __init__(self, n):
            self.n = n
            if n % 50 == 0:
                here()

        def method(self, n):
            return self.n + n if n % 50 else here()

        @staticmethod
        def static(n):
            return n if n % 50 else here()

    class Slotted:
        __slots__ = ("n",)

        def __init__(self, n):
            self.n = n if n % 50 else here()

    for n in range(400):
        thing = Thing(n)
        thing.method(n)
        thing.static(n)
        Slotted(n)
        if n % 50 == 0:
            here()


@case
def init_shim():
    class Plain:
        def __init__(self):
            if count % 100 == 0:
                here()

    class Nested:
        def __init__(self):
            self.plain = Plain()

    for count in range(1000):
        Nested()


@case
def own_init_named_file():
    """A real __init__ in a file called __init__ is not the interpreter's shim, though its names are one object."""
    space = {"here": here}
    source = "def __init__():\n    here()\n    return 1\n"
    exec(compile(source, sys.intern("__init__"), "exec"), space)
    for _ in range(20):
        space["__init__"]()


@case
def executed():
    exec("here()\ndef f():\n    here()\nf()", {"here": here})
    eval("here()", {"here": here})
    for n in range(300):
        exec(compile("\n" * n + "def f%d():\n  x = here()\nf%d()" % (n % 2, n % 2), "<made %d>" % (n % 3), "exec"),
             {"here": here})


@case
def exceptions():
    def raises():
        try:
            raise ValueError(here())
        except ValueError:
            here()
            raise KeyError
        finally:
            here()

    try:
        raises()
    except KeyError:
        here()

    @contextlib.contextmanager
    def manager():
        here()
        yield here()
        here()

    with manager():
        here()


@case
def names():
    space = {"here": here}
    for name in ("caf\xe9", "\u0444\u0443\u043d\u043a\u0446\u0438\u044f", "\u540d\u524d", "\U00010437x", "x" * 300):
        file = "/tmp/" + name + ".py"
        exec(compile("class %s:\n  def %s(self): here()\n%s().%s()" % ((name,) * 4), file, "exec"), space)
    exec(compile("here()", "bad\udc80\udcffname.py", "exec"), space)
    code = compile("here()", "lone", "exec")
    changes = {"co_name": "a\ud800b\udfffc"}
    if hasattr(code, "co_qualname"):
        changes["co_qualname"] = changes["co_name"]
    exec(code.replace(**changes), space)


@case
def odd_strings():
    """Strings whose characters are not behind their header: subclasses, and those made by the old Py_UNICODE API."""
    class Text(str):
        pass

    code = compile("here()", "plain", "exec")
    files = [Text("sub.py"), Text("s\xfcb.py"), Text("\u540d.py"), Text("\U00010437.py")]
    if sys.version_info < (3, 12):
        make = ctypes.pythonapi.PyUnicode_FromUnicode
        make.restype, make.argtypes = ctypes.py_object, [ctypes.c_wchar_p, ctypes.c_ssize_t]
        fill = ctypes.pythonapi.PyUnicode_AsUnicode
        fill.restype, fill.argtypes = ctypes.POINTER(ctypes.c_wchar), [ctypes.py_object]
        for wanted in ("legacy.py", "l\xe9gacy.py", "l\u540dgacy.py"):
            string = make(None, len(wanted))
            for i, character in enumerate(wanted):
                fill(string)[i] = character
            files.append(string)
    for file in files:
        exec(code.replace(co_filename=file), {"here": here})


@case
def hooks():
    def trace(frame, event, argument):
        if armed and frame.f_code.co_name == "traced":
            here()
        return trace

    def traced():
        x = 1
        return x

    for install in (sys.settrace, sys.setprofile):
        before = sys.gettrace() if install is sys.settrace else sys.getprofile()
        armed = True
        install(trace)
        traced()
        armed = False
        install(before)
    here()


@case
def signal_handler():
    seen = []
    before = signal.signal(signal.SIGUSR1, lambda number, frame: seen.append(here()))
    os.kill(os.getpid(), signal.SIGUSR1)
    for _ in range(1000):
        pass
    signal.signal(signal.SIGUSR1, before)
    if seen != [True]:
        raise Different("the handler did not run")


def in_thread(function):
    errors = []

    def run():
        try:
            function()
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    if errors:
        raise errors[0]


@case
def threads():
    in_thread(here)
    in_thread(generator)
    in_thread(deep_recursion)
    for size in (256 << 10, 64 << 20):
        before = threading.stack_size(size)
        in_thread(here)
        in_thread(tasks)
        threading.stack_size(before)


def free_walk():
    """An allocation with the GIL released."""
    same(without_gil.free(without_gil.malloc(MAGIC)) or sys._getframe())


@case
def gil_released():
    free_walk()
    in_thread(free_walk)

    def numbers():
        yield free_walk()

    list(numbers())


@case
def gil_released_while_others_run():
    stop = []

    def busy():
        n = 0
        while not stop:
            n += 1

    def allocate():
        for _ in range(30):
            free_walk()
            time.sleep(0.001)

    others = [threading.Thread(target=busy) for _ in range(2)]
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-4)
    for other in others:
        other.start()
    try:
        in_thread(allocate)
        allocate()
    finally:
        stop.append(True)
        sys.setswitchinterval(before)
        for other in others:
            other.join()


@case
def native_thread():
    without_gil.walker_native_thread()
    walker.walker_native_thread()
    if take() != [[], []]:
        raise Different("Python frames in a thread without any")


def interpreters():
    try:
        import _interpreters as module
    except ImportError:
        import _xxsubinterpreters as module
    return module


SUB = "def inner():\n    return len(bytearray(%d))\ninner()\n" % MAGIC


def check_sub():
    taken = take()
    if len(taken) != 1:
        raise Different("%d walks in the subinterpreter, not 1" % len(taken))
    found = [(name, line) for _, name, line, _ in taken[0]]
    if found != [("inner", 2), ("<module>", 3)]:
        raise Different("in the subinterpreter: %r" % found)


def run_sub(module, interpreter):
    module.run_string(interpreter, SUB)
    check_sub()


@case
def subinterpreter():
    module = interpreters()
    interpreter = module.create()
    run_sub(module, interpreter)
    if sys.version_info >= (3, 11):
        # Until 3.10 the module lends the creating thread's state to whatever thread runs the interpreter, and nothing
        # in it tells that this thread uses it now: the walk shows the caller then.
        in_thread(lambda: run_sub(module, interpreter))
    here()
    gil_released()
    gil_released_while_others_run()
    in_thread(here)
    second = module.create()
    run_sub(module, second)
    run_sub(module, interpreter)
    module.destroy(interpreter)
    run_sub(module, second)
    module.destroy(second)
    here()


@case
def forked():
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            here()
            in_thread(here)
            status = 0
        finally:
            os._exit(status)
    if os.waitpid(pid, 0)[1] != 0:
        raise Different("in the child")


@case
def imported():
    import tempfile
    with tempfile.TemporaryDirectory() as folder:
        with open(os.path.join(folder, "memline_imported.py"), "w") as file:
            file.write("import walk_cases_main\nwalk_cases_main.here()\n")
        sys.modules["walk_cases_main"] = sys.modules["__main__"]
        sys.path.insert(0, folder)
        try:
            import memline_imported
        finally:
            sys.path.remove(folder)
        del sys.modules["memline_imported"], memline_imported


@case
def version():
    if walker.walker_version().decode() != sys.version.split(" ")[0]:
        raise Different("%r" % walker.walker_version())


def at_exit():
    """Exit handlers run before the interpreter begins to finalize."""
    if walker.walker_finalizing():
        raise Different("finalizing in an exit handler")
    here()


def run(function):
    try:
        take()
        function()
        print("ok", function.__name__)
    except Exception as error:
        print("FAILED %s: %s: %s" % (function.__name__, type(error).__name__, error))


class AtTheEnd:
    """Lives in the module until the interpreter clears it."""

    def __init__(self, finalizing=walker.walker_finalizing, write=os.write):
        self.finalizing, self.write = finalizing, write

    def __del__(self):
        self.write(1, b"ok finalizing\n" if self.finalizing() else b"FAILED finalizing: not seen\n")


def main():
    for function in CASES:
        run(function)
    threading.Thread(target=without_gil.walker_allocate_until_exit, daemon=True).start()
    atexit.register(run, at_exit)
    sys.stdout.flush()
    sys.stdout.reconfigure(line_buffering=True)


if __name__ == "__main__":
    if walker.walker_refusal():
        sys.exit("refused: " + walker.walker_refusal().decode())
    end = AtTheEnd()
    main()
