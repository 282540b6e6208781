/*
 * Records into a buffer: the writing half of trace/get.h. No I/O and no checks: the caller has seen to it that
 * ML_RECORD_MAX bytes are free. Each function returns the first byte behind what it wrote. Inline, since this is the
 * recorder's hot path.
 */
#ifndef ML_TRACE_PUT_H
#define ML_TRACE_PUT_H

#include "trace/format.h"

/* Addresses by ML_SLOT(), shifted right by four as they are coded, and sizes by ML_SIZE_OF() their node. */
struct ml_tables {
	uint64_t slots[ML_SLOTS];
	uint64_t sizes[ML_SIZES];
};

/* What the next record of a piece is coded against. All zero at the start of a piece, the tables too. */
struct ml_coder {
	uint64_t address;   /* shifted right by four */
	uint64_t generator; /* the same */
	uint32_t node;
	struct ml_tables *tables; /* NULL: a writer makes this piece without them */
};

static inline uint8_t *ml_put_varint(uint8_t *at, uint64_t value)
{
	while (value >= 0x80) {
		*at++ = (uint8_t)value | 0x80;
		value >>= 7;
	}
	*at++ = (uint8_t)value;
	return at;
}

static inline uint8_t *ml_put_zigzag(uint8_t *at, int64_t value)
{
	return ml_put_varint(at, (uint64_t)value << 1 ^ (uint64_t)(value >> 63));
}

/* Writes the LOW record that an address off the 16-byte grid needs before its own record. */
static inline uint8_t *ml_put_low(uint8_t *at, uint64_t address)
{
	if (__builtin_expect((address & 15) != 0, 0)) {
		*at++ = (uint8_t)(ML_RECORD_OTHER | ML_OTHER_LOW << 4);
		*at++ = (uint8_t)(address & 15);
	}
	return at;
}

/* Bytes may alias anything: so the coder is brought up to date before they are put. */

/* Keeps the value in the place of another. Whether it was there already. */
static inline int ml_take(uint64_t *kept, uint64_t value)
{
	int has = *kept == value;

	*kept = value;
	return has;
}

/* Whether the address of a block is coded as a slot; from now on it would be. */
static inline int ml_take_slot(const struct ml_coder *c, uint64_t address)
{
	return c->tables && ml_take(&c->tables->slots[ML_SLOT(address >> 4)], address >> 4);
}

/* The same for a size and that of the node. */
static inline int ml_take_size(const struct ml_coder *c, uint32_t node, uint64_t size)
{
	return c->tables && ml_take(&c->tables->sizes[ML_SIZE_OF(node)], size);
}

static inline uint8_t *ml_put_block(uint8_t *at, struct ml_coder *c, int has_slot, uint64_t address)
{
	uint64_t high = address >> 4;
	int64_t step = (int64_t)(high - c->address);

	c->address = high;
	if (!has_slot)
		return ml_put_zigzag(at, step);
	*at++ = ML_SLOT(high);
	return at;
}

static inline uint8_t *ml_put_address(uint8_t *at, struct ml_coder *c, uint64_t address)
{
	ml_take_slot(c, address);
	return ml_put_block(at, c, 0, address);
}

/* The head byte, with ML_REC_SAME_NODE or the node behind it. */
static inline uint8_t *ml_put_head(uint8_t *at, struct ml_coder *c, unsigned head, uint32_t node)
{
	int64_t step = (int64_t)node - (int64_t)c->node;

	c->node = node;
	if (!step) {
		*at++ = (uint8_t)(head | ML_REC_SAME_NODE);
		return at;
	}
	*at++ = (uint8_t)head;
	return ml_put_zigzag(at, step);
}

static inline __attribute__((always_inline)) uint8_t *
ml_put_alloc(uint8_t *at, struct ml_coder *c, enum ml_domain domain, uint32_t node, uint64_t address, uint64_t size)
{
	int has_slot = ml_take_slot(c, address), has_size = ml_take_size(c, node, size);
	unsigned head = (has_slot ? ML_RECORD_ALLOC_SLOT : ML_RECORD_ALLOC) | (unsigned)domain << 4;

	at = ml_put_low(at, address);
	at = ml_put_head(at, c, head | (has_size ? ML_REC_SAME_SIZE : 0), node);
	at = ml_put_block(at, c, has_slot, address);
	return has_size ? at : ml_put_varint(at, size);
}

/* FREE and REALLOC_BEGIN. */
static inline __attribute__((always_inline)) uint8_t *ml_put_free(uint8_t *at, struct ml_coder *c, enum ml_record code,
								  enum ml_domain domain, uint32_t node,
								  uint64_t address)
{
	int has_slot = ml_take_slot(c, address);

	at = ml_put_low(at, address);
	at = ml_put_head(at, c, (unsigned)code | (unsigned)domain << 4 | (has_slot ? ML_REC_SLOT : 0), node);
	return ml_put_block(at, c, has_slot, address);
}

