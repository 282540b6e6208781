"""Records real Python programs and reads what memline reports about them.

A line of a recorded program may end in a comment of one word, its tag: `b = bytearray(10)  # made`. Tests then speak
of rows["made"], so that they never count lines.
"""
import json
import os
import re
import subprocess
import tempfile
import textwrap

from interpreters import BUILD

LIBRARY = os.path.join(BUILD, "libmemline.so")
MEMLINE = os.path.join(BUILD, "memline")
CALLS = os.path.join(BUILD, "tests/e2e/objects/calls.so")
HERE = os.path.dirname(os.path.abspath(__file__))

MIB = 1 << 20

# The cyclic collector frees on whatever line happens to be running.
QUIET = "import gc, sys; gc.disable(); "

# So does CPython's cache of type attributes when it drops the name of an earlier look-up, by its address. Names that
# nothing else keeps come from imports (a module's code goes when it has run), so it is emptied behind them; what the
# tagged lines look up is looked up here first.
FORGET = ("import sys; getattr(sys, '_clear_internal_caches', sys._clear_type_cache)(); "
          "bytes(1); bytearray(1).extend(b'')")

# What CPython puts around the data of a bytes object: sizeof(PyBytesObject), with its NUL.
BYTES = 33


def around_bytearray(python):
    """What it puts around the data of a bytearray that was made in one go: the object and a NUL.

    Since 3.15 the data are a bytes object of their own.
    """
    return 64 + BYTES if python.version >= (3, 15) else 56 + 1




def counts_lines(python):
    """Whether memline counts how often lines run."""
    return python.version >= (3, 12)


SCRATCH = tempfile.TemporaryDirectory(prefix="memline-e2e-", dir=os.path.realpath(tempfile.gettempdir()))

# Options of a report that covers a part: its lines need not add up to the totals.
PARTIAL = {"--function", "--thread", "--top", "--from", "--to"}

TAG = re.compile(r"# (\w+)$")

FIELDS = ("mem_bytes", "increment_bytes", "own_increment_bytes", "live_bytes", "live_blocks", "allocated_bytes",
          "allocations", "peak_bytes", "inclusive_live_bytes")


class Row:
    """A line of a report's table, its fields without the _bytes at their ends. All zero where nothing happened.

    occurrences: None where the line was not counted, a text such as ">100000" where it was no longer.
    """

    def __init__(self, line=None):
        self.seen = line is not None
        self.occurrences = line and line["occurrences"]
        if line and line.get("occurrences_at_least"):
            self.occurrences = f">{self.occurrences}"
        for field in FIELDS:
            setattr(self, re.sub("_bytes$", "", field), line[field] if line else 0)

    def __repr__(self):
        return "Row({})".format(", ".join(f"{name}={value}" for name, value in vars(self).items() if value))


class Process:
    """One process of a report. rows: by tag, or by (tag, function) where several functions have the line."""

    def __init__(self, data, program, file):
        self.data = data
        self.totals = data["totals"]
        self.warnings = data["warnings"]
        self.file = file
        with open(program, encoding="utf-8") as text:
            self.tags = {tag.group(1): number for number, line in enumerate(text, 1)
                         for tag in [TAG.search(line.rstrip())] if tag}

    @property
    def functions(self):
        """The names of the program's functions that have a row."""
        return [each["name"] for each in self.data["functions"] if each["file"] == self.file]

    @property
    def rows(self):
        return Rows(self)

    def lines(self):
        """All (file, function, line data) of the report."""
        for function in self.data["functions"]:
            for line in function["lines"]:
                yield function["file"], function["name"], line

    def check_sums(self):
        """What each report has to add up to, to the byte."""
        totals = self.totals
        own = sum(line["own_increment_bytes"] for _, _, line in self.lines())
        rest = self.data["out_of_scope"]["increment_bytes"] + self.data["native"]["increment_bytes"]
        assert own + rest == totals["live_bytes"] - totals["start_live_bytes"]
        assert totals["allocated_bytes"] - totals["freed_bytes"] == totals["live_bytes"] - totals["start_live_bytes"]
        live = sum(line["live_bytes"] for _, _, line in self.lines())
        assert live + sum(self.data[key]["live_bytes"] for key in ("out_of_scope", "native")) == totals["live_bytes"]
        assert totals["peak_bytes"] >= totals["live_bytes"] >= 0
        for _, _, line in self.lines():
            assert line["live_bytes"] >= 0
            # What a forked child has inherited it has not allocated.
            assert totals["start_live_bytes"] or line["allocated_bytes"] >= line["live_bytes"]
            assert line["live_blocks"] >= 0 and line["peak_bytes"] >= 0

    def check_exact(self):
        """Nothing was lost, doubled or guessed."""
        assert self.totals["dropped_events"] == 0
        assert self.totals["unknown_frees"] == 0
        assert self.warnings == []


