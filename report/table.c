#include "report/table.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "report/memory.h"

#define MIB (1024.0 * 1024.0)

/* A stretch of at least so many empty rows of a module or class is told by its length: the functions in it have tables
   of their own. */
#define GAP 8

/* One cell; numbers are formatted as memory_profiler does with a precision. */
#define CELL_BYTES 400

static const char *cell_size(char *cell, int precision, double bytes)
{
	snprintf(cell, CELL_BYTES, "%*.*f MiB", precision + 4, precision, bytes / MIB);
	return cell;
}

const char *ml_table_size(uint64_t bytes, char text[ML_TABLE_SIZE_BYTES])
{
	static const char *const units[] = {"bytes", "KiB", "MiB", "GiB", "TiB"};
	double size = (double)bytes;
	size_t i;

	for (i = 0; i + 1 < sizeof(units) / sizeof(units[0]) && size >= 1024; i++)
		size /= 1024;
	snprintf(text, ML_TABLE_SIZE_BYTES, i ? "%.1f %s" : "%.0f %s", size, units[i]);
	return text;
}

void ml_table_text(FILE *out, const char *text)
{
	for (; *text; text++)
		fputc((unsigned char)*text < ' ' || *text == 127 ? ' ' : *text, out);
}

static void print_columns(FILE *out, bool wide, const char *line, const char *mem, const char *increment,
			  const char *occurrences, const char *const extra[5])
{
	fprintf(out, "%6s %12s %12s  %10s", line, mem, increment, occurrences);
	if (wide)
		fprintf(out, " %12s %12s %12s %12s %10s", extra[0], extra[1], extra[2], extra[3], extra[4]);
	fputs("   ", out);
}

static void print_head(FILE *out, const struct ml_function *f, bool wide)
{
	static const char *const titles[] = {"Own", "Live", "Peak", "Allocated", "Allocs"};
	static const char contents[] = "Line Contents";
	int width = 61 + (wide ? 4 * 13 + 11 : 0);

	fputs("Filename: ", out);
	ml_table_text(out, f->file);
	fputs("\n\n", out);
	print_columns(out, wide, "Line #", "Mem usage", "Increment", "Occurrences", titles);
	fprintf(out, "%s\n", contents);
	while (width--)
		fputc('=', out);
	fputc('\n', out);
}

/* l: NULL where nothing happened. */
static void print_row(FILE *out, const struct ml_options *o, const struct ml_source *source, int number,
		      const struct ml_line *l)
{
	char line[16], cells[6][CELL_BYTES], allocations[24];
	const char *const empty[] = {"", "", "", "", ""};
	const char *text;
	size_t bytes;

	snprintf(line, sizeof(line), "%d", number);
	if (l) {
		const char *extra[] = {
			cell_size(cells[2], o->precision, (double)l->own_increment_bytes),
			cell_size(cells[3], o->precision, (double)l->live_bytes),
			cell_size(cells[4], o->precision, (double)l->peak_bytes),
			cell_size(cells[5], o->precision, (double)l->allocated_bytes),
			allocations,
		};
		snprintf(allocations, sizeof(allocations), "%" PRIu64, l->allocations);
		cell_size(cells[0], o->precision, (double)l->mem_bytes);
		print_columns(out, o->wide, line, l->mem_bytes ? cells[0] : "",
			      cell_size(cells[1], o->precision, (double)l->increment_bytes), "", extra);
	} else {
		print_columns(out, o->wide, line, "", "", "", empty);
	}
	text = ml_source_line(source, number, &bytes);
	if (text)
		fwrite(text, 1, bytes, out);
	fputc('\n', out);
}

static void print_gap(FILE *out, const struct ml_options *o, const struct ml_function *f, int from, int to)
{
	if (to > f->source->lines + 1)
		to = f->source->lines + 1; /* what the source hasn't can't be shown */
	if (f->is_body && !o->all && to - from >= GAP) {
		fprintf(out, "# lines %d to %d: nothing happened\n", from, to - 1);
		return;
	}
	for (; from < to; from++)
		print_row(out, o, f->source, from, NULL);
}

static int last_row(const struct ml_function *f)
{
	int last = f->last_line, end;

	if (strcmp(f->name, "<module>")) {
		end = ml_source_block_end(f->source, f->first_line);
		last = end > last ? end : last;
	}
	return last;
}

static void print_function(FILE *out, const struct ml_options *o, const struct ml_function *f)
{
	int next = f->first_line, last = last_row(f);
	size_t i;

	print_head(out, f, o->wide);
	for (i = 0; i < f->lines_n; i++) {
		print_gap(out, o, f, next, f->lines[i].line);
		print_row(out, o, f->source, f->lines[i].line, &f->lines[i]);
		next = f->lines[i].line + 1;
	}
	if (next <= last)
		print_gap(out, o, f, next, last + 1);
	fputs("\n\n", out);
}

