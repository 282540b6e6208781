"""Stacks are not compared below a frame of which the interpreter would tell that it is left. No report may show it."""
import os

import pytest
from support import record, stacks

with open(os.path.join(os.path.dirname(__file__), "programs", "leaving.py"), encoding="utf-8") as text:
    LEAVING = text.read()


def made(run):
    """The bytes objects that small() makes in the main thread, by their stacks: one for each call.

    What else is allocated depends on what CPython keeps for later, and in other threads on who waits for whom.
    """
    return {tuple((function, place and os.path.basename(place)) for function, place in frames): number
            for frames, number in stacks(run, having="small").items()
            if frames[0][0] == "<module>" and frames[-1][0] == "small"}


@pytest.mark.since(3, 12)
def test_leaving(python):
    """Enough events that each frame may become a barrier before it is left."""
    watched = record(python, LEAVING, 350)
    plain = record(python, LEAVING, 350, env={"MEMLINE_OCCURRENCES": "off"})
    assert plain.stdout == ""
    assert watched.stdout.split() == ["key", "leaves", "raises", "recursion"]
    assert made(watched) == made(plain)


INTERPRETERS = """
try:
    import _interpreters as interpreters
except ImportError:
    import _xxsubinterpreters as interpreters
import os, sys
folder = os.path.dirname(os.path.abspath(__file__))
with open(os.path.join(folder, "helper.py"), "w") as file:
    file.write('''def fill(n):
    return sum(len([bytes(50), bytes(60)]) for k in range(n))
def down(n):
    return down(n - 1) if n else sum(fill(100) for k in range(200))
''')
for n in range(3):
    interpreter = interpreters.create()
    interpreters.run_string(interpreter, f"import sys; sys.path.insert(0, {folder!r}); import helper; helper.down(20)")
    print(sum(k % 7 for k in range(1000)))  # calls that wait for the main interpreter are made
    interpreters.destroy(interpreter)
sys.path.insert(0, folder)
import helper
print(helper.down(20))
"""


@pytest.mark.since(3, 12)
def test_other_interpreters(python):
    """An interpreter that is made to watch another's code makes what the other one frees, which it does not survive."""
    # Since 3.14 an interpreter that ends frees tables of its allocator, which were made within an allocation.
    run = record(python, INTERPRETERS, sound=python.version < (3, 14))
    assert run.stdout.split() == ["2997"] * 3 + ["40000"]
