"""The table in the log of the host: a worker's standard error, as the host reads it."""
from apps import HOWTO, App, start
from logged import Tables
from page import PAGE_BYTES
from test_worker import entry

MIB = 1 << 20


def test_the_howto_logs_its_rows(served, host, page):
    """With the app as it is, each column of the query has what it is to have; the worker says what it says bare."""
    worker, model = served
    app = App("howto", worker, model)
    started = start(host, worker, app, env={"PAGE": page, "MEMLINE_LOG": "end", "MEMLINE_LOG_TOP": "1000"})
    started.invoke_many(HOWTO, 6, 1)
    assert started.kill() == -9
    lines = [line for line in started.stderr.splitlines() if line.startswith("memory_profiler_logs: ")]
    assert "memory_profiler_logs" not in started.stdout
    tables = Tables("\n".join(lines))
    assert set(tables.files) == {f"{app.path}/{entry(name, model)[0]}" for name in HOWTO}
    wanted = app.table().rows
    for tag in "text", "get", "main_sync":
        assert tables.increments(tag) == [f"{wanted[tag].increment / MIB:.1f} MiB"]
        assert wanted[tag].increment >= 3 * PAGE_BYTES


def test_a_worker_that_is_replaced(worker, host):
    """Both images of a process log; the first has no line of the app's."""
    app = App("leaky", worker)
    started = start(host, worker, app, env={"MEMLINE_LOG": "100ms", "CONTAINER_NAME": "one"})
    started.invoke("LeakingList")
    started.kill()
    tables = Tables("\n".join(line for line in started.stderr.splitlines() if "memory_profiler_logs" in line))
    assert tables.increments("list")[-1] == "0.1 MiB"
