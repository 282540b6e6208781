#include "report/memory.h"

#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

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
