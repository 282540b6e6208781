"""Runs CPython's own tests bare and under the preload, and compares what became of each test.

The program must not be able to tell that it is recorded. So every test has to have the same outcome both ways, but for
those in cpython-exceptions.txt, each with its reason. A test module runs in a process of its own, with folders of its
own; where the two outcomes differ both are run again, up to twice, and a difference counts if the outcomes that were
seen bare and those that were seen under the preload have nothing in common. Tests that were seen to go either way are
named, but fail nothing.

The traces of each module are read too: each has to be readable to its last event without damage, and what else the
reader warns of is shown.

PYTHONS="3.11 3.13.0" selects interpreters; those without CPython's test package are left out.
"""
import argparse
import collections
import concurrent.futures
import fnmatch
import glob
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import xml.etree.ElementTree

HERE = os.path.dirname(os.path.abspath(__file__))
PROJECT = os.path.dirname(os.path.dirname(HERE))
EXCEPTIONS = os.path.join(HERE, "cpython-exceptions.txt")

sys.path.insert(0, os.path.dirname(HERE))
import interpreters  # noqa: E402

# Names and globs of modules in CPython's test package; each interpreter runs those that it has. The long ones come
# last.
MODULES = """
    test_json test_threading test_sys test_gc test_mmap test_tracemalloc test_capi test_embed test_os test_posix
    test_faulthandler test_ctypes test_io test_thread test_threadsignals test_fork1 test_resource test_generators
    test_coroutines test_asyncgen test_exceptions test_code test_frame test_dict test_list test_bytes test_re test_zlib
    test_hashlib test_ssl test_sqlite test_sqlite3 test_import test_cmd_line test_repl test_weakref test_descr
    test_atexit test_site test_interpreters test__xxsubinterpreters test_perf_profiler test_perfmaps test_monitoring
    test_sys_settrace test_sys_setprofile test_contextlib test_memoryview test_decimal test_array test_pickle
    test_select test_selectors test_wait4 test_pty test_shelve test_dbm test_readline test_getpath
    test_subprocess test_signal test_socket test_asyncio test_concurrent_futures test_concurrent_futures.*
    test_multiprocessing_fork test_multiprocessing_fork.* test_multiprocessing_spawn test_multiprocessing_spawn.*
""".split()

# Tests that are not run since they may hang without the preload too: the first wait for a peer outside of a virtual
# machine, the others end a subinterpreter's threads under the wrong thread state (3.11, wait_for_thread_shutdown()).
IGNORED = ["*VSOCK*", "*interpreters.*thread*"]

MODULE_SECONDS = 900
TRIES = 3
TRACE_BYTES = "512M"

# The outcome of a module that ended without saying what became of its tests, and of one whose tests say less than it.
WHOLE = "(the whole module)"


class Exceptions:
    """The tests that may differ. A line of the file: versions, a glob of test names, the reason."""

    def __init__(self, path):
        self.rows = []
        with open(path, encoding="utf-8") as file:
            for line in file:
                if line.strip() and not line.startswith("#"):
                    versions, name, reason = line.split(None, 2)
                    self.rows.append((versions, name, reason.strip()))
        self.used = set()

    def reason(self, version, test):
        """Why this test may differ under this version, or None."""
        for row in self.rows:
            if covers(row[0], version) and fnmatch.fnmatchcase(test, row[1]):
                self.used.add(row)
                return row[2]
        return None


def covers(versions, version):
    """Whether a range (3.8, 3.8-3.10, 3.12+, *) has the version in it."""
    if versions == "*":
        return True
    numbers = [tuple(map(int, each.split("."))) for each in re.findall(r"\d+\.\d+", versions)]
    low, high = numbers[0], numbers[-1]
    return low <= version[:2] and (versions.endswith("+") or version[:2] <= high)


class Result:
    """What one run of a module came to. outcomes: of each test by its name, as text."""

    def __init__(self):
        self.outcomes = {}
        self.details = {}  # the end of what a test that failed said
        self.seconds = 0.0
        self.traces = None


class Traces:
    """What memline says about the traces of one run of a module. Unknown frees: those of forked children left out."""

    COUNTED = ("events", "unknown_frees", "missed_frees", "dropped_events")

    # How the reader begins or ends what it says of a trace that does not hold together.
    DAMAGE = re.compile(r"\(first at offset \d+\)|ends of a call have no beginning")

    def __init__(self):
        self.files = self.bytes = 0
        self.counts = collections.Counter()
        self.warnings = collections.Counter()
        self.problems = []

    def __str__(self):
        text = f"{self.files} traces, {self.bytes / 1e6:.1f} MB"
        return text + "".join(f", {self.counts[name]} {name.replace('_', ' ')}" for name in self.COUNTED)

    def read(self, memline, path):
        self.files += 1
        self.bytes += os.path.getsize(path)
        done = subprocess.run([memline, "summary", "--json", "--end", "last", path], stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE)
        if done.returncode != 0:
            said = done.stderr.decode(errors="replace").strip()
            self.problems.append(f"{path}: status {done.returncode}: {said}")
            return
        for process in json.loads(done.stdout)["processes"]:
            totals = process["totals"]
            for name in self.COUNTED:
                self.counts[name] += totals[name]
            if totals["unknown_frees"] and is_forked(memline, path):
                self.counts["unknown_frees"] -= totals["unknown_frees"]
            for warning in process["warnings"]:
                if self.DAMAGE.search(warning):
                    self.problems.append(f"{path}: {warning}")
                elif not warning.startswith("source "):  # of a file that the test has removed since
                    self.warnings[re.sub(r"^\d+ ", "", warning)] += 1


