"""How often lines ran: what the interpreter's own line events say, no more and no less, and nobody is disturbed."""
import json
import os
import signal
import textwrap
import time

import pytest
from support import FIELDS, memline, record, run_bare, start, write_program

pytestmark = pytest.mark.since(3, 12)

MANY = """
import asyncio
import threading
def loop(n):
    for i in range(n):  # loop_head
        pass  # loop_body
    else:
        pass  # loop_else
loop(10)
loop(0)
def recurse(n):
    if n:  # recurse_test
        recurse(n - 1)  # recurse_call
    return n  # recurse_return
recurse(20)
def generate(n):
    for i in range(n):
        yield i  # yielded
    return  # generated
for each in generate(5):
    pass  # consumed
half = generate(100)
for i in range(7):
    next(half)  # asked
half.close()
async def pause(n):
    for i in range(n):
        await asyncio.sleep(0)  # awaited
    return n  # woken
async def several():
    return await asyncio.gather(*[pause(3) for i in range(4)])  # gathered
asyncio.run(several())
def fail(n):
    try:
        raise ValueError(n)  # raised
    except ValueError:
        n += 1  # caught
    finally:
        n -= 1  # last
    return n
for i in range(6):
    fail(i)
def outer(n):
    def inner():
        return n  # inner
    for i in range(n):
        inner()
outer(8)
class Thing:
    size = 3  # class_body
    def get(self):
        return self.size  # method
for i in range(9):
    Thing().get()
def in_thread():
    for i in range(50):
        pass  # thread_body
threads = [threading.Thread(target=in_thread) for i in range(5)]
for thread in threads: thread.start()
for thread in threads: thread.join()
squares = [i * i for i in range(30)]  # comprehension
def spread():
    return [
        i  # element
        for i in range(30)
    ]
spread()
pick = lambda n: (
    n + 1  # in_lambda
)
for i in range(11):
    pick(i)
if False:
    pass  # never
"""

MANY_RAN = {
    "loop_head": 12, "loop_body": 10, "loop_else": 2, "recurse_test": 21, "recurse_call": 20, "recurse_return": 21,
    "yielded": 12, "generated": 1, "consumed": 5, "asked": 7, "awaited": 12, "woken": 4, "raised": 6, "caught": 6,
    "last": 6, "inner": 8, "class_body": 1, "method": 9, "thread_body": 250, "comprehension": 1, "element": 30,
    "in_lambda": 11, "never": None,
}


@pytest.mark.parametrize("how", ["file", "module", "command", "stdin"])
def test_what_runs_is_counted(python, how):
    process = record(python, MANY, how=how).process()
    counted = {}
    for file, _, line in process.lines():
        if file == process.file and line["occurrences"]:
            counted[line["line"]] = counted.get(line["line"], 0) + line["occurrences"]
    assert {tag: counted.get(process.tags[tag]) for tag in MANY_RAN} == MANY_RAN
    process.check_exact()


def test_from_the_first_line_on(python):
    """Also where nothing is imported before the program starts."""
    process = record(python, "x = 1  # first\ny = 2  # second\n", options=["-I", "-S"]).process()
    assert [process.rows[tag].occurrences for tag in ("first", "second")] == [1, 1]


def test_an_event_without_a_line_event(python):
    """What a frame does before its first line runs is its def's; that line is not the function's own."""
    process = record(python, """
        def generate():  # define
            yield 1
        keep = [generate() for i in range(10)]  # made
    """).process()
    assert process.rows["define", "generate"].seen
    assert process.rows["define", "generate"].occurrences is None
    assert process.rows["define", "<module>"].occurrences == 1
    assert process.rows["made"].occurrences == 1


