"""Children, in every way that there is to have some: their events are their own, and their parent's stay whole."""
import os
import platform

import pytest
from bare import PROGRAMS, meta, run_both
from support import BYTES, around_bytearray, record

CLONE = {"x86_64": 56, "aarch64": 220}  # clone(2)


def family(run):
    """The parent, which started first, and its children."""
    processes = run.report()
    return processes[0], processes[1:]


@pytest.mark.parametrize("how", ["fork", "multiprocessing"])
def test_what_a_child_inherits(python, how):
    """The parent's line has it in the child too, until the child frees it; and what a grandchild has from both."""
    run = record(python, """
        import multiprocessing, os, sys
        kept = [bytearray(10_000) for _ in range(10)]  # kept
        gone = bytearray(50_000)  # gone
        del gone
        more = [None] * 3
        def grandchild():
            more[0] = None  # freed_again
            os._exit(0)
        def child():
            del kept[:4]  # freed
            more[0] = bytearray(20_000)  # made
            if not os.fork():
                grandchild()
            os.wait()
        if %r == "fork":
            if not os.fork():
                child()
                os._exit(0)
            os.wait()
        else:
            process = multiprocessing.get_context("fork").Process(target=child)
            process.start()
            process.join()
        later = bytearray(70_000)  # later
    """ % how)
    parent, (child, grandchild) = family(run)
    each = 10_000 + around_bytearray(python)
    for process, count in (parent, 10), (child, 6), (grandchild, 6):
        assert process.totals["unknown_frees"] == process.totals["dropped_events"] == 0
        assert process.rows["kept"].live - process.rows["kept"].live % each == count * each
        assert process.rows["gone"].live == 0
        assert (process.rows["later"].live > 0) == (process is parent)
    assert parent.totals["start_live_bytes"] == 0
    for process in child, grandchild:
        assert process.rows["kept"].allocations == process.rows["kept"].increment == 0
        assert process.totals["start_live_bytes"] > 10 * each
        assert process.data["totals"]["baseline_rss_bytes"] == parent.data["totals"]["baseline_rss_bytes"]
    assert child.rows["freed"].increment <= -4 * each
    assert child.rows["made"].live == 20_000 + around_bytearray(python)
    assert grandchild.rows["made"].live == 0
    assert grandchild.rows["freed_again"].increment == -(20_000 + around_bytearray(python))
    (merged,) = run.report("--merge")
    assert merged.totals["start_live_bytes"] == 0


def test_without_the_parents_trace(python):
    run = record(python, """
        import os
        kept = bytearray(100_000)  # kept
        if not os.fork():
            kept = None  # freed
            os._exit(0)
        os.wait()
    """)
    parent, (child,) = family(run)
    assert child.totals["unknown_frees"] == 0
    (path,) = [each for each in run.traces if meta(each)["pid"] == str(parent.data["pid"])]
    os.unlink(path)
    alone = run.process()
    assert alone.totals["start_live_bytes"] == 0 < alone.totals["unknown_frees"]
    assert alone.rows["kept"].live == alone.rows["freed"].increment == 0


def check_children(run, count, tag="in_child"):
    """Each child begins with nothing, has its own line alone, and names its parent's trace."""
    parent, children = family(run)
    assert len(children) == count
    by_pid = {facts["pid"]: (os.path.basename(trace), facts) for trace in run.traces for facts in [meta(trace)]}
    parent_trace, parent_meta = by_pid[str(parent.data["pid"])]
    assert "fork" not in parent_meta
    for child in children:
        facts = by_pid[str(child.data["pid"])][1]
        assert (facts["fork"], facts["image"]) == ("1", "0")
        assert facts["parent_file"] == parent_trace
        assert facts["parent_ring"]
        assert (facts["run_pid"], facts["run_ticks"]) == (parent_meta["run_pid"], parent_meta["run_ticks"])
        assert child.data["ppid"] == parent.data["pid"]
        assert child.data["end"] == "exit"
        assert child.totals["start_live_bytes"] > 0 == child.totals["dropped_events"] == child.totals["unknown_frees"]
        assert child.rows[tag].live == 100_000 + BYTES
    assert parent.totals["dropped_events"] == parent.totals["unknown_frees"] == 0
    assert parent.rows[tag].live == 0
    return parent, children


