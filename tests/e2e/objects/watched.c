/*
 * Calls that the warden (warden.c) is told of, so that it sees whether anybody else makes one.
 * built with: -O2 -fomit-frame-pointer -fno-builtin -pthread -ldl -Wno-missing-prototypes */
#include <dlfcn.h>
#include <malloc.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#define NOINLINE __attribute__((noinline))
#define NO_TAIL_CALL __asm__ volatile("")

void warden_close(void);
void warden_open(void);
void warden_close_all(void);
void warden_open_all(void);
void warden_expect(const char *name, size_t bytes);

/* That an object has variables of each thread makes work for the loader in each thread. */
static __thread volatile long touched;

static void drop(void *block)
{
	warden_expect("free", 0);
	free(block);
}

NOINLINE void *watched_malloc(size_t n)
{
	void *block;

	warden_expect("malloc", n);
	block = malloc(n);
	__asm__ volatile("" : "+r"(block)); /* no tail call */
	return block;
}

/* Eight blocks of n bytes each time. */
NOINLINE void watched_heap(int times, size_t n)
{
	void *block;

	warden_close();
	for (int i = 0; i < times; i++) {
		warden_expect("malloc", n);
		block = malloc(n);
		warden_expect("malloc_usable_size", 0);
		if (malloc_usable_size(block) < n)
			abort();
		warden_expect("realloc", n + 1000);
		drop(realloc(block, n + 1000));
		warden_expect("calloc", n);
		block = calloc(1, n);
		warden_expect("reallocarray", n + 1000);
		drop(reallocarray(block, 1, n + 1000));
		warden_expect("realloc", n);
		drop(realloc(NULL, n));
		warden_expect("reallocarray", n);
		drop(reallocarray(NULL, 1, n));
		warden_expect("posix_memalign", n);
		if (posix_memalign(&block, 64, n) != 0)
			abort();
		drop(block);
		warden_expect("aligned_alloc", n);
		drop(aligned_alloc(64, n));
		warden_expect("memalign", n);
		drop(memalign(64, n));
		warden_expect("valloc", n);
		drop(valloc(n));
		warden_expect("pvalloc", n + 1000);
		drop(pvalloc(n + 1000));
	}
	warden_open();
}

NOINLINE void watched_maps(int times)
{
	const size_t page = (size_t)sysconf(_SC_PAGESIZE);
	const int flags = MAP_PRIVATE | MAP_ANONYMOUS;
	void *start;

	warden_close();
	for (int i = 0; i < times; i++) {
		warden_expect("mmap", page);
		start = mmap(NULL, page, PROT_READ, flags, -1, 0);
		warden_expect("mprotect", page);
		mprotect(start, page, PROT_READ | PROT_WRITE);
		warden_expect("mremap", 2 * page);
		start = mremap(start, page, 2 * page, MREMAP_MAYMOVE);
		warden_expect("munmap", 2 * page);
		munmap(start, 2 * page);
		warden_expect("mmap64", page);
		start = mmap64(NULL, page, PROT_READ, flags, -1, 0);
		warden_expect("munmap", page);
		munmap(start, page);
	}
	warden_open();
}

/* Blocks of many sizes, more than any ring holds. */
NOINLINE void watched_churn(int times, size_t n)
{
	warden_close();
	for (int i = 0; i < times; i++)
		drop(watched_malloc(n + (size_t)i * 7919 % 5003));
	warden_open();
}

/* A block below so many frames. */
NOINLINE long watched_deep(int depth, int times, size_t n)
{
	long frames = 1;

	if (depth)
		frames += watched_deep(depth - 1, times, n);
	else
		watched_heap(times, n);
	__asm__ volatile("" : "+r"(frames));
	return frames;
}

/* By one of two ways at each frame. */
static NOINLINE long branch(unsigned ways, int depth, size_t n)
{
	long frames = 1;

	if (!depth)
		drop(watched_malloc(n));
	else if (ways & 1)
		frames += branch(ways >> 1, depth - 1, n);
	else
		frames -= branch(ways >> 1, depth - 1, n);
	__asm__ volatile("" : "+r"(frames));
	return frames;
}

/* 2 to the depth blocks, each on a stack of its own. */
void watched_branches(int depth, size_t n)
{
	warden_close();
	for (unsigned ways = 0; ways < 1u << depth; ways++)
		branch(ways, depth, n);
	warden_open();
}

/* Calls a function of a library that comes for that, void *FUNCTION(void *(*)(size_t), size_t), and goes. */
int watched_library(const char *path, const char *function, int times, size_t n)
{
	void *library = dlopen(path, RTLD_NOW);
	void *(*call)(void *(*)(size_t), size_t);

	if (!library)
		return -1;
	*(void **)&call = dlsym(library, function);
	warden_close();
	for (int i = 0; i < times; i++)
		drop(call(watched_malloc, n));
	warden_expect("dlclose", 0);
	dlclose(library);
	watched_heap(times, n);
	warden_open();
	return 0;
}

/* A child, which goes on from here, too. Returns its status. */
int watched_fork(int times, size_t n)
{
	int status = -1;
	pid_t child;

	warden_close();
	child = fork();
	watched_heap(times, n);
	if (!child)
		_exit(0);
	warden_open();
	return child > 0 && waitpid(child, &status, 0) == child ? status : -1;
}

struct job {
	int times;
	size_t n;
};

#define THREADS 64

static struct job job;
static int allowed;

/* Its first call of an allocator is that of watched_heap(). */
static void *work(void *waits)
{
	while (waits && !__atomic_load_n(&allowed, __ATOMIC_ACQUIRE))
		usleep(1000);
	watched_heap(job.times, job.n);
	NO_TAIL_CALL;
	return NULL;
}

static int start(pthread_t *thread, int threads, void *waits)
{
	for (int i = 0; i < threads; i++)
		if (pthread_create(&thread[i], NULL, work, waits) != 0)
			return -1;
	return 0;
}

static void join(const pthread_t *thread, int threads)
{
	for (int i = 0; i < threads; i++)
		pthread_join(thread[i], NULL);
}

/* Threads that may make no other call from their first instruction to their end. */
int watched_threads(int threads, int times, size_t n)
{
	pthread_t thread[THREADS];
	int failed;

	job = (struct job){times, n};
	warden_open();
	warden_close_all();
	failed = start(thread, threads, NULL);
	if (!failed)
		join(thread, threads);
	warden_open_all();
	warden_close();
	return failed;
}

static pthread_t waiting[THREADS];

/* Threads that wait before they do it: what comes in between is news to them. */
int watched_early(int threads)
{
	touched++;
	return start(waiting, threads, &job);
}

void watched_late(int threads, int times, size_t n)
{
	job = (struct job){times, n};
	warden_open();
	warden_close_all();
	__atomic_store_n(&allowed, 1, __ATOMIC_RELEASE);
	join(waiting, threads);
	__atomic_store_n(&allowed, 0, __ATOMIC_RELEASE);
	warden_open_all();
	warden_close();
}

/* Allocators that were given, as CPython has them. reaches: what malloc() is asked for. */
void watched_objects(int times, size_t n, bool reaches, void *(*allocate)(size_t), void (*release)(void *))
{
	void *first = allocate(n), *block; /* small ones share a pool, which is there from now on */

	warden_close();
	for (int i = 0; i < times; i++) {
		if (reaches)
			warden_expect("malloc", n);
		block = allocate(n);
		if (reaches)
			warden_expect("free", 0);
		release(block);
	}
	warden_open();
	release(first);
}
