#include "report/fold.h"

#include <stdlib.h>
#include <sys/mman.h>

#include "report/activations.h"
#include "report/blocks.h"
#include "report/mappings.h"
#include "report/memory.h"

/* How many events ahead the place of a block is asked for. */
#define LOOK_AHEAD 16

/* A BEGIN record that waits for its END. What it took out of the books is here, but still counts as live. */
struct pending {
	enum ml_record begin; /* 0: none */
	bool known;           /* realloc: block is the old block */
	bool keeps;           /* mremap: the old range stays mapped */
	uint8_t domain;
	uint32_t tid;
	uint32_t node;
	uint64_t address;
	uint64_t flags;
	enum ml_mapping_class class; /* mremap: of the old range */
	struct ml_block block;
	uint64_t start; /* the range that was taken out, and what was in it */
	uint64_t end;
	struct ml_mappings taken;
	uint32_t activation;
};

/* The ALLOC that was the last event of all. */
struct fresh {
	uint64_t address; /* 0: it was another event */
	uint32_t ring;
	bool is_mark; /* it made a high-water mark */
};

struct ml_fold_state {
	const struct ml_trace *trace;
	struct ml_fold_options options;
	uint64_t page_bytes;
	bool counting;         /* the window has begun */
	bool counted;          /* the event at hand has counted */
	bool ended;            /* and has ended */
	uint64_t live_bytes;   /* of all threads */
	uint64_t peak_version; /* counts new high-water marks */
	uint64_t births;       /* of mappings */
	struct ml_blocks blocks;
	struct ml_blocks arenas;
	struct ml_mappings mappings;
	struct fresh fresh;
	uint32_t activation;     /* of the event: 0, or see ml_fold_options.activations */
	bool *is_ours;           /* by node: under ML_MARK_MEMLINE. NULL: none is */
	uint32_t ours;           /* the first of them, or 0 */
	struct pending *pending; /* by ring */
	uint32_t pending_n;
};

/* The books. Every change of what is live goes through allocated() and freed(). */

static bool of_thread(const struct ml_fold *f, uint32_t tid)
{
	return !f->state->options.tid || f->state->options.tid == tid;
}

static bool selected(const struct ml_fold *f, uint32_t node)
{
	return !f->state->options.nodes || f->state->options.nodes[node];
}

/* Whether what the node allocates at this moment counts as live. */
static bool owns(const struct ml_fold *f, const struct ml_moment *m, uint32_t node)
{
	return of_thread(f, m->tid) && selected(f, node);
}

static bool counts(const struct ml_fold *f, const struct ml_moment *m)
{
	return f->state->counting && of_thread(f, m->tid);
}

/*
 * The node, before its live bytes change. A node whose peak_version is old has not changed since a newer high-water
 * mark was reached, so what it has live is what it had live then.
 */
static struct ml_tally *settled(struct ml_fold *f, uint32_t node)
{
	struct ml_tally *t = &f->nodes[node];

	if (t->peak_version != f->state->peak_version) {
		t->peak_version = f->state->peak_version;
		t->peak_bytes = t->live_bytes;
		t->peak_blocks = t->live_blocks;
	}
	return t;
}

/* One more block of the node's is live, made by the event of this moment. */
static void allocated(struct ml_fold *f, const struct ml_moment *m, uint32_t node, uint64_t bytes)
{
	struct ml_tally *t = settled(f, node);

	if (node >= f->nodes_used)
		f->nodes_used = node + 1;
	f->state->live_bytes += bytes;
	if (owns(f, m, node)) {
		if (f->state->activation)
			ml_activations_allocated(f->state->options.activations, f->state->activation, bytes);
		t->live_bytes += bytes;
		t->live_blocks++;
		f->totals.live_bytes += bytes;
		f->totals.live_blocks++;
	}
	if (counts(f, m) && selected(f, node)) {
		f->state->counted = true;
		t->allocated_bytes += bytes;
		t->allocations++;
		f->totals.allocated_bytes += bytes;
		f->totals.allocations++;
	}
}

/* Whose doing a free is: see ml_fold_options.in_scope. */
static uint32_t charged(const struct ml_fold *f, uint32_t node, uint32_t owner)
{
	const bool *in_scope = f->state->options.in_scope;

	return in_scope && in_scope[node] && !in_scope[owner] ? owner : node;
}

