/* What a reader of a report has to know before believing it: sentences without a full stop, in the order they came. */
#ifndef ML_REPORT_WARNINGS_H
#define ML_REPORT_WARNINGS_H

#include <stddef.h>

#include "report/fold.h"

struct ml_warnings {
	char **texts;
	size_t n;
};

/* A sentence that is there already isn't added again. */
void ml_warnings_add(struct ml_warnings *w, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Everything that the recorder and the reader have to say about a trace whose events have been folded. */
void ml_warnings_collect(struct ml_warnings *w, const struct ml_trace *t, const struct ml_fold *fold);

void ml_warnings_free(struct ml_warnings *w);

#endif
