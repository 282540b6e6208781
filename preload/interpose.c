/*
 * The functions that this library puts in front of libc's, and nothing else. Each does what libc's does, with the same
 * result and errno, and notes it.
 */
#include <malloc.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/auxv.h>
#include <unistd.h>

#include "preload/process.h"
#include "preload/pymem.h"
#include "preload/record.h"
#include "preload/symbols.h"
#include "preload/sys.h"

#define EXPORT __attribute__((visibility("default")))
#define CALLER __builtin_return_address(0)

/* C23; older headers don't have them. */
void free_sized(void *block, size_t bytes);
void free_aligned_sized(void *block, size_t alignment, size_t bytes);

/* What is behind us in the loader's order. X(result, name, parameters). */
#define REAL_LIST(X)                                                                                                   \
	X(void *, malloc, (size_t))                                                                                    \
	X(void *, calloc, (size_t, size_t))                                                                            \
	X(void *, realloc, (void *, size_t))                                                                           \
	X(void *, reallocarray, (void *, size_t, size_t))                                                              \
	X(void, free, (void *))                                                                                        \
	X(void, free_sized, (void *, size_t))                                                                          \
	X(void, free_aligned_sized, (void *, size_t, size_t))                                                          \
	X(int, posix_memalign, (void **, size_t, size_t))                                                              \
	X(void *, aligned_alloc, (size_t, size_t))                                                                     \
	X(void *, memalign, (size_t, size_t))                                                                          \
	X(void *, valloc, (size_t))                                                                                    \
	X(void *, pvalloc, (size_t))                                                                                   \
	X(size_t, malloc_usable_size, (void *))                                                                        \
	X(void *, mmap, (void *, size_t, int, int, int, off_t))                                                        \
	X(void *, mmap64, (void *, size_t, int, int, int, off64_t))                                                    \
	X(int, munmap, (void *, size_t))                                                                               \
	X(void *, mremap, (void *, size_t, size_t, int, ...))                                                          \
	X(int, mprotect, (void *, size_t, int))                                                                        \
	X(int, brk, (void *))                                                                                          \
	X(void *, sbrk, (intptr_t))                                                                                    \
	X(int, dlclose, (void *))                                                                                      \
	X(void, _exit, (int))                                                                                          \
	X(void, _Exit, (int))

static void *first_malloc(size_t bytes);
static void first_free(void *block);

/* Two can be called before they are found: nothing is asked for their sake in what is called most. */
static struct {
#define X(result, name, parameters) result(*name) parameters;
	REAL_LIST(X)
#undef X
} real = {.malloc = first_malloc, .free = first_free};

static _Atomic bool found; /* all of them */

static __attribute__((noinline, cold)) void resolve(void)
{
#define X(result, name, parameters) __atomic_store_n((void **)&real.name, ml_symbols_next(#name), __ATOMIC_RELAXED);
	REAL_LIST(X)
#undef X
	atomic_store_explicit(&found, true, memory_order_release);
}

static inline void ready(void)
{
	if (__builtin_expect(!atomic_load_explicit(&found, memory_order_acquire), 0))
		resolve();
}

static void *first_malloc(size_t bytes)
{
	resolve();
	return real.malloc(bytes);
}

static void first_free(void *block)
{
	resolve();
	real.free(block);
}

/* The guard of malloc and free. */
static inline struct ml_thread *enter_found(const void *caller)
{
	struct ml_thread *t = ml_enter(caller);

	if (t && __builtin_expect(!atomic_load_explicit(&ml_pymem_settled, memory_order_relaxed), 0))
		ml_pymem_check(t, caller);
	return t;
}

/* The guard of another C hook. */
static inline struct ml_thread *enter(const void *caller)
{
	ready();
	return enter_found(caller);
}

static inline void *allocated(struct ml_thread *t, void *block, size_t bytes, const void *caller)
{
	if (t) {
		if (block)
			ml_record_alloc(t, ML_DOMAIN_C, block, bytes, caller);
		ml_leave(t);
	} else if (__builtin_expect(ml_thread.freeing != NULL, 0)) {
		ml_record_nested_alloc(ML_DOMAIN_C, block, bytes, caller);
	}
	return block;
}

static size_t whole_pages(size_t bytes)
{
	size_t page = getauxval(AT_PAGESZ);

	return (bytes + page - 1) / page * page;
}

static inline bool is_asleep(void)
{
	return __builtin_expect(atomic_load_explicit(&ml_asleep, memory_order_relaxed), 1);
}

/* A function of its own, as free_awake(), so that malloc saves no registers where it is asleep. */
static __attribute__((noinline)) void *malloc_awake(size_t bytes, const void *caller)
{
	struct ml_thread *t = enter_found(caller);

	return allocated(t, real.malloc(bytes), bytes, caller);
}

