"""Calls, small integers and floats that CPython has ready: hardly an allocation, so nothing should be paid."""
import sys


def paths(width, height):
    return 1 if not width or not height else (paths(width - 1, height) + paths(width, height - 1)) & 127


def orbit(steps):
    x, y = 0.1, 0.0
    for _ in range(steps):
        for _ in range(200):
            x, y = 1.0 - 1.4 * x * x + y, 0.3 * x
    return x + y


def main(scale):
    ways, end = 0, 0.0
    for _ in range(max(1, int(scale * 70))):
        for _ in range(8):
            ways += paths(7, 6)
        end += orbit(1500)
    return "%d %.9f" % (ways, end)


if __name__ == "__main__":
    print("checksum", main(float(sys.argv[1])))
