/* memline export: traces for other programs. */
#include "report/export.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "report/commands.h"
#include "report/memory.h"

static const struct ml_export_format *const formats[] = {
	&ml_export_folded,
	&ml_export_speedscope,
	&ml_export_pprof,
	&ml_export_csv,
};

/* What `report --json` writes; the other formats are in the list. */
#define JSON "json"

char *ml_export_process(const struct ml_reading *r)
{
	char *command = ml_process_command(r->trace), *text;

	if (r->traces_n > 1)
		text = ml_memory_print("%zu processes, %s", r->pids_n, command);
	else
		text = ml_memory_print("pid %" PRIu64 ", %s", r->process.name.pid, command);
	free(command);
	return text;
}

struct arguments {
	struct ml_options options;
	const struct ml_export_format *format; /* NULL: JSON, if it is chosen */
	bool chosen;
	enum ml_metric metric;
	const char *output; /* NULL: stdout */
};

static void choose_format(struct argp_state *state, const char *name)
{
	struct arguments *a = state->input;
	size_t i;

	a->format = NULL;
	for (i = 0; i < sizeof(formats) / sizeof(formats[0]); i++)
		if (!strcmp(name, formats[i]->name))
			a->format = formats[i];
	if (!a->format && strcmp(name, JSON))
		argp_error(state, "--format: '%s' is none of folded, speedscope, pprof, json and csv", name);
	a->chosen = true;
}

static error_t parse(int key, char *text, struct argp_state *state)
{
	struct arguments *a = state->input;

	switch (key) {
	case 'f':
		choose_format(state, text);
		return 0;
	case 'm':
		a->metric = ml_metric_take(state, text);
		return 0;
	case 'o':
		a->output = text;
		return 0;
	case ARGP_KEY_INIT:
		state->child_inputs[0] = state->child_inputs[1] = state->child_inputs[2] = &a->options;
		return 0;
	case ARGP_KEY_SUCCESS: /* ARGP_KEY_END does not come where arguments are left, as TRACEs are */
		if (!a->chosen)
			argp_error(state, "--format is missing: folded, speedscope, pprof, json or csv");
		if (a->format && a->format->binary && !a->output && isatty(STDOUT_FILENO))
			argp_error(state, "%s is no text for a terminal: give -o FILE", a->format->name);
		return 0;
	}
	return ARGP_ERR_UNKNOWN;
}

static const struct argp_option options[] = {
	{"format", 'f', "FORMAT", 0,
	 "'folded' (for flamegraph.pl), 'speedscope', 'pprof' (go tool pprof), 'json' (as report --json) or 'csv'", 0},
	{"metric", 'm', "METRIC", 0, "What a stack weighs: " ML_METRIC_NAMES " (live)", 0},
	{"output", 'o', "FILE", 0, "Write there, not to standard output", 0},
	{0},
};

static const struct argp_child children[] = {
	{&ml_options_select_argp, 0, NULL, 0},
	{&ml_options_merge_argp, 0, NULL, 0},
	{&ml_options_native_argp, 0, NULL, 0},
	{0},
};

static const struct argp argp = {
	.options = options,
	.parser = parse,
	.args_doc = "[TRACE...]",
	.doc = "Traces for other programs: whole stacks, from the root to the leaf, with what they hold, or the lines "
	       "of report.\v" ML_COMMAND_TRACES,
	.children = children,
};

/* What is on its way out. */
struct output {
	const struct ml_export_format *format;
	struct ml_export export;
};

static void add(void *context, const struct ml_reading *r)
{
	struct output *o = context;

	o->format->add(&o->export, r);
}

static int write_export(FILE *out, const struct ml_finds *finds, struct arguments *a)
{
	struct output o = {a->format, {out, a->metric, finds->n > 1 && !a->options.merge, &a->options, NULL}};
	int status;

	a->options.json = !a->format;
	if (!a->format)
		return ml_report_print(out, finds, &a->options);
	a->options.stacks = a->format->stacks;
	if (a->format->begin)
		a->format->begin(&o.export);
	status = ml_command_read(finds, &a->options, add, &o);
	if (a->format->end)
		a->format->end(&o.export);
	return status;
}

int ml_command_export(int argc, char **argv)
{
	struct arguments a = {.metric = ML_METRIC_LIVE};
	struct ml_finds finds = {NULL, 0};
	FILE *out;
	int status;

	ml_options_init(&a.options);
	status = ml_command_find(&finds, &argp, argc, argv, &a);
	if (!status && !(out = ml_command_open(a.output, stdout)))
		status = EXIT_FAILURE;
	if (!status) {
		status = ml_command_written(out, write_export(out, &finds, &a));
		if (out != stdout && fclose(out))
			status = EXIT_FAILURE;
	}
	ml_finds_free(&finds);
	ml_options_free(&a.options);
	return status;
}
