#include "report/table.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "report/memory.h"

#define MIB (1024.0 * 1024.0)

/* A stretch of at least so many empty rows of a module or class is told by its length: the functions in it have tables
   of their own. */
#define GAP 8

/* So many callers of <native> are shown, unless all are asked for. */
#define CALLERS 20

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

/* The columns of --wide, and how wide they are. */
enum wide_column { OWN, LIVE, PEAK, ALLOCATED, ALLOCATIONS, PYTHON, NATIVE, MODULE, WIDE_COLUMNS };

static const struct {
	const char *title;
	int width; /* negative: begins at the left */
} wide_columns[WIDE_COLUMNS] = {
	[OWN] = {"Own", 12},
	[LIVE] = {"Live", 12},
	[PEAK] = {"Peak", 12},
	[ALLOCATED] = {"Allocated", 12},
	[ALLOCATIONS] = {"Allocs", 10},
	[PYTHON] = {"Python", 12},
	[NATIVE] = {"Native", 12},
	[MODULE] = {"Module", -32},
};

/* wide: NULL where there are no such columns. */
static void print_columns(FILE *out, const char *line, const char *mem, const char *increment, const char *occurrences,
			  const char *const wide[WIDE_COLUMNS])
{
	size_t i;

	fprintf(out, "%6s %12s %12s  %10s", line, mem, increment, occurrences);
	for (i = 0; wide && i < WIDE_COLUMNS; i++)
		fprintf(out, " %*s", wide_columns[i].width, wide[i]);
	fputs("   ", out);
}

static void print_head(FILE *out, const struct ml_function *f, bool wide)
{
	static const char contents[] = "Line Contents";
	const char *titles[WIDE_COLUMNS];
	int width = 61;
	size_t i;

	for (i = 0; i < WIDE_COLUMNS; i++) {
		titles[i] = wide_columns[i].title;
		width += wide ? 1 + abs(wide_columns[i].width) : 0;
	}
	fputs("Filename: ", out);
	ml_table_text(out, f->file);
	fputs("\n\n", out);
	print_columns(out, "Line #", "Mem usage", "Increment", "Occurrences", wide ? titles : NULL);
	fprintf(out, "%s\n", contents);
	while (width--)
		fputc('=', out);
	fputc('\n', out);
}

/* The cells of --wide. */
struct wide_cells {
	char text[WIDE_COLUMNS][CELL_BYTES];
	const char *cells[WIDE_COLUMNS];
};

/* The module that the line's bytes are by, and how many more there are. A name that is too long loses its folders. */
static void set_module(char *cell, const struct ml_line_modules *m)
{
	const char *name = m->n ? m->modules[0].name : "", *file = strrchr(name, '/');

	if (file && strlen(name) + sizeof(" +99") > (size_t)abs(wide_columns[MODULE].width))
		name = file + 1;
	if (m->n > 1)
		snprintf(cell, CELL_BYTES, "%s +%zu", name, m->n - 1);
	else
		snprintf(cell, CELL_BYTES, "%s", name);
	for (; *cell; cell++)
		if ((unsigned char)*cell < ' ' || *cell == 127)
			*cell = ' ';
}

/* l: NULL where nothing happened. */
static const char *const *set_wide(struct wide_cells *w, const struct ml_reading *r, int precision,
				   const struct ml_line *l)
{
	struct ml_line_modules modules;
	size_t i;

	for (i = 0; i < WIDE_COLUMNS; i++) {
		w->text[i][0] = 0;
		w->cells[i] = w->text[i];
	}
	if (!l)
		return w->cells;
	cell_size(w->text[OWN], precision, (double)l->own_increment_bytes);
	cell_size(w->text[LIVE], precision, (double)l->live_bytes);
	cell_size(w->text[PEAK], precision, (double)l->peak_bytes);
	cell_size(w->text[ALLOCATED], precision, (double)l->allocated_bytes);
	snprintf(w->text[ALLOCATIONS], CELL_BYTES, "%" PRIu64, l->allocations);
	if (r->no_native)
		return w->cells;
	ml_site_modules(&r->sites, l, &modules);
	cell_size(w->text[PYTHON], precision, (double)modules.python.live_bytes);
	cell_size(w->text[NATIVE], precision, (double)(l->live_bytes - modules.python.live_bytes));
	set_module(w->text[MODULE], &modules);
	free(modules.modules);
	return w->cells;
}

