#include "report/blocks.h"

#include <sys/random.h>

#include "report/memory.h"

#define ROOM_MIN 16u

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
static struct ml_block *find(const struct ml_blocks_part *p, uint64_t address, uint64_t h)
{
	size_t at = home(p, h);

	while (p->places[at].there && p->places[at].address != address)
		at = after(p, at);
	return &p->places[at];
}

/* By half, so that a part is never less than half full. */
static void grow(const struct ml_blocks *b, struct ml_blocks_part *p)
{
	struct ml_block *old = p->places;
	size_t room = p->room;

	p->room = room ? room + room / 2 : ROOM_MIN;
	p->places = ml_memory_get_table(p->room, sizeof *p->places);
	for (size_t i = 0; i < room; i++)
		if (old[i].there)
			*find(p, old[i].address, hash(b, old[i].address)) = old[i];
	ml_memory_free_table(old, room, sizeof *old);
}

bool ml_blocks_put(struct ml_blocks *b, const struct ml_block *block, struct ml_block *old)
{
	struct ml_blocks_part *p;
	struct ml_block *place;
	uint64_t h;
	bool replaced;

	while (!b->secret) /* the first block */
		if (getrandom(&b->secret, sizeof b->secret, 0) < 0)
			b->secret = 1;
	h = hash(b, block->address);
	p = &b->part[part_of(h)];
	if (p->n + 1 > p->room / 5 * 4)
		grow(b, p);
	place = find(p, block->address, h);
	replaced = place->there;
	if (replaced)
		*old = *place;
	else
		p->n++;
	*place = *block;
	place->there = true;
	return replaced;
}

/* Moves blocks that were pushed behind the hole towards their homes, so that searches may stop at the first hole. */
static void close_hole(const struct ml_blocks *b, struct ml_blocks_part *p, size_t hole)
{
	for (size_t at = after(p, hole); p->places[at].there; at = after(p, at)) {
		size_t from_home = at - home(p, hash(b, p->places[at].address));
		size_t from_hole = at - hole;
		if (from_home > SIZE_MAX / 2)
			from_home += p->room;
		if (from_hole > SIZE_MAX / 2)
			from_hole += p->room;
		if (from_home < from_hole)
			continue;
		p->places[hole] = p->places[at];
		hole = at;
	}
	p->places[hole].there = false;
}

bool ml_blocks_take(struct ml_blocks *b, uint64_t address, struct ml_block *block)
{
	uint64_t h = hash(b, address);
	struct ml_blocks_part *p = &b->part[part_of(h)];
	struct ml_block *place;

	if (!p->n)
		return false;
	place = find(p, address, h);
	if (!place->there)
		return false;
	*block = *place;
	close_hole(b, p, (size_t)(place - p->places));
	p->n--;
	return true;
}

void ml_blocks_prefetch(const struct ml_blocks *b, uint64_t address)
{
	uint64_t h = hash(b, address);
	const struct ml_blocks_part *p = &b->part[part_of(h)];

	if (p->room)
		__builtin_prefetch(&p->places[home(p, h)], 1);
}

void ml_blocks_free(struct ml_blocks *b)
{
	for (size_t i = 0; i < sizeof b->part / sizeof *b->part; i++)
		ml_memory_free_table(b->part[i].places, b->part[i].room, sizeof *b->part[i].places);
	*b = (struct ml_blocks){0};
}
