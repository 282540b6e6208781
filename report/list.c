/* memline list: the traces that are there. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include <errno.h>

#include "report/commands.h"
#include "report/json.h"
#include "report/memory.h"
#include "report/progress.h"

struct arguments {
	struct ml_options options;
	char **directories;
	size_t directories_n;
};

/* One trace, read to its very end. */
struct entry {
	const struct ml_trace *trace;
	struct ml_process process;
	uint64_t events;
	double seconds;
};

static void count_events(struct ml_trace *t, struct entry *e)
{
	const struct ml_moment *moments;
	struct ml_progress progress;
	uint64_t ns = 0;
	size_t n;

	ml_progress_start(&progress, t->path);
	while ((n = ml_load_next(t, &moments))) {
		e->events += n;
		ns = moments[n - 1].ns;
		ml_progress_show(&progress, ml_load_progress(t));
	}
	ml_progress_end(&progress);
	e->seconds = (double)ns / 1e9;
}

static void print_text(FILE *out, const struct entry *e)
{
	char started[ML_PROCESS_TIME_BYTES], *command = ml_process_command(e->trace);

	ml_process_time(e->process.started_ns, started);
	fprintf(out, "%8" PRIu64 "  %-8s %.19s %10.3f  %-7s %12" PRIu64 "  %s\n", e->process.name.pid,
		e->process.python ? e->process.python : "-", started, e->seconds, ml_process_end_text(e->process.end),
		e->events, command);
	free(command);
}

static json_t *json_entry(const struct entry *e)
{
	char started[ML_PROCESS_TIME_BYTES];
	json_t *o = json_object();

	ml_process_time(e->process.started_ns, started);
	json_object_set_new(o, "file", ml_json_text(e->trace->path));
	json_object_set_new(o, "bytes", ml_json_number(e->trace->file_bytes));
	json_object_set_new(o, "pid", ml_json_number(e->process.name.pid));
	json_object_set_new(o, "ppid", ml_json_number(e->process.ppid));
	json_object_set_new(o, "run_pid", ml_json_number(e->process.run_pid));
	json_object_set_new(o, "command", ml_json_command(e->trace));
	json_object_set_new(o, "python", ml_json_text(e->process.python));
	json_object_set_new(o, "started", json_string(started));
	json_object_set_new(o, "seconds", json_real(e->seconds));
	json_object_set_new(o, "end", json_string(ml_process_end_text(e->process.end)));
	json_object_set_new(o, "events", ml_json_number(e->events));
	return o;
}

/* array: NULL for text. */
static int print_entry(const struct ml_found *item, json_t *array)
{
	char *error = NULL;
	struct ml_trace *t = item->error ? NULL : ml_load_open(item->path, &error);
	struct entry e = {.trace = t};

	if (!t)
		return ml_command_error(error ? error : ml_memory_text(item->error, strlen(item->error)));
	ml_process_read(t, &e.process);
	count_events(t, &e);
	if (array)
		json_array_append_new(array, json_entry(&e));
	else
		print_text(stdout, &e);
	ml_load_close(t);
	return 0;
}

static int print_list(const struct ml_finds *finds, const struct ml_options *o)
{
	json_t *array = o->json ? json_array() : NULL, *top;
	int status = 0;
	size_t i, shown = 0;

	if (!array)
		printf("%8s  %-8s %-19s %10s  %-7s %12s  %s\n", "PID", "Python", "Started (UTC)", "Seconds", "End",
		       "Events", "Command");
	for (i = finds->n; i-- > 0 && (!o->top || shown < o->top); shown++)
		if (print_entry(&finds->items[i], array))
			status = 1;
	if (array) {
		top = json_object();
		json_object_set_new(top, "memline", json_string(ML_VERSION_TEXT));
		json_object_set_new(top, "traces", array);
		ml_json_print(stdout, top);
	}
	return status;
}

static error_t parse(int key, char *text, struct argp_state *state)
{
	struct arguments *a = state->input;
	uint64_t top;

	switch (key) {
	case 't':
		if (!ml_options_number(text, &top) || !top || top > SIZE_MAX)
			argp_error(state, "--top: '%s' is no number of traces", text);
		a->options.top = (size_t)top;
		return 0;
	case ARGP_KEY_INIT:
		state->child_inputs[0] = &a->options;
		return 0;
	case ARGP_KEY_ARGS:
		a->directories = state->argv + state->next;
		a->directories_n = (size_t)(state->argc - state->next);
		return 0;
	}
	return ARGP_ERR_UNKNOWN;
}

static const struct argp_option options[] = {
	{"top", 't', "N", 0, "Only the newest N", 0},
	{0},
};

static const struct argp_child children[] = {{&ml_options_json_argp, 0, NULL, 0}, {0}};

static const struct argp argp = {
	.options = options,
	.parser = parse,
	.args_doc = "[DIRECTORY...]",
	.doc = "The traces in a directory (MEMLINE_DIR), newest first.",
	.children = children,
};

/* A directory that was never made holds no traces: that's no error unless it was named. */
static int list_default(struct ml_finds *finds)
{
	char *directory = ml_find_directory();
	int status = 0;

	if (ml_find_all(finds, directory) && (errno != ENOENT || getenv("MEMLINE_DIR")))
		status = ml_command_error(
			ml_memory_print("%s: cannot be listed: %s; set MEMLINE_DIR", directory, strerror(errno)));
	free(directory);
	return status;
}

int ml_command_list(int argc, char **argv)
{
	struct arguments a = {0};
	struct ml_finds finds = {NULL, 0};
	int status = 0;
	size_t i;

	ml_options_init(&a.options);
	argp_parse(&argp, argc, argv, 0, NULL, &a);
	for (i = 0; i < a.directories_n && !status; i++)
		if (ml_find_all(&finds, a.directories[i]))
			status = ml_command_error(ml_memory_print("%s: cannot be listed: %s; give a directory",
								  a.directories[i], strerror(errno)));
	if (!a.directories_n)
		status = list_default(&finds);
	if (!status)
		status = ml_command_written(stdout, print_list(&finds, &a.options));
	ml_finds_free(&finds);
	ml_options_free(&a.options);
	return status;
}
