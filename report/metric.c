#include "report/metric.h"

#include <string.h>

static const struct {
	const char *name;
	const char *unit;
} metrics[] = {
#define X(NAME, name, unit) {name, unit},
	ML_METRIC_LIST(X)
#undef X
};

const char *ml_metric_name(enum ml_metric metric)
{
	return metrics[metric].name;
}

const char *ml_metric_unit(enum ml_metric metric)
{
	return metrics[metric].unit;
}

enum ml_metric ml_metric_take(const struct argp_state *state, const char *name)
{
	enum ml_metric metric;

	for (metric = 0; metric < ML_METRICS; metric++)
		if (!strcmp(name, metrics[metric].name))
			return metric;
	argp_error(state, "--metric: '%s' is none of %s", name, ML_METRIC_NAMES);
	return ML_METRIC_LIVE;
}

int64_t ml_metric_value(const struct ml_amount *amount, enum ml_metric metric)
{
	switch (metric) {
	case ML_METRIC_PEAK:
		return (int64_t)amount->peak_bytes;
	case ML_METRIC_ALLOCATED:
		return (int64_t)amount->allocated_bytes;
	case ML_METRIC_ALLOCATIONS:
		return (int64_t)amount->allocations;
	case ML_METRIC_INCREMENT:
		return (int64_t)amount->increment_bytes;
	default:
		return (int64_t)amount->live_bytes;
	}
}
