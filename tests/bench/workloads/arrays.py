"""numpy: temporaries of 400 bytes, 40 kB and 3.2 MB, the last of which the C library maps one by one."""
import sys

import numpy


def smooth(length, rounds):
    x = numpy.linspace(0.0, 1.0, length)
    y = numpy.ones(length)
    total = 0.0
    for i in range(rounds):
        z = numpy.sqrt(x * x + y) - x / (y + 2.0)
        total += float(z[i % length]) + float(numpy.maximum(z, x)[0])
    return total


def main(scale):
    return smooth(50, int(scale * 120000)) + smooth(5000, int(scale * 15000)) + smooth(400000, int(scale * 100))


if __name__ == "__main__":
    print("checksum", main(float(sys.argv[1])))