def test_up_to_a_hundred_thousand(python):
    process = record(python, """
        def loop(n):
            for i in range(n):
                if i == 7: continue; pass  # several
                pass  # body
        loop(100_000)
        loop(1)
        def exactly(n):
            for i in range(n):  # head
                pass  # exactly
        exactly(100_000)
        def again():
            pass  # again
        for i in range(3):
            again()
    """).process()
    rows = process.rows
    assert rows["several"].occurrences == ">100000"
    assert rows["body"].occurrences == rows["exactly"].occurrences == 100_000
    assert rows["head"].occurrences == ">100000"
    assert rows["again"].occurrences == 3


def test_code_that_is_made_again_and_again(python):
    """Those that are alike have one count, also beyond the cap; what another has at the same address has none of it."""
    process = record(python, """
        import sys
        text = "def f():\\n    for i in range(%d):\\n        x = i\\nf()\\n"
        def run(n, name):
            exec(compile(text % n, name, "exec"), {})
        for i in range(600):
            run(i % 2 + 3, sys.argv[0].replace("program", "alike"))
        for i in range(3):
            run(60_000, sys.argv[0].replace("program", "hot"))
    """, env={"MEMLINE_SCOPE": "*/program.py:*/alike.py:*/hot.py"}).process()
    found = {(os.path.basename(file), name, line["line"]): (line["occurrences"], "occurrences_at_least" in line)
             for file, name, line in process.lines()}
    assert found["alike.py", "f", 2] == (300 * 4 + 300 * 5, False)
    assert found["alike.py", "f", 3] == (300 * 3 + 300 * 4, False)
    assert found["alike.py", "<module>", 1] == (600, False)
    assert found["hot.py", "f", 3] == (100_000, True)
    assert found["hot.py", "<module>", 4] == (3, False)


def test_text_that_is_run_is_no_file(python):
    """The lines of a text that the program runs are not the program's, even where that is a text itself."""
    process = record(python, """
        exec("x = 1\\nx = 2\\ndef f(n):\\n    return [n]\\nfor i in range(3): f(i)\\n")  # run
        x = 4  # after
        def f(n):
            return [n]  # own
        f(1)
    """, how="command").process()
    assert [process.rows[tag].occurrences for tag in ("run", "after", "own")] == [1, 1, 1]
    assert all(line["occurrences"] == 1 for _, _, line in process.lines() if line["occurrences"])


@pytest.mark.few
def test_imports(python):
    """Of a module that is compiled, and of one that is read from a .pyc file."""
    text = """
        import helper
        for i in range(5):
            helper.work(i)
    """
    helper = "def work(n):\n    for i in range(n):\n        pass\n    return n\n"
    for _ in range(2):
        path = write_program(textwrap.dedent(text))
        with open(os.path.join(os.path.dirname(path), "helper.py"), "w", encoding="utf-8") as file:
            file.write(helper)
        counts = []
        for _ in range(2):
            run = rerun(python, path)
            counts.append({(name, line["line"]): line["occurrences"] for file, name, line in run.process().lines()
                           if file.endswith("helper.py")})
        assert os.path.isdir(os.path.join(os.path.dirname(path), "__pycache__"))
        assert counts[0] == counts[1] == {("<module>", 1): 1, ("work", 2): 15, ("work", 3): 10, ("work", 4): 5}


def rerun(python, path):
    """Records the program that is at this path, with a folder of its own for the traces."""
    with open(path, encoding="utf-8") as file:
        text = file.read()
    run = record(python, f"import runpy, sys; sys.path[0] = {os.path.dirname(path)!r}; runpy.run_path({path!r})\n",
                 env={"MEMLINE_SCOPE": os.path.dirname(path)})
    assert text
    return run


