#include <check.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "preload/process.h"
#include "preload/record.h"
#include "preload/ring.h"
#include "tests/preload/faults.h"
#include "tests/preload/frames.h"
#include "tests/preload/session.h"
#include "tests/preload/trace_file.h"

static struct trace_file trace;

#define THREADS 4
#define SLOTS 8 /* addresses that the threads hand to each other */
#define TURNS 6000
#define TURNS_BEFORE 200 /* the file is made */

static _Atomic int owned[SLOTS]; /* 0: free */
static pthread_barrier_t together;
static _Atomic int exchanging;
static _Atomic size_t exchanged; /* events */

static uint64_t turns(void)
{
	return atomic_load(&ml_turn) >> ML_TURN_OWNER_BITS;
}

/*
 * Blocks as an allocator gives them: an address that was freed by one thread is soon another's. Taking and giving back
 * synchronise, as every allocator's own locking does; the record of the free comes before, that of the allocation
 * after. Each thread pauses now and then: they meet where there are few processors, and no ring is full at the end.
 */
static void *exchange(void *seed)
{
	unsigned state = (unsigned)(uintptr_t)seed;
	size_t mine = 0;

	pthread_barrier_wait(&together);
	while (atomic_load_explicit(&exchanging, memory_order_relaxed)) {
		unsigned slot = (state = state * 1103515245 + 12345) >> 16 & (SLOTS - 1);
		struct ml_thread *t;
		int expected = 0;
		if (!atomic_compare_exchange_strong(&owned[slot], &expected, 1))
			continue;
		session_alloc(0x10000 + 64 * (uint64_t)slot, 1 + (uint64_t)(uintptr_t)seed);
		t = ml_enter(NULL);
		ml_record_free(t, ML_DOMAIN_C, (const void *)(uintptr_t)(0x10000 + 64 * slot), NULL);
		atomic_store(&owned[slot], 0);
		ml_leave(t);
		if ((state >> 20) % 32 == 0)
			usleep(turns() < 4 * TURNS_BEFORE ? 500 : 10);
		mine += 2;
	}
	atomic_fetch_add(&exchanged, mine);
	return NULL;
}

static void start_exchange(pthread_t *threads, uintptr_t count)
{
	atomic_store(&exchanging, 1);
	pthread_barrier_init(&together, NULL, (unsigned)count);
	for (uintptr_t i = 0; i < count; i++)
		ck_assert_int_eq(pthread_create(&threads[i], NULL, exchange, (void *)i), 0);
}

/* When they have met often enough. */
static void end_exchange(pthread_t *threads, unsigned count)
{
	while (turns() < TURNS)
		usleep(1000);
	atomic_store(&exchanging, 0);
	for (unsigned i = 0; i < count; i++)
		pthread_join(threads[i], NULL);
}

/* Replayed in the order of the turns, no address is allocated twice or freed twice. Returns the number of events. */
static size_t replay(void)
{
	size_t count, live = 0;
	struct trace_event *events;
	uint64_t owner[SLOTS] = {0};

	trace_open(&trace, session_trace());
	events = trace_events(&trace, &count);
	for (size_t i = 0; i < count; i++) {
		const struct ml_event *e = &events[i].e;
		uint64_t slot = (e->address - 0x10000) / 64;
		if (slot >= SLOTS)
			continue;
		if (e->record == ML_RECORD_ALLOC ? owner[slot] != 0 : owner[slot] != events[i].ring + 1)
			ck_abort_msg("event %zu of %zu: %s of ring %u, turn %llu", i, count, ml_record_name(e->record),
				     events[i].ring, (unsigned long long)events[i].turn);
		owner[slot] = e->record == ML_RECORD_ALLOC ? events[i].ring + 1 : 0;
		live += e->record == ML_RECORD_ALLOC ? 1 : (size_t)-1;
	}
	ck_assert_uint_eq(live, 0);
	ck_assert_uint_eq(trace.damaged, 0);
	free(events);
	return count;
}

