/* memline leaks: what was allocated and is live at the end, and which lines' live bytes keep growing. */
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "report/commands.h"
#include "report/growth.h"
#include "report/json.h"
#include "report/listing.h"
#include "report/suppress.h"
#include "report/table.h"

enum { OPTION_SUPPRESSIONS = 512, OPTION_STARTUP, OPTION_GROWTH, OPTION_POINTS };

/* Of time that --growth looks at, unless told otherwise; there may be up to twice as many. */
#define DEFAULT_POINTS 24
#define POINTS_MAX 1000

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

	if (!r->totals.allocator_bytes || r->no_objects || r->selected)
		return;
	printf("  CPython's arenas and data stacks have %s, of which live objects take %s: the rest is free for "
	       "others.\n"
	       "  A few objects that are live here may be free ones, which CPython keeps to use them again (free "
	       "lists).\n",
	       ml_table_size(r->totals.allocator_bytes, arenas), ml_table_size(r->heap.small.taken_bytes, small));
}

/* What "by line" and "by stack" list is judged by its growth instead. */

/* What a pace is told for: a minute of seconds, or an invocation. */
static double pace_unit(const struct ml_reading *r)
{
	return r->timeline.by_invocation ? 1 : 60;
}

static void print_pace(const struct ml_reading *r, double slope)
{
	char size[ML_TABLE_SIZE_BYTES];

	printf(" %12s", ml_table_size((uint64_t)fmax(0, slope * pace_unit(r)), size));
}

static void print_growing(const struct output *o, const struct ml_reading *r, const struct ml_growing *g)
{
	char held[ML_TABLE_SIZE_BYTES];

	printf("  %12s", ml_table_size(g->most, held));
	if (g->trend.verdict == ML_TREND_GROWS) {
		print_pace(r, g->trend.slope);
		print_pace(r, g->trend.slope_low);
		print_pace(r, g->trend.slope_high);
		printf(" %7.0f %%  ", 100 * g->trend.tau);
	} else {
		printf(" %10.3f s  ", (double)g->level_ns / 1e9);
	}
	ml_listing_print_place(stdout, g->holder);
	putchar('\n');
	if (g->trend.verdict == ML_TREND_GROWS)
		ml_listing_print_stack(stdout, &o->listing, r, g->holder);
}

static void print_growing_all(const struct output *o, const struct ml_reading *r, const struct ml_growth *g,
			      enum ml_trend_verdict verdict, const char *head)
{
	size_t top = ml_listing_top(&o->listing), shown = 0, left = 0, i;

	for (i = 0; i < g->n; i++) {
		if (g->items[i].trend.verdict != verdict || g->items[i].small ||
		    !ml_listing_takes(&o->listing, g->items[i].holder))
			continue;
		if (!shown)
			puts(head);
		if (shown++ < top)
			print_growing(o, r, &g->items[i]);
		else
			left++;
	}
	if (left)
		printf("  and %zu more: --top N or --all shows them\n", left);
	if (!shown && verdict == ML_TREND_GROWS)
		puts("  no line keeps growing");
}

static void print_small(const struct ml_growth *g)
{
	size_t small = 0, i;

	for (i = 0; i < g->n; i++)
		small += g->items[i].small;
	if (small)
		printf("  %zu more grow, by less than %u KiB each so far, which CPython's free lists may hold: record "
		       "for\n"
		       "  longer to know (--json has them)\n",
		       small, ML_GROWTH_LEAST / 1024);
}

static void print_points(const struct ml_timeline *t, size_t tested)
{
	const struct ml_point *first = &t->points[0], *last = &t->points[t->n ? t->n - 1 : 0];

	if (t->by_invocation)
		printf("  %zu points of time in %" PRIu64 " invocations that have ended", t->n, t->ended);
	else
		printf("  %zu points of time from %.3f s to %.3f s", t->n, (double)first->ns / 1e9,
		       (double)last->ns / 1e9);
	printf(", %zu lines whose live bytes changed\n", tested);
}

