/* See shapes.h. built with: -O2 -fomit-frame-pointer -Wno-missing-prototypes */
#include <stdlib.h>
#include <string.h>

#include "tests/preload/objects/shapes.h"

typedef void shape(const struct shapes *s, unsigned depth);

static shape plain, keeping, variable, aligned, aligned_variable, sorting;

static void call_any(const struct shapes *s, unsigned depth)
{
	static shape *const shapes[] = {plain, keeping, variable, aligned, aligned_variable, sorting, shapes_eval};

	shapes[s->any(sizeof(shapes) / sizeof(shapes[0]))](s, depth - 1);
}

static inline __attribute__((always_inline)) void run(const struct shapes *s, unsigned depth)
{
	s->event();
	while (depth && s->any(2)) {
		call_any(s, depth);
		s->event();
	}
}

static __attribute__((noinline)) void plain(const struct shapes *s, unsigned depth)
{
	run(s, depth);
}

/* As many values as there are registers, the frame pointer's too, that change from one event to the next. */
static __attribute__((noinline)) void keeping(const struct shapes *s, unsigned depth)
{
	unsigned a = s->any(100), b = s->any(100), c = s->any(100), d = s->any(100), e = s->any(100);

	while (depth && s->any(2)) {
		a += s->any(3);
		b += a;
		c ^= b;
		d -= c;
		e += d;
		s->event();
		call_any(s, depth);
	}
	if (a == 1000000 && b == c && d == e)
		abort();
}

static __attribute__((noinline)) void variable(const struct shapes *s, unsigned depth)
{
	volatile char text[s->any(2000) + 1];

	text[0] = 1;
	run(s, depth);
	if (!text[0])
		abort();
}

static __attribute__((noinline)) void aligned(const struct shapes *s, unsigned depth)
{
	volatile char text[100] __attribute__((aligned(128)));

	text[0] = 1;
	run(s, depth);
	if (!text[0] || (unsigned long)text % 128)
		abort();
}

static __attribute__((noinline)) void aligned_variable(const struct shapes *s, unsigned depth)
{
	volatile char text[100] __attribute__((aligned(64))), more[s->any(1000) + 1];

	text[0] = more[0] = 1;
	run(s, depth);
	if (!text[0] || !more[0])
		abort();
}

static __thread const struct shapes *sorting_shapes;
static __thread unsigned sorting_depth;

static int compare(const void *left, const void *right)
{
	run(sorting_shapes, sorting_depth);
	return *(const int *)left - *(const int *)right;
}

/* By way of the C library. */
static __attribute__((noinline)) void sorting(const struct shapes *s, unsigned depth)
{
	int numbers[2] = {2, 1};
	unsigned before = sorting_depth;

	sorting_shapes = s;
	sorting_depth = depth;
	qsort(numbers, 2, sizeof(numbers[0]), compare);
	sorting_depth = before;
}

__attribute__((noinline)) void shapes_eval(const struct shapes *s, unsigned depth)
{
	char room[SHAPES_ROOM] __attribute__((aligned(16)));

	memset(room, 0, sizeof(room));
	s->enter(room);
	run(s, depth);
	s->leave();
}

void shapes_run(const struct shapes *s, unsigned depth)
{
	run(s, depth);
}
