"""The walk in process, under every interpreter: what walker.so finds inside malloc is what the interpreter says."""
import os
import re
import signal
import subprocess
import sys

import pytest

HERE = os.path.dirname(os.path.abspath(__file__))
PROJECT = os.path.dirname(os.path.dirname(HERE))
SOURCES = ["tests/pythons/walker.c"] + ["symbolize/python/%s.c" % name for name in ("abi", "walk", "code")]

# Modules of CPython's own test suite in which frames come, go and end in unusual ways.
TORTURES = ["test_generators", "test_coroutines", "test_asyncgen", "test_gc", "test_exceptions", "test_sys_settrace",
            "test_threading"]


@pytest.fixture(scope="session")
def walker(tmp_path_factory):
    """python -> the preloaded walker, in a folder that a chroot sees too. The compiler of the system is taken, if it
    has one: its C library may be older than ours."""
    found = {}

    def get(python):
        if python.chroot not in found:
            built = str(tmp_path_factory.mktemp("walker") / "walker.so")
            subprocess.run([*(python.prefix if python.which("gcc") else []), "gcc", "-std=c11", "-D_GNU_SOURCE", "-O2",
                            "-g", "-fPIC", "-shared", "-fvisibility=hidden", "-fno-builtin", "-I.", "-o", built,
                            *SOURCES, "-ldl", "-lpthread"], cwd=PROJECT, check=True)
            found[python.chroot] = built
        return found[python.chroot]

    return get


def heed_interrupts():
    """A shell starts what runs in the background with SIGINT ignored; CPython's own tests send it to themselves."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


def run(python, walker, arguments, seconds=300, **environment):
    """Runs the interpreter under the walker; returns its output, and fails where it does not exit with 0."""
    variables = dict(environment, LD_PRELOAD=walker(python))
    command = python.prefix + ["env"] + ["%s=%s" % each for each in variables.items()] + [python.path] + arguments
    child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL,
                             cwd=PROJECT, start_new_session=True, preexec_fn=heed_interrupts)
    try:
        output = child.communicate(timeout=seconds)[0].decode(errors="replace")
    finally:
        if child.poll() is None:
            os.killpg(child.pid, signal.SIGKILL)
    assert child.returncode == 0, output[-3000:]
    return output


def case_names():
    """The cases of walk_cases.py, and those that are reported while the interpreter ends."""
    with open(os.path.join(HERE, "walk_cases.py")) as file:
        return re.findall(r"^@case\ndef (\w+)", file.read(), re.M) + ["at_exit", "finalizing", "daemon_thread"]


@pytest.fixture(scope="session")
def outcomes(walker):
    """python -> {case: what it printed}; each interpreter runs all cases once."""
    found = {}

    def get(python):
        if python.path not in found:
            output = run(python, walker, ["-Wignore", "tests/pythons/walk_cases.py"])
            found[python.path] = {re.split("[ :]", line)[1]: line for line in output.splitlines()
                                  if line.startswith(("ok ", "FAILED "))}
        return found[python.path]

    return get


@pytest.mark.parametrize("name", case_names())
def test_case(python, outcomes, name):
    assert outcomes(python).get(name) == "ok " + name


@pytest.fixture(scope="session")
def greenlets(tmp_path_factory):
    """python -> a folder with greenlet for it. pip of this interpreter fetches it, so that the other needs none."""
    found = {}

    def get(python):
        version = "%d.%d" % python.version[:2]
        if version not in found:
            folder = str(tmp_path_factory.mktemp("greenlet") / version)
            done = subprocess.run([sys.executable, "-m", "pip", "install", "-q", "--target", folder, "--python-version",
                                   version, "--only-binary=:all:", "greenlet"],
                                  stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=300)
            found[version] = folder if done.returncode == 0 else None
        if not found[version]:
            pytest.skip("pip found no greenlet for this Python")
        return found[version]

    return get


def test_greenlet(python, walker, greenlets):
    """Every event of 100,000 switches between greenlets on unlike stacks is walked, those in mid-switch too."""
    output = run(python, walker, ["tests/pythons/greenlet_cases.py", greenlets(python), "100000"], WALKER="every")
    words = output.split()
    found = dict(zip(words[::2], map(int, words[1::2])))
    assert found["switches"] >= 100000
    assert found["walks"] > 3000000
    assert found["careful"] == 1
    assert found["bad"] == 0
    # Without a frame are the events before the first one runs, and no others of note.
    assert found["empty"] < 0.02 * found["walks"]
    assert found["frames"] > 10 * found["walks"]


TORTURE = """
import ctypes, os, sys, unittest, warnings
warnings.simplefilter("ignore")
suite = unittest.defaultTestLoader.loadTestsFromName("test." + sys.argv[1])
unittest.TextTestRunner(stream=open(os.devnull, "w"), verbosity=0).run(suite)
walker = ctypes.PyDLL(None)
print("walks", walker.walker_walks(), "bad", walker.walker_bad(), flush=True)
os._exit(0)
"""


@pytest.mark.parametrize("module", TORTURES)
def test_torture(python, walker, module, tmp_path):
    """CPython's own tests with a walk at every event: no bad frame, no crash. What they say themselves is not asked."""
    found = subprocess.run(python.command + ["-c", "import test.%s" % module], stdout=subprocess.PIPE,
                           stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL)
    if found.returncode:
        pytest.skip("this Python comes without CPython's own tests")
    output = run(python, walker, ["-c", TORTURE, module], seconds=600, WALKER="every", PYTHONFAULTHANDLER="1")
    walks, bad = map(int, re.search(r"^walks (\d+) bad (\d+)$", output, re.M).groups())
    assert walks > 10000
    assert bad == 0


def test_table_and_headers(python):
    """The rows of abi.c say what this interpreter's own headers say."""
    prefix = os.path.dirname(os.path.dirname(python.path))
    include = python.outside(os.path.join(prefix, "include", "python%d.%d" % python.version[:2]))
    if not os.path.isdir(os.path.join(include, "internal")):
        pytest.skip("this Python comes without its internal headers")
    done = subprocess.run([os.path.join(HERE, "check_abi.sh"), include], stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT)
    assert done.returncode == 0, done.stdout.decode()
