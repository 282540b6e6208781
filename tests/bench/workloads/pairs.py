"""Pairs of malloc and free in native code that Python called: pairs.py SCALE THREADS DEPTH LIBRARY."""
import ctypes
import sys

library = ctypes.CDLL(sys.argv[4])
library.bench_pairs.restype = ctypes.c_double
library.bench_pairs.argtypes = [ctypes.c_int, ctypes.c_int, ctypes.c_long]
pairs = int(float(sys.argv[1]) * 4000000)
ns = library.bench_pairs(int(sys.argv[2]), int(sys.argv[3]), pairs)
print("checksum", pairs)
print("ns/pair %.2f" % ns)
