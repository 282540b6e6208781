"""Runs tests of every kind and ends with one line: 'N passed, N failed, N skipped'.

A C program reports each of its tests in TAP (the check library writes it); a line "# SKIP NAME: REASON" takes one of
them back. A script is one test: status 0 is passed, 77 is skipped for the reason in its last line of output. pytest
reports through its XML file. The output of what fails is shown. The skips also go to BUILD/skips, one
"NAME: REASON" a line, for .ci/run to judge.
"""
import argparse
import collections
import concurrent.futures
import glob
import os
import re
import subprocess
import sys
import tempfile
import xml.etree.ElementTree

SKIPPED_STATUS = 77
PROGRAM_SECONDS = 900


class Outcome:
    """What one program, script or pytest run came to."""

    def __init__(self, name):
        self.name = name
        self.passed = self.failed = 0
        self.skips = []  # (name, reason)
        self.output = ""


def run(command, **environment):
    """Returns (exit status, output); a program that outstays its time is killed and has failed."""
    try:
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL,
                              env=dict(os.environ, **environment), timeout=PROGRAM_SECONDS)
    except subprocess.TimeoutExpired as late:
        return -1, (late.stdout or b"").decode(errors="replace") + f"\nkilled after {PROGRAM_SECONDS} s"
    return done.returncode, done.stdout.decode(errors="replace")


def run_program(path):
    outcome = Outcome(path)
    with tempfile.NamedTemporaryFile(mode="r", errors="replace") as tap:
        status, outcome.output = run([path], CK_TAP_LOG_FILE_NAME=tap.name)
        lines = tap.read().splitlines()
    outcome.passed = sum(line.startswith("ok ") for line in lines)
    outcome.failed = sum(line.startswith("not ok ") for line in lines)
    if status != 0 and not outcome.failed:
        outcome.failed = 1
        outcome.output += f"\n{path}: exit status {status}"
    if not outcome.passed and not outcome.failed:
        outcome.failed = 1
        outcome.output += f"\n{path}: ran no test"
    for name, reason in re.findall(r"^# SKIP ([^:\n]+): (.+)$", outcome.output, re.M):
        outcome.skips.append((f"{os.path.basename(path)}:{name}", reason))
        outcome.passed -= 1
    return outcome


def run_script(command):
    outcome = Outcome(command)
    status, outcome.output = run(command.split())
    if status == 0:
        outcome.passed = 1
    elif status == SKIPPED_STATUS:
        outcome.skips.append((command.split()[0], outcome.output.strip().rpartition("\n")[2]))
    else:
        outcome.failed = 1
    return outcome


def run_pytest(directory, build, jobs, chroots):
    """Runs pytest with its output on the terminal: it takes minutes."""
    outcome = Outcome(directory)
    environment = dict(os.environ, BUILD=build)
    if chroots:
        environment["MEMLINE_CHROOT"] = ":".join(chroots)
    log = os.path.join(build, "pytest.xml")
    command = [sys.executable, "-m", "pytest", "-q", "--junitxml", log, directory]
    if subprocess.run([sys.executable, "-c", "import xdist"], stderr=subprocess.DEVNULL).returncode == 0:
        command += ["-n", str(jobs)]
    if os.path.exists(log):
        os.unlink(log)
    status = subprocess.run(command, env=environment).returncode
    if not os.path.exists(log):
        outcome.failed = 1
        return outcome
    for case in xml.etree.ElementTree.parse(log).getroot().iter("testcase"):
        skip = case.find("skipped")
        if skip is not None:
            name = "{}::{}".format(case.get("classname"), re.sub(r"\[.*\]$", "", case.get("name")))
            outcome.skips.append((name, skip.get("message")))
        elif case.find("failure") is not None or case.find("error") is not None:
            outcome.failed += 1
        else:
            outcome.passed += 1
    if status != 0 and not outcome.failed:
        outcome.failed = 1
    return outcome


def show(outcome):
    verdict = "ok" if not outcome.failed else "FAILED"
    print(f"{verdict:6} {outcome.name} ({outcome.passed} passed, {outcome.failed} failed)", flush=True)
    if outcome.failed and outcome.output:
        print(outcome.output.rstrip(), flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", default="build", help="where what was built is, and reports go")
    parser.add_argument("--jobs", type=int, default=os.cpu_count())
    parser.add_argument("--programs", action="append", default=[], metavar="DIR", help="DIR/*/test_* are C programs")
    parser.add_argument("--scripts", nargs="*", default=[], metavar="COMMAND")
    parser.add_argument("--pytest", metavar="DIR")
    parser.add_argument("--chroot", action="append", default=[], metavar="DIR",
                        help="pytest takes the interpreters of this system (tests/interpreters.py)")
    options = parser.parse_args()

    programs = [path for where in options.programs for path in sorted(glob.glob(f"{where}/*/test_*"))
                if os.access(path, os.X_OK) and "." not in os.path.basename(path)]
    outcomes = []
    with concurrent.futures.ThreadPoolExecutor(options.jobs) as pool:
        waiting = [pool.submit(run_program, path) for path in programs]
        waiting += [pool.submit(run_script, command) for command in options.scripts]
        for each in concurrent.futures.as_completed(waiting):
            outcomes.append(each.result())
            show(outcomes[-1])
    if options.pytest:
        outcomes.append(run_pytest(options.pytest, options.build, options.jobs, options.chroot))

    skips = collections.Counter(skip for outcome in outcomes for skip in outcome.skips)
    for (name, reason), times in sorted(skips.items()):
        print(f"SKIP {name}: {reason}" + (f" ({times} times)" if times > 1 else ""))
    with open(os.path.join(options.build, "skips"), "w") as file:
        file.writelines(sorted(f"{name}: {reason}\n" for name, reason in skips))
    failed = sum(outcome.failed for outcome in outcomes)
    print(f"{sum(outcome.passed for outcome in outcomes)} passed, {failed} failed, {sum(skips.values())} skipped",
          flush=True)
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
