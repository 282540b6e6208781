/*
 * Where the process stood when each counted line last began to run: what memory was in use then. A part of the fold.
 */
#ifndef ML_REPORT_RUNS_H
#define ML_REPORT_RUNS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "report/intern.h"
#include "report/load.h"

struct ml_run {
	uint64_t sequence;   /* the event before, as it is counted from 1; 0: there was none */
	uint64_t live_bytes; /* behind it */
	bool passed;         /* private: the next event has come too */
};

/* All zero: no line is counted. */
struct ml_runs {
	struct ml_run *runs; /* by number among the trace's counts */
	size_t n;
	struct ml_runs_ring *rings; /* private, as all below */
	uint32_t rings_n;
	uint32_t *order;
	bool follows;
	uint32_t *numbers;         /* of the counts, by code object and line, */
	struct ml_pairs lines;     /* which are numbered here */
	struct ml_runs_seen *seen; /* by number: what is known from before */
};

void ml_runs_begin(struct ml_runs *r, const struct ml_trace *t);

/* Around each event of the process's own, in order. */
void ml_runs_before(struct ml_runs *r, const struct ml_trace *t, const struct ml_moment *m);
void ml_runs_behind(struct ml_runs *r, const struct ml_moment *m, uint64_t sequence, uint64_t live_bytes);

/* The trace was followed, so there are other counts; the positions of those that have changed lie in events to come.
   Before the first event too, where it will be. */
void ml_runs_follow(struct ml_runs *r, const struct ml_trace *t);

/* There are no more events as yet: now all runs are right. */
void ml_runs_settle(struct ml_runs *r);
void ml_runs_free(struct ml_runs *r);

#endif
