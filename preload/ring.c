#include "preload/ring.h"

#include <errno.h>
#include <time.h>

#include "preload/barriers.h"
#include "preload/file.h"
#include "preload/logger.h"
#include "preload/monitoring.h"
#include "preload/process.h"
#include "preload/sys.h"

#define RINGS_MAX (1u << 16)
#define RINGS_PER_BLOCK 64u

/* Rings that are asked for a dead owner before another one is made. */
#define ASKED 16u

/* Before an event's own records there may be a TURN, a TIME, a GENERATOR and a FINALIZE. */
#define HEADROOM (5 * ML_RECORD_MAX)

/* Pieces after which a ring is a busy one. */
#define BUSY 16u

/* The resident size is read at most this often. */
#define RSS_PERIOD_NS 10000000u

static struct ml_ring *blocks[RINGS_MAX / RINGS_PER_BLOCK];
static uint32_t ring_count;
static uint32_t next_asked;
static _Atomic uint64_t rss_due_ns;

/* Of a forked child's parent. */
static uint64_t *at_fork;
static uint32_t at_fork_count;

/* The owner of turn 0, in which there are no events. */
#define NOBODY (((uint64_t)1 << ML_TURN_OWNER_BITS) - 1)

_Atomic uint64_t ml_turn = NOBODY;

static uint64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC_COARSE, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec - ml_process.monotonic_ns;
}

static uint8_t *events_of(const struct ml_ring *r)
{
	return (uint8_t *)(r->piece + 1);
}

/* A thread that records little makes its first piece without tables, which would cost it a page. */
static void start_tables(struct ml_ring *r, uint32_t sequence)
{
	if (r->coder.tables)
		__builtin_memset(r->coder.tables, 0, sizeof *r->coder.tables);
	else if (sequence)
		r->coder.tables = ml_sys_pages(sizeof *r->coder.tables);
}

/* An empty piece with the given number. It says anew what its records are coded against. */
static void start_piece(struct ml_ring *r, uint32_t sequence)
{
	uint8_t *events = events_of(r);

	r->coder.address = r->coder.generator = 0;
	r->coder.node = 0;
	start_tables(r, sequence);
	r->full = (uint8_t *)r->piece + r->bytes - HEADROOM;
	r->state_base = ML_PIECE_STATE(sequence, 0) - (uint64_t)(uintptr_t)events;
	r->first_turn = r->turn;
	r->first_ns = r->ns;
	r->first_tid = r->tid;
	ml_ring_commit(r, events);
	/* Nothing of the old piece may be overwritten while the state still counts it in. */
	atomic_signal_fence(memory_order_seq_cst);
	ml_ring_commit(r, ml_put_base(events, r->turn, r->ns, (uint32_t)r->tid));
}

/* A new owner of the ring. The clock is read at its first event. False: no memory for its stack. */
static bool own(struct ml_ring *r, int tid)
{
	r->tid = tid;
	r->countdown = 1;
	r->ns = now_ns();
	r->stack.attend = &r->countdown;
	return ml_stack_prepare(&r->stack);
}

static struct ml_ring *ring_at(uint32_t id)
{
	return &blocks[id / RINGS_PER_BLOCK][id % RINGS_PER_BLOCK];
}

static struct ml_ring *new_ring(int tid)
{
	struct ml_ring **block = &blocks[ring_count / RINGS_PER_BLOCK], *r;
	struct ml_piece *piece;

	if (ring_count == RINGS_MAX)
		return NULL;
	if (!*block)
		*block = ml_sys_pages(RINGS_PER_BLOCK * sizeof **block);
	if (!*block)
		return NULL;
	r = ring_at(ring_count);
	if (!own(r, tid))
		return NULL;
	piece = ml_file_map(ML_EXTENT_RING, ring_count, ML_RING_BYTES);
	if (!piece)
		return NULL;
	r->piece = piece;
	r->bytes = ML_RING_BYTES;
	r->id = ring_count;
	r->turn = 0;
	piece->ring = r->id;
	start_piece(r, 0);
	ring_count++;
	return r;
}

