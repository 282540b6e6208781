"""An allocating loop below many levels of recursion: the second argument says how many."""
import sys
import threading


def loop(rounds):
    size = 0
    for i in range(rounds):
        size += len(str(i + 1000)) + len([i, i]) + len(bytes(i % 64))
    return size


def descend(levels, rounds):
    return descend(levels - 1, rounds) if levels else loop(rounds)


def main():
    print("checksum", descend(int(sys.argv[2]), int(float(sys.argv[1]) * 300000)))


# Before 3.11 a level takes some of the C stack.
sys.setrecursionlimit(1 << 20)
threading.stack_size(512 << 20)
thread = threading.Thread(target=main)
thread.start()
thread.join()
