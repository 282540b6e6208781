#include "report/timeline.h"

#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "report/memory.h"
#include "report/stack.h"

/* ns; the clock of a trace says nothing about shorter times. */
#define FIRST_PERIOD 1000000u

/* Room for points: as many as there may be, and the end. */
static size_t room(const struct ml_timeline *t)
{
	return 2 * t->least + 1;
}

/* Owners. */

static bool *find_imports(const struct ml_site_nodes *nodes)
{
	bool *import = ml_memory_get(nodes->n, sizeof(*import));
	uint32_t n;

	for (n = 1; n < nodes->n; n++) {
		const struct ml_node *node = &nodes->trace->nodes[n];
		const struct ml_code *code = ml_load_node_code(nodes->trace, node);
		import[n] = import[node->parent] || (code && ml_stack_imports(code->file));
	}
	return import;
}

/* A stack without a line in scope belongs to its innermost frame of Python or, without one, to its innermost frame. */
static void find_owners(struct ml_timeline *t, const struct ml_site_nodes *nodes)
{
	enum { LINE, SUBJECT, PLACE };
	bool *import = find_imports(nodes);
	struct ml_pairs places = {0}, owners = {0};
	uint32_t n;

	t->owner = ml_memory_get(nodes->n, sizeof(*t->owner));
	t->owner[0] = ml_pairs_number(&owners, PLACE, UINT32_MAX);
	for (n = 1; n < nodes->n; n++) {
		const struct ml_node *node = &nodes->trace->nodes[n];
		if (import[n])
			t->owner[n] = ML_NO_LINE;
		else if (nodes->in_scope[n])
			t->owner[n] = ml_pairs_number(&owners, LINE, nodes->anchor[n]);
		else if (ML_SUBJECT_KIND(node->subject) != ML_NODE_PYTHON && nodes->anchor[n] == ML_OWNER_OUT_OF_SCOPE)
			t->owner[n] = t->owner[node->parent];
		else
			t->owner[n] = ml_pairs_number(&owners, PLACE,
						      ml_pairs_number(&places, node->subject, (uint32_t)node->place));
	}
	t->owners_n = owners.n;
	t->rows = ml_memory_get(t->owners_n, sizeof(*t->rows));
	ml_pairs_free(&places);
	ml_pairs_free(&owners);
	free(import);
}

/* Points. */

static void add_rows(struct ml_timeline *t, const struct ml_fold *f)
{
	uint32_t n;

	for (n = 0; t->owner && n < f->nodes_used; n++) {
		uint32_t owner = t->owner[n];
		if (!f->nodes[n].live_bytes || owner == ML_NO_LINE)
			continue;
		if (!t->rows[owner])
			t->rows[owner] = ml_memory_get(room(t), sizeof(**t->rows));
		t->rows[owner][t->n] += f->nodes[n].live_bytes;
	}
}

static void add_point(struct ml_timeline *t, const struct ml_fold *f, uint64_t place, uint64_t ns)
{
	add_rows(t, f);
	t->points[t->n++] =
		(struct ml_point){place, ns, f->totals.live_bytes, f->totals.rss_bytes, f->totals.allocator_bytes};
}

static void move_point(struct ml_timeline *t, size_t from, size_t to)
{
	uint32_t owner;

	t->points[to] = t->points[from];
	for (owner = 0; owner < t->owners_n; owner++)
		if (t->rows[owner]) {
			uint64_t bytes = t->rows[owner][from];
			t->rows[owner][from] = 0;
			t->rows[owner][to] = bytes;
		}
}

/* Doubles the period. Of the points that then are in one the last stays, and stands for its end. */
static void thin_out(struct ml_timeline *t)
{
	size_t from, to = 0;

	t->period *= 2;
	for (from = 0; from < t->n; from++) {
		uint64_t end = (t->points[from].place + t->period - 1) / t->period * t->period;
		if (to && t->points[to - 1].place == end)
			to--;
		move_point(t, from, to);
		t->points[to++].place = end;
	}
	t->n = to;
}

