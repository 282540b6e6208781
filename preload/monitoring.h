/*
 * memline in the interpreter's own events, from CPython 3.12 on: a tool of sys.monitoring (PEP 669), and with it all
 * calls that memline makes into the interpreter. Events are set for single code objects, never for the whole
 * interpreter. Only the main interpreter is asked.
 *
 * Lines are told to preload/occurrences.h, returns to preload/barriers.h. With MEMLINE_OCCURRENCES=off the tool is not
 * taken, and there are neither.
 *
 * The interpreter's lock is the lock here: it is held whenever one of these functions is called, but for those that may
 * be called within an allocation.
 */
#ifndef ML_PRELOAD_MONITORING_H
#define ML_PRELOAD_MONITORING_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "preload/hidden.h"
#include "preload/symbols.h"

/* META's key for why not. */
#define ML_OCCURRENCES_REFUSED "occurrences_refused"

/* Looks up what is called in the object that holds CPython; ml_process.python says whether it can be read. */
void ml_monitoring_find(const struct ml_object *python);

/* The interpreter has not been asked yet to let us begin. */
extern _Atomic bool ml_monitoring_wanted ML_HIDDEN;

/* Asks it, if it is up. Within an allocation. */
void ml_monitoring_ask(void);

/* To be called now and then. Within an allocation. */
static inline void ml_monitoring_poll(void)
{
	if (__builtin_expect(atomic_load_explicit(&ml_monitoring_wanted, memory_order_relaxed), 0))
		ml_monitoring_ask();
}

/* Why the interpreter does not tell, or no longer, where that was not asked for; or NULL. */
const char *ml_monitoring_refused(void);

/* Has the interpreter's main thread call function(NULL), which returns 0, between two instructions. False: there is no
   room for another call. Within an allocation. */
bool ml_monitoring_call_later(int (*function)(void *unused));

enum ml_python_event {
	ML_PYTHON_LINE,
	ML_PYTHON_RETURN,
	ML_PYTHON_EVENTS,
};

/* Has the interpreter tell of an event of the code object, or tell no more of it. An exception that there is stays.
   False: it cannot be had. */
bool ml_monitoring_tell(void *code, enum ml_python_event event, bool on);

/* What those who are told use. Python objects are void pointers. */
struct ml_monitoring {
	void *none;    /* what a callback returns, */
	void *disable; /* or, with another reference, where it is to hear no more of this place in the code */
	long (*number_of)(void *number);
	void (*increase)(void *object);
};

extern struct ml_monitoring ml_monitoring ML_HIDDEN;

/* Our own code begins, in which nothing is recorded; what the guard was before, for ml_monitoring_leave(). */
uint32_t ml_monitoring_enter(void);
void ml_monitoring_leave(uint32_t was);

/* Of a callback's argument: a number may be an object that was made for this call alone, and so for our sake. */
void ml_monitoring_disown(const void *number);

#endif
