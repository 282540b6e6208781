"""Finds every CPython on this machine that memline supports: pyenv's, the system's, and those in PATH.

PYTHONS="3.11 3.13.0" in the environment selects some of them. MEMLINE_CHROOT names folders with other systems in them,
with a colon between two (tests/pythons/make_chroots.sh makes them): then their interpreters are used, and no others.
"""
import functools
import glob
import json
import os
import re
import shutil
import subprocess

OLDEST = (3, 8)

# The ways in which CPython keeps its frames: as objects, as structs found by way of the C stack, as structs of the
# thread.
FEW = ((3, 8), (3, 11), (3, 13))
NAME = re.compile(r"/(python3(\.\d+t?)?|pypy3|graalpy)$")

HERE = os.path.dirname(os.path.abspath(__file__))

BUILD = os.path.join(os.path.dirname(HERE), os.environ.get("BUILD", "build"))

# Where tests/pythons/make_free_threaded.sh puts its work.
MADE = os.path.join(BUILD, "pythons")

PROBE = """
import json, os, platform, sys, sysconfig
print(json.dumps({
    "path": os.path.realpath(getattr(sys, "_base_executable", None) or sys.executable),
    "implementation": platform.python_implementation(), "version": list(sys.version_info[:3]),
    "free_threaded": bool(sysconfig.get_config_var("Py_GIL_DISABLED"))}))
"""


class Interpreter:
    """A Python. command is what starts it; prefix what goes before any program that is to run beside it."""

    def __init__(self, facts, chroot):
        self.path = facts["path"]
        self.version = tuple(facts["version"])
        self.implementation = facts["implementation"]
        self.free_threaded = facts["free_threaded"]
        self.chroot = chroot
        self.prefix = chroot_prefix(chroot)

    @property
    def command(self):
        return self.prefix + [self.path]

    @property
    def supported(self):
        return self.implementation == "CPython" and not self.free_threaded

    def outside(self, path):
        """Where a file of this interpreter's system is for us."""
        return self.chroot + path

    def built(self, word):
        """The word; but where it is an object or a program of the tests that was also built for the C library of this
        interpreter's system, that one's path."""
        beside = self.chroot + ".tests" + word[len(BUILD):]
        return beside if self.chroot and word.startswith(BUILD + "/tests/") and os.path.exists(beside) else word

    def which(self, command):
        """The path of a command of this interpreter's system, None if it has none of that name."""
        if not self.chroot:
            return shutil.which(command)
        paths = [folder + command for folder in ("/usr/local/bin/", "/usr/bin/", "/bin/", "/usr/sbin/", "/sbin/")]
        return next((path for path in paths if os.path.lexists(self.outside(path))), None)

    def __repr__(self):
        version = ".".join(map(str, self.version)) + ("t" if self.free_threaded else "")
        return version if self.implementation == "CPython" else f"{self.implementation}-{version}"


def chroot_prefix(chroot):
    """The words that run what follows in a chroot which sees this project and /tmp where they are outside."""
    return [os.path.join(HERE, "pythons", "enter_chroot.sh"), chroot] if chroot else []


def chroots():
    folders = [os.path.abspath(each) for each in os.environ.get("MEMLINE_CHROOT", "").split(":") if each]
    for folder in folders:
        if not os.path.exists(os.path.join(folder, "bin/sh")):
            raise FileNotFoundError(f"MEMLINE_CHROOT: no system is in {folder}")
    return folders


def probe(path, chroot):
    try:
        done = subprocess.run(chroot_prefix(chroot) + [path, "-I", "-c", PROBE], stdout=subprocess.PIPE,
                              stderr=subprocess.DEVNULL, stdin=subprocess.DEVNULL, timeout=60)
        return json.loads(done.stdout)
    except (OSError, ValueError, subprocess.TimeoutExpired):
        return None


def candidates(chroot):
    """Paths, as they are in the chroot."""
    if chroot:
        inside = ["/" + os.path.relpath(path, chroot) for path in glob.glob(os.path.join(chroot, "usr/bin/*py*"))]
        return [path for path in inside if NAME.search(path)]
    pyenv = os.environ.get("PYENV_ROOT") or os.path.expanduser("~/.pyenv")
    folders = [folder for folder in os.environ.get("PATH", "").split(":") if folder and not folder.endswith("/shims")]
    paths = glob.glob(os.path.join(pyenv, "versions/*/bin/*py*"))
    for folder in ["/usr/bin"] + folders:
        paths += glob.glob(os.path.join(folder, "*py*"))
    return sorted({os.path.realpath(path) for path in paths if NAME.search(path)})


def selected(interpreter):
    wanted = os.environ.get("PYTHONS", "").split()
    name = repr(interpreter)
    return not wanted or any(name == each or name.startswith(each + ".") for each in wanted)


@functools.lru_cache(maxsize=None)
def find_all():
    """Every Python, supported or not, oldest first, each once."""
    found = {}
    where = [(path, chroot) for chroot in chroots() or [""] for path in candidates(chroot)]
    where += [(path, "") for path in glob.glob(os.path.join(MADE, "*/bin/python3"))]
    for path, chroot in where:
        facts = probe(path, chroot)
        if facts and tuple(facts["version"]) >= OLDEST:
            found[chroot, facts["path"]] = Interpreter(facts, chroot)
    return sorted(found.values(), key=lambda each: (each.version, each.chroot, each.path))


def find():
    """The CPythons that memline supports and PYTHONS selects."""
    return [each for each in find_all() if each.supported and selected(each)]


def few(found):
    """One of each kind."""
    kinds = {each.version[:2]: each for each in found}
    return [kinds[kind] for kind in FEW if kind in kinds] or found[-1:]


def find_others():
    """Pythons that memline has to leave alone: free-threaded builds, PyPy, GraalPy."""
    return [each for each in find_all() if not each.supported]
