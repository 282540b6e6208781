/* memline summary: totals, the process tree, what was held at the end, the largest lines, what was lost. */
#include <inttypes.h>
#include <stdlib.h>
#include <unistd.h>

#include "report/chart.h"
#include "report/commands.h"
#include "report/json.h"
#include "report/memory.h"
#include "report/reading.h"
#include "report/resident.h"
#include "report/table.h"

#define DEFAULT_TOP 10

enum { OPTION_CHART = 512 };

/* As many as a chart has columns, or a few more. */
#define CHART_POINTS 64

/* The lines that hold the most at the end come first, then those that held the most at the peak. */
struct site {
	const struct ml_function *function;
	const struct ml_line *line;
};

static int compare_sites(const void *left, const void *right)
{
	const struct ml_line *a = ((const struct site *)left)->line, *b = ((const struct site *)right)->line;

	if (a->live_bytes != b->live_bytes)
		return a->live_bytes > b->live_bytes ? -1 : 1;
	if (a->peak_bytes != b->peak_bytes)
		return a->peak_bytes > b->peak_bytes ? -1 : 1;
	if (a->allocated_bytes != b->allocated_bytes)
		return a->allocated_bytes > b->allocated_bytes ? -1 : 1;
	return (a > b) - (a < b); /* the order of the table */
}

static uint64_t largest(const struct ml_line *line)
{
	uint64_t held = line->live_bytes > line->peak_bytes ? line->live_bytes : line->peak_bytes;

	return held > line->allocated_bytes ? held : line->allocated_bytes;
}

static struct site *largest_sites(const struct ml_reading *r, size_t top, uint64_t min_bytes, size_t *n)
{
	struct site *sites = ml_memory_get(r->sites.lines_n, sizeof(*sites));
	size_t i, line;

	*n = 0;
	for (i = 0; i < r->sites.functions_n; i++) {
		const struct ml_function *f = &r->sites.functions[i];
		for (line = 0; !f->hidden && line < f->lines_n; line++)
			if ((f->lines[line].allocated_bytes || f->lines[line].live_bytes) &&
			    largest(&f->lines[line]) >= min_bytes)
				sites[(*n)++] = (struct site){f, &f->lines[line]};
	}
	qsort(sites, *n, sizeof(*sites), compare_sites);
	if (*n > top)
		*n = top;
	return sites;
}

static void print_sites(const struct ml_reading *r, size_t top, uint64_t min_bytes)
{
	char live[ML_TABLE_SIZE_BYTES], peak[ML_TABLE_SIZE_BYTES], allocated[ML_TABLE_SIZE_BYTES];
	struct site *sites;
	size_t n, i;

	sites = largest_sites(r, top, min_bytes, &n);
	if (n)
		printf("  largest lines\n  %12s %12s %12s %12s  %s\n", "Live", "Peak", "Allocated", "Allocs", "Line");
	for (i = 0; i < n; i++) {
		printf("  %12s %12s %12s %12" PRIu64 "  ", ml_table_size(sites[i].line->live_bytes, live),
		       ml_table_size(sites[i].line->peak_bytes, peak),
		       ml_table_size(sites[i].line->allocated_bytes, allocated), sites[i].line->allocations);
		ml_table_text(stdout, sites[i].function->file);
		printf(":%d ", sites[i].line->line);
		ml_table_text(stdout, sites[i].function->name);
		putchar('\n');
	}
	free(sites);
}

/* Of which modules the code was that allocated. */
static void print_modules(const struct ml_reading *r, size_t top)
{
	const struct ml_natives *natives = &r->sites.natives;
	char live[ML_TABLE_SIZE_BYTES], peak[ML_TABLE_SIZE_BYTES], allocated[ML_TABLE_SIZE_BYTES];
	struct ml_module_amount *modules;
	size_t n, i;

	if (r->no_native)
		return;
	modules = ml_natives_by_module(natives, natives->items, natives->n, &natives->python, &n);
	if (n)
		printf("  by module\n  %12s %12s %12s %12s  %s\n", "Live", "Peak", "Allocated", "Allocs", "Module");
	for (i = 0; i < n && i < top; i++) {
		printf("  %12s %12s %12s %12" PRIu64 "  ", ml_table_size(modules[i].amount.live_bytes, live),
		       ml_table_size(modules[i].amount.peak_bytes, peak),
		       ml_table_size(modules[i].amount.allocated_bytes, allocated), modules[i].amount.allocations);
		ml_table_text(stdout, modules[i].name);
		putchar('\n');
	}
	free(modules);
}

static void print_size(const char *what, uint64_t bytes, const char *more)
{
	char text[ML_TABLE_SIZE_BYTES];

	printf("  %-20s %12s%s%s\n", what, ml_table_size(bytes, text), *more ? "  " : "", more);
}

static void print_count(const char *what, uint64_t n)
{
	if (n)
		printf("  %-20s %12" PRIu64 "\n", what, n);
}

