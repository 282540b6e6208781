/* Bounded reading of a trace file: every byte is asked for by its offset, and none is believed to be there. */
#ifndef ML_REPORT_FILE_H
#define ML_REPORT_FILE_H

#include <sys/types.h>

#include "report/load.h"

/* Counts damage of one kind that was met at the offset. */
void ml_file_damaged(struct ml_trace *t, enum ml_damage kind, uint64_t offset);

/* As pread(2), also out of a pack. */
ssize_t ml_file_pread(const struct ml_trace *t, void *buffer, size_t bytes, uint64_t offset);

/* Reads up to `bytes` at the offset and returns how many there were: fewer behind the end of the file or a bad
   block. */
size_t ml_file_read(struct ml_trace *t, uint64_t offset, void *buffer, size_t bytes);

/* What of an extent lies within the file. */
uint64_t ml_file_within(const struct ml_trace *t, const struct ml_extent *e);

/* A stretch of the file that is read front to back, 64 KiB at a time, or more where one item is larger. */
struct ml_file_window {
	struct ml_trace *trace;
	uint64_t end;    /* of the stretch */
	uint64_t offset; /* of what is in the buffer */
	size_t bytes;
	size_t room;
	uint8_t *buffer;
};

void ml_file_window_open(struct ml_file_window *w, struct ml_trace *t, uint64_t offset, uint64_t length);
void ml_file_window_close(struct ml_file_window *w);

/* `bytes` at the offset, valid until the next call, or NULL where that many are not in the stretch. */
const void *ml_file_window_get(struct ml_file_window *w, uint64_t offset, size_t bytes);

/* The first offset from the given one on that is not in a hole of the file; the end of the stretch if there is none. */
uint64_t ml_file_window_data(struct ml_file_window *w, uint64_t offset);

#endif
