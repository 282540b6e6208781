/* memline ctl: asks something of processes that are being recorded. */
#include <stdlib.h>
#include <string.h>

#include "report/commands.h"
#include "report/control.h"
#include "report/memory.h"

struct arguments {
	char *trace;
	enum ml_request request;
	char *name;
};

static enum ml_request request_named(const char *text)
{
	static const struct {
		const char *text;
		enum ml_request request;
	} requests[] = {{"mark", ML_REQUEST_MARK}, {"pause", ML_REQUEST_PAUSE}, {"resume", ML_REQUEST_RESUME}};

	for (size_t i = 0; i < sizeof(requests) / sizeof(requests[0]); i++)
		if (!strcmp(text, requests[i].text))
			return requests[i].request;
	return ML_REQUEST_NONE;
}

static void take_argument(struct arguments *a, char *text, struct argp_state *state)
{
	if (state->arg_num == 0) {
		a->trace = text;
	} else if (state->arg_num == 1) {
		a->request = request_named(text);
		if (!a->request)
			argp_error(state, "'%s' is none of pause, resume and mark", text);
	} else if (state->arg_num == 2 && a->request == ML_REQUEST_MARK) {
		if (!ml_options_mark(text) || strlen(text) > ML_CONTROL_NAME_MAX)
			argp_error(state, "'%s' is no name of a mark: 1 to %d bytes, no number, no '-' in front", text,
				   ML_CONTROL_NAME_MAX);
		a->name = text;
	} else {
		argp_error(state, "there is no place for '%s'", text);
	}
}

static error_t parse(int key, char *text, struct argp_state *state)
{
	struct arguments *a = state->input;

	switch (key) {
	case ARGP_KEY_ARG:
		take_argument(a, text, state);
		return 0;
	case ARGP_KEY_END:
		if (!a->request)
			argp_error(state, "say of what, and pause, resume or mark");
		if (a->request == ML_REQUEST_MARK && !a->name)
			argp_error(state, "the mark has no name");
		return 0;
	}
	return ARGP_ERR_UNKNOWN;
}

static const struct argp argp = {
	.parser = parse,
	.args_doc = "TRACE pause\nTRACE resume\nTRACE mark NAME",
	.doc = "Pauses and resumes the recording of processes that run, or gives this moment a name, which --from and "
	       "--to of other commands take.\vTRACE is a file, a directory (the processes of its newest run) or a pid. "
	       "What happens while recording is paused is not seen: what is freed then still counts as live. A process "
	       "takes notice at its next few dozen allocations.",
};

/* Is it the process's last image, and does that run? An earlier one was replaced by exec. */
static bool is_running(const struct ml_finds *finds, const struct ml_found *found)
{
	for (size_t i = 0; i < finds->n; i++) {
		const struct ml_process_name *other = &finds->items[i].name;
		if (other->pid == found->name.pid && other->start_ticks == found->name.start_ticks &&
		    other->image > found->name.image)
			return false;
	}
	return ml_process_runs(found->name.pid, found->name.start_ticks);
}

static int ask(const struct arguments *a, const struct ml_finds *finds)
{
	int status = EXIT_SUCCESS;
	size_t asked = 0;
	char *error;

	for (size_t i = 0; i < finds->n; i++) {
		if (!finds->items[i].path || !is_running(finds, &finds->items[i]))
			continue;
		asked++;
		if (ml_control_ask(finds->items[i].path, a->request, a->name, &error))
			status = ml_command_error(error);
	}
	if (!asked)
		return ml_command_error(ml_memory_print("%s: no process that is recorded runs", a->trace));
	return status;
}

int ml_command_ctl(int argc, char **argv)
{
	struct arguments a = {NULL, ML_REQUEST_NONE, NULL};
	struct ml_finds finds = {NULL, 0};
	int status;
	char *error;

	argp_parse(&argp, argc, argv, 0, NULL, &a);
	if (ml_find(&finds, a.trace, &error))
		status = ml_command_error(error);
	else
		status = ask(&a, &finds);
	ml_finds_free(&finds);
	return status;
}
