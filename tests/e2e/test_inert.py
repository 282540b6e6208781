"""Where the library leaves a process alone: no Python, switched off, no place for a trace, rights of others."""
import os
import shutil
import stat
import sys
import tempfile

import pytest
from bare import PROGRAMS, end_of, libpython, meta, run_both
from support import BYTES, LIBRARY, Run, memline, record, write_program


def folder_for_traces():
    return os.path.join(os.path.dirname(write_program("")), "traces")


def check_inert(command, folder=None, **environment):
    """A command that ends as bare and leaves no trace, nor anything else in the folder."""
    folder = folder or folder_for_traces()
    assert end_of(command, LD_PRELOAD=LIBRARY, **dict({"MEMLINE_DIR": folder}, **environment)) == end_of(command)
    assert not os.path.isdir(folder) or os.listdir(folder) == []


@pytest.mark.parametrize("arguments", [["--version"], ["-V"], ["-VV"], ["--help"], ["--no-such-option"]], ids=" ".join)
def test_no_python_code_no_file(python, arguments):
    check_inert([*python.command, *arguments])


def test_a_little_python_code_leaves_a_file(python):
    """Even without site and a program there are Python frames: those of importlib."""
    folder = folder_for_traces()
    command = [*python.command, "-S", "-E", "-c", "pass"]
    assert end_of(command, LD_PRELOAD=LIBRARY, MEMLINE_DIR=folder) == end_of(command)
    assert len(os.listdir(folder)) == 1


@pytest.mark.parametrize("command", [["true"], ["ls", "/"], ["cat", "/etc/passwd"], ["sort", "/etc/passwd"],
                                     ["sh", "-c", "echo $((1 + 1)); exit 3"], ["env", "--version"]], ids=" ".join)
def test_programs_without_python(command):
    check_inert(command)


def test_a_program_without_a_loader():
    check_inert([os.path.join(PROGRAMS, "static")])


@pytest.mark.parametrize("value", ["1", "", "0"])
def test_switched_off(python, value):
    """MEMLINE_OFF needs to be there, whatever it says."""
    check_inert([*python.command, "-c", "print(len(bytes(1000)))"], MEMLINE_OFF=value)


def test_a_preload_that_is_not_there(python):
    """The loader says so, not we: a control of what these tests can see."""
    done = end_of([*python.command, "-c", "pass"], LD_PRELOAD=LIBRARY + ".not")
    assert b"cannot be preloaded" in done.stderr


# A CPython that comes later than the process began.

def embed(python, program, text):
    """Runs an embedding program. Returns its Run."""
    library, home = libpython(python)
    path = write_program(text)
    run = Run(python, path, path)
    command = [*python.prefix, python.built(os.path.join(PROGRAMS, program)), library,
               f"exec(compile(open({path!r}).read(), {path!r}, 'exec'))"]
    bare = end_of(command, PYTHONHOME=home)
    recorded = end_of(command, LD_PRELOAD=LIBRARY, MEMLINE_DIR=run.folder, PYTHONHOME=home)
    assert recorded == bare
    assert (recorded.status, recorded.stdout, recorded.stderr) == (0, b"", b"")
    return run


@pytest.mark.parametrize("program", ["embed", "embed_in_thread"])
def test_an_embedded_python_that_comes_late(python, program):
    run = embed(python, program, """
import time
time.sleep(0.05)
few = [bytes(n) for n in range(3000)]
keep = None
keep = bytes(100_000)  # made
""")
    process = run.process("--scope", run.program)
    assert meta(*run.traces)["late"] == "1"
    assert 0 <= process.rows["made"].own_increment - (100_000 + BYTES) <= 200
    assert process.totals["dropped_events"] == 0
    assert process.data["end"] == "exit"
    assert any("loaded after the process had started" in warning for warning in process.warnings)


