#include "tests/report/replay.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "report/memory.h"

/* A block is somewhere: in the books, held by a BEGIN without an END yet (and still live), or gone. */
enum where { GONE, THERE, HELD };

struct block {
	enum where where;
	uint64_t address;
	uint64_t bytes;
	uint32_t node;
	bool owned;
	uint32_t holder; /* HELD: the ring */
};

/* A page of the range; a mapping is a run of pages with the same piece. */
enum class { LIVE, RESERVED, FILE_BACKED };

struct page {
	enum where where;
	enum class class;
	uint32_t piece;
	uint32_t origin; /* pieces of one mapping that was cut have it in common */
	uint32_t node;
	bool owned;
};

/* Pages that a BEGIN has taken. A page may be mapped anew while another thread holds its former mapping. */
struct held {
	struct page page[REPLAY_PAGES];
};

struct begun {
	enum ml_record record; /* 0: none */
	uint32_t tid;
	uint32_t node;
	uint64_t address;
	uint64_t flags;
	bool known;
	enum class class;
	struct held held;
};

struct replay {
	struct ml_fold_options options;
	struct ml_totals totals;
	struct ml_tally *nodes;
	uint32_t nodes_n;
	uint32_t ours, ours_n;
	uint64_t fresh; /* address of the block that the event before made, or 0 */
	uint32_t fresh_ring;
	uint64_t marked; /* number of the event that made the high-water mark */
	bool counting;
	bool ended;
	struct block blocks[REPLAY_BLOCKS];
	struct page pages[REPLAY_PAGES];
	struct begun begun[REPLAY_RINGS];
	uint32_t pieces;
	struct {
		uint64_t address;
		uint64_t bytes;
	} arenas[REPLAY_BLOCKS];
	uint32_t arenas_n;
	bool counted; /* the event that is played */
};

struct replay *replay_new(const struct ml_fold_options *options, uint32_t nodes_n)
{
	struct replay *r = ml_memory_get(1, sizeof *r);

	r->options = *options;
	r->nodes_n = nodes_n;
	r->nodes = ml_memory_get(nodes_n, sizeof *r->nodes);
	r->counting = options->from_ns == 0;
	return r;
}

void replay_ours(struct replay *r, uint32_t first, uint32_t n)
{
	r->ours = first;
	r->ours_n = n;
}

/* Counting. */

static bool ours(const struct replay *r, const struct ml_moment *m)
{
	return !r->options.tid || m->tid == r->options.tid;
}

static bool selected(const struct replay *r, uint32_t node)
{
	return !r->options.nodes || r->options.nodes[node];
}

/* What the node allocates counts as live. */
static bool owns(const struct replay *r, const struct ml_moment *m, uint32_t node)
{
	return ours(r, m) && selected(r, node);
}

static void count_allocation(struct replay *r, const struct ml_moment *m, uint32_t node, uint64_t bytes)
{
	if (!r->counting || !owns(r, m, node))
		return;
	r->counted = true;
	r->nodes[node].allocated_bytes += bytes;
	r->nodes[node].allocations++;
	r->totals.allocated_bytes += bytes;
	r->totals.allocations++;
}

static bool is_ours(const struct replay *r, uint32_t node)
{
	return node >= r->ours && node < r->ours + r->ours_n;
}

static void count_free(struct replay *r, const struct ml_moment *m, uint32_t node, uint32_t owner, uint64_t bytes)
{
	if (is_ours(r, owner))
		node = owner;
	if (!r->counting || !owns(r, m, owner))
		return;
	r->counted = true;
	r->nodes[node].freed_bytes += bytes;
	r->nodes[node].frees++;
	r->totals.freed_bytes += bytes;
	r->totals.frees++;
}

static void count_into(uint64_t *counter, const struct replay *r, const struct ml_moment *m)
{
	if (r->counting && ours(r, m) && !r->options.nodes)
		++*counter;
}

/* A row of pages, in the books or held: adds what is live in it to the nodes, and returns its bytes, whoever owns
   it. */
