#include <check.h>
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "preload/file.h"
#include "preload/options.h"
#include "preload/process.h"
#include "preload/record.h"
#include "preload/ring.h"
#include "tests/preload/faults.h"
#include "tests/preload/frames.h"
#include "tests/preload/session.h"
#include "tests/preload/trace_file.h"

static struct trace_file trace;

/* The nth event of the process that has the number: addresses that no other has. */
static int make(unsigned process, unsigned nth)
{
	return session_alloc(0x1000000 * (uint64_t)(process + 1) + 16 * nth, process);
}

static void make_many(unsigned process, unsigned from, unsigned to)
{
	for (unsigned i = from; i < to; i++)
		make(process, i);
}

/* Opens the trace of that name and finds exactly those events in it. */
static void check_trace(const char *name, unsigned process, unsigned count_wanted)
{
	char path[512];
	size_t count;
	struct trace_event *events;

	snprintf(path, sizeof path, "%s/%s", session_directory, name);
	trace_open(&trace, path);
	events = trace_events(&trace, &count);
	for (size_t i = 0; i < count; i++)
		if (events[i].e.address != 0x1000000 * (uint64_t)(process + 1) + 16 * i)
			ck_abort_msg("%s: event %zu is another one", name, i);
	ck_assert_uint_eq(count, count_wanted);
	ck_assert_uint_eq(trace.damaged, 0);
	free(events);
}

/* A page that parent and children share: what each is called. */
static struct shared {
	char name[64][64];
	_Atomic unsigned count;
} * shared;

static void share(void)
{
	shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	ck_assert_ptr_ne(shared, MAP_FAILED);
}

/* What a child does with its life. It does not hang: an alarm kills it. */
static void live_and_exit(unsigned process, unsigned count)
{
	alarm(20);
	make_many(process, 0, count);
	strcpy(shared->name[process], ml_file_name());
	ml_process_end((int)process);
	_exit((int)process);
}

static void bury(pid_t pid, int exit_status)
{
	int status;

	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert_msg(WIFEXITED(status), "killed by signal %d", WTERMSIG(status));
	ck_assert_int_eq(WEXITSTATUS(status), exit_status);
}

static void check_child(unsigned process, unsigned count, const char *parent_file, const char *parent_ring)
{
	check_trace(shared->name[process], process, count);
	ck_assert_str_eq(trace_meta(&trace, "fork", 0), "1");
	ck_assert_str_eq(trace_meta(&trace, "parent_file", 0), parent_file);
	ck_assert_ptr_null(trace_meta(&trace, "late", 0));
	ck_assert_str_eq(trace_meta(&trace, "parent_ring", 0), parent_ring);
	ck_assert_ptr_null(trace_meta(&trace, "parent_ring", 1));
	ck_assert_uint_eq(trace.header->end, ML_END_EXIT);
	ck_assert_int_eq(trace.header->exit_status, (int)process);
	ck_assert_uint_gt(trace_count_defs(&trace, ML_DEF_MODULE), 3);
}

/* How a child comes about: fork; a clone that no handler hears of; fork where the kernel wipes no page. */
START_TEST(forked_children_have_their_own_traces)
{
	char ring[64];
	uint64_t state;
	pid_t pid;

	share();
	if (_i == 2) {
		faults_install(SYS_madvise, -1);
		faults_set(SYS_madvise, 0, EINVAL);
	}
	session_start(NULL);
	session_initialize();
	make_many(0, 0, 10000);
	state = ml_thread.ring->piece->state;
	snprintf(ring, sizeof ring, "0 %u %u", (unsigned)ML_PIECE_SEQUENCE(state), (unsigned)ML_PIECE_USED(state));
	pid = _i == 1 ? (pid_t)syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0) : fork();
	if (!pid)
		live_and_exit(1, 20000);
	make_many(0, 10000, 30000);
	bury(pid, 1);
	make_many(0, 30000, 31000);
	ck_assert_uint_eq(session_traces(), 2);
	check_trace(ml_file_name(), 0, 31000);
	ck_assert_ptr_null(trace_meta(&trace, "fork", 0));
	check_child(1, 20000, ml_file_name(), ring);
}
END_TEST

