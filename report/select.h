/* Which stacks are looked at: options that ask for the code that allocated, or for what is anywhere on the stack. */
#ifndef ML_REPORT_SELECT_H
#define ML_REPORT_SELECT_H

#include "report/options.h"

/* By node of the trace, whether the options ask for it, which the caller frees; NULL: they ask for all. The trace has
   to be the one that the objects took last. */
bool *ml_select_nodes(const struct ml_options *o, const struct ml_trace *t, struct ml_objects *objects);

#endif
