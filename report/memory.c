#include "report/memory.h"

#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

/* As x86-64 has them, and aarch64 with pages of 4 KiB. */
#define HUGE_PAGE ((size_t)2 << 20)

static void *checked(void *memory)
{
	if (memory)
		return memory;
	fputs("memline: out of memory\n", stderr);
	exit(1);
}

void *ml_memory_get(size_t count, size_t size)
{
	return checked(calloc(count ? count : 1, size ? size : 1));
}

void *ml_memory_get_table(size_t count, size_t size)
{
	size_t bytes;
	void *table;

	if (__builtin_mul_overflow(count, size, &bytes) || bytes < HUGE_PAGE)
		return ml_memory_get(count, size);
	table = checked(aligned_alloc(HUGE_PAGE, (bytes + HUGE_PAGE - 1) & ~(size_t)(HUGE_PAGE - 1)));
	madvise(table, bytes & ~(size_t)(HUGE_PAGE - 1), MADV_HUGEPAGE); /* a wish: its answer makes no difference */
	return memset(table, 0, bytes);
}

void *ml_memory_resize(void *old, size_t count, size_t size)
{
	size_t bytes;

	if (__builtin_mul_overflow(count, size, &bytes))
		return checked(NULL);
	return checked(realloc(old, bytes ? bytes : 1));
}

char *ml_memory_text(const void *bytes, size_t length)
{
	char *text = checked(length < SIZE_MAX ? malloc(length + 1) : NULL);

	if (length)
		memcpy(text, bytes, length);
	text[length] = 0;
	return text;
}

char *ml_memory_print(const char *format, ...)
{
	va_list list;
	char *text;
	int length;

	va_start(list, format);
	length = vasprintf(&text, format, list);
	va_end(list);
	return checked(length < 0 ? NULL : text);
}
