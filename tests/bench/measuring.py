"""Runs a workload under a tool once, and a trace through the reader."""
import glob
import json
import os
import re
import shutil
import statistics
import subprocess
import tempfile

from suite import INERT, INERT_START, PROGRAMS
from tools import DEFAULT, MEMLINE

MEASURE = os.path.join(PROGRAMS, "measure")

# Variables that change what a Python, a tool or memline does.
MEDDLING = re.compile(r"LD_PRELOAD$|MEMLINE_|PYTHON|MALLOC_|HEAPTRACK|SCALENE")


class Cost:
    """Of a command and all its descendants: wall (of the command) and cpu in seconds, resident: the peak of the largest
    of them in bytes. More than one run of it give the medians."""

    def __init__(self, lines):
        runs = [tuple(map(int, line.split())) for line in lines]
        self.wall = statistics.median(run[0] for run in runs) / 1e9
        self.cpu = statistics.median(run[1] for run in runs) / 1e6
        self.resident = max(run[2] for run in runs) * 1024
        self.problem = next(filter(None, (self.trouble(status, late) for *_, status, late in runs)), None)

    @staticmethod
    def trouble(status, late):
        if late:
            return "too slow"
        if os.WIFSIGNALED(status):
            return f"signal {os.WTERMSIG(status)}"
        return f"exit {os.WEXITSTATUS(status)}" if os.WEXITSTATUS(status) else None


def clean_environment():
    environment = {name: value for name, value in os.environ.items() if not MEDDLING.match(name)}
    return dict(environment, PYTHONHASHSEED="0")


def cost_of(command, environment, output, limit, times=1):
    """What it costs; its standard output and errors go to the file output."""
    words = [MEASURE, "-n", str(times), "-o", output, "-t", str(limit)]
    for name, value in environment.items():
        words += ["-e", f"{name}={value}"]
    done = subprocess.run([*words, *command], stdout=subprocess.PIPE, env=clean_environment(), check=True, text=True)
    return Cost(done.stdout.splitlines())


class Trace:
    """What a trace holds and what it costs to read it."""

    def __init__(self, folder, log):
        output = os.path.join(log, "report")
        self.report = cost_of([MEMLINE, "report", "--json", folder], {}, output, 600)
        totals = self.totals(output)
        self.live_blocks = sum(each["live_blocks"] for each in totals)
        output = os.path.join(log, "summary")
        self.summary = cost_of([MEMLINE, "summary", "--json", "--end", "last", folder], {}, output, 600)
        totals = self.totals(output)
        self.events = sum(each["allocations"] + each["frees"] for each in totals)
        self.dropped = sum(each["dropped_events"] for each in totals)
        self.measure_parts(folder)

    @staticmethod
    def totals(path):
        with open(path) as text:
            return [process["totals"] for process in json.load(text)["processes"]]

    def measure_parts(self, folder):
        """Nodes, rings, and the bytes of the extents that hold events."""
        done = subprocess.run([MEMLINE, "dump", "--nodes", folder], stdout=subprocess.PIPE, check=True, text=True)
        self.nodes = len(re.findall(r"^node ", done.stdout, re.M))
        extents = re.findall(r"^extent (ring|events) at \d+ length (\d+)", done.stdout, re.M)
        self.rings = sum(kind == "ring" for kind, _ in extents)
        self.event_bytes = sum(int(length) for _, length in extents)


class Run:
    """One run of a workload under a tool: its cost, and

    bare: the bare run that it is to be compared with. written: bytes that the tool left, each time. checksum: what the
    workload printed, the same under every tool. pair_ns: of the workloads that measure that. trace: of memline, else
    None. problem: why the run does not count, or None.
    """

    def __init__(self, cost, printed, out, times, bare):
        self.wall, self.cpu, self.resident, self.problem = cost.wall, cost.cpu, cost.resident, cost.problem
        self.bare = bare or self
        self.written = sum(os.lstat(path).st_size for path in files_in(out)) // times
        self.checksum = "".join(sorted(set(re.findall(r"^checksum (.*)$", printed, re.M))))
        found = re.search(r"^ns/pair ([0-9.]+)$", printed, re.M)
        self.pair_ns = float(found.group(1)) if found else None
        self.trace = None
        if not self.problem and (not self.checksum or self.checksum != self.bare.checksum):
            self.problem = "another result"

    def read(self, out, log):
        self.trace = Trace(out, log)
        if self.trace.dropped:
            self.problem = f"{self.trace.dropped} events dropped"

    def numbers(self):
        """For JSON."""
        values = {name: value for name, value in vars(self).items() if name not in ("bare", "trace")}
        if self.trace:
            values["trace"] = {name: vars(value) if isinstance(value, Cost) else value
                               for name, value in vars(self.trace).items()}
        return values


def files_in(folder):
    return [path for path in glob.glob(os.path.join(folder, "**"), recursive=True) if os.path.isfile(path)]


def run(tool, python, workload, scale, bare, folder):
    """One Run, whose files are in the folder and are gone afterwards. bare: None for a bare run."""
    out, log = tempfile.mkdtemp(dir=folder), tempfile.mkdtemp(dir=folder)
    limit = 60 if bare is None else max(60, 30 * bare.wall * workload.times)
    try:
        command, environment = tool.command(python, workload, scale, out)
        output = os.path.join(log, "output")
        cost = cost_of(command, environment, output, limit, workload.times)
        with open(output, errors="replace") as text:
            result = Run(cost, text.read(), out, workload.times, bare)
        if tool is DEFAULT and not result.problem:
            if workload.has_python:
                result.read(out, log)
            elif files_in(out):
                result.problem = "wrote a trace"
        return result
    finally:
        shutil.rmtree(out)
        shutil.rmtree(log)
