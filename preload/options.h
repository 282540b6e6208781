/*
 * What the user asked for in the environment: the MEMLINE_* variables.
 */
#ifndef ML_PRELOAD_OPTIONS_H
#define ML_PRELOAD_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "preload/hidden.h"

enum ml_native {
	ML_NATIVE_OFF,
	ML_NATIVE_CALLER, /* one native frame: who called the allocator */
	ML_NATIVE_FULL,   /* of what is allocated all native frames, with those of Python where they belong */
};

enum ml_occurrences {
	ML_OCCURRENCES_OFF,
	ML_OCCURRENCES_AUTO, /* where the interpreter can tell them */
	ML_OCCURRENCES_ON,   /* the same, but it is worth a word where it cannot */
};

struct ml_options {
	bool off;     /* MEMLINE_OFF is set */
	bool objects; /* record the PyMem domains */
	enum ml_native native;
	enum ml_occurrences occurrences;
	const char *scope; /* as trace/scope.h takes it */
	uint64_t max_bytes;
	uint64_t keep_free; /* ML_KEEP_FREE_AUTO: decided by the size of the file system */
	uint32_t max_nodes;
	bool log; /* a table is to be written: when, and how long, is for the process to know that does it */
	char directory[4096]; /* absolute */
	bool directory_given; /* by the user; else it is the default one */
	char app_root[4096];  /* FUNCTIONS_APPLICATION_DIRECTORY, or "" */
};

#define ML_KEEP_FREE_AUTO UINT64_MAX

/* The largest max_nodes. */
#define ML_NODES_MAX (1u << 26)

/* The options in force. Read once by ml_options_read(). */
extern struct ml_options ml_options ML_HIDDEN;

/* Reads environment (an array as environ) into ml_options. A value that makes no sense leaves the default. */
void ml_options_read(char **environment);

/* Calls each(context, key, value) for every option: "option.NAME" with the text in force and, where the environment
   held a value that was not taken, "ignored.NAME" with that value. */
void ml_options_each(void (*each)(void *context, const char *key, const char *value), void *context);

#endif
