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
#include "trace/format.h"

void ml_record_alloc(struct ml_thread *t, enum ml_domain domain, const void *block, uint64_t bytes, const void *caller);
void ml_record_free(struct ml_thread *t, enum ml_domain domain, const void *block, const void *caller);

/* The same without a caller: nearly all events are of CPython's allocators. */
void ml_record_object_alloc(struct ml_thread *t, enum ml_domain domain, const void *block, uint64_t bytes);
void ml_record_object_free(struct ml_thread *t, enum ml_domain domain, const void *block);

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

#endif
