/*
 * A recording of the test's own process, without interposed functions: the test calls the recorder as the hooks do.
 *
 * The process is started as in life: an object that looks like CPython is loaded, and the dormant process wakes. That
 * interpreter is refused; tests that need Python frames make their own (tests/preload/frames.h).
 */
#ifndef ML_TEST_SESSION_H
#define ML_TEST_SESSION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "preload/guard.h"
#include "trace/format.h"

/* The trace's directory, made for this test and removed by session_end(). */
extern char session_directory[];

/* Fixtures. */
void session_begin(void);
void session_end(void);

/* Starts recording, with further "MEMLINE_NAME=VALUE" options up to a NULL. The state is EARLY. */
void session_start(const char *option, ...);

/* The same with an array of options, for a process that runs no test. False: the state isn't EARLY. */
bool session_try_start(const char *const *options);

/* The interpreter says that it is up: with the next event the trace is made, Python frame or not. */
void session_initialize(void);

/* The path of the process's trace, which must be the only one in the directory, "" if there is none; static. */
const char *session_trace(void);

/* The number of traces in the directory. */
unsigned session_traces(void);

/* One event each, as a hook makes it. False: it was not recorded, since no thread could be entered. */
int session_alloc(uint64_t address, uint64_t bytes);
int session_alloc_by(const void *caller, uint64_t address, uint64_t bytes);
int session_free(uint64_t address);
int session_realloc(uint64_t from, uint64_t to, uint64_t bytes, enum ml_outcome outcome);

/* State of the process, enum ml_state. */
int session_state(void);

#endif