# A tool that looks at every line of the program too, in several ways, and says what it saw.
WATCHED = """
import collections, json, sys
def work(n):
    total = 0
    for i in range(n):
        total += i
        if i % 3 == 0:
            continue
        total -= 1
    return [each for each in range(total % 7)]
def generate(n):
    for i in range(n):
        yield work(i)
def fail():
    try:
        raise KeyError
    except KeyError:
        return 1
def all_of_it():
    for i in range(20):
        work(i)
        fail()
    sum(len(each) for each in generate(9))
    for i in range(4):
        exec(compile("for i in range(3):\\n    x = i\\n", __file__, "exec"), {})
seen = collections.Counter()
m = sys.monitoring
def saw(*what):
    seen[repr(what)] += 1
def line(code, number):
    if code.co_filename == __file__: saw("line", code.co_name, number)
def line_once(code, number):
    if code.co_filename == __file__: saw("once", code.co_name, number)
    return m.DISABLE
def began(code, offset):
    if code.co_filename != __file__: return m.DISABLE
    saw("began", code.co_name)
    m.set_local_events(tool, code, m.events.LINE)
def trace(frame, event, argument):
    if frame.f_code.co_filename == __file__: saw(event, frame.f_code.co_name, frame.f_lineno)
    return trace
def profile(frame, event, argument):
    if frame.f_code.co_filename == __file__: saw(event, frame.f_code.co_name)
how, tool = sys.argv[1], 1
if how == "trace":
    sys.settrace(trace)
elif how == "profile":
    sys.setprofile(profile)
else:
    m.use_tool_id(tool, "watcher")
    if how == "lines":
        m.register_callback(tool, m.events.LINE, line)
        m.set_events(tool, m.events.LINE)
    elif how == "once":
        m.register_callback(tool, m.events.LINE, line_once)
        m.set_events(tool, m.events.LINE)
    elif how == "local":
        m.register_callback(tool, m.events.LINE, line)
        m.register_callback(tool, m.events.PY_START, began)
        m.set_events(tool, m.events.PY_START)
    elif how == "everything":
        for event in ("CALL", "JUMP", "BRANCH", "PY_START", "PY_RETURN", "PY_YIELD", "PY_RESUME", "RAISE",
                      "INSTRUCTION", "LINE"):
            m.register_callback(tool, getattr(m.events, event), lambda code, *more, event=event:
                                saw(event, code.co_name, *map(repr, more[:1]))
                                if code.co_filename == __file__ and code.co_name != "saw" else None)
        m.set_events(tool, m.events.CALL | m.events.JUMP | m.events.BRANCH | m.events.PY_START | m.events.PY_RETURN |
                     m.events.PY_YIELD | m.events.PY_RESUME | m.events.RAISE | m.events.INSTRUCTION | m.events.LINE)
all_of_it()
m.restart_events()
all_of_it()
sys.settrace(None)
sys.setprofile(None)
if m.get_tool(tool):
    m.set_events(tool, 0)
    m.free_tool_id(tool)
all_of_it()
print(json.dumps(sorted(seen.items())))
"""


@pytest.mark.parametrize("how", ["lines", "once", "local", "everything", "trace", "profile", "nothing"])
def test_other_tools_see_what_they_see_without_us(python, how):
    path = write_program(WATCHED)
    status, bare, errors = run_bare(python, [path, how])
    assert status == 0, errors
    run = record(python, WATCHED, how)
    assert run.answers() == json.loads(bare.replace(path.encode(), run.program.encode()))
    if how in ("lines", "nothing"):
        names = {(name.rpartition(".")[2], line["line"]): line["occurrences"] for _, name, line in
                 run.process().lines()}
        assert names["all_of_it", 21] == 60
        assert names["fail", 17] == 60


