/* memline COMMAND: the command table. */
#include <argp.h>
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "report/commands.h"
#include "report/memory.h"

#define USAGE 2

const char *argp_program_version = "memline " ML_VERSION_TEXT;

static const struct command {
	const char *name;
	int (*run)(int argc, char **argv);
	const char *help;
} commands[] = {
	{"run", ml_command_run, "record a program and print its report"},
	{"report", ml_command_report, "where memory grew and shrank, line by line"},
	{"leaks", ml_command_leaks, "what is live at the end, by the lines that allocated it"},
	{"peak", ml_command_peak, "who held the memory at the high-water mark, or at another moment"},
	{"summary", ml_command_summary, "totals, the process tree, the largest lines, what was dropped"},
	{"diff", ml_command_diff, "what changed between two traces, line by line or stack by stack"},
	{"export", ml_command_export, "for flame graphs, speedscope, go tool pprof, spreadsheets"},
	{"pack", ml_command_pack, "traces, sources and symbols in one file, for another machine"},
	{"list", ml_command_list, "the traces that are there, newest first"},
	{"clean", ml_command_clean, "remove old traces"},
	{"ctl", ml_command_ctl, "pause and resume recording, or name a moment"},
	{"log", ml_command_log, "the table of a process that runs, as lines of a log"},
	{"check", ml_command_check, "whether traces fit together"},
	{"dump", ml_command_dump, "the raw records as text"},
};

#define COMMANDS (sizeof(commands) / sizeof(commands[0]))

/* The list of commands, above and behind it what argp has. */
static char *filter_help(int key, const char *text, void *input)
{
	char *help = NULL;
	size_t bytes, i;
	FILE *out;

	(void)input;
	if (key != ARGP_KEY_HELP_POST_DOC || !(out = open_memstream(&help, &bytes)))
		return (char *)text;
	fputs("Commands:\n", out);
	for (i = 0; i < COMMANDS; i++)
		fprintf(out, "  %-10s %s\n", commands[i].name, commands[i].help);
	fputs("\nmemline COMMAND --help tells more of each; so does memline(1).", out);
	fclose(out);
	return help;
}

static error_t parse(int key, char *text, struct argp_state *state)
{
	int *command = state->input;

	switch (key) {
	case ARGP_KEY_ARG:
		for (*command = 0; *command < (int)COMMANDS; ++*command)
			if (!strcmp(text, commands[*command].name)) {
				state->next = state->argc;
				return 0;
			}
		argp_error(state, "there is no command '%s'", text);
		return 0;
	case ARGP_KEY_NO_ARGS:
		argp_error(state, "a command is missing");
		return 0;
	}
	return ARGP_ERR_UNKNOWN;
}

static const struct argp argp = {
	.parser = parse,
	.args_doc = "COMMAND [ARGUMENT...]",
	.doc = "Exact per-line memory profiles of unmodified Python programs.\v",
	.help_filter = filter_help,
};

/* Finds the first argument that isn't an option of memline itself, which has none but --help, --version and --usage. */
static int command_index(int argc, char **argv)
{
	int i;

	for (i = 1; i < argc && argv[i][0] == '-'; i++)
		continue;
	return i;
}

int main(int argc, char **argv)
{
	int command = 0, at = command_index(argc, argv);

	signal(SIGPIPE, SIG_DFL);
	argp_err_exit_status = USAGE;
	argp_parse(&argp, at < argc ? at + 1 : argc, argv, ARGP_IN_ORDER, NULL, &command);
	/* so that messages and usage name the command */
	argv[at] = ml_memory_print("memline %s", commands[command].name);
	program_invocation_name = program_invocation_short_name = argv[at];
	return commands[command].run(argc - at, argv + at);
}