/* A row beneath the tables. */
static void print_sum(FILE *out, const struct ml_options *o, const char *name, const char *mem, int64_t increment)
{
	static const char *const empty[] = {"", "", "", "", ""};
	char cell[CELL_BYTES];

	print_columns(out, false, "#     ", mem, cell_size(cell, o->precision, (double)increment), "", empty);
	fprintf(out, "%s\n", name);
}

/* Own increments of the functions that are shown, or hidden. */
static int64_t sum_own(const struct ml_sites *s, bool hidden)
{
	uint64_t sum = 0;
	size_t i, line;

	for (i = 0; i < s->functions_n; i++)
		for (line = 0; s->functions[i].hidden == hidden && line < s->functions[i].lines_n; line++)
			sum += (uint64_t)s->functions[i].lines[line].own_increment_bytes;
	return (int64_t)sum;
}

static size_t count_hidden(const struct ml_sites *s)
{
	size_t i, n = 0;

	for (i = 0; i < s->functions_n; i++)
		n += s->functions[i].hidden;
	return n;
}

static void print_sums(FILE *out, const struct ml_reading *r, const struct ml_options *o)
{
	size_t hidden = count_hidden(&r->sites);
	char cell[CELL_BYTES], name[64];

	fputs("# What the lines above did themselves, and the rest:\n", out);
	print_sum(out, o, "<lines above>", "", sum_own(&r->sites, false));
	if (hidden) {
		snprintf(name, sizeof(name), "<%zu more function%s>", hidden, hidden == 1 ? "" : "s");
		print_sum(out, o, name, "", sum_own(&r->sites, true));
	}
	print_sum(out, o, "<out of scope>", "", r->sites.out_of_scope.increment_bytes);
	print_sum(out, o, "<native>", "", r->sites.native.increment_bytes);
	cell_size(cell, o->precision, (double)(r->totals.live_bytes + r->baseline_rss));
	print_sum(out, o, "total", cell, (int64_t)(r->totals.live_bytes - r->totals.start_live_bytes));
}

static void print_process(FILE *out, const struct ml_reading *r)
{
	char started[ML_PROCESS_TIME_BYTES], *command = ml_process_command(r->trace);
	size_t i;

	fputs("# memline " ML_VERSION_TEXT ": ", out);
	if (r->traces_n == 1)
		fprintf(out, "pid %" PRIu64, r->pids[0]);
	else
		fputs("merged pids", out);
	for (i = 0; r->traces_n > 1 && i < r->pids_n; i++)
		fprintf(out, " %" PRIu64, r->pids[i]);
	fputs(r->process.python ? ", Python " : ", no Python", out);
	ml_table_text(out, r->process.python ? r->process.python : "");
	ml_process_time(r->process.started_ns, started);
	fprintf(out, ", started %s, %.3f s", r->process.started_ns ? started : "at an unknown time",
		ml_reading_seconds(r));
	if (r->traces_n == 1)
		fprintf(out, ", %s", ml_process_end_text(r->process.end));
	fprintf(out, "\n# %s\n", command);
	free(command);
}

static void print_coverage(FILE *out, const struct ml_reading *r)
{
	char size[ML_TABLE_SIZE_BYTES];

	if (r->sample_bytes)
		fprintf(out, "# One allocation in about %" PRIu64 " bytes was recorded: all numbers are estimates.",
			r->sample_bytes);
	else if (r->partial)
		fputs("# Not everything was recorded: see the warnings.", out);
	else if (r->no_objects)
		fputs("# Every allocation of the C library was recorded, none of Python's small objects.", out);
	else
		fputs("# Every allocation was recorded.", out);
	fprintf(out, " Mem usage is tracked memory plus the %s that were resident when tracking began.\n",
		ml_table_size(r->baseline_rss, size));
}

/* What to do where there is no table. */
static void print_advice(FILE *out, const struct ml_reading *r)
{
	size_t functions = r->sites.functions_n;

	if (!functions)
		fputs("# No line in scope allocated or freed: --scope GLOB takes other source files, --scope '*' "
		      "all of them.\n\n",
		      out);
	else if (count_hidden(&r->sites) == functions)
		fputs("# No function in scope that allocated or freed is called so.\n\n", out);
}

void ml_table_print(FILE *out, const struct ml_reading *r, const struct ml_options *options)
{
	size_t i;

	print_process(out, r);
	print_coverage(out, r);
	for (i = 0; i < r->warnings.n; i++) {
		fputs("# warning: ", out);
		ml_table_text(out, r->warnings.texts[i]);
		fputc('\n', out);
	}
	fputc('\n', out);
	for (i = 0; i < r->sites.functions_n; i++)
		if (!r->sites.functions[i].hidden)
			print_function(out, options, &r->sites.functions[i]);
	print_advice(out, r);
	print_sums(out, r, options);
}
