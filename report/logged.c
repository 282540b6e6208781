#include "report/logged.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "report/memory.h"
#include "report/process.h"
#include "report/source.h"

/* Begins each line: the name of the logger in the how-to. */
#define PREFIX "memory_profiler_logs: "

#define MIB (1024.0 * 1024.0)

struct row {
	const struct ml_function *function;
	const struct ml_line *line;
};

/* Rows lie in memory as their functions and lines do. */
static int by_place(const void *left, const void *right)
{
	const struct row *a = left, *b = right;

	if (a->function != b->function)
		return a->function < b->function ? -1 : 1;
	return (a->line > b->line) - (a->line < b->line);
}

static int by_size(const void *left, const void *right)
{
	const struct row *a = left, *b = right;
	const uint64_t a_size = ml_magnitude(a->line->increment_bytes), b_size = ml_magnitude(b->line->increment_bytes);

	return a_size != b_size ? (a_size > b_size ? -1 : 1) : by_place(left, right);
}

/* The rows to be shown, in their order. */
static struct row *choose_rows(const struct ml_sites *sites, size_t top, size_t *n)
{
	struct row *rows = ml_memory_get(sites->lines_n, sizeof(*rows));

	*n = 0;
	for (size_t i = 0; i < sites->functions_n; i++) {
		const struct ml_function *f = &sites->functions[i];
		for (size_t line = 0; line < f->lines_n; line++)
			if (f->lines[line].increment_bytes)
				rows[(*n)++] = (struct row){f, &f->lines[line]};
	}
	qsort(rows, *n, sizeof(*rows), by_size);
	if (*n > top)
		*n = top;
	qsort(rows, *n, sizeof(*rows), by_place);
	return rows;
}

/* One line on its way out. */
struct text {
	char bytes[ML_LOGGED_MAX];
	size_t used;
};

/* Where the last character of a text that was cut off begins, if the cut went through it. */
static size_t whole_characters(const char *bytes, size_t n)
{
	size_t start = n, width;

	while (start && n - start < 3 && ((unsigned char)bytes[start - 1] & 0xc0) == 0x80)
		start--;
	if (!start || (unsigned char)bytes[start - 1] < 0xc0)
		return n;
	start--;
	width = (unsigned char)bytes[start] >= 0xf0 ? 4 : (unsigned char)bytes[start] >= 0xe0 ? 3 : 2;
	return n - start < width ? start : n;
}

/* Bytes that would end the line or steer a terminal become spaces. What does not fit is cut off. */
static void add(struct text *t, const char *bytes, size_t n)
{
	const size_t room = sizeof(t->bytes) - 1 - t->used;
	const bool cut = n > room;

	if (cut)
		n = room;
	for (size_t i = 0; i < n; i++)
		t->bytes[t->used++] = (unsigned char)bytes[i] < ' ' || bytes[i] == 127 ? ' ' : bytes[i];
	if (cut)
		t->used = whole_characters(t->bytes, t->used);
}

static bool put_text(struct text *t, bool (*put)(void *context, const char *line, size_t bytes), void *context)
{
	t->bytes[t->used++] = '\n';
	return put(context, t->bytes, t->used);
}

static void set_file(struct text *t, const char *file)
{
	static const char start[] = PREFIX "Filename: ";

	t->used = 0;
	add(t, start, sizeof(start) - 1);
	add(t, file, strlen(file));
}

static void set_row(struct text *t, const struct ml_line *line, const struct ml_source *source)
{
	char fields[160], occurrences[32] = "";
	const char *text;
	size_t bytes;
	int n;

	if (line->counted)
		snprintf(occurrences, sizeof(occurrences), "%s%" PRIu64, line->at_least ? ">" : "", line->occurrences);
	n = snprintf(fields, sizeof(fields), PREFIX "%d  %.1f MiB  %.1f MiB  %s  ", line->line,
		     (double)line->mem_bytes / MIB, (double)line->increment_bytes / MIB, occurrences);
	t->used = 0;
	add(t, fields, (size_t)n);
	text = ml_source_line(source, line->line, &bytes);
	if (text)
		add(t, text, bytes);
}

static void open_source(struct ml_source *s, const struct ml_trace *t, const char *file)
{
	const char *text = strcmp(file, "<string>") ? NULL : ml_process_text(t);

	*s = (struct ml_source){0};
	if (text)
		ml_source_set(s, text);
	else if (file[0] != '<')
		ml_source_open(s, file); /* one that is gone has no lines */
}

void ml_logged_table(const struct ml_sites *sites, const struct ml_trace *t, size_t top,
		     bool (*put)(void *context, const char *line, size_t bytes), void *context)
{
	struct ml_source source = {0};
	size_t n, i;
	struct row *rows = choose_rows(sites, top, &n);
	struct text text;
	bool more = true;

	for (i = 0; more && i < n; i++) {
		if (!i || rows[i].function != rows[i - 1].function) {
			ml_source_close(&source);
			open_source(&source, t, rows[i].function->file);
			set_file(&text, rows[i].function->file);
			more = put_text(&text, put, context);
		}
		set_row(&text, rows[i].line, &source);
		more = more && put_text(&text, put, context);
	}
	ml_source_close(&source);
	free(rows);
}
