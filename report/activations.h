/*
 * Invocations: the activations of a program's entry functions, told apart while a trace is folded.
 *
 * An *entry function* is a function in scope that was called from out of scope: by a framework, an event loop, a thread
 * pool. Of several on a stack the outermost is meant, so that a recursion is one invocation; bodies of modules and
 * classes are none. Or entry functions are given by name, and the outermost of these on a stack is meant.
 *
 * Of a plain function an activation is a longest run of events, of one thread, in whose stacks it is called from the
 * same place: between two calls something has to be allocated or freed outside. A coroutine or generator gives way to
 * others, so where it is the outermost one of the user's on its stacks, its activation is the life of its object, which
 * the trace names (ML_OTHER_GENERATOR). What is run inside of it is told apart by the runs of events within that one. A
 * frame that has not begun is a coroutine or generator in the making, which is its caller's doing.
 *
 * What a running invocation allocates is its own, whoever frees it; what a task does that it has created is not.
 */
#ifndef ML_REPORT_ACTIVATIONS_H
#define ML_REPORT_ACTIVATIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "report/load.h"
#include "trace/scope.h"

struct ml_site_nodes;

/* One invocation. */
struct ml_activation {
	uint32_t function; /* number of its entry function */
	bool ended;
	uint64_t begin_ns; /* its first event; since the start of tracking */
	uint64_t end_ns;   /* the first event of its thread behind its last one, or the fold's end */
	uint64_t allocated_bytes;
	uint64_t live_bytes; /* of these, now */
	uint64_t peak_bytes; /* and when they were most */
	uint32_t users; /* private: it runs, or is one of the last of its function; 0: only while it has live bytes */
};

/* The last invocations of a function that are looked at on their own. */
#define ML_ACTIVATIONS_LAST 10u

struct ml_entry_function {
	const struct ml_code *code;
	uint64_t ended;           /* invocations that have ended; the sums are over these */
	uint64_t allocated_bytes; /* by them */
	uint64_t peak_bytes;      /* sum of the peaks of each */
	uint64_t peak_bytes_max;
	uint64_t ns;
	uint64_t ns_max;
	uint32_t last[ML_ACTIVATIONS_LAST]; /* numbers of the last that have ended: that of number i from 0 is at
					       i % ML_ACTIVATIONS_LAST */
};

/* Is told of each invocation that has ended. */
struct ml_activations_watch {
	void (*ended)(struct ml_activations_watch *watch, const struct ml_activation *activation);
};

struct ml_activations {
	struct ml_activation *items; /* by number; 0 is none, and some are free: they have no live bytes and no users */
	uint32_t n;
	struct ml_entry_function *functions; /* by number */
	uint32_t functions_n;
	struct ml_activations_watch *watch; /* or NULL; outlives this */
	struct ml_activations_state *state; /* private to activations.c */
};

/* Which functions in scope are entry functions, by name; NULL: those that are called from out of scope. */
struct ml_activations_entries {
	bool (*is_one)(const struct ml_activations_entries *entries, const char *function);
};

/* For a trace whose nodes are resolved. recorded is the scope that was set when recording. */
struct ml_activations *ml_activations_new(const struct ml_site_nodes *nodes, const struct ml_scope *recorded,
					  const struct ml_activations_entries *entries);

/*
 * For the fold. The invocation in which an event with a stack happened, or 0; counted: an invocation that it begins is
 * one to be kept. In order, and with the GENERATOR records between them.
 */
uint32_t ml_activations_at(struct ml_activations *a, const struct ml_moment *m, bool counted);
void ml_activations_generator(struct ml_activations *a, const struct ml_moment *m);

/* A block is allocated in an invocation, or freed that was; either may be 0. */
void ml_activations_allocated(struct ml_activations *a, uint32_t activation, uint64_t bytes);
void ml_activations_freed(struct ml_activations *a, uint32_t activation, uint64_t bytes);

/* A block is gone, and the coroutine that was in it. */
void ml_activations_gone(struct ml_activations *a, uint64_t address, uint64_t bytes);

/* Invocations that have begun and not ended are unfinished at this time. */
void ml_activations_finish(struct ml_activations *a, uint64_t ns);

void ml_activations_free(struct ml_activations *a);

#endif
