/*
 * C stacks out of the ordinary, and allocations on them.
 * built with: -O2 -fomit-frame-pointer -fno-builtin -pthread -Wno-missing-prototypes */
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <ucontext.h>
#include <unistd.h>

#define NOINLINE __attribute__((noinline))
#define NO_TAIL_CALL __asm__ volatile("")

/* One block of n bytes for a moment. */
NOINLINE void stacks_touch(size_t n)
{
	char *block = malloc(n);

	if (block)
		memset(block, 1, n < 64 ? n : 64);
	free(block);
}

static void allocate_at_end(void *n)
{
	stacks_touch(*(size_t *)n);
	NO_TAIL_CALL;
}

static void *endless(void *n)
{
	pthread_cleanup_push(allocate_at_end, n);
	for (;;) {
		stacks_touch(*(size_t *)n);
		pthread_testcancel();
	}
	pthread_cleanup_pop(0);
	return NULL;
}

/* Threads that are cancelled while they allocate. Returns how many were. */
int stacks_cancel(int threads, size_t n)
{
	int cancelled = 0;

	for (int i = 0; i < threads; i++) {
		pthread_t thread;
		void *result = NULL;
		if (pthread_create(&thread, NULL, endless, &n) != 0)
			continue;
		usleep(100);
		pthread_cancel(thread);
		pthread_join(thread, &result);
		cancelled += result == PTHREAD_CANCELED;
	}
	return cancelled;
}

static size_t in_handler;

static void stacks_handler(int number)
{
	(void)number;
	stacks_touch(in_handler);
	NO_TAIL_CALL;
}

/* Signals whose handler allocates, on a stack of its own. */
void stacks_signal(int times, size_t n)
{
	static char memory[1 << 17];
	struct sigaction action = {.sa_handler = stacks_handler, .sa_flags = SA_ONSTACK}, before;
	stack_t other = {.ss_sp = memory, .ss_size = sizeof(memory)}, stack_before;

	in_handler = n;
	sigaltstack(&other, &stack_before);
	sigaction(SIGUSR2, &action, &before);
	for (int i = 0; i < times; i++)
		raise(SIGUSR2);
	sigaction(SIGUSR2, &before, NULL);
	sigaltstack(&stack_before, NULL);
}

/* Allocations below so many frames. */
NOINLINE long stacks_deep(int depth, int times, size_t n)
{
	long frames = 1;

	if (depth)
		frames += stacks_deep(depth - 1, times, n);
	else
		for (int i = 0; i < times; i++)
			stacks_touch(n);
	__asm__ volatile("" : "+r"(frames));
	return frames;
}

static ucontext_t here, there;

static void stacks_there(int times, int n)
{
	for (int i = 0; i < times; i++) {
		stacks_touch((size_t)n);
		swapcontext(&there, &here);
	}
}

/* Two stacks by turns. */
void stacks_contexts(int times, size_t n)
{
	char *memory = malloc(1 << 17);

	getcontext(&there);
	there.uc_stack = (stack_t){.ss_sp = memory, .ss_size = 1 << 17};
	there.uc_link = &here;
	makecontext(&there, (void (*)(void))stacks_there, 2, times, (int)n);
	for (int i = 0; i < times; i++) {
		swapcontext(&here, &there);
		stacks_touch(n + 1);
	}
	free(memory);
}

static void *in_thread(void *python)
{
	((void (*)(void))python)();
	return NULL;
}

/* A thread that Python does not know calls it once. */
int stacks_thread(void (*python)(void))
{
	pthread_t thread;

	return pthread_create(&thread, NULL, in_thread, (void *)python) || pthread_join(thread, NULL);
}