static uint64_t count_row(const struct page *row, enum where where, uint64_t *bytes, uint64_t *blocks)
{
	uint64_t all = 0;

	for (uint32_t i = 0; i < REPLAY_PAGES; i++) {
		const struct page *p = &row[i];
		if (p->where != where || p->class != LIVE)
			continue;
		all += REPLAY_PAGE;
		if (!p->owned)
			continue;
		bytes[p->node] += REPLAY_PAGE;
		if (i == 0 || row[i - 1].where != where || row[i - 1].piece != p->piece)
			blocks[p->node]++;
	}
	return all;
}

/* What is live, per node and owned; returns all that is. */
static uint64_t count_live(const struct replay *r, uint64_t *bytes, uint64_t *blocks)
{
	uint64_t all = 0;

	memset(bytes, 0, r->nodes_n * sizeof *bytes);
	memset(blocks, 0, r->nodes_n * sizeof *blocks);
	for (uint32_t i = 0; i < REPLAY_BLOCKS; i++) {
		const struct block *b = &r->blocks[i];
		if (b->where == GONE)
			continue;
		all += b->bytes;
		if (b->owned) {
			bytes[b->node] += b->bytes;
			blocks[b->node]++;
		}
	}
	all += count_row(r->pages, THERE, bytes, blocks);
	for (uint32_t i = 0; i < REPLAY_RINGS; i++)
		all += count_row(r->begun[i].held.page, HELD, bytes, blocks);
	return all;
}

/* Puts what is live into the tallies; a new high-water mark if there is one or if it is forced. Returns all bytes. */
static uint64_t recount(struct replay *r, uint64_t ns, bool force)
{
	uint64_t *bytes = ml_memory_get(r->nodes_n, sizeof *bytes);
	uint64_t *blocks = ml_memory_get(r->nodes_n, sizeof *blocks);
	uint64_t all = count_live(r, bytes, blocks);

	r->totals.live_bytes = r->totals.live_blocks = 0;
	for (uint32_t i = 0; i < r->nodes_n; i++) {
		r->nodes[i].live_bytes = bytes[i];
		r->nodes[i].live_blocks = blocks[i];
		r->totals.live_bytes += bytes[i];
		r->totals.live_blocks += blocks[i];
	}
	if (force || r->totals.live_bytes > r->totals.peak_bytes) {
		r->totals.peak_bytes = r->totals.live_bytes;
		r->totals.peak_ns = ns;
		r->marked = r->totals.events;
		for (uint32_t i = 0; i < r->nodes_n; i++) {
			r->nodes[i].peak_bytes = bytes[i];
			r->nodes[i].peak_blocks = blocks[i];
		}
	}
	free(bytes);
	free(blocks);
	return all;
}

/* The node has acted. */
static void acted(struct replay *r, const struct ml_moment *m, uint32_t node)
{
	uint64_t all = recount(r, m->ns, false);

	if (r->counting && ours(r, m) && (selected(r, node) || r->counted)) {
		r->nodes[node].last_sequence = r->totals.events;
		r->nodes[node].last_live_bytes = all;
	}
}

/* Blocks. */

static struct block *find_block(struct replay *r, uint64_t address)
{
	for (uint32_t i = 0; i < REPLAY_BLOCKS; i++)
		if (r->blocks[i].where == THERE && r->blocks[i].address == address)
			return &r->blocks[i];
	return NULL;
}

static struct block *held_block(struct replay *r, uint32_t ring)
{
	for (uint32_t i = 0; i < REPLAY_BLOCKS; i++)
		if (r->blocks[i].where == HELD && r->blocks[i].holder == ring)
			return &r->blocks[i];
	return NULL;
}

static void close_block(struct replay *r, const struct ml_moment *m, uint32_t node, struct block *b)
{
	count_free(r, m, node, b->node, b->bytes);
	b->where = GONE;
}

static void miss_block(struct replay *r, const struct ml_moment *m, uint32_t node, uint64_t address)
{
	struct block *b = find_block(r, address);

	if (!b)
		return;
	count_into(&r->totals.missed_frees, r, m);
	close_block(r, m, node, b);
}