/* address and size count only where the outcome is DONE. */
static inline uint8_t *ml_put_realloc_end(uint8_t *at, struct ml_coder *c, enum ml_outcome outcome, uint64_t address,
					  uint64_t size)
{
	unsigned head = ML_RECORD_REALLOC_END | (unsigned)outcome << 4;
	int has_slot, has_size;

	if (outcome != ML_OUTCOME_DONE) {
		*at++ = (uint8_t)head;
		return at;
	}
	has_slot = ml_take_slot(c, address);
	has_size = ml_take_size(c, c->node, size);
	at = ml_put_low(at, address);
	*at++ = (uint8_t)(head | (has_slot ? ML_REC_END_SLOT : 0) | (has_size ? ML_REC_SAME_SIZE : 0));
	at = ml_put_block(at, c, has_slot, address);
	return has_size ? at : ml_put_varint(at, size);
}

/* MAP, UNMAP_BEGIN, REMAP_BEGIN, PROTECT: code with its flag, then what they have in common; the caller adds the rest
   with ml_put_varint. */
static inline uint8_t *ml_put_range(uint8_t *at, struct ml_coder *c, unsigned head, uint32_t node, uint64_t address,
				    uint64_t bytes)
{
	at = ml_put_low(at, address);
	at = ml_put_head(at, c, head, node);
	at = ml_put_address(at, c, address);
	return ml_put_varint(at, bytes);
}

/* UNMAP_END and REMAP_END; address and bytes count only for a REMAP_END that is DONE. */
static inline uint8_t *ml_put_range_end(uint8_t *at, struct ml_coder *c, enum ml_record code, enum ml_outcome outcome,
					uint64_t address, uint64_t bytes)
{
	if (code == ML_RECORD_REMAP_END && outcome == ML_OUTCOME_DONE) {
		at = ml_put_low(at, address);
		*at++ = (uint8_t)((unsigned)code | (unsigned)outcome << 4);
		at = ml_put_address(at, c, address);
		return ml_put_varint(at, bytes);
	}
	*at++ = (uint8_t)((unsigned)code | (unsigned)outcome << 4);
	return at;
}

static inline uint8_t *ml_put_arena(uint8_t *at, struct ml_coder *c, int released, uint64_t address, uint64_t bytes)
{
	at = ml_put_low(at, address);
	*at++ = (uint8_t)(ML_RECORD_ARENA | (released ? ML_REC_RELEASED : 0));
	at = ml_put_address(at, c, address);
	return ml_put_varint(at, bytes);
}

static inline uint8_t *ml_put_turn(uint8_t *at, uint64_t turns)
{
	*at++ = ML_RECORD_TURN;
	return ml_put_varint(at, turns);
}

static inline uint8_t *ml_put_time(uint8_t *at, uint64_t ns, uint64_t pages)
{
	*at++ = ML_RECORD_TIME;
	at = ml_put_varint(at, ns);
	return ml_put_varint(at, pages);
}

static inline uint8_t *ml_put_base(uint8_t *at, uint64_t turn, uint64_t ns, uint32_t tid)
{
	*at++ = ML_RECORD_BASE;
	at = ml_put_varint(at, turn);
	at = ml_put_varint(at, ns);
	return ml_put_varint(at, tid);
}

static inline uint8_t *ml_put_finalize(uint8_t *at)
{
	*at++ = (uint8_t)(ML_RECORD_OTHER | ML_OTHER_FINALIZE << 4);
	return at;
}

/* Says that the block of the last ADDR is the recorder's own. */
static inline uint8_t *ml_put_ours(uint8_t *at)
{
	*at++ = (uint8_t)(ML_RECORD_OTHER | ML_OTHER_OURS << 4);
	*at++ = 0;
	return at;
}

static inline uint8_t *ml_put_generator(uint8_t *at, struct ml_coder *c, uint64_t address)
{
	uint8_t field[10];
	uint8_t *end = ml_put_zigzag(field, (int64_t)((address >> 4) - c->generator));

	c->generator = address >> 4;
	*at++ = (uint8_t)(ML_RECORD_OTHER | ML_OTHER_GENERATOR << 4);
	*at++ = (uint8_t)(end - field);
	__builtin_memcpy(at, field, (unsigned long)(end - field));
	return at + (end - field);
}

/* Checksum of a piece's events: four interleaved multiplicative hashes over 8-byte words (the tail padded with zeros),
   each word w: lane = (lane ^ w) * K, then mixed. Made to catch torn and short writes, not malice. */
static inline uint64_t ml_checksum(const void *data, uint64_t bytes)
{
	const uint64_t k = 0x9e3779b97f4a7c15u;
	const uint8_t *at = data;
	uint64_t lane[4] = {1, 2, 3, 4}, sum = bytes;
	uint64_t i, n = bytes / 32 * 32;

	for (i = 0; i < n; i += 32) {
		uint64_t word[4];
		__builtin_memcpy(word, at + i, 32);
		lane[0] = (lane[0] ^ word[0]) * k;
		lane[1] = (lane[1] ^ word[1]) * k;
		lane[2] = (lane[2] ^ word[2]) * k;
		lane[3] = (lane[3] ^ word[3]) * k;
	}
	for (; i < bytes; i += 8) {
		uint64_t word = 0;
		uint64_t left = bytes - i < 8 ? bytes - i : 8;
		__builtin_memcpy(&word, at + i, left);
		lane[0] = (lane[0] ^ word) * k;
	}
	for (i = 0; i < 4; i++)
		sum = (sum ^ lane[i] ^ lane[i] >> 29) * k;
	return sum;
}

#endif
