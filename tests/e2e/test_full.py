"""MEMLINE_NATIVE=full: whole native stacks, and the Python frames where they belong."""
import os
import re
import subprocess

import pytest
from bare import allocations, run_both
from interpreters import BUILD
from packages import in_folder, packages  # noqa: F401 (a fixture)
from support import CALLS, HERE, by_functions, by_leaf, memline, ours, record, run_bare, stacks

OBJECTS = os.path.join(BUILD, "tests/e2e/objects")
TREE, LEAVES, STACKS = (os.path.join(OBJECTS, name + ".so") for name in ("tree", "leaves", "stacks"))
FULL = {"MEMLINE_NATIVE": "full"}
ONLY_C = dict(FULL, MEMLINE_OBJECTS="off")


def touches(run):
    """Stacks of the blocks of stacks_touch()."""
    return {frames: number for frames, number in stacks(run, having="stacks_touch").items()
            if ours(frames)[-1:] == ["stacks_touch"]}


CALL_TREE = """
import ctypes, sys
def bind(library, name, result, *arguments):
    function = getattr(ctypes.CDLL(library), name)
    function.restype, function.argtypes = result, arguments
    return function
size, pointer = ctypes.c_size_t, ctypes.c_void_p
kind = ctypes.CFUNCTYPE(None)
grow = bind(sys.argv[1], "tree_grow", pointer, size, pointer, kind)
leaf = ctypes.cast(ctypes.CDLL(sys.argv[2]).leaf, pointer)
keep = []
def called():
    keep.append(bytearray(20_000_000))  # object
nothing, back = kind(0), kind(called)
def outer():
    inner()
def inner():
    grow(12_345_678, leaf, nothing)
    grow(10, leaf, back)
for n in range(3):
    outer()
"""


def test_a_tree_of_calls(python):
    """Three levels, one inlined, one in another library, and one that calls Python back."""
    run = record(python, CALL_TREE, TREE, LEAVES, env=FULL)
    level = ["<module>", "outer", "inner", "tree_grow", "tree::Tree::branch", "tree::Tree::twig", "leaf"]
    large = {frames: number for frames, number in stacks(run, "allocated", "tree_grow").items() if number > 1_000_000}
    found = by_functions(large)
    assert sorted(found) == sorted([tuple(level), tuple(level + ["called"])])
    assert found[tuple(level)] == 3 * 12_345_678
    assert 3 * 20_000_000 <= found[tuple(level + ["called"])] <= 3 * 20_000_100
    assert by_leaf(run, "leaf") == {tuple(level): 6}
    for frames in large:
        functions = [function for function, _ in frames]
        # Each C function of the interpreter that runs Python code is replaced, and the stack begins at the start.
        assert "_PyEval_EvalFrameDefault" not in functions
        assert functions[0] == "_start" or functions[0].startswith("python")
        assert functions[-1] == ("<python objects>" if "called" in functions else "leaf")
    assert run.process().rows["object"].allocated >= 3 * 20_000_000


# The extension is asked by an address for the leaf that notes its callers.
EXTENSION = """
import ctypes, json, sys
sys.path.insert(0, sys.argv[1])
import calltree
library = ctypes.CDLL(sys.argv[2])
leaf = ctypes.cast(library.leaf_seen, ctypes.c_void_p).value
def callers():
    found = ctypes.POINTER(ctypes.c_void_p)()
    return found[:library.leaf_callers(ctypes.byref(found))]
keep = []
def called():
    keep.append(bytearray(20_000_000))
def outer():
    inner()
def inner():
    calltree.grow(12_345_678, leaf, None)
    seen.append(callers())
    calltree.grow(1_234_567, leaf, called)
    seen.append(callers())
seen = []
outer()
print(json.dumps(seen))
"""


def build_extension(python, folder):
    """Compiles extension/calltree.cc for this Python into the folder."""
    include = run_bare(python, ["-c", "import sysconfig; print(sysconfig.get_paths()['include'])"])[1].decode().strip()
    if not os.path.exists(python.outside(include + "/Python.h")):
        pytest.skip("this Python comes without its headers")
    subprocess.run([os.environ.get("CXX", "g++"), "-O2", "-g", "-fomit-frame-pointer", "-fPIC", "-shared", "-I",
                    python.outside(include), "-idirafter", python.outside("/usr/include"),
                    "-o", os.path.join(folder, "calltree.so"), os.path.join(HERE, "extension/calltree.cc")], check=True)


