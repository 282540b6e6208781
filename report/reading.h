/* A trace read to its end for a report, or several of them merged into one. */
#ifndef ML_REPORT_READING_H
#define ML_REPORT_READING_H

#include "report/heap.h"
#include "report/invocations.h"
#include "report/options.h"
#include "report/process.h"
#include "report/site.h"
#include "report/source.h"
#include "report/stack.h"
#include "report/timeline.h"
#include "report/warnings.h"

struct ml_reading {
	struct ml_trace *trace;    /* of several, the first */
	struct ml_process process; /* as above */
	struct ml_totals totals;   /* of several, the sums; the peak is then that of each one, wherever it was */
	uint64_t dropped_events;
	uint64_t baseline_rss;
	uint64_t sample_bytes;
	bool partial;      /* something that happened isn't in the trace, or can't be read */
	bool selected;     /* not all that is live was asked for */
	bool no_objects;   /* MEMLINE_OBJECTS=off */
	bool no_native;    /* MEMLINE_NATIVE=off: callers of the C library aren't known */
	uint64_t ended_ns; /* wall clock */
	struct ml_sites sites;
	struct ml_stacks stacks; /* empty where the options don't ask for it, as the next */
	struct ml_holds holds;
	struct ml_invocations invocations;
	struct ml_heap heap;         /* at the end */
	struct ml_timeline timeline; /* of the first trace, if the options ask for it */
	struct ml_warnings warnings;
	size_t traces_n; /* more than one: merged */
	uint64_t *pids;  /* of their processes, each once */
	size_t pids_n;
	struct ml_texts files;      /* private, as the next: whose sources were asked for */
	struct ml_source **sources; /* by number of the file */
};

/*
 * Opens, folds and adds a trace; the first one to an all-zero reading. Returns 0, or -1 with a sentence that the caller
 * frees.
 */
int ml_reading_add(struct ml_reading *r, const char *path, const struct ml_options *options, char **error);

/* After the last one: sorts, hides what the options don't ask for, reads the sources of the rest. */
void ml_reading_finish(struct ml_reading *r, const struct ml_options *options);

/* The source of a file, which lives as long as the reading; without text where it can't be had. */
const struct ml_source *ml_reading_source(struct ml_reading *r, const char *file);

/* Is it another one than what ran? */
bool ml_reading_changed(const struct ml_reading *r, const struct ml_source *s);

/* By stack, whether it is asked for: such a function is on it. The caller frees it. */
bool *ml_reading_takes(const struct ml_reading *r, const struct ml_options *options);

void ml_reading_close(struct ml_reading *r);

/* From the start to the end that the options ask for, in seconds. */
double ml_reading_seconds(const struct ml_reading *r);

#endif
