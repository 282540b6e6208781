"""Runs a program twice, bare and recorded, and holds the one run against the other."""
import os
import subprocess
import textwrap

import pytest
from support import BUILD, LIBRARY, Run, clean_environment, memline, run_bare, write_program

HAZARDS = os.path.join(BUILD, "tests/e2e/objects/hazards.so")
PROGRAMS = os.path.join(BUILD, "tests/e2e/programs")

# For recorded programs that call into objects/hazards.c; its path is their first argument.
LOAD = """
import ctypes, sys
hazards = ctypes.CDLL(sys.argv[1])
hazards.hazards_destructors.argtypes = [ctypes.c_int, ctypes.c_size_t]
hazards.hazards_vfork.argtypes = [ctypes.c_size_t, ctypes.c_char_p]
"""


class Ended:
    """How a run ended. Runs are alike where status, output and errors are the same."""

    def __init__(self, done):
        self.status, self.stdout, self.stderr = done.returncode, done.stdout, done.stderr

    def __eq__(self, other):
        return vars(self) == vars(other)

    def __repr__(self):
        return f"status {self.status}, output {self.stdout[-2000:]!r}, errors {self.stderr[-2000:]!r}"


def end_of(command, timeout=120, cwd=None, prepare=None, **environment):
    """Runs a command to its end; prepare is called in the child before it."""
    return Ended(subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                env=clean_environment(**environment), timeout=timeout, cwd=cwd, preexec_fn=prepare))


def run_both(python, text, *arguments, options=(), wrapper=(), prepare=None, folder=None, env=None, timeout=120):
    """Runs a program bare, then recorded: both must end in the same way. Returns the Run of the second.

    folder is where its traces go, by default one of their own.
    """
    path = write_program(textwrap.dedent(text))
    run = Run(python, path, path)
    run.folder = folder or run.folder
    words = [*wrapper, python.path, *options, path, *map(str, arguments)]
    command = python.prefix + list(map(python.built, words))
    more = {"cwd": os.path.dirname(path), "prepare": prepare, "timeout": timeout}
    bare = end_of(command, **more)
    recorded = end_of(command, LD_PRELOAD=LIBRARY, **dict({"MEMLINE_DIR": run.folder}, **(env or {})), **more)
    assert recorded == bare, f"recorded: {recorded}\n    bare: {bare}"
    run.status, run.stdout, run.stderr = recorded.status, recorded.stdout.decode(), recorded.stderr.decode()
    return run


def libpython(python):
    """The interpreter as a library, and the folder that it takes for its home."""
    answer = run_bare(python, ["-c", "import sys, sysconfig as s; g = s.get_config_var; print(sys.prefix, g('LIBDIR')" +
                                     ", g('MULTIARCH') or '.', g('INSTSONAME') or '-')"])[1].decode()
    home, folder, multiarch, name = answer.split()
    paths = [os.path.join(folder, name), os.path.join(folder, multiarch, name)]
    library = next((path for path in paths if os.path.isfile(python.outside(path)) and ".so" in name), None)
    if not library:
        pytest.skip("this CPython has no shared library")
    return library, home


def meta(trace):
    """What the trace says of its process: a dict."""
    text = memline("dump", "--defs", trace)
    lines = [line[5:].split(" = ", 1) for line in text.splitlines() if line.startswith("meta ")]
    return dict(lines)



def counted(process, what):
    """The number in the one warning of the report that has these words; 0 where there is none."""
    numbers = [int(warning.split()[0]) for warning in process.warnings if what in warning]
    assert len(numbers) <= 1
    return sum(numbers)


def allocations(trace, size):
    """The nodes of all recorded allocations of that size."""
    text = memline("dump", "--events", trace)
    events = [line.split() for line in text.splitlines() if line.endswith(f" bytes {size}")]
    return [words[words.index("node") + 1] for words in events if words[1] == "alloc"]


def python_nodes(trace):
    """The nodes of the trace's tree that have a Python frame, or a caller with one."""
    found = set()
    for line in memline("dump", "--nodes", trace).splitlines():
        words = line.split()  # node N parent P code|module|mark ...
        if words[0] == "node" and (words[4] == "code" or words[3] in found):
            found.add(words[1])
    return found
