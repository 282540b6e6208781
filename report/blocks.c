#include "report/blocks.h"

#include <string.h>
#include <sys/random.h>

#include "report/memory.h"

#define ROOM_MIN 16u

#define BYTES_WITHOUT_BIRTH offsetof(struct ml_block, born_ms)

_Static_assert(BYTES_WITHOUT_BIRTH == 24 && sizeof(struct ml_block) == 32, "size of a place");

/*
 * Functions that are always inlined get the size of a place as a constant: each place that is looked at asks for it.
 * What the caller of one of them is, ml_blocks_put() or ml_blocks_take(), has two branches.
 */
#define INLINED inline __attribute__((always_inline))

static size_t place_bytes(const struct ml_blocks *b)
{
	return b->births ? sizeof(struct ml_block) : BYTES_WITHOUT_BIRTH;
}

/* What lies behind its bytes belongs to the next place. */
static INLINED struct ml_block *place_at(size_t bytes, const struct ml_blocks_part *p, size_t at)
{
	return (struct ml_block *)(p->places + at * bytes);
}

/* Two rounds of multiply and shift: addresses differ in few bits, and all bits of the result are used. */
static uint64_t hash(const struct ml_blocks *b, uint64_t address)
{
	uint64_t h = (address ^ b->secret) * 0x9e3779b97f4a7c15u;

	h = (h ^ h >> 32) * 0xd6e8feb86659fd93u;
	return h ^ h >> 32;
}

static unsigned part_of(uint64_t h)
{
	return (unsigned)(h >> (64 - ML_BLOCKS_PART_BITS));
}

/* Where the search for a block begins: the part's room in proportion to the bits behind the part's number. */
static size_t home(const struct ml_blocks_part *p, uint64_t h)
{
	return (size_t)((unsigned __int128)(h << ML_BLOCKS_PART_BITS) * p->room >> 64);
}

static size_t after(const struct ml_blocks_part *p, size_t place)
{
	return place + 1 < p->room ? place + 1 : 0;
}

/* The place of the address, or the empty one where it would be. There always is an empty one, if there is room. */
static INLINED size_t find(size_t bytes, const struct ml_blocks_part *p, uint64_t address, uint64_t h)
{
	size_t at = home(p, h);

	while (place_at(bytes, p, at)->there && place_at(bytes, p, at)->address != address)
		at = after(p, at);
	return at;
}

/* By half. Never more than two thirds are full: to take a block looks at the places up to the next empty one, which are
   5 on average then, and 13 at four fifths (Knuth, The Art of Computer Programming 3, section 6.4). */
static void grow(const struct ml_blocks *b, struct ml_blocks_part *p)
{
	struct ml_blocks_part old = *p;
	const size_t bytes = place_bytes(b);

	p->room = old.room ? old.room + old.room / 2 : ROOM_MIN;
	p->most = p->room / 3 * 2;
	p->places = ml_memory_get_table(p->room, bytes);
	for (size_t i = 0; i < old.room; i++) {
		const struct ml_block *block = place_at(bytes, &old, i);
		if (block->there)
			memcpy(place_at(bytes, p, find(bytes, p, block->address, hash(b, block->address))), block,
			       bytes);
	}
	ml_memory_free_table(old.places, old.room, bytes);
}

static INLINED bool put(struct ml_blocks_part *p, size_t bytes, uint64_t h, const struct ml_block *block,
			struct ml_block *old)
{
	struct ml_block *place = place_at(bytes, p, find(bytes, p, block->address, h));
	bool replaced = place->there;

	if (replaced)
		memcpy(old, place, bytes);
	else
		p->n++;
	memcpy(place, block, bytes);
	place->there = true;
	return replaced;
}

bool ml_blocks_put(struct ml_blocks *b, const struct ml_block *block, struct ml_block *old)
{
	struct ml_blocks_part *p;
	uint64_t h;

	while (!b->secret) /* the first block */
		if (getrandom(&b->secret, sizeof b->secret, 0) < 0)
			b->secret = 1;
	h = hash(b, block->address);
	p = &b->part[part_of(h)];
	if (p->n >= p->most)
		grow(b, p);
	return b->births ? put(p, sizeof(struct ml_block), h, block, old) : put(p, BYTES_WITHOUT_BIRTH, h, block, old);
}

/* Moves blocks that were pushed behind the hole towards their homes, so that searches may stop at the first hole. */
static INLINED void close_hole(const struct ml_blocks *b, size_t bytes, struct ml_blocks_part *p, size_t hole)
{
	for (size_t at = after(p, hole); place_at(bytes, p, at)->there; at = after(p, at)) {
		size_t from_home = at - home(p, hash(b, place_at(bytes, p, at)->address));
		size_t from_hole = at - hole;
		if (from_home > SIZE_MAX / 2)
			from_home += p->room;
		if (from_hole > SIZE_MAX / 2)
			from_hole += p->room;
		if (from_home < from_hole)
			continue;
		memcpy(place_at(bytes, p, hole), place_at(bytes, p, at), bytes);
		hole = at;
	}
	place_at(bytes, p, hole)->there = false;
}

static INLINED bool take(const struct ml_blocks *b, size_t bytes, struct ml_blocks_part *p, uint64_t h,
			 uint64_t address, struct ml_block *block)
{
	size_t at = find(bytes, p, address, h);

	if (!place_at(bytes, p, at)->there)
		return false;
	memcpy(block, place_at(bytes, p, at), bytes);
	close_hole(b, bytes, p, at);
	p->n--;
	return true;
}

bool ml_blocks_take(struct ml_blocks *b, uint64_t address, struct ml_block *block)
{
	uint64_t h = hash(b, address);
	struct ml_blocks_part *p = &b->part[part_of(h)];

	if (!p->n)
		return false;
	return b->births ? take(b, sizeof(struct ml_block), p, h, address, block)
			 : take(b, BYTES_WITHOUT_BIRTH, p, h, address, block);
}

bool ml_blocks_get(const struct ml_blocks *b, uint64_t address, struct ml_block *block)
{
	uint64_t h = hash(b, address);
	const struct ml_blocks_part *p = &b->part[part_of(h)];
	const struct ml_block *place = p->n ? place_at(place_bytes(b), p, find(place_bytes(b), p, address, h)) : NULL;

	if (!place || !place->there)
		return false;
	*block = (struct ml_block){0};
	memcpy(block, place, place_bytes(b));
	return true;
}

bool ml_blocks_next(const struct ml_blocks *b, size_t *cursor, struct ml_block *block)
{
	size_t before = 0;

	for (size_t i = 0; i < sizeof b->part / sizeof *b->part; before += b->part[i++].room)
		while (*cursor < before + b->part[i].room) {
			const struct ml_block *place = place_at(place_bytes(b), &b->part[i], (*cursor)++ - before);
			if (place->there) {
				*block = (struct ml_block){0};
				memcpy(block, place, place_bytes(b));
				return true;
			}
		}
	return false;
}

void ml_blocks_prefetch(const struct ml_blocks *b, uint64_t address)
{
	uint64_t h = hash(b, address);
	const struct ml_blocks_part *p = &b->part[part_of(h)];

	if (p->room)
		__builtin_prefetch(place_at(place_bytes(b), p, home(p, h)), 1);
}

void ml_blocks_free(struct ml_blocks *b)
{
	for (size_t i = 0; i < sizeof b->part / sizeof *b->part; i++)
		ml_memory_free_table(b->part[i].places, b->part[i].room, place_bytes(b));
	*b = (struct ml_blocks){.births = b->births};
}
