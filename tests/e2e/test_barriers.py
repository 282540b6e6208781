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
