"""The commands themselves: run, list, clean, summary, dump, how they find traces, and what they say when they can't."""
import json
import os
import re
import signal
import subprocess
import time

import pytest

from support import BUILD, LIBRARY, MEMLINE, clean_environment, memline, record, start, write_program

PROGRAM = """
import sys
keep = bytearray(5_000_000)  # kept
print("out", *sys.argv[1:])
print("err", file=sys.stderr)
"""


def run(folder, *arguments, python=None, text=PROGRAM, expect=0, popen=False, **environment):
    """`memline run` of a program. Returns what it did, or the running process.

    It gets a process group of its own: SIGTSTP stops nobody in a group whose parents are all gone (an orphaned one,
    setpgid(2)), which these tests themselves may run in.
    """
    program = [] if python is None else ["--", *python.command, write_program(text)]
    child = subprocess.Popen([MEMLINE, "run", *map(str, arguments), *program], stdin=subprocess.DEVNULL,
                             stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                             env=clean_environment(MEMLINE_DIR=str(folder), **environment),
                             preexec_fn=lambda: os.setpgid(0, 0))
    if popen:
        return child
    out, err = child.communicate(timeout=60)
    assert child.returncode == expect, err.decode()
    return out.decode(), err.decode()


@pytest.mark.few
def test_run_prints_the_report_behind_the_program(python, tmp_path):
    out, err = run(tmp_path, python=python)
    assert out == "out\n"
    assert err.startswith("err\n# memline ")
    assert re.search(r"^     3 +\d+\.\d MiB +4\.8 MiB +(1   )?keep = bytearray", err, re.M)
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.few
def test_run_writes_the_report_to_a_file(python, tmp_path):
    report = tmp_path / "report.json"
    out, err = run(tmp_path / "traces", "-o", report, "--json", "--top=1", python=python)
    assert (out, err) == ("out\n", "err\n")
    (process,) = json.loads(report.read_text())["processes"]
    assert [each["name"] for each in process["functions"]] == ["<module>"]
    assert process["end"] == "exit"


@pytest.mark.few
def test_run_passes_arguments_and_options(python, tmp_path):
    program = write_program(PROGRAM)
    out, err = run(tmp_path / "ignored", f"--dir={tmp_path}/named", "--objects=off", "--max-nodes", "2k", "--scope",
                   "/nothing", *python.command, program, "--help", "-o", "x")
    assert out == "out --help -o x\n"
    assert "keep =" not in err
    (trace,) = (tmp_path / "named").iterdir()
    text = memline("dump", "--defs", trace)
    for option in ("option.OBJECTS", "option.MAX_NODES", "option.SCOPE"):
        assert option in text
    assert re.search(r"option\.MAX_NODES\W+2k\b", text) and re.search(r"option\.OBJECTS\W+off\b", text)


@pytest.mark.few
def test_run_keeps_what_is_preloaded_already(python, tmp_path):
    out, _ = run(tmp_path, python=python, text="import os\nprint(os.environ['LD_PRELOAD'])\n", LD_PRELOAD="libm.so.6")
    assert out == f"{LIBRARY}:libm.so.6\n"


@pytest.mark.few
@pytest.mark.parametrize("status", [0, 1, 3, 255])
def test_run_exits_as_the_program(python, tmp_path, status):
    run(tmp_path, python=python, text=f"raise SystemExit({status})\n", expect=status)


@pytest.mark.few
@pytest.mark.parametrize("name", ["SIGKILL", "SIGTERM", "SIGABRT", "SIGSEGV"])
def test_run_dies_as_the_program(python, tmp_path, name):
    number = getattr(signal, name)
    text = f"import os\nkeep = bytearray(5_000_000)\nos.kill(os.getpid(), {int(number)})\n"
    _, err = run(tmp_path, python=python, text=text, expect=-number)
    assert ", killed\n" in err and "keep = " in err


WAITING = """
import signal, sys
caught = []
def note(number, frame):
    caught.append(number)
for name in sys.argv[1:] or ["SIGINT", "SIGTERM", "SIGHUP", "SIGQUIT", "SIGUSR1", "SIGUSR2", "SIGCONT"]:
    signal.signal(getattr(signal, name), note)
print("ready", flush=True)
while len(caught) < 6:
    signal.pause()
print(sorted(set(caught) - {signal.SIGCONT}) == sorted(
    [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2]))
"""


