"""memline ctl: pauses and resumes a process that is being recorded, and names moments."""
import json
import os
import signal
import subprocess

import pytest
from support import BYTES, MEMLINE, memline, start

# A process looks whether it is to pause at every 64th event of a thread.
SLACK = 64

SIZE = 1000

PROGRAM = f"""
import sys, time
kept = []
def work(count, keep):
    for _ in range(count):
        if keep:
            kept.append(bytes({SIZE}))  # kept
        else:
            kept.pop()  # dropped
        None
print("ready", flush=True)
for line in sys.stdin:
    time.sleep(0.02)  # so that marks and events are told apart: clocks are read to 4 ms
    for _ in range(200):
        str(time)  # noticed
    count, keep = line.split()
    work(int(count), keep == "keep")
    time.sleep(0.02)
    for _ in range(200):
        str(time)
    print("done", flush=True)
"""


class Session:
    """A program that works when it is told to."""

    def __init__(self, python):
        self.child, self.run = start(python, PROGRAM, sound=False)
        self.child.stdout.readline()

    def work(self, count, what="keep"):
        self.child.stdin.write(f"{count} {what}\n".encode())
        self.child.stdin.flush()
        assert self.child.stdout.readline() == b"done\n"

    def ctl(self, *words, status=0):
        return memline("ctl", self.child.pid, *words, status=status, MEMLINE_DIR=self.run.folder)

    def end(self):
        self.child.stdin.close()
        self.run.finish(self.child)
        return self.run


def test_marks_are_moments(python):
    session = Session(python)
    session.work(1000)
    session.ctl("mark", "one")
    session.work(2000)
    session.ctl("mark", "two")
    session.work(4000)
    run = session.end()
    for options, count in ([], 7000), (["--from", "one"], 6000), (["--to", "two"], 3000), (
            ["--from", "one", "--to", "two"], 2000), (["--from=two"], 4000):
        assert run.process(*options).rows["kept"].allocations >= count
        assert run.process(*options).rows["kept"].allocations < count + SLACK
    memline("report", "--from", "three", run.folder, status=1)
    memline("report", "--from", "two", "--to", "one", run.folder, status=1)
    assert " control mark" not in memline("dump", "--defs", run.folder)
    assert "control mark at" in memline("dump", "--defs", run.folder)
    run.sound = True
    run.check()


def test_pause_and_resume(python):
    session = Session(python)
    session.work(1000)
    session.ctl("pause")
    session.ctl("pause")
    session.work(5000)
    session.work(3000, "drop")
    session.ctl("resume")
    session.work(2000)
    process = session.end().process()
    kept, pauses = process.rows["kept"], [each for each in process.warnings if "paused" in each]
    # The list has a block too, and left others while nobody looked.
    assert 3000 - SLACK <= kept.live_blocks < 3000 + 10
    assert kept.live >= (3000 - SLACK) * (SIZE + BYTES)
    assert process.rows["dropped"].increment == 0
    assert process.totals["dropped_events"] == 0
    assert len(pauses) == 1 and pauses[0].startswith("recording was paused from ")


def test_killed_while_it_is_paused(python):
    session = Session(python)
    session.work(1000)
    session.ctl("pause")
    session.work(1000)
    session.child.send_signal(signal.SIGKILL)
    session.child.stdin.close()
    process = session.run.finish(session.child, -signal.SIGKILL).process()
    assert process.data["end"] == "killed"
    assert process.rows["kept"].live_blocks == 1001
    assert any(" s on: " in each for each in process.warnings)


@pytest.mark.few
def test_all_threads_pause(python):
    child, run = start(python, """
        import sys, threading
        stop = False
        def work():
            while not stop:
                bytes(1000)  # made
        threads = [threading.Thread(target=work) for _ in range(4)]
        for each in threads:
            each.start()
        print("ready", flush=True)
        sys.stdin.readline()
        stop = True
        for each in threads:
            each.join()
    """, sound=False)
    child.stdout.readline()
    memline("ctl", run.folder, "pause")
    before = size = None
    while before is None or size != before:  # every thread has found out
        before = size
        child.send_signal(0)
        size = json.loads(memline("report", "--json", run.folder))["processes"][0]["totals"]["allocations"]
    memline("ctl", run.folder, "resume")
    while json.loads(memline("report", "--json", run.folder))["processes"][0]["totals"]["allocations"] == size:
        pass
    child.stdin.write(b"\n")
    child.stdin.close()
    run.finish(child)
    assert run.process().totals["dropped_events"] == 0


@pytest.mark.few
def test_a_forked_child_is_asked_for_itself(python):
    """The parent is paused; its child is a process of its own, which records."""
    child, run = start(python, """
        import os, sys, time
        print("ready", flush=True)
        sys.stdin.readline()
        for _ in range(1000):
            str(time)
        if not os.fork():
            kept = [bytes(1000) for _ in range(100)]  # child
            os._exit(0)
        os.wait()
    """, sound=False)
    child.stdout.readline()
    memline("ctl", child.pid, "pause", MEMLINE_DIR=run.folder)
    child.stdin.write(b"\n")
    child.stdin.close()
    run.finish(child)
    parent, forked = sorted(run.report(), key=lambda each: each.data["pid"] != child.pid)
    assert parent.rows["child"].allocations == 0
    assert forked.rows["child"].allocations >= 100


@pytest.mark.few
def test_what_cannot_be_asked(python, tmp_path):
    def refused(*words, status):
        done = subprocess.run([MEMLINE, "ctl", *words], capture_output=True, text=True,
                              env=dict(os.environ, MEMLINE_DIR=str(tmp_path)))
        assert done.returncode == status
        return done.stderr

    session = Session(python)
    for words in [], ["1"], ["1", "stop"], ["1", "pause", "now"], ["1", "mark"], ["1", "mark", "a", "b"]:
        assert refused(*words, status=2)
    for name in "", "1.5", "-x", "x" * 48:
        assert refused("1", "mark", name, status=2)
    assert refused("1", "pause", status=1).count("\n") == 1
    session.end()
    assert "no process that is recorded runs" in refused(session.run.folder, "pause", status=1)
