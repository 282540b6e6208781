/* The sizes of which a command shows one: what it is called, and which part of an amount it is. */
#ifndef ML_REPORT_METRIC_H
#define ML_REPORT_METRIC_H

#include <argp.h>

#include "report/native.h"

/* X(NAME, name, unit) */
#define ML_METRIC_LIST(X)                                                                                              \
	X(LIVE, "live", "bytes")                                                                                       \
	X(PEAK, "peak", "bytes")                                                                                       \
	X(ALLOCATED, "allocated", "bytes")                                                                             \
	X(ALLOCATIONS, "allocations", "count")                                                                         \
	X(INCREMENT, "increment", "bytes")

enum ml_metric {
#define X(NAME, name, unit) ML_METRIC_##NAME,
	ML_METRIC_LIST(X)
#undef X
		ML_METRICS
};

/* All names, as a help text has them. */
#define ML_METRIC_NAMES "'live', 'peak', 'allocated', 'allocations' or 'increment'"

const char *ml_metric_name(enum ml_metric metric);
const char *ml_metric_unit(enum ml_metric metric);

/* The value of an option --metric; a usage error where there is none of that name. */
enum ml_metric ml_metric_take(const struct argp_state *state, const char *name);

/* Only an increment can be negative. */
int64_t ml_metric_value(const struct ml_amount *amount, enum ml_metric metric);

#endif