def test_an_embedded_python_with_objects(python):
    """What was there before is freed without having been seen made; what comes is right."""
    run = embed(python, "embed", "keep = [bytes(n) for n in range(10_000)]  # made\ndel keep  # deleted\n")
    process = run.process("--scope", run.program)
    rows = process.rows
    made = sum(n + BYTES for n in range(1, 10_000))
    assert made <= rows["made"].allocated <= made + 2_000_000  # and the list as it grows, and its numbers
    assert -rows["deleted"].increment >= made
    assert process.totals["missed_frees"] == 0


# Where the traces go.

ANYBODY = 1_000_000 + os.getpid()  # a user who owns nothing, another one in each process of pytest
AS_ANYBODY = ["setpriv", f"--reuid={ANYBODY}", f"--regid={ANYBODY}", "--clear-groups"]

needs_root = pytest.mark.skipif(os.getuid() != 0, reason="only root can become another user")


@pytest.fixture(scope="module")
def public():
    """A folder that everybody can read, with the library in it."""
    folder = tempfile.mkdtemp(prefix="memline-public-")
    os.chmod(folder, 0o755)
    shutil.copy(LIBRARY, folder)
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def default_folder():
    folder = f"/tmp/memline-{ANYBODY}"
    remove(folder)
    yield folder
    remove(folder)


def remove(path):
    if os.path.islink(path) or os.path.isfile(path):
        os.unlink(path)
    elif os.path.isdir(path):
        shutil.rmtree(path)


def as_anybody(public, program="print(len(bytes(1000)))", **environment):
    """Runs the system's Python as that user."""
    library = os.path.join(public, "libmemline.so")
    return end_of([*AS_ANYBODY, sys.executable, "-I", "-c", program], cwd="/", LD_PRELOAD=library, **environment)


def check_ran(done):
    assert (done.status, done.stdout, done.stderr) == (0, b"1000\n", b"")


def own(path, mode=0o700):
    os.chown(path, ANYBODY, ANYBODY)
    os.chmod(path, mode)


@needs_root
def test_the_default_directory(public, default_folder):
    check_ran(as_anybody(public))
    check_ran(as_anybody(public))
    facts = os.stat(default_folder)
    assert (stat.S_IMODE(facts.st_mode), facts.st_uid) == (0o700, ANYBODY)
    traces = [os.path.join(default_folder, name) for name in os.listdir(default_folder)]
    assert len(traces) == 2
    for trace in traces:
        assert stat.S_IMODE(os.stat(trace).st_mode) == 0o600
        assert meta(trace)["option.DIR"] == default_folder


@needs_root
@pytest.mark.parametrize("mode", [0o770, 0o702, 0o711, 0o755, 0o777, 0o1777], ids=oct)
def test_a_default_directory_that_others_can_enter(public, default_folder, mode):
    os.mkdir(default_folder)
    own(default_folder, mode)
    check_ran(as_anybody(public))
    assert os.listdir(default_folder) == []


@needs_root
def test_a_default_directory_of_somebody_else(public, default_folder):
    os.mkdir(default_folder)
    os.chown(default_folder, ANYBODY + 1, ANYBODY)
    os.chmod(default_folder, 0o777)
    check_ran(as_anybody(public))
    assert os.listdir(default_folder) == []


@needs_root
@pytest.mark.parametrize("there", [True, False])
def test_a_default_directory_that_is_a_link(public, default_folder, there):
    aim = default_folder + "-aim"
    try:
        if there:
            os.mkdir(aim)
            own(aim)
        os.symlink(aim, default_folder)
        check_ran(as_anybody(public))
        assert os.path.islink(default_folder)
        assert os.listdir(aim) == [] if there else not os.path.exists(aim)
    finally:
        remove(aim)


@needs_root
def test_a_default_directory_that_is_a_file(public, default_folder):
    with open(default_folder, "w") as file:
        file.write("mine")
    own(default_folder)
    check_ran(as_anybody(public))
    with open(default_folder) as file:
        assert file.read() == "mine"


