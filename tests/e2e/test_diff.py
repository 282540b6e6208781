"""memline diff: what is the same line in two traces, and that the differences are those of the reports."""
import json
import os
import re

import pytest

from support import memline, record

# What is kept is in a deque, which has room for all of it from the start.
BEFORE = """
from collections import deque
keep = deque()
def fill(size):
    keep.append(bytearray(size))  # fill
def twice():
    keep.append(bytearray(1_000))
    keep.append(bytearray(1_000))
def steady():
    keep.append(bytearray(50_000))  # steady
fill(100_000)
twice()
steady()
"""

# Lines have moved, within functions and with them; one of two that read alike allocates more; one is gone.
AFTER = """
from collections import deque
# A comment.
keep = deque()

def steady():
    pass
    keep.append(bytearray(50_000))  # steady
def twice():
    # Another one.
    keep.append(bytearray(1_000))
    for _ in range(10):
        keep.append(bytearray(1_000))
def fill(size):
    size = 3 * size
    keep.append(bytearray(size))  # fill
steady()
fill(100_000)
twice()
"""


def diff(one, other, *options):
    return json.loads(memline("diff", "--json", *one.sysroot, *options, one.folder, other.folder))


def find(found, run, function):
    """The rows of a function of the program, by their lines in the two traces."""
    return {(row["line_a"], row["line_b"]): row for row in found["lines"]
            if row["function"] == function and row["file"] == run.file}


def check_sums(found, one, other, rows):
    """Differences add up to that of the totals; with --all, both sides do too."""
    a, b = one.process().totals, other.process().totals
    increment = {"a": a["live_bytes"] - a["start_live_bytes"], "b": b["live_bytes"] - b["start_live_bytes"]}
    for key in ("live_bytes", "live_blocks", "peak_bytes", "allocated_bytes", "allocations"):
        total = found["totals"][key]
        assert total == {"a": a[key], "b": b[key], "difference": b[key] - a[key]}
        for part in total:
            assert sum(row[key][part] for row in rows) == total[part]
    key = "own_increment_bytes" if "lines" in found else "increment_bytes"
    for side, value in increment.items():
        assert sum(row[key][side] for row in rows) == found["totals"][key][side] == value


@pytest.fixture(scope="module")
def pairs():
    """Records both programs once for each interpreter."""
    found = {}

    def find_pair(python):
        if python not in found:
            found[python] = record(python, BEFORE), record(python, AFTER)
        return found[python]
    return find_pair


@pytest.mark.few
def test_moved_lines(python, pairs):
    before, after = pairs(python)
    found = diff(before, after, "--all")
    old, new = before.process(), after.process()
    row = find(found, after, "fill")[old.tags["fill"], new.tags["fill"]]
    assert row["source"] == "    keep.append(bytearray(size))  # fill"
    for key in ("live_bytes", "peak_bytes", "allocated_bytes"):
        a, b = getattr(old.rows["fill"], key[:-6]), getattr(new.rows["fill"], key[:-6])
        assert row[key] == {"a": a, "b": b, "difference": b - a}
        assert b - a == 200_000
    assert row["increment_bytes"]["difference"] == new.rows["fill"].increment - old.rows["fill"].increment
    row = find(found, after, "steady")[old.tags["steady"], new.tags["steady"]]
    assert row["live_bytes"]["difference"] == 0
    twice = find(found, after, "twice")
    first, second = sorted(lines for lines in twice if None not in lines)
    assert first[1] == first[0] + 4 and second[1] == second[0] + 5
    assert twice[first]["live_bytes"]["difference"] == 0
    assert twice[second]["live_bytes"]["difference"] == 9 * twice[first]["live_bytes"]["a"]
    check_sums(found, before, after, found["lines"])


@pytest.mark.few
def test_largest_first_and_nothing_unchanged(python, pairs):
    before, after = pairs(python)
    for metric in ("live", "peak", "allocated", "allocations", "increment"):
        key = metric if metric == "allocations" else metric + "_bytes"
        every = [row[key]["difference"] for row in diff(before, after, "--metric", metric, "--all")["lines"]]
        changed = [row[key]["difference"] for row in diff(before, after, "--metric", metric)["lines"]]
        assert changed == [each for each in every if each]
        assert len(changed) < len(every)
        sizes = list(map(abs, changed))
        assert sizes == sorted(sizes, reverse=True)
    (first,) = diff(before, after, "--top", 1)["lines"]
    assert first["function"] == "fill"


