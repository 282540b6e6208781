#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <sys/wait.h>
#include <unistd.h>

#include "preload/file.h"
#include "preload/options.h"
#include "preload/process.h"
#include "preload/record.h"
#include "preload/ring.h"
#include "tests/preload/faults.h"
#include "tests/preload/session.h"
#include "tests/preload/trace_file.h"

#define EVENTS 40000u

static struct trace_file trace;

/* The nth event of a run; addresses that tell them apart. */
static void make_events(unsigned from, unsigned to)
{
	for (unsigned i = from; i < to; i++)
		session_alloc(16 * (uint64_t)(i + 1), i % 7);
}

/* The same, each by another caller, so that there are many nodes. */
static void make_events_by_many(unsigned from, unsigned to)
{
	for (unsigned i = from; i < to; i++)
		session_alloc_by((const char *)&make_events + i, 16 * (uint64_t)(i + 1), i % 7);
}

/* The trace holds events as they were made, in their order; returns how many. Some may have been dropped. */
static size_t count_events(void)
{
	size_t count;
	uint64_t next = 0;
	struct trace_event *events;

	trace_open(&trace, session_trace());
	events = trace_events(&trace, &count);
	ck_assert_uint_eq(trace.damaged, 0);
	for (size_t i = 0; i < count; i++) {
		uint64_t n = events[i].e.address / 16 - 1;
		uint32_t node = events[i].e.node;
		if (events[i].e.record != ML_RECORD_ALLOC || n < next || events[i].e.bytes != n % 7 ||
		    (node && (node >= trace.node_count || !trace.nodes[node].subject)))
			ck_abort_msg("event %zu is another one", i);
		next = n + 1;
	}
	free(events);
	return count;
}

static uint64_t dropped(void)
{
	const uint64_t *counter = trace.header->counter;

	return counter[ML_COUNTER_DROPPED_STOPPED] + counter[ML_COUNTER_DROPPED_EARLY] +
	       counter[ML_COUNTER_DROPPED_NO_RING];
}

/* All are there, or counted. */
static void check_balance(unsigned made)
{
	size_t count = count_events();

	ck_assert_uint_eq(count + dropped(), made);
}

START_TEST(has_a_name_and_a_mode)
{
	struct stat st;
	char wanted[512];

	session_start(NULL);
	ck_assert_str_eq(ml_file_name(), "");
	session_initialize();
	make_events(0, 1);
	snprintf(wanted, sizeof wanted, "%s/%d-%llu-0.memline", session_directory, getpid(),
		 (unsigned long long)ml_process.start_ticks);
	ck_assert_str_eq(session_trace(), wanted);
	ck_assert_str_eq(ml_file_name(), strrchr(wanted, '/') + 1);
	ck_assert_int_eq(stat(wanted, &st), 0);
	ck_assert_uint_eq(st.st_mode & 07777, 0600);
	ck_assert_uint_eq(st.st_uid, getuid());
	ck_assert_uint_eq(count_events(), 1);
}
END_TEST

START_TEST(takes_the_next_free_number)
{
	char path[512];
	int fd;

	session_start(NULL);
	for (unsigned image = 0; image < 3; image++) {
		snprintf(path, sizeof path, "%s/%d-%llu-%u.memline%s", session_directory, getpid(),
			 (unsigned long long)ml_process.start_ticks, image, image == 1 ? ".new" : "");
		fd = open(path, O_CREAT | O_WRONLY, 0600);
		ck_assert_int_ge(fd, 0);
		close(fd);
	}
	session_initialize();
	make_events(0, 1);
	ck_assert_uint_eq(ml_file_image(), 3);
	snprintf(path, sizeof path, "%s/%s", session_directory, ml_file_name());
	trace_open(&trace, path);
	ck_assert_str_eq(trace_meta(&trace, "image", 0), "3");
}
END_TEST

/* The program may close every descriptor and use the numbers for its own files. */
START_TEST(leaves_the_programs_files_alone)
{
	struct stat st;
	int own[64];

	session_start(NULL);
	session_initialize();
	make_events(0, 1);
	for (unsigned round = 0; round < 3; round++) {
		FILE *f = tmpfile();
		for (int fd = 3; fd < 2048; fd++)
			if (fd != fileno(f))
				close(fd);
		for (int fd = 900; fd < 1030; fd++)
			dup2(fileno(f), fd);
		for (unsigned i = 0; i < 64; i++)
			own[i] = dup(fileno(f));
		make_events(1 + round * EVENTS, 1 + (round + 1) * EVENTS);
		ck_assert_int_eq(fstat(fileno(f), &st), 0);
		ck_assert_int_eq(st.st_size, 0);
		ck_assert_int_eq(own[63] < 900, 1);
	}
	check_balance(1 + 3 * EVENTS);
	ck_assert_int_eq(session_state(), ML_RECORDING);
}
END_TEST

