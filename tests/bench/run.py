"""What recording costs, and what the peers cost: every workload bare and under each tool, in turns.

    make bench                          everything; writes tests/bench/RESULTS.md
    make bench QUICK=1                  a short one, without the slow tools; writes BUILD/bench/RESULTS.md
    make bench BENCH='--tools memline --workloads objects,tasks --rounds 7'     a part; writes there too

PYTHONS="3.11.7 3.13.0" in the environment selects the interpreters. Peers that pip knows are installed into
BUILD/bench-venv; heaptrack and valgrind are used where they are installed.
"""
import argparse
import datetime
import json
import os
import platform
import re
import resource
import shutil
import subprocess
import sys
import tempfile

import results
from measuring import MEASURE, run
from suite import BUILD, HERE, START, WORKLOADS
from tools import BARE, DEFAULT, TOOLS, available, installed, named, prepare

sys.path.insert(0, os.path.dirname(HERE))
import interpreters  # noqa: E402
import instructions  # noqa: E402

# Python versions that are measured unless PYTHONS says otherwise; where neither is here, the newest that is.
USUAL = ((3, 11), (3, 13))

# What slow tools get of the work.
SLOW_SHARE = 0.2

# Processes that want a core, per core, beyond which a machine is too busy to be believed.
BUSY = 0.3

NOTES = """\
- A ratio is that of a run to the bare run of the same round; the table has the median over the rounds. The tools take
  turns within a round. Behind memline's are the lowest and the highest round.
- Processor time is user and system time of the command and all its descendants. Peak memory is that of the largest of
  these processes.
- Tools with a * are slow: they get {share:.0f} % of the work, in the first round only. The less work, the more a tool's
  start weighs: "Starting a process" has what that is. memline with an option changed has one round too.
- ns/event is the processor time over bare, divided by the events. instr./event are the instructions over bare, counted
  by valgrind as the difference of two scales. B/event are the parts of the trace that hold events, rings included.
- memray, scalene and heaptrack without "-objects" do not see Python's small objects. tracemalloc keeps sums in memory
  and writes nothing. memory_profiler looks at the lines of one function, in the thread that calls it.
"""


def say(text):
    print(text, file=sys.stderr, flush=True)


def command_output(*command):
    try:
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, cwd=HERE)
    except OSError:
        return ""
    return done.stdout.strip()


def first_match(path, pattern):
    try:
        with open(path) as lines:
            return next((found.group(1).strip() for found in map(re.compile(pattern).match, lines) if found), "?")
    except OSError:
        return "?"


def machine():
    """Lines that say where and on what this was measured."""
    cpu = first_match("/proc/cpuinfo", r"model name\s*:\s*(.*)")
    memory = int(first_match("/proc/meminfo", r"MemTotal:\s*(\d+)")) / (1 << 20)
    commit = command_output("git", "describe", "--always", "--dirty", "--abbrev=12")
    compiler = command_output(os.environ.get("CC", "gcc"), "--version").splitlines()[:1]
    return [
        f"memline {commit or '?'}, {''.join(compiler)}",
        f"{platform.system()} {platform.release()}, {' '.join(platform.libc_ver())}",
        f"{cpu}, {os.cpu_count()} cores, {memory:.0f} GiB",
    ]


def versions(python, tools):
    """Of the packages that one Python's virtual environment has."""
    packages = dict.fromkeys(["numpy", "pandas"] + [tool.package for tool in tools if tool.package])
    found = [f"{package} {version}" for package in packages for version in [installed(python, package)] if version]
    found += [command_output(program, "--version") for program in {tool.prefix[0]: 0 for tool in tools if tool.prefix}]
    return ", ".join(found)


def load():
    return os.getloadavg()[0]


def usual(found):
    """Of these interpreters the newest of each usual version."""
    latest = {each.version[:2]: each for each in found}
    return [latest[version] for version in USUAL if version in latest] or found[-1:]


def rounds_of(tool, options):
    return 1 if tool.slow or tool.once else options.rounds


def measure_round(number, found, python, options, folder):
    """Every workload once under every tool that has this round."""
    for workload in options.workloads:
        if workload.needs and not installed(python, workload.needs):
            if number == 0:
                say(f"{workload.name} is left out: {workload.needs} is not installed")
            continue
        bare = {}
        for tool in found.tools:
            if workload.kind not in tool.kinds or number >= rounds_of(tool, options):
                continue
            scale = options.scale * (SLOW_SHARE if tool.slow else 1)
            if tool is not BARE and scale not in bare:
                bare[scale] = run(BARE, python, workload, scale, None, folder)
            done = run(tool, python, workload, scale, bare.get(scale), folder)
            if tool is BARE:
                bare[scale] = done
            found.add(workload, tool, done)
            say(f"{found.python!r} round {number + 1} {workload.name:16} {tool.name:20} {done.cpu:8.2f} s"
                f" {done.cpu / done.bare.cpu if done.bare.cpu else 0:7.2f} {done.problem or ''}")


