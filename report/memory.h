/*
 * Memory of the offline half. Running out of it ends the command with one line on stderr and status 1: a report cannot
 * be half right. Everything here but tables is released with free().
 */
#ifndef ML_REPORT_MEMORY_H
#define ML_REPORT_MEMORY_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

/* Zeroed room for count items of the given size. Never NULL, also for none. */
void *ml_memory_get(size_t count, size_t size);

/* The same for a table that is looked into at random: in huge pages, where the system has them for those who ask. What
   is released with ml_memory_free_table() is the system's again, so that a table that grows leaves nothing behind. */
void *ml_memory_get_table(size_t count, size_t size);
void ml_memory_free_table(void *table, size_t count, size_t size);

/* As realloc for count items; what is added is not zeroed. */
void *ml_memory_resize(void *old, size_t count, size_t size);

/* Makes room for `to` items, of which there are n; what is added is zeroed. */
void *ml_memory_more(void *items, size_t n, size_t to, size_t size);

/* Room for one more behind n items: it doubles whenever n is a power of two. */
void *ml_memory_grow(void *items, size_t n, size_t size);

/* A copy of the bytes with a NUL behind them. */
char *ml_memory_text(const void *bytes, size_t length);

/* The bytes as lowercase hexadecimal digits. */
char *ml_memory_hex(const uint8_t *bytes, size_t length);

/* As asprintf. */
char *ml_memory_print(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* A stream that writes into memory: *text and *bytes are valid once it is closed, and the caller frees the text. */
FILE *ml_memory_stream(char **text, size_t *bytes);

#endif