static void print_totals(const struct ml_reading *r)
{
	const struct ml_totals *t = &r->totals;
	char more[96];

	snprintf(more, sizeof(more), "in %" PRIu64 " allocations", t->allocations);
	print_size("allocated", t->allocated_bytes, more);
	snprintf(more, sizeof(more), "in %" PRIu64 " frees", t->frees);
	print_size("freed", t->freed_bytes, more);
	snprintf(more, sizeof(more), "in %" PRIu64 " blocks%s", t->live_blocks,
		 t->finalized ? ", when Python began to finalize" : "");
	print_size("live at the end", t->live_bytes, more);
	if (r->traces_n == 1)
		snprintf(more, sizeof(more), "after %.3f s", (double)t->peak_ns / 1e9);
	else
		snprintf(more, sizeof(more), "each process's own peak, added up");
	print_size("peak", t->peak_bytes, more);
	print_size("resident at start", r->baseline_rss, "before tracking: the baseline of Mem usage");
	if (t->rss_bytes)
		print_size("resident at the end", t->rss_bytes, "");
	if (t->rss_max_bytes)
		print_size("resident at most", t->rss_max_bytes, "as far as it was looked at");
	print_size("held by CPython", t->allocator_bytes, "arenas and data stack, under the objects above");
	print_size("anonymous mappings", t->anonymous_bytes, "part of what is live");
	print_size("file mappings", t->file_bytes, "not part of it");
	print_size("reservations", t->reserved_bytes, "not part of it");
	print_count("events", t->events);
	print_count("unknown frees", t->unknown_frees);
	print_count("missed frees", t->missed_frees);
	print_count("dropped events", r->dropped_events);
}

static void print_reading(const struct ml_reading *r, const struct ml_options *o)
{
	size_t top = o->all ? SIZE_MAX : o->top ? o->top : DEFAULT_TOP;

	ml_table_process(stdout, r);
	print_totals(r);
	ml_resident_print(stdout, r);
	if (r->traces_n == 1 && o->points)
		ml_chart_print(stdout, &r->timeline, ml_chart_unicode());
	print_modules(r, top);
	print_sites(r, top, o->min_bytes);
}

static json_t *json_site(const struct site *s)
{
	json_t *o = json_object();

	json_object_set_new(o, "file", ml_json_text(s->function->file));
	json_object_set_new(o, "line", json_integer(s->line->line));
	json_object_set_new(o, "function", ml_json_text(s->function->name));
	json_object_set_new(o, "live_bytes", ml_json_number(s->line->live_bytes));
	json_object_set_new(o, "live_blocks", ml_json_number(s->line->live_blocks));
	json_object_set_new(o, "peak_bytes", ml_json_number(s->line->peak_bytes));
	json_object_set_new(o, "allocated_bytes", ml_json_number(s->line->allocated_bytes));
	json_object_set_new(o, "allocations", ml_json_number(s->line->allocations));
	return o;
}

static json_t *json_modules(const struct ml_reading *r)
{
	const struct ml_natives *natives = &r->sites.natives;
	json_t *array = json_array(), *o;
	struct ml_module_amount *modules;
	size_t n, i;

	if (r->no_native)
		return array;
	modules = ml_natives_by_module(natives, natives->items, natives->n, &natives->python, &n);
	for (i = 0; i < n; i++) {
		o = json_object();
		json_object_set_new(o, "module", ml_json_text(modules[i].name));
		json_object_set_new(o, "live_bytes", ml_json_number(modules[i].amount.live_bytes));
		json_object_set_new(o, "live_blocks", ml_json_number(modules[i].amount.live_blocks));
		json_object_set_new(o, "peak_bytes", ml_json_number(modules[i].amount.peak_bytes));
		json_object_set_new(o, "allocated_bytes", ml_json_number(modules[i].amount.allocated_bytes));
		json_object_set_new(o, "allocations", ml_json_number(modules[i].amount.allocations));
		json_array_append_new(array, o);
	}
	free(modules);
	return array;
}

static json_t *json_timeline(const struct ml_timeline *t)
{
	json_t *o = json_object(), *seconds = json_array(), *live = json_array(), *rss = json_array();
	size_t i;

	for (i = 0; i < t->n; i++) {
		json_array_append_new(seconds, json_real((double)t->points[i].ns / 1e9));
		json_array_append_new(live, ml_json_number(t->points[i].live_bytes));
		json_array_append_new(rss, ml_json_number(t->points[i].rss_bytes));
	}
	json_object_set_new(o, "seconds", seconds);
	json_object_set_new(o, "live_bytes", live);
	json_object_set_new(o, "rss_bytes", rss);
	return o;
}

static json_t *json_reading(const struct ml_reading *r, const struct ml_options *o)
{
	json_t *entry = ml_json_process(r), *totals = ml_json_totals(r), *lines = json_array();
	struct site *sites;
	size_t n, i;

	json_object_set_new(totals, "events", ml_json_number(r->totals.events));
	json_object_set_new(totals, "rss_bytes", ml_json_number(r->totals.rss_bytes));
	json_object_set_new(totals, "rss_max_bytes", ml_json_number(r->totals.rss_max_bytes));
	json_object_set_new(entry, "totals", totals);
	sites = largest_sites(r, o->top ? o->top : SIZE_MAX, o->min_bytes, &n);
	for (i = 0; i < n; i++)
		json_array_append_new(lines, json_site(&sites[i]));
	free(sites);
	json_object_set_new(entry, "resident", ml_resident_json(r));
	json_object_set_new(entry, "timeline", r->traces_n == 1 ? json_timeline(&r->timeline) : json_null());
	json_object_set_new(entry, "largest_lines", lines);
	json_object_set_new(entry, "modules", json_modules(r));
	return entry;
}

