"""Gives tests a host, and workers: `served` is each worker with each programming model that it runs, `worker` each of
them once. Where one cannot be installed the test is skipped."""
import http.server
import os
import sys
import threading

import pytest

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path += [HERE, os.path.join(os.path.dirname(HERE), "e2e")]

import apps  # noqa: E402
import interpreters  # noqa: E402
import workers  # noqa: E402


def pytest_generate_tests(metafunc):
    found = interpreters.few(interpreters.find())
    if "served" in metafunc.fixturenames:
        pairs = [(python, model) for python in found for model in workers.generation_of(python).models]
        metafunc.parametrize("served", pairs, ids=[f"{python}-{model}" for python, model in pairs], indirect=True)
    elif "worker" in metafunc.fixturenames:
        metafunc.parametrize("worker", found, ids=repr, indirect=True)


def install(python):
    try:
        return workers.install(python)
    except workers.NotInstalled as why:
        return pytest.skip(f"the Functions worker cannot be installed: {why}")


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


class Page(http.server.BaseHTTPRequestHandler):
    """Any path is a page of so many bytes."""

    protocol_version = "HTTP/1.1"

    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Type", "text/html; charset=utf-8")
        self.send_header("Content-Length", str(apps.PAGE_BYTES))
        self.end_headers()
        self.wfile.write(b"x" * apps.PAGE_BYTES)

    def log_message(self, *_):
        pass


@pytest.fixture(scope="session")
def page():
    """The address of a page."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Page)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/"
    server.shutdown()
    server.server_close()
