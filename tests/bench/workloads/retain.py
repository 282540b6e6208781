"""Some 900,000 objects of many kinds that stay alive; half of them are dropped and made anew, three times."""
import collections
import sys

Range = collections.namedtuple("Range", "first last")


class Item:
    def __init__(self, number):
        self.number = number
        self.title = "item %d" % number


class Slot:
    __slots__ = "left", "right"

    def __init__(self, number):
        self.left = number * 3
        self.right = float(number)


def record(number):
    number += 1000
    return [
        Item(number), Slot(number), Range(number, number * 2), {"n": number, "t": str(number), "l": [number]},
        {number, number + 1}, frozenset((number, str(number))), (number * 7, number / 3), bytes(number % 100),
        [number + i for i in range(5)], bytearray(20 + number % 600), lambda: number, 1 << 30 + number % 150,
        complex(number, 1), slice(number, number + 9), memoryview(b"memory")[number % 5:], range(number, number * 2),
    ]


kept = []


def main(scale):
    for _ in range(3):
        kept.extend(record(number) for number in range(len(kept), int(scale * 24000)))
        del kept[::2]
    return sum(each[0].number for each in kept)


if __name__ == "__main__":
    print("checksum", main(float(sys.argv[1])))
