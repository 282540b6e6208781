"""What is hard on a recorder: closed descriptors, limits, signals, threads that end. The program never notices."""
import os
import resource

import pytest
from bare import HAZARDS, LOAD, allocations, counted, python_nodes, run_both
from support import BYTES, memline, record_calls

MANY = 30_000

def limit(what, value):
    return lambda: resource.setrlimit(what, (value, value))


IDENTITY = """
import hashlib, json, os, resource, signal, sys, threading
status = dict(line.split(":", 1) for line in open("/proc/self/status").read().splitlines())
lowest = os.dup(0)
ours = ("LD_PRELOAD", "MEMLINE_DIR")
with open("/proc/self/environ", "rb") as file:
    environ = [each for each in file.read().split(bytes(1)) if not each.startswith(tuple(map(str.encode, ours)))]
print(json.dumps({
    "lowest": lowest, "threads": [status["Threads"], len(os.listdir("/proc/self/task")), threading.active_count()],
    "signals": [status[name] for name in ("SigPnd", "ShdPnd", "SigBlk", "SigIgn", "SigCgt")],
    "handlers": [str(signal.getsignal(each)) for each in sorted(signal.valid_signals())],
    "mask": sorted(signal.pthread_sigmask(signal.SIG_BLOCK, [])), "timers": signal.getitimer(signal.ITIMER_REAL),
    "environ": [[each.partition(b"=")[0].decode(), hashlib.md5(each).hexdigest()] for each in environ],
    "os.environ": sorted(name for name in os.environ if name not in ours),
    "limits": [resource.getrlimit(getattr(resource, each)) for each in dir(resource) if each.startswith("RLIMIT_")],
    "cwd": os.getcwd(), "umask": os.umask(0), "ids": [os.getresuid(), os.getresgid(), os.getpgid(0) == os.getpid()],
    "nice": os.nice(0), "affinity": sorted(os.sched_getaffinity(0)), "argv": sys.argv,
    "no new privileges": status.get("NoNewPrivs"), "seccomp": status.get("Seccomp"), "tracer": status["TracerPid"],
    "children": open("/proc/self/task/%d/children" % os.getpid()).read(),
}, indent=1))
"""


def test_what_a_process_sees_of_itself(python):
    run_both(python, IDENTITY)


def test_the_environment_is_inherited(python):
    """The preload stays in the environment, so that children are recorded as well."""
    run = run_both(python, """
        import os, subprocess
        names = ("LD_PRELOAD", "MEMLINE_DIR")
        print([name in os.environ for name in names] == [name in os.environ for name in reversed(names)])
        child = subprocess.run(["env"], stdout=subprocess.PIPE, check=True).stdout.decode().splitlines()
        print(all(name + "=" + os.environ[name] in child for name in names if name in os.environ))
    """)
    assert run.stdout == "True\nTrue\n"


def test_calls_that_fail(python):
    """Results and errno are those of the bare C library, and nothing is recorded as done."""
    run = run_both(python, LOAD + """
numbers = (ctypes.c_long * 256)()
count = hazards.hazards_failures(numbers)  # called
print(list(numbers[:count]))
""", HAZARDS, env={"MEMLINE_OBJECTS": "off"})
    errors = run.answers()[1::2]
    assert len(errors) == 31 and errors.count(0) <= 3
    process = run.process()
    process.check_exact()
    assert process.rows["called"].increment == 0
    assert process.rows["called"].allocations == process.rows["called"].live_blocks + 2  # the block and the page


CLOSES = {
    "closerange": "os.closerange(3, 65536)",
    "close_range": "ctypes.CDLL(None).syscall(436, 3, 0x7fffffff, 0)",  # close_range(2), Linux 5.9, all architectures
    "one by one": "[os.close(int(n)) for n in os.listdir('/proc/self/fd')"
                  " if int(n) > 2 and os.path.exists('/proc/self/fd/' + n)]",
}


@pytest.mark.few
@pytest.mark.parametrize("way", CLOSES)
def test_a_program_that_closes_all_descriptors_and_takes_their_numbers(python, way):
    """Ours is among them. What we write afterwards must not land in the program's files."""
    run = run_both(python, f"""
        import ctypes, errno, os, resource
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 4096), hard))
        keep = [None] * {MANY}
        keep[0] = bytes(1000)  # before
        {CLOSES[way]}
        files = [os.open("own", os.O_RDWR | os.O_CREAT | os.O_TRUNC) for n in range(3000)]
        numbers = list(range(files[0], files[0] + 3000))
        for n in range({MANY}):
            keep[n] = bytes(1000)  # made
            os.write(files[n % 3000], b"%07d\\n" % n)
        with open("own", "rb") as file:
            text = file.read()
        print(len(files), len(text))
        for n in files:
            os.close(n)
    """)
    process = run.process()
    assert process.totals["dropped_events"] == 0
    assert process.rows["made"].live == MANY * (1000 + BYTES)
    assert process.rows["made"].allocations >= MANY
    assert memline("report", "--json", *run.sysroot, run.folder).count('"warnings": []') == 1