def whole_stack(trace, node):
    """The frames of a node, innermost first: an address where it is native, a name where it is Python's."""
    definitions, nodes = memline("dump", "--defs", trace), memline("dump", "--nodes", trace)
    bases = {number: int(base, 16) for number, base in
             re.findall(r"^module (\d+) epoch \d+ base (\w+) ", definitions, re.MULTILINE)}
    names = dict(re.findall(r"^code (\d+) .*?:\d+ (\S+) flags ", definitions, re.MULTILINE))
    found, parents = [], {number: line for number, *line in re.findall(
        r"^node (\d+) parent (\d+) (code|module|mark) (\S+) (?:at (\S+))?", nodes, re.MULTILINE)}
    while node != "0":
        node, kind, number, at = parents[node]
        found.append(names[number] if kind == "code" else bases[number] + int(at, 16) if kind == "module" else number)
    return found


def test_an_extension_from_leaf_to_root(python, tmp_path):
    """Each frame is the one that the compiler's own unwinder finds there; only, where that finds a C call of the
    interpreter, there are the Python frames that it runs."""
    build_extension(python, tmp_path)
    run = record(python, EXTENSION, tmp_path, LEAVES, env=ONLY_C)
    level = ("<module>", "outer", "inner", "grow", "calltree::Tree::branch", "calltree::Tree::twig", "leaf_seen")
    assert by_leaf(run, "leaf_seen") == {level: 2}
    large = {frames: number for frames, number in stacks(run, "allocated", "call_back").items() if number > 1_000_000}
    assert set(by_functions(large)) == {(*level, "call_back", "called")}
    for size, callers in zip((12_345_678, 1_234_567), run.answers()):
        (node,) = allocations(run.traces[0], size)
        found = whole_stack(run.traces[0], node)
        while callers[-1] in (0, 1, None):  # what may end it
            callers.pop()
        # From 3.11 on a C call of the interpreter runs what Python functions call, too.
        runs = iter([["inner", "outer", "<module>"]] if python.version >= (3, 11) else
                    [["inner"], ["outer"], ["<module>"]])
        expected = []
        for address in callers[1:]:
            expected += [address] if address in found else next(runs)
        assert found[1:] == expected
        assert next(runs, None) is None


def test_frees_have_their_caller_alone(python):
    """On the Python frames. What they free has its whole stack."""
    run = record(python, """
        import ctypes, sys
        touch, size = ctypes.CDLL(sys.argv[1]).stacks_touch, ctypes.c_size_t(54321)
        def outer():
            inner()
        def inner():
            touch(size)
        outer()
    """, STACKS, env=ONLY_C)
    (trace,) = run.traces
    (made,) = allocations(trace, 54321)
    events = memline("dump", "--events", trace)
    (block,) = re.findall(rf" alloc c node {made} at (\w+) bytes 54321$", events, re.MULTILINE)
    freed = events[events.index(f" node {made} at {block} "):]
    stack = whole_stack(trace, re.search(rf" free c node (\d+) at {block}$", freed, re.MULTILINE).group(1))
    allocated = whole_stack(trace, made)
    assert stack == [allocated[1], "inner", "outer", "<module>"]  # stacks_touch() ends with free()
    assert len(allocated) > 10 and [each for each in allocated if isinstance(each, str)] == stack[1:]


def test_modules_are_the_callers(python):
    """Lines and modules are those of the allocator's caller, as without."""
    run = record(python, CALL_TREE, TREE, LEAVES, env=FULL)
    (line,) = [line for _, name, line in run.process().lines() if name.endswith("inner") and line["native_live_bytes"]
               and line["native_live_bytes"] > 1_000_000]
    assert (line["module"], line["native_live_bytes"]) == ("leaves", 3 * 12_345_678)
    (caller,) = [caller for caller in line["callers"] if caller["live_bytes"]]
    assert (caller["function"], caller["live_blocks"]) == ("leaf", 3)


