/*
 * A trace read back by a test: plainly and without mercy. What the recorder should never write fails the test. Loops
 * over events use no ck_assert: check notes each of those in a file.
 */
#ifndef ML_TEST_TRACE_FILE_H
#define ML_TEST_TRACE_FILE_H

#include <stdbool.h>
#include <stddef.h>

#include "trace/get.h"

/* A record with the turn that it belongs to, and the time and thread that BASE and TIME records have given. */
struct trace_event {
	struct ml_event e;
	uint64_t turn;
	uint64_t ns;
	uint32_t tid;
	uint32_t ring;
};

struct trace_file {
	const uint8_t *data;
	size_t bytes;
	const struct ml_header *header;
	struct ml_extent *extents; /* all that are there, DIRECTORY extents excepted */
	size_t extent_count;
	struct ml_node *nodes; /* by number; those that were never written have subject 0 */
	size_t node_count;
	size_t damaged; /* EVENTS extents whose checksum is wrong and that no ring replaces */
};

/* Maps a trace. *t is all zero, or a trace that was opened before and is given up. */
void trace_open(struct trace_file *t, const char *path);

/* The value of the nth META entry with the key, from 0; NULL: there is none. */
const char *trace_meta(const struct trace_file *t, const char *key, unsigned nth);

/* The definition of a code object or a module by id, NULL if it isn't there. There must not be two. */
const struct ml_def_code *trace_code(const struct trace_file *t, uint32_t id);
const struct ml_def_module *trace_module(const struct trace_file *t, uint32_t id);

/* Definitions of a kind. */
size_t trace_count_defs(const struct trace_file *t, enum ml_def_kind kind);

/* Extents of a kind. */
size_t trace_count_extents(const struct trace_file *t, enum ml_extent_kind kind);

/* Rings: each has one extent or, if it was busy, two. */
uint32_t trace_count_rings(const struct trace_file *t);

/* All records of a ring in their order, BASE, TURN and TIME included; the caller frees them. */
struct trace_event *trace_ring_events(struct trace_file *t, uint32_t ring, size_t *count);

/* All events of all rings in the order of the turns, without BASE, TURN and TIME; the caller frees them. */
struct trace_event *trace_events(struct trace_file *t, size_t *count);

#endif