BUSY = """
import os, sys, threading
sys.setswitchinterval(0.0001)
keep = None
stop = False
def busy():
    while not stop:
        [bytes(n) for n in range(100)]
threads = [threading.Thread(target=busy) for _ in range(3)]
for thread in threads:
    thread.start()
"""


@pytest.mark.few
def test_forks_of_a_process_with_threads(python):
    """Any of the threads may be in the middle of a record when another one forks."""
    run = run_both(python, BUSY + """
for n in range(200):
    pid = os.fork()
    if not pid:
        keep = bytes(100_000)  # in_child
        os._exit(0)
    assert os.waitpid(pid, 0)[1] == 0
stop = True
for thread in threads:
    thread.join()
print("done")
""", options=["-W", "ignore"], timeout=300)
    check_children(run, 200)


def test_generations(python):
    """A child of a child of a child, the last of which frees what the first one made."""
    run = run_both(python, """
        import os
        keep = pid = n = None
        keep = bytes(5_000_000)  # made
        for n in range(3):
            bytes(100_000 + n)  # each has a trace before it forks
            pid = os.fork()
            if pid:
                assert os.waitpid(pid, 0)[1] == 0
                os._exit(0)
        keep = None  # freed
    """)
    first, *_, last = run.report()
    assert len(run.traces) == 4
    assert first.rows["made"].live == 5_000_000 + BYTES
    assert first.rows["freed"].increment == 0
    facts = [meta(trace) for trace in run.traces]
    assert len({each["run_pid"] for each in facts}) == 1
    names = [os.path.basename(trace) for trace in run.traces]
    assert sorted(each["parent_file"] for each in facts if "fork" in each) == sorted(set(names) - {
        name for name, each in zip(names, facts) if each["pid"] == str(last.data["pid"])})


def test_a_child_without_events_leaves_nothing(python):
    run = run_both(python, """
        import os
        for _ in range(5):
            pid = os.fork()
            if not pid:
                os.kill(os.getpid(), 9)
            print(os.waitpid(pid, 0)[1])
    """)
    assert run.stdout == "9\n" * 5
    assert 1 <= len(run.traces) <= 6
    run.report()


def clone(function):
    """Text that forks past the C library, which knows nothing of it: no fork handler runs."""
    return f"""
import ctypes, os, signal
libc = ctypes.CDLL(None)
for n in range(20):
    pid = libc.syscall({CLONE.get(platform.machine(), 0)}, signal.SIGCHLD, 0, 0, 0, 0)
    if not pid:
        {function}
        os._exit(0)
    assert os.waitpid(pid, 0)[1] == 0
print("done")
"""


@pytest.mark.few
@pytest.mark.skipif(platform.machine() not in CLONE, reason="clone's number is not known for this machine")
def test_raw_clone(python):
    run = run_both(python, "keep = None\n" + clone("keep = bytes(100_000)  # in_child"))
    check_children(run, 20)


@pytest.mark.few
def test_a_kernel_that_does_not_wipe_pages(python):
    """MADV_WIPEONFORK came with Linux 4.14, and a sandbox may refuse it. Then the fork handler alone tells."""
    run = run_both(python, """
        import os
        keep = None
        for n in range(20):
            pid = os.fork()
            if not pid:
                keep = bytes(100_000)  # in_child
                os._exit(0)
            assert os.waitpid(pid, 0)[1] == 0
    """, wrapper=[os.path.join(PROGRAMS, "refuse"), "wipe-on-fork", "--"])
    check_children(run, 20)


SPAWNS = {
    "posix_spawn": "os.waitpid(os.posix_spawn(sys.executable, command, os.environ), 0)[1]",
    "posix_spawnp": "os.waitpid(os.posix_spawnp(sys.executable, command, os.environ), 0)[1]",
    "spawnv": "os.spawnv(os.P_WAIT, sys.executable, command)",
    "spawnlp": "os.spawnlp(os.P_WAIT, sys.executable, *command)",
    "spawnve": "os.spawnve(os.P_WAIT, sys.executable, command, os.environ)",
    "system": "os.system(' '.join(command))",
    "popen": "os.popen(' '.join(command)).close() or 0",
    "run": "subprocess.run(command).returncode",
    "run, descriptors open": "subprocess.run(command, close_fds=False).returncode",
    "run, preexec_fn": "subprocess.run(command, preexec_fn=lambda: bytes(5000)).returncode",
    "run, new session": "subprocess.run(command, start_new_session=True).returncode",
    "run, shell": "subprocess.run(' '.join(command), shell=True).returncode",
}