static void open_block(struct replay *r, const struct ml_moment *m, uint32_t node)
{
	uint32_t i = 0;

	miss_block(r, m, node, m->event.address);
	while (r->blocks[i].where != GONE)
		if (++i == REPLAY_BLOCKS)
			abort();
	r->blocks[i] = (struct block){THERE, m->event.address, m->event.bytes, node, owns(r, m, node), 0};
	count_allocation(r, m, node, m->event.bytes);
}

static void play_free(struct replay *r, const struct ml_moment *m)
{
	struct block *b = find_block(r, m->event.address);

	if (b)
		close_block(r, m, m->event.node, b);
	else
		count_into(&r->totals.unknown_frees, r, m);
	acted(r, m, m->event.node);
}

/* What the event before made is taken from its node, as if it had been made under the first of ours. */
static void play_ours(struct replay *r, const struct ml_moment *m)
{
	bool is_mark = r->marked + 1 == r->totals.events;
	struct block *b = r->fresh == m->event.address && r->fresh_ring == m->ring ? find_block(r, r->fresh) : NULL;

	if (!b || !selected(r, b->node) || !selected(r, r->ours))
		return;
	if (r->counting && ours(r, m)) {
		r->nodes[b->node].allocated_bytes -= b->bytes;
		r->nodes[b->node].allocations--;
	}
	b->node = r->ours;
	if (r->counting && ours(r, m)) {
		r->nodes[b->node].allocated_bytes += b->bytes;
		r->nodes[b->node].allocations++;
	}
	recount(r, r->totals.peak_ns, is_mark);
	r->marked = 0;
}

/* Pages. */

static uint32_t page_of(uint64_t address)
{
	return (uint32_t)((address - REPLAY_BASE) / REPLAY_PAGE);
}

static uint32_t pages_in(uint64_t bytes)
{
	return (uint32_t)((bytes + REPLAY_PAGE - 1) / REPLAY_PAGE);
}

/* From the page on, what was one piece is two. */
static void cut_at(struct replay *r, uint32_t at)
{
	uint32_t old;

	if (at == 0 || at >= REPLAY_PAGES || r->pages[at].where != THERE || r->pages[at - 1].where != THERE ||
	    r->pages[at].piece != r->pages[at - 1].piece)
		return;
	old = r->pages[at].piece;
	r->pieces++;
	for (uint32_t i = at; i < REPLAY_PAGES && r->pages[i].where == THERE && r->pages[i].piece == old; i++)
		r->pages[i].piece = r->pieces;
}

static void join_at(struct replay *r, uint32_t at)
{
	uint32_t old;

	if (at == 0 || at >= REPLAY_PAGES || r->pages[at].where != THERE || r->pages[at - 1].where != THERE ||
	    r->pages[at].origin != r->pages[at - 1].origin)
		return;
	old = r->pages[at].piece;
	for (uint32_t i = at; i < REPLAY_PAGES && r->pages[i].where == THERE && r->pages[i].piece == old; i++)
		r->pages[i].piece = r->pages[at - 1].piece;
}

/* Frees what is in the row, piece by piece; returns how many live pieces there were. */
static uint32_t drop_row(struct replay *r, const struct ml_moment *m, uint32_t node, struct page *row, uint32_t from,
			 uint32_t to)
{
	uint32_t live = 0;

	while (from < to) {
		uint32_t end = from + 1;
		if (row[from].where == GONE) {
			from++;
			continue;
		}
		while (end < to && row[end].where != GONE && row[end].piece == row[from].piece)
			end++;
		if (row[from].class == LIVE) {
			count_free(r, m, node, row[from].node, (uint64_t)(end - from) * REPLAY_PAGE);
			live++;
		}
		while (from < end)
			row[from++].where = GONE;
	}
	return live;
}