/* A ring whose thread is gone. A thread number that comes back shows that its former bearer is gone as well. */
static struct ml_ring *orphan(int tid)
{
	uint32_t asked = ring_count < ASKED ? ring_count : ASKED;

	for (uint32_t i = 0; i < asked; i++) {
		struct ml_ring *r = ring_at(next_asked++ % ring_count);
		if (r->tid == tid || ml_sys_thread_exists(ml_process.pid, r->tid) == -ESRCH)
			return r;
	}
	return NULL;
}

struct ml_ring *ml_ring_open(int tid)
{
	struct ml_ring *r;

	ml_lock_take(&ml_process.lock);
	r = orphan(tid);
	if (!r) {
		r = new_ring(tid);
		ml_lock_drop(&ml_process.lock);
		return r;
	}
	own(r, tid);
	ml_lock_drop(&ml_process.lock);
	if (r->at > r->full && !ml_ring_attend(r, false))
		return NULL;
	ml_ring_commit(r, ml_put_base(r->at, r->turn, r->ns, (uint32_t)tid));
	return r;
}

void ml_ring_doubt(void)
{
	for (uint32_t i = 0; i < ring_count; i++)
		ml_stack_doubt(&ring_at(i)->stack);
}

void ml_ring_remember(void)
{
	if (at_fork)
		ml_sys_munmap(at_fork, at_fork_count * sizeof *at_fork);
	at_fork = ring_count ? ml_sys_pages(ring_count * sizeof *at_fork) : NULL;
	at_fork_count = at_fork ? ring_count : 0;
	for (uint32_t i = 0; i < at_fork_count; i++)
		at_fork[i] = ring_at(i)->state_base + (uint64_t)(uintptr_t)ring_at(i)->at;
}

bool ml_ring_at_fork(uint32_t id, uint64_t *state)
{
	if (id >= at_fork_count)
		return false;
	*state = at_fork[id];
	return true;
}

void ml_ring_reset(void)
{
	for (uint32_t i = 0; i < ring_count; i++) {
		struct ml_ring *r = ring_at(i);
		r->piece = NULL;
		if (r->coder.tables)
			ml_sys_munmap(r->coder.tables, sizeof *r->coder.tables);
		r->coder.tables = NULL;
		ml_stack_forget(&r->stack);
	}
	ring_count = 0;
	atomic_store(&ml_turn, NOBODY);
	atomic_store(&rss_due_ns, 0);
}

/*
 * A busy ring gets more room, since a system call for each piece costs much the same whatever its size. The old extent
 * stays as it is: it holds the same as the copy of its last piece. Not where a kill loses what the ring holds.
 */
static void grow(struct ml_ring *r, uint32_t sequence)
{
	struct ml_piece *larger;

	if (r->bytes == ML_RING_BYTES_BUSY || sequence < BUSY || ml_file_header()->flags & ML_FLAG_UNMAPPED)
		return;
	ml_lock_take(&ml_process.lock);
	larger = ml_file_map(ML_EXTENT_RING, r->id, ML_RING_BYTES_BUSY);
	ml_lock_drop(&ml_process.lock);
	if (!larger)
		return;
	larger->ring = r->id;
	r->piece = larger;
	r->bytes = ML_RING_BYTES_BUSY;
}

/* The full piece goes to the file and the next one starts. False: it stays, and recording has been stopped. */
static bool flush(struct ml_ring *r)
{
	struct ml_piece *p = r->piece;
	uint64_t used = ML_PIECE_USED(p->state);

	p->checksum = ml_checksum(events_of(r), used);
	p->first_turn = r->first_turn;
	p->last_turn = r->turn;
	p->first_ns = r->first_ns;
	p->last_ns = r->ns;
	p->tid = (uint32_t)r->first_tid;
	if (!ml_file_append(p, sizeof *p + used))
		return false;
	grow(r, ML_PIECE_SEQUENCE(p->state) + 1);
	start_piece(r, ML_PIECE_SEQUENCE(p->state) + 1);
	ml_file_sync(r->piece);
	return true;
}

