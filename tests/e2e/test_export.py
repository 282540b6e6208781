"""memline export: what it writes is read by the programs that it is for, and adds up to the report to the byte."""
import csv
import glob
import io
import json
import os
import re
import shutil
import subprocess

import pytest

from support import BUILD, memline, record

METRICS = ("live", "peak", "allocated", "allocations", "increment")

PROGRAM = """
import ctypes
import os
keep = []
malloc = ctypes.CDLL(None).malloc
malloc.argtypes, malloc.restype = [ctypes.c_size_t], ctypes.c_void_p
def inner(size):
    keep.append(bytearray(size))  # kept
    malloc(5)  # native
def outer():
    for count in range(10):
        inner(100_000 * count)  # call
names = ["a;b", 'c"d,e']
exec(compile("def f():\\n return bytearray(1_000)\\nkeep.append(f())", names[0] + names[1] + "\\n.py", "exec"))
outer()
"""

FORK = PROGRAM + """
if os.fork() == 0:
    keep.append(bytearray(222_222))
    os._exit(0)
os.wait()
"""


def export(run, form, *options):
    return memline("export", "--format", form, *run.sysroot, *options, run.folder)


def expected(process, metric):
    totals = process.totals
    if metric == "increment":
        return totals["live_bytes"] - totals["start_live_bytes"]
    return totals[metric if metric == "allocations" else metric + "_bytes"]


def folded(text):
    """(frames, value) of each line, which is to be read as flamegraph.pl does: all up to the last blank."""
    stacks = [line.rpartition(" ") for line in text.splitlines()]
    return [(stack.split(";"), int(value)) for stack, _, value in stacks]


def test_folded_adds_up(python):
    run = record(python, PROGRAM)
    process = run.process()
    for metric in METRICS:
        stacks = folded(export(run, "folded", "--metric", metric))
        assert sum(value for _, value in stacks) == expected(process, metric)
        assert all(value > 0 for _, value in stacks) or metric == "increment"
    stacks = folded(export(run, "folded"))
    tags = process.tags
    (kept,) = [value for frames, value in stacks if frames[-1] == f"inner ({run.file}:{tags['kept']})"
               and f"outer ({run.file}:{tags['call']})" in frames and value > 4_000_000]
    assert kept < process.rows["kept"].live + 1
    # The caller of the C library's malloc is the leaf above the line that called it.
    native = [frames for frames, _ in folded(export(run, "folded", "--metric", "allocated"))
              if frames[-2:-1] == [f"inner ({run.file}:{tags['native']})"]]
    assert [frames for frames in native if "ffi" in frames[-1]]
    # Nothing in a name breaks the format.
    assert [frames for frames, value in stacks if re.match(r'f \(.*a,bc"d,e .py:2\)$', frames[-1])]


@pytest.mark.few
def test_chosen_functions(python):
    run = record(python, PROGRAM)
    stacks = folded(export(run, "folded", "--function", "outer"))
    assert stacks and all(any(frame.startswith("outer (") for frame in frames) for frames, _ in stacks)
    assert len(stacks) < len(folded(export(run, "folded")))


@pytest.mark.few
def test_several_processes(python):
    run = record(python, FORK)
    processes = run.report()
    assert len(processes) == 2
    stacks = folded(export(run, "folded"))
    for process in processes:
        mine = [value for frames, value in stacks if frames[0].startswith(f"pid {process.data['pid']}, ")]
        assert sum(mine) == process.totals["live_bytes"]
    (merged,) = run.report("--merge")
    stacks = folded(export(run, "folded", "--merge"))
    assert sum(value for _, value in stacks) == merged.totals["live_bytes"]
    assert not [frames for frames, _ in stacks if frames[0].startswith("pid ")]
    names = [profile["name"] for profile in json.loads(export(run, "speedscope"))["profiles"]]
    assert [name.partition(",")[0] for name in names] == [f"pid {each.data['pid']}" for each in processes]
    pids = [row["pid"] for row in csv.DictReader(io.StringIO(export(run, "csv")))]
    assert sorted(set(pids)) == sorted(str(each.data["pid"]) for each in processes)
    assert {row["pid"] for row in csv.DictReader(io.StringIO(export(run, "csv", "--merge")))} == {""}


