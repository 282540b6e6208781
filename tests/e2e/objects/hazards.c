/*
 * What is hard on a recorder, for Python programs that load this with ctypes: counting until a SIGKILL comes, signal
 * handlers that allocate, threads that are cancelled or free while they end, vfork, calls that fail.
 * built with: -fno-builtin -pthread -Wno-missing-prototypes -Wno-deprecated-declarations */
#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

/* What a counting thread has begun and done, in a file that outlives the process. Block number n, from 0, has
   size_of(n) bytes; they are freed in the order in which they were made. */
struct count {
	volatile uint64_t begun, made, freeing, freed;
};

static struct count *counts;

int hazards_count_open(const char *path, size_t threads)
{
	int fd = open(path, O_RDWR | O_CREAT, 0600);

	if (fd < 0 || ftruncate(fd, (off_t)(threads * sizeof *counts)) != 0)
		return -1;
	counts = mmap(NULL, threads * sizeof *counts, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	close(fd);
	return counts == MAP_FAILED ? -1 : 0;
}

static size_t size_of(uint64_t n)
{
	return 1000 + n % 9973;
}

#define KEPT 512

static void count_one(struct count *c, void **kept)
{
	uint64_t n = c->begun;
	void **slot = &kept[n % KEPT];

	if (n >= KEPT) {
		c->freeing++;
		free(*slot);
		c->freed++;
	}
	c->begun++;
	*slot = malloc(size_of(n));
	c->made++;
}

/* Does so until the process is killed. */
void hazards_count(int at)
{
	static void *kept[8][KEPT];

	for (;;)
		count_one(&counts[at], kept[at]);
}

/* Each failing call, and what it left behind: result and errno, two numbers for each. */
#define FAILED(call) (errno = 0, *out++ = (long)(call), *out++ = errno)

static volatile size_t huge = (size_t)PTRDIFF_MAX - 4096, all = SIZE_MAX;

/* Returns how many numbers there are. What is mapped is one page. */
int hazards_failures(long *out)
{
	long *start = out;
	size_t page = (size_t)sysconf(_SC_PAGESIZE);
	char *mapped = mmap(NULL, page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	void *volatile block = malloc(100);
	void *none = NULL;
	int anonymous = MAP_PRIVATE | MAP_ANONYMOUS;

	FAILED(malloc(all));
	FAILED(malloc(huge));
	FAILED(calloc(all, 2));
	FAILED(calloc(huge, 1));
	FAILED(realloc(block, huge));
	FAILED(realloc(NULL, huge));
	FAILED(reallocarray(block, all, 2));
	FAILED(posix_memalign(&none, 64, huge));
	FAILED(posix_memalign(&none, 3, 10));
	FAILED(aligned_alloc(64, huge));
	FAILED(memalign(64, huge));
	FAILED(valloc(huge));
	FAILED(pvalloc(huge));
	FAILED(mmap(NULL, 0, PROT_READ, anonymous, -1, 0));
	FAILED(mmap(NULL, page, PROT_READ, 0, -1, 0));
	FAILED(mmap(NULL, page, PROT_READ, MAP_PRIVATE, -1, 0));
	FAILED(mmap(NULL, page, PROT_READ, anonymous, -1, 1));
	FAILED(mmap(NULL, huge, PROT_READ, anonymous, -1, 0));
	FAILED(munmap(mapped + 1, page));
	FAILED(munmap(mapped, 0));
	FAILED(munmap(mapped, all));
	FAILED(mremap(mapped, page, 0, MREMAP_MAYMOVE));
	FAILED(mremap(mapped, page, huge, MREMAP_MAYMOVE));
	FAILED(mremap(mapped + 1, page, page, 0));
	FAILED(mremap(mapped, page, page, 1 << 20));
	FAILED(mprotect(mapped, page, 1 << 20));
	FAILED(mprotect(mapped + 1, page, PROT_READ));
	FAILED(mprotect(NULL, page, PROT_READ));
	FAILED((intptr_t)sbrk(PTRDIFF_MAX));
	FAILED(brk((void *)all));
	FAILED(malloc_usable_size(NULL));
	free(block);
	munmap(mapped, page);
	return (int)(out - start);
}

/* A thread that allocates while its thread-specific data is destroyed: n bytes are made and freed, n more are kept. */
static pthread_key_t destroyed;
static size_t destroyed_bytes;
static void *volatile kept_by_destructor;

static void destroy(void *data)
{
	free(data);
	free(malloc(destroyed_bytes));
	kept_by_destructor = malloc(destroyed_bytes);
}

static void *thread_with_data(void *unused)
{
	(void)unused;
	pthread_setspecific(destroyed, malloc(destroyed_bytes));
	return NULL;
}

int hazards_destructors(int threads, size_t n)
{
	pthread_t thread;

	destroyed_bytes = n;
	if (pthread_key_create(&destroyed, destroy) != 0)
		return -1;
	for (int i = 0; i < threads; i++)
		if (pthread_create(&thread, NULL, thread_with_data, NULL) != 0 || pthread_join(thread, NULL) != 0)
			return -1;
	return pthread_key_delete(destroyed);
}

/* Threads that are cancelled while they allocate, and free what they hold in their cleanup handlers. */
static void *until_cancelled(void *started)
{
	void *held = malloc(3333);

	pthread_cleanup_push(free, held);
	__atomic_store_n((int *)started, 1, __ATOMIC_RELEASE);
	for (;;) {
		free(malloc(2222));
		usleep(100); /* where the cancellation acts */
	}
	pthread_cleanup_pop(1);
	return NULL;
}

/* Returns how many of them did not end as cancelled ones. */
int hazards_cancel(int threads)
{
	int wrong = 0;

	for (int i = 0; i < threads; i++) {
		pthread_t thread;
		int started = 0;
		void *result = NULL;
		if (pthread_create(&thread, NULL, until_cancelled, &started) != 0)
			return -1;
		while (!__atomic_load_n(&started, __ATOMIC_ACQUIRE))
			sched_yield();
		pthread_cancel(thread);
		pthread_join(thread, &result);
		wrong += result != PTHREAD_CANCELED;
	}
	return wrong;
}

/* Interruptions. The interrupted code maps and unmaps memory and never calls malloc, so that the handler may. */
static volatile int interrupts;
static volatile int children_wanted, children_made, children_failed;
static volatile pid_t first_pid;

static void interrupt(int signal_number)
{
	int before = errno;

	(void)signal_number;
	free(malloc(5555));
	interrupts++;
	errno = before;
}

static void start_interrupts(void (*handler)(int), int microseconds)
{
	struct sigaction action = {.sa_handler = handler, .sa_flags = SA_RESTART};
	struct itimerval every = {{0, microseconds}, {0, microseconds}};

	interrupts = 0;
	sigaction(SIGPROF, &action, NULL);
	setitimer(ITIMER_PROF, microseconds ? &every : &(struct itimerval){{0, 0}, {0, 0}}, NULL);
}

static void map_and_unmap(void)
{
	void *pages = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	mprotect(pages, 4096, PROT_READ);
	munmap(pages, 8192);
}

/* Time outside of any call, for interruptions of the program itself. */
static void spin(void)
{
	for (volatile int n = 0; n < 5000; n++)
		;
}

/* Goes on until that many interruptions have come. Returns how many times memory was mapped. */
int hazards_interrupts(int wanted)
{
	int n = 0;

	for (start_interrupts(interrupt, 1000); interrupts < wanted; n++) {
		map_and_unmap();
		spin();
	}
	start_interrupts(SIG_IGN, 0);
	return n;
}

/* A handler that forks: the child finds the interrupted code in whatever state it was, and goes on with it. */
static void fork_in_handler(int signal_number)
{
	(void)signal_number;
	interrupts++;
	if (getpid() == first_pid && children_made < children_wanted && fork() != 0)
		children_made++;
}

static void reap(void)
{
	int status;

	while (waitpid(-1, &status, WNOHANG) > 0)
		children_failed += status != 0;
}

/* Each child maps memory a hundred times more and ends. Returns how many times the parent did, or -1 if a child
   failed. */
int hazards_forks_in_handler(int wanted)
{
	int n = 0, status;

	first_pid = getpid();
	children_wanted = wanted;
	children_made = children_failed = 0;
	for (start_interrupts(fork_in_handler, 1000); children_made < wanted; n++) {
		map_and_unmap();
		if (getpid() != first_pid) {
			for (int i = 0; i < 100; i++)
				map_and_unmap();
			_exit(0);
		}
		reap();
	}
	start_interrupts(SIG_IGN, 0);
	while (waitpid(-1, &status, 0) > 0)
		children_failed += status != 0;
	return children_failed ? -1 : n;
}

/* A child that shares our memory allocates n bytes and ends, or becomes another program, or fails to. We free them.
   Returns the child's status. */
int hazards_vfork(size_t n, const char *program)
{
	static void *volatile from_child;
	int status = -1;
	pid_t pid = vfork();

	if (pid == 0) {
		from_child = malloc(n);
		if (program)
			execl(program, program, (char *)NULL);
		_exit(7);
	}
	if (pid < 0 || waitpid(pid, &status, 0) != pid)
		return -1;
	free(from_child);
	return WEXITSTATUS(status);
}

/* Idle threads on the smallest of stacks: each allocates once, then waits until it may end. */
static pthread_mutex_t gate = PTHREAD_MUTEX_INITIALIZER;
static pthread_t idle[4096];
static int idle_ready;

static void *wait_idle(void *unused)
{
	(void)unused;
	free(malloc(100));
	__atomic_add_fetch(&idle_ready, 1, __ATOMIC_SEQ_CST);
	pthread_mutex_lock(&gate);
	pthread_mutex_unlock(&gate);
	return NULL;
}

/* Returns how many have begun to wait. */
int hazards_idle_start(int threads)
{
	pthread_attr_t small;
	int n = 0;

	pthread_attr_init(&small);
	pthread_attr_setstacksize(&small, (size_t)sysconf(_SC_THREAD_STACK_MIN));
	pthread_mutex_lock(&gate);
	while (n < threads && n < (int)(sizeof idle / sizeof *idle) &&
	       !pthread_create(&idle[n], &small, wait_idle, NULL))
		n++;
	while (__atomic_load_n(&idle_ready, __ATOMIC_SEQ_CST) < n)
		usleep(1000);
	return n;
}

void hazards_idle_end(int threads)
{
	pthread_mutex_unlock(&gate);
	for (int i = 0; i < threads; i++)
		pthread_join(idle[i], NULL);
}
