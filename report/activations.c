#include "report/activations.h"

#include <stdlib.h>
#include <string.h>

#include "report/blocks.h"
#include "report/intern.h"
#include "report/memory.h"
#include "report/site.h"

/* The object of a coroutine lies in its block behind the header of the cyclic collector (two words), before which the
   debug allocator may have put its own (two words). */
#define HEADER_BYTES 16u
#define HEADERS 2u

/* Where the entry frame of a stack is as seen from the outermost generator's. */
enum where { NO_GENERATOR, AT, INSIDE, OUTSIDE };

/* What matters of a node. */
struct place {
	uint32_t entry; /* 0, or a number for the caller and the code of the entry frame: one for all its positions */
	uint32_t function; /* then: its function's */
	bool generator;    /* a frame of a generator of the user's is on the stack */
	enum where where;  /* with a generator and an entry */
	bool by_user;      /* the innermost frame of Python is in scope */
};

/* Events that belong together as long as they have one entry. */
struct run {
	uint32_t entry;
	uint32_t activation; /* 0: it isn't counted */
};

/* A coroutine or generator that is alive. */
struct life {
	struct run own; /* of itself, if it is an entry; */
	struct run run; /* of what runs inside it */
};

struct thread {
	uint32_t tid;
	uint64_t object;   /* the generator that was named last; 0: none */
	struct life *life; /* of it; NULL: not asked for since then, or it has ended */
	struct run run;
	uint32_t last;   /* the activation of the last event, */
	uint64_t serial; /* unless it has another serial number now */
};

/* Frees that may be a generator's are told by a table of counts. */
#define HINTS 4096u

struct ml_activations_state {
	struct place *places;   /* by node */
	struct thread *threads; /* by ring */
	uint32_t threads_n;
	struct ml_blocks objects; /* by object, bytes being the address of its struct life */
	uint32_t hints[HINTS];    /* how many of them there are, by hint_of() */
	uint64_t *serials;        /* by activation: each that begins gets a new one */
	uint64_t serial;
	uint32_t *unused; /* activations that are free */
	uint32_t unused_n;
};

/* Nodes. */

struct placing {
	struct ml_activations *activations;
	const struct ml_trace *trace;
	const uint32_t *lines; /* by node */
	bool *users;           /* by place in trace->codes: in the recorded scope, */
	bool *entries;         /* an entry function, if it is in scope; NULL: that is told by the caller; */
	uint32_t *functions;   /* and its number plus 1 */
	struct ml_pairs pairs;
};

static bool *find_users(const struct ml_trace *t, const struct ml_scope *scope)
{
	bool *users = ml_memory_get(t->codes_n, sizeof(*users));
	const char *last = NULL;
	size_t i;

	for (i = 0; i < t->codes_n; i++) {
		const char *file = t->codes[i].file;
		char *path;
		if (last && !strcmp(file, last)) {
			users[i] = users[i - 1];
			continue;
		}
		path = ml_site_file(ml_load_meta(t, "cwd"), file);
		users[i] = ml_scope_has(scope, path);
		free(path);
		last = file;
	}
	return users;
}

static bool is_function(const struct ml_code *code)
{
	return code->flags & ML_CO_FUNCTION;
}

static bool is_generator(const struct ml_code *code)
{
	return code->flags & ML_CO_GENERATOR;
}

static uint32_t function_of(struct placing *p, const struct ml_code *code)
{
	struct ml_activations *a = p->activations;
	uint32_t *number = &p->functions[code - p->trace->codes];

	if (!*number) {
		a->functions = ml_memory_grow(a->functions, a->functions_n, sizeof(*a->functions));
		a->functions[a->functions_n++] = (struct ml_entry_function){.code = code};
		*number = a->functions_n;
	}
	return *number - 1;
}

static bool is_entry(const struct placing *p, uint32_t n, const struct ml_code *code, const struct place *caller)
{
	if (p->lines[n] == ML_NO_LINE || !is_function(code))
		return false;
	return p->entries ? p->entries[code - p->trace->codes] : !caller->by_user;
}

static void place_frame(struct placing *p, uint32_t n, const struct ml_code *code)
{
	const struct ml_node *node = &p->trace->nodes[n];
	struct place *at = &p->activations->state->places[n];
	const struct place caller = *at;
	const bool begun = !(is_generator(code) && (int64_t)node->place < 0);

	at->by_user = p->lines[n] != ML_NO_LINE;
	if (!begun)
		return;
	if (!caller.entry && is_entry(p, n, code, &caller)) {
		at->entry = 1 + ml_pairs_number(&p->pairs, node->parent, (uint32_t)(code - p->trace->codes));
		at->function = function_of(p, code);
		at->where = caller.generator ? INSIDE : NO_GENERATOR;
	}
	if (!caller.generator && is_generator(code) && is_function(code) && p->users[code - p->trace->codes]) {
		at->generator = true;
		if (at->entry)
			at->where = caller.entry ? OUTSIDE : AT;
	}
}