def test_csv(python):
    run = record(python, PROGRAM)
    process = run.process()
    text = export(run, "csv")
    assert text.partition("\n")[0] == ("pid,file,function,line,occurrences,mem_bytes,increment_bytes,"
                                       "own_increment_bytes,live_bytes,live_blocks,allocated_bytes,allocations,"
                                       "peak_bytes")
    rows = list(csv.DictReader(io.StringIO(text, newline="")))
    lines = [(file, function, line) for file, function, line in process.lines()]
    assert len(rows) == len(lines) + 2
    for row, (file, function, line) in zip(rows, lines):
        assert (row["file"], row["function"], row["pid"]) == (file, function, str(process.data["pid"]))
        for column in list(row)[3:]:
            assert row[column] == ("" if line[column] is None else str(line[column]))
    assert [row["function"] for row in rows[-2:]] == ["<out of scope>", "<native>"]
    for metric, column in zip(METRICS, ("live_bytes", "peak_bytes", "allocated_bytes", "allocations",
                                        "own_increment_bytes")):
        assert sum(int(row[column]) for row in rows) == expected(process, metric)


@pytest.mark.few
def test_json_is_that_of_report(python):
    run = record(python, PROGRAM)
    assert export(run, "json") == memline("report", "--json", *run.sysroot, run.folder)


@pytest.mark.few
def test_output_and_usage(python, tmp_path):
    run = record(python, PROGRAM)
    text = export(run, "folded")
    assert export(run, "folded", "-o", tmp_path / "out") == ""
    assert (tmp_path / "out").read_text() == text
    for wrong in ([], ["--format", "svg"], ["--format", "csv", "--metric", "size"]):
        memline("export", *wrong, run.folder, status=2)
    memline("export", "--format", "csv", "-o", tmp_path / "no" / "folder", run.folder, status=1)
    memline("export", "--format", "pprof", "-o", "/dev/full", run.folder, status=1)


def flamegraph():
    """Brendan Gregg's flamegraph.pl, of the PATH or as Debian's libdevel-nytprof-perl has it."""
    found = shutil.which("flamegraph.pl")
    return [found] if found else glob.glob("/usr/share/perl5/Devel/NYTProf/flamegraph.pl")


