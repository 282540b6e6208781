/* A bar on stderr for reads that take long: nothing unless stderr is a terminal and a second has passed. */
#ifndef ML_REPORT_PROGRESS_H
#define ML_REPORT_PROGRESS_H

#include <stdbool.h>
#include <stdint.h>

struct ml_progress {
	const char *what; /* a word or a path; the bar begins with it */
	uint64_t started_ns;
	uint64_t shown_ns; /* 0: never */
	bool on;
};

void ml_progress_start(struct ml_progress *p, const char *what);

/* done: from 0 to 1. In the shape that ml_fold_run() calls; p is the context. */
void ml_progress_show(void *p, double done);

/* Takes the bar away. */
void ml_progress_end(struct ml_progress *p);

#endif
