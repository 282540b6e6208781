/* memline diff: what changed between two traces, line by line or stack by stack. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "report/commands.h"
#include "report/compare.h"
#include "report/json.h"
#include "report/listing.h"
#include "report/memory.h"
#include "report/metric.h"
#include "report/table.h"

/* Rows of a text, unless told otherwise. */
#define DEFAULT_TOP 20

#define COLUMN_WIDTH 14

struct arguments {
	struct ml_listing listing;
	enum ml_metric metric;
	const char *traces[ML_COMPARE_SIDES];
	int traces_n;
};

static error_t parse(int key, char *text, struct argp_state *state)
{
	struct arguments *a = state->input;

	switch (key) {
	case 'm':
		a->metric = ml_metric_take(state, text);
		return 0;
	case ARGP_KEY_INIT:
		state->child_inputs[0] = &a->listing;
		return 0;
	case ARGP_KEY_ARG:
		if (a->traces_n == ML_COMPARE_SIDES)
			return ARGP_ERR_UNKNOWN;
		a->traces[a->traces_n++] = text;
		return 0;
	case ARGP_KEY_END:
		if (a->traces_n < ML_COMPARE_SIDES)
			argp_error(state, "two traces are needed");
		return 0;
	}
	return ARGP_ERR_UNKNOWN;
}

static const struct argp_option options[] = {
	{"metric", 'm', "METRIC", 0, "What is compared: " ML_METRIC_NAMES " (live)", 0},
	{0},
};

static const struct argp_child children[] = {
	{&ml_listing_argp, 0, NULL, 0},
	{0},
};

static const struct argp argp = {
	.options = options,
	.parser = parse,
	.args_doc = "A B",
	.doc = "What changed from trace A to trace B, the largest difference first; with --all also what did not "
	       "change. Lines are matched by file below the app root, function and text, so that those that have moved "
	       "are still the same.\vA and B are files, directories (their newest runs) or pids. A run of several "
	       "processes is taken as one.",
	.children = children,
};

/* Returns an exit status. */
static int read_side(struct ml_reading *r, const char *what, const struct ml_options *given)
{
	struct ml_options o = *given;
	struct ml_finds finds = {NULL, 0};
	int status = 0;
	char *error;
	size_t i;

	if (ml_find(&finds, what, &error))
		return ml_command_error(error);
	o.merge = finds.n > 1;
	o.top = 0; /* of lines here, not of functions */
	o.min_bytes = 0;
	for (i = 0; i < finds.n; i++)
		if (ml_reading_add(r, finds.items[i].path, &o, &error))
			status = ml_command_error(error);
	if (r->trace)
		ml_reading_finish(r, &o);
	ml_finds_free(&finds);
	return r->trace ? status : EXIT_FAILURE;
}

static int64_t difference(const struct ml_compared *item, enum ml_metric metric)
{
	return (int64_t)((uint64_t)ml_metric_value(&item->amount[1], metric) -
			 (uint64_t)ml_metric_value(&item->amount[0], metric));
}

/* Sorting. */

struct row {
	uint64_t size;
	uint32_t item; /* those that came first go first */
};

static int compare_rows(const void *left, const void *right)
{
	const struct row *a = left, *b = right;

	if (a->size != b->size)
		return a->size > b->size ? -1 : 1;
	return (a->item > b->item) - (a->item < b->item);
}

/* What is to be shown, and how many there are; the caller frees it. */
static struct row *find_rows(const struct ml_comparison *c, const struct arguments *a, size_t *n)
{
	struct row *rows = ml_memory_get(c->n, sizeof(*rows));
	const struct ml_options *o = &a->listing.options;
	uint32_t i;

	*n = 0;
	for (i = 0; i < c->n; i++) {
		const struct row row = {ml_magnitude(difference(&c->items[i], a->metric)), i};
		if ((c->items[i].seen[0] || c->items[i].seen[1]) && (row.size || o->all) && row.size >= o->min_bytes)
			rows[(*n)++] = row;
	}
	if (*n)
		qsort(rows, *n, sizeof(*rows), compare_rows);
	return rows;
}

/* Text. */

static void print_size(FILE *out, int64_t value, enum ml_metric metric, const char *plus)
{
	char size[ML_TABLE_SIZE_BYTES], *text;

	if (metric == ML_METRIC_ALLOCATIONS)
		snprintf(size, sizeof(size), "%" PRIu64, ml_magnitude(value));
	else
		ml_table_size(ml_magnitude(value), size);
	text = ml_memory_print("%s%s", value < 0 ? "-" : value ? plus : "", size);
	fprintf(out, "%*s", COLUMN_WIDTH, text);
	free(text);
}

