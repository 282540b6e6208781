/*
 * How often lines run, from CPython 3.12 on: the interpreter's own line events (preload/monitoring.h), for the code
 * objects whose file is in scope, and counters in the trace.
 *
 * A code watcher tells of each code object that is made, and those in scope get LINE events at once. So no line is
 * missed, and code out of scope runs as ever. The interpreter's lock is the lock here.
 */
#ifndef ML_PRELOAD_OCCURRENCES_H
#define ML_PRELOAD_OCCURRENCES_H

#include <stdbool.h>
#include <stdint.h>

/* Whether lines can be counted now. */
bool ml_occurrences_can_count(void);

/* The interpreter tells from now on: counts a program that has just been started. */
void ml_occurrences_begin(void);

/* A code object was made. */
void ml_occurrences_made(void *code);

/* (code, line): the line begins to run. */
void *ml_occurrences_line_ran(void *self, void *const *arguments, intptr_t n);

/* When the next line runs, if one does, ml_barriers_obey() is called. Within an allocation. */
void ml_occurrences_await_line(void);

/* There is another trace: all counters start anew. What the interpreter was told to tell it still tells. */
void ml_occurrences_reset(void);

#endif
