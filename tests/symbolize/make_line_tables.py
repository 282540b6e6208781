#!/usr/bin/env python3
"""Prints line tables of tricky code objects and what this interpreter itself says about them.

For tests/symbolize/test_lines.c, which reads the output for several versions:

    for v in 3.8 3.9 3.10 3.11 3.12 3.13 3.14 3.15; do python$v make_line_tables.py >../data/lines-$v.txt; done

Format: a line "version KIND", where KIND is the number of enum ml_line_table; then for each code object

    code FIRST_LINE LAST_LINE TABLE_IN_HEX NAME
    PLACE LINE          for every instruction; PLACE in bytes of bytecode

An instruction without a line of its own has the first line. The same output can be had again and again: nothing in it
depends on the machine.
"""
import dis
import sys

LINE_TABLE = 1 if sys.version_info < (3, 10) else 2 if sys.version_info < (3, 11) else 3

PROGRAM = '''\
import os
from functools import lru_cache


@lru_cache(
    maxsize=None,
)
@staticmethod
def decorated(
    a,
    b=1,
):
    return (
        a
        +
        b
    )


def multi_line_call(f):
    x = f(
        f(1,
          2),

        f(
            3),
        key=f(4
              ))
    return x


def backwards(n):
    while (
            n
            >
            0):
        n -= (
            1)
    for i in range(
            n
    ): print(
        i)
    return n


def exceptions(f):
    try:
        f()
        try:
            return f(1)
        except ValueError as e:
            raise KeyError(
                e
            ) from e
        finally:
            f(2)
    except (KeyError,
            IndexError):
        pass
    else:
        f(3)
    finally:
        with f(4) as g, \\
                f(5):
            g()


def comprehensions(xs):
    a = [
        x
        for x in xs
        if x
    ]
    b = {x: (lambda y: y +
             x)
         for x in xs}
    c = sum(
        x * 2
        for x in
        xs)
    return a, b, c, {x for x in xs}


class Body:
    """Doc."""
    field = [1,
             2]

    @property
    def value(self): return self.field

    async def coroutine(self):
        async with self as s:
            await s
        async for x in s:
            yield x
        return


def strings(a):
    return (f"{a}"
            f"{a + 1}"

            f"{a!r}"), """
text""" + a


async def folded(): return [x async for x in
                            folded()]
'''


def far():
    """Jumps of more than a signed or an unsigned byte can hold, forwards and backwards."""
    return ('def jump(f):\n    f(' + '\n' * 127 + '1,' + '\n' * 128 + '2,' + '\n' * 129 + '3,' + '\n' * 300 +
            'f,' + '\n' * 1000 + 'f(4))\n' + '\n' * 255 + '    return f\n')


def long():
    """More bytecode on one line than one entry can cover."""
    return 'def long(a):\n    return ' + ' + '.join(['a'] * 400) + '\n\ndef next(a):\n    b = [' + \
        ', '.join('a.x%d' % i for i in range(200)) + ']\n    return b\n'


def wide():
    """Columns beyond the 80 and 128 that short entries hold."""
    return 'def wide(a):\n    return ' + ' ' * 200 + 'a(' + ' ' * 300 + '1, ' + '\\\n' + ' ' * 5000 + 'a)\n'


def cleared():
    """Code whose instructions have no line: what a tool that makes bytecode by hand leaves."""
    def f():
        return 1
    if sys.version_info < (3, 10):
        return f.__code__.replace(co_lnotab=b'')
    if sys.version_info < (3, 11):
        return f.__code__.replace(co_linetable=bytes([len(f.__code__.co_code), 128]))
    units = len(f.__code__.co_code) // 2
    return f.__code__.replace(co_linetable=b''.join(
        bytes([0x80 | 15 << 3 | min(units - at, 8) - 1]) for at in range(0, units, 8)))


def walk(code):
    yield code
    for constant in code.co_consts:
        if hasattr(constant, 'co_code'):
            yield from walk(constant)


def ranges(code):
    """(begin, end, line or None) in bytes, as the interpreter tells them."""
    if sys.version_info >= (3, 10):
        yield from code.co_lines()
        return
    starts = list(dis.findlinestarts(code))
    if not starts or starts[0][0] > 0:
        starts.insert(0, (0, code.co_firstlineno))
    ends = [begin for begin, _ in starts[1:]] + [len(code.co_code)]
    for (begin, line), end in zip(starts, ends):
        yield begin, end, line


def last_line(code):
    lines = [line for begin, end, line in ranges(code) if line and end > begin]
    if sys.version_info >= (3, 11):
        lines += [p[1] for p in code.co_positions() if p[0] and p[1]]
    return max(lines + [code.co_firstlineno])


def show(code):
    table = code.co_lnotab if sys.version_info < (3, 10) else code.co_linetable
    print('code', code.co_firstlineno, last_line(code), table.hex() or '-', code.co_name)
    for begin, end, line in ranges(code):
        for place in range(begin, end, 2):
            print(place, line or code.co_firstlineno)


def main():
    print('version', LINE_TABLE)
    for text in (PROGRAM, far(), long(), wide()):
        for code in walk(compile(text, 'program.py', 'exec')):
            show(code)
    show(cleared())


if __name__ == '__main__':
    main()