EXPORT void *malloc(size_t bytes)
{
	return is_asleep() ? real.malloc(bytes) : malloc_awake(bytes, CALLER);
}

EXPORT void *calloc(size_t count, size_t bytes)
{
	struct ml_thread *t = enter(CALLER);

	return allocated(t, real.calloc(count, bytes), count * bytes, CALLER);
}

EXPORT void *aligned_alloc(size_t alignment, size_t bytes)
{
	struct ml_thread *t = enter(CALLER);

	return allocated(t, real.aligned_alloc(alignment, bytes), bytes, CALLER);
}

EXPORT void *memalign(size_t alignment, size_t bytes)
{
	struct ml_thread *t = enter(CALLER);

	return allocated(t, real.memalign(alignment, bytes), bytes, CALLER);
}

EXPORT void *valloc(size_t bytes)
{
	struct ml_thread *t = enter(CALLER);

	return allocated(t, real.valloc(bytes), bytes, CALLER);
}

EXPORT void *pvalloc(size_t bytes)
{
	struct ml_thread *t = enter(CALLER);

	return allocated(t, real.pvalloc(bytes), whole_pages(bytes), CALLER);
}

EXPORT int posix_memalign(void **block, size_t alignment, size_t bytes)
{
	struct ml_thread *t = enter(CALLER);
	int error = real.posix_memalign(block, alignment, bytes);

	allocated(t, error ? NULL : *block, bytes, CALLER);
	return error;
}

/* The two sides of a realloc whose old block is not NULL. */
static inline void reallocates(struct ml_thread *t, void *old, const void *caller)
{
	ml_record_realloc_begin(t, ML_DOMAIN_C, old, caller);
	t->freeing = old;
	t->reallocating = 1;
}

static inline void reallocated(struct ml_thread *t, void *block, size_t bytes)
{
	enum ml_outcome outcome = block ? ML_OUTCOME_DONE : bytes ? ML_OUTCOME_FAILED : ML_OUTCOME_FREED;

	t->freeing = NULL;
	t->reallocating = 0;
	ml_record_realloc_end(t, outcome, block, bytes);
	ml_leave(t);
}

EXPORT void *realloc(void *old, size_t bytes)
{
	struct ml_thread *t = enter(CALLER);
	void *block;

	if (!t || !old)
		return allocated(t, real.realloc(old, bytes), bytes, CALLER);
	reallocates(t, old, CALLER);
	block = real.realloc(old, bytes);
	reallocated(t, block, bytes);
	return block;
}

EXPORT void *reallocarray(void *old, size_t count, size_t bytes)
{
	struct ml_thread *t = enter(CALLER);
	size_t product;
	void *block;

	/* One that overflows fails and frees nothing, also where the product comes out as 0. */
	if (__builtin_mul_overflow(count, bytes, &product))
		product = SIZE_MAX;
	if (!t || !old)
		return allocated(t, real.reallocarray(old, count, bytes), product, CALLER);
	reallocates(t, old, CALLER);
	block = real.reallocarray(old, count, bytes);
	reallocated(t, block, product);
	return block;
}

/* The two sides of a free. What stands between them is a real free. */
static inline const void *freeing(struct ml_thread *t, void *block, const void *caller)
{
	const void *outer = ml_thread.freeing;

	if (t) {
		if (block)
			ml_record_free(t, ML_DOMAIN_C, block, caller);
		t->freeing = block;
	} else if (__builtin_expect(outer != NULL, 0)) {
		ml_record_nested_free(ML_DOMAIN_C, block, caller);
	}
	return outer;
}

static inline void freed(struct ml_thread *t, const void *outer)
{
	ml_thread.freeing = outer;
	if (t)
		ml_leave(t);
}

static __attribute__((noinline)) void free_awake(void *block, const void *caller)
{
	struct ml_thread *t = enter_found(caller);
	const void *outer = freeing(t, block, caller);

	real.free(block);
	freed(t, outer);
}

EXPORT void free(void *block)
{
	if (is_asleep())
		real.free(block);
	else
		free_awake(block, CALLER);
}

/* Where there is no other, free() does. */
EXPORT void free_sized(void *block, size_t bytes)
{
	struct ml_thread *t = enter(CALLER);
	const void *outer = freeing(t, block, CALLER);

	if (real.free_sized)
		real.free_sized(block, bytes);
	else
		real.free(block);
	freed(t, outer);
}

EXPORT void free_aligned_sized(void *block, size_t alignment, size_t bytes)
{
	struct ml_thread *t = enter(CALLER);
	const void *outer = freeing(t, block, CALLER);

	if (real.free_aligned_sized)
		real.free_aligned_sized(block, alignment, bytes);
	else
		real.free(block);
	freed(t, outer);
}