/* The process tree. */

struct branch {
	uint64_t pid;
	uint64_t ppid;
	char *text; /* what is printed of it */
};

static void print_branch(const struct branch *branches, size_t n, size_t i, int depth, bool *printed)
{
	size_t child;

	printed[i] = true;
	printf("%*s%s\n", 2 + 2 * depth, "", branches[i].text);
	for (child = 0; child < n; child++)
		if (!printed[child] && branches[child].ppid == branches[i].pid)
			print_branch(branches, n, child, depth + 1, printed);
}

/* A process whose parent left no trace stands at the left. The items are in the order of their starts. */
static void print_tree(const struct branch *branches, size_t n)
{
	bool *printed = ml_memory_get(n, sizeof(*printed));
	size_t i, parent;

	puts("processes");
	for (i = 0; i < n; i++) {
		for (parent = 0; parent < n && branches[parent].pid != branches[i].ppid; parent++)
			continue;
		if (!printed[i] && parent == n)
			print_branch(branches, n, i, 0, printed);
	}
	for (i = 0; i < n; i++)
		if (!printed[i])
			print_branch(branches, n, i, 0, printed);
	free(printed);
}

static struct branch read_branch(const struct ml_found *item)
{
	char *error, *command;
	struct ml_trace *t = ml_load_open_meta(item->path, &error);
	struct ml_process p;
	struct branch b = {0};

	if (!t) {
		b.text = error; /* told again where the trace is read */
		return b;
	}
	ml_process_read(t, &p);
	command = ml_process_command(t);
	b = (struct branch){p.name.pid, p.ppid,
			    ml_memory_print("%" PRIu64 " %s (%s)", p.name.pid, command, ml_process_end_text(p.end))};
	free(command);
	ml_load_close(t);
	return b;
}

static void print_processes(const struct ml_finds *finds)
{
	struct branch *branches = ml_memory_get(finds->n, sizeof(*branches));
	size_t i;

	for (i = 0; i < finds->n; i++)
		branches[i] = read_branch(&finds->items[i]);
	print_tree(branches, finds->n);
	for (i = 0; i < finds->n; i++)
		free(branches[i].text);
	free(branches);
}

struct output {
	const struct ml_options *options;
	json_t *processes; /* NULL: text */
};

static void take_reading(void *context, const struct ml_reading *r)
{
	struct output *o = context;

	if (o->processes)
		json_array_append_new(o->processes, json_reading(r, o->options));
	else
		print_reading(r, o->options);
}

static int print_summary(const struct ml_finds *finds, const struct ml_options *options)
{
	struct output o = {options, options->json ? json_array() : NULL};
	struct ml_options all = *options;
	int status;

	all.top = 0; /* of lines here, not of functions, as the next */
	all.min_bytes = 0;
	if (!o.processes)
		print_processes(finds);
	status = ml_command_read(finds, &all, take_reading, &o);
	if (o.processes)
		ml_json_print_processes(stdout, o.processes);
	return status;
}

static error_t parse(int key, char *text, struct argp_state *state)
{
	struct ml_options *o = state->input;

	(void)text;
	switch (key) {
	case 'm':
		o->merge = true;
		return 0;
	case OPTION_CHART:
		o->points = CHART_POINTS;
		return 0;
	case ARGP_KEY_INIT:
		state->child_inputs[0] = state->child_inputs[1] = o;
		return 0;
	}
	return ARGP_ERR_UNKNOWN;
}

static const struct argp_option options[] = {
	{"merge", 'm', NULL, 0, "Sum up all processes as one", 1},
	{"chart", OPTION_CHART, NULL, 0, "Draw what was live and resident over time, not only on a terminal", 1},
	{0},
};

static const struct argp_child children[] = {
	{&ml_options_select_argp, 0, NULL, 0},
	{&ml_options_json_argp, 0, NULL, 0},
	{0},
};

static const struct argp argp = {
	.options = options,
	.parser = parse,
	.args_doc = "[TRACE...]",
	.doc = "Totals, the process tree, resident against tracked memory, what CPython's allocator itself holds, the "
	       "largest lines, and what was dropped.\v" ML_COMMAND_TRACES,
	.children = children,
};

int ml_command_summary(int argc, char **argv)
{
	struct ml_options o;
	struct ml_finds finds = {NULL, 0};
	int status;

	ml_options_init(&o);
	if (isatty(STDOUT_FILENO))
		o.points = CHART_POINTS;
	status = ml_command_find(&finds, &argp, argc, argv, &o);
	if (o.json)
		o.points = CHART_POINTS;
	if (!status)
		status = ml_command_written(stdout, print_summary(&finds, &o));
	ml_finds_free(&finds);
	ml_options_free(&o);
	return status;
}
