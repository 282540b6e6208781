/*
 * What the invocations of each entry function allocated, retained and took, of one trace or several: see
 * report/activations.h.
 *
 * An invocation *retains* what it allocated and is live at the end, whoever holds it. What is told of invocations is
 * told of those that have ended. Unfinished ones are counted: they run at the end, or their coroutine is still there.
 */
#ifndef ML_REPORT_INVOCATIONS_H
#define ML_REPORT_INVOCATIONS_H

#include "report/activations.h"
#include "report/fold.h"
#include "report/site.h"

/* What the line retains of what was allocated in invocations of one function. */
struct ml_invocation_line {
	uint32_t number;                    /* of the line, or one of ML_OWNER_ */
	const struct ml_function *function; /* NULL where it is no line, as the next */
	const struct ml_line *line;
	uint64_t bytes;
	uint64_t blocks;
	uint32_t item; /* private: that it belongs to */
};

struct ml_invocations_of {
	const char *file; /* of the entry function; absolute, or a name in angle brackets */
	const char *name;
	int first_line;
	uint64_t ended;
	uint64_t unfinished;
	uint64_t unfinished_live_bytes; /* what these have live */
	uint64_t allocated_bytes;
	uint64_t retained_bytes;
	uint64_t retained_blocks;
	uint64_t last; /* that many are the last, ML_ACTIVATIONS_LAST or fewer of each trace, */
	uint64_t last_retained_bytes;
	uint64_t peak_bytes; /* sum over the invocations, as ns */
	uint64_t peak_bytes_max;
	uint64_t ns;
	uint64_t ns_max;
	struct ml_invocation_line *lines; /* after ml_invocations_finish(): those that retain the most first */
	uint32_t lines_n;
};

/* All zero: none. */
struct ml_invocations {
	struct ml_invocations_of *items; /* after ml_invocations_finish(): those that retain the most first */
	uint32_t n;
	struct ml_texts texts;     /* private, as all below: of files and names, */
	struct ml_pairs names;     /* pairs of them, */
	struct ml_pairs functions; /* and of these and the first line: the number of the item */
	struct ml_pairs lines;     /* of item and line: what is at the number of the pair is this: */
	struct ml_invocation_line *all;
};

/* Adds a trace: its fold, which was told of these activations, is finished. */
void ml_invocations_add(struct ml_invocations *v, const struct ml_site_nodes *nodes, const struct ml_activations *a,
			const struct ml_fold *fold);

/* After the last one and ml_sites_sort(). */
void ml_invocations_finish(struct ml_invocations *v, const struct ml_sites *sites);

void ml_invocations_free(struct ml_invocations *v);

#endif
