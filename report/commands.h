/* The commands of memline, as report/main.c lists them. Each gets argv with its own name first, and returns the exit
   status: 0; 1, a trace cannot be read or a file not written (one line on stderr); 2, usage. */
#ifndef ML_REPORT_COMMANDS_H
#define ML_REPORT_COMMANDS_H

#include <argp.h>
#include <stdio.h>

#include "report/find.h"
#include "report/options.h"
#include "report/reading.h"

/* What the help of most of them says of their arguments. */
#define ML_COMMAND_TRACES                                                                                              \
	"TRACE is a file, a directory (its newest run), a pid, or nothing: the newest run in MEMLINE_DIR."

int ml_command_report(int argc, char **argv);
int ml_command_leaks(int argc, char **argv);
int ml_command_peak(int argc, char **argv);
int ml_command_summary(int argc, char **argv);
int ml_command_list(int argc, char **argv);
int ml_command_clean(int argc, char **argv);
int ml_command_ctl(int argc, char **argv);
int ml_command_diff(int argc, char **argv);
int ml_command_export(int argc, char **argv);
int ml_command_pack(int argc, char **argv);
int ml_command_log(int argc, char **argv);
int ml_command_check(int argc, char **argv);
int ml_command_dump(int argc, char **argv);
int ml_command_run(int argc, char **argv);

/* Prints the report of the traces. Returns an exit status. */
int ml_report_print(FILE *out, const struct ml_finds *finds, const struct ml_options *options);

/* Prints a sentence about an error to stderr and frees it. Returns the exit status for it, 1. */
int ml_command_error(char *error);

/* Parses the arguments of a command, of which those that are no options are TRACEs, and finds these (none: the newest
   run). Returns 0 or an exit status. */
int ml_command_find(struct ml_finds *finds, const struct argp *argp, int argc, char **argv, void *input);

/* Reads the traces and gives each to show(), or all as one if the options say so. Returns an exit status. */
int ml_command_read(const struct ml_finds *finds, const struct ml_options *options,
		    void (*show)(void *context, const struct ml_reading *r), void *context);

/* Opens the file that a command is to write; no path: otherwise. NULL after a sentence on stderr. */
FILE *ml_command_open(const char *path, FILE *otherwise);

/* The exit status of a command that has written to out: 1 if that failed. */
int ml_command_written(FILE *out, int status);

#endif
