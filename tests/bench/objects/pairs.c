/* built with: -pthread -fno-builtin */
#include "tests/bench/pairs.h"

#include <pthread.h>
#include <sched.h>
#include <stdint.h>
#include <stdlib.h>
#include <time.h>

#define MOST_THREADS 64

struct work {
	int depth;
	long pairs;
	int number;            /* of the thread */
	pthread_barrier_t *go; /* all of them begin at once */
};

/* Keeps the compiler from dropping what it is given, and from turning a call before it into a jump. */
static void keep(void *value)
{
	__asm__ volatile("" : : "r"(value) : "memory");
}

__attribute__((noinline)) static void make_pairs(long pairs)
{
	for (long i = 0; i < pairs; i++) {
		void *block = malloc((size_t)(24 + i % 8 * 16));
		keep(block);
		free(block);
	}
}

__attribute__((noinline)) static void descend(int depth, long pairs)
{
	if (depth)
		descend(depth - 1, pairs);
	else
		make_pairs(pairs);
	keep(&depth);
}

/* Threads that share a processor would not get into each other's way. */
static void move_to_processor(int number)
{
	cpu_set_t allowed, one;
	int at;

	if (sched_getaffinity(0, sizeof allowed, &allowed))
		return;
	number %= CPU_COUNT(&allowed);
	for (at = 0; !CPU_ISSET(at, &allowed) || number--; at++)
		;
	CPU_ZERO(&one);
	CPU_SET(at, &one);
	sched_setaffinity(0, sizeof one, &one);
}

static void *run(void *argument)
{
	struct work *work = argument;

	move_to_processor(work->number);
	pthread_barrier_wait(work->go);
	descend(work->depth, work->pairs);
	return NULL;
}

static double processor_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
	return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

double bench_pairs(int threads, int depth, long pairs)
{
	struct work work[MOST_THREADS];
	pthread_t thread[MOST_THREADS];
	pthread_barrier_t go;
	double began = processor_ns();

	if (threads < 1 || threads > MOST_THREADS || pthread_barrier_init(&go, NULL, (unsigned)threads))
		return -1;
	for (int i = 0; i < threads; i++) {
		work[i] = (struct work){depth, pairs, i, &go};
		if (pthread_create(&thread[i], NULL, run, &work[i]))
			exit(EXIT_FAILURE); /* those that are there wait for it */
	}
	for (int i = 0; i < threads; i++)
		pthread_join(thread[i], NULL);
	pthread_barrier_destroy(&go);
	return (processor_ns() - began) / ((double)threads * (double)(pairs ? pairs : 1));
}