def test_lines_are_those_that_a_tool_sees(python):
    """A real library, with every line that a tool of Python's sees counted as often as that does."""
    run = record(python, """
        import collections, sys
        seen = collections.Counter()
        def line(code, number):
            if "/json/" in code.co_filename:
                seen[code.co_filename, number] += 1
        m = sys.monitoring
        m.use_tool_id(1, "watcher")
        m.register_callback(1, m.events.LINE, line)
        m.set_events(1, m.events.LINE)
        import json, json.tool
        text = json.dumps({"a": [1, 2.5, None, "x" * 20], "b": {"c": [True] * 30}}, indent=2, sort_keys=True)
        for i in range(20):
            json.loads(text)
            try:
                json.loads(text[:i + 20])
            except ValueError:
                pass
        list(json.JSONEncoder(indent=3).iterencode([[1, [2, {"k": 3}]]] * 10))
        m.set_events(1, 0)
        print(json.dumps(sorted([file, number, n] for (file, number), n in seen.items())))
    """, env={"MEMLINE_SCOPE": "*/json/*"})
    counted = {}
    for file, _, line in run.process().lines():
        if line["occurrences"]:
            key = (file, line["line"])
            counted[key] = counted.get(key, 0) + line["occurrences"]
    seen = {(file, number): n for file, number, n in run.answers()}
    assert len(seen) > 100
    # Behind the program's last line but one the tool doesn't look any more: json.dumps() runs once again.
    more = {key: n - seen.get(key, 0) for key, n in counted.items() if n != seen.get(key, 0)}
    assert set(seen) <= set(counted)
    assert all(n > 0 for n in more.values()) and sum(more.values()) < 60


def test_a_program_that_takes_our_tool(python):
    run = record(python, """
        import sys
        m = sys.monitoring
        assert m.get_tool(4) == "memline"
        def before():
            pass  # before
        before()
        m.free_tool_id(4)
        m.use_tool_id(4, "thief")
        seen = []
        m.register_callback(4, m.events.LINE, lambda code, line: seen.append(line))
        exec(compile("def after():\\n    pass\\n", sys.argv[0], "exec"))
        for i in range(3):
            after()
        assert m.get_local_events(4, after.__code__) == 0
        before()
        m.register_callback(4, m.events.LINE, None)
        m.set_events(4, 0)
    """)
    process = run.process()
    assert process.rows["before"].occurrences == 1
    assert process.warnings == [
        "lines were not counted until the end: the program took the tool of sys.monitoring that is memline's: "
        "what it loaded afterwards was not counted"]


def test_it_is_a_tool_like_others(python):
    answers = record(python, """
        import json, sys
        m = sys.monitoring
        def f():
            pass
        print(json.dumps([[m.get_tool(i) for i in range(6)], m.get_events(4), m.get_local_events(4, f.__code__),
                          m.get_local_events(4, json.dumps.__code__)]))
    """).answers()
    assert answers == [[None, None, None, None, "memline", None], 0, 32, 0]


def test_a_kill_loses_no_run(python):
    child, run = start(python, """
        import os, sys
        def work(n):
            for i in range(n):
                pass  # body
        for i in range(7):
            work(1000)  # call
        os.write(1, b"ready")
        sys.stdin.read(1)
        work(3000)
        sys.stdin.read(1)  # wait
        sys.stdin.read(1)  # never
    """)
    assert child.stdout.read(5) == b"ready"
    child.stdin.write(b"1")
    child.stdin.flush()
    while child.poll() is None and run.process().rows["wait"].occurrences is None:
        time.sleep(0.05)
    assert run.process().data["end"] == "running"
    child.send_signal(signal.SIGKILL)
    process = run.finish(child, -signal.SIGKILL).process()
    assert [process.rows[tag].occurrences for tag in ("body", "call", "wait", "never")] == \
        [10_000, 7, 1, None]


def test_a_forked_child_counts_its_own(python):
    run = record(python, """
        import os
        def work(n):
            for i in range(n):
                pass  # body
        work(10)
        for size in 100, 1000:
            if not os.fork():  # fork
                work(size)
                os._exit(0)  # leave
            os.wait()
        work(20)  # behind
    """)
    processes = run.report()
    assert [each.rows["body"].occurrences for each in processes] == [30, 100, 1000]
    assert [each.rows["fork"].occurrences for each in processes] == [2, None, None]
    assert [each.rows["leave"].occurrences for each in processes] == [None, 1, 1]
    assert [each.rows["behind"].occurrences for each in processes] == [1, None, None]
    merged = run.process("--merge")
    assert merged.rows["body"].occurrences == 1130