/* A block that the owner allocated is gone, by an event of this moment while the node was acting. */
static void freed(struct ml_fold *f, const struct ml_moment *m, uint32_t node, uint32_t owner, bool owned,
		  uint64_t bytes, uint32_t activation)
{
	f->state->live_bytes -= bytes;
	if (f->state->options.activations)
		ml_activations_freed(f->state->options.activations, activation, bytes);
	if (f->state->is_ours && f->state->is_ours[owner])
		node = owner;
	if (owned) {
		struct ml_tally *t = settled(f, owner);
		t->live_bytes -= bytes;
		t->live_blocks--;
		f->totals.live_bytes -= bytes;
		f->totals.live_blocks--;
	}
	if (counts(f, m) && selected(f, owner)) {
		struct ml_tally *t = &f->nodes[charged(f, node, owner)];
		f->state->counted = true;
		t->freed_bytes += bytes;
		t->frees++;
		f->totals.freed_bytes += bytes;
		f->totals.frees++;
	}
}

/* A cut or join makes two live blocks of one, or one of two. */
static void recount(struct ml_fold *f, const struct ml_mapping *mapping, uint64_t blocks)
{
	if (!mapping || mapping->class != ML_MAPPING_LIVE || !mapping->owned)
		return;
	settled(f, mapping->node)->live_blocks += blocks;
	f->totals.live_blocks += blocks;
}

static void new_mark(struct ml_fold *f, uint64_t ns)
{
	f->totals.peak_bytes = f->totals.live_bytes;
	f->totals.peak_ns = ns;
	f->state->peak_version++;
}

/* The end of what one event does. */
static void happened(struct ml_fold *f, const struct ml_moment *m, uint32_t node)
{
	if (counts(f, m) && (selected(f, node) || f->state->counted)) {
		if (!f->nodes[node].last_sequence)
			f->nodes[node].first_ns = m->ns;
		f->nodes[node].last_sequence = f->totals.events;
		f->nodes[node].last_live_bytes = f->state->live_bytes;
	}
	if (f->totals.live_bytes > f->totals.peak_bytes)
		new_mark(f, m->ns);
}

static void odd(struct ml_fold *f, enum ml_fold_odd what, const struct ml_moment *m, uint64_t address)
{
	struct ml_fold_watch *watch = f->state->options.watch;

	if (watch)
		watch->odd(watch, what, m, address);
}

static void unknown_free(struct ml_fold *f, const struct ml_moment *m, uint64_t address)
{
	f->totals.unknown_frees += counts(f, m) && !f->state->options.nodes;
	odd(f, ML_FOLD_UNKNOWN_FREE, m, address);
}

static void missed_free(struct ml_fold *f, const struct ml_moment *m, uint64_t address)
{
	f->totals.missed_frees += counts(f, m) && !f->state->options.nodes;
	odd(f, ML_FOLD_MISSED_FREE, m, address);
}

/* Blocks. */

static void gone(struct ml_fold *f, uint64_t address, uint64_t bytes)
{
	if (f->state->options.activations)
		ml_activations_gone(f->state->options.activations, address, bytes);
}

static void put_block(struct ml_fold *f, const struct ml_moment *m, uint32_t node, const struct ml_block *block)
{
	struct ml_block old;

	if (ml_blocks_put(&f->state->blocks, block, &old)) {
		missed_free(f, m, old.address);
		freed(f, m, node, old.node, old.owned, old.bytes, old.activation);
		gone(f, old.address, old.bytes);
	}
}

static void add_block(struct ml_fold *f, const struct ml_moment *m, uint32_t node, uint8_t domain)
{
	struct ml_block block = {.address = m->event.address,
				 .bytes = m->event.bytes,
				 .node = node,
				 .domain = domain,
				 .owned = owns(f, m, node),
				 .born_ms = ml_fold_milliseconds(m->ns),
				 .activation = owns(f, m, node) ? f->state->activation : 0};

	put_block(f, m, node, &block);
	allocated(f, m, node, block.bytes);
}

static void fold_alloc(struct ml_fold *f, const struct ml_moment *m)
{
	uint64_t mark = f->state->peak_version;

	add_block(f, m, m->event.node, (uint8_t)m->event.domain);
	happened(f, m, m->event.node);
	f->state->fresh = (struct fresh){m->event.address, m->ring, f->state->peak_version != mark};
}