static void make_room(struct replay *r, const struct ml_moment *m, uint32_t node, uint32_t from, uint32_t to,
		      bool asked)
{
	uint32_t live;

	if (from == to)
		return;
	cut_at(r, from);
	cut_at(r, to);
	live = drop_row(r, m, node, r->pages, from, to);
	while (!asked && live--)
		count_into(&r->totals.missed_frees, r, m);
}

static void map_pages(struct replay *r, const struct ml_moment *m, uint32_t node, enum class class)
{
	uint32_t from = page_of(m->event.address), to = from + pages_in(m->event.bytes);

	r->pieces++;
	for (uint32_t i = from; i < to; i++)
		r->pages[i] = (struct page){THERE, class, r->pieces, r->pieces, node, owns(r, m, node)};
	if (class == LIVE && to > from)
		count_allocation(r, m, node, (uint64_t)(to - from) * REPLAY_PAGE);
}

static void play_map(struct replay *r, const struct ml_moment *m)
{
	const struct ml_event *e = &m->event;
	uint32_t from = page_of(e->address), to = from + pages_in(e->bytes);

	make_room(r, m, e->node, from, to, e->flags & MAP_FIXED);
	map_pages(r, m, e->node,
		  e->brk || (e->flags & MAP_ANONYMOUS && e->prot & PROT_WRITE) ? LIVE
		  : e->flags & MAP_ANONYMOUS                                   ? RESERVED
									       : FILE_BACKED);
	acted(r, m, e->node);
}

static void play_protect(struct replay *r, const struct ml_moment *m)
{
	const struct ml_event *e = &m->event;
	uint32_t from = page_of(e->address), to = from + pages_in(e->bytes);

	for (uint32_t i = from; e->prot & PROT_WRITE && i < to;) {
		uint32_t end = i + 1;
		if (r->pages[i].where != THERE || r->pages[i].class != RESERVED) {
			i++;
			continue;
		}
		cut_at(r, i);
		if (r->pages[to - 1].piece == r->pages[i].piece)
			cut_at(r, to);
		while (end < to && r->pages[end].where == THERE && r->pages[end].piece == r->pages[i].piece)
			end++;
		count_allocation(r, m, e->node, (uint64_t)(end - i) * REPLAY_PAGE);
		r->pieces++;
		for (; i < end; i++)
			r->pages[i] = (struct page){THERE, LIVE, r->pieces, r->pieces, e->node, owns(r, m, e->node)};
	}
	acted(r, m, e->node);
}

/* BEGIN and END. */

/* What was begun did not happen; but what has been put into its place meanwhile shows that the old is gone. */
static void put_back(struct replay *r, uint32_t ring)
{
	struct begun *b = &r->begun[ring];
	struct ml_moment m = {.tid = b->tid};
	struct block *block = held_block(r, ring);
	struct page *row = b->held.page;

	if (block && find_block(r, block->address))
		close_block(r, &m, b->node, block);
	else if (block)
		block->where = THERE;
	for (uint32_t from = 0, to; from < REPLAY_PAGES; from = to) {
		const struct page *newer = &r->pages[from];
		to = from + 1;
		if (row[from].where != HELD)
			continue;
		while (to < REPLAY_PAGES && row[to].where == HELD && row[to].piece == row[from].piece &&
		       r->pages[to].where == newer->where &&
		       (newer->where != THERE || r->pages[to].piece == newer->piece))
			to++;
		if (newer->where == THERE) {
			drop_row(r, &m, b->node, row, from, to);
			continue;
		}
		for (uint32_t i = from; i < to; i++) {
			r->pages[i] = row[i];
			r->pages[i].where = THERE;
			row[i].where = GONE;
		}
		join_at(r, from);
		join_at(r, to);
	}
	memset(b, 0, sizeof *b);
}

static struct begun *play_begin(struct replay *r, const struct ml_moment *m)
{
	struct begun *b = &r->begun[m->ring];

	if (b->record)
		put_back(r, m->ring);
	b->record = m->event.record;
	b->tid = m->tid;
	b->node = m->event.node;
	b->address = m->event.address;
	b->flags = m->event.flags;
	return b;
}

