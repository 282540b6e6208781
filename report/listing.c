#include "report/listing.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "report/commands.h"
#include "report/json.h"
#include "report/memory.h"
#include "report/table.h"

/* Rows of a text, and calls of a stack in it, unless told otherwise. */
#define DEFAULT_TOP 20
#define DEFAULT_CALLS 12

/* Where the lines of a stack begin. */
#define STACK_COLUMN 28

enum { OPTION_BY = 256, OPTION_MERGE };

void ml_listing_init(struct ml_listing *l, enum ml_hold_moment moment)
{
	*l = (struct ml_listing){0};
	ml_options_init(&l->options);
	l->options.stacks = true;
	l->options.hold = moment;
}

static error_t parse(int key, char *text, struct argp_state *state)
{
	struct ml_listing *l = state->input;

	switch (key) {
	case OPTION_BY:
		if (strcmp(text, "line") && strcmp(text, "stack"))
			argp_error(state, "--by: '%s' is neither 'line' nor 'stack'", text);
		l->by = strcmp(text, "stack") ? ML_HOLDERS_LINE : ML_HOLDERS_STACK;
		return 0;
	case OPTION_MERGE:
		l->options.merge = true;
		return 0;
	case ARGP_KEY_INIT:
		state->child_inputs[0] = state->child_inputs[1] = state->child_inputs[2] = &l->options;
		return 0;
	}
	return ARGP_ERR_UNKNOWN;
}

static const struct argp_option options[] = {
	{"by", OPTION_BY, "WHAT", 0, "'line' (the default) or 'stack': what is told apart", 1},
	{"merge", OPTION_MERGE, NULL, 0, "Report all processes as one", 1},
	{0},
};

static const struct argp_child children[] = {
	{&ml_options_select_argp, 0, NULL, 0},
	{&ml_options_json_argp, 0, NULL, 0},
	{&ml_options_native_argp, 0, NULL, 0},
	{0},
};

const struct argp ml_listing_argp = {.options = options, .parser = parse, .children = children};

int ml_listing_run(struct ml_listing *l, const struct argp *argp, int argc, char **argv, void *input,
		   void (*show)(void *input, const struct ml_reading *r))
{
	struct ml_finds finds = {NULL, 0};
	int status = ml_command_find(&finds, argp, argc, argv, input);

	if (!status) {
		l->processes = l->options.json ? json_array() : NULL;
		status = ml_command_read(&finds, &l->options, show, input);
		if (l->processes)
			ml_json_print_processes(stdout, l->processes);
		status = ml_command_written(stdout, status);
	}
	ml_finds_free(&finds);
	ml_options_free(&l->options);
	return status;
}

/* The stack's calls, innermost first: of each frame all that were inlined into one another. */
struct walk {
	const struct ml_reading *r;
	uint32_t stack; /* the next call's */
	uint32_t call;
	const struct ml_call *at;
	const char *module; /* NULL: not native */
};

static bool next_call(struct walk *w)
{
	const struct ml_stacks *s = &w->r->stacks;
	const struct ml_frame *frame = &s->frames[s->items[w->stack].frame];

	if (!w->stack)
		return false;
	w->at = &s->calls[frame->first_call + w->call];
	w->module = frame->kind == ML_NODE_NATIVE ? w->r->sites.natives.objects.objects[frame->object].name : NULL;
	if (++w->call >= frame->calls_n) {
		w->call = 0;
		w->stack = s->items[w->stack].parent;
	}
	return true;
}

bool ml_listing_takes(const struct ml_listing *l, const struct ml_holder *holder)
{
	const char *function = holder->function ? holder->function->name : holder->call->function;

	return holder->held.bytes >= l->options.min_bytes && ml_options_takes(&l->options, function);
}

size_t ml_listing_top(const struct ml_listing *l)
{
	return l->options.all ? SIZE_MAX : l->options.top ? l->options.top : DEFAULT_TOP;
}

