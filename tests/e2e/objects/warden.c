/*
 * Stands behind libmemline.so and in front of the C library (LD_PRELOAD="libmemline.so:warden.so"), and ends the
 * process where a call comes through that the program has not made. For that the program says of each what it will be:
 *
 *	warden_close();
 *	warden_expect("malloc", 100);
 *	block = malloc(100);
 *	warden_open();
 *
 * How many calls of each function came through at all is written to the file that WARDEN_COUNTS names.
 * built with: -fno-builtin -ldl -Wno-missing-prototypes */
#include <dlfcn.h>
#include <malloc.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#define STATUS 97 /* of a process that was ended */

/* X(result, name, parameters) */
#define CALLS(X)                                                                                                       \
	X(void *, malloc, (size_t))                                                                                    \
	X(void *, calloc, (size_t, size_t))                                                                            \
	X(void *, realloc, (void *, size_t))                                                                           \
	X(void *, reallocarray, (void *, size_t, size_t))                                                              \
	X(void, free, (void *))                                                                                        \
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
	X(void *, sbrk, (intptr_t))                                                                                    \
	X(int, dlclose, (void *))

static struct {
#define X(result, name, parameters) result(*name) parameters;
	CALLS(X)
#undef X
} real;

static struct {
#define X(result, name, parameters) atomic_long name;
	CALLS(X)
#undef X
} counts;

/* Initial-exec: it takes no call to reach it, and no memory. */
static __thread struct {
	int closed;
	const char *expected; /* the call that comes next; NULL: none */
	size_t bytes;
} mine __attribute__((tls_model("initial-exec")));

/* A thread is closed if this and its own come to more than 0. */
static atomic_int all_closed;

static bool is_closed(void)
{
	return mine.closed + atomic_load(&all_closed) > 0;
}

static __attribute__((noreturn)) void end_process(const char *what, const char *name, size_t bytes)
{
	char text[128];
	int length = snprintf(text, sizeof text, "warden: %s: %s(%zu)\n", what, name, bytes);

	syscall(SYS_write, 2, text, (size_t)length);
	syscall(SYS_exit_group, STATUS);
	__builtin_unreachable();
}

static void check_all_came(void)
{
	if (mine.expected)
		end_process("did not come", mine.expected, mine.bytes);
}

void warden_close(void)
{
	mine.closed++;
}

void warden_open(void)
{
	check_all_came();
	mine.closed--;
}

/* All threads, also those that are yet to come, but for one that has opened itself once more. */
void warden_close_all(void)
{
	atomic_fetch_add(&all_closed, 1);
}

void warden_open_all(void)
{
	atomic_fetch_sub(&all_closed, 1);
}

/* The call that this thread makes next, if it is closed. bytes: its size, or SIZE_MAX, if that is not known. */
void warden_expect(const char *name, size_t bytes)
{
	if (!is_closed())
		return;
	check_all_came();
	mine.expected = name;
	mine.bytes = bytes;
}

static __attribute__((noinline, cold)) void resolve(void)
{
#define X(result, name, parameters) *(void **)&real.name = dlsym(RTLD_NEXT, #name);
	CALLS(X)
#undef X
}

static void come(const char *name, atomic_long *count, size_t bytes)
{
	if (!real.dlclose) /* the last one of them */
		resolve();
	atomic_fetch_add_explicit(count, 1, memory_order_relaxed);
	if (!is_closed())
		return;
	if (!mine.expected || strcmp(mine.expected, name) != 0 || (mine.bytes != bytes && mine.bytes != SIZE_MAX))
		end_process("not expected", name, bytes);
	mine.expected = NULL;
}

#define COME(name, bytes) come(#name, &counts.name, bytes)

void *malloc(size_t bytes)
{
	COME(malloc, bytes);
	return real.malloc(bytes);
}

void *calloc(size_t count, size_t bytes)
{
	COME(calloc, count * bytes);
	return real.calloc(count, bytes);
}

void *realloc(void *old, size_t bytes)
{
	COME(realloc, bytes);
	return real.realloc(old, bytes);
}

/* The C library's own calls realloc(). */
void *reallocarray(void *old, size_t count, size_t bytes)
{
	size_t product;

	if (__builtin_mul_overflow(count, bytes, &product))
		product = SIZE_MAX;
	COME(reallocarray, product);
	return real.realloc(old, product);
}

/* NULL, which the C library frees where a thread ends, is nothing. */
void free(void *block)
{
	if (!block)
		return;
	COME(free, 0);
	real.free(block);
}

int posix_memalign(void **block, size_t alignment, size_t bytes)
{
	COME(posix_memalign, bytes);
	return real.posix_memalign(block, alignment, bytes);
}

void *aligned_alloc(size_t alignment, size_t bytes)
{
	COME(aligned_alloc, bytes);
	return real.aligned_alloc(alignment, bytes);
}

void *memalign(size_t alignment, size_t bytes)
{
	COME(memalign, bytes);
	return real.memalign(alignment, bytes);
}

void *valloc(size_t bytes)
{
	COME(valloc, bytes);
	return real.valloc(bytes);
}

void *pvalloc(size_t bytes)
{
	COME(pvalloc, bytes);
	return real.pvalloc(bytes);
}

size_t malloc_usable_size(void *block)
{
	COME(malloc_usable_size, 0);
	return real.malloc_usable_size(block);
}

void *mmap(void *at, size_t bytes, int prot, int flags, int fd, off_t offset)
{
	COME(mmap, bytes);
	return real.mmap(at, bytes, prot, flags, fd, offset);
}

void *mmap64(void *at, size_t bytes, int prot, int flags, int fd, off64_t offset)
{
	COME(mmap64, bytes);
	return real.mmap64(at, bytes, prot, flags, fd, offset);
}

int munmap(void *start, size_t bytes)
{
	COME(munmap, bytes);
	return real.munmap(start, bytes);
}

void *mremap(void *old, size_t old_bytes, size_t bytes, int flags, ...)
{
	void *at = NULL;
	va_list rest;

	COME(mremap, bytes);
	if (flags & MREMAP_FIXED) {
		va_start(rest, flags);
		at = va_arg(rest, void *);
		va_end(rest);
	}
	return real.mremap(old, old_bytes, bytes, flags, at);
}

int mprotect(void *start, size_t bytes, int prot)
{
	COME(mprotect, bytes);
	return real.mprotect(start, bytes, prot);
}

void *sbrk(intptr_t by)
{
	COME(sbrk, (size_t)by);
	return real.sbrk(by);
}

/* What the loader does meanwhile is the program's; what is done behind it is not. */
int dlclose(void *handle)
{
	int was = mine.closed, result;

	COME(dlclose, 0);
	mine.closed = -1000;
	result = real.dlclose(handle);
	mine.closed = was;
	return result;
}

__attribute__((destructor)) static void write_counts(void)
{
	const char *path = getenv("WARDEN_COUNTS");
	FILE *file = path ? fopen(path, "w") : NULL;

	if (!file)
		return;
#define X(result, name, parameters) fprintf(file, "%s %ld\n", #name, atomic_load(&counts.name));
	CALLS(X)
#undef X
	fclose(file);
}