static void fold_free(struct ml_fold *f, const struct ml_moment *m)
{
	struct ml_block old = {.bytes = UINT64_MAX};

	if (ml_blocks_take(&f->state->blocks, m->event.address, &old))
		freed(f, m, m->event.node, old.node, old.owned, old.bytes, old.activation);
	else
		unknown_free(f, m, m->event.address);
	gone(f, m->event.address, old.bytes);
	happened(f, m, m->event.node);
}

/* Mappings. */

static void cut_in(struct ml_fold *f, struct ml_mappings *mappings, uint64_t address)
{
	recount(f, ml_mappings_cut(mappings, address), 1);
}

static void cut(struct ml_fold *f, uint64_t address)
{
	cut_in(f, &f->state->mappings, address);
}

static void join(struct ml_fold *f, uint64_t address)
{
	recount(f, ml_mappings_join(&f->state->mappings, address), (uint64_t)-1);
}

/* Frees the list; its live parts are freed by the node. Returns how many those are. */
static uint64_t drop_list(struct ml_fold *f, const struct ml_moment *m, uint32_t node, struct ml_mapping *list)
{
	uint64_t live = 0;

	while (list) {
		struct ml_mapping *next = list->right;
		if (list->class == ML_MAPPING_LIVE) {
			freed(f, m, node, list->node, list->owned, list->end - list->start, list->activation);
			live++;
		}
		free(list);
		list = next;
	}
	return live;
}

/* What is in the range makes room for a new mapping: because that was asked for, or since we missed that it was
   gone. */
static void displace(struct ml_fold *f, const struct ml_moment *m, uint32_t node, uint64_t start, uint64_t end,
		     bool asked)
{
	uint64_t live;

	cut(f, start);
	cut(f, end);
	live = drop_list(f, m, node, ml_mappings_take(&f->state->mappings, start, end));
	if (!asked)
		while (live--)
			missed_free(f, m, start);
}

static void add_mapping(struct ml_fold *f, const struct ml_moment *m, uint32_t node, uint64_t start, uint64_t end,
			enum ml_mapping_class class)
{
	struct ml_mapping mapping = {.start = start,
				     .end = end,
				     .born = ++f->state->births,
				     .node = node,
				     .class = class,
				     .owned = owns(f, m, node),
				     .born_ms = ml_fold_milliseconds(m->ns),
				     .activation = owns(f, m, node) ? f->state->activation : 0};

	ml_mappings_put(&f->state->mappings, &mapping);
	if (class == ML_MAPPING_LIVE)
		allocated(f, m, node, end - start);
}

/* The end of a range, in whole pages but for brk; at most the end of the address space. */
static uint64_t range_end(const struct ml_fold *f, uint64_t start, uint64_t bytes, bool brk)
{
	uint64_t mask = brk ? 0 : f->state->page_bytes - 1;
	uint64_t end;

	if (!bytes)
		return start;
	if (__builtin_add_overflow(start, bytes, &end) || __builtin_add_overflow(end, mask, &end))
		return UINT64_MAX & ~mask;
	return end & ~mask;
}

static enum ml_mapping_class class_of(const struct ml_event *e)
{
	if (e->brk)
		return ML_MAPPING_LIVE;
	if (!(e->flags & MAP_ANONYMOUS))
		return ML_MAPPING_FILE;
	return e->prot & PROT_WRITE ? ML_MAPPING_LIVE : ML_MAPPING_RESERVED;
}

static void fold_map(struct ml_fold *f, const struct ml_moment *m)
{
	const struct ml_event *e = &m->event;
	uint64_t end = range_end(f, e->address, e->bytes, e->brk);

	if (end > e->address) {
		displace(f, m, e->node, e->address, end, e->flags & MAP_FIXED);
		add_mapping(f, m, e->node, e->address, end, class_of(e));
	}
	happened(f, m, e->node);
}

