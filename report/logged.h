/*
 * The per-line table as lines of a log: unpadded, as the query of Azure's how-to for memory_profiler takes them apart.
 *
 *	memory_profiler_logs: Filename: /srv/app/function_app.py
 *	memory_profiler_logs: 21  46.6 MiB  1.5 MiB  10      async with client.get(url) as response:
 *
 * Exactly two spaces lie between the fields; occurrences that are not known are an empty field.
 */
#ifndef ML_REPORT_LOGGED_H
#define ML_REPORT_LOGGED_H

#include <stdbool.h>
#include <stddef.h>

#include "report/site.h"

/* Bytes of a line with its end: what a pipe takes in one piece (PIPE_BUF). */
#define ML_LOGGED_MAX 4096u

/*
 * The `top` rows whose increments are the largest, none that is zero, function by function; sites are sorted. put takes
 * each line, its end included, until it says no.
 */
void ml_logged_table(const struct ml_sites *sites, const struct ml_trace *t, size_t top,
		     bool (*put)(void *context, const char *line, size_t bytes), void *context);

#endif