@pytest.mark.few
def test_stacks(python, pairs):
    before, after = pairs(python)
    found = diff(before, after, "--by", "stack", "--all")
    tags = after.process().tags
    (row,) = [row for row in found["stacks"] if row["stack"][0]["function"] == "fill"
              and row["stack"][0]["line"] == tags["fill"]]
    assert row["live_bytes"]["b"] == after.process().rows["fill"].live
    assert row["live_bytes"]["a"] == before.process().rows["fill"].live
    assert [call["function"] for call in row["stack"]] == ["fill", "<module>"]
    (row,) = [row for row in found["stacks"] if row["stack"][0]["function"] == "steady"]
    assert row["live_bytes"]["a"] == row["live_bytes"]["b"] > 50_000
    check_sums(found, before, after, found["stacks"])
    changed = diff(before, after, "--by", "stack", "--function", "fill")["stacks"]
    assert changed and all(any(call["function"] == "fill" for call in row["stack"]) for row in changed)


@pytest.mark.few
def test_of_itself_nothing_changed(python, pairs):
    run, _ = pairs(python)
    assert diff(run, run)["lines"] == []
    assert "nothing has changed" in memline("diff", run.folder, run.folder)
    assert "nothing has changed" in memline("diff", "--by", "stack", run.folder, run.folder)


@pytest.mark.few
def test_without_sources_by_offset(python):
    before, after = record(python, BEFORE), record(python, "\n# moved\n# on\n\n" + BEFORE.lstrip("\n").replace(
        "(size)", "(2 * size)", 1).replace("(2 * size)", "(size)", 1).replace("bytearray(size)", "bytearray(size * 2)"))
    for run in (before, after):
        os.unlink(run.program)
    rows = diff(before, after)["lines"]
    rows = {row["function"]: row for row in rows if row["file"] == after.file}
    assert rows["fill"]["line_b"] == rows["fill"]["line_a"] + 3
    assert rows["fill"]["live_bytes"]["difference"] == 100_000
    assert "twice" not in rows and "steady" not in rows


@pytest.mark.few
def test_source_edited_between(python):
    """What stands in the file now is not what ran the first time."""
    run = record(python, BEFORE)
    with open(run.program, encoding="utf-8") as file:
        text = file.read()
    other = record(python, BEFORE)
    with open(other.program, "w", encoding="utf-8") as file:
        file.write("keep = 1\n" + text)
    found = diff(run, other)
    assert "source changed since the recording: " + other.file in found["b"]["warnings"]
    assert not [row for row in found["lines"] if row["file"] in (run.file, other.file) and row["function"] == "fill"]


@pytest.mark.few
def test_text(python, pairs):
    before, after = pairs(python)
    text = memline("diff", before.folder, after.folder)
    tags = after.process().tags
    old = before.process().tags
    assert re.search(rf"^ +\+195\.3 KiB +97\.7 KiB +293\.0 KiB  fill \({after.file}:{tags['fill']}, was {old['fill']}\)"
                     r"  keep\.append\(bytearray\(size\)\)  # fill$", text, re.M)
    assert re.search(r"^ +Difference +A +B  live, by line$", text, re.M)
    assert re.search(r"^ +\S+ \w+ +\S+ \w+ +\S+ \w+  total$", text, re.M)
    stacks = memline("diff", "--by", "stack", before.folder, after.folder)
    assert re.search(rf"  fill \({after.file}:{tags['fill']}\)\n {{20,}}<module> \({after.file}:\d+\)$", stacks, re.M)


@pytest.mark.few
def test_usage(python, pairs):
    before, after = pairs(python)
    memline("diff", before.folder, status=2)
    memline("diff", before.folder, after.folder, after.folder, status=2)
    memline("diff", "--metric", "x", before.folder, after.folder, status=2)
    memline("diff", before.folder, "/nonexistent.memline", status=1)
