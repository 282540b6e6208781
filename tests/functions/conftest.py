"""Gives tests a host, and workers: `served` is each worker with each programming model that it runs, `worker` each of
them once. Where one cannot be installed the test is skipped."""
import functools
import os
import sys

import pytest

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path += [HERE, os.path.join(os.path.dirname(HERE), "e2e")]

import interpreters  # noqa: E402
import workers  # noqa: E402
from page import serve_page  # noqa: E402


def pytest_generate_tests(metafunc):
    found = interpreters.few(interpreters.find())
    if "served" in metafunc.fixturenames:
        pairs = [(python, model) for python in found for model in workers.generation_of(python).models]
        metafunc.parametrize("served", pairs, ids=[f"{python}-{model}" for python, model in pairs], indirect=True)
    elif "worker" in metafunc.fixturenames:
        metafunc.parametrize("worker", found, ids=repr, indirect=True)


@functools.lru_cache(maxsize=None)
def install_once(python):
    """The worker, or the reason why there is none: pip may take long to find out."""
    try:
        return workers.install(python)
    except workers.NotInstalled as why:
        return why


def install(python):
    found = install_once(python)
    if isinstance(found, workers.NotInstalled):
        pytest.skip(f"the Functions worker cannot be installed: {found}")
    return found


@pytest.fixture
def worker(request):
    return install(request.param)


@pytest.fixture
def served(request):
    """(worker, programming model)"""
    python, model = request.param
    return install(python), model


@pytest.fixture(scope="session")
def host():
    try:
        sys.path.append(workers.install_host())
    except workers.NotInstalled as why:
        pytest.skip(f"the Functions host cannot be installed: {why}")
    from host import Host
    with Host() as started:
        yield started


@pytest.fixture(scope="session")
def page():
    """The address of a page."""
    with serve_page() as address:
        yield address