static void print_place(FILE *out, const char *function, const char *file, int line, const char *module)
{
	ml_table_text(out, function);
	if (file && line) {
		fputs(" (", out);
		ml_table_text(out, file);
		fprintf(out, ":%d)", line);
	} else if (module) {
		fputs(" (", out);
		ml_table_text(out, module);
		fputc(')', out);
	}
}

void ml_listing_print_place(FILE *out, const struct ml_holder *holder)
{
	if (holder->line)
		print_place(out, holder->function->name, holder->function->file, holder->line->line, NULL);
	else
		print_place(out, holder->call->function, holder->call->file, holder->call->line, holder->module);
}

/* The holder itself, so its row has said it; or machinery of CPython's that its own tracebacks leave out too
   (remove_importlib_frames() in Python/import.c). */
static bool is_told(const struct ml_call *call, const struct ml_holder *holder, bool innermost)
{
	if (innermost)
		return call == holder->call && (!holder->line || !strcmp(call->function, holder->function->name));
	return call->file && ml_stack_imports(call->file);
}

void ml_listing_print_stack(FILE *out, const struct ml_listing *l, const struct ml_reading *r,
			    const struct ml_holder *holder)
{
	struct walk w = {.r = r, .stack = holder->stack};
	size_t calls = l->options.all ? SIZE_MAX : DEFAULT_CALLS, n = 0, shown = 0;

	while (next_call(&w)) {
		if (is_told(w.at, holder, !n++) && !(l->options.all && n > 1))
			continue;
		if (shown++ >= calls)
			continue;
		fprintf(out, "%*s", STACK_COLUMN, "");
		print_place(out, w.at->function, w.at->file, w.at->line, w.module);
		fputc('\n', out);
	}
	if (shown > calls)
		fprintf(out, "%*s... and %zu more\n", STACK_COLUMN, "", shown - calls);
	if (holder->stacks_n > 1)
		fprintf(out, "%*sand %" PRIu32 " other stack%s\n", STACK_COLUMN, "", holder->stacks_n - 1,
			holder->stacks_n > 2 ? "s" : "");
}

void ml_listing_print_calls(FILE *out, const struct ml_listing *l, const struct ml_reading *r, uint32_t stack,
			    int column)
{
	struct walk w = {.r = r, .stack = stack};
	size_t calls = l->options.all ? SIZE_MAX : DEFAULT_CALLS, n = 0;

	while (next_call(&w)) {
		if (n++ >= calls)
			continue;
		if (n > 1)
			fprintf(out, "%*s", column, "");
		print_place(out, w.at->function, w.at->file, w.at->line, w.module);
		fputc('\n', out);
	}
	if (n > calls)
		fprintf(out, "%*s... and %zu more\n", column, "", n - calls);
}

static void print_row(FILE *out, const struct ml_listing *l, const struct ml_reading *r, const struct ml_holder *holder)
{
	char held[ML_TABLE_SIZE_BYTES], inclusive[ML_TABLE_SIZE_BYTES] = "";
	const struct ml_line *line = holder->line;
	bool peak = l->options.hold == ML_HOLD_PEAK;

	fprintf(out, "  %12s %10" PRIu64, ml_table_size(holder->held.bytes, held), holder->held.blocks);
	if (l->inclusive) {
		if (line && l->by == ML_HOLDERS_LINE)
			ml_table_size(peak ? line->inclusive_peak_bytes : line->inclusive_live_bytes, inclusive);
		fprintf(out, " %12s  ", inclusive);
	} else {
		fprintf(out, " %10.3f s %10.3f s  ", holder->held.first_ms / 1e3, holder->held.last_ms / 1e3);
	}
	ml_listing_print_place(out, holder);
	fputc('\n', out);
	ml_listing_print_stack(out, l, r, holder);
}

