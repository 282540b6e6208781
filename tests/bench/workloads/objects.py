"""Small objects made and dropped as fast as Python can, thirty frames deep."""
import sys


class Point:
    def __init__(self, x, y):
        self.x, self.y = x, y


def churn(rounds):
    kept = None
    for i in range(rounds):
        kept = [Point(i, (i, i + 1)), {"i": str(i)}, [i] * 4]
    return kept


def deeper(levels, rounds):
    return deeper(levels - 1, rounds) if levels else churn(rounds)


deeper(30, int(float(sys.argv[1]) * 400_000))