/* Whether this thread is the one to read the resident size now. */
static bool claim_rss(uint64_t ns)
{
	uint64_t due = atomic_load_explicit(&rss_due_ns, memory_order_relaxed);

	return ns >= due && atomic_compare_exchange_strong_explicit(&rss_due_ns, &due, ns + RSS_PERIOD_NS,
								    memory_order_relaxed, memory_order_relaxed);
}

/* Not in an old turn: what other threads have done since then did not happen so late. */
static void put_time(struct ml_ring *r, uint64_t ns, uint64_t pages)
{
	if (!ml_ring_has_turn(r))
		ml_ring_take_turn(r);
	ml_ring_commit(r, ml_put_time(r->at, ns - r->ns, pages));
	r->ns = ns;
}

static void tick(struct ml_ring *r)
{
	uint64_t ns = now_ns(), pages = 0;

	r->countdown = ML_RING_PERIOD;
	ml_process_obey();
	ml_monitoring_poll();
	ml_stack_look(&r->stack);
	ml_logger_attend();
	if (ns <= r->ns)
		return;
	if (claim_rss(ns)) {
		pages = ml_process_resident_pages();
		if (atomic_load_explicit(&ml_process.state, memory_order_relaxed) == ML_RECORDING)
			ml_process_poll_modules();
	}
	put_time(r, ns, pages);
}

/* The thread has come into the user's code or left it since its last event. */
static void cross(struct ml_ring *r)
{
	struct ml_stack *s = &r->stack;
	uint64_t ns = now_ns();

	s->crossed = false;
	r->countdown = s->events_left - 1;
	if (ns > r->ns)
		put_time(r, ns, 0);
	if (s->generators && s->generator != s->told) {
		ml_ring_commit(r, ml_put_generator(r->at, &r->coder, (uint64_t)(uintptr_t)s->generator));
		s->told = s->generator;
	}
}

uint8_t *ml_ring_attend(struct ml_ring *r, bool look)
{
	if (r->at > r->full && !flush(r)) {
		r->countdown = 1; /* so that the next event comes here as well */
		return NULL;
	}
	if (r->stack.crossed)
		cross(r);
	if (!r->countdown) {
		tick(r);
		look = true;
	}
	if (look && ml_process_finalizes()) {
		ml_barriers_end();
		/* Reports end here: it must stand behind all that other threads have done, so not in an old turn. */
		if (!ml_ring_has_turn(r))
			ml_ring_take_turn(r);
		ml_ring_commit(r, ml_put_finalize(r->at));
	}
	return r->at;
}

uint32_t ml_ring_newest(uint64_t *state)
{
	uint32_t id = (uint32_t)(atomic_load_explicit(&ml_turn, memory_order_acquire) & NOBODY);

	if (id == NOBODY)
		return ML_COUNT_NO_RING;
	*state = __atomic_load_n(&ring_at(id)->piece->state, __ATOMIC_RELAXED);
	return id;
}

void ml_ring_take_turn(struct ml_ring *r)
{
	uint64_t seen = atomic_load_explicit(&ml_turn, memory_order_relaxed), turn;

	do
		turn = (seen >> ML_TURN_OWNER_BITS) + 1;
	while (!atomic_compare_exchange_weak_explicit(&ml_turn, &seen, turn << ML_TURN_OWNER_BITS | r->id,
						      memory_order_acq_rel, memory_order_relaxed));
	ml_ring_commit(r, ml_put_turn(r->at, turn - r->turn));
	r->turn = turn;
}
