/*
 * The event stream of a trace: the pieces of all its rings, merged by turn. The half of load.h that reads events.
 *
 * Of a running process it takes a consistent cut: what is delivered is a prefix of the process's events.
 */
#ifndef ML_REPORT_MERGE_H
#define ML_REPORT_MERGE_H

#include "report/load.h"

struct ml_merge;

/*
 * Reads the rings that t->extents names as they are now; if events were read before, the merge will go on behind them.
 * The directory must be read once more behind it, since pieces may have left the rings before; if it then names other
 * rings than before, all this must be done again.
 */
void ml_merge_snapshot(struct ml_trace *t);
int ml_merge_has_all_rings(const struct ml_trace *t);

/* Where a ring was: in that piece, behind so many bytes of its events. */
struct ml_merge_position {
	uint32_t ring;
	uint32_t sequence;
	uint32_t bytes;
};

/* For a copy of a trace whose process runs: puts the rings as the snapshot has them over bytes that were read at the
   offset. Behind the last turn nothing in them counts. */
void ml_merge_overlay(const struct ml_trace *t, uint64_t offset, uint8_t *bytes, size_t n);
uint64_t ml_merge_last_turn(const struct ml_trace *t);

/* Of each ring only the events up to there are delivered, and none of rings that are not named. Then that may be said
   anew, of positions further on: the rest up to those follows. */
void ml_merge_until(struct ml_trace *t, const struct ml_merge_position *ends, size_t n);

/* Finds out what is to be read, and sets the merge at the first event. */
void ml_merge_start(struct ml_trace *t);
void ml_merge_free(struct ml_merge *m);

size_t ml_merge_next(struct ml_trace *t, const struct ml_moment **moments);
uint32_t ml_merge_ring(const struct ml_merge *m, uint32_t id);
double ml_merge_progress(const struct ml_merge *m);

#endif
