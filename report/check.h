/*
 * Whether a trace fits together: its events, replayed in their order, have to be what a program can do. An event on a
 * block that comes before or behind its turn shows itself as an allocation where another block is live, or as a free of
 * a block that is gone. What cannot be read, numbers that mean nothing and an order that runs backwards are found by
 * the reader: see ML_DAMAGE_LIST in report/load.h.
 */
#ifndef ML_REPORT_CHECK_H
#define ML_REPORT_CHECK_H

#include <stdbool.h>
#include <stdio.h>

#include "report/load.h"

/* X(NAME, what is counted). */
#define ML_CHECK_LIST(X)                                                                                               \
	X(LIVE, "allocations at an address where something was live")                                                  \
	X(GONE, "frees of a block that had been freed")                                                                \
	X(ORPHAN_END, "ends of a call that had not begun")                                                             \
	X(RANGE, "blocks or ranges that no process can have")                                                          \
	X(CODE, "stack nodes whose code object is not in the trace")                                                   \
	X(MODULE, "stack nodes whose module is not in the trace")                                                      \
	X(UNSEEN, "frees and unmaps of what was not seen to be allocated: no fault where it was there before "         \
		  "recording")

enum ml_check_kind {
#define X(name, text) ML_CHECK_##name,
	ML_CHECK_LIST(X)
#undef X
		ML_CHECKS
};

struct ml_check {
	uint64_t events;
	struct ml_check_count {
		uint64_t count;
		uint64_t address; /* of the first; of a node its number */
		uint64_t offset;  /* of the first in the file; 0: it is no event's */
	} counts[ML_CHECKS];
};

/* Reads all events. progress (may be NULL) is called now and then, with 0 to 1. */
void ml_check_run(struct ml_check *c, struct ml_trace *t, void (*progress)(void *context, double done), void *context);

/* Whether nothing is wrong. UNSEEN alone is nothing wrong. */
bool ml_check_sound(const struct ml_check *c, const struct ml_trace *t);

/* One line for each kind of what was found, the trace's damage included, with its first place; or one that says that
   the trace is sound. */
void ml_check_print(const struct ml_check *c, struct ml_trace *t, FILE *out);

#endif