/* Reservations that are made writable become memory of the node that did it. */
static void fold_protect(struct ml_fold *f, const struct ml_moment *m)
{
	const struct ml_event *e = &m->event;
	uint64_t at = e->address, end = range_end(f, at, e->bytes, false);
	struct ml_mapping *mapping;

	while (e->prot & PROT_WRITE && at < end && (mapping = ml_mappings_find(&f->state->mappings, at)) &&
	       mapping->start < end) {
		if (mapping->class != ML_MAPPING_RESERVED) {
			at = mapping->end;
			continue;
		}
		if (mapping->start < at) {
			cut(f, at);
			continue;
		}
		if (mapping->end > end)
			cut(f, end);
		mapping->class = ML_MAPPING_LIVE;
		mapping->born = ++f->state->births;
		mapping->born_ms = ml_fold_milliseconds(m->ns);
		mapping->activation = owns(f, m, e->node) ? f->state->activation : 0;
		mapping->node = e->node;
		mapping->owned = owns(f, m, e->node);
		allocated(f, m, e->node, mapping->end - mapping->start);
		at = mapping->end;
	}
	happened(f, m, e->node);
}

/* BEGIN and END. */

static void take_range(struct ml_fold *f, struct pending *p, uint64_t start, uint64_t end)
{
	if (start >= end)
		return;
	cut(f, start);
	cut(f, end);
	p->start = start;
	p->end = end;
	ml_mappings_move(&f->state->mappings, start, end, &p->taken);
}

/* Where another block has got the address meanwhile, the old one was freed after all. */
static void restore_block(struct ml_fold *f, const struct ml_moment *m, struct pending *p)
{
	struct ml_block newer, old;

	if (ml_blocks_put(&f->state->blocks, &p->block, &newer)) {
		ml_blocks_put(&f->state->blocks, &newer, &old);
		freed(f, m, p->node, old.node, old.owned, old.bytes, old.activation);
	}
}

/* The same for mappings: what is taken goes back between newer ones, and what they cover was unmapped. */
static void restore_range(struct ml_fold *f, const struct ml_moment *m, struct pending *p)
{
	for (uint64_t at = p->start; at < p->end;) {
		const struct ml_mapping *newer = ml_mappings_find(&f->state->mappings, at);
		uint64_t gap_end = newer && newer->start < p->end ? newer->start : p->end;
		uint64_t next = newer ? newer->end : p->end;
		if (gap_end > at) {
			cut_in(f, &p->taken, gap_end);
			ml_mappings_move(&p->taken, at, gap_end, &f->state->mappings);
			join(f, at);
			join(f, gap_end);
		}
		cut_in(f, &p->taken, next);
		drop_list(f, m, p->node, ml_mappings_take(&p->taken, at, next));
		at = next;
	}
}

/* The BEGIN did not happen: everything is as it was before it. */
static void restore(struct ml_fold *f, struct pending *p)
{
	struct ml_moment m = {.tid = p->tid};

	if (p->begin == ML_RECORD_REALLOC_BEGIN && p->known)
		restore_block(f, &m, p);
	restore_range(f, &m, p);
	*p = (struct pending){0};
}

/* The BEGIN did happen: what it took is freed by its node. */
static void release_range(struct ml_fold *f, const struct ml_moment *m, struct pending *p)
{
	drop_list(f, m, p->node, ml_mappings_take(&p->taken, p->start, p->end));
}

static struct pending *begin(struct ml_fold *f, const struct ml_moment *m)
{
	struct pending *p = &f->state->pending[m->ring];

	restore(f, p);
	p->begin = m->event.record;
	p->domain = (uint8_t)m->event.domain;
	p->tid = m->tid;
	p->node = m->event.node;
	p->address = m->event.address;
	p->flags = m->event.flags;
	p->activation = f->state->activation;
	return p;
}

/* What an END record ends, or NULL: then it was counted. */
static struct pending *end(struct ml_fold *f, const struct ml_moment *m, enum ml_record begin)
{
	struct pending *p = &f->state->pending[m->ring];

	if (p->begin == begin && p->tid == m->tid)
		return p;
	f->totals.orphan_ends++;
	odd(f, ML_FOLD_ORPHAN_END, m, 0);
	return NULL;
}

static void fold_realloc_begin(struct ml_fold *f, const struct ml_moment *m)
{
	struct pending *p = begin(f, m);

	p->known = ml_blocks_take(&f->state->blocks, p->address, &p->block);
}

static void fold_realloc_end(struct ml_fold *f, const struct ml_moment *m)
{
	struct pending *p = end(f, m, ML_RECORD_REALLOC_BEGIN);
	uint32_t node;

	if (!p)
		return;
	node = p->node;
	if (m->event.outcome == ML_OUTCOME_FAILED) {
		restore(f, p);
		return;
	}
	if (p->known)
		freed(f, m, node, p->block.node, p->block.owned, p->block.bytes, p->block.activation);
	else if (p->address)
		unknown_free(f, m, p->address);
	if (m->event.outcome == ML_OUTCOME_DONE)
		add_block(f, m, node, p->domain);
	*p = (struct pending){0};
	happened(f, m, node);
}