@pytest.mark.few
def test_run_passes_signals(python, tmp_path):
    child = run(tmp_path, python=python, text=WAITING, popen=True)
    assert child.stdout.readline() == b"ready\n"
    for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGQUIT", "SIGUSR1", "SIGUSR2"):
        child.send_signal(getattr(signal, name))
        time.sleep(0.05)
    out, err = child.communicate(timeout=60)
    assert out == b"True\n" and child.returncode == 0, err


def state(pid):
    with open(f"/proc/{pid}/stat", encoding="ascii", errors="replace") as file:
        return file.read().rpartition(")")[2].split()[0]


def wait_until(condition):
    for _ in range(500):
        if condition():
            return
        time.sleep(0.02)
    raise AssertionError("it does not happen")


@pytest.mark.few
def test_run_stops_and_goes_on_with_the_program(python, tmp_path):
    text = "import os, sys\nprint(os.getpid(), flush=True)\nsys.stdout.close()\nimport time\ntime.sleep(1)\n"
    child = run(tmp_path, python=python, text=text, popen=True)
    pid = int(child.stdout.readline())
    child.send_signal(signal.SIGTSTP)
    wait_until(lambda: state(child.pid) == "T" and state(pid) == "T")
    child.send_signal(signal.SIGCONT)
    wait_until(lambda: state(pid) != "T")
    assert child.wait(timeout=60) == 0


def test_run_without_a_program_to_run(tmp_path):
    text = tmp_path / "text"
    text.write_text("no program")
    _, err = run(tmp_path, tmp_path / "none", expect=127)
    assert err == f"memline: {tmp_path}/none: No such file or directory\n"
    _, err = run(tmp_path, text, expect=126)
    assert err == f"memline: {text}: Permission denied\n"
    _, err = run(tmp_path, expect=2)
    assert "the program to run is missing" in err
    _, err = run(tmp_path, "-o", tmp_path / "none/report", "true", expect=1)
    assert len(err.splitlines()) == 1 and "cannot be written" in err


def test_run_without_python(tmp_path):
    out, err = run(tmp_path, "--", "sh", "-c", "echo out; exit 7", expect=7)
    assert out == "out\n"
    assert err.startswith("memline: no trace was made") and len(err.splitlines()) == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.few
def test_run_off(python, tmp_path):
    _, err = run(tmp_path, "--off", python=python)
    assert "no trace was made" in err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.few
def test_run_says_at_once_that_nothing_will_be_recorded(python, tmp_path):
    (tmp_path / "file").write_text("")
    out, err = run(tmp_path / "file", python=python)
    assert out == "out\n"
    assert err.splitlines() == [f"memline: nothing will be recorded in {tmp_path}/file: Not a directory", "err",
                                f"memline: no trace was made in {tmp_path}/file: Not a directory"]


@pytest.mark.few
def test_report_says_what_it_covers(python, tmp_path):
    def coverage(folder, *options, **environment):
        _, err = run(folder, *options, python=python, **environment)
        return err.splitlines()[3].partition(" Mem usage is ")[0], err

    assert coverage(tmp_path / "all")[0] == "# Every allocation was recorded."
    line, _ = coverage(tmp_path / "none", "--objects=off")
    assert line == "# Every allocation of the C library was recorded, none of Python's small objects."
    _, err = coverage(tmp_path / "scope", "--scope=/nothing")
    assert "# No line in scope allocated or freed: --scope GLOB takes other source files" in err
    _, err = coverage(tmp_path / "function", "--function=nothing")
    assert "# No function in scope that allocated or freed is called so." in err


@pytest.mark.few
def test_run_reports_its_own_run_alone(python, tmp_path):
    """Another program that is recorded meanwhile into the same folder is not part of it, a child is."""
    text = ("import subprocess, sys\n"
            "subprocess.check_call([sys.executable, '-c', 'keep = bytearray(3_000_000)'])\n")
    run(tmp_path, python=python)
    other = subprocess.Popen([*python.command, "-c", "input()"], stdin=subprocess.PIPE,
                             env=clean_environment(LD_PRELOAD=LIBRARY, MEMLINE_DIR=str(tmp_path)))
    _, err = run(tmp_path, python=python, text=text)
    other.communicate(b"\n")
    assert err.count("# memline ") == 2
    assert len(list(tmp_path.iterdir())) == 4


# Reading.

FORKS = """
import os
def work(n):
    return bytes(n)  # work
keep = work(1_000_000)
for i in range(2):
    pid = os.fork()
    if not pid:
        keep = work(2_000_000)
        os._exit(0)
    os.waitpid(pid, 0)
"""


