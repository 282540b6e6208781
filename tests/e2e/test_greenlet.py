"""greenlet and gevent: they swap the stack under a running interpreter, and free memory while they are at it."""
import pytest
from bare import run_both
from packages import in_folder, packages  # noqa: F401 (a fixture)
from support import BYTES

SWITCHES = """
import greenlet
keep = {}
def work(name, other):
    total = 0
    for n in range(50_000):
        keep[name] = bytes(100 + n % 50)  # made
        total += len(keep[name]) + deeper(n % 20)
        other().switch()
    keep[name] = total
def deeper(n):
    return deeper(n - 1) + len(bytearray(100)) if n else 0  # deeper
first = greenlet.greenlet(lambda: work("first", lambda: second))
second = greenlet.greenlet(lambda: work("second", lambda: first))
first.switch()
print(keep)
"""


def test_a_hundred_thousand_switches(python, packages):
    run = run_both(python, in_folder(packages(python, "greenlet"), SWITCHES))
    process = run.process()
    made = sum(100 + n % 50 + BYTES for n in range(50_000))
    row = process.rows["made"]
    assert process.totals["dropped_events"] == process.totals["unknown_frees"] == process.totals["missed_frees"] == 0
    # A walk that was cut short in mid-switch has lost its line: the bulk has not.
    assert row.allocations >= 2 * 50_000
    assert 2 * made - 200 <= row.allocated <= 2 * made + 400_000
    assert row.live <= 1000
    assert process.rows["deeper"].allocations >= 2 * sum(n % 20 for n in range(50_000))


@pytest.mark.few
def test_greenlets_that_come_and_go(python, packages):
    run = run_both(python, in_folder(packages(python, "greenlet"), """
import gc, greenlet, threading
def work(parent):
    here = [bytes(500) for _ in range(5)]  # made
    parent.switch(len(here))
    raise ValueError(len(here))
def many(count):
    total = 0
    for n in range(count):
        child = greenlet.greenlet(work)
        total += child.switch(greenlet.getcurrent())
        if n % 3 == 0:
            try:
                child.switch()
            except ValueError as error:
                total += error.args[0]
        elif n % 3 == 1:
            try:
                child.throw(KeyError)
            except KeyError:
                pass
        del child
    results.append(total)
results = []
threads = [threading.Thread(target=many, args=(2000,)) for _ in range(3)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
gc.collect()
print(results)
"""))
    process = run.process()
    assert process.totals["dropped_events"] == process.totals["unknown_frees"] == process.totals["missed_frees"] == 0
    assert process.rows["made"].allocated >= 3 * 2000 * 5 * (500 + BYTES)


@pytest.mark.few
def test_gevent(python, packages):
    run = run_both(python, in_folder(packages(python, "gevent"), """
import gevent, gevent.pool, gevent.queue
from gevent import monkey
monkey.patch_all()
import socket, threading, time
def serve(listener, count):
    for _ in range(count):
        peer, _ = listener.accept()
        gevent.spawn(answer, peer)
def answer(peer):
    with peer:
        text = b""
        while not text.endswith(b"."):
            text += peer.recv(1000)
        peer.sendall(text.upper())
def ask(n):
    with socket.create_connection(address) as peer:
        peer.sendall(b"hello %d." % n)
        answers[n] = peer.recv(1000) + bytes(2000)  # asked
        time.sleep(0.001)
listener = socket.create_server(("127.0.0.1", 0))
address = listener.getsockname()
answers = {}
server = gevent.spawn(serve, listener, 300)
gevent.pool.Pool(20).map(ask, range(300))
server.join()
print(sorted(answer.rstrip(bytes(1)) for answer in answers.values()))
"""))
    process = run.process()
    assert process.totals["dropped_events"] == process.totals["unknown_frees"] == 0
    assert process.rows["asked"].allocated >= 300 * (2000 + BYTES)
