/* memline check: whether traces fit together. */
#include <stdlib.h>

#include "report/check.h"
#include "report/commands.h"
#include "report/progress.h"

static const struct argp argp = {
	.args_doc = "[TRACE...]",
	.doc = "Whether traces fit together, for people who work on memline: replays every event in its order. Prints "
	       "one line for each kind of fault; the exit status is 1 if there are any.",
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
	struct ml_finds finds = {NULL, 0};
	int status;
	size_t i;

	status = ml_command_find(&finds, &argp, argc, argv, NULL);
	for (i = 0; i < finds.n; i++)
		if (check(finds.items[i].path))
			status = EXIT_FAILURE;
	ml_finds_free(&finds);
	return ml_command_written(stdout, status);
}