@pytest.mark.few
def test_processes_of_a_run(python):
    traces = record(python, FORKS)
    processes = traces.report()
    assert len(processes) == 3
    assert [each.data["ppid"] == processes[0].data["pid"] for each in processes] == [False, True, True]
    for process, size in zip(processes, (1_000_000, 2_000_000, 2_000_000)):
        assert process.rows["work"].increment == size + 33
    merged = traces.process("--merge")
    assert merged.data["pid"] is None
    assert merged.data["merged"] == [each.data["pid"] for each in processes]
    assert merged.rows["work"].increment == 5_000_000 + 3 * 33
    for key in ("allocated_bytes", "allocations"):
        assert merged.totals[key] == sum(each.totals[key] for each in processes)
    assert merged.totals["baseline_rss_bytes"] > processes[0].totals["baseline_rss_bytes"]
    assert merged.totals["start_live_bytes"] == 0 < processes[1].totals["start_live_bytes"]


@pytest.mark.few
def test_which_traces_are_meant(python):
    first = record(python, FORKS)
    pids = [each.data["pid"] for each in first.report()]

    def reported(*arguments, **environment):
        return [each["pid"] for each in json.loads(memline("report", "--json", *arguments, **environment))["processes"]]

    assert reported(MEMLINE_DIR=first.folder) == pids
    assert reported(first.folder) == pids
    assert reported(pids[1], MEMLINE_DIR=first.folder) == [pids[1]]
    for path in first.traces:
        (pid,) = reported(path)
        assert os.path.basename(path).startswith(f"{pid}-")
    assert reported(*first.traces[:2]) == [int(os.path.basename(path).split("-")[0]) for path in first.traces[:2]]


@pytest.mark.few
def test_the_same_trace_gives_the_same_report(python):
    run_ = record(python, FORKS)
    for options in ([], ["--wide", "--all"], ["--json"], ["--merge", "--json"]):
        assert memline("report", *options, run_.folder) == memline("report", *options, run_.folder)
    assert memline("summary", run_.folder) == memline("summary", run_.folder)
    assert memline("dump", "-n", run_.folder) == memline("dump", "-n", run_.folder)


WINDOWS = """
import time
def step(n):
    return bytes(n)  # step
def wait():
    time.sleep(0.5)
    for i in range(5000):  # the recorder looks at the clock every few hundred events
        bytes(100)
keep = step(1_000_000)
wait()
keep2 = step(2_000_000)
wait()
keep3 = step(4_000_000)
"""


@pytest.mark.few
def test_windows_of_time(python):
    run_ = record(python, WINDOWS)
    process = run_.process()
    assert process.rows["step"].increment == 7_000_000 + 3 * 33
    (window,) = run_.report("--from=0.3", "--to=0.8")
    assert window.rows["step"].increment == 2_000_000 + 33
    assert window.totals["start_live_bytes"] > 1_000_000
    assert window.totals["live_bytes"] - window.totals["start_live_bytes"] == sum(
        line["own_increment_bytes"] for _, _, line in window.lines()) + sum(
        window.data[key]["increment_bytes"] for key in ("out_of_scope", "native"))
    (window,) = run_.report("--to=0.3")
    assert window.rows["step"].increment == 1_000_000 + 33
    (window,) = run_.report("--from=0.8")
    assert window.rows["step"].increment == 4_000_000 + 33
    assert window.rows["step"].inclusive_live == 7_000_000 + 3 * 33


THREADS = """
import threading
def step(n):
    keep.append(bytes(n))  # step
keep = []
threads = [threading.Thread(target=step, args=(n * 1_000_000,)) for n in (1, 2)]
for each in threads:
    each.start()
    each.join()
print([each.native_id for each in threads])
"""


@pytest.mark.few
def test_one_thread(python):
    run_ = record(python, THREADS)
    for n, tid in enumerate(run_.answers(), 1):
        (process,) = run_.report("--thread", tid)
        assert 0 <= process.rows["step"].increment - (n * 1_000_000 + 33) <= 200


@pytest.mark.few
def test_functions_and_top(python):
    text = "def small(): return bytes(1000)\ndef large(): return bytes(1_000_000)\nkeep = small(), large()\n"
    run_ = record(python, text)
    assert run_.process("--function=small").functions == ["small"]
    assert run_.process("--function=s*", "--function=[l]arge").functions == ["large", "small"]
    assert len(run_.process("--top=2").functions) == 2
    text = memline("report", "--top=1", run_.folder)
    assert text.count("Filename: ") == 1 and "# " in text and "<2 more functions>" in text


