/*
 * What people asked of a process while it was recorded (memline ctl): moments that got a name, pauses.
 */
#ifndef ML_REPORT_CONTROL_H
#define ML_REPORT_CONTROL_H

#include <stdbool.h>

#include "report/load.h"
#include "report/warnings.h"

/* A request as it stands in the trace; its name ends with a NUL and has no control characters. */
struct ml_controls {
	struct ml_control_entry *entries; /* in the order in which they were made */
	size_t n;
};

/* None where the trace has no place for any. The caller frees them. */
void ml_controls_read(struct ml_controls *c, const struct ml_trace *t);
void ml_controls_free(struct ml_controls *c);

/* The moment that was given this name last, in ns since the start of tracking. False: none was. */
bool ml_controls_mark(const struct ml_controls *c, const char *name, uint64_t *ns);

/* Whether it was paused at any time. */
bool ml_controls_paused(const struct ml_controls *c);

/* Says when nothing was recorded. */
void ml_controls_warn(const struct ml_controls *c, struct ml_warnings *w);

/* Notes that this process writes the table for MEMLINE_LOG. */
void ml_control_attach(const struct ml_trace *t);

/* Whether a process has noted that. */
bool ml_control_is_attached(const struct ml_trace *t);

/*
 * Asks it of the process of a trace, which runs. Returns 0, or -1 with a sentence that the caller frees. name: of a
 * mark, at most ML_CONTROL_NAME_MAX bytes; else NULL. What is so already is not asked again.
 */
#define ML_CONTROL_NAME_MAX 47
int ml_control_ask(const char *path, enum ml_request request, const char *name, char **error);

#endif
