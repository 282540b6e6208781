/* built with: -pthread -fno-builtin */
#include "tests/bench/pairs.h"

#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>
#include <time.h>

#define MOST_THREADS 64

struct work {
	int depth;
	long pairs;
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

static void *run(void *argument)
{
	struct work *work = argument;

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
	struct work work = {depth, pairs};
	pthread_t thread[MOST_THREADS];
	double began = processor_ns();
	int made = 0;

	while (made < threads && made < MOST_THREADS && !pthread_create(&thread[made], NULL, run, &work))
		made++;
	for (int i = 0; i < made; i++)
		pthread_join(thread[i], NULL);
	if (made < threads)
		return -1;
	return (processor_ns() - began) / ((double)threads * (double)(pairs ? pairs : 1));
}