static void print_growth(const struct output *o, const struct ml_reading *r, const struct ml_growth *g)
{
	print_points(&r->timeline, g->tested);
	if (r->timeline.n < ML_TREND_POINTS_MIN) {
		printf("  too few for a verdict, which needs %u: with 5 in the later half chance puts them into one "
		       "order\n"
		       "  in 1 case of 120. Record for longer\n",
		       ML_TREND_POINTS_MIN);
		return;
	}
	print_growing_all(
		o, r, g, ML_TREND_GROWS,
		r->timeline.by_invocation
			? "  keep growing\n          Most per invoc.     at least      at most   steady  Where"
			: "  keep growing\n          Most     a minute     at least      at most   steady  Where");
	print_small(g);
	print_growing_all(o, r, g, ML_TREND_STOPPED, "  have grown and stopped\n          Most        Since  Where");
}

static json_t *json_growing(const struct ml_reading *r, const struct ml_growing *g)
{
	json_t *o = ml_listing_json_place(r, g->holder), *bytes = json_array();
	bool invocation = r->timeline.by_invocation;
	size_t i;

	json_object_set_new(o, "live_bytes", ml_json_number(g->holder->held.bytes));
	json_object_set_new(o, "live_blocks", ml_json_number(g->holder->held.blocks));
	json_object_set_new(o, "verdict",
			    json_string(g->small                             ? "small"
					: g->trend.verdict == ML_TREND_GROWS ? "grows"
									     : "stopped"));
	json_object_set_new(o, invocation ? "bytes_per_invocation" : "bytes_per_minute",
			    json_real(g->trend.slope * pace_unit(r)));
	json_object_set_new(o, invocation ? "bytes_per_invocation_low" : "bytes_per_minute_low",
			    json_real(g->trend.slope_low * pace_unit(r)));
	json_object_set_new(o, invocation ? "bytes_per_invocation_high" : "bytes_per_minute_high",
			    json_real(g->trend.slope_high * pace_unit(r)));
	json_object_set_new(o, "tau", json_real(g->trend.tau));
	json_object_set_new(o, "p", json_real(g->trend.p));
	json_object_set_new(o, "level_seconds", json_real((double)g->level_ns / 1e9));
	for (i = 0; i < r->timeline.n; i++)
		json_array_append_new(bytes, ml_json_number(g->bytes[i]));
	json_object_set_new(o, "bytes", bytes);
	return o;
}

static json_t *json_growth(const struct output *o, const struct ml_reading *r, const struct ml_growth *g)
{
	json_t *growth = json_object(), *lines = json_array(), *seconds = json_array(), *ended = json_array();
	size_t i;

	for (i = 0; i < r->timeline.n; i++) {
		json_array_append_new(seconds, json_real((double)r->timeline.points[i].ns / 1e9));
		json_array_append_new(ended, ml_json_number(r->timeline.points[i].place));
	}
	for (i = 0; i < g->n; i++)
		if (ml_listing_takes(&o->listing, g->items[i].holder) &&
		    (!o->listing.options.top || i < o->listing.options.top))
			json_array_append_new(lines, json_growing(r, &g->items[i]));
	json_object_set_new(growth, "points_needed", json_integer(ML_TREND_POINTS_MIN));
	json_object_set_new(growth, "seconds", seconds);
	json_object_set_new(growth, "invocations", r->timeline.by_invocation ? json_incref(ended) : json_null());
	json_decref(ended);
	json_object_set_new(growth, "lines_tested", ml_json_number(g->tested));
	json_object_set_new(growth, "p_at_most", json_real(ML_GROWTH_ALPHA / (g->tested ? (double)g->tested : 1)));
	json_object_set_new(growth, "lines", lines);
	return growth;
}

static json_t *json_suppressed(const struct ml_suppressions *s)
{
	json_t *array = json_array(), *o;
	size_t i;

	for (i = 0; i < s->n; i++) {
		o = json_object();
		json_object_set_new(o, "pattern", ml_json_text(s->items[i].pattern));
		json_object_set_new(o, "live_bytes", ml_json_number(s->items[i].held.bytes));
		json_object_set_new(o, "live_blocks", ml_json_number(s->items[i].held.blocks));
		json_array_append_new(array, o);
	}
	return array;
}

