#include "report/mappings.h"

#include <stdlib.h>

#include "report/memory.h"

/* A treap: ordered by start, and no mapping has a higher priority than the one above it. */

/* What starts before the address, and what doesn't. */
static void split(struct ml_mapping *tree, uint64_t at, struct ml_mapping **low, struct ml_mapping **high)
{
	while (tree) {
		if (tree->start < at) {
			*low = tree;
			low = &tree->right;
			tree = tree->right;
		} else {
			*high = tree;
			high = &tree->left;
			tree = tree->left;
		}
	}
	*low = *high = NULL;
}

/* All of low starts before all of high. */
static struct ml_mapping *merge(struct ml_mapping *low, struct ml_mapping *high)
{
	struct ml_mapping *tree, **at = &tree;

	while (low && high) {
		if (low->priority > high->priority) {
			*at = low;
			at = &low->right;
			low = low->right;
		} else {
			*at = high;
			at = &high->left;
			high = high->left;
		}
	}
	*at = low ? low : high;
	return tree;
}

/* The tree as a list, by turning every left branch to the right. */
static struct ml_mapping *flatten(struct ml_mapping *tree)
{
	struct ml_mapping *list = NULL, **end = &list;

	while (tree) {
		struct ml_mapping *left = tree->left;
		if (left) {
			tree->left = left->right;
			left->right = tree;
			tree = left;
		} else {
			*end = tree;
			end = &tree->right;
			tree = tree->right;
		}
	}
	return list;
}

/* xorshift32: the same priorities in every run, and none that a trace could choose. */
static uint32_t next_priority(struct ml_mappings *m)
{
	uint32_t x = m->seed ? m->seed : 2463534242u;

	x ^= x << 13;
	x ^= x >> 17;
	x ^= x << 5;
	return m->seed = x;
}

struct ml_mapping *ml_mappings_find(const struct ml_mappings *m, uint64_t address)
{
	struct ml_mapping *found = NULL;

	for (struct ml_mapping *at = m->root; at; at = at->end > address ? at->left : at->right)
		if (at->end > address)
			found = at;
	return found;
}

static struct ml_mapping *insert(struct ml_mappings *m, const struct ml_mapping *mapping)
{
	struct ml_mapping *copy = ml_memory_get(1, sizeof *copy), *low, *high;

	*copy = *mapping;
	copy->left = copy->right = NULL;
	copy->priority = next_priority(m);
	split(m->root, copy->start, &low, &high);
	m->root = merge(merge(low, copy), high);
	return copy;
}

void ml_mappings_put(struct ml_mappings *m, const struct ml_mapping *mapping)
{
	insert(m, mapping);
}

struct ml_mapping *ml_mappings_cut(struct ml_mappings *m, uint64_t address)
{
	struct ml_mapping *first = ml_mappings_find(m, address), second;

	if (!first || first->start >= address)
		return NULL;
	second = *first;
	second.start = first->end = address;
	return insert(m, &second);
}

struct ml_mapping *ml_mappings_join(struct ml_mappings *m, uint64_t address)
{
	struct ml_mapping *first = address ? ml_mappings_find(m, address - 1) : NULL;
	struct ml_mapping *second = ml_mappings_find(m, address);

	if (!first || !second || first == second || first->end != address || second->start != address ||
	    first->born != second->born)
		return NULL;
	second = ml_mappings_take(m, address, second->end);
	first->end = second->end;
	free(second);
	return first;
}

/* The tree of what starts in the range, which is no longer in the set. */
static struct ml_mapping *extract(struct ml_mappings *m, uint64_t start, uint64_t end)
{
	struct ml_mapping *low, *rest, *middle, *high;

	split(m->root, start, &low, &rest);
	split(rest, end, &middle, &high);
	m->root = merge(low, high);
	return middle;
}

struct ml_mapping *ml_mappings_take(struct ml_mappings *m, uint64_t start, uint64_t end)
{
	return flatten(extract(m, start, end));
}

void ml_mappings_move(struct ml_mappings *m, uint64_t start, uint64_t end, struct ml_mappings *to)
{
	struct ml_mapping *low, *high, *moved = extract(m, start, end);

	split(to->root, start, &low, &high);
	to->root = merge(merge(low, moved), high);
}

void ml_mappings_free(struct ml_mappings *m)
{
	struct ml_mapping *list = flatten(m->root);

	while (list) {
		struct ml_mapping *next = list->right;
		free(list);
		list = next;
	}
	m->root = NULL;
}
