"""From runs to tables: medians over the rounds, each run against the bare run of its own round."""
import math
import statistics

from suite import DEEP, INERT, INERT_START, PAIRS, PROGRAM, START, WORKLOADS
from tools import BARE, DEFAULT

MIB = 1 << 20

# What memline means to stay within: ratio of processor time to bare, of each program and as their geometric mean.
CPU_TARGETS = {"objects": 1.85, "documents": 1.40, "calls": 1.05, "threads": 1.50, "tasks": 1.40, "arrays": 1.08,
               "imports": 1.25, "retain": 1.25, "server": 1.35}
MEAN_TARGET, MEAN_LIMIT = 1.33, 1.45

# The program in which memray's default, which leaves out Python's objects, may cost less than recording all of them.
ALLOWED_ABOVE_MEMRAY = {"threads"}

DEEP_TARGET_NS = 600
PAIR_TARGET_NS = 25
INERT_PAIR_TARGET_NS = 1
INERT_START_TARGET_MS = 1
START_TARGET = 1.15
EVENT_TARGET_BYTES = 4
READER_TARGET = 10  # million events a second
REPORT_TARGET_SECONDS = 1  # for 10 million events


def memory_target(trace):
    """Bytes of its own that memline may take in the program."""
    return 16 * MIB + 160 * 1024 * trace.rings + 64 * trace.nodes


class Results:
    """The runs of one Python: runs[workload name][tool name] is a list, prices[workload name] an instructions.Price."""

    def __init__(self, python, tools):
        self.python, self.tools = python, tools
        self.runs, self.prices = {}, {}

    def add(self, workload, tool, run):
        self.runs.setdefault(workload.name, {}).setdefault(tool.name, []).append(run)

    def workloads(self, *kinds):
        return [each for each in WORKLOADS if each.kind in kinds and each.name in self.runs]

    def good(self, workload, tool):
        """The runs that count."""
        runs = self.runs.get(workload.name, {}).get(tool.name, [])
        return [run for run in runs if not run.problem and not run.bare.problem]

    def problem(self, workload, tool):
        """Why there is no run that counts; None where no run was meant to be."""
        for run in self.runs.get(workload.name, {}).get(tool.name, []):
            if run.problem or run.bare.problem:
                return run.problem or f"bare: {run.bare.problem}"
        return None

    def values(self, workload, tool, value):
        """value(run) of the runs that count and for which it is not None."""
        return [found for run in self.good(workload, tool) for found in [value(run)] if found is not None]

    def median(self, workload, tool, value):
        """None where there is nothing."""
        values = self.values(workload, tool, value)
        return statistics.median(values) if values else None

    def mean(self, tool, value):
        """The geometric mean over the programs; None where the tool has not done all that bare has."""
        workloads = self.workloads(PROGRAM)
        medians = [self.median(workload, tool, value) for workload in workloads]
        return geometric_mean(medians) if medians and None not in medians else None


def geometric_mean(values):
    return math.exp(sum(map(math.log, values)) / len(values))


def cpu_ratio(run):
    return run.cpu / run.bare.cpu if run.bare.cpu else None


def wall_ratio(run):
    return run.wall / run.bare.wall


def extra_resident(run):
    return run.resident - run.bare.resident


def added_ns(run):
    """What an event added to the processor time."""
    return (run.cpu - run.bare.cpu) * 1e9 / run.trace.events if run.trace and run.trace.events else None


def added_to_pair(run):
    """ns that a malloc and its free take more."""
    return run.pair_ns - run.bare.pair_ns if run.pair_ns is not None else None


def added_ms(run):
    return (run.wall - run.bare.wall) * 1e3


def event_bytes(run):
    return run.trace.event_bytes / run.trace.events if run.trace and run.trace.events else None


def reader_rate(run):
    """Million events a second."""
    return run.trace.events / run.trace.summary.cpu / 1e6 if run.trace and run.trace.summary.cpu else None


def report_seconds(run):
    return run.trace.report.cpu * 1e7 / run.trace.events if run.trace and run.trace.events else None


def written(size):
    """A size for people."""
    for unit in ("B", "kB", "MB"):
        if size < 1000:
            return f"{size:.3g} {unit}"
        size /= 1000
    return f"{size:.3g} GB"


def shown(value, form):
    return "" if value is None else format(value, form)


def table(head, rows):
    """In Markdown, aligned: the first column to the left, the others to the right."""
    rows = [[str(cell) for cell in row] for row in rows]
    widths = [max(len(row[i]) for row in [head, *rows]) for i in range(len(head))]

    def line(cells):
        return "| " + " | ".join(cell.rjust(width) if i else cell.ljust(width)
                                 for i, (cell, width) in enumerate(zip(cells, widths))) + " |"

    rule = "|" + "|".join(("-" * (width + 1) + ":") if i else ":" + "-" * (width + 1)
                          for i, width in enumerate(widths)) + "|"
    return "\n".join([line(head), rule, *map(line, rows)])


def title(tool):
    return tool.name + ("*" if tool.slow else "")


