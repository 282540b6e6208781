/*
 * The hot path: one event, from the hook to the ring. Each function is called with the guard held (t from ml_enter()).
 *
 * Order. A free, and the begin of a realloc, munmap or mremap, is recorded before the real call; an allocation and
 * every end after it. So the allocator's own locking orders the records of different threads on one address.
 *
 * caller: who called the C allocator; NULL: no native frame (the hooks of CPython's allocators, but for those of
 * MEMLINE_NATIVE=full).
 */
#ifndef ML_PRELOAD_RECORD_H
#define ML_PRELOAD_RECORD_H

#include "preload/guard.h"
#include "preload/process.h"
#include "preload/ring.h"
#include "trace/put.h"

void ml_record_alloc(struct ml_thread *t, enum ml_domain domain, const void *block, uint64_t bytes, const void *caller);
void ml_record_free(struct ml_thread *t, enum ml_domain domain, const void *block, const void *caller);

/*
 * For a free that found the guard held. At a lower layer it mostly is the very block that is being freed above, which
 * must not be recorded twice: the same address or, under CPython's debug allocator, that of its header of two words
 * (Objects/obmalloc.c, _PyMem_DebugRawFree). But tracemalloc frees what it knew of a block in the middle of that
 * block's free; what is at another address is recorded. To be called before the real free; behind it the caller puts
 * ml_thread.freeing back to what it was.
 */
void ml_record_nested_free(enum ml_domain domain, const void *block, const void *caller);

/* The same for an allocation, when it has been made: in the middle of a free it is no part of that; in the middle of an
   allocation or a realloc it is taken for a lower layer's. */
void ml_record_nested_alloc(enum ml_domain domain, const void *block, uint64_t bytes, const void *caller);

void ml_record_realloc_begin(struct ml_thread *t, enum ml_domain domain, const void *block, const void *caller);
void ml_record_realloc_end(struct ml_thread *t, enum ml_outcome outcome, const void *block, uint64_t bytes);

/* Ranges are whole pages, but for those of brk. */
void ml_record_map(struct ml_thread *t, int brk, const void *start, uint64_t bytes, int prot, int flags,
		   const void *caller);
void ml_record_unmap_begin(struct ml_thread *t, int brk, const void *start, uint64_t bytes, const void *caller);
void ml_record_unmap_end(struct ml_thread *t, enum ml_outcome outcome);
void ml_record_remap_begin(struct ml_thread *t, const void *start, uint64_t bytes, int flags, const void *caller);
void ml_record_remap_end(struct ml_thread *t, enum ml_outcome outcome, const void *start, uint64_t bytes);
void ml_record_protect(struct ml_thread *t, const void *start, uint64_t bytes, int prot, const void *caller);

/* May also be called while the guard is held for the object that the arena is made for. */
void ml_record_arena(struct ml_thread *t, int released, const void *start, uint64_t bytes);

/* Counts an event that has no place to go. */
void ml_record_drop(void);

/* Whether the next record of the ring can go to r->at. False: the event is dropped. python: it has a Python stack. */
static inline __attribute__((always_inline)) bool ml_record_is_ready(struct ml_ring *r, bool python)
{
	if (__builtin_expect(!--r->countdown || r->at > r->full, 0) ||
	    (__builtin_expect(!python, 0) && ml_process_may_finalize())) {
		if (!ml_ring_attend(r, !python)) {
			ml_record_drop();
			return false;
		}
	}
	if (__builtin_expect(!ml_ring_has_turn(r), 0))
		ml_ring_take_turn(r);
	return true;
}

/* ml_record_alloc() and ml_record_free() without a caller: nearly all events are of CPython's allocators. So these are
   in one piece with the hooks. held: see ml_walk_top_held(). */

static inline __attribute__((always_inline)) void ml_record_object_alloc(struct ml_thread *t, enum ml_domain domain,
									 const void *block, uint64_t bytes, bool held)
{
	struct ml_ring *r = t->ring;
	uint32_t node;

	if (__builtin_expect(atomic_load_explicit(&ml_process.state, memory_order_relaxed) != ML_RECORDING, 0)) {
		ml_record_alloc(t, domain, block, bytes, NULL);
		return;
	}
	t->busy = ML_IN_RECORD;
	node = ml_stack_python(&r->stack, held);
	if (ml_record_is_ready(r, node != 0))
		ml_ring_commit(r, ml_put_alloc(r->at, &r->coder, domain, node, (uintptr_t)block, bytes));
	t->busy = ML_IN_CALL;
}

static inline __attribute__((always_inline)) void ml_record_object_free(struct ml_thread *t, enum ml_domain domain,
									const void *block, bool held)
{
	struct ml_ring *r = t->ring;
	uint32_t node;

	if (__builtin_expect(atomic_load_explicit(&ml_process.state, memory_order_relaxed) != ML_RECORDING, 0)) {
		ml_record_free(t, domain, block, NULL);
		return;
	}
	t->busy = ML_IN_RECORD;
	node = ml_stack_python(&r->stack, held);
	if (ml_record_is_ready(r, node != 0))
		ml_ring_commit(r, ml_put_free(r->at, &r->coder, ML_RECORD_FREE, domain, node, (uintptr_t)block));
	t->busy = ML_IN_CALL;
}

#endif