@pytest.mark.few
def test_summary(python):
    run_ = record(python, FORKS)
    text = memline("summary", run_.folder)
    pids = [each.data["pid"] for each in run_.report()]
    assert re.search(rf"^  {pids[0]} .*\(exit\)\n    {pids[1]} .*\(exit\)\n    {pids[2]} .*\(exit\)$", text, re.M)
    assert text.count("largest lines") == 3 and "resident at the end" in text
    data = json.loads(memline("summary", "--json", run_.folder))
    assert [each["pid"] for each in data["processes"]] == pids
    largest = data["processes"][0]["largest_lines"][0]
    assert (largest["line"], largest["live_bytes"]) == (4, 1_000_033)
    assert data["processes"][0]["totals"]["rss_max_bytes"] > 1_000_000


@pytest.mark.few
def test_list(python):
    child, run_ = start(python, "keep = bytes(1000)\nprint('ready', flush=True)\ninput()\n")
    assert child.stdout.readline() == b"ready\n"

    def listed():
        return json.loads(memline("list", "--json", MEMLINE_DIR=run_.folder))["traces"]

    (trace,) = listed()
    assert trace["end"] == "running" and trace["pid"] == child.pid and trace["events"] > 100
    assert trace["file"] == run_.traces[0] and trace["command"][-1] == run_.file
    child.kill()
    child.communicate()
    (trace,) = listed()
    assert trace["end"] == "killed"
    text = memline("list", run_.folder)
    assert len(text.splitlines()) == 2 and f"{child.pid}" in text and "killed" in text


def test_list_of_nothing(tmp_path):
    assert json.loads(memline("list", "--json", tmp_path))["traces"] == []
    assert "cannot be listed" in failing(1, "list", tmp_path / "none")
    (tmp_path / "1-2-0.memline").write_bytes(b"no trace")
    assert "1-2-0.memline" in failing(1, "list", tmp_path)


