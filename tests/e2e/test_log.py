"""MEMLINE_LOG: the table as lines on the program's standard error, written by a process that the program cannot see."""
import ctypes
import os
import re
import select
import shutil
import signal
import subprocess
import time

import pytest
from bare import end_of, run_both
from logged import Tables
from support import LIBRARY, MEMLINE, Run, clean_environment, memline, record, start, write_program

# A last table has to come 0.2 s after the end. A busy machine may take its time, but not much longer than that.
SECONDS = 20

MIB = 1 << 20


@pytest.fixture(autouse=True)
def memline_can_run(request):
    """It is built for this system, and started beside the program."""
    if "python" in request.fixturenames and request.getfixturevalue("python").chroot:
        pytest.skip("memline is not in the chroot")


KEEPS = """
import os, signal, sys, time
kept = []
def grow(count):
    for _ in range(count):
        kept.append(bytearray(1 << 20))  # kept
    return len(kept)
"""


def log(python, text, *arguments, every="end", status=0, env=None, **more):
    """Records a program that prints nothing itself; gives its run and what was logged."""
    run = record(python, text, *arguments, status=status, env=dict({"MEMLINE_LOG": every}, **(env or {})), **more)
    return run, Tables(run.stderr)


def wait_until(ask, what):
    late = time.monotonic() + SECONDS
    while not ask():
        assert time.monotonic() < late, what
        time.sleep(0.01)


def loggers(folder):
    """The processes that write tables for traces in the folder."""
    found = []
    for name in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{name}/cmdline", "rb") as file:
                words = file.read().split(b"\0")
        except OSError:
            continue
        if words[:2] == [b"memline", b"log"] and any(word.startswith(folder.encode()) for word in words):
            found.append(int(name))
    return found


def check_gone(run):
    wait_until(lambda: not loggers(run.folder), "the logger stays")


def test_every_row_can_be_parsed(python):
    """Rows are those of the report, with exactly two spaces between five columns, and nothing else is said."""
    run, tables = log(python, KEEPS + "grow(5)  # called\n", options=["-B"])
    check_gone(run)
    assert run.stdout == ""
    process = run.process()
    assert process.warnings == []
    assert set(tables.files) == {run.file}
    assert tables.increments("kept") == tables.increments("called") == ["5.0 MiB"]
    baseline = {line["line"]: line for _, _, line in process.lines()}
    with open(run.program, encoding="utf-8") as file:
        source = file.read().splitlines()
    for number, mem, increment, occurrences, contents in tables.rows:
        line = baseline[number]
        assert mem == f"{line['mem_bytes'] / MIB:.1f} MiB"
        assert increment == f"{line['increment_bytes'] / MIB:.1f} MiB"
        assert occurrences == ("" if line["occurrences"] is None else str(line["occurrences"]))
        assert contents == source[number - 1]
    assert len(tables.rows) == sum(bool(line["increment_bytes"]) for _, _, line in process.lines())


@pytest.mark.few
def test_the_largest_rows(python):
    lines = "".join(f"k{n} = bytearray({n} << 20)  # k{n}\n" for n in range(1, 6))
    run, tables = log(python, lines, env={"MEMLINE_LOG_TOP": "3"})
    assert [row[2] for row in tables.rows] == ["3.0 MiB", "4.0 MiB", "5.0 MiB"]
    assert len(tables.files) == 1


@pytest.mark.few
def test_long_lines_and_odd_bytes(python):
    """A line is one write of at most 4,096 bytes, cut between characters; control characters are spaces."""
    umlauts = "ä" * 3000
    run, tables = log(python, f"x = bytearray(3 << 20)\ty = 1 #{umlauts}\n".replace("\ty", ";\ty"))
    (row,) = tables.rows
    assert row[4].startswith("x = bytearray(3 << 20); y = 1 #ää") and row[4].endswith("ä")
    assert len(umlauts) > row[4].count("ä") > 1990


def read_table(child, folder):
    """What comes on the child's standard error up to a line that ends in the tag `kept`."""
    text = b""
    while not re.search(rb"# kept\n", text):
        ready, _, _ = select.select([child.stderr], [], [], SECONDS)
        assert ready, f"no table: {text.decode()}"
        piece = os.read(child.stderr.fileno(), 65536)
        assert piece, f"no table: {text.decode()}"
        text += piece
    return text.decode()


