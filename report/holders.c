#include "report/holders.h"

#include <stdlib.h>
#include <string.h>

#include "report/memory.h"

static void add_held(struct ml_held *to, const struct ml_held *held)
{
	if (!held->blocks && !held->bytes)
		return;
	if (!to->blocks || to->first_ms > held->first_ms)
		to->first_ms = held->first_ms;
	if (to->last_ms < held->last_ms)
		to->last_ms = held->last_ms;
	to->bytes += held->bytes;
	to->blocks += held->blocks;
}

static bool is_importing(const struct ml_stacks *s, const struct ml_frame *frame)
{
	const struct ml_call *call = &s->calls[frame->first_call];

	return frame->kind == ML_NODE_PYTHON && call->file && ml_stack_imports(call->file);
}

/* One trace on its way into the holds. */
struct adding {
	struct ml_holds *holds;
	const uint32_t *stacks;
	uint32_t before_ms;  /* what was allocated before is start-up, */
	uint32_t outside_ms; /* and before this if it has no line in scope, */
	uint32_t inherited;  /* and with this node or one behind it */
};

static void take_live(void *context, const struct ml_live *live)
{
	const struct adding *a = context;
	struct ml_hold *hold = &a->holds->items[a->stacks[live->node]];
	const struct ml_held held = {live->bytes, 1, live->born_ms, live->born_ms};
	uint32_t startup_ms = hold->anchor < ML_OWNER_OUT_OF_SCOPE ? a->before_ms : a->outside_ms;
	bool startup = hold->import || live->born_ms < startup_ms || live->node >= a->inherited;

	add_held(&hold->held[startup ? ML_HOLD_STARTUP : ML_HOLD_RUN], &held);
}

/* A parent's number is smaller than its child's, of nodes and of stacks. */
static void add_stacks(struct ml_holds *h, const struct ml_stacks *s, const uint32_t *stacks,
		       const struct ml_site_nodes *nodes)
{
	uint32_t n, old = h->n;

	h->items = ml_memory_resize(h->items, s->n, sizeof(*h->items));
	memset(h->items + old, 0, (s->n - old) * sizeof(*h->items));
	h->n = s->n;
	for (n = old; n < h->n; n++)
		h->items[n].import =
			n && (h->items[s->items[n].parent].import || is_importing(s, &s->frames[s->items[n].frame]));
	for (n = 0; n < nodes->n; n++)
		if (stacks[n] && stacks[n] >= old) {
			h->items[stacks[n]].line = nodes->line[n];
			h->items[stacks[n]].anchor = nodes->anchor[n];
		}
}

/* A moment before which nothing of the program itself happened: when the first line in scope ran that no import had
   called or, if there is none, the first line in scope. */
static uint32_t find_startup(const struct ml_holds *h, const uint32_t *stacks, const struct ml_site_nodes *nodes,
			     const struct ml_fold *fold)
{
	uint64_t first_ns[2] = {UINT64_MAX, UINT64_MAX}; /* by whether it is imported */
	uint32_t n;
	bool import;

	for (n = 0; n < nodes->n; n++) {
		const struct ml_tally *tally = &fold->nodes[n];
		if (!stacks[n] || !nodes->in_scope[n] || !tally->last_sequence)
			continue;
		import = h->items[stacks[n]].import;
		if (first_ns[import] > tally->first_ns)
			first_ns[import] = tally->first_ns;
	}
	if (first_ns[false] == UINT64_MAX)
		first_ns[false] = first_ns[true];
	return first_ns[false] == UINT64_MAX ? 0 : ml_fold_milliseconds(first_ns[false]) + 1;
}