def ratio_table(results, value, targets=None, spread=False):
    """The programs by the tools. spread: the lowest and the highest round of memline too."""
    tools = [tool for tool in results.tools if tool is not BARE]
    workloads = results.workloads(PROGRAM)
    if not workloads:
        return None
    head = ["", "bare, s"] + (["target"] if targets else []) + [title(tool) for tool in tools]
    rows = []
    for workload in workloads:
        bare = results.median(workload, BARE, lambda run: run.cpu if value is cpu_ratio else run.wall)
        row = [workload.name, shown(bare, ".2f")] + ([shown(targets.get(workload.name), ".2f")] if targets else [])
        for tool in tools:
            found = results.median(workload, tool, value)
            cell = shown(found, ".2f") or results.problem(workload, tool) or ""
            if spread and tool is DEFAULT and found is not None:
                values = results.values(workload, tool, value)
                cell += f" ({min(values):.2f}-{max(values):.2f})"
            row.append(cell)
        rows.append(row)
    rows.append(["geometric mean", ""] + ([f"{MEAN_TARGET:.2f}"] if targets else [])
                + [shown(results.mean(tool, value), ".2f") for tool in tools])
    return table(head, rows)


def lasting_table(results):
    """The same without what a start costs the tool and the bare run, where that was measured."""
    starts = {tool: results.median(workload, tool, lambda run: run.cpu)
              for workload in results.workloads(START) for tool in results.tools}
    tools = [tool for tool in results.tools if tool is not BARE and starts.get(tool) is not None]

    def lasting(tool):
        def ratio(run):
            bare = run.bare.cpu - starts[BARE]
            return (run.cpu - starts[tool]) / bare if bare > 0 and run.cpu > starts[tool] else None
        return ratio

    workloads = results.workloads(PROGRAM)
    rows = [[workload.name] + [shown(results.median(workload, tool, lasting(tool)), ".2f") for tool in tools]
            for workload in workloads]
    rows.append(["geometric mean"] + [shown(results.mean(tool, lasting(tool)), ".2f") for tool in tools])
    return table([""] + [title(tool) for tool in tools], rows) if tools and workloads else None


def memory_table(results):
    workloads, tools = results.workloads(PROGRAM), [tool for tool in results.tools if tool is not BARE]
    rows = []
    for workload in workloads:
        bare = results.median(workload, BARE, lambda run: run.resident / MIB)
        row = [workload.name, shown(bare, ".0f")]
        for tool in tools:
            extra = results.median(workload, tool, extra_resident)
            size = results.median(workload, tool, lambda run: run.written)
            row.append("" if extra is None else f"{extra / MIB:+.1f}, {written(size)}")
        rows.append(row)
    return table(["", "bare, MiB"] + [title(tool) for tool in tools], rows) if rows else None


def recording_table(results):
    """What memline's traces of everything with Python in it are like."""
    rows = []
    for workload in results.workloads(PROGRAM, DEEP, PAIRS, START):
        if not any(run.trace for run in results.good(workload, DEFAULT)):
            continue

        def of(value, workload=workload):
            return results.median(workload, DEFAULT, value)

        price = results.prices.get(workload.name)
        rows.append([
            workload.name, f"{of(lambda run: run.trace.events):,.0f}",
            shown(of(lambda run: run.trace.events / run.bare.cpu / 1e6 if run.bare.cpu else None), ".1f"),
            shown(of(added_ns), ".0f"), shown(price and price.total, ".0f"), shown(of(event_bytes), ".2f"),
            written(of(lambda run: run.written)), f"{of(lambda run: run.trace.nodes):,.0f}",
            f"{of(lambda run: run.trace.rings):.0f}", f"{of(extra_resident) / MIB:+.1f}",
            f"{of(lambda run: memory_target(run.trace)) / MIB:.1f}", shown(of(reader_rate), ".1f"),
            shown(of(report_seconds), ".2f"), f"{of(lambda run: run.trace.report.resident) / MIB:.0f}",
            f"{of(lambda run: run.trace.live_blocks):,.0f}"])
    head = ["", "events", "M/s, bare", "ns/event", "instr./event", "B/event", "trace", "nodes", "rings", "extra MiB",
            "allowed", "read, M/s", "report, s/10 M", "report, MiB", "live blocks"]
    return table(head, rows) if rows else None


def pairs_table(results):
    """ns for a malloc and its free."""
    workloads = results.workloads(PAIRS, INERT)
    tools = [tool for tool in results.tools if any(results.good(workload, tool) for workload in workloads)]
    rows = [[workload.name] + [shown(results.median(workload, tool, lambda run: run.pair_ns), ".1f") for tool in tools]
            for workload in workloads]
    return table([""] + [tool.name for tool in tools], rows) if rows else None