def test_a_table_for_each_period(python):
    """While the process runs, as long as something changes; and once more at the end."""
    child, run = start(python, KEEPS + """
for line in sys.stdin:
    grow(int(line))
    print(flush=True)
""", env={"MEMLINE_LOG": "200ms"})
    text = ""
    for count in 2, 3:
        child.stdin.write(b"%d\n" % count)
        child.stdin.flush()
        child.stdout.readline()
        text += read_table(child, run.folder)
    assert not select.select([child.stderr], [], [], 0.6)[0] or \
        Tables(os.read(child.stderr.fileno(), 65536).decode())
    child.kill()
    run.finish(child, -signal.SIGKILL)
    seen = Tables(text).increments("kept")
    assert seen[0] == "2.0 MiB" and seen[-1] == "5.0 MiB" and set(seen) <= {"2.0 MiB", "5.0 MiB"}
    assert Tables(run.stderr).increments("kept")[-1:] == ["5.0 MiB"]


ENDS = {
    "the end of the program": ("", 0),
    "exit": ("sys.exit(3)", 3),
    "_exit": ("os._exit(4)", 4),
    "SIGTERM": ("os.kill(os.getpid(), signal.SIGTERM)", -signal.SIGTERM),
    "SIGKILL": ("os.kill(os.getpid(), signal.SIGKILL)", -signal.SIGKILL),
    "SIGKILL to the group": ("os.setpgid(0, 0); os.killpg(0, signal.SIGKILL)", -signal.SIGKILL),
    "abort": ("import resource; resource.setrlimit(resource.RLIMIT_CORE, (0, 0)); os.abort()", -signal.SIGABRT),
}


@pytest.mark.few
@pytest.mark.parametrize("how", ENDS)
def test_every_end_has_a_table(python, how):
    text, status = ENDS[how]
    run, tables = log(python, KEEPS + "grow(3)\n" + text, status=status)
    assert tables.increments("kept") == ["3.0 MiB"]
    check_gone(run)


UNSEEN = """
import os, signal, sys, threading, time
heard = []
signal.signal(signal.SIGCHLD, lambda *_: heard.append(1))
mask = signal.pthread_sigmask(signal.SIG_BLOCK, [])
for _ in range(20):
    kept = [bytearray(100) for _ in range(1000)]
    time.sleep(0.02)
try:
    children = os.waitpid(-1, os.WNOHANG)
except ChildProcessError:
    children = "none"
WCLONE, WALL = 0x80000000 - (1 << 32), 0x40000000
try:
    clones = os.waitpid(-1, os.WNOHANG | WALL)
except (ChildProcessError, OSError) as error:
    clones = type(error).__name__
listed = [open(f"/proc/self/task/{each}/children").read() for each in os.listdir("/proc/self/task")]
descriptors = sorted(os.listdir("/proc/self/fd"), key=int)[:-1]
print(heard, sorted(mask), children, clones, listed, [each for each in descriptors if int(each) < 100],
      len(os.listdir("/proc/self/task")), os.getsid(0) == os.getpid(), flush=True)
os.close(2)
"""


@pytest.mark.few
def test_the_program_does_not_see_it(python):
    """No child to wait for, no signal, no descriptor, no thread; the mask of signals is as it was."""
    def run(**environment):
        path = write_program(UNSEEN)
        folder = os.path.join(os.path.dirname(path), "traces")
        return end_of([*python.command, path], LD_PRELOAD=LIBRARY, MEMLINE_DIR=folder, **environment)
    off, on = run(), run(MEMLINE_LOG="100ms")
    assert (on.status, on.stdout) == (off.status, off.stdout)
    assert on.status == 0 and b"none ChildProcessError ['']" in on.stdout
    assert Tables(on.stderr.decode()).rows


