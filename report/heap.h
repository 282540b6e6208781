/* What allocators make of the blocks that are live, as far as the sizes that were asked for tell. */
#ifndef ML_REPORT_HEAP_H
#define ML_REPORT_HEAP_H

#include "report/fold.h"

/* Bytes that blocks take up, rounded as their allocator does. */
struct ml_heap_part {
	uint64_t blocks;
	uint64_t bytes; /* asked for */
	uint64_t taken_bytes;
};

/* All zero: nothing is live. */
struct ml_heap {
	struct ml_heap_part small;  /* in CPython's arenas */
	struct ml_heap_part malloc; /* of the C library's allocator, for whoever it was */
	uint64_t mapped_bytes;      /* anonymous mappings of the program */
};

/* Adds what is live at the end of a fold that is finished. */
void ml_heap_add(struct ml_heap *h, const struct ml_fold *f);

#endif