/* A slow disk: other threads have time to write to memory that has been written out and is about to be replaced. */
static bool write_slowly(const long arguments[6], long *result)
{
	*result = pwrite((int)arguments[0], (const void *)arguments[1], (size_t)arguments[2], arguments[3]);
	usleep(500);
	return true;
}

/* In one file from the first to the last; or the file is made in the middle of it, by a thread in Python: _i. */
START_TEST(orders_what_threads_hand_to_each_other)
{
	struct frame frame = {.previous = NULL};
	struct code *code;
	pthread_t threads[THREADS];

	session_start(NULL);
	if (_i) {
		frames_start(FRAMES_VERSIONS);
		code = frames_code("/app/a.py", "f", 1);
		frame.code = frames_tagged(code);
		frame.instr = &code->bytecode[5];
		faults_install(SYS_pwrite64, -1);
		faults_answer(SYS_pwrite64, write_slowly);
	} else {
		session_initialize();
	}
	start_exchange(threads, THREADS);
	if (_i) {
		while (turns() < TURNS_BEFORE)
			sched_yield();
		frames_top = &frame;
		session_alloc(0x100, 1);
	}
	end_exchange(threads, THREADS);
	ck_assert_int_eq(session_state(), ML_RECORDING);
	ck_assert_uint_eq(replay(), exchanged + (_i ? 1 : 0));
	ck_assert_uint_ge(trace_count_rings(&trace), THREADS);
	for (unsigned counter = 0; counter < ML_COUNTERS; counter++)
		ck_assert_uint_eq(trace.header->counter[counter], 0);
}
END_TEST

/* Turns of a ring only grow, and each piece says by itself where it stands. */
START_TEST(numbers_turns_upwards)
{
	pthread_t threads[2];
	uint64_t last_of_all = 0;

	session_start(NULL);
	session_initialize();
	start_exchange(threads, 2);
	end_exchange(threads, 2);
	trace_open(&trace, session_trace());
	for (uint32_t ring = 0; ring < trace_count_rings(&trace); ring++) {
		size_t count;
		struct trace_event *events = trace_ring_events(&trace, ring, &count);
		uint64_t last = 0, last_ns = 0;
		ck_assert_int_eq(events[0].e.record, ML_RECORD_BASE);
		for (size_t i = 0; i < count; i++) {
			if (events[i].turn < last || events[i].ns < last_ns)
				ck_abort_msg("backwards at %zu", i);
			last = events[i].turn;
			last_ns = events[i].ns;
		}
		if (last > last_of_all)
			last_of_all = last;
		free(events);
	}
	ck_assert_uint_eq(last_of_all, turns());
}
END_TEST

static void *one_event(void *address)
{
	session_alloc((uintptr_t)address, 5);
	return (void *)(uintptr_t)syscall(SYS_gettid);
}

/* One thread after the other has the same ring; what each has done is told by a BASE with its number. */
START_TEST(takes_over_the_rings_of_the_dead)
{
	enum { COUNT = 300 };
	static uint32_t tids[COUNT];
	size_t count, bases = 0, allocs = 0;
	struct trace_event *events;

	session_start(NULL);
	session_initialize();
	session_alloc(0x100, 1);
	for (uintptr_t i = 0; i < COUNT; i++) {
		pthread_t thread;
		void *tid;
		ck_assert_int_eq(pthread_create(&thread, NULL, one_event, (void *)(16 * (i + 1))), 0);
		pthread_join(thread, &tid);
		tids[i] = (uint32_t)(uintptr_t)tid;
		/* joined when the kernel has cleared its number, a moment before it is gone */
		while (!syscall(SYS_tgkill, getpid(), tids[i], 0))
			sched_yield();
	}
	session_alloc(0x200, 1);
	trace_open(&trace, session_trace());
	ck_assert_uint_eq(trace_count_rings(&trace), 2);
	events = trace_ring_events(&trace, 1, &count);
	for (size_t i = 0; i < count; i++) {
		bases += events[i].e.record == ML_RECORD_BASE;
		if (events[i].e.record != ML_RECORD_ALLOC)
			continue;
		if (events[i].tid != tids[allocs] || events[i].e.address != 16 * (allocs + 1) || events[i].e.bytes != 5)
			ck_abort_msg("event %zu is not that of thread %zu", i, allocs);
		allocs++;
	}
	ck_assert_uint_eq(allocs, COUNT);
	ck_assert_uint_ge(bases, COUNT);
	free(events);
	events = trace_events(&trace, &count);
	ck_assert_uint_eq(count, COUNT + 2);
	ck_assert_uint_eq(events[0].e.address, 0x100);
	ck_assert_uint_eq(events[count - 1].e.address, 0x200);
	for (size_t i = 0; i < COUNT; i++)
		if (events[i + 1].e.address != 16 * (i + 1))
			ck_abort_msg("thread %zu is out of turn", i);
	free(events);
}
END_TEST