EXPORT size_t malloc_usable_size(void *block)
{
	ready();
	return real.malloc_usable_size(block);
}

static inline void *mapped(struct ml_thread *t, void *start, size_t bytes, int prot, int flags, const void *caller)
{
	if (t) {
		if (start != MAP_FAILED)
			ml_record_map(t, 0, start, whole_pages(bytes), prot, flags, caller);
		ml_leave(t);
	}
	return start;
}

EXPORT void *mmap(void *at, size_t bytes, int prot, int flags, int fd, off_t offset)
{
	struct ml_thread *t = enter(CALLER);

	return mapped(t, real.mmap(at, bytes, prot, flags, fd, offset), bytes, prot, flags, CALLER);
}

EXPORT void *mmap64(void *at, size_t bytes, int prot, int flags, int fd, off64_t offset)
{
	struct ml_thread *t = enter(CALLER);

	return mapped(t, real.mmap64(at, bytes, prot, flags, fd, offset), bytes, prot, flags, CALLER);
}

EXPORT int munmap(void *start, size_t bytes)
{
	struct ml_thread *t = enter(CALLER);
	int result;

	if (!t)
		return real.munmap(start, bytes);
	ml_record_unmap_begin(t, 0, start, whole_pages(bytes), CALLER);
	result = real.munmap(start, bytes);
	ml_record_unmap_end(t, result ? ML_OUTCOME_FAILED : ML_OUTCOME_DONE);
	ml_leave(t);
	return result;
}

EXPORT void *mremap(void *old, size_t old_bytes, size_t bytes, int flags, ...)
{
	struct ml_thread *t = enter(CALLER);
	void *at = NULL, *start;
	va_list rest;

	if (flags & (MREMAP_FIXED | MREMAP_DONTUNMAP)) {
		va_start(rest, flags);
		at = va_arg(rest, void *);
		va_end(rest);
	}
	if (!t)
		return real.mremap(old, old_bytes, bytes, flags, at);
	ml_record_remap_begin(t, old, whole_pages(old_bytes), flags, CALLER);
	start = real.mremap(old, old_bytes, bytes, flags, at);
	ml_record_remap_end(t, start == MAP_FAILED ? ML_OUTCOME_FAILED : ML_OUTCOME_DONE, start, whole_pages(bytes));
	ml_leave(t);
	return start;
}

EXPORT int mprotect(void *start, size_t bytes, int prot)
{
	struct ml_thread *t = enter(CALLER);
	int result = real.mprotect(start, bytes, prot);

	if (t) {
		if (!result)
			ml_record_protect(t, start, whole_pages(bytes), prot, CALLER);
		ml_leave(t);
	}
	return result;
}

/* The program break moves from one address to another. Down is recorded before it happens, up behind it. */
static void break_goes_down(struct ml_thread *t, char *to, char *from, const void *caller)
{
	if (to < from)
		ml_record_unmap_begin(t, 1, to, (size_t)(from - to), caller);
}

static void break_has_moved(struct ml_thread *t, char *to, char *from, int failed, const void *caller)
{
	if (to < from)
		ml_record_unmap_end(t, failed ? ML_OUTCOME_FAILED : ML_OUTCOME_DONE);
	else if (!failed && to > from)
		ml_record_map(t, 1, from, (size_t)(to - from), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS,
			      caller);
	ml_leave(t);
}

EXPORT int brk(void *to)
{
	struct ml_thread *t = enter(CALLER);
	char *from;
	int result;

	if (!t)
		return real.brk(to);
	from = real.sbrk(0);
	break_goes_down(t, to, from, CALLER);
	result = real.brk(to);
	break_has_moved(t, to, from, result, CALLER);
	return result;
}

EXPORT void *sbrk(intptr_t by)
{
	struct ml_thread *t = by ? enter(CALLER) : NULL;
	char *from;
	void *result;

	ready();
	if (!t)
		return real.sbrk(by);
	from = real.sbrk(0);
	break_goes_down(t, from + by, from, CALLER);
	result = real.sbrk(by);
	break_has_moved(t, from + by, from, result == (void *)-1, CALLER);
	return result;
}

/* An address may belong to another library from here on. The guard is not held meanwhile: destructors of the program
   run. */
EXPORT int dlclose(void *handle)
{
	struct ml_thread *t;
	int result;

	ready();
	result = real.dlclose(handle);
	t = enter(CALLER);
	if (t) {
		ml_process_new_modules();
		ml_leave(t);
	}
	return result;
}

EXPORT __attribute__((noreturn)) void _exit(int status)
{
	ready();
	ml_process_end(status & 0xff);
	real._exit(status);
	__builtin_unreachable();
}

EXPORT __attribute__((noreturn)) void _Exit(int status)
{
	ready();
	ml_process_end(status & 0xff);
	real._Exit(status);
	__builtin_unreachable();
}
