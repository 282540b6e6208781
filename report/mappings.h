/*
 * The mapped ranges of a process, none over another, in a search tree that is balanced by random priorities. What
 * mmap, munmap, mremap and mprotect do is put together from a few operations: cut and join, put, take and move.
 */
#ifndef ML_REPORT_MAPPINGS_H
#define ML_REPORT_MAPPINGS_H

#include <stdbool.h>
#include <stdint.h>

enum ml_mapping_class {
	ML_MAPPING_LIVE,     /* anonymous, and writable at some time: program memory */
	ML_MAPPING_RESERVED, /* anonymous, never writable so far */
	ML_MAPPING_FILE,
	ML_MAPPING_CLASSES
};

struct ml_mapping {
	uint64_t start;
	uint64_t end;        /* behind start */
	uint64_t born;       /* a number of its own, which the parts of a mapping that was cut have in common */
	uint32_t node;       /* LIVE: whose memory it is */
	uint32_t born_ms;    /* LIVE: since the start of tracking */
	uint32_t activation; /* LIVE: in which it was made so */
	uint32_t priority;
	enum ml_mapping_class class;
	bool owned; /* LIVE: counts as live, see ml_fold_options.tid */
	struct ml_mapping *left;
	struct ml_mapping *right; /* in a list, the next */
};

/* All zero: nothing is mapped. */
struct ml_mappings {
	struct ml_mapping *root;
	uint32_t seed;
};

/* The first mapping that ends behind the address, or NULL. */
struct ml_mapping *ml_mappings_find(const struct ml_mappings *m, uint64_t address);

/* Makes two of the mapping that the address lies in the midst of and returns the second; NULL if there is none. */
struct ml_mapping *ml_mappings_cut(struct ml_mappings *m, uint64_t address);

/* Undoes a cut at the address. The mapping that is whole again, or NULL if nothing was cut there. */
struct ml_mapping *ml_mappings_join(struct ml_mappings *m, uint64_t address);

/* Takes out what starts in the range; its ends have been cut. A list in order, which is the caller's to free. */
struct ml_mapping *ml_mappings_take(struct ml_mappings *m, uint64_t start, uint64_t end);

/* Moves what starts in the range to another set, which has nothing there. */
void ml_mappings_move(struct ml_mappings *m, uint64_t start, uint64_t end, struct ml_mappings *to);

/* Puts a copy in; its range is free. */
void ml_mappings_put(struct ml_mappings *m, const struct ml_mapping *mapping);

void ml_mappings_free(struct ml_mappings *m);

#endif
