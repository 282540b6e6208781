/*
 * What a forked child has from its parent: the blocks that were live at the fork, and the stacks that allocated them,
 * are in the parent's trace, which is read up to there.
 */
#ifndef ML_REPORT_INHERIT_H
#define ML_REPORT_INHERIT_H

#include <stdbool.h>

#include "report/load.h"

/*
 * Puts what was live at the fork in front of the events of the trace of a forked child (as inherited moments), and the
 * parent's definitions and nodes behind the trace's own; of the parent's parent too. Before the first event is read.
 * False: the trace is not of a forked child, or the parent's is not beside it.
 */
bool ml_inherit(struct ml_trace *t);

/* The path, beside the process's own trace, of the trace that it was forked from, whether that is there or not. NULL:
   it was not forked, or its parent had no trace. The caller frees it. */
char *ml_inherit_path(const struct ml_trace *t);

/* For ml_load_close(). */
void ml_inherit_drop(struct ml_trace *t);

/* The trace of the process that all began with. */
const struct ml_trace *ml_inherit_root(const struct ml_trace *t);

#endif
