/*
 * A recording under the interpreter of tests/preload/objects/monitored.c, whose frames are made by hand.
 */
#ifndef ML_TEST_MONITORED_SESSION_H
#define ML_TEST_MONITORED_SESSION_H

#include "preload/symbols.h"
#include "tests/preload/frames.h"
#include "tests/preload/objects/monitored.h"

extern struct fake *fake;
extern void *monitored_none; /* None */

/* Loads the interpreter, and describes it. */
struct ml_object monitored_load(void);

/* Recording has begun, in a frame that is out of scope (/app), and the interpreter has been asked. option: NULL, or one
   more. */
void monitored_start(const char *option);

/* The same, and it has let us begin. */
void monitored_begin(void);

/* The innermost frame. */
void monitored_put_frame(struct frame *f, const struct frame *caller, const struct code *code, unsigned index);

/* As an allocation does now and then. */
void monitored_poll(void);

/* A code object that the interpreter has told of. */
struct code *monitored_code(const char *file, const char *name);

/* The events that are set for it. */
long monitored_events(const struct code *code);

#endif