def is_forked(memline, path):
    """Whether a trace is a forked child's, which frees what it has inherited from its parent."""
    with subprocess.Popen([memline, "dump", path], stdout=subprocess.PIPE) as dump:
        for line in dump.stdout:
            if not line.startswith((b"header", b"  ", b"meta")):
                break
            if line == b"meta fork = 1\n":
                dump.kill()
                return True
        dump.kill()
    return False


def read_traces(memline, folder):
    traces = Traces()
    for path in sorted(glob.glob(os.path.join(folder, "*.memline"))):
        traces.read(memline, path)
    return traces


def outcome_of(case):
    """One word for a testcase element of the report that regrtest writes (test/libregrtest/testresult.py)."""
    words = sorted({child.tag for child in case} & {"error", "failure", "skipped"})
    return " ".join(words) or case.get("result") or "completed"


def read_report(path, result):
    """Takes outcomes from the report. A test that failed in several subtests is there several times."""
    seen = collections.defaultdict(list)
    for case in xml.etree.ElementTree.parse(path).getroot().iter("testcase"):
        name = case.get("name", WHOLE)  # a test that never ended has none
        seen[name].append(outcome_of(case))
        said = "".join(child.text or "" for child in case if child.tag in ("error", "failure"))
        if said:
            result.details[name] = said.strip().splitlines()[-12:]
    result.outcomes = {name: ", ".join(sorted(outcomes)) for name, outcomes in seen.items()}


