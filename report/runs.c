#include "report/runs.h"

#include <stdlib.h>

#include "report/memory.h"

/* The counts whose position is in one ring, by position. */
struct ml_runs_ring {
	const uint32_t *next; /* the first whose position hasn't been passed, in ml_runs.order */
	const uint32_t *end;
	struct ml_run last; /* behind the ring's last event */
};

struct position {
	uint32_t ring; /* as the trace's moments have it */
	uint64_t state;
	uint32_t count;
};

static int by_position(const void *left, const void *right)
{
	const struct position *a = left, *b = right;

	if (a->ring != b->ring)
		return a->ring < b->ring ? -1 : 1;
	if (a->state != b->state)
		return a->state < b->state ? -1 : 1;
	return (a->count > b->count) - (a->count < b->count);
}

/* The counts whose positions have not been passed, in the order of these. Those of a ring without events have none. */
static struct position *find_positions(const struct ml_runs *r, const struct ml_trace *t, size_t *n)
{
	struct position *positions = ml_memory_get(t->counts_n, sizeof(*positions));

	*n = 0;
	for (size_t i = 0; i < t->counts_n; i++) {
		uint32_t ring = ml_load_ring(t, t->counts[i].ring);
		if (ring != UINT32_MAX && !r->runs[i].passed)
			positions[(*n)++] = (struct position){ring, t->counts[i].state, (uint32_t)i};
	}
	if (*n)
		qsort(positions, *n, sizeof(*positions), by_position);
	return positions;
}

/* Hands the counts out to the rings that their positions are in. */
static void distribute(struct ml_runs *r, const struct ml_trace *t)
{
	size_t n;
	struct position *positions = find_positions(r, t, &n);

	r->order = ml_memory_resize(r->order, n, sizeof(*r->order));
	for (uint32_t i = 0; i < r->rings_n; i++)
		r->rings[i].next = r->rings[i].end = NULL;
	for (size_t i = 0; i < n; i++) {
		struct ml_runs_ring *ring = &r->rings[positions[i].ring];
		r->order[i] = positions[i].count;
		if (!ring->next)
			ring->next = &r->order[i];
		ring->end = &r->order[i + 1];
	}
	free(positions);
}

/* No event has been there yet, and that is known. */
static void add_rings(struct ml_runs *r, uint32_t n)
{
	r->rings = ml_memory_more(r->rings, r->rings_n, n, sizeof(*r->rings));
	for (; r->rings_n < n; r->rings_n++)
		r->rings[r->rings_n].last.passed = true;
}

void ml_runs_begin(struct ml_runs *r, const struct ml_trace *t)
{
	*r = (struct ml_runs){.n = t->counts_n};
	if (!r->n)
		return;
	r->runs = ml_memory_get(r->n, sizeof(*r->runs));
	add_rings(r, t->rings_n);
	distribute(r, t);
}

/* Keeps what was found out of a count at its position. */
struct ml_runs_seen {
	uint32_t ring;
	uint64_t state;
	struct ml_run run;
};

static void recall(struct ml_runs *r, const struct ml_count *c, size_t i)
{
	uint32_t known = r->lines.n, number = ml_pairs_number(&r->lines, c->code, c->line);
	struct ml_runs_seen *seen;

	if (number == known) {
		r->seen = ml_memory_grow(r->seen, known, sizeof(*r->seen));
		r->seen[number] = (struct ml_runs_seen){.ring = ML_COUNT_NO_RING};
	}
	seen = &r->seen[number];
	if (seen->ring != c->ring || seen->state != c->state)
		*seen = (struct ml_runs_seen){.ring = c->ring, .state = c->state};
	r->numbers[i] = number;
	r->runs[i] = seen->run;
}

void ml_runs_follow(struct ml_runs *r, const struct ml_trace *t)
{
	for (size_t i = 0; r->follows && i < r->n; i++)
		r->seen[r->numbers[i]].run = r->runs[i];
	r->follows = true;
	r->n = t->counts_n;
	r->runs = ml_memory_resize(r->runs, r->n, sizeof(*r->runs));
	r->numbers = ml_memory_resize(r->numbers, r->n, sizeof(*r->numbers));
	for (size_t i = 0; i < r->n; i++)
		recall(r, &t->counts[i], i);
	add_rings(r, t->rings_n);
	distribute(r, t);
}

void ml_runs_before(struct ml_runs *r, const struct ml_trace *t, const struct ml_moment *m)
{
	struct ml_runs_ring *ring;

	if (!r->rings_n)
		return;
	ring = &r->rings[m->ring];
	while (ring->next != ring->end && t->counts[*ring->next].state <= m->place)
		r->runs[*ring->next++] = ring->last;
}

void ml_runs_behind(struct ml_runs *r, const struct ml_moment *m, uint64_t sequence, uint64_t live_bytes)
{
	if (r->rings_n)
		r->rings[m->ring].last = (struct ml_run){sequence, live_bytes, true};
}

void ml_runs_settle(struct ml_runs *r)
{
	for (uint32_t i = 0; i < r->rings_n; i++)
		for (const uint32_t *next = r->rings[i].next; next != r->rings[i].end; next++) {
			r->runs[*next] = r->rings[i].last;
			r->runs[*next].passed = false;
		}
}

void ml_runs_free(struct ml_runs *r)
{
	free(r->runs);
	free(r->rings);
	free(r->order);
	free(r->numbers);
	free(r->seen);
	ml_pairs_free(&r->lines);
	*r = (struct ml_runs){.n = 0};
}
