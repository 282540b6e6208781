#include "report/control.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/report/build_trace.h"

static struct build *b;
static struct ml_trace *trace;
static struct ml_controls controls;
static struct ml_warnings warnings;
static char path[64];

static void setup(void)
{
	b = build_new();
	trace = NULL;
	snprintf(path, sizeof path, "/tmp/memline-test-control-%d", (int)getpid());
}

static void teardown(void)
{
	ml_controls_free(&controls);
	ml_warnings_free(&warnings);
	if (trace)
		ml_load_close(trace);
	build_done(b);
	unlink(path);
}

/* What the file at path says. */
static void read_again(void)
{
	char *error;

	ml_controls_free(&controls);
	ml_warnings_free(&warnings);
	if (trace)
		ml_load_close(trace);
	trace = ml_load_open_meta(path, &error);
	if (!trace)
		ck_abort_msg("%s", error);
	ml_controls_read(&controls, trace);
	ml_controls_warn(&controls, &warnings);
}

static void set(size_t at, enum ml_request request, double seconds, const char *name)
{
	struct ml_control_entry *e = &build_control(b)->entry[at];

	e->request = request;
	e->ns = (uint64_t)(seconds * 1e9);
	memcpy(e->name, name, strlen(name));
}

START_TEST(test_none)
{
	build_write(b, path); /* a trace that has no place for them */
	read_again();
	ck_assert_uint_eq(controls.n, 0);
	build_control(b);
	build_write(b, path);
	read_again();
	ck_assert_uint_eq(controls.n, 0);
	ck_assert(!ml_controls_paused(&controls));
	ck_assert_uint_eq(warnings.n, 0);
}
END_TEST

START_TEST(test_marks)
{
	uint64_t ns = 7;

	set(0, ML_REQUEST_MARK, 1, "one");
	set(1, ML_REQUEST_MARK, 2, "two\n\033[1m");
	set(2, ML_REQUEST_MARK, 3, "one");
	set(4, ML_REQUEST_MARK, 4, "behind the end");
	memset(build_control(b)->entry[1].name + 8, 'x', sizeof build_control(b)->entry[1].name - 8);
	build_write(b, path);
	read_again();
	ck_assert_uint_eq(controls.n, 3);
	ck_assert(!ml_controls_mark(&controls, "on", &ns));
	ck_assert(!ml_controls_mark(&controls, "", &ns));
	ck_assert(!ml_controls_mark(&controls, "behind the end", &ns));
	ck_assert_uint_eq(ns, 7);
	ck_assert(ml_controls_mark(&controls, "one", &ns));
	ck_assert_uint_eq(ns, 3000000000);
	ck_assert_str_eq(controls.entries[1].name, "two??[1mxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx");
	ck_assert_uint_eq(strlen(controls.entries[1].name), ML_CONTROL_NAME_MAX);
}
END_TEST

START_TEST(test_pauses)
{
	set(0, ML_REQUEST_RESUME, 1, "");
	set(1, ML_REQUEST_PAUSE, 2, "");
	set(2, ML_REQUEST_MARK, 2.5, "x");
	set(3, ML_REQUEST_RESUME, 3.25, "");
	set(4, 99, 4, "of a later version");
	set(5, ML_REQUEST_PAUSE, 5, "");
	build_write(b, path);
	read_again();
	ck_assert(ml_controls_paused(&controls));
	ck_assert_uint_eq(warnings.n, 2);
	ck_assert_str_eq(warnings.texts[0],
			 "recording was paused from 2.000 s to 3.250 s: what was freed meanwhile still counts as live");
	ck_assert_str_eq(warnings.texts[1],
			 "recording was paused from 5.000 s on: what was freed meanwhile still counts as live");
}
END_TEST

static void ask(enum ml_request request, const char *name)
{
	char *error;

	if (ml_control_ask(path, request, name, &error))
		ck_abort_msg("%s", error);
}

static void ask_in_vain(enum ml_request request, const char *name, const char *expect)
{
	char *error;

	ck_assert_int_eq(ml_control_ask(path, request, name, &error), -1);
	ck_assert_msg(strstr(error, path) == error && strstr(error, expect), "%s", error);
	free(error);
}