static void place_nodes(struct placing *p)
{
	const struct ml_trace *t = p->trace;
	struct place *places = p->activations->state->places;
	uint32_t n;

	for (n = 1; n < t->nodes_n; n++) {
		const struct ml_code *code = ml_load_node_code(t, &t->nodes[n]);

		places[n] = places[t->nodes[n].parent];
		if (ML_SUBJECT_KIND(t->nodes[n].subject) == ML_NODE_MARK)
			places[n].by_user = true; /* who the next frame was called by is not known */
		if (code)
			place_frame(p, n, code);
	}
}

static bool *find_entries(const struct ml_trace *t, const struct ml_activations_entries *entries)
{
	bool *found = entries ? ml_memory_get(t->codes_n, sizeof(*found)) : NULL;
	size_t i;

	for (i = 0; found && i < t->codes_n; i++)
		found[i] = entries->is_one(entries, t->codes[i].name);
	return found;
}

struct ml_activations *ml_activations_new(const struct ml_site_nodes *nodes, const struct ml_scope *recorded,
					  const struct ml_activations_entries *entries)
{
	const struct ml_trace *t = nodes->trace;
	struct ml_activations *a = ml_memory_get(1, sizeof(*a));
	struct placing p = {.activations = a, .trace = t, .lines = nodes->line};

	a->state = ml_memory_get(1, sizeof(*a->state));
	a->state->places = ml_memory_get(t->nodes_n, sizeof(*a->state->places));
	a->state->threads = ml_memory_get(t->rings_n, sizeof(*a->state->threads));
	a->state->threads_n = t->rings_n;
	a->state->serials = ml_memory_get(1, sizeof(*a->state->serials));
	a->items = ml_memory_get(1, sizeof(*a->items));
	a->n = 1;
	p.users = find_users(t, recorded);
	p.entries = find_entries(t, entries);
	p.functions = ml_memory_get(t->codes_n, sizeof(*p.functions));
	place_nodes(&p);
	ml_pairs_free(&p.pairs);
	free(p.users);
	free(p.entries);
	free(p.functions);
	return a;
}

/* Activations begin and end. */

static bool is_unused(const struct ml_activation *item)
{
	return !item->users && !item->live_bytes;
}

/* To be called where one of the two has become 0. */
static void release(struct ml_activations *a, uint32_t number)
{
	struct ml_activations_state *s = a->state;

	if (!is_unused(&a->items[number]))
		return;
	s->unused = ml_memory_grow(s->unused, s->unused_n, sizeof(*s->unused));
	s->unused[s->unused_n++] = number;
}

static uint32_t begin(struct ml_activations *a, uint32_t function, uint64_t ns)
{
	struct ml_activations_state *s = a->state;
	uint32_t number = a->n;

	if (s->unused_n) {
		number = s->unused[--s->unused_n];
	} else {
		a->items = ml_memory_grow(a->items, a->n, sizeof(*a->items));
		s->serials = ml_memory_grow(s->serials, a->n++, sizeof(*s->serials));
	}
	a->items[number] = (struct ml_activation){.function = function, .begin_ns = ns, .end_ns = ns, .users = 1};
	s->serials[number] = ++s->serial;
	return number;
}

static void end(struct ml_activations *a, struct run *run)
{
	uint32_t number = run->activation, *last;
	struct ml_activation *item = &a->items[number];
	struct ml_entry_function *f;
	uint64_t ns;

	*run = (struct run){0};
	if (!number)
		return;
	f = &a->functions[item->function];
	ns = item->end_ns - item->begin_ns;
	item->ended = true;
	f->allocated_bytes += item->allocated_bytes;
	f->peak_bytes += item->peak_bytes;
	if (f->peak_bytes_max < item->peak_bytes)
		f->peak_bytes_max = item->peak_bytes;
	f->ns += ns;
	if (f->ns_max < ns)
		f->ns_max = ns;
	/* It stays in use as one of the last, in the place of an older one. */
	last = &f->last[f->ended++ % ML_ACTIVATIONS_LAST];
	if (*last) {
		a->items[*last].users = 0;
		release(a, *last);
	}
	*last = number;
	if (a->watch)
		a->watch->ended(a->watch, item);
}

/* The events go on with what is at the place, or with nothing. */
static uint32_t go_on(struct ml_activations *a, struct run *run, const struct place *at, uint64_t ns, bool counted)
{
	uint32_t entry = at ? at->entry : 0;

	if (run->entry != entry) {
		end(a, run);
		if (entry)
			*run = (struct run){entry, counted ? begin(a, at->function, ns) : 0};
	}
	return run->activation;
}

/* Coroutines. */

static unsigned hint_of(uint64_t object)
{
	return (unsigned)(object / HEADER_BYTES) % HINTS;
}

