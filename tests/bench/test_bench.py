"""The harness itself, on the smallest of scales: what it runs, counts and prints. No time is judged."""
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile

import pytest

import instructions
import reading
import results
from measuring import MEASURE, cost_of
from suite import BUILD, HERE, INERT, INERT_START, PAIRS, WORKLOADS
from tools import BARE, DEFAULT, LIBRARY, named

BY_NAME = {workload.name: workload for workload in WORKLOADS}


def bench(*options):
    """Runs the harness under one Python: which of them memline records rightly is not asked here.

    Returns (what it printed, every run as it is in its JSON).
    """
    environment = {name: value for name, value in os.environ.items() if name not in ("PYTHONS", "MEMLINE_CHROOT")}
    with tempfile.TemporaryDirectory(prefix="memline-bench-test-") as folder:
        output, data = os.path.join(folder, "RESULTS.md"), os.path.join(folder, "runs")
        command = [sys.executable, os.path.join(HERE, "run.py"), "--quick", "--no-install", "--tools", "memline",
                   "--scale", "0.002", "--instructions", "none", "--output", output, "--json", data, *options]
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=300,
                              env=environment)
        assert done.returncode == 0, done.stderr
        with open(output) as text, open(data) as runs:
            assert done.stdout.strip() == text.read().strip()
            (data,) = json.load(runs).values()
            return done.stdout, data


def rows(text, title):
    """The cells of each row of the table under the title."""
    part = text.partition(f"### {title}\n\n")[2].partition("\n\n")[0]
    return {cells[0]: cells[1:] for line in part.splitlines()[2:]
            for cells in [[cell.strip() for cell in line.strip("|").split("|")]]}


def test_every_workload():
    text, runs = bench()
    missing = {workload.name for workload in WORKLOADS if workload.needs}
    assert set(runs) >= {workload.name for workload in WORKLOADS} - missing
    for name, tools in runs.items():
        for tool in (BARE.name, DEFAULT.name):
            assert [run["problem"] for run in tools[tool]] == [None, None], f"{name} under {tool}"
            assert all(run["wall"] > 0 and run["resident"] > 0 for run in tools[tool])
        check_recorded(BY_NAME[name], tools[DEFAULT.name])
    assert set(rows(text, "Recording and reading")) == {name for name in runs if "trace" in runs[name]["memline"][0]}
    assert set(rows(text, "Processor time: ratio to bare")) >= {"objects", "geometric mean"}
    assert not any("not measured" in cells for what, cells in rows(text, "Targets").items())


def check_recorded(workload, runs):
    for run in runs:
        if workload.kind in (INERT, INERT_START):
            assert "trace" not in run and run["written"] == 0
            continue
        trace = run["trace"]
        assert trace["dropped"] == 0 and trace["nodes"] > 100 and trace["rings"] >= 1
        assert 0 < trace["event_bytes"] <= run["written"] and trace["event_bytes"] > trace["events"]
        assert trace["live_blocks"] < trace["events"]
        # 8,000 pairs in each thread, beside what an empty program does.
        if workload.kind == PAIRS:
            assert trace["events"] > 2 * 8000 * int(workload.arguments[0])


def test_options():
    def said(*options):
        return subprocess.run([sys.executable, os.path.join(HERE, "run.py"), *options], stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, text=True)

    assert said("--tools", "nothing").returncode == 2
    assert "nothing" in said("--workloads", "objects,nothing").stdout
    assert said("--help").returncode == 0
    assert [tool.name for tool in named(["memline"])] == ["bare", "memline"]


def measured(*command, **more):
    with tempfile.TemporaryDirectory(prefix="memline-bench-test-") as folder:
        output = os.path.join(folder, "output")
        cost = cost_of(command, more.pop("environment", {}), output, more.pop("limit", 60), **more)
        with open(output) as text:
            return cost, text.read()


def test_measure():
    """The costs of a command, of its children, and of those that it does not wait for."""
    cost, printed = measured("sh", "-c", "echo $NAME", environment={"NAME": "value"}, times=3)
    assert cost.problem is None and printed == "value\n" * 3
    eat = "x = bytearray(64 << 20); import time\nwhile time.process_time() < 0.3: pass"
    cost, _ = measured("sh", "-c", f"{sys.executable} -c '{eat}' & exit 0")
    assert cost.problem is None and cost.cpu >= 0.3 and cost.resident >= 64 << 20
    assert measured("sh", "-c", "exit 3")[0].problem == "exit 3"
    assert measured("sh", "-c", "kill -9 $$")[0].problem == "signal 9"
    assert measured("/nowhere/at/all")[0].problem == "exit 127"
    cost, _ = measured("sh", "-c", "sleep 60 & sleep 60", limit=0.2)
    assert cost.problem == "too slow" and cost.wall < 30


def test_measure_is_not_what_is_measured():
    """A preload is the command's alone, and what measure itself needs is less than anything that it measures."""
    cost, printed = measured("sh", "-c", "echo $LD_PRELOAD", environment={"LD_PRELOAD": LIBRARY})
    assert cost.problem is None and printed.strip() == LIBRARY
    assert measured("true")[0].resident < 4 << 20
    assert subprocess.run([MEASURE], stderr=subprocess.DEVNULL).returncode == 2


class Fake:
    """A run that took so long, and the bare one so long."""

    def __init__(self, cpu, bare, problem=None):
        self.cpu, self.wall, self.resident, self.problem, self.written = cpu, cpu, 1 << 20, problem, 1500
        self.trace = self.pair_ns = None
        self.bare = self if bare is None else Fake(bare, None)


