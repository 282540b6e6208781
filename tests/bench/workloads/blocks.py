"""Buffers of all sizes through malloc, held in a window that moves on."""
import sys

window = [None] * 300
for i in range(int(float(sys.argv[1]) * 600_000)):
    window[i % 300] = bytearray(600 + i * 37 % 9000)
