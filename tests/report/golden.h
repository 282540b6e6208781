/* Traces that are kept as files under tests/data too: what reads them must go on reading them. */
#ifndef ML_TESTS_REPORT_GOLDEN_H
#define ML_TESTS_REPORT_GOLDEN_H

#include "tests/report/build_trace.h"

/* Every record and every definition, in two rings; the process was killed within a realloc. */
void golden_all_records(struct build *b);

/* Three rings of many pieces, a chain of directories with holes, and counters. */
void golden_rings(struct build *b);

#endif
