/* Lines whose live bytes keep growing over a run, and those that have stopped: report/trend.h says what that means. */
#ifndef ML_REPORT_GROWTH_H
#define ML_REPORT_GROWTH_H

#include "report/holders.h"
#include "report/timeline.h"
#include "report/trend.h"

struct ml_growing {
	const struct ml_holder *holder;
	const uint64_t *bytes; /* live at each point */
	struct ml_trend trend; /* its verdict is not NONE */
	bool small;            /* it grows, but by less than ML_GROWTH_LEAST so far: that accuses nobody */
	uint64_t most;         /* at any point */
	uint64_t level_ns;     /* when it first had 95 % of that */
};

struct ml_growth {
	struct ml_growing *items; /* what grows, by the low end of the pace; then what has stopped, and then what is
				     small, by what they hold */
	size_t n;
	size_t tested;  /* lines that were looked at: those whose bytes changed at all. p is for each of them alone */
	uint64_t *rows; /* private */
};

/*
 * Bytes that a line has to have grown by. CPython keeps freed objects for later ones (free lists; 3.11 to 3.13, see
 * Include/internal/pycore_freelist.h: 80 lists, 80 dicts, 100 floats, 255 contexts). They fill up slowly and steadily,
 * and a run may end before they are full. Those of tuples, 2000 for each of 20 sizes, can hold more than this.
 */
#define ML_GROWTH_LEAST 16384u

/* p of each line has to be this, divided by the number of lines that were looked at (Bonferroni). */
#define ML_GROWTH_ALPHA 0.01

/* found: by line. It and the timeline have to outlive what is found. */
void ml_growth_find(struct ml_growth *g, const struct ml_timeline *t, const struct ml_holders *found);
void ml_growth_free(struct ml_growth *g);

#endif