/* growth: NULL where it was not asked for. */
static json_t *json_reading(const struct output *o, const struct ml_reading *r, const struct ml_holders *found,
			    const struct ml_growth *growth)
{
	json_t *entry = ml_json_process(r);

	json_object_set_new(entry, "totals", ml_json_totals(r));
	json_object_set_new(entry, "allocators", ml_json_heap(r));
	json_object_set_new(entry, "suppressed", json_suppressed(&o->suppressions));
	if (growth)
		json_object_set_new(entry, "growth", json_growth(o, r, growth));
	else
		json_object_set_new(entry, "sites", ml_listing_json(&o->listing, r, found));
	return entry;
}

static void print_reading(const struct output *o, const struct ml_reading *r, const struct ml_holders *found,
			  const struct ml_growth *growth)
{
	ml_table_process(stdout, r);
	print_sums(o, r, found);
	if (o->listing.options.owners) {
		print_growth(o, r, growth);
		return;
	}
	ml_listing_print(stdout, &o->listing, r, found);
	print_allocators(r);
}

static void take_reading(void *input, const struct ml_reading *r)
{
	struct output *o = input;
	struct ml_holders found;
	struct ml_growth growth = {0};
	bool *suppressed = ml_suppress_find(&o->suppressions, &r->holds, &r->stacks, &r->sites.natives.objects);

	ml_holders_find(&found, &r->holds, &r->stacks, &r->sites, o->listing.by, suppressed);
	if (o->listing.options.owners)
		ml_growth_find(&growth, &r->timeline, &found);
	if (o->listing.processes)
		json_array_append_new(o->listing.processes,
				      json_reading(o, r, &found, o->listing.options.owners ? &growth : NULL));
	else
		print_reading(o, r, &found, &growth);
	ml_growth_free(&growth);
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
	case OPTION_GROWTH:
		if (text && strcmp(text, "time") && strcmp(text, "invocation"))
			argp_error(state, "--growth: '%s' is neither 'time' nor 'invocation'", text);
		o->listing.options.owners = true;
		o->listing.options.invocations |= text && !strcmp(text, "invocation");
		return 0;
	case OPTION_POINTS:
		o->listing.options.points = ml_options_count(state, "points", text, ML_TREND_POINTS_MIN, POINTS_MAX);
		return 0;
	case ARGP_KEY_SUCCESS: /* END does not come where there are TRACEs */
		if (o->listing.options.owners && (o->listing.options.merge || o->listing.by == ML_HOLDERS_STACK))
			argp_error(state, "--growth looks at the lines of each process: not --merge, not --by stack");
		if (o->listing.options.invocations && !o->listing.options.owners)
			argp_error(state, "--invocations are for --growth=invocation");
		if (!o->listing.options.owners)
			o->listing.options.points = 0;
		else if (!o->listing.options.points)
			o->listing.options.points = DEFAULT_POINTS;
		return 0;
	case ARGP_KEY_INIT:
		state->child_inputs[0] = &o->listing;
		state->child_inputs[1] = &o->listing.options;
		return 0;
	}
	return ARGP_ERR_UNKNOWN;
}

static const struct argp_option options[] = {
	{"suppressions", OPTION_SUPPRESSIONS, "FILE", 0,
	 "Leave out what this file says, in LeakSanitizer's syntax; may be repeated", 1},
	{"growth", OPTION_GROWTH, "OVER", OPTION_ARG_OPTIONAL,
	 "Lines whose live bytes keep growing over the run, by their pace: over 'time' (the default) or 'invocation'",
	 1},
	{"points", OPTION_POINTS, "N", 0, "With --growth: look at N moments (24) or a few more", 1},
	{"startup", OPTION_STARTUP, NULL, 0, "List imports and start-up too", 1},
	{0},
};

static const struct argp_child children[] = {
	{&ml_listing_argp, 0, NULL, 0},
	{&ml_options_invocations_argp, 0, NULL, 0},
	{0},
};

static const struct argp argp = {
	.options = options,
	.parser = parse,
	.args_doc = "[TRACE...]",
	.doc = "What was allocated and is live at the end, by the lines or stacks that allocated it, the largest first."
	       "\v" ML_COMMAND_TRACES,
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
