/* Which trace files are meant: TRACE arguments, directories, runs. */
#ifndef ML_REPORT_FIND_H
#define ML_REPORT_FIND_H

#include <stddef.h>

#include "report/process.h"

/* A trace file that was looked at. One that can't be read has an error and no more than its path. */
struct ml_found {
	char *path;
	char *error;
	struct ml_process_name name;
	uint64_t run_pid;
	uint64_t run_ticks;
	uint64_t started_ns;
};

struct ml_finds {
	struct ml_found *items; /* in the order in which their processes started */
	size_t n;
};

/* Where traces go: MEMLINE_DIR, or /tmp/memline-UID. The caller frees it. */
char *ml_find_directory(void);

/*
 * Adds what a TRACE argument means: a file; a pack, so all that it was made for; a directory, so its newest run; the
 * pid of a process that left traces in ml_find_directory(), so those of its newest run; NULL, so the newest run there.
 * Returns 0, or -1 with a sentence that the caller frees where there is none.
 */
int ml_find(struct ml_finds *f, const char *what, char **error);

/* Adds all traces of a directory, also unreadable ones. Returns 0, or -1 with errno where it can't be listed. */
int ml_find_all(struct ml_finds *f, const char *directory);

/* Adds the traces in the directory of the run whose topmost process has this pid, and the process's own where the run
   is a larger one, as far as tracking began not before that time. */
void ml_find_run(struct ml_finds *f, const char *directory, uint64_t run_pid, uint64_t since_ns);

/* The run with the newest start, as the item that started it; NULL where nothing can be read. */
const struct ml_found *ml_find_newest(const struct ml_finds *f);

/* Do two traces belong to one run? */
bool ml_find_same_run(const struct ml_found *a, const struct ml_found *b);

void ml_finds_free(struct ml_finds *f);

#endif