def run_to_end(command, environment, folder, log):
    """The exit status of a command; None if it outstayed its time. Its whole process group is gone afterwards."""
    child = subprocess.Popen(command, env=environment, cwd=folder, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                             start_new_session=True)
    try:
        return child.wait(MODULE_SECONDS)
    except subprocess.TimeoutExpired:
        return None
    finally:
        try:
            os.killpg(child.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        child.wait()


def environment_for(folder, library):
    environment = {name: value for name, value in os.environ.items()
                   if not name.startswith(("PYTHON", "MEMLINE_", "LD_PRELOAD", "MAKE", "MFLAGS"))}
    environment["TMPDIR"] = os.path.join(folder, "tmp")
    if library:
        environment.update(LD_PRELOAD=library, MEMLINE_DIR=os.path.join(folder, "traces"),
                           MEMLINE_MAX_BYTES=TRACE_BYTES)
    return environment


def run_module(python, module, library, options):
    """Runs a module once; under the preload if there is a library."""
    result = Result()
    folder = tempfile.mkdtemp(prefix="memline-cpython-", dir=options.scratch)
    report = os.path.join(folder, "report.xml")
    os.mkdir(os.path.join(folder, "tmp"))
    started = time.monotonic()
    command = [*python.command, "-m", "test", "--junit-xml", report]
    for ignored in IGNORED:
        command += ["--ignore", ignored]
    with open(os.path.join(folder, "log"), "w+", errors="replace") as log:
        status = run_to_end(command + [module], environment_for(folder, library), folder, log)
        result.seconds = time.monotonic() - started
        if os.path.exists(report):
            read_report(report, result)
        log.seek(0)
        result.details[WHOLE] = log.read().strip().splitlines()[-30:]
    result.outcomes[WHOLE] = "outstayed its time" if status is None else f"exit status {status}"
    if library:
        result.traces = read_traces(options.memline, os.path.join(folder, "traces"))
    if options.keep:
        print(f"{python} {module} {'preload' if library else 'bare'}: {folder}", flush=True)
    else:
        shutil.rmtree(folder, ignore_errors=True)
    return result


def different(bare, preloaded):
    """The tests with nothing in common between the outcomes in one list of results and those in the other.

    The status of a module follows from its tests: it counts where no test differs.
    """
    names = set().union(*(result.outcomes for result in bare + preloaded))

    def outcomes(results, name):
        return {result.outcomes.get(name, "did not run") for result in results}

    differ = sorted(name for name in names if not outcomes(bare, name) & outcomes(preloaded, name))
    unsteady = sorted(name for name in names if name not in differ and
                      len(outcomes(bare, name) | outcomes(preloaded, name)) > 1)
    return [name for name in differ if name != WHOLE or len(differ) == 1], unsteady


def compare_module(python, module, options):
    """Returns (bare results, preloaded results), of as many runs as were needed."""
    bare, preloaded = [], []
    for _ in range(TRIES):
        bare.append(run_module(python, module, None, options))
        preloaded.append(run_module(python, module, options.library, options))
        differ, _ = different(bare, preloaded)
        if all(options.exceptions.reason(python.version, name) for name in differ):
            break
    return bare, preloaded


def tests_of(python, wanted):
    """The modules of the interpreter's test package that are wanted, or [] where there is no such package."""
    try:
        found = subprocess.run([*python.command, "-c", "import test.regrtest; print(test.__path__[0])"], check=True,
                               stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    except subprocess.CalledProcessError:
        return []
    root = python.outside(found.stdout.decode().strip())
    names = {re.sub(r"\.py$", "", name) for name in os.listdir(root)}
    # regrtest runs the modules of these packages as tests of their own: the parts share no process.
    for package in ("test_multiprocessing_fork", "test_multiprocessing_spawn", "test_concurrent_futures"):
        inside = glob.glob(os.path.join(root, package, "test_*.py"))
        if inside:
            names.discard(package)
            names |= {f"test.{package}.{os.path.basename(path)[:-3]}" for path in inside}
    return [name for pattern in wanted for name in sorted(names)
            if fnmatch.fnmatchcase(re.sub(r"^test\.", "", name), pattern)]


class Tally:
    """Says what was found, and counts it."""

    def __init__(self, exceptions):
        self.exceptions = exceptions
        self.lock = threading.Lock()
        self.modules = self.tests = self.excepted = self.unsteady = self.failed = 0

    def add(self, python, module, bare, preloaded):
        with self.lock:
            self.modules += 1
            self.tests += len(bare[0].outcomes) - 1
            print(f"{python} {module}: {len(bare[0].outcomes) - 1} tests, {bare[0].outcomes[WHOLE]}, "
                  f"{bare[0].seconds:.1f} s bare, {preloaded[0].seconds:.1f} s under the preload, "
                  f"{preloaded[0].traces}")
            differ, unsteady = different(bare, preloaded)
            for name in differ:
                self.add_difference(python, name, bare[-1], preloaded[-1])
            for name in unsteady:
                self.add_unsteady(name, bare, preloaded)
            for warning, times in sorted(preloaded[-1].traces.warnings.items()):
                print(f"  warning of {times} traces: {warning}")
            for problem in {problem for each in preloaded for problem in each.traces.problems}:
                self.failed += 1
                print(f"  BAD TRACE {problem}")
            sys.stdout.flush()

    def add_unsteady(self, name, bare, preloaded):
        """Worth a look where a failure was seen under the preload alone: the next run may not show it."""
        self.unsteady += 1
        seen = [[each.outcomes.get(name, "did not run") for each in results] for results in (bare, preloaded)]
        print("  goes either way: {}: {} bare, {} under the preload".format(name, *map(", ".join, seen)))
        for outcome, result in zip(seen[1], preloaded):
            if outcome not in seen[0]:
                print("".join(f"    | {line}\n" for line in result.details.get(name, [])), end="")
                break

    def add_difference(self, python, name, bare, preloaded):
        reason = self.exceptions.reason(python.version, name)
        outcomes = "{} bare, {} under the preload".format(*(each.outcomes.get(name, "did not run")
                                                            for each in (bare, preloaded)))
        if reason:
            self.excepted += 1
            print(f"  as expected: {name}: {outcomes} ({reason})")
            return
        self.failed += 1
        print(f"  DIFFERS {name}: {outcomes}")
        for line in preloaded.details.get(name) or bare.details.get(name) or []:
            print(f"    | {line}")


def parse_options():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", default=os.path.join(PROJECT, "build"), help="where libmemline.so and memline are")
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="modules that are run at the same time")
    parser.add_argument("--keep", action="store_true", help="leave the folders of all runs, and name them")
    parser.add_argument("--scratch", help="where they are made: on a disk, traces are large")
    parser.add_argument("modules", nargs="*", metavar="MODULE", help="test modules or globs of them, for all that are "
                        "compared by default")
    options = parser.parse_args()
    options.library = os.path.join(os.path.abspath(options.build), "libmemline.so")
    options.memline = os.path.join(os.path.abspath(options.build), "memline")
    options.exceptions = Exceptions(EXCEPTIONS)
    for path in (options.library, options.memline):
        if not os.path.exists(path):
            parser.error(f"{path} isn't there: type make first")
    return options


def main():
    options = parse_options()
    # A shell starts background jobs with the signal ignored, and the tests would inherit that.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    tally = Tally(options.exceptions)
    work = []
    for python in interpreters.find():
        modules = tests_of(python, options.modules or MODULES)
        if not modules:
            print(f"{python} ({python.path}): nothing to run")
        work += [(python, module) for module in modules]

    def compare(task):
        tally.add(*task, *compare_module(*task, options))

    with concurrent.futures.ThreadPoolExecutor(options.jobs) as pool:
        for _ in pool.map(compare, work):
            pass
    print(f"{tally.modules} modules, {tally.tests} tests: {tally.failed} differ or left a bad trace, "
          f"{tally.excepted} differ as expected, {tally.unsteady} go either way")
    sys.exit(1 if tally.failed or not tally.tests else 0)


if __name__ == "__main__":
    main()