def measure(interpreter, options, folder):
    """The Results of one Python."""
    python = interpreter.path if options.no_install else prepare(interpreter, options.tools, say)
    found = results.Results(interpreter, available(python, options.tools, say))
    found.versions = versions(python, found.tools)
    for workload in options.workloads:
        run(BARE, python, workload, options.scale * SLOW_SHARE, None, folder)  # its files are in memory from now on
    for number in range(options.rounds):
        measure_round(number, found, python, options, folder)
    if DEFAULT in found.tools and options.instructions and shutil.which("valgrind"):
        for workload in options.workloads:
            if workload.scales and workload.name in options.instructions:
                say(f"{interpreter!r} instructions of {workload.name}")
                price = instructions.price(python, workload, folder)
                if price:
                    found.prices[workload.name] = price
    return found


def document(all_results, options, began):
    """RESULTS.md."""
    lines = ["# What recording costs", "",
             f"Written by `make bench` on {began:%Y-%m-%d %H:%M}: {options.rounds} rounds, scale {options.scale:g}, "
             f"load average {options.load:.2f} at the start.", ""]
    lines += [f"- {line}" for line in machine()]
    lines += [f"- CPython {found.python!r}: {found.versions or 'no packages'}" for found in all_results]
    lines += ["", "How to read it:", "", NOTES.format(share=100 * SLOW_SHARE), "Workloads:", ""]
    lines += [f"- {workload.name}: {workload.text}" for workload in options.workloads]
    lines += ["", "Tools:", ""]
    lines += [f"- {tool.name}: {tool.text}" for tool in TOOLS if any(tool in each.tools for each in all_results)]
    for found in all_results:
        lines += ["", f"## CPython {found.python!r}", "", results.text(found).rstrip()]
    return "\n".join(lines) + "\n"


def raw(all_results):
    """Every single run, for JSON."""
    return {repr(found.python): {workload: {tool: [each.numbers() for each in runs] for tool, runs in tools.items()}
                                 for workload, tools in found.runs.items()} for found in all_results}


def parse():
    everything = [workload.name for workload in WORKLOADS]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="two rounds of less work, one Python, no slow tools")
    parser.add_argument("--tools", help="of: " + ", ".join(tool.name for tool in TOOLS))
    parser.add_argument("--workloads", help="of: " + ", ".join(everything))
    parser.add_argument("--rounds", type=int)
    parser.add_argument("--scale", type=float, help="1: about a second each, bare")
    parser.add_argument("--instructions", metavar="WORKLOADS",
                        help="whose instructions are counted: 'all' or 'none', else of those above")
    parser.add_argument("--no-install", action="store_true", help="install nothing, use what the Pythons have")
    parser.add_argument("--output", metavar="FILE", help="where the tables go")
    parser.add_argument("--json", metavar="FILE", help="where every single run goes")
    parser.add_argument("--tmp", metavar="DIR", help="where the tools write, for the time of a run")
    options = parser.parse_args()
    complete(parser, options)
    return options


def complete(parser, options):
    """Fills in what was not said, and turns names into what they name."""
    quick = options.quick
    part = quick or options.tools or options.workloads or options.rounds or options.scale
    try:
        options.tools = named(options.tools.split(",") if options.tools else
                              [tool.name for tool in TOOLS if not (quick and (tool.slow or tool.once))])
        known = {workload.name: workload for workload in WORKLOADS}
        options.workloads = [known[name] for name in (options.workloads or ",".join(known)).split(",")]
    except KeyError as unknown:
        parser.error(f"there is no {unknown}")
    options.rounds = options.rounds or (2 if quick else 3)
    options.scale = options.scale or (0.2 if quick else 0.8)
    counted = options.instructions or ("objects" if quick else "all")
    options.instructions = {"all": [each.name for each in WORKLOADS], "none": []}.get(counted, counted.split(","))
    if not known.keys() >= set(options.instructions):
        parser.error(f"--instructions: there is no {counted}")
    options.output = options.output or os.path.join(os.path.join(BUILD, "bench") if part else HERE, "RESULTS.md")


def main():
    options = parse()
    if not os.access(MEASURE, os.X_OK):
        sys.exit(f"{MEASURE} is not built: use make bench")
    found = [each for each in interpreters.find() if not each.chroot]
    if "PYTHONS" not in os.environ:
        found = usual(found)[:1 if options.quick else None]
    if not found:
        sys.exit("no CPython that memline supports was found")
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    began, options.load = datetime.datetime.now(), load()
    if options.load > BUSY * os.cpu_count():
        say(f"warning: the machine is busy (load average {options.load:.2f}): do not believe what follows")
    folder = tempfile.mkdtemp(prefix="memline-bench-", dir=options.tmp)
    try:
        all_results = [measure(interpreter, options, folder) for interpreter in found]
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    written = document(all_results, options, began)
    print(written)
    os.makedirs(os.path.dirname(os.path.abspath(options.output)), exist_ok=True)
    with open(options.output, "w") as file:
        file.write(written)
    if options.json:
        with open(options.json, "w") as file:
            json.dump(raw(all_results), file, indent=1)


if __name__ == "__main__":
    main()