/* A point, if the period has ended that the place is in or behind. Returns where that was. */
static uint64_t take_point(struct ml_timeline *t, const struct ml_fold *f, uint64_t place, uint64_t ns)
{
	while (t->n >= 2 * t->least)
		thin_out(t);
	place = place / t->period * t->period;
	if (!t->n || place > t->points[t->n - 1].place)
		add_point(t, f, place, ns);
	return place;
}

static void strike(struct ml_fold_clock *clock, const struct ml_fold *f, uint64_t ns)
{
	struct ml_timeline *t = (struct ml_timeline *)clock;

	clock->next_ns = take_point(t, f, ns, ns) + t->period;
}

/* Behind the event with which an invocation has ended. */
static void strike_invocation(struct ml_fold_clock *clock, const struct ml_fold *f, uint64_t ns)
{
	struct ml_timeline *t = (struct ml_timeline *)clock;

	take_point(t, f, t->ended, ns);
	clock->next_ns = UINT64_MAX;
}

static void invocation_ended(struct ml_activations_watch *watch, const struct ml_activation *activation)
{
	struct ml_timeline *t = (struct ml_timeline *)((char *)watch - offsetof(struct ml_timeline, watch));

	if (activation->begin_ns < t->from_ns)
		return;
	if (++t->ended % t->period == 0)
		t->clock.next_ns = 0;
}

void ml_timeline_begin(struct ml_timeline *t, size_t least, uint64_t from_ns, bool by_invocation,
		       const struct ml_site_nodes *nodes)
{
	*t = (struct ml_timeline){.least = least, .from_ns = from_ns, .by_invocation = by_invocation};
	t->points = ml_memory_get(room(t), sizeof(*t->points));
	if (by_invocation) {
		t->clock = (struct ml_fold_clock){UINT64_MAX, strike_invocation};
		t->watch.ended = invocation_ended;
		t->period = 1;
	} else {
		t->period = FIRST_PERIOD;
		t->clock = (struct ml_fold_clock){(from_ns / t->period + 1) * t->period, strike};
	}
	if (nodes)
		find_owners(t, nodes);
}

/* By invocation the end is none: what is torn down then says nothing of them. */
void ml_timeline_end(struct ml_timeline *t, const struct ml_fold *fold)
{
	uint32_t owner;

	if (t->by_invocation)
		return;
	if (t->n && t->points[t->n - 1].place >= fold->totals.end_ns) {
		t->n--;
		for (owner = 0; owner < t->owners_n; owner++)
			if (t->rows[owner])
				t->rows[owner][t->n] = 0;
	}
	add_point(t, fold, fold->totals.end_ns, fold->totals.end_ns);
}

void ml_timeline_link(struct ml_timeline *t, const struct ml_fold *fold, const uint32_t *stacks, struct ml_holds *holds)
{
	uint64_t *most = ml_memory_get(t->owners_n, sizeof(*most));
	uint32_t n, owner;

	t->stack = ml_memory_get(t->owners_n, sizeof(*t->stack));
	for (n = 0; n < fold->nodes_n; n++) {
		owner = t->owner[n];
		if (owner == ML_NO_LINE || !t->rows[owner] || !stacks[n])
			continue;
		if (!t->stack[owner] || most[owner] < fold->nodes[n].allocated_bytes) {
			t->stack[owner] = stacks[n];
			most[owner] = fold->nodes[n].allocated_bytes;
		}
	}
	for (owner = 0; owner < t->owners_n; owner++)
		if (t->stack[owner])
			holds->items[t->stack[owner]].wanted = true;
	free(most);
}

void ml_timeline_free(struct ml_timeline *t)
{
	uint32_t owner;

	for (owner = 0; owner < t->owners_n; owner++)
		free(t->rows[owner]);
	free(t->rows);
	free(t->owner);
	free(t->stack);
	free(t->points);
	*t = (struct ml_timeline){0};
}