@pytest.mark.few
def test_what_the_logger_holds(python):
    """Of all that could be inherited only the standard error; its session, folder and environment are its own."""
    read_end, write_end = os.pipe()
    os.set_inheritable(write_end, True)
    child, run = start(python, KEEPS + "grow(1); print(flush=True); sys.stdin.read()",
                       env={"MEMLINE_LOG": "end", "SECRET": "1"}, wrapper=["env", "-u", "none"])
    try:
        child.stdout.readline()
        wait_until(lambda: loggers(run.folder), "no logger")
        (logger,) = loggers(run.folder)
        wait_until(lambda: len(os.listdir(f"/proc/{logger}/fd")) >= 5, "it does not come up")
        held = {name: os.readlink(f"/proc/{logger}/fd/{name}") for name in os.listdir(f"/proc/{logger}/fd")}
        ours = os.readlink(f"/proc/self/fd/{child.stderr.fileno()}")
        assert held.pop("2") == ours
        assert not [each for each in held.values() if each.startswith(("pipe:", "socket:"))]
        assert sorted(set(held.values()) - {"/dev/null"}) in ([run.traces[0]], [run.traces[0], "anon_inode:[pidfd]"])
        with open(f"/proc/{logger}/environ", "rb") as file:
            assert file.read() == b""
        with open(f"/proc/{logger}/status", encoding="ascii") as file:
            status = dict(line.split(":\t", 1) for line in file.read().splitlines() if ":\t" in line)
        assert int(status["SigBlk"], 16) == 0 and int(status["SigCgt"], 16) == 0
        assert os.getsid(logger) not in (os.getsid(0), os.getsid(child.pid))
        assert os.getpgid(logger) != os.getpgid(child.pid)
        assert os.readlink(f"/proc/{logger}/cwd") == "/"
        assert os.getpriority(os.PRIO_PROCESS, logger) >= 10
    finally:
        os.close(read_end)
        os.close(write_end)
        child.stdin.close()
        run.finish(child)
    assert Tables(run.stderr).increments("kept") == ["1.0 MiB"]
    check_gone(run)


@pytest.mark.few
def test_a_program_that_closes_its_standard_error(python):
    """Whoever reads there sees the end of it while the program goes on."""
    child, run = start(python, KEEPS + "grow(1); print(flush=True); os.close(2); sys.stdin.read()",
                       env={"MEMLINE_LOG": "end"})
    child.stdout.readline()
    ready, _, _ = select.select([child.stderr], [], [], SECONDS)
    assert ready and child.stderr.read() == b""
    assert child.poll() is None
    check_gone(run)
    child.stdin.close()
    child.stdin = None
    assert child.wait(SECONDS) == 0
    child.stdout.close()
    child.stderr.close()


@pytest.mark.few
def test_nobody_reads(python):
    """Where the reader has gone the logger goes; where it only does not read, soon after the program."""
    for closed in True, False:
        child, run = start(python, KEEPS + "grow(1); print(flush=True); sys.stdin.read()",
                           env={"MEMLINE_LOG": "100ms"})
        child.stdout.readline()
        wait_until(lambda: loggers(run.folder), "no logger")
        if closed:
            child.stderr.close()
            check_gone(run)
        else:
            # Nothing more goes into the pipe.
            with open(f"/proc/{child.pid}/fd/2", "wb", buffering=0) as pipe:
                os.set_blocking(pipe.fileno(), False)
                while pipe.write(b"x" * 4096):
                    pass
        child.kill()
        child.wait()
        check_gone(run)
        for pipe in child.stdin, child.stdout, child.stderr:
            pipe.close()


@pytest.mark.few
def test_a_file(python):
    """The tables stand where the program's own text ends, and that goes on behind them."""
    path = write_program(KEEPS + """
grow(2)
os.write(2, b"one\\n")
while os.lseek(2, 0, os.SEEK_CUR) < 100:
    time.sleep(0.01)
os.write(2, b"two\\n")
""")
    folder = os.path.join(os.path.dirname(path), "traces")
    errors = os.path.join(os.path.dirname(path), "errors")
    with open(errors, "wb") as file:
        subprocess.run([*python.command, path], stderr=file, timeout=120, check=True,
                       env=clean_environment(LD_PRELOAD=LIBRARY, MEMLINE_DIR=folder, MEMLINE_LOG="100ms"))
    wait_until(lambda: not loggers(folder), "the logger stays")
    with open(errors, encoding="utf-8") as file:
        lines = file.read().splitlines()
    assert {"one", "two"} < set(lines)
    tables = Tables("\n".join(line for line in lines if line not in ("one", "two")))
    assert tables.increments("kept")[-1] == "2.0 MiB"


