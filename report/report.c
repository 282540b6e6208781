/* memline report: the per-line table of each function in scope. */
#include <stdlib.h>
#include <string.h>

#include "report/by_invocation.h"
#include "report/commands.h"
#include "report/json.h"
#include "report/reading.h"
#include "report/table.h"

/* Functions in a text report, unless told otherwise. */
#define DEFAULT_TOP 20

enum { OPTION_BY = 512 };

/* One report on its way out. */
struct output {
	FILE *out;
	struct ml_options options; /* by which traces are read */
	struct ml_options shown;   /* by invocation: what is shown of it */
	json_t *processes;         /* NULL: text */
	size_t n;
};

static void print_reading(void *context, const struct ml_reading *r)
{
	struct output *o = context;

	if (o->options.invocations) {
		if (o->processes)
			json_array_append_new(o->processes, ml_by_invocation_json(r, &o->shown));
		else
			ml_by_invocation_print(o->out, r, &o->shown);
		return;
	}
	if (o->processes) {
		json_array_append_new(o->processes, ml_json_reading(r));
		return;
	}
	if (o->n++)
		fputs("\n\n", o->out);
	ml_table_print(o->out, r, &o->options);
}

int ml_report_print(FILE *out, const struct ml_finds *finds, const struct ml_options *options)
{
	struct output o = {.out = out, .options = *options};
	int status;

	if (options->all)
		o.options.top = 0;
	else if (!options->top && !options->json)
		o.options.top = DEFAULT_TOP;
	if (options->json)
		o.processes = json_array();
	o.shown = o.options;
	if (o.options.invocations)
		o.options.functions_n = o.options.min_bytes = o.options.top = 0;
	o.options.native = options->json ? ML_NATIVE_FUNCTIONS : options->wide ? ML_NATIVE_OUTSIDE : ML_NATIVE_MODULES;
	status = ml_command_read(finds, &o.options, print_reading, &o);
	if (o.processes)
		ml_json_print_processes(out, o.processes);
	return status;
}

static error_t parse(int key, char *text, struct argp_state *state)
{
	struct ml_options *o = state->input;

	switch (key) {
	case OPTION_BY:
		if (strcmp(text, "line") && strcmp(text, "invocation"))
			argp_error(state, "--by: '%s' is neither 'line' nor 'invocation'", text);
		o->invocations = !strcmp(text, "invocation");
		return 0;
	case ARGP_KEY_INIT:
		state->child_inputs[0] = state->child_inputs[1] = o;
		state->child_inputs[2] = state->child_inputs[3] = state->child_inputs[4] = o;
		state->child_inputs[5] = o;
		return 0;
	}
	return ARGP_ERR_UNKNOWN;
}

static const struct argp_child children[] = {
	{&ml_options_select_argp, 0, NULL, 0},
	{&ml_options_json_argp, 0, NULL, 0},
	{&ml_options_merge_argp, 0, NULL, 0},
	{&ml_options_wide_argp, 0, NULL, 0},
	{&ml_options_native_argp, 0, NULL, 0},
	{&ml_options_invocations_argp, 0, NULL, 0},
	{0},
};

static const struct argp_option options[] = {
	{"by", OPTION_BY, "WHAT", 0,
	 "'line' (the default), or 'invocation': what each invocation of an entry function retains", 1},
	{0},
};

static const struct argp argp = {
	.options = options,
	.parser = parse,
	.args_doc = "[TRACE...]",
	.doc = "Where memory grew and shrank: a table of the lines of each function in scope, the largest increment "
	       "first.\v" ML_COMMAND_TRACES,
	.children = children,
};

int ml_command_report(int argc, char **argv)
{
	struct ml_options o;
	struct ml_finds finds = {NULL, 0};
	int status;

	ml_options_init(&o);
	status = ml_command_find(&finds, &argp, argc, argv, &o);
	if (!status)
		status = ml_command_written(stdout, ml_report_print(stdout, &finds, &o));
	ml_finds_free(&finds);
	ml_options_free(&o);
	return status;
}
