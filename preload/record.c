#include "preload/record.h"

#include "preload/merged.h"
#include "preload/options.h"

void ml_record_drop(void)
{
	bool stopped = atomic_load_explicit(&ml_process.state, memory_order_relaxed) == ML_STOPPED;

	ml_process_count(stopped ? ML_COUNTER_DROPPED_STOPPED : ML_COUNTER_DROPPED_EARLY, 1);
}

/* Where the next record of this thread goes; NULL: the event is dropped. Ends with commit() in either case. */
static inline uint8_t *begin(struct ml_ring *r, bool python)
{
	return ml_record_is_ready(r, python) ? r->at : NULL;
}

static bool is_early(void)
{
	int state = atomic_load_explicit(&ml_process.state, memory_order_acquire);

	return state == ML_EARLY || state == ML_WAITING;
}

/* While there is no file yet, records are written one thread at a time, so that the file can be made between two. */
static __attribute__((noinline)) uint8_t *begin_early(struct ml_thread *t, bool python)
{
	uint8_t *at;

	if (is_early() && (python || (ml_process.refused && ml_process.is_initialized && ml_process.is_initialized())))
		ml_process_adopt();
	if (!is_early())
		return begin(t->ring, python);
	ml_lock_take(&ml_process.early_lock);
	if (!is_early()) {
		ml_lock_drop(&ml_process.early_lock);
		return begin(t->ring, python);
	}
	t->early = 1;
	at = begin(t->ring, python);
	if (!at)
		ml_process_wait();
	return at;
}

static inline uint8_t *begin_record(struct ml_thread *t, struct ml_ring *r, uint32_t python)
{
	if (__builtin_expect(atomic_load_explicit(&ml_process.state, memory_order_relaxed) != ML_RECORDING, 0))
		return begin_early(t, python != 0);
	return begin(r, python != 0);
}

static inline void commit(struct ml_thread *t, struct ml_ring *r, uint8_t *at)
{
	if (__builtin_expect(at != NULL, 1))
		ml_ring_commit(r, at);
	if (__builtin_expect(t->early, 0)) {
		t->early = 0;
		ml_lock_drop(&ml_process.early_lock);
	}
	t->busy = ML_IN_CALL;
}

/* With MEMLINE_NATIVE other than caller: what an event of a C hook, or of a hook that tells its caller, is recorded
   under. */
static __attribute__((noinline)) uint32_t unusual_stack(struct ml_ring *r, uint32_t python, enum ml_domain domain,
							const void *caller, bool allocates)
{
	uint32_t node;

	if (ml_options.native == ML_NATIVE_OFF || r->stack.instead)
		return python;
	if (!allocates)
		return ml_stack_caller(&r->stack, python, caller);
	node = ml_merged_node(&r->stack, python, caller);
	return domain == ML_DOMAIN_C ? node : ml_stack_mark(&r->stack, node, ML_MARK_OBJECTS);
}

static __attribute__((noinline)) uint32_t python_stack(struct ml_stack *s)
{
	return ml_stack_python(s, false);
}

/* The stack of the event: the Python node, and in *node what it is recorded under. */
static inline uint32_t stack(struct ml_thread *t, struct ml_ring *r, enum ml_domain domain, const void *caller,
			     bool allocates, uint32_t *node)
{
	uint32_t python;

	t->busy = ML_IN_RECORD;
	python = ml_stack_is_native(&r->stack) ? 0 : python_stack(&r->stack);
	if (!caller)
		*node = python;
	else if (__builtin_expect(ml_options.native == ML_NATIVE_CALLER, 1))
		*node = ml_stack_caller(&r->stack, python, caller);
	else
		*node = unusual_stack(r, python, domain, caller, allocates);
	return python;
}

static uint64_t number(const void *address)
{
	return (uint64_t)(uintptr_t)address;
}

static inline __attribute__((always_inline)) void record_alloc(struct ml_thread *t, enum ml_domain domain,
							       const void *block, uint64_t bytes, const void *caller)
{
	struct ml_ring *r = t->ring;
	uint32_t node, python = stack(t, r, domain, caller, true, &node);
	uint8_t *at = begin_record(t, r, python);

	if (at)
		at = ml_put_alloc(at, &r->coder, domain, node, number(block), bytes);
	commit(t, r, at);
}

void ml_record_alloc(struct ml_thread *t, enum ml_domain domain, const void *block, uint64_t bytes, const void *caller)
{
	record_alloc(t, domain, block, bytes, caller);
}

static inline __attribute__((always_inline)) void
record_free(struct ml_thread *t, enum ml_record code, enum ml_domain domain, const void *block, const void *caller)
{
	struct ml_ring *r = t->ring;
	uint32_t node, python = stack(t, r, domain, caller, code != ML_RECORD_FREE, &node);
	uint8_t *at = begin_record(t, r, python);

	if (at)
		at = ml_put_free(at, &r->coder, code, domain, node, number(block));
	commit(t, r, at);
}

void ml_record_free(struct ml_thread *t, enum ml_domain domain, const void *block, const void *caller)
{
	record_free(t, ML_RECORD_FREE, domain, block, caller);
}

#define DEBUG_HEADER_BYTES (2 * sizeof(size_t))

