#include "report/heap.h"

/* CPython's Objects/obmalloc.c since 3.8: SMALL_REQUEST_THRESHOLD, ALIGNMENT. Larger ones, and those of no bytes, are
   malloc's. */
#define SMALL_MAX 512u
#define SMALL_ALIGNMENT 16u

/* A chunk of glibc's malloc on 64-bit machines, malloc/malloc.c: SIZE_SZ in front of it, MALLOC_ALIGNMENT, MINSIZE. Of
   what is so large that it gets a mapping of its own, the rest of the last page is left out. */
#define CHUNK_HEAD 8u
#define CHUNK_ALIGNMENT 16u
#define CHUNK_MIN 32u

static void add(struct ml_heap_part *part, uint64_t bytes, uint64_t taken)
{
	part->blocks++;
	part->bytes += bytes;
	part->taken_bytes += taken;
}

static uint64_t round_up(uint64_t bytes, uint64_t alignment)
{
	return (bytes + alignment - 1) & ~(alignment - 1);
}

static void take_live(void *context, const struct ml_live *live)
{
	struct ml_heap *h = context;
	bool object = live->domain == ML_DOMAIN_MEM || live->domain == ML_DOMAIN_OBJ;
	uint64_t chunk;

	if (live->mapping) {
		h->mapped_bytes += live->bytes;
		return;
	}
	if (object && live->bytes && live->bytes <= SMALL_MAX) {
		add(&h->small, live->bytes, round_up(live->bytes, SMALL_ALIGNMENT));
		return;
	}
	chunk = round_up(live->bytes + CHUNK_HEAD, CHUNK_ALIGNMENT);
	add(&h->malloc, live->bytes, chunk < CHUNK_MIN ? CHUNK_MIN : chunk);
}

void ml_heap_add(struct ml_heap *h, const struct ml_fold *f)
{
	ml_fold_each_live(f, take_live, h);
}