/* Its parent has no file yet. */
START_TEST(children_of_processes_without_a_file)
{
	pid_t pid;

	share();
	session_start(NULL);
	make_many(0, 0, 1000);
	pid = fork();
	if (!pid) {
		session_initialize();
		live_and_exit(1, 1000);
	}
	bury(pid, 1);
	ck_assert_uint_eq(session_traces(), 1);
	check_trace(shared->name[1], 1, 1000);
	ck_assert_str_eq(trace_meta(&trace, "parent_file", 0), "");
}
END_TEST

/* Where there can be no trace its children don't try again. */
START_TEST(children_of_inert_processes)
{
	pid_t pid;

	session_start(NULL);
	strcpy(ml_options.directory, "/proc/none");
	session_initialize();
	make(0, 0);
	ck_assert_int_eq(session_state(), ML_INERT);
	strcpy(ml_options.directory, session_directory);
	pid = fork();
	if (!pid) {
		make_many(0, 0, 1000);
		_exit(session_state());
	}
	bury(pid, ML_INERT);
	ck_assert_uint_eq(session_traces(), 0);
}
END_TEST

/* A grandchild; a child of one that stopped. */
START_TEST(children_of_children)
{
	pid_t pid;

	share();
	session_start(NULL);
	session_initialize();
	make_many(0, 0, 10);
	pid = fork();
	if (!pid) {
		pid_t grandchild;
		make_many(1, 0, 10);
		strcpy(shared->name[1], ml_file_name());
		ml_process_stop(ML_STOP_WRITE, EIO);
		grandchild = fork();
		if (!grandchild)
			live_and_exit(2, 50);
		bury(grandchild, 2);
		live_and_exit(1, 7);
	}
	bury(pid, 1);
	check_trace(shared->name[1], 1, 10);
	ck_assert_uint_eq(trace.header->counter[ML_COUNTER_DROPPED_STOPPED], 7);
	ck_assert_uint_eq(trace.header->stop, ML_STOP_WRITE);
	ck_assert_int_eq(trace.header->stop_errno, EIO);
	check_trace(shared->name[2], 2, 50);
	ck_assert_str_eq(trace_meta(&trace, "parent_file", 0), shared->name[1]);
	ck_assert_uint_eq(trace.header->stop, ML_STOP_NONE);
}
END_TEST

static _Atomic int busy_threads;

static void *keep_busy(void *process)
{
	struct frame f = {.owner = FRAME_OWNER_SHIM};
	struct code *code = frames_code("/app/busy.py", "busy", 1);

	f.owner = 0;
	f.code = frames_tagged(code);
	frames_top = &f;
	for (unsigned i = 0; atomic_load(&busy_threads); i++) {
		f.index = (int)(i / 64 % 64);
		f.instr = &code->bytecode[f.index];
		session_alloc_by((const char *)&make + i % 50000, 16 * (uint64_t)i, (uintptr_t)process);
	}
	return NULL;
}