START_TEST(stops_when_its_file_is_gone)
{
	struct ml_header *h;

	session_start(NULL);
	session_initialize();
	make_events(0, 1);
	h = ml_file_header();
	ck_assert_int_eq(unlink(session_trace()), 0);
	for (int fd = 3; fd < 2048; fd++)
		close(fd);
	make_events(1, EVENTS);
	ck_assert_int_eq(session_state(), ML_STOPPED);
	ck_assert_uint_eq(h->stop, ML_STOP_WRITE);
	ck_assert_int_eq(h->stop_errno, ENOENT);
}
END_TEST

START_TEST(stops_at_max_bytes)
{
	struct stat st;

	session_start("MEMLINE_MAX_BYTES=1M", NULL);
	session_initialize();
	make_events(0, 15 * EVENTS);
	ck_assert_int_eq(session_state(), ML_STOPPED);
	check_balance(15 * EVENTS);
	ck_assert_uint_eq(trace.header->stop, ML_STOP_MAX_BYTES);
	ck_assert_int_eq(stat(session_trace(), &st), 0);
	ck_assert_int_le(st.st_size, 1 << 20);
	ck_assert_uint_gt(count_events(), 1000);
}
END_TEST

#define BLOCKS (1u << 20) /* of 4 KiB, in all */
#define FREE_BLOCKS 512u

static uint64_t kept_blocks;

/* A small disk that the trace fills: at the start FREE_BLOCKS more than what is to be kept are free. */
static bool small_disk(const long arguments[6], long *result)
{
	struct statfs *fs = (struct statfs *)arguments[1];
	struct stat st;

	*result = fstat((int)arguments[0], &st) ? -errno : 0;
	memset(fs, 0, sizeof *fs);
	fs->f_bsize = 4096;
	fs->f_blocks = BLOCKS;
	fs->f_bavail = kept_blocks + FREE_BLOCKS - (uint64_t)st.st_size / 4096;
	return true;
}

/* The tenth part, or what was asked for: _i. */
START_TEST(keeps_space_free)
{
	struct stat st;

	kept_blocks = _i ? 256 : BLOCKS / 10;
	faults_install(SYS_fstatfs, -1);
	faults_answer(SYS_fstatfs, small_disk);
	session_start(_i ? "MEMLINE_KEEP_FREE=1M" : "MEMLINE_KEEP_FREE=auto", NULL);
	session_initialize();
	make_events(0, 30 * EVENTS);
	ck_assert_int_eq(session_state(), ML_STOPPED);
	check_balance(30 * EVENTS);
	ck_assert_uint_eq(trace.header->stop, ML_STOP_KEEP_FREE);
	ck_assert_int_eq(stat(session_trace(), &st), 0);
	ck_assert_int_le(st.st_size, FREE_BLOCKS * 4096);
	ck_assert_int_gt(st.st_size, FREE_BLOCKS * 4096 / 2);
}
END_TEST

START_TEST(makes_no_file_on_a_disk_that_is_full)
{
	kept_blocks = 0; /* of which a tenth part of the disk was to be */
	faults_install(SYS_fstatfs, -1);
	faults_answer(SYS_fstatfs, small_disk);
	session_start(NULL);
	session_initialize();
	make_events(0, 1000);
	ck_assert_str_eq(session_trace(), "");
	ck_assert_int_eq(session_state(), ML_INERT);
}
END_TEST

static void no_signal(int number)
{
	(void)number;
	ck_abort_msg("SIGXFSZ");
}

