/*
 * Calls into the C library's allocators, one at a time, for Python programs that load this with ctypes. Blocks stay in
 * numbered slots here, so a call gives Python nothing to allocate for. No call may be folded away or taken for another.
 * built with: -fno-builtin -pthread -Wno-missing-prototypes */
#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include <wchar.h>

#define SLOTS 64

/* More than there is. Volatile, so that the compiler cannot tell. */
static volatile size_t huge = (size_t)PTRDIFF_MAX - 4096, half = SIZE_MAX / 2;

static void *slot[SLOTS];

void calls_malloc(int at, size_t n)
{
	slot[at] = malloc(n);
}

void *calls_plain(size_t n)
{
	void *block = malloc(n);

	__asm__ volatile("" : "+r"(block)); /* no tail call */
	return block;
}

void calls_calloc(int at, size_t count, size_t n)
{
	slot[at] = calloc(count, n);
}

void calls_realloc(int at, size_t n)
{
	slot[at] = realloc(slot[at], n);
}

void calls_reallocarray(int at, size_t count, size_t n)
{
	slot[at] = reallocarray(slot[at], count, n);
}

void calls_posix_memalign(int at, size_t alignment, size_t n)
{
	if (posix_memalign(&slot[at], alignment, n) != 0)
		slot[at] = NULL;
}

void calls_aligned_alloc(int at, size_t alignment, size_t n)
{
	slot[at] = aligned_alloc(alignment, n);
}

void calls_memalign(int at, size_t alignment, size_t n)
{
	slot[at] = memalign(alignment, n);
}

void calls_valloc(int at, size_t n)
{
	slot[at] = valloc(n);
}

void calls_pvalloc(int at, size_t n)
{
	slot[at] = pvalloc(n);
}

/* A block of n bytes that the C library itself allocates. */
void calls_strdup(int at, size_t n)
{
	static char text[65536];

	memset(text, 'x', n - 1);
	text[n - 1] = 0;
	slot[at] = strdup(text);
}

void calls_free(int at)
{
	free(slot[at]);
	slot[at] = NULL;
}

/* C23, from glibc 2.41. Weak: -1 where neither the C library nor a preload has them. */
void free_sized(void *block, size_t n) __attribute__((weak));
void free_aligned_sized(void *block, size_t alignment, size_t n) __attribute__((weak));

int calls_free_sized(int at, size_t n)
{
	if (!free_sized)
		return -1;
	free_sized(slot[at], n);
	slot[at] = NULL;
	return 0;
}

int calls_free_aligned_sized(int at, size_t alignment, size_t n)
{
	if (!free_aligned_sized)
		return -1;
	free_aligned_sized(slot[at], alignment, n);
	slot[at] = NULL;
	return 0;
}

/* Requests that cannot be met: every one has to fail with ENOMEM. Returns how many did not. */
int calls_failures(void)
{
	void *volatile kept = malloc(100);
	void *block = NULL;
	int wrong = 0;

	errno = 0;
	wrong += malloc(huge) != NULL || errno != ENOMEM;
	errno = 0;
	wrong += calloc(half, 4) != NULL || errno != ENOMEM;
	errno = 0;
	wrong += realloc(kept, huge) != NULL || errno != ENOMEM;
	errno = 0;
	wrong += reallocarray(kept, half, 4) != NULL || errno != ENOMEM;
	wrong += posix_memalign(&block, 64, huge) != ENOMEM || block != NULL;
	errno = 0;
	wrong += aligned_alloc(64, huge) != NULL || errno != ENOMEM;
	errno = 0;
	wrong += memalign(64, huge) != NULL || errno != ENOMEM;
	errno = 0;
	wrong += valloc(huge) != NULL || errno != ENOMEM;
	errno = 0;
	wrong += pvalloc(huge) != NULL || errno != ENOMEM;
	free(kept);
	free(NULL);
	return wrong;
}

/* Returns how many answers differ from those of the bare C library: not a power of two, less than a pointer. */
int calls_bad_alignments(void)
{
	void *block = NULL;
	int wrong = 0;

	wrong += posix_memalign(&block, 3, 100) != EINVAL || block != NULL;
	wrong += posix_memalign(&block, 1, 100) != EINVAL || block != NULL;
	wrong += posix_memalign(&block, 0, 100) != EINVAL || block != NULL;
	return wrong;
}

/* A call that succeeds leaves errno alone. Returns how many did not. */
int calls_errno(void)
{
	void *block, *map;
	int wrong = 0;

	errno = 1234;
	block = malloc(5000);
	wrong += errno != 1234;
	block = realloc(block, 50000);
	wrong += errno != 1234;
	free(block);
	wrong += errno != 1234;
	map = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	wrong += errno != 1234;
	munmap(map, 4096);
	wrong += errno != 1234;
	errno = 0;
	return wrong;
}

int calls_usable(int at, size_t n)
{
	return malloc_usable_size(slot[at]) >= n;
}

int calls_aligned(int at, size_t alignment)
{
	return slot[at] && (uintptr_t)slot[at] % alignment == 0;
}

int calls_is_null(int at)
{
	return slot[at] == NULL;
}

/* Moves the break there and back before anyone else can move it. */
int calls_break(size_t n)
{
	void *before = sbrk((intptr_t)n);

	if (before == (void *)-1)
		return -1;
	memset(before, 1, n);
	return sbrk(-(intptr_t)n) == (void *)-1 ? -1 : 0;
}

