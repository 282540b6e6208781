#include "report/intern.h"

#include <stdlib.h>
#include <string.h>

#include "report/memory.h"

#define FIRST_SLOTS 256u

static size_t slot_of(uint64_t hash, size_t slots)
{
	hash *= 0x9e3779b97f4a7c15u;
	return (size_t)(hash ^ hash >> 32) & (slots - 1);
}

/* Slots hold a number + 1, or 0. Half of them stay free, so that one is always found. */

static void put(uint32_t *slots, size_t slots_n, uint64_t hash, uint32_t number)
{
	size_t slot = slot_of(hash, slots_n);

	while (slots[slot])
		slot = (slot + 1) & (slots_n - 1);
	slots[slot] = number + 1;
}

static size_t more_slots(uint32_t n, size_t slots_n)
{
	return (size_t)n * 2 < slots_n ? slots_n : slots_n ? slots_n * 2 : FIRST_SLOTS;
}

static void grow_pairs(struct ml_pairs *p)
{
	size_t slots_n = more_slots(p->n, p->slots_n);
	uint32_t i;

	if (slots_n == p->slots_n)
		return;
	free(p->slots);
	p->slots = ml_memory_get(slots_n, sizeof(*p->slots));
	p->slots_n = slots_n;
	for (i = 0; i < p->n; i++)
		put(p->slots, slots_n, p->keys[i], i);
}

uint32_t ml_pairs_number(struct ml_pairs *p, uint32_t a, uint32_t b)
{
	uint64_t key = (uint64_t)a << 32 | b;
	size_t slot;

	grow_pairs(p);
	for (slot = slot_of(key, p->slots_n); p->slots[slot]; slot = (slot + 1) & (p->slots_n - 1))
		if (p->keys[p->slots[slot] - 1] == key)
			return p->slots[slot] - 1;
	p->keys = ml_memory_grow(p->keys, p->n, sizeof(*p->keys));
	p->keys[p->n] = key;
	p->slots[slot] = p->n + 1;
	return p->n++;
}

void ml_pairs_free(struct ml_pairs *p)
{
	free(p->keys);
	free(p->slots);
	*p = (struct ml_pairs){0};
}

/* FNV-1a. */
static uint64_t hash_text(const char *text)
{
	uint64_t hash = 0xcbf29ce484222325u;

	for (; *text; text++)
		hash = (hash ^ (unsigned char)*text) * 0x100000001b3u;
	return hash;
}

static void grow_texts(struct ml_texts *t)
{
	size_t slots_n = more_slots(t->n, t->slots_n);
	uint32_t i;

	if (slots_n == t->slots_n)
		return;
	free(t->slots);
	t->slots = ml_memory_get(slots_n, sizeof(*t->slots));
	t->slots_n = slots_n;
	for (i = 0; i < t->n; i++)
		put(t->slots, slots_n, hash_text(t->items[i]), i);
}

uint32_t ml_texts_number(struct ml_texts *t, const char *text)
{
	size_t slot;

	grow_texts(t);
	for (slot = slot_of(hash_text(text), t->slots_n); t->slots[slot]; slot = (slot + 1) & (t->slots_n - 1))
		if (!strcmp(t->items[t->slots[slot] - 1], text))
			return t->slots[slot] - 1;
	t->items = ml_memory_grow(t->items, t->n, sizeof(*t->items));
	t->items[t->n] = ml_memory_text(text, strlen(text));
	t->slots[slot] = t->n + 1;
	return t->n++;
}

void ml_texts_free(struct ml_texts *t)
{
	uint32_t i;

	for (i = 0; i < t->n; i++)
		free(t->items[i]);
	free(t->items);
	free(t->slots);
	*t = (struct ml_texts){0};
}
