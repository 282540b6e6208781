/*
 * The events of a trace folded into numbers: for the whole process and for every node of the tree of stacks. Every
 * report is made from a fold.
 *
 * What is live: blocks that were allocated and not freed, and anonymous mappings that were made writable at some time.
 * File mappings, reservations that never were writable and CPython's arenas are counted beside it.
 *
 * A realloc or mremap is a free of the whole old block and an allocation of the whole new one, at the moment when it
 * has succeeded. The block then belongs to the node that did it. A munmap of a part of a mapping first splits the block
 * in two, which is no allocation. What failed or has no end in the trace did not happen; but if by then something newer
 * is where the old block was, the old one is gone, and that is a free.
 *
 * What a forked child has inherited (see report/inherit.h) is live at its start. Where that is not known, nothing is.
 *
 * Blocks of a node under ML_MARK_MEMLINE are the recorder's own: their free is that node's doing, whoever it was.
 *
 * A FREE of an address where nothing is live is an unknown free. An allocation where something is live shows that a
 * free was missed: the old block is closed, which counts as a free by the node that allocates there.
 */
#ifndef ML_REPORT_FOLD_H
#define ML_REPORT_FOLD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "report/load.h"
#include "report/runs.h"

/* What does not fit together in a trace. */
enum ml_fold_odd {
	ML_FOLD_UNKNOWN_FREE,
	ML_FOLD_MISSED_FREE,
	ML_FOLD_ORPHAN_END,
};

/* Is told of the event that showed it, and of the block's address (0 for an end without a beginning). */
struct ml_fold_watch {
	void (*odd)(struct ml_fold_watch *watch, enum ml_fold_odd what, const struct ml_moment *moment,
		    uint64_t address);
};

struct ml_fold;
struct ml_activations;

/*
 * Looks at the fold now and then. strike is called before the first event at or behind next_ns, whose time is ns, and
 * sets next_ns anew (UINT64_MAX: never again). Live bytes of nodes and of all are right then, of the nodes below
 * ml_fold.nodes_used; no other node has any.
 */
struct ml_fold_clock {
	uint64_t next_ns;
	void (*strike)(struct ml_fold_clock *clock, const struct ml_fold *fold, uint64_t ns);
};

/* All zero but to_ns: everything up to the end. */
struct ml_fold_options {
	uint64_t from_ns; /* only events from here on are counted; what is live then is start_live_bytes */
	uint64_t to_ns;   /* events at or after it are as if they had not happened; UINT64_MAX: no such bound */
	uint32_t tid;  /* not 0: only events of this thread are counted, and only blocks that it allocated are owned */
	bool end_last; /* go on behind the moment when the interpreter began to finalize */
	bool births;   /* keep when each live block was allocated */
	/* By node, whether its stack has a line in scope (ml_site_nodes); outlives the fold, as all below. NULL: all
	   nodes are alike. A free by a node that has one, of a block of a node that has none, is the doing of the
	   latter. */
	const bool *in_scope;
	/* By node: only blocks that these have allocated are counted and owned, whoever frees them. NULL: all. What
	   was freed without having been seen is not counted then. */
	const bool *nodes;
	struct ml_fold_watch *watch; /* or NULL, as the next */
	struct ml_fold_clock *clock;
	struct ml_activations *activations; /* or NULL: keep in which invocation each live block was allocated; births
					       are kept too */
};

/*
 * What one node did and owns. Bytes may wrap around in a damaged trace; they never trap.
 * The sum of (allocated_bytes - freed_bytes) over all nodes is live_bytes - start_live_bytes of the totals, to the byte
 * (not with a tid: threads free each other's blocks).
 */
struct ml_tally {
	/* Temporal: what happened while this node was acting (but see ml_fold_options.in_scope). Increment is the
	   difference of the two. */
	uint64_t allocated_bytes;
	uint64_t allocations;
	uint64_t freed_bytes;
	uint64_t frees;
	/* Ownership: blocks that this node allocated, now and at the high-water mark. */
	uint64_t live_bytes;
	uint64_t live_blocks;
	uint64_t peak_bytes; /* complete after ml_fold_finish() */
	uint64_t peak_blocks;
	uint64_t peak_version; /* private: see fold.c */
	/* The last event of this node: its place in the order, from 1 (0: none), and what the whole process had live
	   just behind it (of all threads, whatever the options say). */
	uint64_t last_sequence;
	uint64_t last_live_bytes;
	uint64_t first_ns; /* of its first event, if there is one */
};

