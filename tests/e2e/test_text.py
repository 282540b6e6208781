"""The text report is memory_profiler's: what reads that tool's output reads ours.

The parser knows memory_profiler 0.61 alone: fixed columns, one table per function, two blank lines behind each.
"""
import re

from support import BYTES, MIB, counts_lines, memline, record

HEADER = "Line #    Mem usage    Increment  Occurrences   Line Contents"
RULE = "=" * 61


def number(cell, unit=None):
    cell = cell.strip()
    if not cell:
        return None
    if unit is None:
        return int(cell)
    value, found = cell.split(" ")
    assert found == unit
    return float(value)


def parse(text):
    """Returns [(file, [(line, mem, increment, occurrences, source)])] of the tables, and the comments around them."""
    tables, comments, lines = [], [], text.split("\n")
    assert lines.pop() == ""
    while lines:
        line = lines.pop(0)
        if line == "" or line.startswith("# "):
            comments.append(line)
            continue
        assert line.startswith("Filename: ")
        assert [lines.pop(0) for _ in range(3)] == ["", HEADER, RULE]
        rows = []
        while lines[0] != "":
            row = lines.pop(0)
            if row.startswith("# "):
                comments.append(row)
                continue
            assert row[6] == " " and row[19] == " " and row[32:34] == "  " and row[44:47] == "   "
            rows.append((number(row[0:6]), number(row[7:19], "MiB"), number(row[20:32], "MiB"), number(row[34:44]),
                         row[47:]))
        assert lines[:2] == ["", ""]
        del lines[:2]
        tables.append((line[len("Filename: "):], rows))
    return tables, [comment for comment in comments if comment]


PROGRAM = """\
keep = None


def grow():
    global keep
    keep = bytes(9_000_000)  # made

    if not keep:
        return None
    return len(keep)


def change():
\tsmall = bytes(2_000_000)  # small
\tdel small  # deleted


grow()
change()
"""


def test_the_tables(python):
    run = record(python, PROGRAM)
    text = memline("report", run.folder)
    tables, comments = parse(text)
    source = PROGRAM.split("\n")
    assert {file for file, _ in tables} == {run.program}
    assert all(comment.startswith("# ") for comment in comments)
    for _, rows in tables:
        numbers = [row[0] for row in rows]
        left_out = {line for first, last in re.findall(r"^# lines (\d+) to (\d+): nothing happened$", text, re.M)
                    for line in range(int(first), int(last) + 1)}
        assert set(range(numbers[0], numbers[-1] + 1)) - set(numbers) <= left_out
        assert numbers == sorted(set(numbers))
        for line, _, _, occurrences, contents in rows:
            assert contents == source[line - 1]
            assert counts_lines(python) or occurrences is None
    by_first_line = {rows[0][0]: {row[0]: row for row in rows} for _, rows in tables}
    assert sorted(by_first_line) == [1, 4, 13]
    _, mem, increment, occurrences, _ = by_first_line[4][6]
    assert occurrences == (1 if counts_lines(python) else None)
    assert increment == round((9_000_000 + BYTES) / MIB, 1) == 8.6
    assert mem > 8.6
    assert by_first_line[4][7][1:4] == (None, None, None)
    # It ran and did nothing, and memory was in use then.
    assert by_first_line[4][8][1:4] == ((mem, 0.0, 1) if counts_lines(python) else (None, None, None))
    assert by_first_line[4][9][1:4] == (None, None, None)


def test_the_numbers_are_those_of_json(python):
    run = record(python, PROGRAM)
    process = run.process()
    wanted = {(name, line["line"]): line for _, name, line in process.lines()}
    names = {1: "<module>", 4: "grow", 13: "change"}
    tables, _ = parse(memline("report", run.folder))
    seen = set()
    for _, rows in tables:
        for line, mem, increment, _, _ in rows:
            key = (names[rows[0][0]], line)
            if increment is None:
                assert key not in wanted
                continue
            seen.add(key)
            assert increment == round(wanted[key]["increment_bytes"] / MIB, 1)
            assert mem == round(wanted[key]["mem_bytes"] / MIB, 1)
    assert seen >= {key for key, line in wanted.items() if abs(line["increment_bytes"]) > 50_000}


def test_largest_first(python):
    run = record(python, PROGRAM)
    tables, _ = parse(memline("report", run.folder))
    order = [rows[0][0] for _, rows in tables]
    assert order.index(4) < order.index(13)


def test_precision(python):
    run = record(python, PROGRAM)
    text = memline("report", "--precision", "3", run.folder)
    assert re.search(r"^ +6 +\d+\.\d{3} MiB +8\.583 MiB ", text, re.M)


def test_the_rows_below_the_tables(python):
    run = record(python, PROGRAM)
    text = memline("report", run.folder)
    for name in ("<out of scope>", "<native>", "total"):
        assert re.search(rf"^# .*{name}", text, re.M)


def test_the_same_trace_gives_the_same_report(python):
    run = record(python, PROGRAM)
    for options in ([], ["--json"], ["--wide"]):
        assert memline("report", *options, run.folder) == memline("report", *options, run.folder)
