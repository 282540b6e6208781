#include "report/process.h"

#include <check.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "report/memory.h"
#include "tests/report/frames.h"

START_TEST(test_name)
{
	static const char *const bad[] = {
		"",
		"memline",
		"1-2.memline",
		"1-2-3",
		"1-2-3.memlin",
		"1-2-3.memline2",
		"-1-2-3.memline",
		"1--3.memline",
		"a-2-3.memline",
		"1-2-99999999999999999999.memline",
		"/1-2-3.memline/",
		"1-2-3x.memline",
	};
	struct ml_process_name name;
	size_t i;

	ck_assert(ml_process_name("/a/b-1/4711-123456789-12.memline", &name));
	ck_assert_uint_eq(name.pid, 4711);
	ck_assert_uint_eq(name.start_ticks, 123456789);
	ck_assert_uint_eq(name.image, 12);
	for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		ck_assert_msg(!ml_process_name(bad[i], &name), "%s", bad[i]);
}
END_TEST

START_TEST(test_time)
{
	char text[ML_PROCESS_TIME_BYTES];

	ml_process_time(FRAMES_START_NS, text);
	ck_assert_str_eq(text, "2026-01-02T03:04:05.678901+00:00");
	ml_process_time(0, text);
	ck_assert_str_eq(text, "1970-01-01T00:00:00.000000+00:00");
	ml_process_time(UINT64_MAX, text);
	ck_assert_str_eq(text, "2554-07-21T23:34:33.709551+00:00");
}
END_TEST

static uint64_t ticks_of(pid_t pid)
{
	char path[32], text[1024] = "", *p;
	unsigned long long ticks;
	int field;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/stat", pid);
	f = fopen(path, "r");
	ck_assert_ptr_nonnull(f);
	ck_assert_ptr_nonnull(fgets(text, sizeof(text), f));
	fclose(f);
	for (p = strrchr(text, ')'), field = 2; field < 22; field++)
		p = strchr(p + 1, ' ');
	ck_assert_int_eq(sscanf(p, "%llu", &ticks), 1);
	return ticks;
}

/* Makes a trace of a process with this pid and image; its name is the recorder's. */
static struct ml_trace *make_trace(pid_t pid, uint64_t ticks, int image, enum ml_end end)
{
	struct build *b = build_new();
	char *path, *error, number[24];
	struct ml_trace *t;

	snprintf(number, sizeof(number), "%d", pid);
	build_meta(b, "pid", number);
	snprintf(number, sizeof(number), "%" PRIu64, ticks);
	build_meta(b, "start_ticks", number);
	snprintf(number, sizeof(number), "%d", image);
	build_meta(b, "image", number);
	build_header(b)->end = end;
	path = ml_memory_print("%s/%d-%" PRIu64 "-%d.memline", frames_folder(), pid, ticks, image);
	build_write(b, path);
	build_done(b);
	t = ml_load_open(path, &error);
	ck_assert_ptr_nonnull(t);
	free(path);
	return t;
}

static enum ml_process_end end_of(struct ml_trace *t)
{
	struct ml_process p;

	ml_process_read(t, &p);
	return p.end;
}

START_TEST(test_ends)
{
	pid_t pid = fork();
	struct ml_trace *first, *second, *gone;
	uint64_t ticks;

	if (!pid) {
		for (;;)
			pause();
	}
	ticks = ticks_of(pid);
	first = make_trace(pid, ticks, 0, ML_END_NONE);
	gone = make_trace(pid, ticks - 1, 0, ML_END_NONE);
	ck_assert_int_eq(end_of(first), ML_PROCESS_RUNNING);
	ck_assert_int_eq(end_of(gone), ML_PROCESS_KILLED); /* another process had the pid */
	second = make_trace(pid, ticks, 1, ML_END_EXIT);
	ck_assert_int_eq(end_of(first), ML_PROCESS_EXEC);
	ck_assert_int_eq(end_of(second), ML_PROCESS_EXIT);
	ml_load_close(second);
	unlink(first->path);
	ml_load_close(first);
	first = make_trace(pid, ticks, 7, ML_END_NONE);
	kill(pid, SIGKILL);
	while (ml_process_runs((uint64_t)pid, ticks)) /* not even as a zombie */
		usleep(1000);
	ck_assert_int_eq(end_of(first), ML_PROCESS_KILLED);
	waitpid(pid, NULL, 0);
	ck_assert_int_eq(end_of(first), ML_PROCESS_KILLED);
	ml_load_close(first);
	ml_load_close(gone);
}
END_TEST

/* A process's name may look like the rest of the line: proc(5). */
START_TEST(test_runs_with_odd_name)
{
	pid_t pid = fork();
	uint64_t ticks;

	if (!pid) {
		FILE *f = fopen("/proc/self/comm", "w");
		fputs("x) Z 1 1 (", f);
		fclose(f);
		for (;;)
			pause();
	}
	ticks = ticks_of(pid);
	usleep(50000);
	ck_assert(ml_process_runs((uint64_t)pid, ticks));
	ck_assert(!ml_process_runs((uint64_t)pid, ticks + 1));
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	ck_assert(!ml_process_runs((uint64_t)pid, ticks));
}
END_TEST

START_TEST(test_command)
{
	struct build *b = build_new();
	struct ml_trace *t;
	char *error, *command;

	build_meta(b, "arg", "/usr/bin/python3");
	build_meta(b, "arg", "it's a\033[1mtrap.py");
	build_meta(b, "arg", "");
	build_meta(b, "arg", "--x=/a,b:c@d%e+f-g_h");
	build_write(b, frames_path("command"));
	build_done(b);
	t = ml_load_open(frames_path("command"), &error);
	ck_assert_ptr_nonnull(t);
	command = ml_process_command(t);
	ck_assert_str_eq(command, "/usr/bin/python3 'it'\\''s a [1mtrap.py' '' --x=/a,b:c@d%e+f-g_h");
	free(command);
	ck_assert_str_eq(ml_process_argument(t, 1), "it's a\033[1mtrap.py");
	ck_assert_ptr_null(ml_process_argument(t, 4));
	ml_load_close(t);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("process");
	TCase *tests = tcase_create("process");
	SRunner *runner = srunner_create(suite);
	int failed;

	frames_folder();
	tcase_add_test(tests, test_name);
	tcase_add_test(tests, test_time);
	tcase_add_test(tests, test_ends);
	tcase_add_test(tests, test_runs_with_odd_name);
	tcase_add_test(tests, test_command);
	suite_add_tcase(suite, tests);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