int calls_map(int at, size_t n, int prot, int flags, int fd)
{
	slot[at] = mmap(NULL, n, prot, flags, fd, 0);
	return slot[at] == MAP_FAILED ? errno : 0;
}

int calls_map_fixed(int at, size_t offset, size_t n, int prot, int flags)
{
	char *wanted = (char *)slot[at] + offset;

	return mmap(wanted, n, prot, flags | MAP_FIXED, -1, 0) == wanted ? 0 : errno;
}

int calls_unmap(int at, size_t offset, size_t n)
{
	return munmap((char *)slot[at] + offset, n) == 0 ? 0 : errno;
}

int calls_remap(int at, size_t old, size_t n, int flags)
{
	void *moved = mremap(slot[at], old, n, flags);

	if (moved == MAP_FAILED)
		return errno;
	slot[at] = moved;
	return 0;
}

int calls_protect(int at, size_t offset, size_t n, int prot)
{
	return mprotect((char *)slot[at] + offset, n, prot) == 0 ? 0 : errno;
}

/* Calls that fail and change nothing. Returns how many did not fail. */
int calls_map_failures(int at)
{
	int wrong = 0;

	wrong += mmap(NULL, 0, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) != MAP_FAILED;
	wrong += mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE, -1, 0) != MAP_FAILED;
	wrong += munmap((char *)slot[at] + 1, 4096) == 0;
	wrong += munmap(slot[at], 0) == 0;
	wrong += mremap(slot[at], 4096, 0, MREMAP_MAYMOVE) != MAP_FAILED;
	return wrong;
}

/* count blocks of n bytes each, all alive at once. */
void calls_hold(size_t count, size_t n, void **out)
{
	for (size_t i = 0; i < count; i++)
		out[i] = malloc(n);
}

void calls_drop(size_t count, void **blocks)
{
	for (size_t i = 0; i < count; i++)
		free(blocks[i]);
}

/* Waits until that many threads are here. */
void calls_meet(int parties)
{
	static int arrived;

	__atomic_add_fetch(&arrived, 1, __ATOMIC_SEQ_CST);
	while (__atomic_load_n(&arrived, __ATOMIC_SEQ_CST) < parties)
		usleep(1000);
}

void calls_churn(size_t rounds, size_t n)
{
	for (size_t i = 0; i < rounds; i++)
		free(malloc(n));
}

struct job {
	int blocks;
	size_t n;
};

static void *native_thread(void *argument)
{
	const struct job *job = argument;

	for (int i = 0; i < job->blocks; i++) {
		void *block = NULL;
		if (posix_memalign(&block, 64, job->n) != 0)
			return (void *)1;
		free(block);
	}
	return NULL;
}

/* Threads that Python knows nothing of. Returns 0, or how many could not do their work. */
int calls_native_threads(int threads, int blocks, size_t n)
{
	pthread_t thread[128];
	struct job job = {blocks, n};
	int wrong = 0;

	for (int i = 0; i < threads; i++)
		if (pthread_create(&thread[i], NULL, native_thread, &job) != 0)
			return threads;
	for (int i = 0; i < threads; i++) {
		void *failed;
		pthread_join(thread[i], &failed);
		wrong += failed != NULL;
	}
	return wrong;
}

static void *keeping_thread(void *argument)
{
	const struct job *job = argument;
	void *volatile block;

	for (int i = 0; i < job->blocks; i++)
		block = malloc(job->n);
	return block;
}

/* One that keeps what it allocates. */
int calls_keep(int blocks, size_t n)
{
	struct job job = {blocks, n};
	pthread_t thread;

	return pthread_create(&thread, NULL, keeping_thread, &job) || pthread_join(thread, NULL);
}

struct visit {
	struct job job;
	void (*python)(void);
	int visits;
};

static void *visiting_thread(void *argument)
{
	const struct visit *visit = argument;
	void *failed = NULL;

	for (int i = 0; i < visit->visits && !failed; i++) {
		failed = native_thread((void *)&visit->job);
		visit->python();
	}
	return failed;
}

/* A thread that Python does not know until it calls there, again and again, and after each call no more. In between it
   does what the threads of calls_native_threads() do. Returns 0, or that it could not. */
int calls_visit(void (*python)(void), int visits, int blocks, size_t n)
{
	struct visit visit = {{blocks, n}, python, visits};
	pthread_t thread;
	void *failed;

	if (pthread_create(&thread, NULL, visiting_thread, &visit) != 0 || pthread_join(thread, &failed) != 0)
		return 1;
	return failed != NULL;
}

/* What calls_tally() has done, in a file that outlives the process. */
struct tally {
	volatile uint64_t allocations, frees;
};

static struct tally *tally;

int calls_tally_open(const char *path, size_t tallies)
{
	int fd = open(path, O_RDWR | O_CREAT, 0600);

	if (fd < 0 || ftruncate(fd, (off_t)(tallies * sizeof *tally)) != 0)
		return -1;
	tally = mmap(NULL, tallies * sizeof *tally, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	close(fd);
	return tally == MAP_FAILED ? -1 : 0;
}

/* Allocates and frees blocks of n bytes, and counts each call that has returned, until the process is killed. */
void calls_tally(int at, size_t n)
{
	static void *kept[2][512];
	struct tally *t = &tally[at];

	for (unsigned i = 0;; i = (i + 1) % 512) {
		if (kept[at][i]) {
			free(kept[at][i]);
			t->frees++;
		}
		kept[at][i] = malloc(n);
		t->allocations++;
	}
}