static struct life *find_life(const struct ml_activations_state *s, uint64_t object)
{
	struct ml_block block;

	if (!s->hints[hint_of(object)] || !ml_blocks_get(&s->objects, object, &block))
		return NULL;
	return (struct life *)(uintptr_t)block.bytes;
}

static struct life *life_of(struct ml_activations_state *s, struct thread *t)
{
	struct ml_block block = {.address = t->object}, old;

	if (!t->life)
		t->life = find_life(s, t->object);
	if (!t->life) {
		t->life = ml_memory_get(1, sizeof(*t->life));
		block.bytes = (uintptr_t)t->life;
		ml_blocks_put(&s->objects, &block, &old);
		s->hints[hint_of(t->object)]++;
	}
	return t->life;
}

static void end_life(struct ml_activations *a, uint64_t object, struct life *life)
{
	struct ml_activations_state *s = a->state;
	struct ml_block block;
	uint32_t i;

	ml_blocks_take(&s->objects, object, &block);
	s->hints[hint_of(object)]--;
	for (i = 0; i < s->threads_n; i++)
		if (s->threads[i].life == life)
			s->threads[i].life = NULL;
	end(a, &life->run);
	end(a, &life->own);
	free(life);
}

void ml_activations_gone(struct ml_activations *a, uint64_t address, uint64_t bytes)
{
	unsigned i;

	for (i = 0; i <= HEADERS; i++) {
		uint64_t object = address + i * HEADER_BYTES;
		struct life *life = i * HEADER_BYTES < bytes ? find_life(a->state, object) : NULL;
		if (life)
			end_life(a, object, life);
	}
}

/* Events. */

static struct thread *thread_of(struct ml_activations *a, const struct ml_moment *m)
{
	struct thread *t = &a->state->threads[m->ring];

	if (t->tid != m->tid) {
		end(a, &t->run);
		*t = (struct thread){.tid = m->tid};
	}
	return t;
}

void ml_activations_generator(struct ml_activations *a, const struct ml_moment *m)
{
	struct thread *t = thread_of(a, m);

	t->object = m->event.address;
	t->life = NULL;
}

/* Where the entry frame is the generator's the life is the invocation, else what runs in it may be one. */
static uint32_t go_on_inside(struct ml_activations *a, struct life *life, const struct place *at, uint64_t ns,
			     bool counted)
{
	if (!at->entry || at->where == INSIDE)
		return go_on(a, &life->run, at, ns, counted);
	if (at->where == AT && !life->own.entry)
		life->own = (struct run){at->entry, counted ? begin(a, at->function, ns) : 0};
	return at->where == AT ? life->own.activation : 0;
}

uint32_t ml_activations_at(struct ml_activations *a, const struct ml_moment *m, bool counted)
{
	const struct place *at = &a->state->places[m->event.node];
	struct thread *t = thread_of(a, m);
	uint32_t inside = 0, outside;
	bool is_inside;

	if (t->last && a->state->serials[t->last] == t->serial)
		a->items[t->last].end_ns = m->ns;
	is_inside = at->generator && t->object && (!at->entry || at->where != OUTSIDE);
	if (is_inside)
		inside = go_on_inside(a, life_of(a->state, t), at, m->ns, counted);
	outside = go_on(a, &t->run, is_inside ? NULL : at, m->ns, counted);
	t->last = is_inside ? inside : outside;
	t->serial = a->state->serials[t->last];
	return t->last;
}

void ml_activations_allocated(struct ml_activations *a, uint32_t activation, uint64_t bytes)
{
	struct ml_activation *item = &a->items[activation];

	if (!activation)
		return;
	item->allocated_bytes += bytes;
	item->live_bytes += bytes;
	if (item->peak_bytes < item->live_bytes)
		item->peak_bytes = item->live_bytes;
}

void ml_activations_freed(struct ml_activations *a, uint32_t activation, uint64_t bytes)
{
	if (!activation || !bytes)
		return;
	a->items[activation].live_bytes -= bytes;
	release(a, activation);
}

void ml_activations_finish(struct ml_activations *a, uint64_t ns)
{
	uint32_t i;

	for (i = 1; i < a->n; i++)
		if (a->items[i].users && !a->items[i].ended)
			a->items[i].end_ns = ns;
}

void ml_activations_free(struct ml_activations *a)
{
	struct ml_activations_state *s;
	struct ml_block block;
	size_t cursor = 0;

	if (!a)
		return;
	s = a->state;
	while (ml_blocks_next(&s->objects, &cursor, &block))
		free((struct life *)(uintptr_t)block.bytes);
	ml_blocks_free(&s->objects);
	free(s->places);
	free(s->threads);
	free(s->serials);
	free(s->unused);
	free(s);
	free(a->items);
	free(a->functions);
	free(a);
}
