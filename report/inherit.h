/*
 * What a forked child has from its parent: the blocks that were live at the fork, and the stacks that allocated them,
 * are in the parent's trace. A trace that inherits begins with the parent's events up to the fork.
 */
#ifndef ML_REPORT_INHERIT_H
#define ML_REPORT_INHERIT_H

#include <stdbool.h>

#include "report/load.h"

/*
 * Puts the parent's events up to the fork in front of those of the trace of a forked child (as inherited moments), and
 * its definitions and nodes behind the trace's own; and so on with the parent's parent. Before the first event is read.
 * False: the trace is not of a forked child, or the parent's is not beside it.
 */
bool ml_inherit(struct ml_trace *t);

/* The trace of the process that all began with. */
const struct ml_trace *ml_inherit_root(const struct ml_trace *t);

#endif
