"""Small objects, made and dropped as fast as CPython can, 34 frames deep: what a parser or serializer does all day."""
import sys

LEVELS = 29


class Token:
    __slots__ = "kind", "text", "start"

    def __init__(self, kind, text, start):
        self.kind = kind
        self.text = text
        self.start = start


class Name:
    def __init__(self, text, place):
        self.text = text
        self.place = place


def scan(first):
    return [Token(i & 7, str(i), i + 1) for i in range(first, first + 200)]


def names(first):
    found = 0
    for i in range(first, first + 150):
        name = Name("name %d" % i, i * 2)
        found += name.place & 3
    return found


def numbers(first):
    mixed = 0
    for i in range(first, first + 600):
        mixed = mixed ^ i * 5
    return mixed


def buffers(first):
    size = 0
    for i in range(first, first + 200):
        size += len(bytes(20 + i % 100)) + len([i, i])
    return size


def weigh(seed):
    """Arithmetic on numbers that are there already: a program does more than allocate."""
    for _ in range(38):
        for _ in range(250):
            seed = (seed * 2 + 3) & 63
    return seed


def work(rounds):
    mixed = 0
    for i in range(rounds):
        first = 100000 + i * 11
        tokens = scan(first)
        mixed ^= tokens[i % 200].start + names(first) + numbers(first) + buffers(first) + weigh(i & 63)
    return mixed


def descend(levels, rounds):
    return descend(levels - 1, rounds) if levels else work(rounds)


def main(scale):
    return descend(LEVELS, int(scale * 2700))


if __name__ == "__main__":
    print("checksum", main(float(sys.argv[1])))
