"""--module, --stack-contains and --min-bytes: a part of what was allocated, the same in every command."""
import json

import pytest

from support import CALLS, memline, record

PROGRAM = """
import ctypes, json, sys, zlib
library = ctypes.CDLL(sys.argv[1])

def parse():
    return json.loads('{"a": [1, 2, 3], "b": "text"}')  # parsed

def native():
    library.calls_malloc(0, 70000)  # called
    library.calls_malloc(1, 5000)
    library.calls_free(1)

kept = [parse() for i in range(200)]
native()
parse()
"""


def read(command, run, *options):
    (process,) = json.loads(memline(command, "--json", *options, run.folder))["processes"]
    return process


def check(run, *options):
    """All commands agree on what is selected; returns its totals."""
    process = run.process(*options)  # its lines and the rest add up
    totals = process.totals
    for command in ("leaks", "peak", "summary"):
        other = read(command, run, *options)
        assert {name: other["totals"][name] for name in totals} == totals
        if command != "summary":
            whole = totals["live_bytes" if command == "leaks" else "peak_bytes"]
            assert sum(site["live_bytes"] for site in other["sites"]) == whole
    return process


@pytest.mark.few
def test_modules_are_parts_of_the_whole(python):
    run = record(python, PROGRAM, CALLS)
    whole = read("summary", run)
    parts = []
    for module in whole["modules"]:
        totals = check(run, "--module", module["module"]).totals
        for name in ("live_bytes", "live_blocks", "allocated_bytes", "allocations"):
            assert totals[name] == module[name]
        parts.append(totals)
    assert len(parts) > 2
    for name in ("live_bytes", "live_blocks", "allocated_bytes", "allocations", "freed_bytes", "frees"):
        assert sum(each[name] for each in parts) == whole["totals"][name]
    calls = check(run, "--module", "call*")
    assert (calls.totals["live_bytes"], calls.totals["allocations"], calls.totals["frees"]) == (70000, 2, 1)
    assert calls.rows["called"].live == 70000 and calls.rows["parsed"].live == 0


@pytest.mark.few
def test_stack_contains(python):
    run = record(python, PROGRAM, CALLS)
    whole = run.process()
    for glob, tag in (("parse", "parsed"), ("native", "called")):
        part = check(run, "--stack-contains", glob)
        row, line = part.rows[tag], whole.rows[tag]
        assert (row.live, row.live_blocks, row.allocated) == (line.live, line.live_blocks, line.allocated)
        assert part.totals["live_bytes"] >= row.live
        for site in read("leaks", run, "--stack-contains", glob)["sites"]:
            assert glob in [call["function"] for call in site["stack"]]
    decoder = check(run, "--stack-contains", "decoder.py")
    assert 0 < decoder.totals["allocations"] < whole.totals["allocations"]
    assert check(run, "--stack-contains", "calls_malloc").totals["live_bytes"] == 70000
    none = check(run, "--stack-contains", "nothing of this name")
    assert none.totals["allocations"] == 0 and none.totals["frees"] == 0
    both = check(run, "--stack-contains", "parse", "--module", "call*")
    assert both.totals["allocations"] == 0


@pytest.mark.few
def test_min_bytes(python):
    run = record(python, PROGRAM, CALLS)
    for command, list_name in (("leaks", "sites"), ("peak", "sites"), ("summary", "largest_lines")):
        few = read(command, run, "--min-bytes", 70000)[list_name]
        every = read(command, run)[list_name]
        assert 0 < len(few) < len(every)
        assert few == [each for each in every
                       if max(each.get(name, 0) for name in ("live_bytes", "peak_bytes", "allocated_bytes")) >= 70000]
    names = [each["name"] for each in run.process("--min-bytes", 60000, "--top", 99).data["functions"]]
    assert "native" in names
    memline("leaks", "--min-bytes", "many", run.folder, status=2)