def failing(status, *arguments, **environment):
    done = subprocess.run([MEMLINE, *map(str, arguments)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=60,
                          env=clean_environment(**environment))
    assert done.returncode == status, done.stderr
    return done.stderr.decode()


@pytest.mark.few
def test_clean(python, tmp_path):
    for _ in range(3):
        run(tmp_path, python=python)
    stray = tmp_path / "notes.memline"
    stray.write_text("not a trace's name")

    def names():
        return sorted(path.name for path in tmp_path.iterdir())

    traces = [each["file"] for each in json.loads(memline("list", "--json", tmp_path))["traces"]]
    assert "0 traces removed" in memline("clean", "--older=1h", tmp_path)
    assert memline("clean", "--keep=1", "--dry-run", tmp_path).splitlines()[:-1] == list(reversed(traces[1:]))
    assert len(names()) == 4
    os.utime(traces[1], (1, 1))
    assert "1 trace removed" in memline("clean", "--older", "30m", tmp_path)
    assert names() == sorted([os.path.basename(traces[0]), os.path.basename(traces[2]), stray.name])
    os.utime(traces[0], (1, 1))
    assert "0 traces removed" in memline("clean", "--older=2d", "--keep=1", MEMLINE_DIR=str(tmp_path))
    assert "1 trace removed" in memline("clean", "--keep=1", tmp_path)
    assert names() == sorted([os.path.basename(traces[0]), stray.name])
    assert "say what to remove" in failing(2, "clean", tmp_path)
    assert "is no age" in failing(2, "clean", "--older=1y", tmp_path)


@pytest.mark.few
def test_clean_leaves_what_runs(python):
    child, run_ = start(python, "print('ready', flush=True)\ninput()\n")
    assert child.stdout.readline() == b"ready\n"
    os.utime(run_.traces[0], (1, 1))
    assert "0 traces removed" in memline("clean", "--older=1s", "--keep=0", run_.folder)
    assert len(run_.traces) == 1
    child.kill()
    child.communicate()
    os.utime(run_.traces[0], (1, 1))
    assert "1 trace removed" in memline("clean", "--older=1s", run_.folder)
    assert run_.traces == []


@pytest.mark.few
def test_clean_removes_what_never_became_a_trace(python, tmp_path):
    run(tmp_path, python=python)
    (trace,) = tmp_path.iterdir()
    left = tmp_path / re.sub(r"^\d+", "4194304", trace.name + ".new")  # no process has this number (proc(5), pid_max)
    stray = tmp_path / "notes.new"
    for path in (left, stray):
        path.write_bytes(b"")
    assert [each["file"] for each in json.loads(memline("list", "--json", tmp_path))["traces"]] == [str(trace)]
    assert "0 traces removed" in memline("clean", "--older=1h", tmp_path)
    assert "1 trace removed" in memline("clean", "--keep=1", tmp_path)
    assert sorted(tmp_path.iterdir()) == sorted([trace, stray])


def test_usage(tmp_path):
    for arguments in ([], ["none"], ["report", "--none"], ["report", "--top=0"], ["report", "--from=2", "--to=1"],
                      ["report", "--from=2", "--to=1", "."],
                      ["report", "--thread=x"], ["report", "--end=soon"],
                      ["leaks", "--by=frame"], ["leaks", "--growth=no"], ["leaks", "--growth", "--merge"],
                      ["leaks", "--growth", "--points=3"], ["leaks", "--suppressions=/none"], ["peak", "--at=-1"],
                      ["list", "--top=x"], ["run"]):
        text = failing(2, *arguments)
        assert text.startswith("memline") and "help" in text
    for command in ([], ["run"], ["report"], ["leaks"], ["peak"], ["summary"], ["list"], ["clean"], ["check"],
                    ["dump"]):
        assert memline(*command, "--help").startswith(f"Usage: {' '.join(['memline', *command])} ")
        assert re.fullmatch(r"memline \d+\.\d+\.\d+\n", memline(*command, "--version"))


def test_unreadable_traces(tmp_path):
    (tmp_path / "text").write_text("no trace at all, but long enough to have a header of its own" * 20)
    (tmp_path / "empty").write_text("")
    for command in ("report", "leaks", "peak", "summary", "check", "dump"):
        for name in ("text", "empty", "none"):
            error = failing(1, command, tmp_path / name)
            assert len(error.splitlines()) == 1 and str(tmp_path / name) in error
    assert "set MEMLINE_DIR" in failing(1, "report", MEMLINE_DIR=str(tmp_path))


@pytest.mark.few
def test_check_finds_what_is_wrong(python):
    run_ = record(python, "keep = [bytes(size) for size in range(20000)]\n")
    (trace,) = run_.traces
    assert re.fullmatch(re.escape(trace) + r": sound, \d+ events\n", memline("check", trace))
    extent = re.search(r"extent events at (\d+) length (\d+) id 0", memline("dump", "--defs", trace))
    offset, length = map(int, extent.groups())
    with open(trace, "r+b") as file:
        file.seek(offset + length // 2)
        file.write(bytes(16))
    assert ", ring 0, piece " in memline("check", trace, status=1)


@pytest.mark.few
def test_output_that_cannot_be_written(python):
    run_ = record(python, "keep = bytes(1000)\n")
    with open("/dev/full", "w", encoding="ascii") as full:
        done = subprocess.run([MEMLINE, "report", run_.folder], stdout=full, stderr=subprocess.PIPE, timeout=60)
    assert done.returncode == 1 and b"cannot be written" in done.stderr


@pytest.mark.few
def test_a_reader_that_goes_away(python):
    run_ = record(python, "keep = bytes(1000)\n")
    reader = subprocess.Popen([MEMLINE, "dump", "-n", run_.folder], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    reader.stdout.read(10)
    reader.stdout.close()
    assert reader.stderr.read() == b""
    assert reader.wait(timeout=60) == -signal.SIGPIPE


@pytest.mark.few
def test_installed_beside_its_library(python, tmp_path):
    """memline run finds libmemline.so in ../lib, also by way of a link to its executable."""
    for name, folder in (("memline", "bin"), ("libmemline.so", "lib")):
        (tmp_path / folder).mkdir()
        subprocess.run(["cp", os.path.join(BUILD, name), tmp_path / folder], check=True)
    (tmp_path / "link").symlink_to(tmp_path / "bin/memline")
    done = subprocess.run([tmp_path / "link", "run", "--", *python.command, "-c", "keep = bytes(1000)"],
                          env=clean_environment(MEMLINE_DIR=str(tmp_path / "traces")), stderr=subprocess.PIPE,
                          timeout=60)
    assert done.returncode == 0 and b"# memline" in done.stderr
    (tmp_path / "lib/libmemline.so").unlink()
    done = subprocess.run([tmp_path / "bin/memline", "run", "true"], stderr=subprocess.PIPE, timeout=60)
    assert done.returncode == 1 and b"libmemline.so" in done.stderr
