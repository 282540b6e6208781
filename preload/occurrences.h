/*
 * How often lines run, from CPython 3.12 on: the interpreter's own line events (sys.monitoring, PEP 669), for the code
 * objects whose file is in scope, and counters in the trace.
 *
 * A code watcher (PyCode_AddWatcher) tells of each code object that is made, and those in scope get local LINE events
 * at once. So no line is missed, code out of scope runs as ever, and no event is set for the whole interpreter. Only
 * the main interpreter is asked.
 *
 * The interpreter's lock is the lock here: all but ml_occurrences_poll() runs while it is held, or in a process that
 * has one thread.
 */
#ifndef ML_PRELOAD_OCCURRENCES_H
#define ML_PRELOAD_OCCURRENCES_H

#include <stdatomic.h>
#include <stdbool.h>

#include "preload/hidden.h"
#include "preload/symbols.h"

/* META's key for why not. */
#define ML_OCCURRENCES_REFUSED "occurrences_refused"

/* Looks up what is called in the object that holds CPython; ml_process.python says whether it can be read. */
void ml_occurrences_find(const struct ml_object *python);

/* The interpreter has not been asked yet to let us begin. */
extern _Atomic bool ml_occurrences_wanted ML_HIDDEN;

/* Asks it, if it is up. The guard is held. */
void ml_occurrences_ask(void);

/* To be called now and then. */
static inline void ml_occurrences_poll(void)
{
	if (__builtin_expect(atomic_load_explicit(&ml_occurrences_wanted, memory_order_relaxed), 0))
		ml_occurrences_ask();
}

/* Why lines are not counted, where that was not asked for; or NULL. */
const char *ml_occurrences_refused(void);

/* There is another trace: all counters start anew. What the interpreter was told to tell it still tells. */
void ml_occurrences_reset(void);

#endif