void ml_holds_add(struct ml_holds *h, const struct ml_stacks *s, const uint32_t *stacks,
		  const struct ml_site_nodes *nodes, const struct ml_fold *fold, enum ml_hold_moment moment,
		  uint64_t from_ns)
{
	struct adding a = {h, stacks, ml_fold_milliseconds(from_ns), 0, nodes->trace->own_nodes_n};
	uint32_t n;

	add_stacks(h, s, stacks, nodes);
	a.outside_ms = from_ns ? a.before_ms : find_startup(h, stacks, nodes, fold);
	if (moment == ML_HOLD_END) {
		ml_fold_each_live(fold, take_live, &a);
		return;
	}
	for (n = 0; n < nodes->n; n++) {
		const struct ml_held held = {fold->nodes[n].peak_bytes, fold->nodes[n].peak_blocks, 0, 0};
		add_held(&h->items[stacks[n]].held[ML_HOLD_RUN], &held);
	}
}

void ml_holds_free(struct ml_holds *h)
{
	free(h->items);
	*h = (struct ml_holds){0};
}

/* Grouping. What reads alike is one: frames by their texts, lines in scope by their numbers. */

struct grouping {
	const struct ml_holds *holds;
	const struct ml_stacks *stacks;
	enum ml_holders_by by;
	const bool *left_out;
	struct ml_texts texts;
	uint32_t *frames; /* by frame: number of its text */
	struct ml_pairs tree;
	uint32_t *same; /* by stack: of all that read alike, the same number from 1 on; 0: the empty one */
	struct ml_pairs keys;
	struct ml_pairs holders; /* of key and phase */
	struct ml_pairs told;    /* of holder and same */
	struct ml_holders *found;
};

static void number_frames(struct grouping *g, const struct ml_objects *objects)
{
	const struct ml_stacks *s = g->stacks;
	uint32_t i;

	g->frames = ml_memory_get(s->frames_n, sizeof(*g->frames));
	for (i = 0; i < s->frames_n; i++) {
		char *text = ml_stacks_text(s, objects, &s->frames[i], 0);
		g->frames[i] = ml_texts_number(&g->texts, text);
		free(text);
	}
	g->same = ml_memory_get(s->n, sizeof(*g->same));
	for (i = 1; i < s->n; i++)
		g->same[i] = 1 + ml_pairs_number(&g->tree, g->same[s->items[i].parent], g->frames[s->items[i].frame]);
}

/* The part of the stack that ends with the frame that its line is. */
static uint32_t line_of(const struct grouping *g, uint32_t stack)
{
	const struct ml_hold *holds = g->holds->items;
	const struct ml_stack *items = g->stacks->items;
	uint32_t at = stack;

	if (holds[stack].anchor < ML_OWNER_OUT_OF_SCOPE)
		while (at && holds[at].line != holds[stack].anchor)
			at = items[at].parent;
	else if (holds[stack].anchor == ML_OWNER_OUT_OF_SCOPE)
		while (at && g->stacks->frames[items[at].frame].kind != ML_NODE_PYTHON)
			at = items[at].parent;
	return at ? at : stack;
}

static uint32_t key_of(struct grouping *g, uint32_t stack, uint32_t line)
{
	enum { STACK, LINE, FRAME };

	if (g->by == ML_HOLDERS_STACK)
		return ml_pairs_number(&g->keys, STACK, g->same[stack]);
	if (g->holds->items[stack].anchor < ML_OWNER_OUT_OF_SCOPE)
		return ml_pairs_number(&g->keys, LINE, g->holds->items[stack].anchor);
	return ml_pairs_number(&g->keys, FRAME, g->frames[g->stacks->items[line].frame]);
}

static void add_to_holder(struct grouping *g, uint32_t stack, enum ml_hold_phase phase)
{
	const struct ml_held *held = &g->holds->items[stack].held[phase];
	struct ml_holders *found = g->found;
	uint32_t line, number, told = g->told.n;
	struct ml_holder *holder;

	found->of[phase][stack] = ML_NO_LINE;
	if (!held->blocks && !held->bytes && !(g->holds->items[stack].wanted && phase == ML_HOLD_RUN))
		return;
	if (g->left_out && g->left_out[stack])
		return;
	line = line_of(g, stack);
	number = ml_pairs_number(&g->holders, key_of(g, stack, line), phase);
	if (number == found->n) {
		const struct ml_frame *frame = &g->stacks->frames[g->stacks->items[line].frame];
		found->items = ml_memory_grow(found->items, found->n++, sizeof(*found->items));
		found->items[number] = (struct ml_holder){.call = &g->stacks->calls[frame->first_call], .phase = phase};
	}
	found->of[phase][stack] = number;
	holder = &found->items[number];
	add_held(&holder->held, held);
	holder->stacks_n += ml_pairs_number(&g->told, number, g->same[stack]) == told;
	if (!holder->stack || holder->largest < held->bytes) {
		holder->stack = stack;
		holder->largest = held->bytes;
	}
}