/* Whether the guard is held for a real free or realloc, and not by our own code. */
static bool in_real_free(const struct ml_thread *t)
{
	return t->busy == ML_IN_CALL && t->freeing &&
	       t->gate == atomic_load_explicit(&ml_wiped->gate, memory_order_relaxed);
}

void ml_record_nested_free(enum ml_domain domain, const void *block, const void *caller)
{
	struct ml_thread *t = &ml_thread;

	if (!block || !in_real_free(t))
		return;
	if (block != t->freeing && (const char *)block + DEBUG_HEADER_BYTES != t->freeing)
		ml_record_free(t, domain, block, caller);
	t->freeing = block;
}

void ml_record_nested_alloc(enum ml_domain domain, const void *block, uint64_t bytes, const void *caller)
{
	struct ml_thread *t = &ml_thread;

	if (block && in_real_free(t) && !t->reallocating)
		ml_record_alloc(t, domain, block, bytes, caller);
}

void ml_record_realloc_begin(struct ml_thread *t, enum ml_domain domain, const void *block, const void *caller)
{
	record_free(t, ML_RECORD_REALLOC_BEGIN, domain, block, caller);
}

/* For records that continue an event or have no stack: they don't walk. */
static uint8_t *begin_bare(struct ml_thread *t, struct ml_ring *r)
{
	t->busy = ML_IN_RECORD;
	if (atomic_load_explicit(&ml_process.state, memory_order_relaxed) != ML_RECORDING)
		return begin_early(t, false);
	return begin(r, true);
}

void ml_record_realloc_end(struct ml_thread *t, enum ml_outcome outcome, const void *block, uint64_t bytes)
{
	struct ml_ring *r = t->ring;
	uint8_t *at = begin_bare(t, r);

	if (at)
		at = ml_put_realloc_end(at, &r->coder, outcome, number(block), bytes);
	commit(t, r, at);
}

void ml_record_map(struct ml_thread *t, int brk, const void *start, uint64_t bytes, int prot, int flags,
		   const void *caller)
{
	struct ml_ring *r = t->ring;
	uint32_t node, python = stack(t, r, ML_DOMAIN_C, caller, true, &node);
	uint8_t *at = begin_record(t, r, python);

	if (at) {
		at = ml_put_range(at, &r->coder, ML_RECORD_MAP | (brk ? ML_REC_BREAK : 0), node, number(start), bytes);
		at = ml_put_varint(at, (unsigned)prot);
		at = ml_put_varint(at, (unsigned)flags);
	}
	commit(t, r, at);
}

void ml_record_unmap_begin(struct ml_thread *t, int brk, const void *start, uint64_t bytes, const void *caller)
{
	struct ml_ring *r = t->ring;
	uint32_t node, python = stack(t, r, ML_DOMAIN_C, caller, false, &node);
	uint8_t *at = begin_record(t, r, python);

	if (at)
		at = ml_put_range(at, &r->coder, ML_RECORD_UNMAP_BEGIN | (brk ? ML_REC_BREAK : 0), node, number(start),
				  bytes);
	commit(t, r, at);
}

void ml_record_unmap_end(struct ml_thread *t, enum ml_outcome outcome)
{
	struct ml_ring *r = t->ring;
	uint8_t *at = begin_bare(t, r);

	if (at)
		at = ml_put_range_end(at, &r->coder, ML_RECORD_UNMAP_END, outcome, 0, 0);
	commit(t, r, at);
}

void ml_record_remap_begin(struct ml_thread *t, const void *start, uint64_t bytes, int flags, const void *caller)
{
	struct ml_ring *r = t->ring;
	uint32_t node, python = stack(t, r, ML_DOMAIN_C, caller, true, &node);
	uint8_t *at = begin_record(t, r, python);

	if (at) {
		at = ml_put_range(at, &r->coder, ML_RECORD_REMAP_BEGIN, node, number(start), bytes);
		at = ml_put_varint(at, (unsigned)flags);
	}
	commit(t, r, at);
}

void ml_record_remap_end(struct ml_thread *t, enum ml_outcome outcome, const void *start, uint64_t bytes)
{
	struct ml_ring *r = t->ring;
	uint8_t *at = begin_bare(t, r);

	if (at)
		at = ml_put_range_end(at, &r->coder, ML_RECORD_REMAP_END, outcome, number(start), bytes);
	commit(t, r, at);
}

void ml_record_protect(struct ml_thread *t, const void *start, uint64_t bytes, int prot, const void *caller)
{
	struct ml_ring *r = t->ring;
	uint32_t node, python = stack(t, r, ML_DOMAIN_C, caller, true, &node);
	uint8_t *at = begin_record(t, r, python);

	if (at) {
		at = ml_put_range(at, &r->coder, ML_RECORD_PROTECT, node, number(start), bytes);
		at = ml_put_varint(at, (unsigned)prot);
	}
	commit(t, r, at);
}

void ml_record_arena(struct ml_thread *t, int released, const void *start, uint64_t bytes)
{
	struct ml_ring *r = t->ring;
	uint8_t *at = begin_bare(t, r);

	if (at)
		at = ml_put_arena(at, &r->coder, released, number(start), bytes);
	commit(t, r, at);
}
