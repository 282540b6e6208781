"""Calls and arithmetic: hardly an allocation."""
import sys


def fib(n):
    return n if n < 2 else fib(n - 1) + fib(n - 2)


for _ in range(int(float(sys.argv[1]) * 14)):
    fib(22)
