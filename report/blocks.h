/*
 * Live blocks by address: the largest table of a fold, and a cache miss for nearly every event. Open addressing in
 * places of 24 bytes, 36 to 54 bytes a block; 32 and 48 to 72 where their births are kept. It is cut into parts that
 * grow one by one, so that growing needs little memory at once.
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
	/* Only in tables that keep births, else 0: */
	uint32_t born_ms;    /* since the start of tracking */
	uint32_t activation; /* in which it was allocated: see report/activations.h */
};

/* All zero: no blocks. */
struct ml_blocks {
	bool births;     /* kept; set it before the first block comes */
	uint64_t secret; /* private, as all below: so that no trace can be made of addresses that collide */
	struct ml_blocks_part {
		unsigned char *places; /* room of them, each the start of a struct ml_block */
		size_t room;
		size_t most; /* to be in use */
		size_t n;
	} part[1 << ML_BLOCKS_PART_BITS];
};

/* Adds the block. True: another was at its address, has been replaced and is now in *old. */
bool ml_blocks_put(struct ml_blocks *b, const struct ml_block *block, struct ml_block *old);

/* Takes the block at the address out, into *block. False: there is none. */
bool ml_blocks_take(struct ml_blocks *b, uint64_t address, struct ml_block *block);

/* The block at the address. False: there is none. */
bool ml_blocks_get(const struct ml_blocks *b, uint64_t address, struct ml_block *block);

/* The blocks one by one in any order, while none is put or taken: *cursor is 0 at first. False: there are no more. */
bool ml_blocks_next(const struct ml_blocks *b, size_t *cursor, struct ml_block *block);

/* Says that the address will be asked for soon. */
void ml_blocks_prefetch(const struct ml_blocks *b, uint64_t address);

void ml_blocks_free(struct ml_blocks *b);

#endif
