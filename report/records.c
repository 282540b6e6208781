/* memline dump: the raw records as text. */
#include "report/commands.h"
#include "report/dump.h"

struct arguments {
	struct ml_options options;
	unsigned parts;
};

static error_t parse(int key, char *text, struct argp_state *state)
{
	struct arguments *a = state->input;

	(void)text;
	switch (key) {
	case 'd':
		a->parts |= ML_DUMP_DEFS;
		return 0;
	case 'n':
		a->parts |= ML_DUMP_NODES;
		return 0;
	case 'e':
		a->parts |= ML_DUMP_EVENTS;
		return 0;
	case ARGP_KEY_INIT:
		state->child_inputs[0] = &a->options;
		return 0;
	}
	return ARGP_ERR_UNKNOWN;
}

static const struct argp_option options[] = {
	{"defs", 'd', NULL, 0, "Code objects, modules and counts of lines", 0},
	{"nodes", 'n', NULL, 0, "The tree of stacks", 0},
	{"events", 'e', NULL, 0, "Every record of every piece", 0},
	{0},
};

static const struct argp_child children[] = {
	{&ml_options_native_argp, 0, NULL, 0},
	{0},
};

static const struct argp argp = {
	.options = options,
	.parser = parse,
	.args_doc = "[TRACE...]",
	.doc = "The raw contents of traces, for people who work on memline: header, process and directory, and the "
	       "parts that are asked for, or all of them.",
	.children = children,
};

int ml_command_dump(int argc, char **argv)
{
	struct arguments a = {0};
	struct ml_finds finds = {NULL, 0};
	struct ml_objects objects = {.n = 0};
	struct ml_trace *t;
	int status;
	char *error;
	size_t i;

	ml_options_init(&a.options);
	status = ml_command_find(&finds, &argp, argc, argv, &a);
	if (!a.parts)
		a.parts = ML_DUMP_DEFS | ML_DUMP_NODES | ML_DUMP_EVENTS;
	objects.options = a.options.objects;
	for (i = 0; i < finds.n; i++) {
		t = ml_load_open(finds.items[i].path, &error);
		if (!t) {
			status = ml_command_error(error);
			continue;
		}
		if (ml_dump(t, a.parts, &objects, stdout))
			status = 1;
		ml_load_close(t);
	}
	ml_objects_free(&objects);
	ml_finds_free(&finds);
	return ml_command_written(stdout, status);
}
