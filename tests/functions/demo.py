"""demo.py FOLDER: runs the howto's app under the real Functions worker, preloaded, and ends it as the host does.

The app is in FOLDER/wwwroot, the trace in FOLDER/traces.

Exit status 77: the worker cannot be installed; the last line says why.
"""
import os
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path += [os.path.dirname(HERE), os.path.join(os.path.dirname(HERE), "e2e")]

import interpreters  # noqa: E402
import workers  # noqa: E402
from apps import HOWTO, App, start  # noqa: E402
from page import PAGE_BYTES, serve_page  # noqa: E402

TIMES = 3
SKIPPED = 77


def install():
    """The worker for the Python that runs this."""
    python = interpreters.Interpreter(interpreters.probe(sys.executable, ""), "")
    if not python.supported:
        raise workers.NotInstalled(f"there is none for {python!r}")
    sys.path.append(workers.install_host())
    return workers.install(python)


def main(home):
    try:
        worker = install()
    except workers.NotInstalled as why:
        print(why)
        return SKIPPED
    from host import Host
    app = App("howto", worker, home=home)
    print(f"""
The real Azure Functions worker ({worker.generation.name}) on Python {worker.python!r}, started as the
host starts it, with LD_PRELOAD=build/libmemline.so, loads an app of two functions that fetch a page
of {PAGE_BYTES:,} bytes. Each is invoked {TIMES} times, then the host ends the worker by SIGKILL.
""", flush=True)
    with serve_page() as page, Host() as host:
        started = start(host, worker, app, env={"PAGE": page})
        for name in HOWTO * TIMES:
            print(f"{name}: {started.invoke(name).body.decode()}")
        started.kill()
    return 0


if __name__ == "__main__":
    sys.exit(main(os.path.abspath(sys.argv[1])))