class Rows:
    def __init__(self, process):
        self.process = process

    def __getitem__(self, key):
        tag, function = key if isinstance(key, tuple) else (key, None)
        number = self.process.tags[tag]
        found = {name.rpartition(".")[2]: line for file, name, line in self.process.lines()
                 if file == self.process.file and line["line"] == number}
        if function is not None:
            return Row(found.get(function))
        assert len(found) < 2, f"line {number} belongs to {sorted(found)}: say which"
        return Row(*found.values())


class Run:
    """A program that was recorded: how it ended, and its traces."""

    def __init__(self, python, program, file):
        self.program = program  # where its text is
        self.file = file  # what the interpreter calls it
        self.folder = os.path.join(os.path.dirname(program), "traces")
        # Options that lead to the libraries of the interpreter's system.
        self.sysroot = ["--sysroot", python.chroot] if python and python.chroot else []
        self.sound = True
        self.status, self.stdout, self.stderr = None, "", ""

    def finish(self, child, status=0, timeout=120):
        """Waits for the end of the child, which has to end with that status."""
        if child.stdin.closed:
            child.stdin = None
        try:
            stdout, stderr = child.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            child.kill()
            raise AssertionError("it hangs: " + child.communicate()[1].decode(errors="replace")) from None
        self.status, self.stdout, self.stderr = child.returncode, stdout.decode(), stderr.decode(errors="replace")
        assert status is None or self.status == status, f"status {self.status}: {self.stderr}"
        self.check()
        return self

    def check(self):
        """Each trace, replayed in its order, has to fit together."""
        if self.sound and self.traces:
            memline("check", *self.traces)

    @property
    def traces(self):
        if not os.path.isdir(self.folder):
            return []
        return sorted(os.path.join(self.folder, name) for name in os.listdir(self.folder))

    def report(self, *options):
        """All processes of the run."""
        data = json.loads(memline("report", "--json", *self.sysroot, *map(str, options), self.folder))
        processes = [Process(each, self.program, self.file) for each in data["processes"]]
        if not {str(option).partition("=")[0] for option in options} & PARTIAL:
            for process in processes:
                process.check_sums()
        return processes

    def process(self, *options):
        """The one process of the run."""
        (process,) = self.report(*options)
        return process

    def answers(self):
        """What the program printed: one JSON value."""
        return json.loads(self.stdout)


def memline(*arguments, status=0, **environment):
    """Runs the memline command and returns what it printed."""
    done = subprocess.run([MEMLINE, *map(str, arguments)], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          env=dict(os.environ, **environment), timeout=120)
    assert done.returncode == status, (done.stdout + done.stderr).decode(errors="replace")
    return done.stdout.decode()


def stacks(run, metric="allocations", having=""):
    """What stacks with this function have: {frames, the outermost first: number}. A frame is (function, place)."""
    text = memline("export", "--format", "folded", "--metric", metric, "--end", "last", *run.sysroot, *run.traces)
    found = {}
    for line in text.splitlines():
        if having not in line:
            continue
        path, number = line.rsplit(" ", 1)
        frames = tuple(re.fullmatch(r"(.*?)(?: \(([^()]*)\))?", each).groups() for each in path.split(";"))
        found[frames] = found.get(frames, 0) + int(number)
    return found


def is_ours(place):
    """Whether the place is in a program that is recorded, or in a source of these tests."""
    name = os.path.basename(place.rpartition(":")[0]) if place else ""
    return name == "program.py" or bool(name) and any(
        os.path.exists(os.path.join(HERE, folder, name)) for folder in ("objects", "programs", "extension"))


