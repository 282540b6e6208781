/* memline peak: who held the memory at the high-water mark, or at another moment. */
#include "report/commands.h"
#include "report/json.h"
#include "report/listing.h"
#include "report/table.h"

enum { OPTION_AT = 512, OPTION_MERGE };

struct output {
	struct ml_listing listing;
	json_t *processes; /* NULL: text */
};

/* What was live then, of all threads and stacks that are asked for. */
static uint64_t held(const struct ml_listing *l, const struct ml_reading *r)
{
	return l->options.hold == ML_HOLD_PEAK ? r->totals.peak_bytes : r->totals.live_bytes;
}

static void print_reading(const struct output *o, const struct ml_reading *r, const struct ml_holders *found)
{
	char size[ML_TABLE_SIZE_BYTES];
	bool peak = o->listing.options.hold == ML_HOLD_PEAK;

	ml_table_process(stdout, r);
	printf("  %s live %s", ml_table_size(held(&o->listing, r), size), peak ? "at the peak" : "");
	if (peak && r->traces_n == 1)
		printf(", after %.3f s", (double)r->totals.peak_ns / 1e9);
	else if (peak)
		printf(": each process's own, added up");
	else
		printf("after %.3f s", ml_reading_seconds(r));
	putchar('\n');
	ml_listing_print(stdout, &o->listing, r, found);
}

static json_t *json_reading(const struct output *o, const struct ml_reading *r, const struct ml_holders *found)
{
	json_t *entry = ml_json_process(r);

	json_object_set_new(entry, "totals", ml_json_totals(r));
	json_object_set_new(entry, "sites", ml_listing_json(&o->listing, r, found));
	return entry;
}

static void take_reading(void *context, const struct ml_reading *r)
{
	struct output *o = context;
	struct ml_holders found;

	ml_holders_find(&found, &r->holds, &r->stacks, &r->sites, o->listing.by);
	if (o->processes)
		json_array_append_new(o->processes, json_reading(o, r, &found));
	else
		print_reading(o, r, &found);
	ml_holders_free(&found);
}

static error_t parse(int key, char *text, struct argp_state *state)
{
	struct output *o = state->input;

	switch (key) {
	case OPTION_AT:
		o->listing.options.hold = ML_HOLD_END;
		ml_options_moment(state, "at", text, &o->listing.options.fold.to_ns, &o->listing.options.to_mark);
		return 0;
	case OPTION_MERGE:
		o->listing.options.merge = true;
		return 0;
	case ARGP_KEY_INIT:
		state->child_inputs[0] = &o->listing;
		state->child_inputs[1] = state->child_inputs[2] = state->child_inputs[3] = &o->listing.options;
		return 0;
	}
	return ARGP_ERR_UNKNOWN;
}

static const struct argp_option options[] = {
	{"at", OPTION_AT, "T", 0, "At this second, counted from the start, or at this mark, not at the peak", 1},
	{"merge", OPTION_MERGE, NULL, 0, "Report all processes as one", 1},
	{0},
};

static const struct argp_child children[] = {
	{&ml_listing_argp, 0, NULL, 0},
	{&ml_options_select_argp, 0, NULL, 0},
	{&ml_options_json_argp, 0, NULL, 0},
	{&ml_options_native_argp, 0, NULL, 0},
	{0},
};

static const struct argp argp = {
	.options = options,
	.parser = parse,
	.args_doc = "[TRACE...]",
	.doc = "Who held the memory at the high-water mark: lines, or whole stacks, the largest first.\vTRACE is a "
	       "file, "
	       "a directory (its newest run), a pid, or nothing: the newest run in MEMLINE_DIR.",
	.children = children,
};

int ml_command_peak(int argc, char **argv)
{
	struct output o = {0};
	struct ml_finds finds = {NULL, 0};
	int status;

	ml_listing_init(&o.listing, ML_HOLD_PEAK);
	o.listing.inclusive = true;
	status = ml_command_find(&finds, &argp, argc, argv, &o);
	if (!status) {
		o.processes = o.listing.options.json ? json_array() : NULL;
		status = ml_command_read(&finds, &o.listing.options, take_reading, &o);
		if (o.processes)
			ml_json_print_processes(stdout, o.processes);
		status = ml_command_written(stdout, status);
	}
	ml_finds_free(&finds);
	ml_listing_free(&o.listing);
	return status;
}
