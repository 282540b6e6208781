"""How processes begin, multiply and end: nothing that was recorded is lost, nothing is left where no Python ran."""
import os
import random
import shutil
import signal
import struct
import subprocess
import time

import pytest
from support import (BUILD, BYTES, CALLS, LIBRARY, LOAD, Run, clean_environment, record, run_bare, start,
                     write_program)

TALLY = LOAD + """
import threading
tally_open = bind("tally_open", number, ctypes.c_char_p, size)
tally = bind("tally", None, number, size)
tally_open(sys.argv[2].encode(), 2)
def first():
    tally(0, 1000)  # first
def second():
    tally(1, 3000)  # second
for work in (first, second)[:int(sys.argv[3])]:
    threading.Thread(target=work, daemon=True).start()
print("ready", flush=True)
threading.Event().wait()
"""


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("round_", range(4))
def test_sigkill_at_any_moment(python, threads, round_):
    path = write_program("", name="tally")
    child, run = start(python, TALLY, CALLS, path, threads, env={"MEMLINE_OBJECTS": "off"})
    assert child.stdout.readline() == b"ready\n"
    time.sleep(random.uniform(0.001, 0.15))
    child.kill()
    run.finish(child, -signal.SIGKILL)
    process = run.process()
    assert process.data["end"] == "killed"
    assert process.totals["dropped_events"] == process.totals["unknown_frees"] == 0
    with open(path, "rb") as file:
        counts = list(struct.iter_unpack("=QQ", file.read()))
    for (allocations, frees), tag in list(zip(counts, ("first", "second")))[:threads]:
        row = process.rows[tag]
        assert row.allocated == row.allocations * {"first": 1000, "second": 3000}[tag]
        # One call may have been recorded and not counted yet.
        assert allocations <= row.allocations <= allocations + 1
        assert allocations - frees - 1 <= row.live_blocks <= allocations - frees + 1


ENDINGS = {
    "falls off the end": ("pass", 0, "exit"),
    "sys.exit": ("import sys; sys.exit(3)", 3, "exit"),
    "os._exit": ("import os; os._exit(4)", 4, "exit"),
    "exception": ("raise SystemError", 1, "exit"),
    "abort": ("import os; os.abort()", -signal.SIGABRT, "killed"),
    "SIGTERM": ("import os, signal; os.kill(os.getpid(), signal.SIGTERM)", -signal.SIGTERM, "killed"),
    "SIGKILL": ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", -signal.SIGKILL, "killed"),
    "SIGSEGV": ("import ctypes; ctypes.string_at(0)", -signal.SIGSEGV, "killed"),
}


@pytest.mark.parametrize("ending", ENDINGS)
def test_endings(python, ending):
    text, status, end = ENDINGS[ending]
    run = record(python, f"""
        keep = None
        keep = bytes(100_000)  # made
        {text}
    """, status=status)
    process = run.process()
    assert process.data["end"] == end
    assert process.rows["made"].increment == process.rows["made"].live == 100_000 + BYTES


def test_a_running_process(python):
    child, run = start(python, """
        import sys
        keep = None
        keep = bytes(100_000)  # made
        print("ready", flush=True)
        sys.stdin.readline()
    """)
    assert child.stdout.readline() == b"ready\n"
    process = run.process()
    assert process.data["end"] == "running"
    assert process.rows["made"].live == 100_000 + BYTES
    child.stdin.close()
    run.finish(child, 0)
    assert run.process().data["end"] == "exit"


def test_the_end_is_when_python_begins_to_finalize(python):
    run = record(python, """
        keep = [bytes(1000) for _ in range(1000)]  # made
    """)
    assert run.process().rows["made"].live >= 1000 * (1000 + BYTES)
    last = run.process("--end", "last")
    assert last.rows["made"].live == 0
    assert last.totals["allocations"] >= run.process().totals["allocations"]