@needs_root
def test_a_directory_that_cannot_be_written(public, default_folder):
    """One that the user names is never replaced by the default."""
    closed = os.path.join(public, "closed")
    os.mkdir(closed)
    for name in closed, os.path.join(closed, "new"), "/proc/1/fd", os.path.join(public, "libmemline.so"):
        check_ran(as_anybody(public, MEMLINE_DIR=name))
    assert os.listdir(closed) == []
    assert not os.path.exists(default_folder)


@needs_root
def test_rights_that_are_given_up(python):
    """The trace is open by then. A child cannot make one of its own, and does as it would bare."""
    run = run_both(python, f"""
        import os
        keep = [None] * 3
        keep[0] = bytes(100_000)  # before
        os.setgroups([])
        os.setgid({ANYBODY})
        os.setuid({ANYBODY})
        keep[1] = [bytes(1000) for _ in range(30_000)]  # behind
        pid = os.fork()
        if not pid:
            keep[2] = [bytes(1000) for _ in range(30_000)]  # in_child
            os._exit(3)
        print(os.waitpid(pid, 0)[1] >> 8)
    """)
    assert run.stdout == "3\n"
    process = run.process()
    assert process.totals["dropped_events"] == 0
    assert process.rows["before"].live == 100_000 + BYTES
    assert process.rows["behind"].live >= 30_000 * (1000 + BYTES)
    assert process.rows["in_child"].allocations == 0


@needs_root
def test_a_program_with_more_rights_than_its_user(public, default_folder):
    """AT_SECURE: the loader leaves out preloads that are named by a path, and the environment is not to be trusted."""
    python = os.path.join(public, "python")
    shutil.copy(os.path.realpath(sys.executable), python)
    os.chmod(python, 0o4755)
    command = [*AS_ANYBODY, python, "-I", "-c", "import os; print(os.getuid(), os.geteuid())"]
    bare = end_of(command, cwd="/")
    recorded = end_of(command, cwd="/", LD_PRELOAD=os.path.join(public, "libmemline.so"), MEMLINE_DIR=default_folder)
    os.unlink(python)
    if bare.stdout != b"%d 0\n" % ANYBODY:
        pytest.skip("programs get no rights of their owner here")
    assert recorded.stdout == bare.stdout
    assert not os.path.exists(default_folder)


@pytest.mark.few
def test_a_named_directory(python):
    """Made if it isn't there, for its owner alone; a link is followed; an open one is left as it is."""
    parent = os.path.dirname(folder_for_traces())
    made, target, link = (os.path.join(parent, name) for name in ("made", "target", "link"))
    os.mkdir(target)
    os.chmod(target, 0o755)
    os.symlink(target, link)
    for folder, aim, mode in (made, made, 0o700), (link, target, 0o755), (target + "/", target, 0o755):
        run_both(python, "print(1)", folder=folder)
        assert stat.S_IMODE(os.stat(aim).st_mode) == mode
    assert (len(os.listdir(made)), len(os.listdir(target))) == (1, 2)


@pytest.mark.few
def test_a_relative_directory(python):
    """It means what it meant when the program started, wherever the program goes."""
    run = run_both(python, """
        import os
        os.mkdir("elsewhere")
        os.chdir("elsewhere")
        keep = [bytes(1000) for _ in range(20_000)]  # made
        pid = os.fork()
        if not pid:
            bytes(10_000)
            os._exit(0)
        os.waitpid(pid, 0)
        print(os.listdir("."))
        os.chdir("..")
        os.rmdir("elsewhere")
    """, env={"MEMLINE_DIR": "traces"})
    assert run.stdout == "[]\n"
    assert len(run.traces) == 2
    assert run.report()[0].rows["made"].live >= 20_000 * (1000 + BYTES)