static void fold_unmap_begin(struct ml_fold *f, const struct ml_moment *m)
{
	const struct ml_event *e = &m->event;
	uint64_t stop = range_end(f, e->address, e->bytes, e->brk);

	take_range(f, begin(f, m), e->address, stop);
}

static void fold_unmap_end(struct ml_fold *f, const struct ml_moment *m)
{
	struct pending *p = end(f, m, ML_RECORD_UNMAP_BEGIN);
	uint32_t node;

	if (!p)
		return;
	node = p->node;
	if (m->event.outcome == ML_OUTCOME_FAILED) {
		restore(f, p);
		return;
	}
	if (!p->taken.root)
		unknown_free(f, m, p->address);
	release_range(f, m, p);
	*p = (struct pending){0};
	happened(f, m, node);
}

/* What is moved is of the class of the first mapping in the old range; of one that we don't know, memory. An old length
   of 0 maps the same pages once more, and MREMAP_DONTUNMAP leaves an empty mapping behind. */
static void fold_remap_begin(struct ml_fold *f, const struct ml_moment *m)
{
	const struct ml_event *e = &m->event;
	uint64_t stop = range_end(f, e->address, e->bytes, false);
	struct pending *p = begin(f, m);
	struct ml_mapping *first = ml_mappings_find(&f->state->mappings, e->address);

	if (!e->bytes)
		stop = range_end(f, e->address, 1, false);
	p->known = first && first->start < stop;
	p->class = p->known ? first->class : ML_MAPPING_LIVE;
	p->keeps = !e->bytes || e->flags & MREMAP_DONTUNMAP;
	if (!p->keeps)
		take_range(f, p, e->address, stop);
}

static void fold_remap_end(struct ml_fold *f, const struct ml_moment *m)
{
	const struct ml_event *e = &m->event;
	struct pending *p = end(f, m, ML_RECORD_REMAP_BEGIN), done;
	uint64_t stop = range_end(f, e->address, e->bytes, false);

	if (!p)
		return;
	if (e->outcome == ML_OUTCOME_FAILED) {
		restore(f, p);
		return;
	}
	release_range(f, m, p);
	done = *p;
	*p = (struct pending){0};
	if (!done.known)
		unknown_free(f, m, done.address);
	if (stop > e->address) {
		displace(f, m, done.node, e->address, stop, done.flags & MREMAP_FIXED);
		add_mapping(f, m, done.node, e->address, stop, done.class);
	}
	happened(f, m, done.node);
}

/* The rest. */

static void fold_arena(struct ml_fold *f, const struct ml_moment *m)
{
	struct ml_block arena = {.address = m->event.address, .bytes = m->event.bytes}, old;

	if (m->event.released) {
		if (ml_blocks_take(&f->state->arenas, arena.address, &old))
			f->totals.allocator_bytes -= old.bytes;
		return;
	}
	if (ml_blocks_put(&f->state->arenas, &arena, &old))
		f->totals.allocator_bytes -= old.bytes;
	f->totals.allocator_bytes += arena.bytes;
}

static void fold_time(struct ml_fold *f, const struct ml_moment *m)
{
	if (m->rss) /* it isn't measured every time */
		f->totals.rss_bytes = m->rss;
	if (m->rss > f->totals.rss_max_bytes)
		f->totals.rss_max_bytes = m->rss;
}

