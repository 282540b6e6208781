"""Four threads: buffers and dictionaries under the interpreter's lock, compression and digests outside of it."""
import hashlib
import sys
import threading
import zlib

THREADS = 4
TEXT = b"".join(b"%d sheep, " % i for i in range(4000))


def pack(number):
    page = bytearray(TEXT)
    page[number % len(page)] = number & 255
    packed = zlib.compress(page, 1)
    return len(packed) + zlib.decompressobj().decompress(packed)[number % 1000] + hashlib.sha1(page).digest()[0]


def index(number):
    table = {"key %d" % i: (i, [str(i * number)]) for i in range(500)}
    parts = [bytearray(30 + i % 200) for i in range(400)]
    return len(table) + len(parts[number % 400])


def work(results, thread, rounds):
    results[thread] = sum(pack(number + thread) + index(number) for number in range(rounds))


def main(scale):
    results = [0] * THREADS
    crew = [threading.Thread(target=work, args=(results, i, int(scale * 700))) for i in range(THREADS)]
    for thread in crew:
        thread.start()
    for thread in crew:
        thread.join()
    return sum(results)


if __name__ == "__main__":
    print("checksum", main(float(sys.argv[1])))
