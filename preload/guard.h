/*
 * The one guard of each thread: whether a hook records, and that nothing is recorded twice.
 *
 * A hook calls ml_enter() before the real allocator and ml_leave() behind its record. Whatever is called in between
 * (the real allocator, the loader, our own code) finds the guard held and passes straight through. So a block is
 * recorded once, at the outermost layer that was asked for it.
 */
#ifndef ML_PRELOAD_GUARD_H
#define ML_PRELOAD_GUARD_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "preload/hidden.h"

enum ml_busy {
	ML_IDLE = 0,
	ML_IN_CALL = 1,   /* in the real allocator: a nested hook is the same allocation at a lower layer */
	ML_IN_RECORD = 2, /* in our own code, which allocates nothing: a nested hook is a signal handler's */
};

struct ml_ring;

struct ml_thread {
	uint32_t gate; /* equal to *ml_gate: this thread has a ring and recording is on */
	uint32_t busy; /* enum ml_busy */
	/* While nothing is being recorded: how many more hooks pass before one looks at the state of the process. */
	uint32_t countdown;
	uint32_t period; /* the countdown before this one, in a dormant process */
	uint32_t early;  /* holds ml_process.early_lock */
	/* In the real free or realloc: the block that is freed, and whether another takes its place. */
	const void *freeing;
	uint32_t reallocating;
	struct ml_ring *ring;
};

/* Initial-exec: reached without a call, so it can't allocate. */
extern __thread struct ml_thread ml_thread __attribute__((tls_model("initial-exec"))) ML_HIDDEN;

/* What the kernel wipes when the process forks, in whatever way it does (madvise(2), MADV_WIPEONFORK). */
struct ml_wiped {
	_Atomic uint32_t gate;  /* the generation of the trace that is being recorded; 0: nothing is being recorded */
	_Atomic uint32_t alive; /* 1; 0 in a forked child that has not noticed yet */
};

extern struct ml_wiped *ml_wiped ML_HIDDEN;

/*
 * Nothing is recorded, and what comes frequently need not look whether that has changed: malloc and free go straight to
 * the real ones, which the hook that set this has found. Set in a process without CPython, where the hooks that are
 * rare look for it (the loader itself calls calloc for each object that it loads), and where recording is off for good.
 */
extern _Atomic bool ml_asleep ML_HIDDEN;

/* A thread's gate before it has a ring. Generations start behind it. */
#define ML_GATE_NONE 1u

/* The rest of ml_enter(), where the gates differ: see preload/process.h. */
struct ml_thread *ml_enter_slow(struct ml_thread *t, const void *caller);

/* Notes an event that a held guard hid; t->busy is not ML_IDLE. */
void ml_enter_nested(struct ml_thread *t, const void *caller);

/*
 * NULL: record nothing (recording is off, or the guard is held). Else the thread, with the guard held. caller is the
 * address that the hook returns to.
 */
static inline struct ml_thread *ml_enter(const void *caller)
{
	struct ml_thread *t = &ml_thread;
	uint32_t gate = atomic_load_explicit(&ml_wiped->gate, memory_order_relaxed);

	if (__builtin_expect(t->gate == gate, 1)) {
		if (__builtin_expect(t->busy != ML_IDLE, 0)) {
			ml_enter_nested(t, caller);
			return NULL;
		}
		t->busy = ML_IN_CALL;
		atomic_signal_fence(memory_order_seq_cst);
		return t;
	}
	if (!gate && --t->countdown)
		return NULL;
	return ml_enter_slow(t, caller);
}

static inline void ml_leave(struct ml_thread *t)
{
	atomic_signal_fence(memory_order_seq_cst);
	t->busy = ML_IDLE;
}

#endif