/* Whatever the other threads are in the middle of. */
START_TEST(forks_while_threads_record)
{
	enum { CHILDREN = 30, THREADS = 3 };
	pthread_t threads[THREADS];

	share();
	session_start(NULL);
	frames_start(FRAMES_VERSIONS);
	session_initialize();
	make(0, 0);
	atomic_store(&busy_threads, 1);
	for (uintptr_t i = 0; i < THREADS; i++)
		ck_assert_int_eq(pthread_create(&threads[i], NULL, keep_busy, (void *)i), 0);
	for (unsigned process = 1; process <= CHILDREN; process++) {
		pid_t pid = fork();
		if (!pid)
			live_and_exit(process, 300);
		bury(pid, (int)process);
	}
	atomic_store(&busy_threads, 0);
	for (unsigned i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	ck_assert_uint_eq(session_traces(), CHILDREN + 1);
	for (unsigned process = 1; process <= CHILDREN; process++)
		check_trace(shared->name[process], process, 300);
}
END_TEST

static pid_t forked;
static unsigned calls_until_fork;

/* Forks in the middle of the recorder, as a signal handler could. Both go on where they are. */
static bool fork_in_call(const long arguments[6], long *result)
{
	(void)arguments;
	(void)result;
	if (!calls_until_fork || --calls_until_fork)
		return false;
	forked = fork();
	return false;
}

static const struct {
	int number;
	unsigned nth;
} interrupted[] = {
	{SYS_pwrite64, 1},  {SYS_pwrite64, 2},  {SYS_pwrite64, 3},  {SYS_pwrite64, 8}, {SYS_pwrite64, 9},
	{SYS_fallocate, 1}, {SYS_fallocate, 2}, {SYS_fallocate, 3}, {SYS_mmap, 1},     {SYS_mmap, 3},
	{SYS_mmap, 6},      {SYS_mmap, 7},      {SYS_mmap, 8},      {SYS_openat, 1},   {SYS_fstatfs, 1},
	{SYS_prlimit64, 4}, {SYS_prlimit64, 9},
};

START_TEST(forks_in_the_middle_of_the_recorder)
{
	int handed_over = 0;

	share();
	session_start(NULL);
	make_many(0, 0, 10000);
	faults_install(interrupted[_i].number, -1);
	faults_answer(interrupted[_i].number, fork_in_call);
	calls_until_fork = interrupted[_i].nth;
	forked = -1;
	session_initialize();
	for (unsigned i = 10000; i < 40000; i++) {
		session_alloc_by((const char *)&make + i, 0x1000000 + 16 * (uint64_t)i, 0);
		if (!forked) /* this is the child, which has come out of the call */
			live_and_exit(1, 5000);
		handed_over |= forked > 0;
	}
	ck_assert(handed_over);
	bury(forked, 1);
	ck_assert_uint_eq(session_traces(), 2);
	ck_assert_int_eq(session_state(), ML_RECORDING);
	check_trace(ml_file_name(), 0, 40000);
	check_trace(shared->name[1], 1, 5000);
}
END_TEST

static void fork_in_handler(int number)
{
	(void)number;
	forked = fork();
}

static pthread_barrier_t attached;

/* A new caller needs a node, and that the lock. */
static void *one_event_then_wait(void *unused)
{
	session_alloc(0x20, 1);
	pthread_barrier_wait(&attached);
	pthread_barrier_wait(&attached);
	session_alloc_by((const char *)&make + 77, 0x1000000, 0);
	if (!forked)
		live_and_exit(1, 100);
	return unused;
}

/* A thread waits for a lock that another one holds, and forks in a signal handler: in the child nobody drops it. */
START_TEST(forks_while_it_waits_for_a_lock)
{
	pthread_t thread;

	share();
	signal(SIGUSR1, fork_in_handler);
	pthread_barrier_init(&attached, NULL, 2);
	forked = -1;
	session_start(NULL);
	session_initialize();
	session_alloc(0x10, 1);
	ck_assert_int_eq(pthread_create(&thread, NULL, one_event_then_wait, NULL), 0);
	pthread_barrier_wait(&attached);
	ml_lock_take(&ml_process.lock);
	pthread_barrier_wait(&attached);
	while (atomic_load(&ml_process.lock.word) != 2)
		sched_yield();
	pthread_kill(thread, SIGUSR1);
	while (*(volatile pid_t *)&forked <= 0)
		sched_yield();
	bury(forked, 1);
	ml_lock_drop(&ml_process.lock);
	pthread_join(thread, NULL);
	check_trace(shared->name[1], 1, 100);
}
END_TEST

/* The same without a handler of fork's: the lock is free when the child begins. */
START_TEST(clones_while_a_lock_is_held)
{
	pid_t pid;

	share();
	session_start(NULL);
	session_initialize();
	make(0, 0);
	ml_lock_take(&ml_process.lock);
	ml_lock_take(&ml_process.early_lock);
	pid = (pid_t)syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0);
	if (!pid)
		live_and_exit(1, 100);
	ml_lock_drop(&ml_process.early_lock);
	ml_lock_drop(&ml_process.lock);
	bury(pid, 1);
	check_trace(shared->name[1], 1, 100);
}
END_TEST