static void print_sizes(FILE *out, const struct ml_compared *item, enum ml_metric metric)
{
	print_size(out, difference(item, metric), metric, "+");
	print_size(out, ml_metric_value(&item->amount[0], metric), metric, "");
	print_size(out, ml_metric_value(&item->amount[1], metric), metric, "");
	fputs("  ", out);
}

/* The side that says what a row is called: the newer one, if it is there. */
static int side_of(const struct ml_compared *item)
{
	return item->seen[1] ? 1 : 0;
}

static void print_line(FILE *out, struct ml_comparison *c, const struct ml_compared *item)
{
	int side = side_of(item);
	const char *text = NULL;
	size_t bytes = 0;
	char *copy;

	ml_table_text(out, item->function[side]);
	if (item->file[side]) {
		fputs(" (", out);
		ml_table_text(out, item->file[side]);
		fprintf(out, ":%d", item->line[side]);
		if (item->seen[0] && item->seen[1] && item->line[0] != item->line[1])
			fprintf(out, ", was %d", item->line[0]);
		fputc(')', out);
		text = ml_source_line(ml_reading_source(&c->sides[side], item->file[side]), item->line[side], &bytes);
	}
	if (text) {
		copy = ml_memory_text(text, bytes);
		fputs("  ", out);
		ml_table_text(out, copy + strspn(copy, " \t\f"));
		free(copy);
	}
	fputc('\n', out);
}

static void print_stack(FILE *out, const struct arguments *a, const struct ml_comparison *c,
			const struct ml_compared *item)
{
	int side = side_of(item);
	const struct ml_reading *r = &c->sides[side];

	ml_listing_print_calls(out, &a->listing, r, item->stack[side], 3 * COLUMN_WIDTH + 2);
}

static struct ml_compared totals_of(const struct ml_reading *sides)
{
	struct ml_compared all = {.seen = {true, true}};
	int side;

	for (side = 0; side < ML_COMPARE_SIDES; side++) {
		const struct ml_totals *t = &sides[side].totals;
		all.amount[side] = (struct ml_amount){t->live_bytes - t->start_live_bytes,
						      t->live_bytes,
						      t->live_blocks,
						      t->peak_bytes,
						      t->allocated_bytes,
						      t->allocations};
		all.own_increment_bytes[side] = all.amount[side].increment_bytes;
	}
	return all;
}

static void print_diff(FILE *out, const struct arguments *a, struct ml_comparison *c)
{
	const struct ml_options *o = &a->listing.options;
	const struct ml_compared all = totals_of(c->sides);
	size_t top = o->all ? SIZE_MAX : o->top ? o->top : DEFAULT_TOP, n, i;
	struct row *rows = find_rows(c, a, &n);

	fprintf(out, "\n%*s%*s%*s  %s, by %s\n", COLUMN_WIDTH, "Difference", COLUMN_WIDTH, "A", COLUMN_WIDTH, "B",
		ml_metric_name(a->metric), a->listing.by == ML_HOLDERS_STACK ? "stack" : "line");
	print_sizes(out, &all, a->metric);
	fputs("total\n", out);
	for (i = 0; i < n && i < top; i++) {
		const struct ml_compared *item = &c->items[rows[i].item];
		print_sizes(out, item, a->metric);
		if (a->listing.by == ML_HOLDERS_STACK)
			print_stack(out, a, c, item);
		else
			print_line(out, c, item);
	}
	if (i < n)
		fprintf(out, "  and %zu more: --top N or --all shows them\n", n - i);
	else if (!n)
		fputs("  nothing has changed\n", out);
	free(rows);
}

/* JSON. */

static json_t *json_pair(uint64_t a, uint64_t b)
{
	json_t *o = json_object();

	json_object_set_new(o, "a", ml_json_number(a));
	json_object_set_new(o, "b", ml_json_number(b));
	json_object_set_new(o, "difference", ml_json_number(b - a));
	return o;
}