@pytest.mark.few
def test_flamegraph(python):
    if not flamegraph():
        pytest.skip("flamegraph.pl is not installed")
    run = record(python, PROGRAM)
    for metric in ("live", "increment"):
        text = export(run, "folded", "--metric", metric)
        done = subprocess.run(["perl", *flamegraph(), "--countname", "bytes"], input=text.encode(), check=True,
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        negative = sum(value < 0 for _, value in folded(text))
        assert done.stderr.decode() == (f"Ignored {negative} lines with invalid format\n" if negative else "")
        total = sum(value for _, value in folded(text) if value > 0)
        (drawn,) = re.findall(r"<title>all \(([\d,]+) bytes, 100%\)</title>", done.stdout.decode())
        assert int(drawn.replace(",", "")) == total


SCHEMA = """
const file = require("fs").readFileSync;
const Ajv = require("ajv").default;
const valid = new Ajv({strict: false}).compile(
    JSON.parse(file(require.resolve("speedscope/dist/release/file-format-schema.json"))));
if (!valid(JSON.parse(file(0)))) { console.error(valid.errors); process.exit(1); }
"""


@pytest.fixture(scope="session")
def schema():
    """A folder with speedscope's published schema and a validator, from npm."""
    folder = os.path.abspath(os.path.join(BUILD, "speedscope"))
    if not os.path.isdir(os.path.join(folder, "node_modules", "ajv")):
        if not shutil.which("npm"):
            pytest.skip("npm is not installed")
        os.makedirs(folder, exist_ok=True)
        install = ["npm", "install", "--no-audit", "--no-fund", "--prefix", folder, "speedscope@1", "ajv@8"]
        if subprocess.run(install, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, timeout=300).returncode:
            pytest.skip("speedscope cannot be installed")
    return folder


def is_valid(schema, text):
    done = subprocess.run(["node", "-e", SCHEMA], input=text.encode(), cwd=schema, stderr=subprocess.PIPE)
    return done.returncode == 0, done.stderr.decode()


@pytest.mark.few
def test_speedscope(python, schema):
    run = record(python, PROGRAM)
    process = run.process()
    for metric in METRICS:
        text = export(run, "speedscope", "--metric", metric)
        valid, errors = is_valid(schema, text)
        assert valid, errors
        data = json.loads(text)
        sums = [sum(profile["weights"]) for profile in data["profiles"]]
        for profile, total in zip(data["profiles"], sums):
            assert len(profile["samples"]) == len(profile["weights"]) and min(profile["weights"]) > 0
            assert profile["endValue"] == total
            assert max(max(sample) for sample in profile["samples"]) < len(data["shared"]["frames"])
        assert sums[0] - sum(sums[1:]) == expected(process, metric)
        assert len(sums) == (2 if metric == "increment" else 1)
    assert is_valid(schema, text.replace('"sampled"', '"simple"'))[0] is False


@pytest.mark.few
def test_speedscope_frames(python):
    run = record(python, PROGRAM)
    data = json.loads(export(run, "speedscope"))
    frames = data["shared"]["frames"]
    (profile,) = data["profiles"]
    tags = run.process().tags
    found = [weight for sample, weight in zip(profile["samples"], profile["weights"])
             if frames[sample[-1]] == {"name": "inner", "file": run.file, "line": tags["kept"]}
             and {"name": "outer", "file": run.file, "line": tags["call"]} in [frames[each] for each in sample]]
    assert sum(found) > 4_000_000


def pprof(path, *options):
    """`go tool pprof`; a number with a unit in its output is rounded, so ask for raw ones."""
    go = shutil.which("go")
    if not go:
        pytest.skip("go is not installed")
    environment = dict(os.environ, PPROF_TMPDIR=os.path.dirname(path), PPROF_BINARY_PATH="/nonexistent",
                       GOCACHE=os.path.abspath(os.path.join(BUILD, "go")))  # newer ones build the tool at first use
    done = subprocess.run([go, "tool", "pprof", *options, str(path)], env=environment, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE)
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout.decode()


def samples(raw, metric):
    """The values of all samples in pprof's raw form."""
    lines = re.findall(r"^ +(-?\d+(?: +-?\d+){4}):", raw, re.M)
    return [int(line.split()[METRICS.index(metric)]) for line in lines]


@pytest.mark.few
def test_pprof(python, tmp_path):
    run = record(python, FORK)
    path = tmp_path / "profile.pb.gz"
    processes = run.report()
    for metric in ("live", "increment"):
        export(run, "pprof", "--metric", metric, "-o", path)
        top = pprof(path, "-top", "-unit=B", "-nodefraction=0", "-nodecount=100000")
        assert f"\nType: {metric}\n" in top
        assert re.search(r" inner$", top, re.M) and re.search(r" <module>$", top, re.M)
    raw = pprof(path, "-raw")
    for metric in METRICS:
        assert sum(samples(raw, metric)) == sum(expected(process, metric) for process in processes)
    # pprof's own total counts what shrank as if it had grown.
    assert f" of {sum(map(abs, samples(raw, 'increment')))}B total" in top
    tags = pprof(path, "-tags", "-unit=B", "-sample_index=live")
    for process in processes:
        assert re.search(rf" {process.totals['live_bytes']}B \(.*\): {process.data['pid']}$", tags, re.M)
    build_ids = dict(re.findall(r"^\d+: 0x0/0x[0-9a-f]+/0x0 (\S+) ([0-9a-f]{8,}) \[FN\]\[FL\]\[LN\]\[IN\]$", raw, re.M))
    recorded = dict(re.findall(r"^module .* (/\S+) build-id ([0-9a-f]+)$", memline("dump", "--defs", run.folder), re.M))
    assert build_ids and build_ids.items() <= recorded.items()
    lines = pprof(path, "-top", "-lines", "-sample_index=live", "-unit=B", "-nodefraction=0", "-nodecount=100000")
    assert re.search(rf" inner {run.file}:{processes[0].tags['kept']}$", lines, re.M)
