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

/* The counts in the order of their positions. Those of a ring without events have none. */
static struct position *find_positions(const struct ml_trace *t, size_t *n)
{
	struct position *positions = ml_memory_get(t->counts_n, sizeof(*positions));

	*n = 0;
	for (size_t i = 0; i < t->counts_n; i++) {
		uint32_t ring = ml_load_ring(t, t->counts[i].ring);
		if (ring != UINT32_MAX)
			positions[(*n)++] = (struct position){ring, t->counts[i].state, (uint32_t)i};
	}
	if (*n)
		qsort(positions, *n, sizeof(*positions), by_position);
	return positions;
}

void ml_runs_begin(struct ml_runs *r, const struct ml_trace *t)
{
	struct position *positions;
	size_t n;

	*r = (struct ml_runs){.n = t->counts_n, .rings_n = t->rings_n};
	if (!r->n)
		return;
	positions = find_positions(t, &n);
	r->runs = ml_memory_get(r->n, sizeof(*r->runs));
	r->rings = ml_memory_get(r->rings_n, sizeof(*r->rings));
	r->order = ml_memory_get(n, sizeof(*r->order));
	for (size_t i = 0; i < n; i++) {
		struct ml_runs_ring *ring = &r->rings[positions[i].ring];
		r->order[i] = positions[i].count;
		if (!ring->next)
			ring->next = &r->order[i];
		ring->end = &r->order[i + 1];
	}
	free(positions);
}

void ml_runs_before(struct ml_runs *r, const struct ml_trace *t, const struct ml_moment *m)
{
	struct ml_runs_ring *ring;

	if (!r->n)
		return;
	ring = &r->rings[m->ring];
	while (ring->next != ring->end && t->counts[*ring->next].state <= m->place)
		r->runs[*ring->next++] = ring->last;
}

void ml_runs_behind(struct ml_runs *r, const struct ml_moment *m, uint64_t sequence, uint64_t live_bytes)
{
	if (r->n)
		r->rings[m->ring].last = (struct ml_run){sequence, live_bytes};
}

void ml_runs_end(struct ml_runs *r)
{
	for (uint32_t i = 0; r->n && i < r->rings_n; i++)
		while (r->rings[i].next != r->rings[i].end)
			r->runs[*r->rings[i].next++] = r->rings[i].last;
}

void ml_runs_free(struct ml_runs *r)
{
	free(r->runs);
	free(r->rings);
	free(r->order);
	*r = (struct ml_runs){.n = 0};
}