@pytest.mark.few
def test_forked_workers(python):
    """Each process has its own tables, and what it does is in no other's."""
    run, tables = log(python, KEEPS + """
grow(1)
children = []
for count in 2, 3:
    child = os.fork()
    if not child:
        more = [bytearray(1 << 20) for _ in range(count)]  # child
        os._exit(0)
    children.append(child)
for child in children:
    assert os.waitpid(child, 0) == (child, 0)
try:
    os.wait()
except ChildProcessError:
    pass
else:
    os._exit(1)
""")
    assert tables.increments("kept") == ["1.0 MiB"]
    assert sorted(tables.increments("child")) == ["2.0 MiB", "3.0 MiB"]
    check_gone(run)


@pytest.mark.few
def test_exec(python):
    """The image that is replaced has a last table, and the new one its own."""
    run, tables = log(python, KEEPS + """
if len(sys.argv) < 2:
    grow(2)
    os.execv(sys.executable, [sys.executable, __file__, "again"])
grow(5)
time.sleep(1)
""")
    assert sorted(tables.increments("kept")) == ["2.0 MiB", "5.0 MiB"]
    assert len(run.traces) == 2
    check_gone(run)


@pytest.mark.few
def test_exec_of_another_program(python):
    """The last table comes while that runs; a forked child that only executes one has none."""
    child, run = start(python, KEEPS + "grow(2)\nif not os.fork():\n    os.execlp('sleep', 'sleep', '100')\n"
                       "os.execlp('cat', 'cat')\n", env={"MEMLINE_LOG": "end"}, sound=False)
    assert Tables(read_table(child, run.folder)).increments("kept") == ["2.0 MiB"]
    check_gone(run)
    assert child.poll() is None
    forked = [int(each) for each in re.findall(r"/(\d+)-", " ".join(run.traces)) if int(each) != child.pid]
    for pid in forked:
        os.kill(pid, signal.SIGKILL)
    run.finish(child)
    assert run.stderr == ""


@pytest.mark.few
def test_a_child_that_soon_executes_another_program(python):
    """It has nothing to tell, and no logger."""
    run, tables = log(python, KEEPS + "grow(1); import subprocess; subprocess.call(['true'])\n"
                      "subprocess.call(['true'], preexec_fn=lambda: None)\n")
    assert tables.increments("kept") == ["1.0 MiB"]
    assert len(tables.files) <= 3
    check_gone(run)


def refusals(run):
    (process,) = run.report()
    return [warning for warning in process.warnings if "no table was logged" in warning]


@pytest.mark.few
def test_without_memline(python):
    """The program runs as ever, and the report says what is missing."""
    folder = os.path.dirname(write_program(""))
    library = shutil.copy(LIBRARY, folder)
    path = write_program(KEEPS + "grow(1)")
    run = Run(python, path, path)
    command = [*python.command, path]
    recorded = end_of(command, LD_PRELOAD=library, MEMLINE_DIR=run.folder, MEMLINE_LOG="end")
    assert recorded == end_of(command)
    assert refusals(run) == ["no table was logged: memline is neither beside libmemline.so nor in ../bin"]


@pytest.mark.few
def test_where_make_install_puts_it(python):
    """By a relative path too, from whatever folder the program goes to."""
    folder = os.path.dirname(write_program(""))
    for name in "lib", "bin":
        os.mkdir(os.path.join(folder, name))
    shutil.copy(LIBRARY, os.path.join(folder, "lib"))
    shutil.copy(MEMLINE, os.path.join(folder, "bin"))
    path = write_program("import os; os.chdir('/')\n" + KEEPS + "grow(1)")
    ended = end_of([*python.command, path], cwd=folder, LD_PRELOAD="./lib/libmemline.so",
                   MEMLINE_DIR=os.path.join(folder, "traces"), MEMLINE_LOG="end")
    assert ended.status == 0 and Tables(ended.stderr.decode()).increments("kept") == ["1.0 MiB"]