static void *wait_after_event(void *address)
{
	session_alloc((uintptr_t)address, 5);
	pthread_barrier_wait(&together); /* all have a ring now */
	pthread_barrier_wait(&together);
	session_free((uintptr_t)address);
	return NULL;
}

/* A thread number that comes back is that of another thread, whose former bearer is gone, though the kernel has the
   number. */
START_TEST(takes_over_a_ring_by_its_number)
{
	struct ml_thread *t;
	int tid = (int)syscall(SYS_gettid);

	session_start(NULL);
	session_initialize();
	session_alloc(0x100, 1);
	t = ml_enter(NULL);
	t->busy = ML_IN_RECORD;
	ck_assert_ptr_eq(ml_ring_open(tid), t->ring);
	ck_assert_ptr_ne(ml_ring_open(getppid()), t->ring);
	t->busy = ML_IN_CALL;
	ml_leave(t);
}
END_TEST

/* Threads that live keep their rings, however many there are. */
START_TEST(gives_living_threads_rings_of_their_own)
{
	enum { COUNT = 100 };
	pthread_t threads[COUNT];
	size_t count;
	struct trace_event *events;
	static unsigned char seen[COUNT];

	session_start(NULL);
	session_initialize();
	pthread_barrier_init(&together, NULL, COUNT + 1);
	for (uintptr_t i = 0; i < COUNT; i++)
		ck_assert_int_eq(pthread_create(&threads[i], NULL, wait_after_event, (void *)(16 * (i + 1))), 0);
	pthread_barrier_wait(&together);
	pthread_barrier_wait(&together);
	for (unsigned i = 0; i < COUNT; i++)
		pthread_join(threads[i], NULL);
	trace_open(&trace, session_trace());
	ck_assert_uint_eq(trace_count_rings(&trace), COUNT);
	events = trace_events(&trace, &count);
	ck_assert_uint_eq(count, 2 * COUNT);
	for (size_t i = 0; i < count; i++) {
		size_t n = events[i].e.address / 16 - 1;
		if (n >= COUNT || seen[n]++ != (events[i].e.record == ML_RECORD_FREE))
			ck_abort_msg("event %zu", i);
	}
	free(events);
}
END_TEST

static int kill_after;   /* parts of a third of the piece that are written */
static unsigned kill_at; /* and which piece that is, from 1 */
static unsigned pieces;

/* Dies in the middle of appending the third piece. */
static bool die_in_append(const long a[6], long *result)
{
	unsigned long part = (unsigned long)a[2] * (unsigned)kill_after / 3;

	(void)result;
	if (++pieces < kill_at)
		return false;
	if (part && pwrite((int)a[0], (const void *)a[1], part, a[3]) != (ssize_t)part)
		_exit(1);
	raise(SIGKILL);
	return true;
}

/* What was appended, or a part of it, is in the ring as well: the ring counts, so that nothing is lost or there
   twice. _i: of a piece, after how much of it; the 17th is the first one in the larger extent. */
