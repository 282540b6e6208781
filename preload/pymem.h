/*
 * CPython's own allocators: the three PyMem domains, and the arenas behind its small objects.
 *
 * The hooks are installed before the interpreter starts. While it starts it may replace them (PYTHONMALLOC, -X dev), so
 * until it is up each C hook in the thread that starts it looks whether they are still there. Not those in other
 * threads: CPython may be replacing them at that very moment.
 */
#ifndef ML_PRELOAD_PYMEM_H
#define ML_PRELOAD_PYMEM_H

#include <stdatomic.h>
#include <stdbool.h>

#include "preload/guard.h"

/* Installs the hooks, now or, since CPython may already be running in another thread, when it next calls a C hook. The
   guard is held. */
void ml_pymem_start(bool now);

/* True when the interpreter is up, or where there is nothing to look after. */
extern _Atomic bool ml_pymem_settled;

/* Installs the hooks again where they are gone, if t, which was called by caller, starts the interpreter. The guard is
   held. */
void ml_pymem_check(struct ml_thread *t, const void *caller);

#endif