/* A child of vfork has its parent's memory: its events are the parent's. */
START_TEST(vfork_shares_the_trace)
{
	pid_t pid;

	session_start(NULL);
	session_initialize();
	make_many(0, 0, 100);
	pid = vfork();
	if (!pid) {
		make_many(0, 100, 200);
		ml_process_end(9);
		_exit(0);
	}
	bury(pid, 0);
	make_many(0, 200, 300);
	ck_assert_uint_eq(session_traces(), 1);
	check_trace(ml_file_name(), 0, 300);
	ck_assert_uint_eq(trace_count_extents(&trace, ML_EXTENT_RING), 1);
	ck_assert_uint_eq(trace.header->end, ML_END_NONE);
}
END_TEST

/* A thread whose first event of all is made by a child of its vfork: the ring would be one of a thread that is gone. */
static void *vfork_first(void *unused)
{
	pid_t pid = vfork();

	if (!pid) {
		session_alloc(0x10, 1);
		_exit(0);
	}
	bury(pid, 0);
	ck_assert_uint_eq(ml_thread.gate, ML_GATE_NONE);
	ck_assert(make(0, 1));
	return unused;
}

START_TEST(vfork_opens_no_ring)
{
	pthread_t thread;

	session_start(NULL);
	session_initialize();
	make(0, 0);
	ck_assert_int_eq(pthread_create(&thread, NULL, vfork_first, NULL), 0);
	pthread_join(thread, NULL);
	make(0, 2);
	check_trace(ml_file_name(), 0, 3);
	ck_assert_uint_eq(trace.header->counter[ML_COUNTER_DROPPED_NO_RING], 1);
}
END_TEST

static void *one_event(void *unused)
{
	make(0, 5);
	return unused;
}

START_TEST(counts_what_comes_after_a_stop)
{
	pthread_t thread;

	session_start(NULL);
	session_initialize();
	make_many(0, 0, 5);
	ml_process_stop(ML_STOP_KEEP_FREE, 0);
	ml_process_stop(ML_STOP_NO_SPACE, ENOSPC); /* the first reason counts */
	ck_assert(!make(0, 5));
	ck_assert_int_eq(pthread_create(&thread, NULL, one_event, NULL), 0);
	pthread_join(thread, NULL);
	ml_process_end(4);
	ck_assert(!make(0, 5));
	check_trace(ml_file_name(), 0, 5);
	ck_assert_uint_eq(trace.header->stop, ML_STOP_KEEP_FREE);
	ck_assert_int_eq(trace.header->stop_errno, 0);
	ck_assert_uint_eq(trace.header->counter[ML_COUNTER_DROPPED_STOPPED], 3);
	ck_assert_uint_eq(trace.header->end, ML_END_EXIT);
	ck_assert_int_eq(trace.header->exit_status, 4);
}
END_TEST

/* A stop or a fork between a thread's looks at the state and at the gate: gate 0 lets no thread in. */
START_TEST(no_thread_attaches_at_a_closed_gate)
{
	session_start(NULL);
	session_initialize();
	make(0, 0);
	atomic_store(&ml_wiped->gate, 0);
	ck_assert_int_eq(session_state(), ML_RECORDING);
	for (unsigned i = 0; i < 10; i++)
		ck_assert(!make(0, 1));
	ck_assert_uint_ne(ml_thread.gate, 0);
	ck_assert_uint_eq(ml_thread.busy, ML_IDLE);
}
END_TEST