START_TEST(the_ring_wins)
{
	static const unsigned kill_at_of[] = {3, 16, 17, 18};
	size_t count, extents;
	struct trace_event *events;
	int status;
	pid_t pid = fork();

	if (!pid) {
		kill_after = _i % 4;
		kill_at = kill_at_of[_i / 4];
		session_start(NULL);
		session_initialize();
		session_alloc(16, 1);
		faults_install(SYS_pwrite64, -1);
		faults_answer(SYS_pwrite64, die_in_append);
		for (unsigned i = 2;; i++)
			session_alloc(16 * (uint64_t)i, 1);
	}
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
	trace_open(&trace, session_trace());
	extents = trace_count_extents(&trace, ML_EXTENT_EVENTS);
	ck_assert_uint_eq(extents, kill_at_of[_i / 4]);
	ck_assert_uint_eq(trace_count_extents(&trace, ML_EXTENT_RING), kill_at_of[_i / 4] > 16 ? 2 : 1);
	events = trace_events(&trace, &count);
	ck_assert_uint_gt(count, extents * (ML_RING_BYTES - 1024) / 3);
	for (size_t i = 0; i < count; i++)
		if (events[i].e.address != 16 * (i + 1))
			ck_abort_msg("event %zu", i);
	ck_assert_uint_eq(trace.damaged, 0);
	free(events);
}
END_TEST

static _Atomic uint64_t handled;

static void record_in_handler(int number)
{
	(void)number;
	if (session_alloc(0x800000, 3))
		atomic_fetch_add(&handled, 1);
}

static _Atomic int interrupting;

static void *interrupt(void *thread)
{
	while (atomic_load(&interrupting)) {
		pthread_kill(*(pthread_t *)thread, SIGUSR1);
		usleep(20);
	}
	return NULL;
}

/* Hooks of a signal handler come between any two instructions of the recorder: they are recorded or counted. */
START_TEST(stays_whole_under_signals)
{
	struct sigaction action;
	pthread_t self = pthread_self(), other;
	size_t count, own = 0, others = 0, next = 1;
	struct trace_event *events;
	const unsigned many = 400000;

	memset(&action, 0, sizeof action);
	action.sa_handler = record_in_handler;
	session_start(NULL);
	session_initialize();
	session_alloc(0x800000, 3);
	ck_assert_int_eq(sigaction(SIGUSR1, &action, NULL), 0);
	atomic_store(&interrupting, 1);
	ck_assert_int_eq(pthread_create(&other, NULL, interrupt, &self), 0);
	for (unsigned i = 1; i <= many; i++)
		session_alloc(16 * (uint64_t)i, 1);
	atomic_store(&interrupting, 0);
	pthread_join(other, NULL);
	trace_open(&trace, session_trace());
	events = trace_events(&trace, &count);
	for (size_t i = 1; i < count; i++) {
		if (events[i].e.address == 0x800000 && events[i].e.bytes == 3) {
			others++;
			continue;
		}
		own++;
		if (events[i].e.address != 16 * next++)
			ck_abort_msg("event %zu", i);
	}
	ck_assert_uint_eq(own, many);
	ck_assert_uint_eq(others, handled);
	ck_assert_uint_eq(trace.damaged, 0);
	free(events);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("ring");
	TCase *c = tcase_create("ring");
	SRunner *r = srunner_create(s);
	int failed;

	suite_add_tcase(s, c);
	tcase_add_checked_fixture(c, session_begin, session_end);
	tcase_set_timeout(c, 60);
	tcase_add_loop_test(c, orders_what_threads_hand_to_each_other, 0, 2);
	tcase_add_test(c, numbers_turns_upwards);
	tcase_add_test(c, takes_over_the_rings_of_the_dead);
	tcase_add_test(c, takes_over_a_ring_by_its_number);
	tcase_add_test(c, gives_living_threads_rings_of_their_own);
	tcase_add_loop_test(c, the_ring_wins, 0, 16);
	tcase_add_test(c, stays_whole_under_signals);
	srunner_run_all(r, CK_NORMAL);
	failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