@pytest.mark.few
def test_a_memline_that_cannot_run(python):
    """Its complaints go nowhere, and the report tells that there were no tables."""
    folder = os.path.dirname(write_program(""))
    library = shutil.copy(LIBRARY, folder)
    with open(os.path.join(folder, "memline"), "w", encoding="ascii") as file:
        file.write("#!/bin/sh\necho out; echo errors >&2; exit 1\n")
    os.chmod(file.name, 0o755)
    path = write_program(KEEPS + "grow(1)")
    run = Run(python, path, path)
    command = [*python.command, path]
    assert end_of(command, LD_PRELOAD=library, MEMLINE_DIR=run.folder, MEMLINE_LOG="end") == end_of(command)
    (warning,) = refusals(run)
    assert "did not come up" in warning


def become_subreaper():
    assert ctypes.CDLL(None).prctl(36, 1, 0, 0, 0) == 0


@pytest.mark.few
def test_a_subreaper_has_no_logger(python):
    """Orphans would be its children."""
    run = run_both(python, KEEPS + "grow(1)\ntry:\n    os.wait()\nexcept ChildProcessError:\n    print('none')\n",
                   prepare=become_subreaper, env={"MEMLINE_LOG": "end"})
    assert run.stdout == "none\n"
    (warning,) = refusals(run)
    assert "subreaper" in warning


@pytest.mark.few
def test_no_standard_error(python):
    run = run_both(python, "print(len(bytes(1000)))", prepare=lambda: os.close(2), env={"MEMLINE_LOG": "end"})
    assert "had no standard error" in refusals(run)[0]


@pytest.mark.parametrize("value", ["5s", "1m", "24h", "100ms"])
@pytest.mark.few
def test_periods(python, value):
    run, tables = log(python, KEEPS + "grow(1)", every=value)
    assert tables.increments("kept")[-1] == "1.0 MiB"
    assert run.process().warnings == []


@pytest.mark.few
@pytest.mark.parametrize("value", ["", "on", "5", "5x", "99ms", "25h", "1.5s", "-1s"])
def test_values_that_make_no_sense(python, value):
    run = record(python, KEEPS + "grow(1)", env={"MEMLINE_LOG": value})
    assert run.stderr == ""
    assert run.process().warnings == [f"MEMLINE_LOG was ignored: it does not take '{value}'"]


THREADS = """
import os, random, sys, threading, time
def churn(seed):
    chance, held = random.Random(seed), []
    ends = time.monotonic() + 1.5
    while time.monotonic() < ends:
        for _ in range(200):
            held.append(bytes(chance.randrange(5000)))
            if len(held) > 50:
                held.pop(chance.randrange(len(held)))
        space = {}
        exec("def f(n):\\n    return [n] * 10\\n", space)
        held.append(space["f"](seed))
threads = [threading.Thread(target=churn, args=(n,)) for n in range(int(sys.argv[1]))]
for each in threads:
    each.start()
for each in threads:
    each.join()
os.kill(os.getpid(), 9)
"""


@pytest.mark.few
@pytest.mark.parametrize("threads", [1, 8])
def test_what_is_followed_is_what_is_read_later(python, threads):
    """A trace that is read as it grows, piece by piece, gives the same as one that is read at once."""
    child, run = start(python, THREADS, threads, env={"MEMLINE_LOG": "off"})
    wait_until(lambda: run.traces and run.traces[0].endswith(".memline"), "no trace")
    followed = memline("log", "--every=end", "--top=100000", run.traces[0])
    run.finish(child, -signal.SIGKILL)
    assert followed == memline("log", "--every=end", "--top=100000", run.traces[0])
    assert len(Tables(followed).rows) >= 5


def test_by_hand():
    """memline log says what it needs."""
    memline("log", "--every=never", "x", status=2)
    memline("log", "--top=0", "x", status=2)
    memline("log", "--fd=x", "x", status=2)
    memline("log", "/nowhere", status=1)