@pytest.mark.few
def test_each_file_holds_what_its_program_wrote(python):
    """The same with a file of its own behind every number, compared byte by byte."""
    run = run_both(python, f"""
        import os, resource, tempfile
        os.closerange(3, 65536)
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 1200), hard))
        with tempfile.TemporaryDirectory() as folder:
            files = [open(os.path.join(folder, str(n)), "w+b", buffering=0) for n in range(1100)]
            keep = []
            for n in range({MANY}):
                keep.append(bytes(1000))  # made
                if n % 10 == 0:
                    files[n // 10 % 1100].write(b"%07d\\n" % n)
            wanted = [b"".join(b"%07d\\n" % n for n in range(10 * at, {MANY}, 11_000)) for at in range(1100)]
            for at, file in enumerate(files):
                file.seek(0)
                assert file.read() == wanted[at], at
                file.close()
        print("intact")
    """)
    assert run.stdout == "intact\n"
    assert run.process().totals["dropped_events"] == 0


@pytest.mark.few
def test_no_descriptor_is_left_for_us(python):
    """The program takes every number: recording may stop, and the report says so, but nothing breaks."""
    run = run_both(python, f"""
        import os
        for n in range(3, 300):
            os.dup2(0, n)
        keep = [bytes(1000) for _ in range({MANY})]
        print(len(keep))
    """, prepare=limit(resource.RLIMIT_NOFILE, 300))
    process = run.process()
    assert process.totals["dropped_events"] > 0
    assert counted(process, "events after recording had stopped") == process.totals["dropped_events"]


@pytest.mark.few
@pytest.mark.parametrize("bytes_", [0, 1000, 100_000, 300_000, 3_000_000])
def test_a_limit_on_the_size_of_files(python, bytes_):
    """Going past it would raise SIGXFSZ in the program, which is deadly here as soon as Python has started."""
    run = run_both(python, f"""
        import signal
        signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
        keep = [bytes(10) for _ in range(1_000_000)]
        with open("own", "wb") as file:
            file.write(bytes({bytes_ * 9 // 10}))
        print("done")
    """, prepare=limit(resource.RLIMIT_FSIZE, bytes_))
    assert run.status == 0
    for trace in run.traces:
        assert os.path.getsize(trace) <= bytes_
    if bytes_ < 3_000_000:
        return
    process = run.process()
    assert any("RLIMIT_FSIZE" in warning for warning in process.warnings)
    assert process.totals["dropped_events"] > 100_000


@pytest.mark.few
def test_a_limit_on_the_size_of_files_that_comes_late(python):
    run = run_both(python, """
        import resource, signal
        signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
        keep = [bytes(10) for _ in range(300_000)]  # before
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
        keep += [bytes(10) for _ in range(300_000)]  # behind
        print("done")
    """)
    process = run.process()
    assert process.rows["before"].live >= 300_000 * (10 + BYTES)
    assert process.totals["dropped_events"] > 0
    assert any("RLIMIT_FSIZE" in warning for warning in process.warnings)


@pytest.mark.few
@pytest.mark.parametrize("numbers", [16, 64])
def test_few_descriptors(python, numbers):
    run = run_both(python, f"""
        import os
        keep = [bytes(1000) for _ in range({MANY})]  # made
        files = [os.dup(0) for _ in range({numbers} - 8)]
        print(files)
    """, prepare=limit(resource.RLIMIT_NOFILE, numbers))
    assert run.process().rows["made"].live >= MANY * (1000 + BYTES)


@pytest.mark.few
@pytest.mark.parametrize("mib", [40, 80, 200])
def test_little_address_space(python, mib):
    run = run_both(python, """
        keep = [bytes(1000) for _ in range(1000)]  # made
        try:
            bytes(1 << 30)
        except MemoryError:
            print("refused")
    """, prepare=limit(resource.RLIMIT_AS, mib << 20))
    assert run.stdout == "refused\n"
    if run.traces:
        assert run.process().rows["made"].live >= 1000 * (1000 + BYTES)
    else:
        assert mib < 80


@pytest.mark.few
def test_little_stack(python):
    run = run_both(python, """
        import threading
        threading.stack_size(65536)
        def work():
            keep.append(bytes(1000))  # made
        keep = []
        for _ in range(20):
            thread = threading.Thread(target=work)
            thread.start()
            thread.join()
        print(len(keep))
    """)
    assert run.process().rows["made"].allocated >= 20 * (1000 + BYTES)


# Signals and threads, through objects/hazards.c.

def run_hazards(python, call):
    run = run_both(python, LOAD + call, HAZARDS, env={"MEMLINE_OBJECTS": "off"})
    return run, run.report()[0]