struct ml_totals {
	uint64_t events; /* all that were looked at, also those that aren't counted below */
	uint64_t allocated_bytes;
	uint64_t allocations;
	uint64_t freed_bytes; /* without unknown frees, as the next */
	uint64_t frees;
	uint64_t start_live_bytes; /* at from_ns */
	uint64_t live_bytes;
	uint64_t live_blocks;
	uint64_t peak_bytes; /* high-water mark of live_bytes from from_ns on */
	uint64_t peak_ns;
	uint64_t unknown_frees;
	uint64_t missed_frees;
	uint64_t orphan_ends;     /* END records whose BEGIN is missing: damage */
	uint64_t allocator_bytes; /* CPython's arenas and data stack chunks, at the end */
	uint64_t anonymous_bytes; /* mappings at the end by class; these are in live_bytes too, */
	uint64_t file_bytes;      /* these two are not */
	uint64_t reserved_bytes;
	uint64_t rss_bytes; /* at the end, as last measured; 0: never */
	uint64_t rss_max_bytes;
	uint64_t end_ns;
	bool finalized; /* the end is the moment when the interpreter began to finalize */
};

struct ml_fold {
	struct ml_totals totals;
	struct ml_tally *nodes; /* by number, as in the trace */
	uint32_t nodes_n;
	uint32_t nodes_used;         /* one more than the last that allocated */
	struct ml_runs runs;         /* empty where the options ask for a part of the run */
	struct ml_fold_state *state; /* private to fold.c */
};

/* An empty fold for a trace that stays open as long as the fold lives. */
struct ml_fold *ml_fold_new(const struct ml_trace *t, const struct ml_fold_options *options);

/* To be called when the trace was followed, before more is fed: there may be new nodes. in_scope: as in the options. */
void ml_fold_follow(struct ml_fold *f, const struct ml_trace *t, const bool *in_scope);

/* Takes the next events in order. False: the end that the options ask for is reached, no more are needed. */
bool ml_fold_feed(struct ml_fold *f, const struct ml_moment *moments, size_t n);

/*
 * What is live now, as moments that would make it so, in memory that the caller frees: an ALLOC for each block, a MAP
 * for each mapping, an ARENA for each arena. A call that has begun has not happened. Not after ml_fold_finish().
 */
struct ml_moment *ml_fold_snapshot(const struct ml_fold *f, size_t *n);

/* Closes the books: only now all numbers are right. Nothing may be fed afterwards. */
void ml_fold_finish(struct ml_fold *f);

/* A live block, or a mapping that is live. */
struct ml_live {
	uint64_t bytes;
	uint32_t node;       /* that allocated it */
	uint32_t born_ms;    /* when, since the start of tracking; 0: it was before that, or births were not kept */
	uint32_t activation; /* in which invocation; 0: in none, or that was not asked for */
	enum ml_domain domain;
	bool mapping;
};

/* After ml_fold_finish(): what is live and owned, one by one in any order. */
void ml_fold_each_live(const struct ml_fold *f, void (*take)(void *context, const struct ml_live *live), void *context);

void ml_fold_free(struct ml_fold *f);

/* All of it: reads the trace from its start to its end. progress (may be NULL) is called now and then, with 0 to 1. */
struct ml_fold *ml_fold_run(struct ml_trace *t, const struct ml_fold_options *options,
			    void (*progress)(void *context, double done), void *context);

/* A birth. */
static inline uint32_t ml_fold_milliseconds(uint64_t ns)
{
	return ns / 1000000 < UINT32_MAX ? (uint32_t)(ns / 1000000) : UINT32_MAX;
}

/* What the node's events added to what is live: never wraps in an honest trace. */
static inline int64_t ml_tally_increment(const struct ml_tally *t)
{
	return (int64_t)(t->allocated_bytes - t->freed_bytes);
}

/* Of an increment, without its sign. */
static inline uint64_t ml_magnitude(int64_t n)
{
	return n < 0 ? -(uint64_t)n : (uint64_t)n;
}

#endif