static struct begun *play_end(struct replay *r, const struct ml_moment *m, enum ml_record record)
{
	struct begun *b = &r->begun[m->ring];

	if (b->record == record && b->tid == m->tid)
		return b;
	r->totals.orphan_ends++;
	return NULL;
}

static void hold_pages(struct replay *r, struct begun *b, uint32_t from, uint32_t to)
{
	if (from == to)
		return;
	cut_at(r, from);
	cut_at(r, to);
	for (uint32_t i = from; i < to; i++)
		if (r->pages[i].where == THERE) {
			b->held.page[i] = r->pages[i];
			b->held.page[i].where = HELD;
			r->pages[i].where = GONE;
		}
}

static void play_realloc_begin(struct replay *r, const struct ml_moment *m)
{
	struct begun *b = play_begin(r, m);
	struct block *block = find_block(r, b->address);

	if (block) {
		block->where = HELD;
		block->holder = m->ring;
	}
}

static void play_realloc_end(struct replay *r, const struct ml_moment *m)
{
	struct begun *b = play_end(r, m, ML_RECORD_REALLOC_BEGIN);
	struct block *block;

	if (!b)
		return;
	if (m->event.outcome == ML_OUTCOME_FAILED) {
		put_back(r, m->ring);
		recount(r, m->ns, false);
		return;
	}
	block = held_block(r, m->ring);
	if (block)
		close_block(r, m, b->node, block);
	else if (b->address)
		count_into(&r->totals.unknown_frees, r, m);
	if (m->event.outcome == ML_OUTCOME_DONE)
		open_block(r, m, b->node);
	acted(r, m, b->node);
	memset(b, 0, sizeof *b);
}

static void play_unmap_begin(struct replay *r, const struct ml_moment *m)
{
	uint32_t from = page_of(m->event.address);

	hold_pages(r, play_begin(r, m), from, from + pages_in(m->event.bytes));
}

static bool holds_pages(const struct begun *b)
{
	for (uint32_t i = 0; i < REPLAY_PAGES; i++)
		if (b->held.page[i].where == HELD)
			return true;
	return false;
}

static void play_unmap_end(struct replay *r, const struct ml_moment *m)
{
	struct begun *b = play_end(r, m, ML_RECORD_UNMAP_BEGIN);

	if (!b)
		return;
	if (m->event.outcome == ML_OUTCOME_FAILED) {
		put_back(r, m->ring);
		recount(r, m->ns, false);
		return;
	}
	if (!holds_pages(b))
		count_into(&r->totals.unknown_frees, r, m);
	drop_row(r, m, b->node, b->held.page, 0, REPLAY_PAGES);
	acted(r, m, b->node);
	memset(b, 0, sizeof *b);
}

static void play_remap_begin(struct replay *r, const struct ml_moment *m)
{
	struct begun *b = play_begin(r, m);
	uint32_t from = page_of(m->event.address), pages = pages_in(m->event.bytes);

	b->class = LIVE;
	for (uint32_t i = from + (pages ? pages : 1); i-- > from;)
		if (r->pages[i].where == THERE) {
			b->known = true;
			b->class = r->pages[i].class;
		}
	if (pages && !(b->flags & MREMAP_DONTUNMAP))
		hold_pages(r, b, from, from + pages);
}

static void play_remap_end(struct replay *r, const struct ml_moment *m)
{
	struct begun *b = play_end(r, m, ML_RECORD_REMAP_BEGIN), done;
	uint32_t from = page_of(m->event.address), to = from + pages_in(m->event.bytes);

	if (!b)
		return;
	if (m->event.outcome == ML_OUTCOME_FAILED) {
		put_back(r, m->ring);
		recount(r, m->ns, false);
		return;
	}
	drop_row(r, m, b->node, b->held.page, 0, REPLAY_PAGES);
	done = *b;
	memset(b, 0, sizeof *b);
	if (!done.known)
		count_into(&r->totals.unknown_frees, r, m);
	make_room(r, m, done.node, from, to, done.flags & MREMAP_FIXED);
	map_pages(r, m, done.node, done.class);
	acted(r, m, done.node);
}

