"""Real Functions workers, by interpreter, and where they come from: PyPI, by the interpreter's own pip.

CPython 3.8 to 3.12 get the last worker that is published there; 3.8 as it was published, later ones with a grpcio that
they can load. From 3.13 on the published runtime does the work, behind proxy_worker.py. MEMLINE_FUNCTIONS_WORKER names
a folder with another one, such as Core Tools have in workers/python/3.11/LINUX/X64; choose its Python with PYTHONS.
"""
import contextlib
import fcntl
import os
import re
import shutil
import subprocess
import sys
import types

from interpreters import BUILD

HERE = os.path.dirname(os.path.abspath(__file__))
FOLDER = os.path.join(BUILD, "functions")
INSTALL_SECONDS = 300

# Packages that the apps need, whatever runs them: see their requirements.txt.
APP_PACKAGES = ["aiohttp", "requests"]

PUBLISHED = ["azure-functions-worker==1.1.9", "azure-functions==1.7.2", "protobuf==3.20.3", "six"]


class Generation:
    """A kind of worker. packages: words for pip. indexes: it is asked which functions an app has. models: the
    programming models that it can run. modern: it takes the arguments --functions-*."""

    def __init__(self, name, packages, models=("v1",), indexes=False, modern=False):
        self.name = name
        self.packages = packages
        self.models = models
        self.indexes = indexes
        self.modern = modern


GENERATIONS = {
    "worker": Generation("1.1.9 as it was published", ["--no-deps", "grpcio==1.33.2"] + PUBLISHED),
    "later": Generation("1.1.9 with a later grpcio", ["--no-deps", "grpcio", "typing_extensions"] + PUBLISHED),
    "runtime": Generation("the runtime of 3.13", ["azure-functions-runtime==1.3.0", "azure-functions-runtime-v1==1.2.0",
                                                  "grpcio", "protobuf", "uvloop"], ("v1", "v2"), True, True),
    "given": Generation("in MEMLINE_FUNCTIONS_WORKER", [], ("v1", "v2"), True, True),
}


class NotInstalled(Exception):
    """Why a worker cannot be had."""


def generation_of(python):
    given = os.environ.get("MEMLINE_FUNCTIONS_WORKER")
    if given:
        return GENERATIONS["given"]
    if python.version >= (3, 13):
        return GENERATIONS["runtime"]
    return GENERATIONS["worker" if python.version < (3, 9) else "later"]


def pip_install(python, packages, folder):
    command = [python.path, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--retries", "1",
               "--only-binary", ":all:", "--target", folder, *packages]
    try:
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL,
                              timeout=INSTALL_SECONDS)
    except subprocess.TimeoutExpired:
        raise NotInstalled("pip takes too long") from None
    if done.returncode:
        shutil.rmtree(folder, ignore_errors=True)
        errors = re.findall(r"^.*(?:ERROR: |No module named ).*$", done.stdout.decode(errors="replace"), re.M)
        raise NotInstalled(errors[0] if errors else f"pip ended with status {done.returncode}")


class Worker:
    """A worker that is there: script starts it; app_packages is a folder with what the apps import."""

    def __init__(self, python, generation, script, app_packages):
        self.python = python
        self.generation = generation
        self.script = script
        self.app_packages = app_packages


@contextlib.contextmanager
def locked(home):
    """One at a time: tests may run in several processes."""
    os.makedirs(home, exist_ok=True)
    with open(os.path.join(home, "lock"), "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def fill(python, folder, packages):
    """Installs packages into a folder, unless they are there."""
    note = folder + ".installed"
    words = " ".join(packages)
    if os.path.exists(note):
        with open(note, encoding="utf-8") as text:
            if text.read() == words:
                return
    shutil.rmtree(folder, ignore_errors=True)
    if packages:
        pip_install(python, packages, folder)
    with open(note, "w", encoding="utf-8") as text:
        text.write(words)


def install_host():
    """The folder with what host.py imports, for the Python that runs this."""
    python = types.SimpleNamespace(path=sys.executable)
    home = os.path.join(FOLDER, "host-{}.{}".format(*sys.version_info))
    with locked(home):
        fill(python, os.path.join(home, "packages"), ["grpcio"])
    return os.path.join(home, "packages")


def place_scripts(folder):
    for name in "worker.py", "proxy_worker.py":
        beside = os.path.join(folder, f".{name}")
        shutil.copy(os.path.join(HERE, name), beside)
        os.replace(beside, os.path.join(folder, name))


def install(python):
    """The worker for an interpreter. Raises NotInstalled."""
    if python.chroot:
        raise NotInstalled("it is not installed into chroots")
    generation = generation_of(python)
    given = os.environ.get("MEMLINE_FUNCTIONS_WORKER")
    home = os.path.join(FOLDER, repr(python) + python.path.replace("/", "_"))
    folder = given or os.path.join(home, "worker")
    with locked(home):
        fill(python, os.path.join(home, "packages"), APP_PACKAGES)
        if not given:
            fill(python, folder, generation.packages)
            place_scripts(folder)
    return Worker(python, generation, os.path.join(folder, "worker.py"), os.path.join(home, "packages"))
