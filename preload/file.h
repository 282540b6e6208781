/*
 * The trace file as the recorder sees it: extents that are either mapped and written in place, or appended whole.
 *
 * Until the first Python frame there is no file: extents are private memory that knows which offset it will have.
 * ml_file_create() then writes them out and maps the file over them, at the same addresses.
 *
 * Every function but ml_file_append() and ml_file_sync() expects ml_process.lock to be held. A failure stops the
 * recording (ml_process_stop()) and is said by the result; nothing here is fatal.
 */
#ifndef ML_PRELOAD_FILE_H
#define ML_PRELOAD_FILE_H

#include <stdbool.h>

#include "trace/format.h"

/* Starts an empty trace in private memory. False if there is no memory. */
bool ml_file_start(void);

/* Drops the memory of a trace that is given up. In a forked child the file, if any, stays the parent's. */
void ml_file_forget(void);

/* In a forked child, before anything may be written: neither mapping nor descriptor leads to the parent's file any
   more. A record that the fork has interrupted goes nowhere. */
void ml_file_detach(void);

/* A new extent of at least bytes (rounded up to pages), zeroed, in memory; NULL if it can't be had. */
void *ml_file_map(enum ml_extent_kind kind, uint32_t id, uint64_t bytes);

/* Appends a full piece. Before the file exists it is kept in memory, up to a bound. Takes the lock. False: failed, and
   the piece must be kept where it is. */
bool ml_file_append(const struct ml_piece *piece, uint64_t bytes);

/* Makes the file: directory, name, descriptor, contents, mappings. False: there is none, nothing is left behind. */
bool ml_file_create(void);

/* Where no mapping could be had: writes what has changed. Elsewhere nothing happens. Of the rings, which change all the
   time, only the given one, whose piece has just been appended: the file must not go on holding a part of that piece as
   the newest. NULL: all of them, since no other call will come. Takes the lock. */
void ml_file_sync(const struct ml_piece *ring);

/* The header, in memory. Valid from ml_file_start() on, at a fixed address. */
struct ml_header *ml_file_header(void);

/* Base name of the trace, "" before it was made; what a forked child names as its parent's. */
const char *ml_file_name(void);

/* Its path; valid while there is one. */
const char *ml_file_path(void);

/* Number of this image among the process's traces, known once the file is there. */
unsigned ml_file_image(void);

/* Bytes of events that wait in memory for a first Python frame. */
uint64_t ml_file_early_bytes(void);

#endif
