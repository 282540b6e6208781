/*
 * The fold once more, the slow way: every block and every page is kept in a plain list, and everything is counted anew
 * after each event. What report/fold.c computes in one pass is held against it.
 */
#ifndef ML_TESTS_REPORT_REPLAY_H
#define ML_TESTS_REPORT_REPLAY_H

#include "report/fold.h"

/* Mappings are replayed in this range only, page by page. */
#define REPLAY_PAGE 4096u
#define REPLAY_PAGES 64u
#define REPLAY_BASE 0x7f0000000000u
#define REPLAY_RINGS 8u
#define REPLAY_BLOCKS 1024u

struct replay;

struct replay *replay_new(const struct ml_fold_options *options, uint32_t nodes_n);

/* These nodes are the recorder's own. */
void replay_ours(struct replay *r, uint32_t first, uint32_t n);

/* Plays one event; false: the end that the options ask for is reached. The moment's turn counts for nothing. */
bool replay_event(struct replay *r, const struct ml_moment *m);

/* Closes the books. */
void replay_finish(struct replay *r);

/* What must have come out. */
const struct ml_totals *replay_totals(const struct replay *r);
const struct ml_tally *replay_nodes(const struct replay *r);

void replay_free(struct replay *r);

#endif