static void set_sizes(json_t *o, const struct ml_compared *item, bool line)
{
	const struct ml_amount *a = &item->amount[0], *b = &item->amount[1];

	json_object_set_new(o, "live_bytes", json_pair(a->live_bytes, b->live_bytes));
	json_object_set_new(o, "live_blocks", json_pair(a->live_blocks, b->live_blocks));
	json_object_set_new(o, "peak_bytes", json_pair(a->peak_bytes, b->peak_bytes));
	json_object_set_new(o, "allocated_bytes", json_pair(a->allocated_bytes, b->allocated_bytes));
	json_object_set_new(o, "allocations", json_pair(a->allocations, b->allocations));
	json_object_set_new(o, "increment_bytes", json_pair(a->increment_bytes, b->increment_bytes));
	if (line)
		json_object_set_new(o, "own_increment_bytes",
				    json_pair(item->own_increment_bytes[0], item->own_increment_bytes[1]));
}

static json_t *json_number(int line)
{
	return line ? json_integer(line) : json_null();
}

static json_t *json_line(struct ml_comparison *c, const struct ml_compared *item)
{
	int side = side_of(item);
	const char *file = item->file[side], *text = NULL;
	json_t *o = json_object();
	size_t bytes;

	if (file)
		text = ml_source_line(ml_reading_source(&c->sides[side], file), item->line[side], &bytes);
	json_object_set_new(o, "file", ml_json_text(file));
	json_object_set_new(o, "function", ml_json_text(item->function[side]));
	json_object_set_new(o, "line_a", json_number(item->line[0]));
	json_object_set_new(o, "line_b", json_number(item->line[1]));
	json_object_set_new(o, "source", text ? ml_json_bytes(text, bytes) : json_null());
	set_sizes(o, item, true);
	return o;
}

static json_t *json_stack(const struct ml_comparison *c, const struct ml_compared *item)
{
	int side = side_of(item);
	json_t *o = json_object();

	json_object_set_new(o, "stack", ml_listing_json_calls(&c->sides[side], item->stack[side]));
	set_sizes(o, item, false);
	return o;
}

static json_t *json_side(const struct ml_reading *r)
{
	json_t *o = ml_json_process(r);

	json_object_set_new(o, "totals", ml_json_totals(r));
	return o;
}

static void print_json(FILE *out, const struct arguments *a, struct ml_comparison *c)
{
	bool stacks = a->listing.by == ML_HOLDERS_STACK;
	size_t top = a->listing.options.top ? a->listing.options.top : SIZE_MAX, n, i;
	struct row *rows = find_rows(c, a, &n);
	const struct ml_compared all = totals_of(c->sides);
	json_t *o = json_object(), *items = json_array(), *totals = json_object();

	json_object_set_new(o, "memline", json_string(ML_VERSION_TEXT));
	json_object_set_new(o, "metric", json_string(ml_metric_name(a->metric)));
	json_object_set_new(o, "a", json_side(&c->sides[0]));
	json_object_set_new(o, "b", json_side(&c->sides[1]));
	set_sizes(totals, &all, !stacks);
	json_object_set_new(o, "totals", totals);
	for (i = 0; i < n && i < top; i++) {
		const struct ml_compared *item = &c->items[rows[i].item];
		json_array_append_new(items, stacks ? json_stack(c, item) : json_line(c, item));
	}
	json_object_set_new(o, stacks ? "stacks" : "lines", items);
	ml_json_print(out, o);
	free(rows);
}

static void print(FILE *out, const struct arguments *a, struct ml_reading *sides)
{
	struct ml_comparison c;

	if (a->listing.by == ML_HOLDERS_STACK)
		ml_compare_stacks(&c, sides, &a->listing.options);
	else
		ml_compare_lines(&c, sides);
	if (a->listing.options.json) {
		print_json(out, a, &c);
	} else {
		ml_table_process(out, &sides[0]);
		ml_table_process(out, &sides[1]);
		print_diff(out, a, &c);
	}
	ml_comparison_free(&c);
}

int ml_command_diff(int argc, char **argv)
{
	struct ml_reading sides[ML_COMPARE_SIDES] = {{.trace = NULL}};
	struct arguments a = {.metric = ML_METRIC_LIVE};
	int status = 0, side;

	ml_listing_init(&a.listing, ML_HOLD_NONE);
	argp_parse(&argp, argc, argv, 0, NULL, &a);
	a.listing.options.stacks = a.listing.by == ML_HOLDERS_STACK;
	for (side = 0; side < ML_COMPARE_SIDES; side++)
		status |= read_side(&sides[side], a.traces[side], &a.listing.options);
	if (sides[0].trace && sides[1].trace) {
		print(stdout, &a, sides);
		status = ml_command_written(stdout, status);
	}
	for (side = 0; side < ML_COMPARE_SIDES; side++)
		ml_reading_close(&sides[side]);
	ml_options_free(&a.listing.options);
	return status;
}