/* The event in whose middle recording stops ends as it should. */
START_TEST(stops_in_the_middle_of_an_event)
{
	struct ml_thread *t;

	session_start(NULL);
	session_initialize();
	make(0, 0);
	t = ml_enter(NULL);
	ml_record_realloc_begin(t, ML_DOMAIN_C, (const void *)0x1000010, NULL);
	ml_process_stop(ML_STOP_MAX_BYTES, 0);
	ml_record_realloc_end(t, ML_OUTCOME_DONE, (const void *)0x1000020, 1);
	ml_leave(t);
	ck_assert(!make(0, 3));
	check_trace(ml_file_name(), 0, 3);
}
END_TEST

/* Who owns the default directory, and what it is: it must be ours, and no link, or there will be no trace. */
START_TEST(trusts_only_a_directory_of_its_own)
{
	char path[128], target[128];

	snprintf(path, sizeof path, "%s/default", session_directory);
	snprintf(target, sizeof target, "%s/target", session_directory);
	session_start(NULL);
	strcpy(ml_options.directory, path);
	ml_options.directory_given = false;
	ck_assert_int_eq(mkdir(target, 0700), 0);
	if (_i == 1)
		ck_assert_int_eq(mkdir(path, 0700) + chmod(path, 0755), 0);
	if (_i == 2)
		ck_assert_int_eq(symlink(target, path), 0);
	if (_i == 3)
		ck_assert_int_eq(mkdir(path, 0700), 0);
	session_initialize();
	ck_assert_int_eq(make(0, 0), 1);
	ck_assert_int_eq(session_state(), _i == 1 || _i == 2 ? ML_INERT : ML_RECORDING);
	for (unsigned i = 0; i < 100; i++)
		ck_assert_int_eq(make(0, i), session_state() == ML_RECORDING);
	if (_i == 1 || _i == 2)
		ck_assert_uint_gt(ml_thread.countdown, 1u << 30); /* and it costs next to nothing */
	else
		ck_assert_int_eq(unlink(strcat(strcat(path, "/"), ml_file_name())), 0);
	rmdir(target);
	snprintf(path, sizeof path, "%s/default", session_directory);
	ck_assert_int_eq(_i == 2 ? unlink(path) : rmdir(path), 0);
}
END_TEST

/* A directory that the user names may be a link, and is made if it isn't there. */
START_TEST(takes_any_directory_that_is_named)
{
	char path[128], target[128];
	struct stat st;

	snprintf(path, sizeof path, "%s/named", session_directory);
	snprintf(target, sizeof target, "%s/target", session_directory);
	session_start(NULL);
	strcpy(ml_options.directory, path);
	if (_i)
		ck_assert_int_eq(mkdir(target, 0755) + symlink(target, path), 0);
	session_initialize();
	make(0, 0);
	ck_assert_int_eq(session_state(), ML_RECORDING);
	ck_assert_int_eq(stat(path, &st), 0);
	ck_assert_uint_eq(st.st_mode & 0777, _i ? 0755 : 0700);
	strcat(strcat(path, "/"), ml_file_name());
	ck_assert_int_eq(unlink(path), 0);
	snprintf(path, sizeof path, "%s/named", session_directory);
	if (_i)
		ck_assert_int_eq(unlink(path) + rmdir(target), 0);
	else
		ck_assert_int_eq(rmdir(path), 0);
}
END_TEST

/* A process without CPython looks for it at its 1st, 2nd, 4th … hook, and then at every 16th. In between malloc
   and free are asleep. */
START_TEST(looks_for_python_now_and_then)
{
	ck_assert_int_eq(session_state(), ML_DORMANT);
	ml_thread.countdown = 1;
	ml_thread.period = 0;
	for (uint32_t period = 1; period <= 16; period *= 2) {
		ck_assert_uint_eq(ml_thread.countdown, 1);
		ck_assert_ptr_null(ml_enter(NULL));
		ck_assert_uint_eq(ml_thread.countdown, period);
		ck_assert(ml_asleep);
		while (ml_thread.countdown > 1)
			if (ml_enter(NULL))
				ck_abort_msg("entered");
	}
	ck_assert_ptr_null(ml_enter(NULL));
	ck_assert_uint_eq(ml_thread.countdown, 16);
	ck_assert_int_eq(session_state(), ML_DORMANT);
}
END_TEST

