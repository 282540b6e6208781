"""Gives every test that asks for `python` each interpreter in turn, or, if it is marked `few`, a few of them, or, if it
is marked `since(3, 12)`, those of that version and later."""
import os
import signal
import tempfile

import interpreters
import pytest

# What memline finds out about native functions is kept for one run of the tests, not for the user.
CACHE = tempfile.TemporaryDirectory(prefix="memline-cache-")


def pytest_configure(config):
    os.environ["XDG_CACHE_HOME"] = CACHE.name
    # A job in a shell's background ignores SIGINT, and so would all programs that it starts.
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    config.addinivalue_line("markers", "few: runs under an interpreter of each kind, not under all")
    config.addinivalue_line("markers", "since(major, minor): runs under interpreters that are not older")


def since(found, oldest):
    none = pytest.param(None, marks=pytest.mark.skip(reason="no CPython that is new enough is here"))
    return [each for each in found if each.version >= oldest] or [none]


def pytest_generate_tests(metafunc):
    if "python" in metafunc.fixturenames:
        found = interpreters.find()
        if metafunc.definition.get_closest_marker("since"):
            found = since(found, metafunc.definition.get_closest_marker("since").args)
        if metafunc.definition.get_closest_marker("few"):
            found = interpreters.few(found)
        metafunc.parametrize("python", found, ids=repr, scope="session")