def test_memory_when_a_line_ran_that_did_nothing(python):
    """Its last run is what counts, wherever the last event was."""
    process = record(python, """
        def quiet():
            pass  # quiet
        quiet()
        big = bytearray(50_000_000)  # made
        quiet()
        more = bytearray(20_000_000)
        def early(): pass
        del big, more  # gone
        x = None  # end
    """).process()
    rows = process.rows
    assert (rows["quiet"].increment, rows["quiet"].allocations, rows["quiet"].occurrences) == (0, 0, 2)
    assert abs(rows["quiet"].mem - rows["made"].mem) < 10_000
    assert rows["gone"].mem < rows["quiet"].mem - 49_000_000
    assert abs(rows["end"].mem - rows["gone"].mem) < 10_000


def test_counting_is_no_line_s_doing(python):
    """With and without it each line has the same bytes and blocks, also where its number is an object of its own."""
    text = "\n" * 400 + textwrap.dedent("""
        import sys; getattr(sys, '_clear_internal_caches', sys._clear_type_cache)()
        def work(n):
            for i in range(n):
                x = i * 1000
                y = [x]
            return n
        keep = [work(n) for n in range(30)]
        class Thing:
            def __init__(self):
                self.it = work(3)
        things = [Thing() for i in range(20)]
        del things
        for i in range(5):
            exec(compile("def f():\\n    return [1, 2]\\nf()\\n", sys.argv[0], "exec"), {})
    """)
    reports = []
    for occurrences in "off", "auto":
        process = record(python, text, env={"MEMLINE_OCCURRENCES": occurrences, "PYTHONHASHSEED": "0"}).process()
        process.check_exact()
        reports.append({(name, line["line"]): [line[field] for field in FIELDS if field != "mem_bytes"]
                        for _, name, line in process.lines() if line["allocations"] or line["increment_bytes"]})
    if python.version < (3, 14):  # later ones keep freed ints, so that whoever needs one may find it there
        assert reports[0] == reports[1]
    assert reports[0].keys() == reports[1].keys()


def test_off(python):
    process = record(python, MANY, env={"MEMLINE_OCCURRENCES": "off"}).process()
    assert {line["occurrences"] for _, _, line in process.lines()} == {None}
    assert not process.rows["never"].seen and not process.rows["loop_body"].seen
    process.check_exact()


def test_a_part_of_a_run_has_no_counts(python):
    run = record(python, "keep = bytearray(1000)  # made\nif keep:\n    pass  # quiet\n")
    assert run.process().rows["quiet"].seen
    for part in ("--from", "0.000001"), ("--to", "1000"), ("--thread", run.process().data["pid"]):
        process = run.process(*part)
        assert not process.rows["quiet"].seen
        assert {line["occurrences"] for _, _, line in process.lines()} <= {None}


def test_only_what_is_in_the_recorded_scope(python):
    text = """
        import textwrap
        for i in range(3):
            textwrap.dedent("  a")
    """
    lines = [line for file, _, line in record(python, text).process("--scope", "*").lines() if "textwrap" in file]
    assert lines and {line["occurrences"] for line in lines} == {None}
    run = record(python, text, env={"MEMLINE_SCOPE": "textwrap.py"})
    (begins,) = [line["occurrences"] for file, name, line in run.process().lines()
                 if name == "dedent" and line["occurrences"] == 3][:1]
    assert begins == 3
    assert {line["occurrences"] for file, _, line in run.process("--scope", "*").lines() if file == run.file} == {None}


@pytest.mark.few
def test_the_dump(python):
    run = record(python, "for i in range(12):\n    pass\n")
    assert " line 2 ran 12 times" in memline("dump", "--defs", run.folder)