/* Also where the limit is lowered later. Without a mapping: _i & 1. Below what the trace has already: _i & 2. */
START_TEST(stops_at_the_file_size_limit)
{
	struct rlimit limit = {_i & 2 ? 100 * 1024 : 600 * 1024, RLIM_INFINITY};

	signal(SIGXFSZ, no_signal);
	if (_i & 1) {
		faults_install(SYS_fallocate, -1);
		faults_set(SYS_fallocate, 0, EOPNOTSUPP);
	}
	session_start(NULL);
	session_initialize();
	make_events(0, EVENTS);
	ck_assert_int_eq(session_state(), ML_RECORDING);
	ck_assert_int_eq(setrlimit(RLIMIT_FSIZE, &limit), 0);
	make_events(EVENTS, 10 * EVENTS);
	ck_assert_int_eq(session_state(), ML_STOPPED);
	ck_assert_uint_eq(ml_file_header()->stop, ML_STOP_FILE_LIMIT);
	ml_process_end(3);
	limit.rlim_cur = RLIM_INFINITY;
	ck_assert_int_eq(setrlimit(RLIMIT_FSIZE, &limit), 0);
	if (_i == 3)
		return; /* there was no more to be written */
	check_balance(10 * EVENTS);
	ck_assert_uint_eq(trace.header->stop, ML_STOP_FILE_LIMIT);
}
END_TEST

START_TEST(makes_no_file_above_the_file_size_limit)
{
	struct rlimit limit = {4096, RLIM_INFINITY};

	signal(SIGXFSZ, no_signal);
	session_start(NULL);
	ck_assert_int_eq(setrlimit(RLIMIT_FSIZE, &limit), 0);
	session_initialize();
	make_events(0, 1000);
	ck_assert_str_eq(session_trace(), "");
	ck_assert_int_eq(session_state(), ML_INERT);
}
END_TEST

/* On file systems where no space can be set aside, and where no shared mapping can be had: _i. */
START_TEST(does_without_a_mapping)
{
	faults_install(SYS_fallocate, SYS_mmap, -1);
	session_start(NULL);
	faults_set(_i ? SYS_mmap : SYS_fallocate, 0, _i ? ENODEV : EOPNOTSUPP);
	if (_i)
		faults_only_with(3, MAP_SHARED);
	make_events(0, EVENTS / 4);
	session_initialize();
	make_events(EVENTS / 4, EVENTS / 4 + 1);
	ck_assert_int_eq(session_state(), ML_RECORDING);
	ck_assert_uint_ge(faults_made(), 1);
	ck_assert_uint_eq(ml_file_header()->flags, ML_FLAG_UNMAPPED);
	/* What waited is in the file at once. */
	ck_assert_uint_ge(count_events(), EVENTS / 4);
	make_events_by_many(EVENTS / 4 + 1, 3 * EVENTS);
	/* A kill here loses the last piece at most. */
	ck_assert_uint_ge(count_events(), 3 * EVENTS - ML_RING_BYTES_BUSY / 2);
	ml_process_end(0);
	ck_assert_uint_eq(count_events(), 3 * EVENTS);
	ck_assert_uint_eq(trace.header->end, ML_END_EXIT);
	ck_assert_uint_eq(trace.header->flags, ML_FLAG_UNMAPPED);
}
END_TEST

/* A directory of extents goes on in others. */
START_TEST(grows_its_directory)
{
	unsigned many = 9000000;

	session_start(NULL);
	session_initialize();
	for (unsigned i = 0; i < many; i++)
		session_alloc(i % 2 ? UINT64_MAX : 16 * (uint64_t)i, (uint64_t)1 << 60 | i);
	trace_open(&trace, session_trace());
	ck_assert_uint_gt(trace_count_extents(&trace, ML_EXTENT_EVENTS), (64u << 10) / sizeof(struct ml_extent));
	ck_assert_int_eq(session_state(), ML_RECORDING);
	ck_assert_uint_eq(dropped(), 0);
}
END_TEST

/* Dies at some moment, even while the trace is being made: what a reader then finds is whole. */
START_TEST(survives_a_kill_at_any_moment)
{
	volatile unsigned *progress = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	pid_t pid = fork();
	unsigned done;

	if (!pid) {
		session_start(NULL);
		make_events(0, 1000);
		session_initialize();
		for (unsigned i = 1000;; i++) {
			session_alloc(16 * (uint64_t)(i + 1), i % 7);
			*progress = i + 1;
		}
	}
	while (!*progress)
		usleep(100);
	usleep(137 * (unsigned)_i);
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	done = *progress;
	ck_assert_uint_ge(count_events(), done);
}
END_TEST

