/*
 * Rings: where the events of a thread go. A ring holds one piece of the trace in memory that the file maps; a full
 * piece is appended to the file and the ring starts the next one. A ring belongs to one thread until the kernel says
 * that the thread is gone; then another may take it over, with all that was learnt about coding and stacks.
 */
#ifndef ML_PRELOAD_RING_H
#define ML_PRELOAD_RING_H

#include <stdatomic.h>
#include <stdbool.h>

#include "preload/hidden.h"
#include "preload/stack.h"
#include "trace/put.h"

struct ml_ring {
	uint8_t *at;         /* where the next record goes */
	const uint8_t *full; /* no record may start behind it: the rest is room for what ml_ring_begin() puts */
	uint64_t state_base; /* piece->state of a piece whose newest record ends at address 0 */
	struct ml_piece *piece;
	uint32_t bytes; /* of the extent in which the piece is made */
	struct ml_coder coder;
	uint64_t turn;      /* in force in this ring */
	uint32_t countdown; /* events until the clock is read again */
	uint32_t id;
	uint64_t ns; /* since monotonic_ns, of the last TIME or BASE record */
	int tid;     /* of the thread that owns the ring */
	struct ml_stack stack;
	uint64_t first_turn, first_ns; /* of the piece */
	int first_tid;
} __attribute__((aligned(64)));

/* A ring for the calling thread: that of a thread that is gone, or a new one. NULL: none can be had. Takes the lock. */
struct ml_ring *ml_ring_open(int tid);

/* Events of all threads may not have been seen. */
void ml_ring_doubt(void);

/* In a forked child: notes how far the parent's rings had come, by what is in memory of the child's own. */
void ml_ring_remember(void);

/* The ring's piece at the fork, as ml_piece.state has it. False: the parent had no such ring. */
bool ml_ring_at_fork(uint32_t id, uint64_t *state);

/* Forgets all rings; their memory belongs to the file. For a trace that starts anew. */
void ml_ring_reset(void);

/* The slow part of ml_ring_begin(): the clock, the interpreter's end, a full piece. NULL: the piece can't be stored. */
uint8_t *ml_ring_attend(struct ml_ring *r, bool look);

/* Turn and owner of the newest record of the process: turn << ML_TURN_OWNER_BITS | ring. */
extern _Atomic uint64_t ml_turn ML_HIDDEN;
#define ML_TURN_OWNER_BITS 24

/* Whether the newest record of the process is this ring's, so that the next one belongs to the same turn. */
static inline bool ml_ring_has_turn(const struct ml_ring *r)
{
	uint64_t turn = atomic_load_explicit(&ml_turn, memory_order_relaxed);

	return (turn & (((uint64_t)1 << ML_TURN_OWNER_BITS) - 1)) == r->id;
}

/* The ring of the newest record of the process, and the state of its piece; ML_COUNT_NO_RING: there is no record. */
uint32_t ml_ring_newest(uint64_t *state);

/* Takes the turn for this ring: notes it in front of the record. */
void ml_ring_take_turn(struct ml_ring *r);

/* Stores what was put at r->at, up to at: from here on a SIGKILL does not lose it. */
static inline void ml_ring_commit(struct ml_ring *r, uint8_t *at)
{
	r->at = at;
	__atomic_store_n(&r->piece->state, r->state_base + (uint64_t)(uintptr_t)at, __ATOMIC_RELEASE);
}

/* Whether the newest record of the ring is about the block: then it is the block's allocation. */
static inline bool ml_ring_is_newest(const struct ml_ring *r, const void *block)
{
	return r->coder.address == (uintptr_t)block >> 4;
}

/* Events between two looks at the clock. */
#define ML_RING_PERIOD 64u

#endif
