/*
 * Barriers: frames that are known not to have been left, so that nothing below them can have changed, and a stack need
 * not be compared from there down. From CPython 3.12 on.
 *
 * A frame is left in two ways. Its function returns: the interpreter tells of each return of a code object
 * (PY_RETURN, see preload/monitoring.h). Or an exception leaves it: then a traceback has been made for it before
 * (PyTraceBack_Here behind the label error in Python/ceval.c), which is an allocation of that very frame. Unless its
 * own code has caught the exception meanwhile and raises it again; so code with a handler has no barrier. Neither has a
 * generator, which is also left when it yields.
 *
 * A frame is made one at an event where the whole stack has been compared and where the frame stands in a call from
 * Python to Python: so its function is not about to return, nor is an exception about to leave it, as may be where C
 * code has called what is on top of it. Nor may a function of sys.settrace() or the like run, in which returns are not
 * told. It is one until its next own event, its return, or until events may have been missed.
 *
 * A C++ exception or a longjmp() that passes over the interpreter leaves a frame without a word; but the interpreter
 * goes on with it as if it were there, and so do we, until a frame below has an event. Should all below have returned
 * first and the same function then stand at the same address again, the first events above it get the old callers.
 */
#ifndef ML_PRELOAD_BARRIERS_H
#define ML_PRELOAD_BARRIERS_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

/* A code object whose returns are told. */
struct ml_barrier {
	const void *code; /* NULL: there is none here */
	uint32_t version; /* co_version: addresses are used again */
	uint32_t idle;    /* returns that were of no interest */
	_Atomic bool told;
	_Atomic uint32_t holders; /* stacks that rely on it */
};

enum ml_barrier_state {
	ML_BARRIER_UNFIT, /* the code can have none, or returns too often */
	ML_BARRIER_ASKED, /* the interpreter will be asked to tell, unless something else comes first */
	ML_BARRIER_TOLD,
};

/* The barrier of a code object that is running; *barrier is set where its returns are told. Within an allocation. */
enum ml_barrier_state ml_barriers_of(const void *code, uint32_t version, struct ml_barrier **barrier);

/* A stack relies on the barrier from now on. False: it can't any more. version: as the stack knows the code. */
bool ml_barriers_hold(struct ml_barrier *b, uint32_t version);
void ml_barriers_let_go(struct ml_barrier *b, uint32_t version);

/* There are no stacks any more. */
void ml_barriers_reset(void);

/* There are no barriers any more: the interpreter ends, or tells no more. */
void ml_barriers_end(void);

/* For preload/monitoring.c and preload/occurrences.c. */

/* Asks the interpreter what is to be asked, in the thread that has its lock, between two instructions. */
void ml_barriers_obey(void);

/* The interpreter can be asked. */
void ml_barriers_begin(void);

/* A code object is about to be freed. */
void ml_barriers_forget(const void *code);

/* (code, offset, value): a function returns. */
void *ml_barriers_returned(void *self, void *const *arguments, intptr_t n);

#endif
