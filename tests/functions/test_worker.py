"""The apps under the real worker, ended by SIGKILL as the host does."""
import os
import re

import pytest

from apps import HOWTO, LEAKING, App, start
from page import PAGE_BYTES

INVOCATIONS = 100
AT_A_TIME = 10

# Bytes that each invocation of the leaking functions retains, on the line with the tag.
RETAINED = {"list": 100_000, "cache": 60_000, "closure": 80_000}

# Lines that allocate much, and the least that they do in each invocation; nothing of it is left.
PASSING = {"list_big": 4 << 20, "cache_reply": 60_000, "await_big": 8 << 20, "await_half": 4 << 20}


def entry(name, model):
    """Where the function with the name of an Azure function is: its file below the app's folder, and its own name."""
    return (f"{name}/__init__.py", "main") if model == "v1" else ("function_app.py", name)


def test_the_howto(served, host, page):
    """Every function of the app has its table, the entry functions too, and the lines carry the page's bytes."""
    worker, model = served
    app = App("howto", worker, model)
    started = start(host, worker, app, env={"PAGE": page})
    for _ in range(3):
        assert started.invoke("HttpTriggerAsync").body == b"Microsoft Page Is Loaded"
        assert started.invoke("HttpTriggerSync").body == b"Microsoft Page Response Size: %d" % PAGE_BYTES
    assert started.kill() == -9
    table = app.table()
    assert table.data["end"] == "killed"
    table.check_exact()
    for name, inner in zip(HOWTO, ("get_microsoft_page_async", "profile_get_request")):
        file, function = entry(name, model)
        assert {function, inner} <= table.names(file)
    rows = table.rows
    # What callbacks of the event loop have received is joined, which stays with the response, and decoded.
    assert rows["text"].allocated >= 3 * 2 * PAGE_BYTES
    assert 3 * PAGE_BYTES <= rows["text"].increment < 3 * PAGE_BYTES * 1.05
    assert rows["text"].live < PAGE_BYTES / 10
    # What the call brings is given back when its caller is left.
    for tag in "get", "main_sync":
        assert 3 * PAGE_BYTES <= rows[tag].increment < 3 * PAGE_BYTES * 1.05
    assert rows["get"].allocated >= 3 * PAGE_BYTES and rows["get"].live < PAGE_BYTES / 10
    assert abs(rows["main_sync"].own_increment) < PAGE_BYTES / 100
    for tag in "text", "get", "main_sync":
        assert rows[tag].occurrences == (3 if worker.python.version >= (3, 12) else None)


def test_only_the_app_is_in_scope(served, host, page):
    """Neither the worker nor the packages of the app have tables, and file names are absolute."""
    worker, model = served
    app = App("howto", worker, model)
    started = start(host, worker, app, env={"PAGE": page})
    started.invoke_many(HOWTO, 4, 2)
    started.kill()
    wanted = {os.path.join(app.path, entry(name, model)[0]) for name in HOWTO}
    assert app.table().files == wanted
    everything = app.table("--scope", "*").files
    assert any(file.startswith(os.path.join(app.path, ".python_packages/")) for file in everything)
    assert any(file.startswith(os.path.dirname(worker.script) + "/") for file in everything)


def test_leaks_of_concurrent_invocations(served, host):
    """Each line's retained bytes are those of its own invocations, though ten run at a time in threads and tasks."""
    worker, model = served
    app = App("leaky", worker, model)
    started = start(host, worker, app)
    answers = started.invoke_many(LEAKING, INVOCATIONS, AT_A_TIME)
    assert [answer.body for answer in answers[:4]] == [b"4194304", b"60000", b"80000", b"4194304"]
    started.kill()
    table = app.table()
    table.check_exact()
    rows, each = table.rows, INVOCATIONS // len(LEAKING)
    for tag, size in RETAINED.items():
        assert abs(rows[tag].live / each - size) < size * 0.02, tag
        assert rows[tag].allocated < 1.2 * each * size, tag
    for tag, size in PASSING.items():
        assert rows[tag].live == 0, tag
        assert each * size <= rows[tag].allocated < 1.02 * each * size, tag
    leaked = sum(RETAINED.values()) * each
    live = sum(line["live_bytes"] for _, function, line in table.lines() if function != "<module>")
    assert abs(live - leaked) < leaked * 0.02
    assert {file for file, name, line in table.lines()} == \
        {os.path.join(app.path, entry(name, model)[0]) for name in LEAKING}
    entries = app.invocations()
    assert set(entries) == {entry(name, model) for name in LEAKING}
    leaks = {"LeakingList": ["list"], "LeakingCache": ["cache"], "LeakingClosure": ["closure"], "BigAcrossAwait": []}
    for name, tags in leaks.items():
        check_invocations(entries[entry(name, model)], each, [(table.tags[tag], RETAINED[tag]) for tag in tags],
                          [table.tags[tag] for tag in PASSING])


def check_invocations(found, count, leaks, passing):
    """Each invocation of the function retains the bytes of its leaks, and those alone."""
    assert (found["invocations"], found["unfinished"]) == (count, 0)
    size = sum(size for _, size in leaks)
    assert abs(found["retained_bytes_mean"] - size) < max(size * 0.02, 1000)
    assert abs(found["last"]["retained_bytes_mean"] - size) < max(size * 0.02, 1000)
    lines = {(line["file"], line["line"]): line for line in found["lines"]}
    assert not set(lines) & set(passing)
    assert set(list(lines)[:len(leaks)]) == {place for place, _ in leaks}  # the largest come first
    for place, size in leaks:
        assert abs(lines[place]["retained_bytes_mean"] - size) < size * 0.02
    assert 0.004 < found["seconds_mean"] <= found["seconds_max"] < 60


@pytest.mark.parametrize("where", ["cwd", "FUNCTIONS_APPLICATION_DIRECTORY"])
def test_the_app_root(worker, host, where):
    """The folder that the variable names, else the current one: the worker's own is neither."""
    app = App("leaky", worker)
    if where == "cwd":
        started = start(host, worker, app)
    else:
        started = start(host, worker, app, env={where: app.path}, cwd="/")
    started.invoke("LeakingList")
    started.kill()
    table = app.table()
    assert table.names("LeakingList/__init__.py") == {"main", "<module>"}
    assert RETAINED["list"] <= table.rows["list"].live < RETAINED["list"] * 1.02


def behaviour(host, worker, page, recorded):
    """What a host can see of a worker, and what the app's folder is like afterwards."""
    app = App("howto", worker)
    started = start(host, worker, app, recorded, env={"PAGE": page})
    responses = started.invoke_many(HOWTO, 6, 1)
    status = started.kill()
    logs = [(log["category"], log["level"], plain(log["message"], app)) for log in started.logs]
    return {"responses": responses, "status": status, "stdout": plain(started.stdout, app),
            "stderr": plain(started.stderr, app), "logs": logs, "files": app.files()}


def plain(text, app):
    """Without what differs from one process to the next."""
    text = re.sub(r"\b[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\b", "ID", text.replace(app.path, "APP"))
    return re.sub(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d+", "TIME", text)


def test_nothing_is_changed(worker, host, page):
    """Responses, logs, output and end are as without the preload, and the app's folder is left alone."""
    bare = behaviour(host, worker, page, recorded=False)
    recorded = behaviour(host, worker, page, recorded=True)
    for part in bare:
        assert recorded[part] == bare[part]
