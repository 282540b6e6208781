/* memline peak: who held the memory at the high-water mark, or at another moment. */
#include "report/commands.h"
#include "report/json.h"
#include "report/listing.h"
#include "report/table.h"

enum { OPTION_AT = 512 };

/* What was live then, of all threads and stacks that are asked for. */
static uint64_t held(const struct ml_listing *l, const struct ml_reading *r)
{
	return l->options.hold == ML_HOLD_PEAK ? r->totals.peak_bytes : r->totals.live_bytes;
}

static void print_reading(const struct ml_listing *l, const struct ml_reading *r, const struct ml_holders *found)
{
	char size[ML_TABLE_SIZE_BYTES];
	bool peak = l->options.hold == ML_HOLD_PEAK;

	ml_table_process(stdout, r);
	printf("  %s live %s", ml_table_size(held(l, r), size), peak ? "at the peak" : "");
	if (peak && r->traces_n == 1)
		printf(", after %.3f s", (double)r->totals.peak_ns / 1e9);
	else if (peak)
		printf(": each process's own, added up");
	else
		printf("after %.3f s", ml_reading_seconds(r));
	putchar('\n');
	ml_listing_print(stdout, l, r, found);
}

static json_t *json_reading(const struct ml_listing *l, const struct ml_reading *r, const struct ml_holders *found)
{
	json_t *entry = ml_json_process(r);

	json_object_set_new(entry, "totals", ml_json_totals(r));
	json_object_set_new(entry, "sites", ml_listing_json(l, r, found));
	return entry;
}

static void take_reading(void *input, const struct ml_reading *r)
{
	struct ml_listing *l = input;
	struct ml_holders found;

	ml_holders_find(&found, &r->holds, &r->stacks, &r->sites, l->by, NULL);
	if (l->processes)
		json_array_append_new(l->processes, json_reading(l, r, &found));
	else
		print_reading(l, r, &found);
	ml_holders_free(&found);
}

static error_t parse(int key, char *text, struct argp_state *state)
{
	struct ml_listing *l = state->input;

	switch (key) {
	case OPTION_AT:
		l->options.hold = ML_HOLD_END;
		ml_options_moment(state, "at", text, &l->options.fold.to_ns, &l->options.to_mark);
		return 0;
	case ARGP_KEY_INIT:
		state->child_inputs[0] = l;
		return 0;
	}
	return ARGP_ERR_UNKNOWN;
}

static const struct argp_option options[] = {
	{"at", OPTION_AT, "T", 0, "At this second, counted from the start, or at this mark, not at the peak", 1},
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
	.doc = "Who held the memory at the high-water mark: lines, or whole stacks, the largest first."
	       "\v" ML_COMMAND_TRACES,
	.children = children,
};

int ml_command_peak(int argc, char **argv)
{
	struct ml_listing l;

	ml_listing_init(&l, ML_HOLD_PEAK);
	l.inclusive = true;
	return ml_listing_run(&l, &argp, argc, argv, &l, take_reading);
}