@pytest.mark.few
def test_a_handler_that_allocates(python):
    """It interrupts the recorder, or the program: its events are recorded or counted as dropped, two for each."""
    run, process = run_hazards(python, """
hazards.hazards_interrupts(1) # first
hazards.hazards_interrupts(100)  # interrupted
print("done")
""")
    dropped = counted(process, "events of a signal handler")
    (trace,) = run.traces
    recorded = len(allocations(trace, 5555))
    assert process.totals["unknown_frees"] == 0
    assert process.rows["interrupted"].increment == 0
    assert recorded > 0
    assert recorded + dropped // 2 <= 101


@pytest.mark.few
def test_a_handler_that_forks(python):
    """The child finds the recorder in the middle of a record, and must not finish it in its parent's file."""
    run, parent = run_hazards(python, """
print(hazards.hazards_forks_in_handler(100) > 0)  # forked
""")
    assert run.stdout == "True\n"
    assert parent.totals["unknown_frees"] == 0
    assert parent.rows["forked"].increment == 0
    assert not any("damaged" in warning for each in run.report() for warning in each.warnings)


@pytest.mark.few
def test_cancelled_threads(python):
    run, process = run_hazards(python, """
print(hazards.hazards_cancel(30))  # cancelled
""")
    assert run.stdout == "0\n"
    process.check_exact()
    assert len(allocations(*run.traces, 3333)) == 30


def test_memory_in_a_destructor_of_thread_specific_data(python):
    run, process = run_hazards(python, """
print(hazards.hazards_destructors(50, 7777))  # ended
""")
    assert run.stdout == "0\n"
    process.check_exact()
    assert len(allocations(*run.traces, 7777)) == 150
    assert process.data["native"]["live_bytes"] >= 50 * 7777


@pytest.mark.few
@pytest.mark.parametrize("program, status", [(b"/bin/true", 0), (b"/no/such/program", 7), (None, 7)])
def test_vfork(python, program, status):
    """The child's memory is ours, so what it allocates belongs to us; its end is not ours."""
    run, process = run_hazards(python, f"""
import os
for n in range(20):
    assert hazards.hazards_vfork(4321, {program!r}) == {status}  # forked
print(sorted(os.listdir("/proc/self/task")) == [str(os.getpid())])
""")
    process.check_exact()
    assert (process.data["end"], len(run.traces)) == ("exit", 1)
    row = process.rows["forked"]
    assert (row.increment, row.live) == (0, 0)
    assert row.allocated >= 20 * 4321
    assert len(allocations(*run.traces, 4321)) == 20


@pytest.mark.few
def test_short_threads_share_rings(python):
    """A ring is 16 KiB of the file. Two thousand threads that follow each other need a few."""
    run = run_both(python, """
        import threading
        keep = []
        def work():
            keep.append(bytes(1000))  # made
        for _ in range(400):
            threads = [threading.Thread(target=work) for _ in range(5)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        print(len(keep))
    """)
    process = run.process()
    process.check_exact()
    assert process.rows["made"].live >= 2000 * (1000 + BYTES)
    rings = [line for line in memline("dump", "--defs", *run.traces).splitlines() if line.startswith("extent ring ")]
    assert len(rings) <= 40
    assert os.path.getsize(run.traces[0]) < 4 << 20


@pytest.mark.few
def test_idle_threads_cost_little(python):
    """At most 16 MiB for a thousand."""
    program = LOAD + """
import re
def resident():
    with open("/proc/self/smaps_rollup") as file:  # exact, unlike statm, to which each processor adds in batches
        return int(re.search("^Rss: *([0-9]+) kB$", file.read(), re.M).group(1)) * 1024
hazards.hazards_idle_end(hazards.hazards_idle_start(1))  # the code that they run is there from now on
resident()
before = resident()
count = hazards.hazards_idle_start(1000)
print(count, file=sys.stderr)
with open(sys.argv[2], "a") as file:
    print(resident() - before, file=file)
hazards.hazards_idle_end(count)
"""
    out = os.path.join(os.path.dirname(HAZARDS), f"idle-{os.getpid()}")
    try:
        run_both(python, program, HAZARDS, out)
        with open(out) as file:
            bare, recorded = map(int, file)
    finally:
        os.unlink(out)
    assert recorded - bare <= 16 << 20


def test_native_threads_exactly(python):
    """100 threads that Python does not know x 100 posix_memalign each: 10,000 allocations without a Python stack."""
    run, process = record_calls(python, 'native_threads = bind("native_threads", number, number, number, size)', """
print(native_threads(100, 100, 12347))
""")
    assert run.stdout == "0\n"
    process.check_exact()
    made = allocations(*run.traces, 12347)
    assert len(made) == 10_000
    assert not python_nodes(*run.traces).intersection(made)