def test_python_threads(python):
    """Each has its own stack, from its own start."""
    run = record(python, """
        import ctypes, sys, threading
        library = ctypes.CDLL(sys.argv[1])
        touch, size = library.stacks_touch, ctypes.c_size_t(54321)
        def first():
            for n in range(500):
                touch(size)
        def second():
            for n in range(500):
                further()
        def further():
            touch(size)
        threads = [threading.Thread(target=each) for each in (first, second, first, second)]
        for each in threads:
            each.start()
        for each in threads:
            each.join()
    """, STACKS, env=ONLY_C)
    found = touches(run)
    assert by_functions(found) == {
        ("first", "stacks_touch"): 1000, ("second", "further", "stacks_touch"): 1000}
    for frames in found:
        assert frames[0][0].startswith(("clone", "__clone", "thread_start", "libc+0x"))
        assert "main" not in [function for function, _ in frames]


def test_a_thread_that_python_does_not_know(python):
    run = record(python, """
        import ctypes, sys
        library = ctypes.CDLL(sys.argv[1])
        touch, size = library.stacks_touch, ctypes.c_size_t(54321)
        kind = ctypes.CFUNCTYPE(None)
        def called():
            touch(size)
        back = kind(called)
        for n in range(20):
            library.stacks_thread(back)
    """, STACKS, env=ONLY_C)
    assert by_leaf(run, "stacks_touch") == {("in_thread", "called", "stacks_touch"): 20}


@pytest.mark.few
def test_cancelled_threads(python):
    run = run_both(python, """
        import ctypes, sys
        print(ctypes.CDLL(sys.argv[1]).stacks_cancel(100, ctypes.c_size_t(54321)))
    """, STACKS, env=ONLY_C)
    assert run.answers() == 100
    found = by_leaf(run, "stacks_touch")
    assert found[("endless", "allocate_at_end", "stacks_touch")] == 100


@pytest.mark.few
def test_signal_stacks_and_coroutines(python):
    run = run_both(python, """
        import ctypes, sys
        library, size = ctypes.CDLL(sys.argv[1]), ctypes.c_size_t(54321)
        def signals():
            library.stacks_signal(50, size)
        def contexts():
            library.stacks_contexts(50, size)
        for n in range(10):
            signals()
            contexts()
    """, STACKS, env=ONLY_C)
    assert by_leaf(run, "stacks_touch") == {
        ("<module>", "signals", "stacks_signal", "stacks_handler", "stacks_touch"): 500,
        ("<module>", "contexts", "stacks_contexts", "stacks_touch"): 500,
        ("<module>", "contexts", "stacks_there", "stacks_touch"): 500}


@pytest.mark.few
def test_deep_stacks(python):
    """Frames far from the root share one place, what is too deep has its caller alone, and the line stays right."""
    run = record(python, """
        import ctypes, sys, threading
        library, size = ctypes.CDLL(sys.argv[1]), ctypes.c_size_t(54321)
        def down(depth):
            library.stacks_deep(depth, 100, size)  # deep
        threading.stack_size(256 << 20)
        for depth in (100, 10_000, 1_000_000):
            thread = threading.Thread(target=down, args=(depth,))
            thread.start()
            thread.join()
    """, STACKS, env=ONLY_C)
    found = touches(run)
    assert sum(found.values()) == 300
    (short,) = [frames for frames in found if len(ours(frames)) == 1 + 101 + 1]
    (cut,) = [frames for frames in found if ("<deeper>", None) in frames and len(frames) > 4000]
    assert found[short] == found[cut] == 100
    assert ours(cut)[:2] == ["down", "stacks_deep"]
    assert run.process().rows["deep"].allocations >= 300


@pytest.mark.few
def test_deep_recursion_in_python(python):
    """The innermost Python frames are kept, with the native ones on top of them."""
    run = record(python, """
        import ctypes, sys, threading
        library, size = ctypes.CDLL(sys.argv[1]), ctypes.c_size_t(54321)
        sys.setrecursionlimit(11_000)
        threading.stack_size(512 << 20)
        def down(n):
            if n:
                return down(n - 1)
            for _ in range(100):
                library.stacks_touch(size)  # deep
        thread = threading.Thread(target=down, args=(10_000,))
        thread.start()
        thread.join()
    """, STACKS, env=FULL)
    found = touches(run)
    assert sum(found.values()) == 100
    for frames in found:
        assert ours(frames)[-2:] == ["down", "stacks_touch"] and ours(frames).count("down") > 1000
    assert run.process().rows["deep"].allocations >= 100


