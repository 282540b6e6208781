/* Source files, read when a report is printed. */
#ifndef ML_REPORT_SOURCE_H
#define ML_REPORT_SOURCE_H

#include <stddef.h>
#include <stdint.h>

/* A file's text by lines. One that couldn't be read has no lines. */
struct ml_source {
	char *text;
	size_t *starts; /* of each line in text, and where the last one ends */
	int lines;
	int64_t modified_ns; /* since the epoch */
};

/*
 * Reads the file that CPython knows by this name: UTF-8 in which a byte that isn't UTF-8 is a surrogate from U+DC80 on
 * (PEP 383). Only regular files of at most 64 MiB are read. Returns 0, or -1 if there is no such file.
 */
int ml_source_open(struct ml_source *s, const char *file);

/* The same for text that is in memory already, which is copied. */
void ml_source_set(struct ml_source *s, const char *text);

/* The same for text that is the source's from now on; there is one more byte of it. */
void ml_source_take(struct ml_source *s, char *text, size_t bytes);

void ml_source_close(struct ml_source *s);

/* The line (from 1) without its end, and its length; NULL where there is none. */
const char *ml_source_line(const struct ml_source *s, int line, size_t *bytes);

/*
 * Last line of the function or class whose first line (of the first decorator, if it has any) is given, judged by
 * indentation as inspect.getsourcelines does, but without comments that end it. At least the first line.
 */
int ml_source_block_end(const struct ml_source *s, int first_line);

#endif
