#include "preload/logger.h"

#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/preload/session.h"
#include "tests/preload/trace_file.h"

/* What the recorded process, a copy of this program in the traces' directory, is to do. */
#define RECORD "TEST_LOGGER_EVENTS"
#define DIRECTORY "TEST_LOGGER_DIRECTORY"
#define HOW "TEST_LOGGER_HOW"

/* Says what it was started with; by its own descriptor, which is all that it has. */
static const char memline[] = "#!/bin/sh\n"
			      "exec >&3\n"
			      "echo \"$@\"\n"
			      "pwd\n"
			      "/usr/bin/env | grep -cE '^(LD_PRELOAD|MEMLINE_|TEST_)'\n"
			      "[ -e /proc/self/fd/4 ] && echo more || echo no more\n"
			      "exec >&-\n"
			      "sleep 0.2\n";

static struct trace_file trace;

/* The recorded process. */

static bool is_how(const char *how)
{
	const char *given = getenv(HOW);

	return given && !strcmp(given, how);
}

static unsigned heard;

static void hear(int number)
{
	(void)number;
	heard++;
}

static bool has_no_child(void)
{
	return waitpid(-1, NULL, WNOHANG | __WALL) == -1 && errno == ECHILD;
}

static void make_events(unsigned n)
{
	for (uint64_t i = 1; i <= n; i++)
		session_alloc(i * 16, 1);
}

/* Nothing of it is seen. The status says what was. */
static int record_events(unsigned n)
{
	sigset_t before, now;

	signal(SIGCHLD, hear);
	sigemptyset(&before);
	sigaddset(&before, SIGUSR2);
	sigprocmask(SIG_SETMASK, &before, NULL);
	errno = EDOM;
	make_events(n);
	if (errno != EDOM)
		return 3;
	sigprocmask(SIG_SETMASK, NULL, &now);
	if (memcmp(&before, &now, 8))
		return 4;
	if (!has_no_child() || heard)
		return 5;
	make_events(1000);
	return has_no_child() ? 0 : 6;
}

/* Without the right to have more processes. */
static int become_poor(void)
{
	const struct rlimit none = {0, 0};

	if (setrlimit(RLIMIT_NPROC, &none) || (!geteuid() && setuid(65534)))
		return 1;
	return 0;
}

static int recorded(unsigned n)
{
	pid_t child;
	int status;

	strcpy(session_directory, getenv(DIRECTORY));
	if (is_how("closed"))
		close(STDERR_FILENO);
	if (is_how("subreaper"))
		prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0);
	if (is_how("poor") && become_poor())
		return 2;
	if (!session_try_start((const char *[]){"MEMLINE_LOG=end", NULL}))
		return 1;
	session_initialize();
	if (!is_how("fork"))
		return record_events(n);
	make_events(1);
	child = fork();
	if (!child)
		_exit(record_events(n));
	return waitpid(child, &status, 0) == child ? WEXITSTATUS(status) : 7;
}

/* The test. */

static char program[128];

static void copy_program(void)
{
	int from = open("/proc/self/exe", O_RDONLY), to;
	struct stat st;

	snprintf(program, sizeof(program), "%s/program", session_directory);
	to = open(program, O_WRONLY | O_CREAT | O_EXCL, 0755);
	ck_assert_int_eq(fstat(from, &st), 0);
	for (off_t at = 0; at < st.st_size;)
		ck_assert_int_gt(sendfile(to, from, &at, (size_t)(st.st_size - at)), 0);
	close(from);
	close(to);
	chmod(session_directory, 0777); /* for one without rights */
}

static void set_up(void)
{
	session_begin();
	copy_program();
}

static void place_memline(mode_t mode)
{
	char path[128];
	int fd;

	snprintf(path, sizeof(path), "%s/memline", session_directory);
	fd = open(path, O_WRONLY | O_CREAT | O_EXCL, 0600);
	ck_assert_int_eq(write(fd, memline, sizeof(memline) - 1), sizeof(memline) - 1);
	close(fd);
	chmod(path, mode);
}

static char said[4096];