/* l: NULL where nothing happened. */
static void print_row(FILE *out, const struct ml_reading *r, const struct ml_options *o, const struct ml_source *source,
		      int number, const struct ml_line *l)
{
	char line[16], mem[CELL_BYTES] = "", increment[CELL_BYTES] = "", occurrences[32] = "";
	struct wide_cells wide;
	const char *text;
	size_t bytes;

	snprintf(line, sizeof(line), "%d", number);
	if (l && l->mem_bytes)
		cell_size(mem, o->precision, (double)l->mem_bytes);
	if (l)
		cell_size(increment, o->precision, (double)l->increment_bytes);
	if (l && l->counted)
		snprintf(occurrences, sizeof(occurrences), "%s%" PRIu64, l->at_least ? ">" : "", l->occurrences);
	print_columns(out, line, mem, increment, occurrences, o->wide ? set_wide(&wide, r, o->precision, l) : NULL);
	text = ml_source_line(source, number, &bytes);
	if (text)
		fwrite(text, 1, bytes, out);
	fputc('\n', out);
}

static void print_gap(FILE *out, const struct ml_reading *r, const struct ml_options *o, const struct ml_function *f,
		      int from, int to)
{
	if (to > f->source->lines + 1)
		to = f->source->lines + 1; /* what the source hasn't can't be shown */
	if (f->is_body && !o->all && to - from >= GAP) {
		fprintf(out, "# lines %d to %d: nothing happened\n", from, to - 1);
		return;
	}
	for (; from < to; from++)
		print_row(out, r, o, f->source, from, NULL);
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

static void print_function(FILE *out, const struct ml_reading *r, const struct ml_options *o,
			   const struct ml_function *f)
{
	int next = f->first_line, last = last_row(f);
	size_t i;

	print_head(out, f, o->wide);
	for (i = 0; i < f->lines_n; i++) {
		print_gap(out, r, o, f, next, f->lines[i].line);
		print_row(out, r, o, f->source, f->lines[i].line, &f->lines[i]);
		next = f->lines[i].line + 1;
	}
	if (next <= last)
		print_gap(out, r, o, f, next, last + 1);
	fputs("\n\n", out);
}

/* A row beneath the tables. */
static void print_sum(FILE *out, const struct ml_options *o, const char *name, const char *mem, int64_t increment)
{
	char cell[CELL_BYTES];

	print_columns(out, "#     ", mem, cell_size(cell, o->precision, (double)increment), "", NULL);
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
	print_sum(out, o, "<out of scope>", "", (int64_t)r->sites.out_of_scope.increment_bytes);
	print_sum(out, o, "<native>", "", (int64_t)r->sites.native.increment_bytes);
	cell_size(cell, o->precision, (double)(r->totals.live_bytes + r->baseline_rss));
	print_sum(out, o, "total", cell, (int64_t)(r->totals.live_bytes - r->totals.start_live_bytes));
}

/* The callers behind <native>, those that hold the most first. */
static void print_callers(FILE *out, const struct ml_reading *r, const struct ml_options *o)
{
	char live[CELL_BYTES], increment[CELL_BYTES], *function;
	const struct ml_native *items;
	size_t n, i;

	items = ml_natives_of(&r->sites.natives, ML_OWNER_NATIVE, &n);
	if (n)
		fprintf(out, "# Who allocated in <native>:\n#      %12s %12s %10s\n", "Live", "Increment", "Allocs");
	for (i = 0; i < n && (o->all || i < CALLERS); i++) {
		function = ml_native_function(&r->sites.natives, &items[i]);
		fprintf(out, "#      %12s %12s %10" PRIu64 "   ",
			cell_size(live, o->precision, (double)items[i].amount.live_bytes),
			cell_size(increment, o->precision, (double)(int64_t)items[i].amount.increment_bytes),
			items[i].amount.allocations);
		ml_table_text(out, r->sites.natives.objects.objects[items[i].object].name);
		fputs(": ", out);
		ml_table_text(out, function);
		free(function);
		if (items[i].file) {
			fputs(" at ", out);
			ml_table_text(out, items[i].file);
			fprintf(out, ":%" PRIu32, items[i].line);
		}
		fputc('\n', out);
	}
	if (i < n)
		fprintf(out, "#      and %zu more (--all)\n", n - i);
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
			print_function(out, r, options, &r->sites.functions[i]);
	print_advice(out, r);
	print_sums(out, r, options);
	if (options->wide)
		print_callers(out, r, options);
}

void ml_table_process(FILE *out, const struct ml_reading *r)
{
	char started[ML_PROCESS_TIME_BYTES], *command = ml_process_command(r->trace);
	size_t i;

	ml_process_time(r->process.started_ns, started);
	if (r->traces_n == 1)
		fprintf(out, "\npid %" PRIu64, r->process.name.pid);
	else
		fprintf(out, "\n%zu processes", r->pids_n);
	fprintf(out, ": %s\n  Python ", command);
	ml_table_text(out, r->process.python ? r->process.python : "none");
	fprintf(out, ", started %s, %.3f s, %s\n", started, ml_reading_seconds(r), ml_process_end_text(r->process.end));
	free(command);
	for (i = 0; i < r->warnings.n; i++) {
		fputs("  warning: ", out);
		ml_table_text(out, r->warnings.texts[i]);
		fputc('\n', out);
	}
}