static void *poll(void *unused)
{
	while (session_state() == ML_DORMANT)
		session_alloc(16, 1);
	while (!session_alloc(16, 1))
		;
	return unused;
}

/* However many threads see it at once, recording starts once, and all of them take part. */
START_TEST(wakes_once)
{
	enum { THREADS = 4 };
	pthread_t threads[THREADS];
	size_t count;

	for (unsigned i = 0; i < THREADS; i++)
		ck_assert_int_eq(pthread_create(&threads[i], NULL, poll, NULL), 0);
	session_start(NULL);
	for (unsigned i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	ck_assert_uint_eq(ml_process.generation, ML_GATE_NONE + 1);
	session_initialize();
	session_alloc(32, 1);
	trace_open(&trace, session_trace());
	free(trace_events(&trace, &count));
	ck_assert_uint_ge(count, THREADS + 1);
}
END_TEST

static int state_after_start(void)
{
	int status;
	pid_t pid = fork();

	if (!pid) {
		execl("/proc/self/exe", "test_process", NULL);
		_exit(127);
	}
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	return WEXITSTATUS(status);
}

START_TEST(starts_dormant_or_off)
{
	setenv("TEST_STATE", "", 1);
	ck_assert_int_eq(state_after_start(), ML_DORMANT);
	setenv("MEMLINE_OFF", "", 1);
	ck_assert_int_eq(state_after_start(), ML_INERT);
}
END_TEST

/* The end of a process that has no trace yet makes none. */
START_TEST(ends_without_a_trace)
{
	session_start(NULL);
	make_many(0, 0, 100);
	ml_process_end(0);
	ck_assert_str_eq(session_trace(), "");
	ck_assert_int_eq(session_state(), ML_EARLY);
	ck_assert_uint_eq(ml_thread.busy, ML_IDLE);
}
END_TEST

int main(void)
{
	Suite *s;
	TCase *c;
	SRunner *r;
	int failed;

	if (getenv("TEST_STATE"))
		return session_state();
	s = suite_create("process");
	c = tcase_create("process");
	r = srunner_create(s);
	suite_add_tcase(s, c);
	tcase_add_checked_fixture(c, session_begin, session_end);
	tcase_set_timeout(c, 60);
	tcase_add_loop_test(c, forked_children_have_their_own_traces, 0, 3);
	tcase_add_test(c, children_of_processes_without_a_file);
	tcase_add_test(c, children_of_inert_processes);
	tcase_add_test(c, children_of_children);
	tcase_add_test(c, forks_while_threads_record);
	tcase_add_loop_test(c, forks_in_the_middle_of_the_recorder, 0, sizeof interrupted / sizeof *interrupted);
	tcase_add_test(c, forks_while_it_waits_for_a_lock);
	tcase_add_test(c, clones_while_a_lock_is_held);
	tcase_add_test(c, vfork_shares_the_trace);
	tcase_add_test(c, vfork_opens_no_ring);
	tcase_add_test(c, counts_what_comes_after_a_stop);
	tcase_add_test(c, no_thread_attaches_at_a_closed_gate);
	tcase_add_test(c, stops_in_the_middle_of_an_event);
	tcase_add_loop_test(c, trusts_only_a_directory_of_its_own, 0, 4);
	tcase_add_loop_test(c, takes_any_directory_that_is_named, 0, 2);
	tcase_add_test(c, looks_for_python_now_and_then);
	tcase_add_test(c, wakes_once);
	tcase_add_test(c, starts_dormant_or_off);
	tcase_add_test(c, ends_without_a_trace);
	srunner_run_all(r, CK_NORMAL);
	failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
