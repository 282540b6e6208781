/*
 * A lock for the rare paths (a new node, a new extent): a futex word as in Drepper, "Futexes Are Tricky", mutex 3.
 * Taken only by a thread that holds its guard, so that no hook can ask for it twice. A forked child sets it to zero.
 */
#ifndef ML_PRELOAD_LOCK_H
#define ML_PRELOAD_LOCK_H

#include <linux/futex.h>
#include <stdatomic.h>

#include "preload/sys.h"

struct ml_lock {
	_Atomic uint32_t word; /* 0 free, 1 taken, 2 taken and somebody waits */
};

static inline void ml_lock_take(struct ml_lock *l)
{
	uint32_t seen = 0;

	if (atomic_compare_exchange_strong_explicit(&l->word, &seen, 1, memory_order_acquire, memory_order_relaxed))
		return;
	if (seen != 2)
		seen = atomic_exchange_explicit(&l->word, 2, memory_order_acquire);
	while (seen) {
		ml_sys_futex(&l->word, FUTEX_WAIT_PRIVATE, 2, NULL);
		seen = atomic_exchange_explicit(&l->word, 2, memory_order_acquire);
	}
}

static inline void ml_lock_drop(struct ml_lock *l)
{
	if (atomic_exchange_explicit(&l->word, 0, memory_order_release) == 2)
		ml_sys_futex(&l->word, FUTEX_WAKE_PRIVATE, 1, NULL);
}

static inline void ml_lock_reset(struct ml_lock *l)
{
	atomic_store_explicit(&l->word, 0, memory_order_relaxed);
}

#endif
