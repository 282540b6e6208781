"""measure.py [VERSION ...]: what the preload adds to a worker's start and to an invocation; medians, in milliseconds.

Bare and recorded workers take turns. A start ends when every function is loaded; an invocation when its answer is
there. Run from this project's folder after make; it wants the machine for itself.
"""
import os
import statistics
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path += [os.path.dirname(HERE), os.path.join(os.path.dirname(HERE), "e2e")]

import interpreters  # noqa: E402
import workers  # noqa: E402
from apps import HOWTO, App, start  # noqa: E402
from page import serve_page  # noqa: E402

ROUNDS = 5
INVOCATIONS = 40  # of each function in each round
WARM_UP = 5

# (app, function): the howto's, and one that does next to nothing.
INVOKED = [("howto", name) for name in HOWTO] + [("trivial", "Trivial")]


def timed(function, *arguments, **more):
    begun = time.perf_counter()
    result = function(*arguments, **more)
    return (time.perf_counter() - begun) * 1000, result


def measure_worker(host, worker, model, page, recorded, times):
    """Adds to times, lists by (what, recorded)."""
    for name in {app for app, _ in INVOKED}:
        app = App(name, worker, model)
        took, started = timed(start, host, worker, app, recorded, env={"PAGE": page})
        times.setdefault((f"start of {name}", recorded), []).append(took)
        for function in [function for its_app, function in INVOKED if its_app == name]:
            taken = [timed(started.invoke, function)[0] for _ in range(WARM_UP + INVOCATIONS)]
            times.setdefault((function, recorded), []).extend(taken[WARM_UP:])
        started.kill()


def show(worker, model, times):
    print(f"\nPython {worker.python!r}, worker {worker.generation.name}, model {model}")
    print(f"{'':24}{'bare':>10}{'recorded':>10}{'added':>10}")
    for what in sorted({what for what, _ in times}):
        bare, recorded = (statistics.median(times[what, kind]) for kind in (False, True))
        print(f"{what:24}{bare:10.2f}{recorded:10.2f}{recorded - bare:10.2f}", flush=True)


def main(versions):
    sys.path.append(workers.install_host())
    from host import Host
    found = [each for each in interpreters.few(interpreters.find()) if not versions or
             any(repr(each).startswith(version) for version in versions)]
    with serve_page() as page, Host() as host:
        for python in found:
            worker = workers.install(python)
            model = worker.generation.models[-1]
            times = {}
            for _ in range(ROUNDS):
                for recorded in False, True:
                    measure_worker(host, worker, model, page, recorded, times)
            show(worker, model, times)


if __name__ == "__main__":
    main(sys.argv[1:])
