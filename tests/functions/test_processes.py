"""The processes of a Functions host: how workers end, which files they leave, and what the host's other children do."""
import datetime
import signal
import subprocess
import time

import pytest

from apps import App, start
from support import LIBRARY, clean_environment, memline

KEPT = 100_000  # what LeakingList retains with each invocation


def check_times(table, begun):
    """The table's process started at that time at the earliest, and lasted until now at the latest."""
    started = datetime.datetime.fromisoformat(table.data["started"]).timestamp()
    assert begun - 0.1 <= started
    assert 0 < table.data["seconds"] <= time.time() - started + 0.1


def check_leak(table, invocations):
    assert invocations * KEPT <= table.rows["list"].live < invocations * KEPT * 1.02
    table.check_exact()


def test_killed_while_functions_run(served, host):
    """What the functions hold at that moment is live, and the trace is whole."""
    worker, model = served
    app = App("waiting", worker, model)
    started = start(host, worker, app)
    from host import Failed
    waiting = [started.begin(name) for name in ("WaitingSync", "WaitingAsync", "WaitingSync", "WaitingAsync")]
    started.wait_for_log("waiting", 4)
    assert started.kill() == -signal.SIGKILL
    for future in waiting:
        assert isinstance(future.exception(10), Failed)
    table = app.table()
    assert table.data["end"] == "killed"
    table.check_exact()
    for tag in "held_sync", "held_async":
        assert table.rows[tag].live_blocks >= 2
        assert 2 << 20 <= table.rows[tag].live < (2 << 20) * 1.01


def test_sigterm(worker, host):
    app = App("leaky", worker)
    begun = time.time()
    started = start(host, worker, app)
    started.invoke_many("LeakingList", 3, 3)
    assert started.kill(signal.SIGTERM) == -signal.SIGTERM
    table = app.table()
    check_times(table, begun)
    assert table.data["end"] == "killed"
    check_leak(table, 3)


def test_sigint(worker, host):
    """Ctrl-C in a terminal: Python shuts down and then ends by the same signal, unless the worker overhears it."""
    app = App("leaky", worker)
    bare = start(host, worker, App("leaky", worker), recorded=False)
    started = start(host, worker, app)
    started.invoke_many("LeakingList", 3, 3)
    bare.interrupt()
    assert started.interrupt() == bare.status
    check_leak(app.table(), 3)


def test_the_host_goes_away(worker, host):
    """The worker's stream ends, and the process stays until someone ends it."""
    app = App("leaky", worker)
    started = start(host, worker, app)
    started.invoke_many("LeakingList", 3, 3)
    started.hang_up()
    time.sleep(0.2)
    assert started.process.poll() is None
    assert app.table().data["end"] == "running"
    started.kill()
    check_leak(app.table(), 3)


def test_two_workers(worker, host):
    """FUNCTIONS_WORKER_PROCESS_COUNT=2. The host's process is no Python and leaves no file; its workers are a run."""
    app = App("leaky", worker)
    func, workers = host.start_several(worker, app.path, 2, preload=LIBRARY, env={"MEMLINE_DIR": app.traces_folder})
    workers[0].invoke_many("LeakingList", 3, 1)
    workers[1].invoke_many("LeakingList", 5, 1)
    pids = func.children
    assert func.kill() == 0
    tables = app.report()
    assert sorted(table.data["pid"] for table in tables) == sorted(pids) and len(pids) == len(app.traces) == 2
    assert {table.data["ppid"] for table in tables} == {func.process.pid}
    assert sorted(round(table.rows["list"].live / KEPT) for table in tables) == [3, 5]
    for table in tables:
        assert table.data["end"] == "killed"
        table.check_exact()
    merged = app.table("--merge")
    assert sorted(merged.data["merged"]) == sorted(pids)
    assert 8 * KEPT <= merged.rows["list"].live < 8 * KEPT * 1.02


def test_replaced_in_the_cloud(worker, host):
    """The worker's script replaces its process: both images leave a trace, and only the second ran the app."""
    app = App("leaky", worker)
    begun = time.time()
    started = start(host, worker, app, env={"CONTAINER_NAME": "test"})
    started.invoke_many("LeakingList", 3, 3)
    started.kill()
    first, second = [app.table(trace=trace) for trace in app.traces]
    assert first.data["pid"] == second.data["pid"] == started.process.pid
    assert (first.data["end"], second.data["end"]) == ("exec", "killed")
    assert first.files == set()
    assert first.data["started"] < second.data["started"]
    for table in first, second:
        check_times(table, begun)
    check_leak(second, 3)
    assert len(app.report()) == 2


@pytest.mark.few
def test_version_probes(python, tmp_path):
    """The host asks each python that it finds for its version: the answer is as without the preload, and no file."""
    def ask(**environment):
        done = subprocess.run([*python.command, "--version"], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                              env=clean_environment(**environment), timeout=60)
        return done.returncode, done.stdout, done.stderr
    traces = tmp_path / "traces"
    assert ask(LD_PRELOAD=LIBRARY, MEMLINE_DIR=str(traces)) == ask()
    assert not traces.exists()


def test_listed(worker, host):
    """memline list tells a worker that runs from one that was killed."""
    app = App("leaky", worker)
    ended, running = [start(host, worker, app) for _ in range(2)]
    ended.kill()
    lines = {int(line.split()[0]): line for line in memline("list", MEMLINE_DIR=app.traces_folder).splitlines()
             if line.split()[0].isdigit()}
    assert "killed" in lines[ended.process.pid] and "running" in lines[running.process.pid]
    assert "worker.py" in lines[running.process.pid]
    running.kill()
