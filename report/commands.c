#include "report/commands.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "report/memory.h"

int ml_command_error(char *error)
{
	fprintf(stderr, "memline: %s\n", error);
	free(error);
	return EXIT_FAILURE;
}

int ml_command_find(struct ml_finds *finds, const struct argp *argp, int argc, char **argv, void *input)
{
	char *error;
	int next;

	argp_parse(argp, argc, argv, 0, &next, input);
	if (next == argc && ml_find(finds, NULL, &error))
		return ml_command_error(error);
	for (; next < argc; next++)
		if (ml_find(finds, argv[next], &error))
			return ml_command_error(error);
	return 0;
}

static void finish(struct ml_reading *r, const struct ml_options *options,
		   void (*show)(void *context, const struct ml_reading *r), void *context)
{
	ml_reading_finish(r, options);
	show(context, r);
	ml_reading_close(r);
}

int ml_command_read(const struct ml_finds *finds, const struct ml_options *options,
		    void (*show)(void *context, const struct ml_reading *r), void *context)
{
	struct ml_reading r = {0};
	int status = 0;
	char *error;
	size_t i;

	for (i = 0; i < finds->n; i++) {
		if (ml_reading_add(&r, finds->items[i].path, options, &error))
			status = ml_command_error(error);
		else if (!options->merge)
			finish(&r, options, show, context);
	}
	if (r.trace)
		finish(&r, options, show, context);
	return status;
}

FILE *ml_command_open(const char *path, FILE *otherwise)
{
	FILE *out = path ? fopen(path, "we") : otherwise;

	if (!out)
		ml_command_error(ml_memory_print("%s: cannot be written: %s", path, strerror(errno)));
	return out;
}

int ml_command_written(FILE *out, int status)
{
	if (!fflush(out) && !ferror(out))
		return status;
	fprintf(stderr, "memline: the output cannot be written: %s\n", strerror(errno));
	return EXIT_FAILURE;
}
