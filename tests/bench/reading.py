"""Measures how fast traces are read, and in what memory: make bench-reading.

A trace of 200 million events with a million live blocks (EVENTS and LIVE: others) is made in the build folder, and goes
again. Rates are of processor time: events a second that one core reads.
"""
import os
import subprocess
import sys
import tempfile

from measuring import cost_of
from suite import BUILD, PROGRAMS
from tools import MEMLINE

COMMANDS = (["summary", "--json"], ["report", "--json"], ["leaks", "--json"], ["peak", "--json"], ["leaks", "--growth"],
            ["export", "--format", "pprof"], ["check"])

LARGE_TRACE = os.path.join(PROGRAMS, "large_trace")


def make_trace(path, events, live):
    """Returns what a reader has to find: allocations, frees, live blocks, live bytes."""
    done = subprocess.run([LARGE_TRACE, path, str(events), str(live)], stdout=subprocess.PIPE, check=True, text=True)
    return list(map(int, done.stdout.split()))


def measure(path, events, log):
    """Yields a row for each command."""
    for command in COMMANDS:
        cost = cost_of([MEMLINE, *command, path], {}, log, 3600)
        yield (" ".join(command), f"{cost.wall:.1f}", f"{cost.cpu:.1f}", f"{events / cost.cpu / 1e6:.1f}",
               f"{cost.resident / (1 << 20):.0f}", cost.problem or "")


def main():
    events, live = (int(os.environ.get(name, default)) for name, default in (("EVENTS", 200_000_000), ("LIVE", 10**6)))
    with tempfile.TemporaryDirectory(dir=BUILD, prefix="reading-") as folder:
        path = os.path.join(folder, "large.memline")
        make_trace(path, events, live)
        print(f"{events} events in {os.path.getsize(path) >> 20} MiB, {live} live blocks\n")
        print("| command | seconds | processor seconds | million events/s | MiB | |\n|---|---|---|---|---|---|")
        for row in measure(path, events, os.path.join(folder, "log")):
            print("| " + " | ".join(row) + " |", flush=True)


if __name__ == "__main__":
    sys.exit(main())
