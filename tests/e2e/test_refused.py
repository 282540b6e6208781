"""Pythons that memline cannot look into: the program runs as ever, the C layer is recorded, and the report says why."""
import os

import interpreters
import pytest
from bare import PROGRAMS, allocations, end_of, meta, python_nodes
from support import CALLS, LIBRARY, Run, memline, write_program

COUNT, SIZE = 1000, 34567

# What the interpreter says of its version, and what the report says of the interpreter.
REFUSALS = {
    "3.13.5 (main, Jun 25 2025) [GCC 14.2.0]": "free-threaded builds are not supported yet",
    "3.13.5 experimental free-threading build (main, Jun 25 2025)": "free-threaded builds are not supported yet",
    "3.14.0 free-threading build (main, Oct 7 2025)": "free-threaded builds are not supported yet",
    "3.7.17 (default, Jun 6 2023)": "CPython 3.7.17 is not supported (3.8 to 3.15 are)",
    "3.16.0 (main, Oct 7 2027)": "CPython 3.16.0 is not supported (3.8 to 3.15 are)",
    "2.7.18 (default, Jun 6 2020)": "CPython 2.7.18 is not supported (3.8 to 3.15 are)",
    "3.15.0a1+ (main, Oct 20 2025)": "CPython 3.15.0a1+ is not a release",
    "3.12.1 (main, Dec 9 2023)": "PyCode_Type is not laid out as in CPython",
    "3.14.1 (main, Dec 9 2025)": "CPython 3.14.1 does not describe itself as its version should",
    "3.10.5+cinder (heads/main)": "Cinder is not supported, only CPython is",
    "3.11.13 (413c9b7f57f5, Jul 03 2025)\n[PyPy 7.3.20 with GCC 10.2.1]":
        "PyPy and GraalPy are not supported, only CPython is",
}


def run_as_bare(python, text, *command, **environment):
    """Runs a program bare, then recorded: both must end in the same way. Returns how, and the Run of the second.

    python is what runs the text, or an empty list: then the command runs without one.
    """
    path = write_program(text)
    run = Run(None, path, path)
    command = [*python, *([path] if text else []), *command]
    bare = end_of(command, **environment)
    assert end_of(command, LD_PRELOAD=LIBRARY, MEMLINE_DIR=run.folder, **environment) == bare
    return bare, run


def check_refusal(run, why):
    """The trace and every report say that there are no Python frames, and why. Returns the trace and its process."""
    (trace,) = run.traces
    facts = meta(trace)
    assert facts["python_refused"] == why
    assert "python" not in facts
    assert python_nodes(trace) == set()
    sentence = "no Python frames were recorded: " + why
    process = run.process()
    assert process.warnings == [sentence]
    assert process.data["python"] is None
    assert process.data["functions"] == []
    native = process.data["native"]
    assert native["live_bytes"] == native["increment_bytes"] == process.totals["live_bytes"]
    for command in "report", "summary":
        assert f"warning: {sentence}\n" in memline(command, trace)
    return trace, process


@pytest.mark.parametrize("version", REFUSALS, ids=lambda version: "-".join(version.split()[:2]))
def test_what_looks_like_a_python(version):
    program = os.path.join(PROGRAMS, "refused")
    done, run = run_as_bare([], "", program, str(COUNT), str(SIZE), REFUSED_VERSION=version)
    assert (done.status, done.stdout) == (3, b"%d blocks of %d bytes\n" % (COUNT, SIZE))
    trace, process = check_refusal(run, REFUSALS[version])
    assert len(allocations(trace, SIZE)) == COUNT
    assert 0 <= process.totals["live_bytes"] - COUNT * SIZE // 2 - COUNT * 8 <= 8192  # the array, stdio's buffer
    assert process.totals["unknown_frees"] == process.totals["dropped_events"] == 0


PROGRAM = f"""
import ctypes, sys, threading
library = ctypes.CDLL(sys.argv[1])
library.calls_malloc.argtypes = [ctypes.c_int, ctypes.c_size_t]
library.calls_free.argtypes = [ctypes.c_int]
def work():
    keep = [bytes(n) for n in range(1000)]
    total.append(sum(map(len, keep)))
total = []
threads = [threading.Thread(target=work) for _ in range(4)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
for n in range({COUNT}):
    library.calls_malloc(1, {SIZE})
    library.calls_free(1)
print(total)
"""


def others(free_threaded):
    found = [each for each in interpreters.find_others() if each.free_threaded == free_threaded]
    return found or [None]


@pytest.mark.parametrize("other", others(True), ids=repr)
def test_a_free_threaded_build(other):
    """No hook is set, no frame is walked; what its threads ask the C library for is exact."""
    if not other:
        pytest.skip("no free-threaded CPython is here; make check-pythons builds one")
    done, run = run_as_bare(other.command, PROGRAM, CALLS)
    assert (done.status, done.stdout) == (0, b"[499500, 499500, 499500, 499500]\n")
    trace, process = check_refusal(run, "free-threaded builds are not supported yet")
    assert len(allocations(trace, SIZE)) == COUNT
    assert process.totals["dropped_events"] == 0


@pytest.mark.parametrize("other", others(False), ids=repr)
@pytest.mark.parametrize("arguments", [["--version"], ["-c", "print(sum(len(bytes(n)) for n in range(1000)))"],
                                       ["-c", "import json, threading; print(json.dumps([1])); raise SystemExit(3)"]],
                         ids=["version", "sum", "exit"])
def test_another_implementation(other, arguments):
    """It is no CPython, so the library stays inert, or says in its trace that it was refused."""
    if not other:
        pytest.skip("no PyPy or GraalPy is here; make check-pythons fetches PyPy")
    _, run = run_as_bare(other.command, "", *arguments)
    if run.traces:
        check_refusal(run, "PyPy and GraalPy are not supported, only CPython is")
