"""What recording costs: each workload bare and under the preload, in turns, and what its trace is like.

    make bench                                       every workload under the oldest, a middle and the newest CPython
    PYTHONS=3.13 tests/bench/run.py --rounds 7 objects json_text

ratio: time under the preload over the time bare, medians of the rounds. memory: the peak of the resident size over that
of the bare run. B/event: bytes of trace per event. Mevents/s: how fast memline reads and sums up the trace.
"""
import argparse
import glob
import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.dirname(HERE))
import interpreters  # noqa: E402

PROJECT = os.path.dirname(os.path.dirname(HERE))
BUILD = os.path.join(PROJECT, os.environ.get("BUILD", "build"))
WORKLOADS = sorted(os.path.basename(path)[:-len(".py")] for path in glob.glob(os.path.join(HERE, "workloads/*.py")))


def run(command, **environment):
    """Runs it to its end. Returns (seconds, largest resident size in bytes)."""
    began = time.monotonic()
    child = subprocess.Popen(command, env=dict(os.environ, **environment), stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(child.pid, 0)
    child.returncode = status
    if status:
        sys.exit(f"{' '.join(command)}: wait status {status}")
    return time.monotonic() - began, usage.ru_maxrss * 1024


def measure(python, workload, scale, rounds):
    command = [python.path, os.path.join(HERE, "workloads", workload + ".py"), str(scale)]
    folder = tempfile.mkdtemp(prefix="memline-bench-")
    recording = {"LD_PRELOAD": os.path.join(BUILD, "libmemline.so"), "MEMLINE_DIR": folder, "MEMLINE_MAX_BYTES": "64G"}
    bare, with_us = [], []
    try:
        for _ in range(rounds):
            for path in glob.glob(folder + "/*"):
                os.unlink(path)
            bare.append(run(command))
            with_us.append(run(command, **recording))
        (trace,) = glob.glob(folder + "/*")
        began = time.monotonic()
        text = subprocess.run([os.path.join(BUILD, "memline"), "summary", "--json", trace], check=True,
                              stdout=subprocess.PIPE).stdout
        reading = time.monotonic() - began
        return bare, with_us, os.stat(trace).st_blocks * 512, reading, json.loads(text)["processes"][0]["totals"]
    finally:
        shutil.rmtree(folder)


def line(python, workload, scale, rounds):
    bare, with_us, trace_bytes, reading, totals = measure(python, workload, scale, rounds)
    seconds = [statistics.median(each[0] for each in runs) for runs in (bare, with_us)]
    memory = [statistics.median(each[1] for each in runs) for runs in (bare, with_us)]
    events = totals["allocations"] + totals["frees"]
    return (f"{python!r:8} {workload:10} {seconds[0]:7.2f} s {seconds[1] / seconds[0]:7.2f} "
            f"{(seconds[1] - seconds[0]) / max(events, 1) * 1e9:8.1f} {(memory[1] - memory[0]) / (1 << 20):+8.1f} MiB "
            f"{events:11,} {trace_bytes / (1 << 20):9.1f} MiB {trace_bytes / max(events, 1):7.2f} "
            f"{events / reading / 1e6:9.1f}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("workloads", nargs="*", default=WORKLOADS, metavar="WORKLOAD", help=", ".join(WORKLOADS))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--scale", type=float, default=1.0, help="1: about a second each")
    options = parser.parse_args()
    found = interpreters.find()
    if "PYTHONS" not in os.environ and len(found) > 3:
        found = [found[0], found[len(found) // 2], found[-1]]
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    print("python   workload        bare   ratio ns/event       memory      events         trace B/event Mevents/s")
    for python in found:
        for workload in options.workloads:
            print(line(python, workload, options.scale, options.rounds), flush=True)


if __name__ == "__main__":
    main()