@pytest.mark.few
def test_exceptions(python):
    """They pass as without, by way of the same unwinder."""
    run = run_both(python, """
        import ctypes, sys
        library = ctypes.CDLL(sys.argv[1])
        library.tree_unwinder.restype = ctypes.c_char_p
        library.tree_throw.restype = ctypes.c_long
        print(library.tree_throw(1_000_000), library.tree_unwinder())
        with open("/proc/self/maps") as maps:
            print(sorted({line.split()[-1] for line in maps if "libgcc" in line or "libunwind" in line}))
        def again(n):
            return library.tree_throw(1000) + (again(n - 1) if n else 0)
        print(again(50))
    """, TREE, env=ONLY_C)
    assert run.stdout.startswith("5000000 b'")
    assert "libunwind" not in run.stdout
    found = by_leaf(run, "__cxa_allocate_exception")
    assert sum(found.values()) == 1_000_000 + 51 * 1000
    assert max(map(len, found)) == 1 + 51 + 1 + 5
    assert found[("<module>", "tree_throw") + ("throw_from",) * 5] == 1_000_000


PASSING = """
import ctypes, gc, itertools, os, sys
gc.disable()
library = ctypes.PyDLL(sys.argv[1])
leave, stay = (getattr(library, name) for name in sys.argv[2:])
overwrite = library.tree_overwrite
overwrite.argtypes, overwrite.restype = (ctypes.c_int, ctypes.c_size_t), ctypes.c_size_t
def called():
    deeper(3)
def deeper(n):
    if n:
        deeper(n - 1)
    else:
        leave(42)
back = ctypes.PYFUNCTYPE(None)(called)
# What then lies on the stack: nothing that can be read, objects, and addresses within and around true frames.
words = [0x5a5a5a5a5a5a5a5a]
if sys.version_info[:2] != (3, 11):
    frame = sys._getframe()
    frame = ctypes.c_size_t.from_address(id(frame) + 24).value if sys.version_info >= (3, 11) else id(frame)
    words += [0, 8, 0x7fff00000000, id(words), id(called.__code__), *range(frame - 400, frame + 400, 40)]
words = itertools.cycle(words)
def work():
    number = stay(back)
    overwrite(20, next(words))
    return number, [bytes(100) for n in range(10)]
def again():
    return work()[0]
print([work()[0] for n in range(30)], [again() for n in range(30)])
sys.stdout.flush()
os._exit(0)
"""


@pytest.mark.parametrize("leave, stay", [("tree_raise", "tree_pass"), ("tree_jump", "tree_land")])
@pytest.mark.parametrize("objects", ["on", "off"])
@pytest.mark.parametrize("native", ["off", "caller", "full"])
def test_what_passes_over_python(python, native, objects, leave, stay):
    """C++ exceptions and longjmp(): the interpreter goes on with frames that nobody has taken off, and so do we. 3.11
    goes on for a while, and then takes what lies in their place for frames: it fails as without us."""
    run = run_both(python, PASSING, TREE, leave, stay, env={"MEMLINE_NATIVE": native, "MEMLINE_OBJECTS": objects})
    run.check()
    assert run.process().totals["dropped_events"] == 0
    if python.version[:2] != (3, 11):
        assert run.stdout == f"{[42] * 30} {[42] * 30}\n"


@pytest.mark.few
def test_a_program_that_unwinds_itself(python):
    """The C library's backtrace(), and libunwind where it is."""
    run_both(python, """
        import ctypes
        buffer = (ctypes.c_void_p * 200)()
        def count(function):
            return [function(buffer, 200) for n in range(3)]
        def deeper(n, function):
            return deeper(n - 1, function) if n else count(function)
        print(deeper(10, ctypes.CDLL(None).backtrace))
        try:
            library = ctypes.CDLL("libunwind.so.8")
        except OSError:
            library = None
        if library:
            print(deeper(10, library.unw_backtrace))
    """, env=FULL)