def test_children_of_a_process_with_threads(python):
    """Any of the threads may be in the middle of a record when another one forks."""
    run = record(python, """
        import os, threading
        keep = None
        stop = False
        def busy():
            while not stop:
                [bytes(n) for n in range(100)]
        threads = [threading.Thread(target=busy) for _ in range(3)]
        for thread in threads:
            thread.start()
        for n in range(200):
            pid = os.fork()
            if not pid:
                keep = bytes(100_000)  # in_child
                os._exit(0)
            assert os.waitpid(pid, 0)[1] == 0
        stop = True
        for thread in threads:
            thread.join()
    """, options=["-W", "ignore"], timeout=300)
    processes = run.report()
    children = [each for each in processes if each.rows["in_child"].seen]
    assert len(processes) == 201
    assert len(children) == 200
    for child in children:
        assert child.rows["in_child"].live == 100_000 + BYTES
        assert child.totals["start_live_bytes"] == 0
        assert child.data["ppid"] == processes[0].data["pid"]


def test_a_child_frees_what_its_parent_made(python):
    run = record(python, """
        import os
        keep = bytes(5_000_000)  # parent_made
        pid = os.fork()
        if not pid:
            keep = None  # child_freed
            os._exit(0)
        os.waitpid(pid, 0)
    """)
    parent, child = run.report()
    assert parent.rows["parent_made"].live == 5_000_000 + BYTES
    assert child.rows["parent_made"].live == 0
    assert child.totals["live_bytes"] >= 0


def test_exec_begins_a_new_trace(python):
    run = record(python, """
        import os, sys
        keep = None
        if len(sys.argv) == 1:
            keep = bytes(100_000)  # before
            os.execv(sys.executable, [sys.executable, __file__, "again"])
        keep = bytes(20_000)  # after
    """)
    first, second = run.report()
    assert first.data["pid"] == second.data["pid"]
    assert (first.data["end"], second.data["end"]) == ("exec", "exit")
    assert (first.rows["before"].live, first.rows["after"].live) == (100_000 + BYTES, 0)
    assert (second.rows["before"].live, second.rows["after"].live) == (0, 20_000 + BYTES)


WRAPPERS = {
    "env": ["env", "SOME=thing"],
    "timeout": ["timeout", "60"],
    "sh": ["sh", "-c", 'true; "$@"; exit $?', "sh"],
    "nice": ["nice"],
    "setsid": ["setsid", "-w"],
    "node": ["node", "-e", "require('child_process').spawnSync(process.argv[1], process.argv.slice(2),"
                           " {stdio: 'inherit'})"],
}


@pytest.mark.parametrize("wrapper", WRAPPERS)
def test_wrappers_leave_no_file(python, wrapper):
    if not shutil.which(WRAPPERS[wrapper][0]):
        pytest.skip(f"{wrapper} is not installed")
    run = record(python, """
        keep = None
        keep = bytes(100_000)  # made
    """, wrapper=WRAPPERS[wrapper])
    assert len(run.traces) == 1
    assert run.process().rows["made"].live == 100_000 + BYTES
    assert run.stderr == ""


def check_sum(rows, sizes):
    """The blocks of these sizes were made on a line, in whichever process; each may have had to fill a free list."""
    small = sum(row.allocated for row in rows) - sum(sizes)
    assert 0 <= small <= 200 * len(rows)
    assert len(sizes) <= sum(row.allocations for row in rows) <= len(sizes) + 3 * len(rows)


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_multiprocessing(python, method):
    run = record(python, f"""
        import multiprocessing
        SIZES = [100_000 + n for n in range(30)]
        def work(n):
            keep = bytes(SIZES[n])  # in_child
            return len(keep)
        if __name__ == "__main__":
            multiprocessing.set_start_method("{method}")
            with multiprocessing.Pool(3) as pool:
                assert pool.map(work, range(30)) == list(range(100_000, 100_030))
                pool.close()
                pool.join()
    """)
    made = [each.rows["in_child"] for each in run.report()]
    check_sum(made, [100_000 + n + BYTES for n in range(30)])
    assert run.stderr == ""


