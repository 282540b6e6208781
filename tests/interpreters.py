"""Finds every CPython on this machine that memline supports: pyenv's, the system's, and those in PATH.

PYTHONS="3.11 3.13.0" in the environment selects some of them. MEMLINE_CHROOT names a folder with another system in it
(tests/pythons/make_chroots.sh makes one): then its interpreters are used, and no others.
"""
import functools
import glob
import json
import os
import re
import subprocess

OLDEST = (3, 8)
NAME = re.compile(r"/python3(\.\d+)?$")

PROBE = """
import json, os, platform, sys, sysconfig
print(json.dumps({
    "path": os.path.realpath(getattr(sys, "_base_executable", None) or sys.executable),
    "implementation": platform.python_implementation(), "version": list(sys.version_info[:3]),
    "free_threaded": bool(sysconfig.get_config_var("Py_GIL_DISABLED"))}))
"""


class Interpreter:
    """A CPython. command is what starts it; prefix what goes before any program that is to run beside it."""

    def __init__(self, facts, chroot):
        self.path = facts["path"]
        self.version = tuple(facts["version"])
        self.free_threaded = facts["free_threaded"]
        self.chroot = chroot
        self.prefix = chroot_prefix(chroot)

    @property
    def command(self):
        return self.prefix + [self.path]

    def __repr__(self):
        return ".".join(map(str, self.version)) + ("t" if self.free_threaded else "")


def chroot_prefix(chroot):
    """The words that run what follows in a chroot which sees this project and /tmp where they are outside."""
    if not chroot:
        return []
    return [os.path.join(os.path.dirname(os.path.abspath(__file__)), "pythons", "enter_chroot.sh"), chroot]


def probe(path, chroot):
    try:
        done = subprocess.run(chroot_prefix(chroot) + [path, "-I", "-c", PROBE], stdout=subprocess.PIPE,
                              stderr=subprocess.DEVNULL, stdin=subprocess.DEVNULL, timeout=60)
        return json.loads(done.stdout)
    except (OSError, ValueError, subprocess.TimeoutExpired):
        return None


def candidates(chroot):
    if chroot:
        inside = glob.glob(os.path.join(chroot, "usr/bin/python3.*"))
        return ["/" + os.path.relpath(path, chroot) for path in inside if NAME.search(path)]
    pyenv = os.environ.get("PYENV_ROOT") or os.path.expanduser("~/.pyenv")
    folders = [folder for folder in os.environ.get("PATH", "").split(":") if folder and not folder.endswith("/shims")]
    paths = glob.glob(os.path.join(pyenv, "versions/*/bin/python3"))
    for folder in ["/usr/bin"] + folders:
        paths += [path for path in glob.glob(os.path.join(folder, "python3*")) if NAME.search(path)]
    return sorted(set(map(os.path.realpath, paths)))


def selected(interpreter):
    wanted = os.environ.get("PYTHONS", "").split()
    name = repr(interpreter)
    return not wanted or any(name == each or name.startswith(each + ".") for each in wanted)


@functools.lru_cache(maxsize=None)
def find():
    """Every interpreter, oldest first, each once."""
    chroot = os.environ.get("MEMLINE_CHROOT", "")
    found = {}
    for path in candidates(chroot):
        facts = probe(path, chroot)
        if facts and facts["implementation"] == "CPython" and tuple(facts["version"]) >= OLDEST:
            found[facts["path"]] = Interpreter(facts, chroot)
    return sorted(filter(selected, found.values()), key=lambda each: (each.version, each.path))
