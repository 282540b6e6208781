/*
 * Where the process stood when each counted line last began to run: what memory was in use then. A part of the fold.
 */
#ifndef ML_REPORT_RUNS_H
#define ML_REPORT_RUNS_H

#include <stddef.h>
#include <stdint.h>

#include "report/load.h"

struct ml_run {
	uint64_t sequence;   /* the event before, as it is counted from 1; 0: there was none */
	uint64_t live_bytes; /* behind it */
};

/* All zero: no line is counted. */
struct ml_runs {
	struct ml_run *runs; /* by number among the trace's counts */
	size_t n;
	struct ml_runs_ring *rings; /* private, as the next */
	uint32_t rings_n;
	uint32_t *order;
};

void ml_runs_begin(struct ml_runs *r, const struct ml_trace *t);

/* Around each event of the process's own, in order. */
void ml_runs_before(struct ml_runs *r, const struct ml_trace *t, const struct ml_moment *m);
void ml_runs_behind(struct ml_runs *r, const struct ml_moment *m, uint64_t sequence, uint64_t live_bytes);

/* There are no more events. */
void ml_runs_end(struct ml_runs *r);
void ml_runs_free(struct ml_runs *r);

#endif
