/*
 * Two readings side by side: what each line, or each stack, did in the one and in the other.
 *
 * What is the same line is judged by its file below the app root, the qualified name of its function and its text: a
 * line that has moved is still the same, and of several that read alike in a function the first goes with the first.
 * Where the text of a file isn't known for both (it is not there, or has changed since) the distance from the
 * function's first line stands for it.
 */
#ifndef ML_REPORT_COMPARE_H
#define ML_REPORT_COMPARE_H

#include "report/reading.h"

#define ML_COMPARE_SIDES 2

/* A line or a stack, or what is in none. Texts belong to the readings. */
struct ml_compared {
	struct ml_amount amount[ML_COMPARE_SIDES];
	bool seen[ML_COMPARE_SIDES]; /* it is in this reading at all */
	/* Lines: */
	uint64_t own_increment_bytes[ML_COMPARE_SIDES]; /* as two's complement; in amount it is that of the report */
	const char *file[ML_COMPARE_SIDES];             /* NULL where it isn't seen, as the next */
	const char *function[ML_COMPARE_SIDES];
	int line[ML_COMPARE_SIDES];
	/* Stacks: */
	uint32_t stack[ML_COMPARE_SIDES]; /* 0 where it isn't seen */
};

struct ml_comparison {
	struct ml_reading *sides; /* both */
	struct ml_compared *items;
	uint32_t n;
	struct ml_texts keys;     /* private, as all below: of lines and frames; a line's number is its item's */
	struct ml_pairs stacks;   /* of the caller's stack + 1 and the frame's key: the number is the item's */
	struct ml_texts files;    /* below the root */
	signed char *texts_known; /* by file: of both readings; -1: not asked for yet */
};

/* Compares the lines of two readings that have been finished, which stay as long as this. What is hidden is left
   out. */
void ml_compare_lines(struct ml_comparison *c, struct ml_reading *sides);

/* The same for stacks; options say which are asked for. */
void ml_compare_stacks(struct ml_comparison *c, struct ml_reading *sides, const struct ml_options *options);

void ml_comparison_free(struct ml_comparison *c);

#endif
