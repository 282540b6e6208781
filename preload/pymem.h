/*
 * CPython's own allocators: the three PyMem domains, and the arenas behind its small objects.
 *
 * The hooks are installed before the interpreter starts. While it starts it may replace them (PYTHONMALLOC, -X dev), so
 * until it is up each C hook looks whether they are still there.
 */
#ifndef ML_PRELOAD_PYMEM_H
#define ML_PRELOAD_PYMEM_H

#include <stdatomic.h>
#include <stdbool.h>

/* Installs the hooks. The guard is held. */
void ml_pymem_start(void);

/* True when the interpreter is up, or where there is nothing to look after. */
extern _Atomic bool ml_pymem_settled;

/* Installs the hooks again where they are gone. The guard is held. */
void ml_pymem_check(void);

#endif
