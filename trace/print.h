/* Records as text, one line each, for people. */
#ifndef ML_TRACE_PRINT_H
#define ML_TRACE_PRINT_H

#include "trace/get.h"

/* No line is longer, its NUL included. */
#define ML_PRINT_MAX 160u

/* Writes the record's name and fields without a newline. Returns the length. */
int ml_print_event(char line[ML_PRINT_MAX], const struct ml_event *e);

#endif
