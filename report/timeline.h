/*
 * What was live at some moments of a run, of the process and, where that is wanted, of each owner.
 *
 * The moments are a period apart, of time or of invocations, whose length follows from how long the run turns out to
 * be: when there are twice as many as were asked for, every other one is dropped. A period in which nothing happened
 * has none.
 */
#ifndef ML_REPORT_TIMELINE_H
#define ML_REPORT_TIMELINE_H

#include "report/activations.h"
#include "report/fold.h"
#include "report/holders.h"
#include "report/site.h"

struct ml_point {
	uint64_t place; /* ns, or how many invocations had ended */
	uint64_t ns;
	uint64_t live_bytes;
	uint64_t rss_bytes;       /* as last measured; 0: not yet */
	uint64_t allocator_bytes; /* CPython's arenas and data stacks */
};

/* Owners are lines in scope, and finer parts of what is out of scope. What imports allocate has none. */
struct ml_timeline {
	struct ml_fold_clock clock;        /* for the fold */
	struct ml_activations_watch watch; /* for the activations, by invocation */
	bool by_invocation;
	uint64_t from_ns;
	uint64_t ended;          /* invocations */
	struct ml_point *points; /* in order */
	size_t n;
	size_t least;    /* points that were asked for; after a long run there are up to twice as many */
	uint64_t period; /* ns, or invocations */
	uint32_t *owner; /* by node: its number, or ML_NO_LINE; NULL: there are no owners */
	uint32_t owners_n;
	uint64_t **rows; /* by owner, live bytes at each point; NULL: none at any point */
	uint32_t *stack; /* by owner, the stack with which it allocated the most; 0: it never held anything */
};

/* Before the fold. nodes: NULL where no owners are wanted, else they were resolved. */
void ml_timeline_begin(struct ml_timeline *t, size_t least, uint64_t from_ns, bool by_invocation,
		       const struct ml_site_nodes *nodes);

/* When the fold is finished: adds the end, but not by invocation. */
void ml_timeline_end(struct ml_timeline *t, const struct ml_fold *fold);

/* When the trace was added to holds, with its stacks by node: finds the stacks of owners, which become wanted. */
void ml_timeline_link(struct ml_timeline *t, const struct ml_fold *fold, const uint32_t *stacks,
		      struct ml_holds *holds);

void ml_timeline_free(struct ml_timeline *t);

#endif