def start_table(results):
    """ms of processor time, of wall time, and KiB, of processes that do nothing."""
    workloads = results.workloads(START, INERT_START)
    tools = [tool for tool in results.tools if any(results.good(workload, tool) for workload in workloads)]
    rows = []
    for workload in workloads:
        for what, value in (("cpu, ms", lambda run: run.cpu * 1e3), ("wall, ms", lambda run: run.wall * 1e3),
                            ("peak, MiB", lambda run: run.resident / MIB)):
            rows.append([f"{workload.name}: {what}"]
                        + [shown(results.median(workload, tool, value), ".2f") for tool in tools])
    return table([""] + [tool.name for tool in tools], rows) if rows else None


def instructions_table(results):
    """What an event costs in our library, function by function."""
    if not results.prices:
        return None
    names = sorted({name for price in results.prices.values() for name in price.own},
                   key=lambda name: -max(price.own.get(name, 0) for price in results.prices.values()))
    rows = [["all, without the bare run's"] + [f"{price.total:.0f}" for price in results.prices.values()]]
    rows += [[name] + [shown(price.own.get(name), ".1f") for price in results.prices.values()] for name in names]
    return table(["instructions per event", *results.prices], rows)


def measured_targets(results):
    """Every target that does not belong to one program: (what, target, measured, met or None)."""
    named = {workload.name: workload for workload in WORKLOADS}

    def median(name, value):
        return results.median(named[name], DEFAULT, value)

    def at_most(what, target, found, form):
        found = None if found is None else round(found, 3)
        return what, f"at most {target:{form}}", shown(found, form), None if found is None else found <= target

    traced = [run for workload in results.workloads(PROGRAM) for run in results.good(workload, DEFAULT) if run.trace]
    rates = [median(workload.name, reader_rate) for workload in results.workloads(PROGRAM)]
    rate = min(filter(None, rates), default=None)
    mean = results.mean(DEFAULT, cpu_ratio)
    over = [extra_resident(run) - memory_target(run.trace) for run in traced]
    sizes = [median(workload.name, event_bytes) for workload in results.workloads(PROGRAM)]
    return [
        at_most("geometric mean of the programs", MEAN_TARGET, mean, ".2f"),
        at_most("the same, where a change is refused", MEAN_LIMIT, mean, ".2f"),
        at_most("ns an event, 1,000 frames deep", DEEP_TARGET_NS, median("recursion-1000", added_ns), ".0f"),
        at_most("ns an event, 10,000 frames deep", DEEP_TARGET_NS, median("recursion-10000", added_ns), ".0f"),
        at_most("bytes an event, worst program", EVENT_TARGET_BYTES, max(filter(None, sizes), default=None), ".2f"),
        at_most("MiB of own memory over 16 + 160 KiB a ring + 64 B a node", 0,
                max(over) / MIB if over else None, ".1f"),
        at_most("ns added to a pair of pairs-1x30", PAIR_TARGET_NS, median("pairs-1x30", added_to_pair), ".1f"),
        at_most("ns added to a pair without Python", INERT_PAIR_TARGET_NS, median("inert", added_to_pair), ".2f"),
        at_most("ms added to a start without Python", INERT_START_TARGET_MS, median("inert-start", added_ms), ".2f"),
        at_most("ratio of an empty Python program", START_TARGET, median("empty", cpu_ratio), ".2f"),
        ("million events a second read, worst program", f"at least {READER_TARGET}", shown(rate, ".1f"),
         rate and rate >= READER_TARGET),
        at_most("s for a report of 10 million events of objects", REPORT_TARGET_SECONDS,
                median("objects", report_seconds), ".2f"),
    ]


def program_targets(results):
    """The same for each program: its ratio, and that memray's default costs more."""
    memray = next((tool for tool in results.tools if tool.name == "memray"), None)
    for workload in results.workloads(PROGRAM):
        found = results.median(workload, DEFAULT, cpu_ratio)
        target = CPU_TARGETS[workload.name]
        yield (workload.name, f"at most {target:.2f}", shown(found, ".2f"), found and round(found, 3) <= target)
        theirs = memray and results.median(workload, memray, cpu_ratio)
        if theirs and found and workload.name not in ALLOWED_ABOVE_MEMRAY:
            yield f"{workload.name} against memray", f"below {theirs:.2f}", f"{found:.2f}", found < theirs


def targets_table(results):
    verdict = {True: "met", False: "MISSED", None: "not measured"}
    rows = [[what, target, found, verdict[met]]
            for what, target, found, met in [*program_targets(results), *measured_targets(results)]]
    return table(["memline's own targets", "target", "measured", ""], rows)


def text(results):
    """All tables of one Python."""
    parts = [
        ("Processor time: ratio to bare", ratio_table(results, cpu_ratio, CPU_TARGETS, spread=True)),
        ("Processor time: ratio to bare, without the starts", lasting_table(results)),
        ("Wall time: ratio to bare", ratio_table(results, wall_ratio)),
        ("Peak memory over bare in MiB, and what was written", memory_table(results)),
        ("Recording and reading", recording_table(results)),
        ("A malloc and its free in native code, ns of processor time", pairs_table(results)),
        ("Starting a process", start_table(results)),
        ("Instructions of an event", instructions_table(results)),
        ("Targets", targets_table(results)),
    ]
    return "\n".join(f"### {title}\n\n{body}\n" for title, body in parts if body)