@pytest.mark.few
@pytest.mark.parametrize("way", SPAWNS)
def test_other_programs(python, way):
    """The parent's trace is whole, and each program that Python runs leaves one. A child between fork and exec may."""
    run = run_both(python, f"""
        import os, subprocess, sys
        keep = None
        if len(sys.argv) > 1:
            keep = bytes(70_000)  # in_child
            sys.exit(0)
        command = [sys.executable, __file__, "child"]
        print([{SPAWNS[way]} for _ in range(3)])
        keep = bytes(100_000)  # in_parent
    """)
    assert run.stdout == "[0, 0, 0]\n"
    processes = run.report()
    parents = [each for each in processes if each.rows["in_parent"].seen]
    children = [each for each in processes if each.rows["in_child"].seen]
    assert len(parents) == 1 and len(children) == 3
    parents[0].check_exact()
    assert parents[0].rows["in_parent"].live == 100_000 + BYTES
    for child in children:
        child.check_exact()
        assert child.rows["in_child"].live == 70_000 + BYTES
        assert (child.data["end"], child.totals["start_live_bytes"]) == ("exit", 0)
    between = [each for each in processes if each not in parents and each not in children]
    assert all(each.data["end"] == "exec" for each in between)
    assert len({meta(trace)["run_pid"] for trace in run.traces}) == 1


def test_exec(python):
    """The second image of a process writes a second trace; the first says that it was replaced."""
    run = run_both(python, """
        import os, sys
        keep = None
        keep = bytes(100_000)  # made
        if len(sys.argv) < 4:
            os.execv(sys.executable, [sys.executable] + sys.argv + ["again"])
        print(len(sys.argv))
    """)
    assert run.stdout == "4\n"
    images = {meta(trace)["image"]: meta(trace) for trace in run.traces}
    assert sorted(images) == ["0", "1", "2", "3"]
    assert len({each["pid"] + each["start_ticks"] for each in images.values()}) == 1
    processes = run.report()
    assert [each.data["end"] for each in processes] == ["exec"] * 3 + ["exit"]
    for each in processes:
        each.check_exact()
        assert each.rows["made"].live == 100_000 + BYTES
        assert each.totals["start_live_bytes"] == 0


def test_an_exec_that_fails(python):
    run = run_both(python, """
        import os
        keep = None
        for _ in range(10):
            try:
                os.execv("/no/such/program", ["x"])
            except OSError as error:
                print(error.errno)
        keep = bytes(100_000)  # made
    """)
    process = run.process()
    process.check_exact()
    assert process.rows["made"].live == 100_000 + BYTES
    assert process.data["end"] == "exit"


def test_exec_while_threads_allocate(python):
    run = run_both(python, BUSY + """
if len(sys.argv) < 2:
    keep = bytes(100_000)  # made
    os.execv(sys.executable, [sys.executable] + sys.argv + ["again"])
stop = True
print("done")
""")
    first, second = run.report()
    assert (first.data["end"], second.data["end"]) == ("exec", "exit")
    assert first.rows["made"].live == 100_000 + BYTES
    assert first.totals["dropped_events"] == second.totals["dropped_events"] == 0


@pytest.mark.few
def test_a_child_outlives_its_parent(python):
    """A daemon: two forks, a new session, all descriptors closed."""
    run = run_both(python, """
        import os
        keep = None
        reading, writing = os.pipe()
        if not os.fork():
            os.setsid()
            if os.fork():
                os._exit(0)
            os.close(0), os.close(1), os.close(2), os.close(reading)
            os.closerange(writing + 1, 65536)
            os.chdir("/")
            keep = [bytes(1000) for _ in range(50_000)]  # in_child
            os.write(writing, b"%d" % len(keep))
            os._exit(0)
        os.wait()
        os.close(writing)
        print(os.read(reading, 100))
    """)
    assert run.stdout == "b'50000'\n"
    (daemon,) = [each for each in run.report() if each.rows["in_child"].seen]
    assert daemon.rows["in_child"].live >= 50_000 * (1000 + BYTES)
    assert daemon.totals["dropped_events"] == 0
