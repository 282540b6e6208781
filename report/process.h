/* The process that a trace is of: what META and the header say about it, in the shape that reports want. */
#ifndef ML_REPORT_PROCESS_H
#define ML_REPORT_PROCESS_H

#include <stdbool.h>
#include <stdint.h>

#include "report/load.h"

enum ml_process_end {
	ML_PROCESS_EXIT,   /* exit handlers ran, or _exit was called */
	ML_PROCESS_KILLED, /* gone in any other way */
	ML_PROCESS_RUNNING,
	ML_PROCESS_EXEC, /* another program runs, or ran, in its place and left a trace */
};

/* A trace file's name, PID-STARTTICKS-IMAGE.memline, taken apart. */
struct ml_process_name {
	uint64_t pid;
	uint64_t start_ticks;
	uint64_t image;
};

/* Texts belong to the trace. */
struct ml_process {
	struct ml_process_name name; /* as META says, whatever the file is called now */
	uint64_t ppid;
	uint64_t run_pid; /* with the next: which run it belongs to */
	uint64_t run_ticks;
	uint64_t started_ns; /* wall clock */
	uint64_t baseline_rss;
	const char *python; /* NULL: none */
	const char *cwd;
	const char *root;
	const char *program;
	const char *scope; /* as recorded */
	enum ml_process_end end;
};

void ml_process_read(const struct ml_trace *t, struct ml_process *p);

/* "exit", "killed", "running" or "exec". */
const char *ml_process_end_text(enum ml_process_end end);

/* The i-th argument of the command, or NULL. */
const char *ml_process_argument(const struct ml_trace *t, unsigned i);

/* The text of `python -c TEXT`, or NULL. */
const char *ml_process_text(const struct ml_trace *t);

/* The command as a shell would take it, without control characters. The caller frees it. */
char *ml_process_command(const struct ml_trace *t);

/* Takes the last component of the path apart; false where it isn't the name of a trace. */
bool ml_process_name(const char *path, struct ml_process_name *name);

/* Is the process with this pid and start there, and not a zombie? */
bool ml_process_runs(uint64_t pid, uint64_t start_ticks);

/* Writes wall clock as ISO 8601 in UTC, "2026-11-25T03:14:00.000000+00:00". */
#define ML_PROCESS_TIME_BYTES 40
void ml_process_time(uint64_t ns, char text[ML_PROCESS_TIME_BYTES]);

#endif