/* The block that was made just now was made for the recorder's sake, so it never was the node's. */
static void fold_ours(struct ml_fold *f, const struct ml_moment *m, const struct fresh *fresh)
{
	const uint32_t ours = f->state->ours;
	struct ml_block block, old;
	struct ml_tally *from, *to;

	if (fresh->address != m->event.address || fresh->ring != m->ring ||
	    !ml_blocks_take(&f->state->blocks, fresh->address, &block))
		return;
	if (!selected(f, block.node) || !selected(f, ours)) { /* it stays what it is: nothing else adds up */
		ml_blocks_put(&f->state->blocks, &block, &old);
		return;
	}
	from = settled(f, block.node);
	to = settled(f, ours);
	if (block.owned) {
		from->live_bytes -= block.bytes;
		to->live_bytes += block.bytes;
		from->live_blocks--;
		to->live_blocks++;
	}
	if (f->state->options.activations)
		ml_activations_freed(f->state->options.activations, block.activation, block.bytes);
	block.activation = 0;
	if (block.owned && fresh->is_mark) {
		from->peak_bytes -= block.bytes;
		to->peak_bytes += block.bytes;
		from->peak_blocks--;
		to->peak_blocks++;
	}
	if (counts(f, m)) {
		from->allocated_bytes -= block.bytes;
		to->allocated_bytes += block.bytes;
		from->allocations--;
		to->allocations++;
	}
	block.node = ours;
	ml_blocks_put(&f->state->blocks, &block, &old);
}

static void fold_other(struct ml_fold *f, const struct ml_moment *m, const struct fresh *fresh)
{
	if (m->event.other == ML_OTHER_OURS)
		fold_ours(f, m, fresh);
	if (m->event.other == ML_OTHER_GENERATOR && f->state->options.activations)
		ml_activations_generator(f->state->options.activations, m);
	if (m->event.other != ML_OTHER_FINALIZE)
		return;
	if (!f->state->options.end_last) {
		f->totals.finalized = true;
		f->state->ended = true;
	}
}

/* In which invocation an event happened: an end in that of its beginning. */
static uint32_t find_activation(struct ml_fold *f, const struct ml_moment *m)
{
	struct ml_activations *a = f->state->options.activations;

	if (m->inherited)
		return 0;
	switch (m->event.record) {
	case ML_RECORD_ALLOC:
	case ML_RECORD_FREE:
	case ML_RECORD_REALLOC_BEGIN:
	case ML_RECORD_MAP:
	case ML_RECORD_UNMAP_BEGIN:
	case ML_RECORD_REMAP_BEGIN:
	case ML_RECORD_PROTECT:
		return ml_activations_at(a, m, counts(f, m));
	case ML_RECORD_REALLOC_END:
	case ML_RECORD_UNMAP_END:
	case ML_RECORD_REMAP_END:
		return f->state->pending[m->ring].activation;
	default:
		return 0;
	}
}

static void fold_event(struct ml_fold *f, const struct ml_moment *m)
{
	const struct fresh fresh = f->state->fresh;

	f->state->fresh.address = 0;
	f->state->counted = false;
	if (f->state->options.activations)
		f->state->activation = find_activation(f, m);
	switch (m->event.record) {
	case ML_RECORD_ALLOC:
		fold_alloc(f, m);
		break;
	case ML_RECORD_FREE:
		fold_free(f, m);
		break;
	case ML_RECORD_REALLOC_BEGIN:
		fold_realloc_begin(f, m);
		break;
	case ML_RECORD_REALLOC_END:
		fold_realloc_end(f, m);
		break;
	case ML_RECORD_MAP:
		fold_map(f, m);
		break;
	case ML_RECORD_UNMAP_BEGIN:
		fold_unmap_begin(f, m);
		break;
	case ML_RECORD_UNMAP_END:
		fold_unmap_end(f, m);
		break;
	case ML_RECORD_REMAP_BEGIN:
		fold_remap_begin(f, m);
		break;
	case ML_RECORD_REMAP_END:
		fold_remap_end(f, m);
		break;
	case ML_RECORD_PROTECT:
		fold_protect(f, m);
		break;
	case ML_RECORD_ARENA:
		fold_arena(f, m);
		break;
	case ML_RECORD_TIME:
		fold_time(f, m);
		break;
	case ML_RECORD_OTHER:
		fold_other(f, m, &fresh);
		break;
	case ML_RECORD_TURN:
	case ML_RECORD_BASE:
		break;
	}
}

/* The whole. */

/* Among the nodes from that one on. Parents come before their children. */
static void find_ours(struct ml_fold_state *s, const struct ml_trace *t, uint32_t from)
{
	const uint32_t mark = ML_SUBJECT(ML_NODE_MARK, ML_MARK_MEMLINE);

	for (uint32_t i = from; i < t->nodes_n; i++) {
		if (t->nodes[i].subject == mark) {
			if (!s->is_ours)
				s->is_ours = ml_memory_get(t->nodes_n, sizeof *s->is_ours);
			if (!s->ours)
				s->ours = i;
			s->is_ours[i] = true;
		} else if (s->is_ours) {
			s->is_ours[i] = s->is_ours[t->nodes[i].parent];
		}
	}
}