def test_process_pool_executor(python):
    run = record(python, """
        import concurrent.futures
        SIZES = [100_000 + n for n in range(20)]
        def work(n):
            keep = bytes(SIZES[n])  # in_child
            return len(keep)
        if __name__ == "__main__":
            with concurrent.futures.ProcessPoolExecutor(2) as pool:
                print(sum(pool.map(work, range(20))))
    """)
    assert run.stdout == f"{sum(range(100_000, 100_020))}\n"
    check_sum([each.rows["in_child"] for each in run.report()], [100_000 + n + BYTES for n in range(20)])


def test_subprocess(python):
    run = record(python, """
        import subprocess, sys
        program = "keep = None\\nkeep = bytes(70_000)"
        for _ in range(3):
            subprocess.run([sys.executable, "-c", program], check=True)
            subprocess.run(["true"], check=True)
            subprocess.run("exit 0", shell=True, check=True, close_fds=False)
            subprocess.run([sys.executable, "-c", program], check=True, preexec_fn=lambda: None)
        keep = None
        keep = bytes(100_000)  # made
    """)
    processes = run.report()
    (parent,) = [each for each in processes if each.rows["made"].seen and each.rows["made"].live == 100_000 + BYTES]
    assert parent.totals["dropped_events"] == 0
    programs = [each for each in processes if "-c" in each.data["command"] and each.data["end"] == "exit"]
    assert len(programs) == 6
    for each in programs:
        found = [line for file, _, line in each.lines() if file == "<string>" and line["line"] == 2]
        assert [line["own_increment_bytes"] for line in found] == [70_000 + BYTES]


@pytest.mark.parametrize("arguments", [["--version"], ["-V"], ["--help"]], ids=" ".join)
def test_no_python_code_no_file(python, arguments):
    folder = os.path.join(os.path.dirname(write_program("")), "traces")
    bare = run_bare(python, arguments)
    with_us = run_bare(python, arguments, LD_PRELOAD=LIBRARY, MEMLINE_DIR=folder)
    assert with_us == bare
    assert not os.path.exists(folder) or os.listdir(folder) == []


def test_no_site_no_output(python):
    bare = run_bare(python, ["-S", "-E", "-c", "pass"])
    folder = os.path.join(os.path.dirname(write_program("")), "traces")
    assert run_bare(python, ["-S", "-E", "-c", "pass"], LD_PRELOAD=LIBRARY, MEMLINE_DIR=folder) == bare == (0, b"", b"")


@pytest.mark.parametrize("command", [["true"], ["ls", "/"], ["sh", "-c", "echo $((1 + 1))"], ["sort", "/etc/passwd"]],
                         ids=" ".join)
def test_programs_without_python(command):
    folder = os.path.join(os.path.dirname(write_program("")), "traces")
    bare = subprocess.run(command, stdout=subprocess.PIPE, env=clean_environment())
    with_us = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                             env=clean_environment(LD_PRELOAD=LIBRARY, MEMLINE_DIR=folder))
    assert (with_us.returncode, with_us.stdout, with_us.stderr) == (0, bare.stdout, b"")
    assert not os.path.exists(folder) or os.listdir(folder) == []


def test_an_embedded_python_that_comes_late(python):
    answer = run_bare(python, ["-c", "import sys, sysconfig as s; print(sys.prefix, s.get_config_var('LIBDIR') + '/' +"
                                     " (s.get_config_var('INSTSONAME') or ''))"])[1].decode()
    home, library = answer.split()
    if python.chroot or not os.path.isfile(library) or ".so" not in library:
        pytest.skip("this CPython has no shared library")
    path = write_program("keep = None\nkeep = bytes(100_000)  # made\n")
    run = Run(path, path)
    done = subprocess.run([os.path.join(BUILD, "tests/e2e/programs/embed"), library,
                           f"exec(compile(open({path!r}).read(), {path!r}, 'exec'))"], stderr=subprocess.PIPE,
                          env=clean_environment(LD_PRELOAD=LIBRARY, MEMLINE_DIR=run.folder,
                                                PYTHONHOME=home))
    assert (done.returncode, done.stderr) == (0, b"")
    process = run.process("--scope", path)
    assert 0 <= process.rows["made"].own_increment - (100_000 + BYTES) <= 200
    assert process.totals["dropped_events"] == 0
    assert any("loaded after the process had started" in warning for warning in process.warnings)