/* Lines in scope are called as in the table. */
static void name_holders(const struct grouping *g, const struct ml_sites *sites)
{
	struct ml_holders *found = g->found;
	const struct ml_stacks *s = g->stacks;
	struct ml_site_line *lines = ml_sites_lines(sites);
	size_t i;

	for (i = 0; i < found->n; i++) {
		struct ml_holder *holder = &found->items[i];
		uint32_t anchor = g->holds->items[holder->stack].anchor;
		const struct ml_frame *frame = &s->frames[s->items[line_of(g, holder->stack)].frame];
		if (anchor < ML_OWNER_OUT_OF_SCOPE) {
			holder->function = lines[anchor].function;
			holder->line = lines[anchor].line;
		}
		if (frame->kind == ML_NODE_NATIVE)
			holder->module = sites->natives.objects.objects[frame->object].name;
	}
	free(lines);
}

static int compare_holders(const void *left, const void *right)
{
	const struct ml_holder *a = *(const struct ml_holder *const *)left,
			       *b = *(const struct ml_holder *const *)right;

	if (a->held.bytes != b->held.bytes)
		return a->held.bytes > b->held.bytes ? -1 : 1;
	if (a->held.blocks != b->held.blocks)
		return a->held.blocks > b->held.blocks ? -1 : 1;
	return (a > b) - (a < b);
}

/* Puts them into order, and their numbers with them. */
static void sort_holders(struct ml_holders *found, uint32_t stacks_n)
{
	const struct ml_holder **order = ml_memory_get(found->n, sizeof(*order));
	struct ml_holder *sorted = ml_memory_get(found->n, sizeof(*sorted));
	uint32_t *number = ml_memory_get(found->n, sizeof(*number)), i;
	int phase;

	for (i = 0; i < found->n; i++)
		order[i] = &found->items[i];
	qsort(order, found->n, sizeof(*order), compare_holders);
	for (i = 0; i < found->n; i++) {
		sorted[i] = *order[i];
		number[order[i] - found->items] = i;
	}
	for (phase = 0; phase < ML_HOLD_PHASES; phase++)
		for (i = 0; i < stacks_n; i++)
			if (found->of[phase][i] != ML_NO_LINE)
				found->of[phase][i] = number[found->of[phase][i]];
	free(found->items);
	free(order);
	free(number);
	found->items = sorted;
}

void ml_holders_find(struct ml_holders *found, const struct ml_holds *h, const struct ml_stacks *s,
		     const struct ml_sites *sites, enum ml_holders_by by, const bool *left_out)
{
	struct grouping g = {.holds = h, .stacks = s, .by = by, .left_out = left_out, .found = found};
	uint32_t i;
	int phase;

	*found = (struct ml_holders){0};
	number_frames(&g, &sites->natives.objects);
	for (phase = 0; phase < ML_HOLD_PHASES; phase++) {
		found->of[phase] = ml_memory_get(h->n, sizeof(**found->of));
		for (i = 0; i < h->n; i++)
			add_to_holder(&g, i, (enum ml_hold_phase)phase);
	}
	name_holders(&g, sites);
	sort_holders(found, h->n);
	ml_texts_free(&g.texts);
	ml_pairs_free(&g.tree);
	ml_pairs_free(&g.keys);
	ml_pairs_free(&g.holders);
	ml_pairs_free(&g.told);
	free(g.frames);
	free(g.same);
}

void ml_holders_free(struct ml_holders *found)
{
	int phase;

	for (phase = 0; phase < ML_HOLD_PHASES; phase++)
		free(found->of[phase]);
	free(found->items);
	*found = (struct ml_holders){0};
}