/* The rest. */

static void play_arena(struct replay *r, const struct ml_moment *m)
{
	for (uint32_t i = 0; i < r->arenas_n; i++)
		if (r->arenas[i].address == m->event.address)
			r->arenas[i--] = r->arenas[--r->arenas_n];
	if (!m->event.released) {
		r->arenas[r->arenas_n].address = m->event.address;
		r->arenas[r->arenas_n++].bytes = m->event.bytes;
	}
	r->totals.allocator_bytes = 0;
	for (uint32_t i = 0; i < r->arenas_n; i++)
		r->totals.allocator_bytes += r->arenas[i].bytes;
}

static void play(struct replay *r, const struct ml_moment *m)
{
	switch (m->event.record) {
	case ML_RECORD_ALLOC:
		open_block(r, m, m->event.node);
		acted(r, m, m->event.node);
		break;
	case ML_RECORD_FREE:
		play_free(r, m);
		break;
	case ML_RECORD_REALLOC_BEGIN:
		play_realloc_begin(r, m);
		break;
	case ML_RECORD_REALLOC_END:
		play_realloc_end(r, m);
		break;
	case ML_RECORD_MAP:
		play_map(r, m);
		break;
	case ML_RECORD_UNMAP_BEGIN:
		play_unmap_begin(r, m);
		break;
	case ML_RECORD_UNMAP_END:
		play_unmap_end(r, m);
		break;
	case ML_RECORD_REMAP_BEGIN:
		play_remap_begin(r, m);
		break;
	case ML_RECORD_REMAP_END:
		play_remap_end(r, m);
		break;
	case ML_RECORD_PROTECT:
		play_protect(r, m);
		break;
	case ML_RECORD_ARENA:
		play_arena(r, m);
		break;
	case ML_RECORD_TIME:
		if (m->rss)
			r->totals.rss_bytes = m->rss;
		if (m->rss > r->totals.rss_max_bytes)
			r->totals.rss_max_bytes = m->rss;
		break;
	case ML_RECORD_OTHER:
		if (m->event.other == ML_OTHER_OURS)
			play_ours(r, m);
		else
			r->ended = r->totals.finalized = !r->options.end_last;
		break;
	case ML_RECORD_TURN:
	case ML_RECORD_BASE:
		break;
	}
}

static void open_window(struct replay *r)
{
	recount(r, r->options.from_ns, true);
	r->totals.start_live_bytes = r->totals.live_bytes;
	r->counting = true;
}

bool replay_event(struct replay *r, const struct ml_moment *m)
{
	if (r->ended || m->ns >= r->options.to_ns)
		return !(r->ended = true);
	if (!r->counting && m->ns >= r->options.from_ns)
		open_window(r);
	r->totals.events++;
	r->totals.end_ns = m->ns;
	r->counted = false;
	play(r, m);
	r->fresh = m->event.record == ML_RECORD_ALLOC ? m->event.address : 0;
	r->fresh_ring = m->ring;
	return !r->ended;
}

void replay_finish(struct replay *r)
{
	for (uint32_t i = 0; i < REPLAY_RINGS; i++)
		put_back(r, i);
	if (!r->counting)
		open_window(r);
	recount(r, 0, false);
	for (uint32_t i = 0; i < REPLAY_PAGES; i++)
		if (r->pages[i].where == THERE)
			*(r->pages[i].class == LIVE       ? &r->totals.anonymous_bytes
			  : r->pages[i].class == RESERVED ? &r->totals.reserved_bytes
							  : &r->totals.file_bytes) += REPLAY_PAGE;
}

const struct ml_totals *replay_totals(const struct replay *r)
{
	return &r->totals;
}

const struct ml_tally *replay_nodes(const struct replay *r)
{
	return r->nodes;
}

void replay_free(struct replay *r)
{
	free(r->nodes);
	free(r);
}