def ours(frames):
    """Those frames, by what people call them."""
    return [function.partition("(")[0] for function, place in frames if is_ours(place)]


def by_functions(found):
    """Stacks that are the same but for the interpreter's own functions, together: {functions of ours: number}."""
    sums = {}
    for frames, number in found.items():
        functions = tuple(ours(frames))
        sums[functions] = sums.get(functions, 0) + number
    return sums


def by_leaf(run, leaf):
    """The allocations of stacks with that innermost function: {functions of ours: number}."""
    return by_functions({frames: number for frames, number in stacks(run, having=leaf).items()
                         if frames[-1][0].partition("(")[0] == leaf})


def clean_environment(**changes):
    """The environment of a recorded program: nothing of this one's Python or memline settings."""
    environment = {name: value for name, value in os.environ.items()
                   if not name.startswith(("PYTHON", "MEMLINE_", "LD_PRELOAD", "FUNCTIONS_", "MALLOC_"))}
    environment.update(changes)
    return environment


def write_program(text, name="program.py"):
    """Writes a program into a new folder, which goes when the tests end.

    Its first line, if empty, and its last import keep CPython from freeing things on lines that have no part in it.
    """
    if text.startswith("\n"):
        imports = list(re.finditer(r"^(?:import|from) [^#;(\\\n]+$", text, re.MULTILINE))
        behind = imports[-1].end() if imports else 0
        forget = "; " + FORGET if imports else FORGET
        text = QUIET + text[:behind] + forget + text[behind:]
    path = os.path.join(tempfile.mkdtemp(dir=SCRATCH.name), name)
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)
    return path


STARTS = {
    "file": lambda path, text: [path],
    "module": lambda path, text: ["-m", "program"],
    "command": lambda path, text: ["-c", text],
    "stdin": lambda path, text: ["-"],
}


def start(python, text, *arguments, options=(), env=None, how="file", wrapper=(), behind=(), sound=True):
    """Starts a program under the preload. Returns the child, which can be spoken to by pipes, and its Run.

    options go before the program's name, arguments behind it; how says in which way the interpreter gets the program;
    wrapper is a command that runs the interpreter; behind are libraries that are preloaded behind ours. Where the
    traces are not sound, for a reason that the test is to tell, sound is False.
    """
    path = write_program(textwrap.dedent(text))
    with open(path, encoding="utf-8") as file:
        text = file.read()
    run = Run(python, path, {"command": "<string>", "stdin": "<stdin>"}.get(how, path))
    run.sound = sound
    words = [*wrapper, python.path, *options, *STARTS[how](path, text), *map(str, arguments)]
    command = python.prefix + list(map(python.built, words))
    preload = ":".join([LIBRARY, *map(python.built, behind)])
    child = subprocess.Popen(command, env=clean_environment(LD_PRELOAD=preload, MEMLINE_DIR=run.folder, **(env or {})),
                             cwd=os.path.dirname(path), stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                             stderr=subprocess.PIPE)
    if how == "stdin":
        child.stdin.write(text.encode())
        child.stdin.close()
    return child, run


def record(python, text, *arguments, status=0, timeout=120, **more):
    """Runs a program under the preload to its end. status is what it has to end with; None: anything."""
    child, run = start(python, text, *arguments, **more)
    return run.finish(child, status, timeout)


def run_bare(python, arguments, **environment):
    """Runs an interpreter with these arguments. Returns (status, output, errors)."""
    done = subprocess.run([*python.command, *arguments], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, env=clean_environment(**environment), timeout=120)
    return done.returncode, done.stdout, done.stderr


# Binds the functions of calls.c to plain names, so that the lines under test do nothing but call.
LOAD = """
import ctypes
import sys
library = ctypes.CDLL(sys.argv[1])
size, number = ctypes.c_size_t, ctypes.c_int
def bind(name, result, *arguments):
    function = getattr(library, "calls_" + name)
    function.restype, function.argtypes = result, arguments
    return function
"""


def record_calls(python, names, text, *arguments, **environment):
    """Records a program that calls into tests/e2e/objects/calls.c, without Python's own objects."""
    program = LOAD + names + textwrap.dedent(text)
    run = record(python, program, CALLS, *arguments, env=dict({"MEMLINE_OBJECTS": "off"}, **environment))
    return run, run.process()