static bool is_printed(const struct ml_listing *l, const struct ml_holder *holder)
{
	return (holder->phase == ML_HOLD_RUN || l->startup) && ml_listing_takes(l, holder);
}

void ml_listing_print(FILE *out, const struct ml_listing *l, const struct ml_reading *r, const struct ml_holders *found)
{
	size_t top = ml_listing_top(l), shown = 0, left = 0;
	uint32_t i;

	for (i = 0; i < found->n; i++) {
		if (!is_printed(l, &found->items[i]))
			continue;
		if (shown++ >= top) {
			left++;
			continue;
		}
		if (shown == 1 && l->inclusive)
			fprintf(out, "  %12s %10s %12s  %s\n", "Own", "Blocks", "Inclusive", "Where");
		else if (shown == 1)
			fprintf(out, "  %12s %10s %12s %12s  %s\n", "Live", "Blocks", "First", "Last", "Where");
		print_row(out, l, r, &found->items[i]);
	}
	if (left)
		fprintf(out, "  and %zu more: --top N or --all shows them\n", left);
}

static void set_place(json_t *o, const char *function, const char *file, int line, const char *module)
{
	json_object_set_new(o, "file", ml_json_text(file));
	json_object_set_new(o, "line", line ? json_integer(line) : json_null());
	json_object_set_new(o, "function", ml_json_text(function));
	json_object_set_new(o, "module", ml_json_text(module));
}

json_t *ml_listing_json_calls(const struct ml_reading *r, uint32_t stack)
{
	struct walk w = {.r = r, .stack = stack};
	json_t *calls = json_array(), *call;

	while (next_call(&w)) {
		call = json_object();
		set_place(call, w.at->function, w.at->file, w.at->line, w.module);
		json_array_append_new(calls, call);
	}
	return calls;
}

json_t *ml_listing_json_place(const struct ml_reading *r, const struct ml_holder *holder)
{
	json_t *o = json_object();

	if (holder->line)
		set_place(o, holder->function->name, holder->function->file, holder->line->line, NULL);
	else
		set_place(o, holder->call->function, holder->call->file, holder->call->line, holder->module);
	json_object_set_new(o, "in_scope", json_boolean(holder->line != NULL));
	json_object_set_new(o, "stacks", json_integer(holder->stacks_n));
	json_object_set_new(o, "stack", ml_listing_json_calls(r, holder->stack));
	return o;
}

static json_t *json_site(const struct ml_listing *l, const struct ml_reading *r, const struct ml_holder *holder)
{
	json_t *o = ml_listing_json_place(r, holder), *inclusive = json_null();
	const struct ml_line *line = l->by == ML_HOLDERS_LINE ? holder->line : NULL;

	json_object_set_new(o, "live_bytes", ml_json_number(holder->held.bytes));
	json_object_set_new(o, "live_blocks", ml_json_number(holder->held.blocks));
	if (l->inclusive) {
		if (line)
			inclusive = ml_json_number(l->options.hold == ML_HOLD_PEAK ? line->inclusive_peak_bytes
										   : line->inclusive_live_bytes);
		json_object_set_new(o, "inclusive_bytes", inclusive);
		return o;
	}
	json_object_set_new(o, "first_seconds", json_real(holder->held.first_ms / 1e3));
	json_object_set_new(o, "last_seconds", json_real(holder->held.last_ms / 1e3));
	json_object_set_new(o, "startup", json_boolean(holder->phase == ML_HOLD_STARTUP));
	return o;
}

json_t *ml_listing_json(const struct ml_listing *l, const struct ml_reading *r, const struct ml_holders *found)
{
	json_t *sites = json_array();
	uint32_t i;

	for (i = 0; i < found->n; i++)
		if (ml_listing_takes(l, &found->items[i]) &&
		    (!l->options.top || json_array_size(sites) < l->options.top))
			json_array_append_new(sites, json_site(l, r, &found->items[i]));
	return sites;
}