@pytest.mark.few
@pytest.mark.parametrize("name", ["missing/parent", "program.py", "", "x" * 5000, "program.py/below"])
def test_a_named_directory_that_cannot_be(python, name):
    """Without a place for a trace nothing is recorded, and the program notices nothing."""
    if not name or len(name) > 4096:  # no name at all: ignored, as any value that makes no sense
        return check_ignored(python, "DIR", name)
    run = run_both(python, "print(len(bytes(1000)))", env={"MEMLINE_DIR": name})
    assert run.traces == []
    return None


# Values that make no sense.

def check_ignored(python, option, value):
    """The program runs as ever. The trace, in the default directory if need be, says what was ignored."""
    path = write_program("print(len(bytes(1000)))")
    run = Run(python, path, path)
    own_folder = f"/tmp/memline-{os.getuid()}"
    before = set(os.listdir(own_folder)) if os.path.isdir(own_folder) else set()
    environment = {"MEMLINE_DIR": run.folder, "MEMLINE_" + option: value}
    done = end_of([*python.command, path], LD_PRELOAD=LIBRARY, **environment)
    assert (done.status, done.stdout, done.stderr) == (0, b"1000\n", b"")
    if option == "DIR":
        new = set(os.listdir(own_folder)) - before
        traces = [os.path.join(own_folder, each) for each in new]
        traces = [trace for trace in traces if meta(trace).get("arg") == path]
    else:
        traces = run.traces
    (trace,) = traces
    facts = meta(trace)
    report = memline("report", trace)
    if option == "DIR":
        os.unlink(trace)
    assert facts["ignored." + option] == value[:4095]
    assert facts["option." + option] == DEFAULTS.get(option, own_folder)
    assert any(line.startswith("#") and f"MEMLINE_{option}" in line for line in report.splitlines())


DEFAULTS = {"OBJECTS": "on", "NATIVE": "caller", "SAMPLE": "0", "SCOPE": "auto", "OCCURRENCES": "auto", "LOG": "off",
            "MAX_BYTES": "4G", "KEEP_FREE": "auto", "MAX_NODES": "1M"}

NONSENSE = [
    ("OBJECTS", "maybe"), ("OBJECTS", ""), ("OBJECTS", "ON"), ("NATIVE", "yes"), ("SAMPLE", "-1"), ("SAMPLE", "some"),
    ("OCCURRENCES", "never"), ("LOG", "often"), ("MAX_BYTES", "-4G"), ("MAX_BYTES", "4GB"), ("MAX_BYTES", "k"),
    ("MAX_BYTES", "99999999999999999999"), ("MAX_BYTES", "17179869184G"), ("MAX_BYTES", "0x10"), ("SCOPE", ""),
    ("MAX_BYTES", "0"), ("MAX_BYTES", "1000k"),  # no trace would have place
    ("KEEP_FREE", "much"), ("KEEP_FREE", "1.5G"), ("MAX_NODES", "0"), ("MAX_NODES", "1T"), ("MAX_NODES", " 5"),
]


@pytest.mark.few
@pytest.mark.parametrize("option, value", NONSENSE)
def test_values_that_make_no_sense(python, option, value):
    check_ignored(python, option, value)


def test_a_variable_of_no_option(python):
    run = record(python, "keep = bytes(100_000)", env={"MEMLINE_NO_SUCH": "x", "MEMLINE_": "y"})
    assert (run.stdout, run.stderr, len(run.traces)) == ("", "", 1)


def test_values_that_make_sense(python):
    values = {"OBJECTS": "off", "NATIVE": "off", "SCOPE": "/a/*:/b/*", "MAX_BYTES": "1T", "KEEP_FREE": "5k",
              "MAX_NODES": "20k"}
    run = record(python, "keep = bytes(100_000)", env={"MEMLINE_" + name: value for name, value in values.items()})
    facts = meta(*run.traces)
    assert {name: facts["option." + name] for name in values} == values
    assert not any(name.startswith("ignored.") for name in facts)