START_TEST(test_asks)
{
	struct ml_control written;
	size_t i;

	build_control(b);
	build_write(b, path);
	ask(ML_REQUEST_RESUME, NULL); /* it is not paused */
	ask(ML_REQUEST_PAUSE, NULL);
	ask(ML_REQUEST_PAUSE, NULL);
	ask(ML_REQUEST_MARK, "a mark of just forty-seven bytes, no more fit in");
	read_again();
	ck_assert_uint_eq(controls.n, 2);
	ck_assert_int_eq(controls.entries[0].request, ML_REQUEST_PAUSE);
	ck_assert_str_eq(controls.entries[1].name, "a mark of just forty-seven bytes, no more fit i");
	for (i = 0; trace->extents[i].kind != ML_EXTENT_CONTROL;)
		i++;
	ck_assert_int_eq(pread(trace->fd, &written, sizeof written, (off_t)trace->extents[i].offset), sizeof written);
	ck_assert_uint_eq(written.paused, 1);
	ask(ML_REQUEST_RESUME, NULL);
	ck_assert_int_eq(pread(trace->fd, &written, sizeof written, (off_t)trace->extents[i].offset), sizeof written);
	ck_assert_uint_eq(written.paused, 0);
	read_again();
	ck_assert_uint_eq(controls.n, 3);
	ck_assert_uint_le(controls.entries[0].ns, controls.entries[1].ns);
	ck_assert_uint_le(controls.entries[1].ns, controls.entries[2].ns);
}
END_TEST

START_TEST(test_asks_until_it_is_full)
{
	const size_t room = sizeof build_control(b)->entry / sizeof build_control(b)->entry[0];

	build_control(b);
	build_write(b, path);
	for (size_t i = 0; i < room; i++)
		ask(ML_REQUEST_MARK, "x");
	ask_in_vain(ML_REQUEST_MARK, "x", "there is no room for more than 255 requests");
	ask_in_vain(ML_REQUEST_PAUSE, NULL, "there is no room for more than 255 requests");
	read_again();
	ck_assert_uint_eq(controls.n, room);
}
END_TEST

/* Many at once: no request overwrites another. */
START_TEST(test_asks_at_once)
{
	enum { CHILDREN = 6, EACH = 20 };

	build_control(b);
	build_write(b, path);
	for (int child = 0; child < CHILDREN; child++) {
		if (fork())
			continue;
		for (int i = 0; i < EACH; i++)
			ask(ML_REQUEST_MARK, "x");
		_exit(0);
	}
	for (int child = 0; child < CHILDREN; child++) {
		int status;
		ck_assert_int_gt(wait(&status), 0);
		ck_assert_int_eq(status, 0);
	}
	read_again();
	ck_assert_uint_eq(controls.n, CHILDREN * EACH);
}
END_TEST

START_TEST(test_asks_in_vain)
{
	build_write(b, path);
	ask_in_vain(ML_REQUEST_MARK, "x", "takes no requests");
	build_control(b);
	build_header(b)->flags |= ML_FLAG_UNMAPPED;
	build_write(b, path);
	ask_in_vain(ML_REQUEST_PAUSE, NULL, "the trace is not mapped");
	ask(ML_REQUEST_MARK, "x");
	read_again();
	ck_assert_uint_eq(controls.n, 1);
	unlink(path);
	ask_in_vain(ML_REQUEST_PAUSE, NULL, "");
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("control");
	TCase *tests = tcase_create("control");
	SRunner *runner = srunner_create(suite);
	int failed;

	tcase_add_checked_fixture(tests, setup, teardown);
	tcase_add_test(tests, test_none);
	tcase_add_test(tests, test_marks);
	tcase_add_test(tests, test_pauses);
	tcase_add_test(tests, test_asks);
	tcase_add_test(tests, test_asks_until_it_is_full);
	tcase_add_test(tests, test_asks_at_once);
	tcase_add_test(tests, test_asks_in_vain);
	suite_add_tcase(suite, tests);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed != 0;
}
