#include "report/outlet.h"

#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

/* What is generous on a busy machine, and what nobody waits for. */
#define LONG_MS 20000u

static char line[4096];

static void setup(void)
{
	memset(line, 'x', sizeof(line));
	signal(SIGPIPE, SIG_IGN);
}

/* A pipe with so many pages in it that it takes no other. */
static void make_full_pipe(int ends[2])
{
	ck_assert_int_eq(pipe(ends), 0);
	fcntl(ends[1], F_SETFL, O_NONBLOCK);
	while (write(ends[1], line, sizeof(line)) > 0)
		continue;
	fcntl(ends[1], F_SETFL, 0);
}

/* The owner's own descriptor blocks as before, whatever we have opened. */
START_TEST(test_pipe)
{
	struct ml_outlet o;
	char got[16] = "";
	int ends[2], theirs;

	ck_assert_int_eq(pipe(ends), 0);
	theirs = dup(ends[1]);
	ml_outlet_open(&o, ends[1], -1);
	ck_assert(!(fcntl(theirs, F_GETFL) & O_NONBLOCK));
	ck_assert(fcntl(ends[1], F_GETFL) & O_NONBLOCK);
	ck_assert(ml_outlet_put(&o, "one\n", 4) && ml_outlet_put(&o, "two\n", 4));
	ck_assert_int_eq(read(ends[0], got, sizeof(got)), 8);
	ck_assert_str_eq(got, "one\ntwo\n");
	ck_assert(!ml_outlet_is_dead(&o));
	close(ends[0]);
	ck_assert(ml_outlet_is_dead(&o));
	ck_assert(!ml_outlet_put(&o, "three\n", 6));
	ck_assert(o.broken);
}
END_TEST

START_TEST(test_socket)
{
	struct ml_outlet o;
	char got[16] = "";
	int ends[2];

	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, ends), 0);
	ml_outlet_open(&o, ends[1], -1);
	ck_assert(ml_outlet_put(&o, "one\n", 4));
	ck_assert_int_eq(read(ends[0], got, sizeof(got)), 4);
	close(ends[0]);
	ck_assert(!ml_outlet_put(&o, "two\n", 4));
}
END_TEST

/* What others write to the same open file stays. */
START_TEST(test_file)
{
	char path[] = "/tmp/memline-outlet-XXXXXX", got[32] = "";
	int fd = mkstemp(path), theirs = dup(fd);
	struct ml_outlet o;

	unlink(path);
	ml_outlet_open(&o, fd, -1);
	ck_assert_int_eq(write(theirs, "a\n", 2), 2);
	ck_assert(ml_outlet_put(&o, "b\n", 2));
	ck_assert_int_eq(write(theirs, "c\n", 2), 2);
	ck_assert(!ml_outlet_is_dead(&o));
	ck_assert_int_eq(pread(fd, got, sizeof(got), 0), 6);
	ck_assert_str_eq(got, "a\nb\nc\n");
}
END_TEST

START_TEST(test_full_disk)
{
	struct ml_outlet o;

	ml_outlet_open(&o, open("/dev/full", O_WRONLY), -1);
	ck_assert(!ml_outlet_put(&o, "one\n", 4));
	ck_assert(o.broken);
}
END_TEST

/* Where the owner is gone a full pipe is waited for no longer than that. */
START_TEST(test_hurry)
{
	struct ml_outlet o;
	uint64_t start = ml_outlet_now();
	int ends[2];

	make_full_pipe(ends);
	ml_outlet_open(&o, ends[1], -1);
	ml_outlet_hurry(&o, 50);
	ml_outlet_hurry(&o, 1000000); /* the first word counts */
	ck_assert(!ml_outlet_put(&o, line, sizeof(line)));
	ck_assert_uint_ge(ml_outlet_now() - start, 50);
	ck_assert_uint_lt(ml_outlet_now() - start, LONG_MS);
}
END_TEST

/* As long as the owner runs there is time: the reader may be a slow one. */
START_TEST(test_waits_for_room)
{
	struct ml_outlet o;
	char got[4096];
	int ends[2];
	pid_t reader;

	make_full_pipe(ends);
	ml_outlet_open(&o, ends[1], -1);
	reader = fork();
	if (!reader) {
		usleep(300000);
		_exit(read(ends[0], got, sizeof(got)) != sizeof(got));
	}
	ck_assert(ml_outlet_put(&o, line, sizeof(line)));
	ck_assert_int_eq(waitpid(reader, NULL, 0), reader);
}
END_TEST

/* The owner ends while it is waited for room: a pidfd becomes readable, as the end of a pipe does. */
START_TEST(test_owner_ends)
{
	struct ml_outlet o;
	int ends[2], owner[2];
	pid_t child;

	make_full_pipe(ends);
	ck_assert_int_eq(pipe(owner), 0);
	ml_outlet_open(&o, ends[1], owner[0]);
	child = fork();
	if (!child) {
		usleep(100000);
		_exit(0);
	}
	close(owner[1]);
	ck_assert(!ml_outlet_put(&o, line, sizeof(line)));
	ck_assert_int_eq(waitpid(child, NULL, 0), child);
	ck_assert(o.until);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("outlet");
	TCase *tests = tcase_create("outlet");
	SRunner *runner = srunner_create(suite);
	int failed;

	tcase_add_checked_fixture(tests, setup, NULL);
	tcase_set_timeout(tests, 60);
	tcase_add_test(tests, test_pipe);
	tcase_add_test(tests, test_socket);
	tcase_add_test(tests, test_file);
	tcase_add_test(tests, test_full_disk);
	tcase_add_test(tests, test_hurry);
	tcase_add_test(tests, test_waits_for_room);
	tcase_add_test(tests, test_owner_ends);
	suite_add_tcase(suite, tests);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