struct ml_fold *ml_fold_new(const struct ml_trace *t, const struct ml_fold_options *options)
{
	struct ml_fold *f = ml_memory_get(1, sizeof *f);
	struct ml_fold_state *s = ml_memory_get(1, sizeof *s);

	f->nodes_n = t->nodes_n;
	f->nodes = ml_memory_get(f->nodes_n, sizeof *f->nodes);
	f->state = s;
	s->trace = t;
	if (!options->from_ns && options->to_ns == UINT64_MAX && !options->tid)
		ml_runs_begin(&f->runs, t);
	s->options = *options;
	s->blocks.births = options->births || options->activations;
	s->page_bytes = t->page_bytes;
	s->counting = !options->from_ns && !t->parent;
	find_ours(s, t, 1);
	s->pending_n = t->rings_n;
	s->pending = ml_memory_get(s->pending_n, sizeof *s->pending);
	return f;
}

void ml_fold_follow(struct ml_fold *f, const struct ml_trace *t, const bool *in_scope)
{
	struct ml_fold_state *s = f->state;
	const uint32_t nodes_n = f->nodes_n;

	f->nodes = ml_memory_more(f->nodes, nodes_n, t->nodes_n, sizeof *f->nodes);
	if (s->is_ours)
		s->is_ours = ml_memory_more(s->is_ours, nodes_n, t->nodes_n, sizeof *s->is_ours);
	s->pending = ml_memory_more(s->pending, s->pending_n, t->rings_n, sizeof *s->pending);
	f->nodes_n = t->nodes_n;
	s->pending_n = t->rings_n;
	s->options.in_scope = in_scope;
	find_ours(s, t, nodes_n);
	ml_runs_follow(&f->runs, t);
}

static void begin_window(struct ml_fold *f)
{
	f->state->counting = true;
	f->totals.start_live_bytes = f->totals.live_bytes;
	new_mark(f, f->state->options.from_ns);
}

static void prefetch(struct ml_fold *f, const struct ml_moment *m)
{
	if (m->event.record <= ML_RECORD_REALLOC_END)
		ml_blocks_prefetch(&f->state->blocks, m->event.address);
	__builtin_prefetch(&f->nodes[m->event.node], 1);
}

bool ml_fold_feed(struct ml_fold *f, const struct ml_moment *moments, size_t n)
{
	struct ml_fold_state *s = f->state;

	for (size_t i = 0; i < n && i < LOOK_AHEAD; i++)
		prefetch(f, &moments[i]);
	for (size_t i = 0; i < n && !s->ended; i++) {
		const struct ml_moment *m = &moments[i];
		if (i + LOOK_AHEAD < n)
			prefetch(f, &moments[i + LOOK_AHEAD]);
		if (m->inherited) {
			fold_event(f, m); /* it is there, but not of this process's doing */
			continue;
		}
		if (m->ns >= s->options.to_ns) {
			s->ended = true;
			break;
		}
		if (!s->counting && m->ns >= s->options.from_ns)
			begin_window(f);
		if (s->options.clock && m->ns >= s->options.clock->next_ns)
			s->options.clock->strike(s->options.clock, f, m->ns);
		f->totals.events++;
		f->totals.end_ns = m->ns;
		ml_runs_before(&f->runs, s->trace, m);
		fold_event(f, m);
		ml_runs_behind(&f->runs, m, f->totals.events, s->live_bytes);
	}
	return !s->ended;
}

struct snapshot {
	struct ml_moment *moments;
	size_t n;
};

static struct ml_event *add_to_snapshot(struct snapshot *s, enum ml_record record, uint64_t address, uint64_t bytes)
{
	s->moments = ml_memory_grow(s->moments, s->n, sizeof *s->moments);
	s->moments[s->n] = (struct ml_moment){.event = {.record = record, .address = address, .bytes = bytes}};
	return &s->moments[s->n++].event;
}

static void add_block_to_snapshot(struct snapshot *s, const struct ml_block *block)
{
	struct ml_event *e = add_to_snapshot(s, ML_RECORD_ALLOC, block->address, block->bytes);

	e->node = block->node;
	e->domain = (enum ml_domain)block->domain;
}

