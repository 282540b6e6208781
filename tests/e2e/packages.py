"""Packages from PyPI for the interpreters that tests record."""
import fcntl
import os
import subprocess
import sys

import pytest
from interpreters import BUILD

FOLDER = os.path.join(BUILD, "python-packages")


def install(python, name, folder):
    """Whether the package could be had, by this interpreter's pip: the other may have none.

    One at a time: tests may run in several processes.
    """
    os.makedirs(FOLDER, exist_ok=True)
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-cache-dir", "--only-binary", ":all:",
               "--python-version", "{}.{}".format(*python.version), "--target", folder, name]
    with open(os.path.join(FOLDER, "lock"), "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if os.path.isdir(os.path.join(folder, name)):
            return True
        try:
            subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=100, check=True)
        except (subprocess.CalledProcessError, subprocess.TimeoutExpired):
            return False
    return True


@pytest.fixture(scope="session")
def packages():
    """Gives the folder that a package for an interpreter is in."""
    missing = set()

    def find(python, name):
        folder = os.path.join(FOLDER, f"{python}-{name}", "site-packages")
        if name in missing or not install(python, name, folder):
            missing.add(name)
            pytest.skip(f"{name} cannot be installed")
        return folder
    return find


def in_folder(folder, text):
    return f"import sys\nsys.path.insert(0, {folder!r})\n" + text
