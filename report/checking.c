/* memline check: whether traces fit together. */
#include <stdlib.h>

#include "report/check.h"
#include "report/commands.h"
#include "report/progress.h"

struct arguments {
	char **traces;
	size_t traces_n;
};

static error_t parse(int key, char *text, struct argp_state *state)
{
	struct arguments *a = state->input;

	(void)text;
	if (key != ARGP_KEY_ARGS)
		return ARGP_ERR_UNKNOWN;
	a->traces = state->argv + state->next;
	a->traces_n = (size_t)(state->argc - state->next);
	return 0;
}

static const struct argp argp = {
	.parser = parse,
	.args_doc = "[TRACE...]",
	.doc = "Whether traces fit together, for people who work on memline: replays every event in its order. Prints "
	       "one "
	       "line for each kind of fault; the exit status is 1 if there are any.",
};

static int check(const char *path)
{
	struct ml_progress progress;
	struct ml_check c;
	struct ml_trace *t;
	int status;
	char *error;

	t = ml_load_open(path, &error);
	if (!t)
		return ml_command_error(error);
	ml_progress_start(&progress, t->path);
	ml_check_run(&c, t, ml_progress_show, &progress);
	ml_progress_end(&progress);
	ml_check_print(&c, t, stdout);
	status = ml_check_sound(&c, t) ? EXIT_SUCCESS : EXIT_FAILURE;
	ml_load_close(t);
	return status;
}

int ml_command_check(int argc, char **argv)
{
	struct arguments a = {0};
	struct ml_finds finds = {NULL, 0};
	int status;
	size_t i;

	argp_parse(&argp, argc, argv, 0, NULL, &a);
	status = ml_command_find(&finds, a.traces, a.traces_n);
	for (i = 0; i < finds.n; i++)
		if (check(finds.items[i].path))
			status = EXIT_FAILURE;
	ml_finds_free(&finds);
	return ml_command_written(stdout, status);
}