def fake_results(*runs):
    found = results.Results("3.11", [BARE, DEFAULT])
    for run in runs:
        found.add(BY_NAME["objects"], BARE, run.bare)
        found.add(BY_NAME["objects"], DEFAULT, run)
    return found


def test_each_run_is_held_against_its_own_round():
    """The machine was three times as slow in the second round; the ratio of the medians would say 3."""
    found = fake_results(Fake(2, 1), Fake(6, 3), Fake(90, 3))
    assert found.median(BY_NAME["objects"], DEFAULT, results.cpu_ratio) == 2
    assert found.mean(DEFAULT, results.cpu_ratio) == 2
    (line,) = [cells for what, cells in rows(results.text(found), "Processor time: ratio to bare").items()
               if what == "objects"]
    assert line == ["3.00", "1.85", "2.00 (2.00-30.00)"]


def test_without_the_starts():
    """Of the 5 and 3 seconds 2 and 1 are for the start."""
    found = fake_results(Fake(5, 3))
    run = Fake(2, 1)
    found.add(BY_NAME["empty"], BARE, run.bare)
    found.add(BY_NAME["empty"], DEFAULT, run)
    cells = rows(results.text(found), "Processor time: ratio to bare, without the starts")
    assert cells == {"objects": ["1.50"], "geometric mean": ["1.50"]}


def test_targets():
    verdicts = {what: verdict for what, (_, _, verdict) in rows(results.text(fake_results(Fake(1.5, 1))),
                                                               "Targets").items()}
    assert verdicts["objects"] == "met" and verdicts["geometric mean of the programs"] == "MISSED"
    assert verdicts["ratio of an empty Python program"] == "not measured"
    assert rows(results.text(fake_results(Fake(1.86, 1))), "Targets")["objects"][2] == "MISSED"


def test_a_run_with_a_problem_does_not_count():
    found = fake_results(Fake(2, 1), Fake(9, 1, "exit 1"))
    assert found.median(BY_NAME["objects"], DEFAULT, results.cpu_ratio) == 2
    found = fake_results(Fake(9, 1, "exit 1"))
    assert found.mean(DEFAULT, results.cpu_ratio) is None
    assert rows(results.text(found), "Processor time: ratio to bare")["objects"][2] == "exit 1"


def test_sizes():
    assert [results.written(size) for size in (0, 999, 1500, 2.5e6, 3e9)] == [
        "0 B", "999 B", "1.5 kB", "2.5 MB", "3 GB"]
    assert results.geometric_mean([1, 4]) == 2


CALLGRIND = """
version: 1
events: Ir
fl=(1) a.c
ob=(1) /usr/bin/program
fn=(1) main
16 20
cob=(2) /somewhere/libmemline.so
cfn=(2) malloc
calls=3 50
16 90
+3 400
ob=(2)
fn=(2)
10 70
fi=(2) other.h
12 9
fn=(3) walk'2
20 11
ob=(1)
fn=(1)
* 1
totals: 511
"""


def test_a_profile_counts_each_instruction_where_it_is():
    found = instructions.Profile(CALLGRIND.splitlines())
    assert found.total == 511
    assert dict(found.own) == {"malloc": 79, "walk": 11}


def profile(total, **own):
    found = instructions.Profile([])
    found.total = total
    found.own.update(own)
    return found


def test_a_price_is_that_of_the_events_that_came_to_it():
    price = instructions.Price([profile(1000), profile(1500)], [profile(3000, malloc=500), profile(4500, malloc=900)],
                               [10, 20])
    assert price.total == 100
    assert price.own == {"malloc": 40}


def test_instructions():
    if not shutil.which("valgrind"):
        pytest.skip("valgrind is not installed")
    text, _ = bench("--workloads", "pairs-1x30", "--instructions", "pairs-1x30", "--rounds", "1")
    cells = rows(text, "Instructions of an event")
    (total,) = cells.pop("all, without the bare run's")
    # A pair is a malloc and a free, so each takes part in half of the events.
    assert 20 < float(total) < 5000
    assert float(total) >= sum(float(cell or 0) for cell, in cells.values()) * 0.9
    assert {"malloc", "free"} <= set(cells)


def test_what_the_makefile_builds():
    for path in ("programs/measure", "programs/inert", "objects/pairs.so"):
        assert os.path.exists(os.path.join(BUILD, "tests/bench", path))
    assert re.search(r"^bench:.*TEST_HOSTS", open(os.path.join(HERE, "../../Makefile")).read(), re.M)


def test_reading_a_large_trace(tmp_path):
    """Small enough to be quick, and with more live blocks than events a block, so that memory is what they need."""
    path, log, events = str(tmp_path / "large.memline"), str(tmp_path / "log"), 3_000_000
    allocations, frees, live, live_bytes = reading.make_trace(path, events, 1_000_000)
    rows = {row[0]: row[1:] for row in reading.measure(path, events, log)}
    assert set(rows) == {" ".join(command) for command in reading.COMMANDS}
    for *_, resident, problem in rows.values():
        assert problem == "" and int(resident) < 256
    done = subprocess.run([reading.MEMLINE, "summary", "--json", path], stdout=subprocess.PIPE, check=True, text=True)
    totals = json.loads(done.stdout)["processes"][0]["totals"]
    assert [totals[key] for key in ("allocations", "frees", "live_blocks", "live_bytes")] == [allocations, frees, live,
                                                                                             live_bytes]