def test_forked_children(python):
    run = record(python, """
        import ctypes, os, subprocess, sys, threading
        library = ctypes.CDLL(sys.argv[1])
        touch, size = library.stacks_touch, ctypes.c_size_t(54321)
        def before():
            touch(size)
        def fork():
            child = os.fork()
            if child:
                return os.waitpid(child, 0)[1]
            within()
            os._exit(0)
        def within():
            touch(size)
        before()
        print([fork() for n in range(5)])
        subprocess.run(["true"], check=True)
        thread = threading.Thread(target=fork)
        thread.start()
        thread.join()
        before()
    """, STACKS, env=ONLY_C)
    assert run.answers() == [0] * 5
    assert len(run.traces) == 7
    found = by_leaf(run, "stacks_touch")
    within = {frames: number for frames, number in found.items() if "within" in frames}
    assert sum(within.values()) == 6
    assert within[("fork", "within", "stacks_touch")] == 1
    assert found[("<module>", "before", "stacks_touch")] == 2


TWINS = """
import ctypes, _ctypes, sys
size, pointer = ctypes.c_size_t(1000), ctypes.c_void_p
malloc = ctypes.cast(ctypes.CDLL(sys.argv[3]).calls_plain, pointer)
def call(path, name):
    library = ctypes.CDLL(path)
    function = getattr(library, name)
    function.restype = pointer
    places.add(ctypes.cast(function, pointer).value)
    return library, function
places = set()
def both(n):
    library, function = call(sys.argv[1 + n % 2], ("twin_first_by", "twin_second_by")[n % 2])
    function(malloc, size)
    _ctypes.dlclose(library._handle)
for n in range(20):
    both(n)
print(len(places))
"""


def test_another_library_at_the_same_address(python):
    """Also where its frame is not the innermost one."""
    paths = [os.path.join(OBJECTS, f"twin_{each}.so") for each in ("first", "second")]
    run = record(python, TWINS, *paths, CALLS, env=ONLY_C)
    assert run.answers() < 20, "the loader never used an address again"
    assert by_leaf(run, "calls_plain") == {
        ("<module>", "both", "twin_first_by", "calls_plain"): 10,
        ("<module>", "both", "twin_second_by", "calls_plain"): 10}


SWITCHES = """
import ctypes, greenlet
library = ctypes.CDLL(sys.argv[1])
touch, size = library.stacks_touch, ctypes.c_size_t(54321)
def work(n, other):
    for each in range(1000):
        down(n)
        other().switch()
def down(n):
    if n:
        down(n - 1)
    else:
        touch(size)
def start(n):
    first.switch() if not n else start(n - 1)
first = greenlet.greenlet(lambda: work(1, lambda: second))
second = greenlet.greenlet(lambda: work(2, lambda: first))
start(5)
"""


def test_greenlets(python, packages):
    """Each has the frames of its own, and not those that another one has left on the C stack."""
    run = record(python, in_folder(packages(python, "greenlet"), SWITCHES), STACKS, env=ONLY_C)
    assert by_leaf(run, "stacks_touch") == {
        ("<lambda>", "work", "down", "down", "stacks_touch"): 1000,
        ("<lambda>", "work", "down", "down", "down", "stacks_touch"): 1000}


CODE_OF_NO_MODULE = """
import ctypes, mmap, sys
library = ctypes.CDLL(sys.argv[1])
size = ctypes.c_size_t(54321)
# push %rbp; mov %rsp, %rbp; call *%rsi; pop %rbp; ret
code = mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
code.write(bytes.fromhex("554889e5ffd65dc3"))
call = ctypes.CFUNCTYPE(None, ctypes.c_size_t, ctypes.c_void_p)(ctypes.addressof(ctypes.c_char.from_buffer(code)))
touch = ctypes.cast(library.stacks_touch, ctypes.c_void_p)
def within():
    call(size, touch)
for n in range(50):
    within()
"""


@pytest.mark.skipif(os.uname().machine != "x86_64", reason="the code is x86-64's")
def test_code_of_a_jit(python):
    """The native stack ends there, and that is said; the Python frames are there all the same."""
    run = record(python, CODE_OF_NO_MODULE, STACKS, env=ONLY_C)
    ((frames, number),) = touches(run).items()
    assert number == 50
    functions = [function for function, _ in frames]
    assert ours(frames) == ["<module>", "within", "stacks_touch"]
    assert functions[:3] == ["<module>", "within", "<unknown callers>"]
    assert len(functions) == 5