/* The piece that could not be appended stays in the ring, and is not tried again: it would be there twice. */
START_TEST(appends_nothing_after_it_has_failed)
{
	struct ml_thread *t;
	unsigned made = 0;

	session_start(NULL);
	session_initialize();
	make_events(0, 1);
	faults_install(SYS_pwrite64, -1);
	while (ml_thread.ring->at <= ml_thread.ring->full)
		made++, make_events(made, made + 1);
	faults_set(SYS_pwrite64, 1, EIO);
	t = ml_enter(NULL);
	ml_record_realloc_begin(t, ML_DOMAIN_C, t, NULL);
	ck_assert_int_eq(session_state(), ML_STOPPED);
	ml_record_realloc_end(t, ML_OUTCOME_DONE, t, 1);
	ml_leave(t);
	ck_assert_uint_eq(faults_seen(), 1);
	ck_assert_uint_eq(count_events(), made + 1);
	ck_assert_uint_eq(trace_count_extents(&trace, ML_EXTENT_EVENTS), 1);
	ck_assert_uint_eq(dropped(), 2);
	ck_assert_uint_eq(trace.header->stop, ML_STOP_WRITE);
	ck_assert_int_eq(trace.header->stop_errno, EIO);
}
END_TEST

/* The first calls of these are made to fail, one in each test. There are more than so many. */
static const struct fault {
	int number;
	int error;
	unsigned calls;
} faults[] = {
	{SYS_mmap, ENOMEM, 30},    {SYS_pwrite64, EIO, 14},   {SYS_pwrite64, ENOSPC, 14}, {SYS_fallocate, ENOSPC, 6},
	{SYS_fallocate, EIO, 6},   {SYS_openat, EACCES, 5},   {SYS_fstat, EIO, 5},        {SYS_fstatfs, EIO, 1},
	{SYS_renameat, EACCES, 1}, {SYS_prlimit64, EPERM, 6},
};

#define FAULTS_IN_ALL 88

START_TEST(bears_a_failing_call)
{
	static const char *const none[] = {NULL};
	const struct fault *f = faults;
	unsigned nth = (unsigned)_i + 1;
	int state;

	for (; nth > f->calls; f++)
		nth -= f->calls;
	faults_install(SYS_mmap, SYS_pwrite64, SYS_fallocate, SYS_openat, SYS_fstat, SYS_fstatfs, SYS_renameat,
		       SYS_prlimit64, -1);
	faults_set(f->number, nth, f->error);
	errno = 12345;
	session_try_start(none);
	make_events_by_many(0, EVENTS / 4);
	session_initialize();
	make_events_by_many(EVENTS / 4, EVENTS);
	ml_process_end(0);
	ck_assert_int_eq(errno, 12345);
	ck_assert_uint_eq(faults_made(), 1);
	faults_clear();
	state = session_state();
	ck_assert(state == ML_INERT || state == ML_RECORDING || state == ML_STOPPED);
	if (*session_trace())
		check_balance(EVENTS);
	else
		ck_assert(state == ML_INERT || state == ML_STOPPED);
	if (*session_trace() && state == ML_STOPPED)
		ck_assert_uint_ne(trace.header->stop, ML_STOP_NONE);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("file");
	TCase *c = tcase_create("file");
	SRunner *r = srunner_create(s);
	int failed;

	suite_add_tcase(s, c);
	tcase_add_checked_fixture(c, session_begin, session_end);
	tcase_set_timeout(c, 60);
	tcase_add_test(c, has_a_name_and_a_mode);
	tcase_add_test(c, takes_the_next_free_number);
	tcase_add_test(c, leaves_the_programs_files_alone);
	tcase_add_test(c, stops_when_its_file_is_gone);
	tcase_add_test(c, stops_at_max_bytes);
	tcase_add_loop_test(c, keeps_space_free, 0, 2);
	tcase_add_test(c, makes_no_file_on_a_disk_that_is_full);
	tcase_add_loop_test(c, stops_at_the_file_size_limit, 0, 4);
	tcase_add_test(c, makes_no_file_above_the_file_size_limit);
	tcase_add_loop_test(c, does_without_a_mapping, 0, 2);
	tcase_add_test(c, grows_its_directory);
	tcase_add_loop_test(c, survives_a_kill_at_any_moment, 0, 20);
	tcase_add_test(c, appends_nothing_after_it_has_failed);
	tcase_add_loop_test(c, bears_a_failing_call, 0, FAULTS_IN_ALL);
	srunner_run_all(r, CK_NORMAL);
	failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
