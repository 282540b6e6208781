"""Gives every test that asks for `python` each interpreter in turn."""
import os

import interpreters
import pytest

PROJECT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


def pytest_configure(config):
    build = os.path.join(PROJECT, os.environ.get("BUILD", "build"))
    for name in ("libmemline.so", "memline"):
        if not os.path.exists(os.path.join(build, name)):
            pytest.exit(f"{build}/{name} is not there: type make", returncode=2)


def pytest_generate_tests(metafunc):
    if "python" in metafunc.fixturenames:
        found = [each for each in interpreters.find() if not each.free_threaded]
        metafunc.parametrize("python", found, ids=repr, scope="session")
