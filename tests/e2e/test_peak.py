"""memline peak: who held the memory at the high-water mark, or at another moment."""
import json

import pytest

from support import BYTES, MIB, around_bytearray, memline, record

PROGRAM = """
def make(size):
    return bytes(size)  # made

def work():
    global kept
    kept = [make(100000) for i in range(10)]
    big = bytearray(20 << 20)  # big
    del big

work()  # called
late = bytearray(1 << 20)  # late
"""


def read(run, *options):
    (process,) = json.loads(memline("peak", "--json", *options, run.folder))["processes"]
    return process


def tags(run):
    return run.process().tags


def held(process, run, line):
    """What the line of the program holds: bytes, blocks and inclusive bytes."""
    found = [(site["live_bytes"], site["live_blocks"], site["inclusive_bytes"]) for site in process["sites"]
             if site["file"] == run.file and site["line"] == line]
    assert len(found) < 2
    return found[0] if found else (0, 0, 0)


def test_peak(python):
    run = record(python, PROGRAM)
    process, lines = read(run), tags(run)
    totals = process["totals"]
    assert sum(site["live_bytes"] for site in process["sites"]) == totals["peak_bytes"]
    big = (20 << 20) + around_bytearray(python)
    assert held(process, run, lines["big"])[::2] == (big, big)
    assert held(process, run, lines["made"]) == (10 * (100000 + BYTES), 10, 10 * (100000 + BYTES))
    assert held(process, run, lines["late"]) == (0, 0, 0)
    assert process["sites"][0]["stack"][0]["line"] == lines["big"]
    assert [call["line"] for call in process["sites"][0]["stack"]] == [lines["big"], lines["called"]]


@pytest.mark.few
def test_by_stack(python):
    run = record(python, PROGRAM)
    lines, stacks = read(run), read(run, "--by", "stack")
    assert sum(site["live_bytes"] for site in stacks["sites"]) == stacks["totals"]["peak_bytes"]
    assert all(site["stacks"] == 1 for site in stacks["sites"])
    # What is told apart by stack adds up to what is told by line.
    for line in lines["sites"]:
        key = [line[name] for name in ("file", "line", "function", "module")]
        parts = [site["live_bytes"] for site in stacks["sites"]
                 if [site[name] for name in ("file", "line", "function", "module")] == key]
        assert sum(parts) == line["live_bytes"] and len(parts) <= line["stacks"]
    texts = [json.dumps(site["stack"]) for site in stacks["sites"]]
    assert len(set(texts)) == len(texts)


@pytest.mark.few
def test_at(python):
    """The peak at the moment of the peak; what is live in the end at the end."""
    run = record(python, PROGRAM)
    process = read(run, "--at", "1000000")
    totals = process["totals"]
    assert sum(site["live_bytes"] for site in process["sites"]) == totals["live_bytes"]
    assert held(process, run, tags(run)["late"])[0] == MIB + around_bytearray(python)
    assert held(process, run, tags(run)["big"]) == (0, 0, 0)
    start = read(run, "--at", "0")
    assert start["totals"]["live_bytes"] == 0 and start["sites"] == []


@pytest.mark.few
def test_text(python):
    run = record(python, PROGRAM)
    text = memline("peak", run.folder)
    first = next(line for line in text.splitlines() if "program.py" in line and "MiB" in line)
    assert first.split()[:2] == ["20.0", "MiB"] and first.endswith(f"work ({run.file}:{tags(run)['big']})")
    assert "and " in text.splitlines()[-1] and "--all" in text.splitlines()[-1]
    few = memline("peak", "--min-bytes", 10 * MIB, run.folder)
    assert "work (" in few and "make (" not in few


def pieces(trace):
    """The trace's events as (turn, ring, piece, words), each piece once: what a ring still has is the newer copy."""
    found, copy, key = {}, None, None
    for line in memline("dump", "--events", trace).splitlines():
        words = line.split()
        if words[0] == "extent":
            copy = words[1] != "ring"
        elif words[0] == "piece":
            key = (int(words[4]), int(words[1]))
            if copy and key in found:
                key = None
            elif key:
                found[key] = []
        elif key and line.startswith("    "):
            found[key].append(words[1:])
    for (ring, piece), records in found.items():
        turn = 0
        for words in records:
            if words[0] == "base":
                turn = int(words[2])
            elif words[0] == "turn":
                turn += int(words[1])
            yield turn, ring, piece, words


def play(events, shown):
    """A replay that is as plain as can be, of heap blocks alone. Gives shown() all live ones after each event."""
    blocks, pending = {}, {}
    for number, (_, ring, _, words) in enumerate(events):
        record, fields = words[0], dict(zip(words, words[1:]))
        gone, made = None, None
        if record == "alloc":
            made = fields["node"]
        elif record == "free":
            gone = fields["at"]
        elif record == "realloc-begin":
            pending[ring] = fields["at"], fields["node"]
        elif record == "realloc-end" and words[1] != "failed":
            gone, node = pending.pop(ring)
            made = node if words[1] == "done" else None
        elif record == "other" and "finalize" in words:
            break
        elif record == "other" and "ours" in words:
            blocks[fields["at"]] = "memline's", blocks[fields["at"]][1]
        else:
            assert record in ("base", "turn", "time", "arena", "realloc-end") or words[1:2] == ["generator"], words
        taken = blocks.pop(gone, (None, 0))[1]
        if made is not None:
            blocks[fields["at"]] = made, int(fields["bytes"])
            taken -= int(fields["bytes"])
        shown(number, blocks, -taken)


@pytest.mark.few
def test_against_a_replay(python):
    """To the byte what all live blocks add up to at the moment when they are most."""
    run = record(python, """
import json, threading
def work(n):
    held = [str(i) * (n + 1) for i in range(3000)]
    json.dumps(held)
    del held[::2]
    held.extend([bytes(n * 10)] * 10)
threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]
[thread.start() for thread in threads]
[thread.join() for thread in threads]
work(30)
""")
    (trace,) = run.traces
    # By turn, and in a turn in the order of its one ring: sorting is stable.
    events = sorted(pieces(trace), key=lambda event: event[:3])
    live, best = 0, (0, 0)

    def add_up(number, blocks, more):
        nonlocal live, best
        live += more
        best = max(best, (live, -number))

    play(events, add_up)
    nodes = {}

    def take_best(number, blocks, more):
        if number == -best[1]:
            assert sum(size for _, size in blocks.values()) == best[0]
            for node, size in blocks.values():
                nodes.setdefault(node, []).append(size)

    play(events, take_best)
    process = read(run)
    assert process["totals"]["peak_bytes"] == best[0]
    assert sum(site["live_blocks"] for site in process["sites"]) == sum(map(len, nodes.values()))
    stacks = read(run, "--by", "stack")["sites"]
    assert len(stacks) <= len(nodes)
    largest = max(nodes.values(), key=sum)
    assert any(site["live_bytes"] >= sum(largest) and site["live_blocks"] >= len(largest) for site in stacks)
