/* The lines of report as comma-separated values (RFC 4180, but lines end as text files' do). */
#include <inttypes.h>
#include <string.h>

#include "report/export.h"

static void begin(struct ml_export *e)
{
	fputs("pid,file,function,line,occurrences,mem_bytes,increment_bytes,own_increment_bytes,live_bytes,live_blocks,"
	      "allocated_bytes,allocations,peak_bytes\n",
	      e->out);
}

static void print_text(FILE *out, const char *text)
{
	if (!strpbrk(text, ",\"\r\n")) {
		fputs(text, out);
		return;
	}
	putc('"', out);
	for (; *text; text++) {
		if (*text == '"')
			putc('"', out);
		putc(*text, out);
	}
	putc('"', out);
}

static void print_place(FILE *out, const struct ml_reading *r, const char *file, const char *function)
{
	if (r->traces_n == 1)
		fprintf(out, "%" PRIu64, r->process.name.pid);
	putc(',', out);
	print_text(out, file);
	putc(',', out);
	print_text(out, function);
}

static void print_line(FILE *out, const struct ml_line *l)
{
	fprintf(out, ",%d,", l->line);
	if (l->counted)
		fprintf(out, "%" PRIu64, l->occurrences);
	fprintf(out, ",%" PRIu64 ",%" PRId64 ",%" PRId64, l->mem_bytes, l->increment_bytes, l->own_increment_bytes);
	fprintf(out, ",%" PRIu64 ",%" PRIu64 ",%" PRIu64 ",%" PRIu64 ",%" PRIu64 "\n", l->live_bytes, l->live_blocks,
		l->allocated_bytes, l->allocations, l->peak_bytes);
}

/* What belongs to no line, so that columns add up. */
static void print_outside(FILE *out, const struct ml_reading *r, const char *name, const struct ml_amount *a)
{
	print_place(out, r, "", name);
	fprintf(out, ",,,,%" PRId64 ",%" PRId64, (int64_t)a->increment_bytes, (int64_t)a->increment_bytes);
	fprintf(out, ",%" PRIu64 ",%" PRIu64 ",%" PRIu64 ",%" PRIu64 ",%" PRIu64 "\n", a->live_bytes, a->live_blocks,
		a->allocated_bytes, a->allocations, a->peak_bytes);
}

static void add(struct ml_export *e, const struct ml_reading *r)
{
	size_t i, k;

	for (i = 0; i < r->sites.functions_n; i++) {
		const struct ml_function *f = &r->sites.functions[i];
		for (k = 0; !f->hidden && k < f->lines_n; k++) {
			print_place(e->out, r, f->file, f->name);
			print_line(e->out, &f->lines[k]);
		}
	}
	print_outside(e->out, r, "<out of scope>", &r->sites.out_of_scope);
	print_outside(e->out, r, "<native>", &r->sites.native);
}

const struct ml_export_format ml_export_csv = {.name = "csv", .begin = begin, .add = add};
