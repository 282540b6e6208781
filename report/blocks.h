/*
 * Live blocks by address: the largest table of a fold, and a cache miss for nearly every event. Open addressing in
 * places of 24 bytes, 30 to 45 bytes a block. It is cut into parts that grow one by one, so that growing needs little
 * memory at once.
 */
#ifndef ML_REPORT_BLOCKS_H
#define ML_REPORT_BLOCKS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define ML_BLOCKS_PART_BITS 4

struct ml_block {
	uint64_t address;
	uint64_t bytes;
	uint32_t node;  /* that allocated it */
	uint8_t domain; /* enum ml_domain */
	bool owned;     /* counts as live: see ml_fold_options.tid */
	bool there;     /* private: a place of the table that is in use */
};

/* All zero: no blocks. */
struct ml_blocks {
	uint64_t secret; /* so that no trace can be made of addresses that collide */
	struct ml_blocks_part {
		struct ml_block *places;
		size_t room;
		size_t n;
	} part[1 << ML_BLOCKS_PART_BITS];
};

/* Adds the block. True: another was at its address, has been replaced and is now in *old. */
bool ml_blocks_put(struct ml_blocks *b, const struct ml_block *block, struct ml_block *old);

/* Takes the block at the address out, into *block. False: there is none. */
bool ml_blocks_take(struct ml_blocks *b, uint64_t address, struct ml_block *block);

/* Says that the address will be asked for soon. */
void ml_blocks_prefetch(const struct ml_blocks *b, uint64_t address);

void ml_blocks_free(struct ml_blocks *b);

#endif
