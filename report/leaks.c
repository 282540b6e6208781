/* memline leaks: what was allocated and is live at the end, and which lines' live bytes keep growing. */
#include <inttypes.h>
#include <stdlib.h>

#include "report/commands.h"
#include "report/json.h"
#include "report/listing.h"
#include "report/suppress.h"
#include "report/table.h"

enum { OPTION_SUPPRESSIONS = 512, OPTION_STARTUP };

struct output {
	struct ml_listing listing;
	struct ml_suppressions suppressions;
};

static struct ml_held sum(const struct ml_holders *found, enum ml_hold_phase phase)
{
	struct ml_held held = {0};
	uint32_t i;

	for (i = 0; i < found->n; i++)
		if (found->items[i].phase == phase) {
			held.bytes += found->items[i].held.bytes;
			held.blocks += found->items[i].held.blocks;
		}
	return held;
}

static void print_held(const struct ml_held *held, const char *what)
{
	char size[ML_TABLE_SIZE_BYTES];

	printf("  %12s in %" PRIu64 " blocks %s", ml_table_size(held->bytes, size), held->blocks, what);
}

static void print_sums(const struct output *o, const struct ml_reading *r, const struct ml_holders *found)
{
	const struct ml_held all = {r->totals.live_bytes, r->totals.live_blocks, 0, 0};
	struct ml_held startup = sum(found, ML_HOLD_STARTUP);
	size_t i;

	print_held(&all,
		   r->totals.finalized ? "live at the end, when Python began to finalize\n" : "live at the end\n");
	if (startup.blocks)
		print_held(&startup, o->listing.startup ? "of them imports and start-up\n"
							: "of them imports and start-up, which --startup lists\n");
	for (i = 0; i < o->suppressions.n; i++) {
		const struct ml_suppression *s = &o->suppressions.items[i];
		if (!s->held.blocks)
			continue;
		print_held(&s->held, "of them suppressed by leak:");
		ml_table_text(stdout, s->pattern);
		putchar('\n');
	}
}

/* What is no leak although no line holds it. */
static void print_allocators(const struct ml_reading *r)
{
	char arenas[ML_TABLE_SIZE_BYTES], small[ML_TABLE_SIZE_BYTES];

	if (!r->totals.allocator_bytes || r->no_objects)
		return;
	printf("  CPython's arenas and data stacks have %s, of which live objects take %s: the rest is free for "
	       "others.\n"
	       "  A few objects that are live here may be free ones, which CPython keeps to use them again (free "
	       "lists).\n",
	       ml_table_size(r->totals.allocator_bytes, arenas), ml_table_size(r->heap.small.taken_bytes, small));
}

static json_t *json_suppressed(const struct ml_suppressions *s)
{
	json_t *array = json_array(), *o;
	size_t i;

	for (i = 0; i < s->n; i++) {
		o = json_object();
		json_object_set_new(o, "pattern", ml_json_text(s->items[i].pattern));
		json_object_set_new(o, "live_bytes", json_integer((json_int_t)s->items[i].held.bytes));
		json_object_set_new(o, "live_blocks", json_integer((json_int_t)s->items[i].held.blocks));
		json_array_append_new(array, o);
	}
	return array;
}

static json_t *json_reading(const struct output *o, const struct ml_reading *r, const struct ml_holders *found)
{
	json_t *entry = ml_json_process(r);

	json_object_set_new(entry, "totals", ml_json_totals(r));
	json_object_set_new(entry, "allocators", ml_json_heap(r));
	json_object_set_new(entry, "suppressed", json_suppressed(&o->suppressions));
	json_object_set_new(entry, "sites", ml_listing_json(&o->listing, r, found));
	return entry;
}

static void take_reading(void *input, const struct ml_reading *r)
{
	struct output *o = input;
	struct ml_holders found;
	bool *suppressed = ml_suppress_find(&o->suppressions, &r->holds, &r->stacks, &r->sites.natives.objects);

	ml_holders_find(&found, &r->holds, &r->stacks, &r->sites, o->listing.by, suppressed);
	if (o->listing.processes) {
		json_array_append_new(o->listing.processes, json_reading(o, r, &found));
	} else {
		ml_table_process(stdout, r);
		print_sums(o, r, &found);
		ml_listing_print(stdout, &o->listing, r, &found);
		print_allocators(r);
	}
	ml_holders_free(&found);
	free(suppressed);
}

static error_t parse(int key, char *text, struct argp_state *state)
{
	struct output *o = state->input;
	char *error;

	switch (key) {
	case OPTION_SUPPRESSIONS:
		if (ml_suppress_read(&o->suppressions, text, &error))
			argp_error(state, "%s", error);
		return 0;
	case OPTION_STARTUP:
		o->listing.startup = true;
		return 0;
	case ARGP_KEY_INIT:
		state->child_inputs[0] = &o->listing;
		return 0;
	}
	return ARGP_ERR_UNKNOWN;
}

static const struct argp_option options[] = {
	{"suppressions", OPTION_SUPPRESSIONS, "FILE", 0,
	 "Leave out what this file says, in LeakSanitizer's syntax; may be repeated", 1},
	{"startup", OPTION_STARTUP, NULL, 0, "List imports and start-up too", 1},
	{0},
};

static const struct argp_child children[] = {
	{&ml_listing_argp, 0, NULL, 0},
	{0},
};

static const struct argp argp = {
	.options = options,
	.parser = parse,
	.args_doc = "[TRACE...]",
	.doc = "What was allocated and is live at the end, by the lines or stacks that allocated it, the largest first."
	       "\vTRACE is a file, a directory (its newest run), a pid, or nothing: the newest run in MEMLINE_DIR.",
	.children = children,
};

int ml_command_leaks(int argc, char **argv)
{
	struct output o = {0};
	int status;

	ml_listing_init(&o.listing, ML_HOLD_END);
	status = ml_listing_run(&o.listing, &argp, argc, argv, &o, take_reading);
	ml_suppress_free(&o.suppressions);
	return status;
}
