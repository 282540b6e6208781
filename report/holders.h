/*
 * Who holds memory at one moment, the end or the high-water mark: lines or whole stacks, with what they allocated and
 * is live then. Together they hold all of it.
 *
 * The line of a stack is its anchor; where no line in scope is on it, its innermost frame of Python, and where there is
 * none, its innermost frame.
 *
 * What was there before the program itself began, *start-up*, is told apart: what modules made while they were
 * imported, and what was allocated with no line in scope on the stack before the first line in scope ran outside of an
 * import; with a beginning that was asked for (--from) what was allocated before that, and in a forked child what it
 * has inherited.
 */
#ifndef ML_REPORT_HOLDERS_H
#define ML_REPORT_HOLDERS_H

#include "report/site.h"
#include "report/stack.h"

enum ml_hold_moment {
	ML_HOLD_NONE,
	ML_HOLD_END,
	ML_HOLD_PEAK, /* when blocks were allocated is not known of these, so all are of the run */
};

enum ml_hold_phase {
	ML_HOLD_RUN,
	ML_HOLD_STARTUP,
	ML_HOLD_PHASES,
};

struct ml_held {
	uint64_t bytes;
	uint64_t blocks;
	uint32_t first_ms; /* since the start of tracking: when the oldest of the blocks was allocated */
	uint32_t last_ms;  /* and the newest; both 0 at the peak */
};

/* What one stack of ml_stacks holds. */
struct ml_hold {
	uint32_t line;   /* number of its innermost frame's line, or ML_NO_LINE */
	uint32_t anchor; /* number of its anchor, or one of ML_OWNER_ */
	bool import;     /* a module is being imported */
	bool wanted;     /* its line is a holder even if it holds nothing of the run */
	struct ml_held held[ML_HOLD_PHASES];
};

/* All zero: empty. */
struct ml_holds {
	struct ml_hold *items; /* by number of the stack */
	uint32_t n;
};

/*
 * Adds a trace, whose stacks were added last: stacks has them by node, as ml_stacks_add() returned them. For
 * ML_HOLD_END the fold has kept births; what was allocated before from_ns is start-up then.
 */
void ml_holds_add(struct ml_holds *h, const struct ml_stacks *s, const uint32_t *stacks,
		  const struct ml_site_nodes *nodes, const struct ml_fold *fold, enum ml_hold_moment moment,
		  uint64_t from_ns);
void ml_holds_free(struct ml_holds *h);

/* A line or a stack. Texts belong to what it was made of. */
struct ml_holder {
	const struct ml_call *call;         /* its innermost frame, or that of its line, as the stack has it, */
	const char *module;                 /* whose module this is, of a native one; else NULL */
	const struct ml_function *function; /* in scope: that the line belongs to; else NULL, as the next */
	const struct ml_line *line;
	enum ml_hold_phase phase;
	struct ml_held held;
	uint32_t stack;    /* that holds the most of it, */
	uint64_t largest;  /* and how much that is */
	uint32_t stacks_n; /* how many stacks there are that do not read alike */
};

struct ml_holders {
	struct ml_holder *items; /* those that hold the most first */
	uint32_t n;
	uint32_t *of[ML_HOLD_PHASES]; /* by stack, the number of its holder; ML_NO_LINE: it holds nothing */
};

enum ml_holders_by { ML_HOLDERS_LINE, ML_HOLDERS_STACK };

/* Once lines are in order and frames are named: ml_reading_finish() does it. left_out: by stack, or NULL. */
void ml_holders_find(struct ml_holders *found, const struct ml_holds *h, const struct ml_stacks *s,
		     const struct ml_sites *sites, enum ml_holders_by by, const bool *left_out);
void ml_holders_free(struct ml_holders *found);

#endif
