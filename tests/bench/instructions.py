"""Counts the instructions that an event costs, with valgrind's callgrind, which does not mind a busy machine.

The workload runs at two scales, bare and recorded. What the recorded runs take more than the bare ones, divided by the
events that the larger scale has more, is the price of an event without that of a start.
"""
import collections
import concurrent.futures
import os
import re
import shutil
import subprocess
import tempfile

from measuring import clean_environment, Trace
from tools import BARE, DEFAULT, LIBRARY

# Functions that take less than this of an event are not named.
LEAST = 0.5


# A line of a callgrind file that has a place, absolute, relative or the same, and a cost.
COST = re.compile(r"[0-9+*-]\S* \d")


class Profile:
    """A callgrind file, summed up. total: all instructions; own: in functions of our library, by name."""

    def __init__(self, lines, library=LIBRARY):
        self.total, self.own = 0, collections.Counter()
        names = {}
        place = {"ob": "", "fn": ""}
        called = False
        for line in lines:
            kind, found, value = line.rstrip("\n").partition("=")
            if found and kind in ("ob", "fn", "cob", "cfn"):
                value = self.name(names.setdefault(kind[-2:], {}), value)
                if kind in place:
                    place[kind] = value
            elif kind == "calls":
                called = True
            elif COST.match(line):
                cost = int(line.split()[1])
                # The line after calls= has the cost of what was called, which is counted where it is.
                if not called:
                    self.total += cost
                    if os.path.basename(place["ob"]) == os.path.basename(library):
                        self.own[place["fn"].partition("'")[0]] += cost
                called = False

    @staticmethod
    def name(names, value):
        """Callgrind's names are "(NUMBER) NAME" at first and "(NUMBER)" from then on."""
        number, name = re.fullmatch(r"(\(\d+\))(?: (.*))?", value).groups()
        if name is not None:
            names[number] = name
        return names[number]


class Price:
    """What an event of a workload costs in instructions: total, and own, those of our library by function."""

    def __init__(self, bare, recorded, events):
        """Each is a pair: at the small and at the larger scale."""
        more = events[1] - events[0]
        with_us, without = (after.total - before.total for before, after in (recorded, bare))
        self.total = (with_us - without) / more
        self.own = {}
        for name, count in recorded[1].own.items():
            price = (count - recorded[0].own[name]) / more
            if price >= LEAST:
                self.own[name] = price


def profile(tool, python, workload, scale, folder):
    """Returns (Profile, events)."""
    where = tempfile.mkdtemp(dir=folder)
    try:
        out = os.path.join(where, "out")
        os.mkdir(out)
        command, environment = tool.command(python, workload, scale, out)
        result = os.path.join(where, "callgrind")
        options = ["--tool=callgrind", f"--callgrind-out-file={result}", "--compress-pos=no", "--quiet"]
        subprocess.run(["valgrind", *options, *command], env=dict(clean_environment(), **environment), check=True,
                       stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        with open(result, errors="replace") as lines:
            found = Profile(lines)
        return found, Trace(out, where).events if tool is DEFAULT else 0
    finally:
        shutil.rmtree(where)


def price(python, workload, folder):
    """The Price of an event of the workload; None where the counting failed."""
    def profile_of(what):
        return profile(what[0], python, workload, what[1], folder)

    runs = [(tool, scale) for tool in (BARE, DEFAULT) for scale in workload.scales]
    try:
        with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
            found = list(pool.map(profile_of, runs))
    except (subprocess.CalledProcessError, OSError, ValueError):
        return None
    profiles, events = zip(*found)
    return Price(profiles[:2], profiles[2:], events[2:])
