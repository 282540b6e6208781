#include "report/progress.h"

#include <check.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Runs a long read with this descriptor as stderr, and puts it back. */
static void read_slowly(int fd, useconds_t microseconds)
{
	int before = dup(STDERR_FILENO);
	struct ml_progress p;

	fflush(stderr);
	dup2(fd, STDERR_FILENO);
	ml_progress_start(&p, "/a/very/long/path/to/a/folder/of/traces/1-2-3.memline");
	ml_progress_show(&p, 0.1);
	usleep(microseconds);
	ml_progress_show(&p, 0.5);
	ml_progress_show(&p, 0.6); /* too soon after the other */
	usleep(microseconds / 8);
	ml_progress_show(&p, 1.5);
	ml_progress_end(&p);
	fflush(stderr);
	dup2(before, STDERR_FILENO);
	close(before);
}

static void open_terminal(int *parent, int *terminal)
{
	*parent = posix_openpt(O_RDWR | O_NOCTTY | O_NONBLOCK);
	ck_assert_int_ge(*parent, 0);
	ck_assert_int_eq(grantpt(*parent), 0);
	ck_assert_int_eq(unlockpt(*parent), 0);
	*terminal = open(ptsname(*parent), O_RDWR | O_NOCTTY);
	ck_assert_int_ge(*terminal, 0);
}

START_TEST(test_terminal)
{
	char text[1024] = "";
	int parent, terminal;
	size_t bytes = 0;
	ssize_t n;

	open_terminal(&parent, &terminal);
	read_slowly(terminal, 100000);
	ck_assert_int_eq(read(parent, text, sizeof(text) - 1), -1); /* nothing in the first second */
	read_slowly(terminal, 1100000);
	while (bytes < sizeof(text) - 1 && (n = read(parent, text + bytes, sizeof(text) - 1 - bytes)) > 0)
		bytes += (size_t)n;
	ck_assert_str_eq(text, "\rpath/to/a/folder/of/traces/1-2-3.memline [###############               ]  50%"
			       "\rpath/to/a/folder/of/traces/1-2-3.memline [##############################] 100%"
			       "\r\033[K");
	close(terminal);
	close(parent);
}
END_TEST

START_TEST(test_no_terminal)
{
	int ends[2];
	char byte;

	ck_assert_int_eq(pipe(ends), 0);
	read_slowly(ends[1], 1100000);
	close(ends[1]);
	ck_assert_int_eq(read(ends[0], &byte, 1), 0);
	close(ends[0]);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("progress");
	TCase *tests = tcase_create("progress");
	SRunner *runner = srunner_create(suite);
	int failed;

	tcase_set_timeout(tests, 30);
	tcase_add_test(tests, test_terminal);
	tcase_add_test(tests, test_no_terminal);
	suite_add_tcase(suite, tests);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
