#include "report/memory.h"

#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

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

/* Bytes of a table that is mapped; 0: it is too small for that. */
static size_t mapped_bytes(size_t count, size_t size)
{
	size_t bytes, page = (size_t)sysconf(_SC_PAGESIZE);

	if (__builtin_mul_overflow(count, size, &bytes) || bytes > SIZE_MAX - 2 * HUGE_PAGE)
		checked(NULL);
	return bytes < HUGE_PAGE ? 0 : (bytes + page - 1) / page * page;
}

void *ml_memory_get_table(size_t count, size_t size)
{
	size_t bytes = mapped_bytes(count, size), before;
	char *start;

	if (!bytes)
		return ml_memory_get(count, size);
	start = mmap(NULL, bytes + HUGE_PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (start == MAP_FAILED)
		checked(NULL);
	before = -(uintptr_t)start % HUGE_PAGE;
	if (before)
		munmap(start, before);
	munmap(start + before + bytes, HUGE_PAGE - before);
	madvise(start + before, bytes / HUGE_PAGE * HUGE_PAGE, MADV_HUGEPAGE); /* a wish, whatever it answers */
	return start + before;
}

void ml_memory_free_table(void *table, size_t count, size_t size)
{
	size_t bytes = table ? mapped_bytes(count, size) : 0;

	if (bytes)
		munmap(table, bytes);
	else
		free(table);
}

void *ml_memory_resize(void *old, size_t count, size_t size)
{
	size_t bytes;

	if (__builtin_mul_overflow(count, size, &bytes))
		return checked(NULL);
	return checked(realloc(old, bytes ? bytes : 1));
}

void *ml_memory_more(void *items, size_t n, size_t to, size_t size)
{
	char *grown;

	if (to <= n)
		return items;
	grown = ml_memory_resize(items, to, size);
	memset(grown + n * size, 0, (to - n) * size);
	return grown;
}

void *ml_memory_grow(void *items, size_t n, size_t size)
{
	return n & (n - 1) ? items : ml_memory_resize(items, n ? n * 2 : 1, size);
}

char *ml_memory_text(const void *bytes, size_t length)
{
	char *text = checked(length < SIZE_MAX ? malloc(length + 1) : NULL);

	if (length)
		memcpy(text, bytes, length);
	text[length] = 0;
	return text;
}

char *ml_memory_hex(const uint8_t *bytes, size_t length)
{
	char *text = ml_memory_get(length * 2 + 1, 1);

	for (size_t i = 0; i < length; i++)
		snprintf(text + i * 2, 3, "%02x", bytes[i]);
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

FILE *ml_memory_stream(char **text, size_t *bytes)
{
	return checked(open_memstream(text, bytes));
}
