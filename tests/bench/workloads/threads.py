"""Four threads with buffers and dictionaries, compressing outside of the interpreter's lock."""
import sys
import threading
import zlib


def work(rounds):
    table = {}
    for i in range(rounds):
        buffer = bytearray(b"memory" * 2000)
        table[i % 500] = zlib.compress(bytes(buffer), 1), {"i": i, "text": "x" * (i % 100)}


threads = [threading.Thread(target=work, args=(int(float(sys.argv[1]) * 1500),)) for _ in range(4)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
