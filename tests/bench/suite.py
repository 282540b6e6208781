"""The workloads: what they are called, how they are run, and what they are meant to show."""
import os

HERE = os.path.dirname(os.path.abspath(__file__))
BUILD = os.path.join(os.path.dirname(os.path.dirname(HERE)), os.environ.get("BUILD", "build"))
PROGRAMS = os.path.join(BUILD, "tests/bench/programs")
PAIRS_OBJECT = os.path.join(BUILD, "tests/bench/objects/pairs.so")

# Kinds. PROGRAM: what people write; its ratios have a mean. DEEP: below thousands of frames. PAIRS: native code that
# Python called. START: a process that does nothing. INERT: the same two without Python in the process, where memline
# has to be hardly there.
PROGRAM, DEEP, PAIRS, START, INERT, INERT_START = "program", "deep", "pairs", "start", "inert", "inert start"


class Workload:
    """name: its file is what stands before a dash. arguments follow the scale. times: it is started so often for one
    measurement, whose result is the median. scales: two small ones that are told apart by counting instructions."""

    def __init__(self, name, kind, text, arguments=(), needs=None, times=1, scales=None):
        self.name, self.kind, self.text = name, kind, text
        self.arguments, self.needs, self.times, self.scales = tuple(arguments), needs, times, scales

    @property
    def has_python(self):
        return self.kind not in (INERT, INERT_START)

    @property
    def starts(self):
        return self.kind in (START, INERT_START)

    def program(self, scale):
        """The words that follow the interpreter, where there is one."""
        scale = 0 if self.kind == INERT_START else scale
        if not self.has_python:
            return [os.path.join(PROGRAMS, "inert"), f"{scale:g}", *self.arguments]
        path = os.path.join(HERE, "workloads", self.name.partition("-")[0] + ".py")
        return [path, f"{scale:g}", *self.arguments]


def pairs(threads, depth):
    text = f"malloc and free, {depth} native calls deep, native threads: {threads}"
    scales = (0.02, 0.04) if (threads, depth) == (1, 30) else None
    return Workload(f"pairs-{threads}x{depth}", PAIRS, text, [str(threads), str(depth), PAIRS_OBJECT], scales=scales)


WORKLOADS = [
    Workload("objects", PROGRAM, "small objects below 34 frames, as fast as they can be made", scales=(0.01, 0.03)),
    Workload("documents", PROGRAM, "JSON written and parsed", scales=(0.01, 0.03)),
    Workload("calls", PROGRAM, "calls and arithmetic, next to no allocation"),
    Workload("threads", PROGRAM, "four threads; compression outside of the interpreter's lock", scales=(0.01, 0.03)),
    Workload("tasks", PROGRAM, "asyncio: thousands of short tasks", scales=(0.03, 0.07)),
    Workload("arrays", PROGRAM, "temporaries of numpy, from 400 bytes to 3.2 MB", needs="numpy"),
    Workload("imports", PROGRAM, "a fresh process imports the standard library, numpy and pandas"),
    Workload("retain", PROGRAM, "900,000 live objects, half of them replaced three times", scales=(0.01, 0.02)),
    Workload("server", PROGRAM, "an HTTP server with a thread for each request, and its client"),
    Workload("recursion-1000", DEEP, "small objects below 1,000 frames", ["1000"], scales=(0.03, 0.06)),
    Workload("recursion-10000", DEEP, "small objects below 10,000 frames", ["10000"]),
    pairs(1, 0), pairs(1, 30), pairs(2, 30), pairs(4, 30),
    Workload("empty", START, "a Python program that does nothing", times=10),
    Workload("inert", INERT, "pairs-1x30 in a process without Python", ["1", "30"]),
    Workload("inert-start", INERT_START, "a program without Python that does nothing", ["1", "0"], times=100),
]