static void add_mappings_to_snapshot(struct snapshot *s, const struct ml_mappings *mappings)
{
	const struct ml_mapping *m;

	for (uint64_t at = 0; (m = ml_mappings_find(mappings, at)); at = m->end) {
		struct ml_event *e = add_to_snapshot(s, ML_RECORD_MAP, m->start, m->end - m->start);
		e->node = m->node;
		e->brk = m->class == ML_MAPPING_LIVE; /* its ends are as they are */
		e->flags = m->class == ML_MAPPING_RESERVED ? MAP_ANONYMOUS : 0;
	}
}

struct ml_moment *ml_fold_snapshot(const struct ml_fold *f, size_t *n)
{
	const struct ml_fold_state *state = f->state;
	struct snapshot s = {NULL, 0};
	struct ml_block block;

	for (size_t cursor = 0; ml_blocks_next(&state->blocks, &cursor, &block);)
		add_block_to_snapshot(&s, &block);
	for (size_t cursor = 0; ml_blocks_next(&state->arenas, &cursor, &block);)
		add_to_snapshot(&s, ML_RECORD_ARENA, block.address, block.bytes);
	add_mappings_to_snapshot(&s, &state->mappings);
	for (uint32_t i = 0; i < state->pending_n; i++) {
		const struct pending *p = &state->pending[i];
		if (p->begin == ML_RECORD_REALLOC_BEGIN && p->known)
			add_block_to_snapshot(&s, &p->block);
		add_mappings_to_snapshot(&s, &p->taken);
	}
	*n = s.n;
	return s.moments;
}

static void add_up_mappings(struct ml_fold *f)
{
	const struct ml_mapping *m;

	for (uint64_t at = 0; (m = ml_mappings_find(&f->state->mappings, at)); at = m->end) {
		uint64_t bytes = m->end - m->start;
		if (m->class == ML_MAPPING_LIVE)
			f->totals.anonymous_bytes += bytes;
		else if (m->class == ML_MAPPING_FILE)
			f->totals.file_bytes += bytes;
		else
			f->totals.reserved_bytes += bytes;
	}
}

void ml_fold_finish(struct ml_fold *f)
{
	for (uint32_t i = 0; i < f->state->pending_n; i++)
		restore(f, &f->state->pending[i]);
	if (!f->state->counting)
		begin_window(f);
	for (uint32_t i = 0; i < f->nodes_n; i++)
		settled(f, i);
	add_up_mappings(f);
	ml_runs_settle(&f->runs);
	if (f->state->options.activations)
		ml_activations_finish(f->state->options.activations, f->totals.end_ns);
}

void ml_fold_each_live(const struct ml_fold *f, void (*take)(void *context, const struct ml_live *live), void *context)
{
	const struct ml_mapping *m;
	struct ml_block block;
	size_t cursor = 0;

	while (ml_blocks_next(&f->state->blocks, &cursor, &block))
		if (block.owned)
			take(context, &(struct ml_live){block.bytes, block.node, block.born_ms, block.activation,
							(enum ml_domain)block.domain, false});
	for (uint64_t at = 0; (m = ml_mappings_find(&f->state->mappings, at)); at = m->end)
		if (m->class == ML_MAPPING_LIVE && m->owned)
			take(context, &(struct ml_live){m->end - m->start, m->node, m->born_ms, m->activation,
							ML_DOMAIN_C, true});
}

void ml_fold_free(struct ml_fold *f)
{
	if (!f)
		return;
	for (uint32_t i = 0; i < f->state->pending_n; i++)
		ml_mappings_free(&f->state->pending[i].taken);
	ml_blocks_free(&f->state->blocks);
	ml_blocks_free(&f->state->arenas);
	ml_mappings_free(&f->state->mappings);
	free(f->state->pending);
	free(f->state->is_ours);
	ml_runs_free(&f->runs);
	free(f->state);
	free(f->nodes);
	free(f);
}

struct ml_fold *ml_fold_run(struct ml_trace *t, const struct ml_fold_options *options,
			    void (*progress)(void *context, double done), void *context)
{
	struct ml_fold *f = ml_fold_new(t, options);
	const struct ml_moment *moments;
	size_t n;

	ml_load_rewind(t);
	while ((n = ml_load_next(t, &moments)) && ml_fold_feed(f, moments, n))
		if (progress)
			progress(context, ml_load_progress(t));
	ml_fold_finish(f);
	return f;
}
