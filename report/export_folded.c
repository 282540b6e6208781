/*
 * Folded stacks, as flamegraph.pl and its kin read them: "root;caller;leaf N", a line for each stack. A negative
 * increment is written as such; flamegraph.pl leaves it out and says so.
 */
#include <inttypes.h>
#include <stdlib.h>

#include "report/export.h"
#include "report/memory.h"

/* In place: a semicolon would separate frames, a control character might end the line. */
static void print_text(FILE *out, char *text)
{
	for (char *at = text; *at; at++)
		*at = *at == ';' ? ',' : (unsigned char)*at < 0x20 || *at == 0x7f ? ' ' : *at;
	fputs(text, out);
}

static void print_frame(FILE *out, const struct ml_reading *r, const struct ml_frame *frame)
{
	uint32_t call;
	char *text;

	for (call = frame->calls_n; call-- > 0;) {
		text = ml_stacks_text(&r->stacks, &r->sites.natives.objects, frame, call);
		print_text(out, text);
		free(text);
		if (call)
			putc(';', out);
	}
}

static void add(struct ml_export *e, const struct ml_reading *r)
{
	const struct ml_stacks *s = &r->stacks;
	uint32_t *path = ml_memory_get(s->depth, sizeof(*path)), i, k;
	char *process = ml_export_process(r);
	bool *takes = ml_reading_takes(r, e->options);

	for (i = 1; i < s->n; i++) {
		int64_t value = ml_metric_value(&s->items[i].amount, e->metric);
		if (!takes[i] || !value)
			continue;
		if (e->several) {
			print_text(e->out, process);
			putc(';', e->out);
		}
		ml_stacks_path(s, i, path);
		for (k = 0; k < s->items[i].depth; k++) {
			if (k)
				putc(';', e->out);
			print_frame(e->out, r, &s->frames[path[k]]);
		}
		fprintf(e->out, " %" PRId64 "\n", value);
	}
	free(process);
	free(takes);
	free(path);
}

const struct ml_export_format ml_export_folded = {.name = "folded", .stacks = true, .add = add};
