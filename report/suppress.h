/*
 * Leaks that nobody wants to hear of, in LeakSanitizer's syntax: lines "leak:PATTERN"; empty lines and those that begin
 * with # are comments. A stack is suppressed if the pattern matches the function, the source file or the module of any
 * of its calls. A pattern matches anywhere in the text; * is any text, ^ at its start and $ at its end are the text's.
 */
#ifndef ML_REPORT_SUPPRESS_H
#define ML_REPORT_SUPPRESS_H

#include "report/holders.h"

struct ml_suppression {
	char *pattern;
	struct ml_held held; /* what it suppressed last */
};

/* All zero: none. */
struct ml_suppressions {
	struct ml_suppression *items;
	size_t n;
};

/*
 * Adds those of a file. A name without a slash that is not here is looked for among the files that come with memline,
 * in ../share/memline from the program's folder. Returns 0, or -1 with a sentence that the caller frees.
 */
int ml_suppress_read(struct ml_suppressions *s, const char *path, char **error);
void ml_suppress_free(struct ml_suppressions *s);

bool ml_suppress_matches(const char *pattern, const char *text);

/* Once frames are named: whether each stack is suppressed, which the caller frees. A suppression gets what is held by
   those stacks whose innermost suppressed call it is the first to match. */
bool *ml_suppress_find(struct ml_suppressions *s, const struct ml_holds *h, const struct ml_stacks *stacks,
		       const struct ml_objects *objects);

#endif
