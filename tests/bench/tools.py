"""The tools that are compared, and a virtual environment with those that pip has."""
import os
import shutil
import subprocess

from suite import BUILD, DEEP, HERE, INERT, INERT_START, PAIRS, PROGRAM, START

LIBRARY = os.path.join(BUILD, "libmemline.so")
MEMLINE = os.path.join(BUILD, "memline")

# What the workloads import, and what that tool for it is called in which nothing is measured.
LIBRARIES = ["numpy", "pandas"]

PYTHON_KINDS = {PROGRAM, DEEP, PAIRS, START}


class Tool:
    """prefix stands before the interpreter, options behind it; in both, and in the environment's values, {out} is a
    folder of its own for what the tool writes. A slow one gets less of the work, one round, and the programs alone;
    once: the same, but all of the work."""

    def __init__(self, name, text, prefix=(), options=(), environment=None, package=None, kinds=frozenset(PYTHON_KINDS),
                 slow=False, once=False):
        self.name, self.text, self.prefix, self.options = name, text, prefix, options
        self.environment, self.package, self.slow, self.once = environment or {}, package, slow, once
        self.kinds = {PROGRAM} if slow or once else kinds

    def command(self, python, workload, scale, out):
        """Returns (words, environment)."""
        interpreter = [python, *self.options] if workload.has_python else []
        words = [word.format(out=out) for word in [*self.prefix, *interpreter]]
        environment = {name: value.format(out=out) for name, value in self.environment.items()}
        return words + workload.program(scale), environment


def memline(name, text, once=False, **options):
    environment = {"LD_PRELOAD": LIBRARY, "MEMLINE_DIR": "{out}"}
    environment.update((f"MEMLINE_{option}", value) for option, value in options.items())
    return Tool(name, text, environment=environment, kinds=PYTHON_KINDS | {INERT, INERT_START}, once=once)


BARE = Tool("bare", "no tool", kinds=PYTHON_KINDS | {INERT, INERT_START})
DEFAULT = memline("memline", "every allocation and free, with its whole Python stack")

TOOLS = [
    BARE,
    DEFAULT,
    memline("memline-objects-off", "MEMLINE_OBJECTS=off: what reaches the C library alone", once=True, OBJECTS="off"),
    memline("memline-native-off", "MEMLINE_NATIVE=off: without the C caller of the allocator", once=True, NATIVE="off"),
    Tool("memray", "memray run: not Python's own objects, and no stacks of frees", package="memray",
         options=["-m", "memray", "run", "-q", "-f", "-o", "{out}/trace"]),
    Tool("memray-objects", "memray run --trace-python-allocators: every object", package="memray",
         options=["-m", "memray", "run", "-q", "-f", "--trace-python-allocators", "-o", "{out}/trace"]),
    Tool("scalene", "scalene run --memory: samples", package="scalene", slow=True,
         options=["-m", "scalene", "run", "--memory", "-o", "{out}/profile.json"]),
    Tool("tracemalloc-1", "-X tracemalloc=1: every object, one frame, sums alone", slow=True,
         options=["-X", "tracemalloc=1"]),
    Tool("tracemalloc-25", "-X tracemalloc=25: every object, 25 frames, sums alone", slow=True,
         options=["-X", "tracemalloc=25"]),
    Tool("memory_profiler", "memory_profiler: RSS after each line of the workload's top functions", slow=True,
         package="memory_profiler", options=[os.path.join(HERE, "under_memory_profiler.py"), "{out}/table"]),
    Tool("heaptrack", "heaptrack: what reaches the C library, native stacks", slow=True,
         prefix=["heaptrack", "-o", "{out}/trace"]),
    Tool("heaptrack-objects", "PYTHONMALLOC=malloc heaptrack: every object, native stacks", slow=True,
         prefix=["heaptrack", "-o", "{out}/trace"], environment={"PYTHONMALLOC": "malloc"}),
]


def named(names):
    """The tools of these names, in the order of TOOLS; bare is always among them. Raises KeyError."""
    known = {tool.name: tool for tool in TOOLS}
    chosen = {known[name].name for name in names} | {BARE.name}
    return [tool for tool in TOOLS if tool.name in chosen]


def installed(python, package):
    """The version of the package, None if this Python does not have it."""
    text = f"import importlib.metadata as m; print(m.version({package!r}))"
    done = subprocess.run([python, "-I", "-c", text], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    return done.stdout.strip() if done.returncode == 0 else None


def prepare(interpreter, tools, say):
    """Gives the interpreter a virtual environment with the tools' packages and what the workloads import.

    Returns the path of its Python. What cannot be installed is told to say(text); nothing is built from source.
    """
    folder = os.path.join(BUILD, "bench-venv", repr(interpreter))
    python = os.path.join(folder, "bin/python")
    if not os.path.exists(python):
        done = subprocess.run([interpreter.path, "-m", "venv", folder], stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, text=True)
        if done.returncode:
            shutil.rmtree(folder, ignore_errors=True)
            say(f"{interpreter!r}: no virtual environment, so no peers: {done.stdout.strip()[-200:]}")
            return interpreter.path
    for package in dict.fromkeys(LIBRARIES + [tool.package for tool in tools if tool.package]):
        if installed(python, package):
            continue
        say(f"{interpreter!r}: installing {package}")
        done = subprocess.run([python, "-m", "pip", "install", "-q", "--disable-pip-version-check", "--retries", "1",
                               "--only-binary=:all:", package], stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                              text=True)
        if done.returncode:
            say(f"{interpreter!r}: no {package}: {done.stdout.strip().splitlines()[-1:]}")
    return python


def available(python, tools, say):
    """Those of the tools that this Python and this machine have."""
    found = []
    for tool in tools:
        if tool.package and not installed(python, tool.package):
            say(f"{tool.name} is left out: {tool.package} is not installed")
        elif tool.prefix and not shutil.which(tool.prefix[0]):
            say(f"{tool.name} is left out: {tool.prefix[0]} is not installed")
        else:
            found.append(tool)
    return found
