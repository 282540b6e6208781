/* The formats of memline export. */
#ifndef ML_REPORT_EXPORT_H
#define ML_REPORT_EXPORT_H

#include <stdio.h>

#include "report/metric.h"
#include "report/reading.h"

/* What a format is asked for. */
struct ml_export {
	FILE *out;
	enum ml_metric metric;
	bool several; /* more than one process comes, each on its own */
	const struct ml_options *options;
	void *state; /* of the format; begin() makes it and end() frees it */
};

struct ml_export_format {
	const char *name;
	bool stacks; /* it needs whole stacks */
	bool binary;
	void (*begin)(struct ml_export *e); /* or NULL, as end */
	void (*add)(struct ml_export *e, const struct ml_reading *r);
	void (*end)(struct ml_export *e);
};

extern const struct ml_export_format ml_export_folded;
extern const struct ml_export_format ml_export_speedscope;
extern const struct ml_export_format ml_export_pprof;
extern const struct ml_export_format ml_export_csv;

/* "pid 12, python app.py", what a process is called. The caller frees it. */
char *ml_export_process(const struct ml_reading *r);

#endif