static void read_all(int fd)
{
	size_t n = 0;
	ssize_t got;

	while ((got = read(fd, said + n, sizeof(said) - 1 - n)) > 0)
		n += (size_t)got;
	said[n] = 0;
}

/* Runs the recorded process to its end, and takes what comes on its standard error. */
static void record(const char *events, const char *how)
{
	int ends[2], status;
	pid_t pid;

	ck_assert_int_eq(pipe(ends), 0);
	pid = fork();
	if (!pid) {
		dup2(ends[1], STDERR_FILENO);
		close(ends[0]);
		close(ends[1]);
		setenv(RECORD, events, 1);
		setenv(DIRECTORY, session_directory, 1);
		setenv(HOW, how, 1);
		execl(program, "program", (char *)NULL);
		_exit(127);
	}
	close(ends[1]);
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert_int_eq(status, 0);
	read_all(ends[0]);
	close(ends[0]);
}

static void check_refused(const char *why)
{
	const char *reason;

	ck_assert_str_eq(said, "");
	trace_open(&trace, session_trace());
	reason = trace_meta(&trace, "log_refused", 0);
	ck_assert_ptr_nonnull(reason);
	ck_assert_str_eq(reason, why);
	ck_assert(!(trace.header->flags & ML_FLAG_LOGGER));
}

START_TEST(starts_once)
{
	char wanted[512];

	place_memline(0755);
	record("64", "");
	snprintf(wanted, sizeof(wanted), "log --fd 3 %s\n/\n0\nno more\n", session_trace());
	ck_assert_str_eq(said, wanted);
	trace_open(&trace, session_trace());
	ck_assert(trace.header->flags & ML_FLAG_LOGGER);
	ck_assert_ptr_null(trace_meta(&trace, "log_refused", 0));
}
END_TEST

/* Of the forked child one, and one of its parent. */
START_TEST(starts_in_a_child)
{
	const char *first, *second;

	place_memline(0755);
	record("64", "fork");
	ck_assert_uint_eq(session_traces(), 2);
	first = strstr(said, "log --fd 3 ");
	ck_assert_ptr_nonnull(first);
	second = strstr(first + 1, "log --fd 3 ");
	ck_assert_ptr_nonnull(second);
	ck_assert_ptr_null(strstr(second + 1, "log --fd 3 "));
	ck_assert(strncmp(first, second, strcspn(first, "\n")));
}
END_TEST

START_TEST(there_is_none)
{
	record("64", "");
	check_refused("memline is neither beside libmemline.so nor in ../bin");
}
END_TEST

START_TEST(it_cannot_be_executed)
{
	place_memline(0644);
	record("64", "");
	check_refused("memline could not be started (error 13)");
}
END_TEST

START_TEST(no_process_can_be_had)
{
	place_memline(0755);
	record("64", "poor");
	check_refused("memline could not be started (error 11)");
}
END_TEST

START_TEST(there_is_no_standard_error)
{
	place_memline(0755);
	record("64", "closed");
	check_refused("the process had no standard error");
}
END_TEST

START_TEST(it_would_become_a_child)
{
	place_memline(0755);
	record("64", "subreaper");
	check_refused("the process is pid 1 or a subreaper: what writes the table would become its child");
}
END_TEST

int main(void)
{
	Suite *suite;
	TCase *tests;
	SRunner *runner;
	int failed;

	if (getenv(RECORD))
		_exit(recorded((unsigned)atoi(getenv(RECORD)))); /* a leak checker would want another process */
	suite = suite_create("logger");
	tests = tcase_create("logger");
	tcase_add_checked_fixture(tests, set_up, session_end);
	tcase_set_timeout(tests, 60);
	tcase_add_test(tests, starts_once);
	tcase_add_test(tests, starts_in_a_child);
	tcase_add_test(tests, there_is_none);
	tcase_add_test(tests, it_cannot_be_executed);
	tcase_add_test(tests, no_process_can_be_had);
	tcase_add_test(tests, there_is_no_standard_error);
	tcase_add_test(tests, it_would_become_a_child);
	suite_add_tcase(suite, tests);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
