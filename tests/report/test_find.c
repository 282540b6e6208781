#include "report/find.h"

#include <check.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "report/memory.h"
#include "tests/report/frames.h"

static char *error;
static struct ml_finds finds;

static void add_number(struct build *b, const char *key, uint64_t n)
{
	char text[24];

	snprintf(text, sizeof(text), "%" PRIu64, n);
	build_meta(b, key, text);
}

/* All times are seconds. */
static void make(const char *folder, uint64_t pid, uint64_t ticks, uint64_t image, uint64_t run_pid, uint64_t run_ticks,
		 uint64_t started)
{
	struct build *b = build_new();
	char *path = ml_memory_print("%s/%s/%" PRIu64 "-%" PRIu64 "-%" PRIu64 ".memline", frames_folder(), folder, pid,
				     ticks, image);

	add_number(b, "pid", pid);
	add_number(b, "start_ticks", ticks);
	add_number(b, "image", image);
	add_number(b, "run_pid", run_pid);
	add_number(b, "run_ticks", run_ticks);
	add_number(b, "started_ns", started * 1000000000);
	build_write(b, path);
	build_done(b);
	free(path);
}

/* Two runs of 10 and its child 11 (10 with two images), and between them one of 20. A file that is no trace, and a
   trace of no bytes. */
static void set_up(void)
{
	frames_folder();
	mkdir(frames_path("traces"), 0700);
	make("traces", 10, 100, 0, 10, 100, 1000);
	make("traces", 11, 150, 0, 10, 100, 1500);
	make("traces", 20, 200, 0, 20, 200, 2000);
	make("traces", 10, 300, 0, 10, 300, 3000);
	make("traces", 10, 300, 1, 10, 300, 3001);
	make("traces", 11, 310, 0, 10, 300, 3100);
	/* late in an old run */
	make("traces", 12, 400, 0, 20, 200, 4000);
	build_save(frames_path("traces/notes.txt"), "x", 1);
	build_save(frames_path("traces/1-1-0.memline"), "", 0);
	setenv("MEMLINE_DIR", frames_path("traces"), 1);
	finds = (struct ml_finds){NULL, 0};
	error = NULL;
}

static void found(size_t i, const char *name)
{
	ck_assert_uint_lt(i, finds.n);
	ck_assert_str_eq(strrchr(finds.items[i].path, '/') + 1, name);
}

static void newest_run_is_found(void)
{
	ck_assert_uint_eq(finds.n, 3);
	found(0, "10-300-0.memline");
	found(1, "10-300-1.memline");
	found(2, "11-310-0.memline");
	ml_finds_free(&finds);
}

START_TEST(test_newest_run)
{
	ck_assert_int_eq(ml_find(&finds, NULL, &error), 0);
	newest_run_is_found();
	ck_assert_int_eq(ml_find(&finds, frames_path("traces"), &error), 0);
	newest_run_is_found();
}
END_TEST

START_TEST(test_pid)
{
	ck_assert_int_eq(ml_find(&finds, "10", &error), 0);
	ck_assert_uint_eq(finds.n, 2);
	found(0, "10-300-0.memline");
	found(1, "10-300-1.memline");
	ck_assert_int_eq(ml_find(&finds, "12", &error), 0);
	found(2, "12-400-0.memline");
	ml_finds_free(&finds);
	ck_assert_int_eq(ml_find(&finds, "13", &error), -1);
	ck_assert_ptr_nonnull(strstr(error, "there is no trace of process 13"));
	free(error);
}
END_TEST

START_TEST(test_file)
{
	ck_assert_int_eq(ml_find(&finds, frames_path("traces/11-150-0.memline"), &error), 0);
	ck_assert_uint_eq(finds.n, 1);
	found(0, "11-150-0.memline");
	ml_finds_free(&finds);
}
END_TEST

START_TEST(test_errors)
{
	static const char *const none[] = {"none", "traces/1-1-0.memline", "traces/notes.txt", "empty", "unreadable"};
	size_t i;

	mkdir(frames_path("empty"), 0700);
	mkdir(frames_path("unreadable"), 0700);
	build_save(frames_path("unreadable/1-1-0.memline"), "no trace", 8);
	for (i = 0; i < sizeof(none) / sizeof(none[0]); i++) {
		const char *path = frames_path(none[i]);
		ck_assert_int_eq(ml_find(&finds, path, &error), -1);
		ck_assert_ptr_nonnull(error);
		ck_assert_ptr_nonnull(strstr(error, path)); /* which file */
		ck_assert_ptr_null(strchr(error, '\n'));
		free(error);
	}
	setenv("MEMLINE_DIR", frames_path("none"), 1);
	ck_assert_int_eq(ml_find(&finds, NULL, &error), -1);
	ck_assert_ptr_nonnull(strstr(error, "set MEMLINE_DIR"));
	free(error);
	ck_assert_uint_eq(finds.n, 0);
}
END_TEST

START_TEST(test_all)
{
	ck_assert_int_eq(ml_find_all(&finds, frames_path("traces")), 0);
	ck_assert_uint_eq(finds.n, 8);
	found(0, "1-1-0.memline"); /* unreadable, so of no time */
	ck_assert_ptr_nonnull(finds.items[0].error);
	found(1, "10-100-0.memline");
	found(7, "12-400-0.memline");
	ml_finds_free(&finds);
}
END_TEST

START_TEST(test_run)
{
	ml_find_run(&finds, frames_path("traces"), 10, (uint64_t)2500 * 1000000000);
	newest_run_is_found();
	/* a process within a larger run */
	ml_find_run(&finds, frames_path("traces"), 12, (uint64_t)2500 * 1000000000);
	ck_assert_uint_eq(finds.n, 1);
	found(0, "12-400-0.memline");
	ml_finds_free(&finds);
	ml_find_run(&finds, frames_path("traces"), 10, (uint64_t)9000 * 1000000000);
	ck_assert_uint_eq(finds.n, 0);
}
END_TEST

START_TEST(test_directory)
{
	char *directory = ml_find_directory(), *standard;

	ck_assert_str_eq(directory, frames_path("traces"));
	free(directory);
	unsetenv("MEMLINE_DIR");
	directory = ml_find_directory();
	standard = ml_memory_print("/tmp/memline-%u", (unsigned)getuid());
	ck_assert_str_eq(directory, standard);
	free(directory);
	free(standard);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("find");
	TCase *tests = tcase_create("find");
	SRunner *runner = srunner_create(suite);
	int failed;

	frames_folder();
	tcase_add_checked_fixture(tests, set_up, NULL);
	tcase_add_test(tests, test_newest_run);
	tcase_add_test(tests, test_pid);
	tcase_add_test(tests, test_file);
	tcase_add_test(tests, test_errors);
	tcase_add_test(tests, test_all);
	tcase_add_test(tests, test_run);
	tcase_add_test(tests, test_directory);
	suite_add_tcase(suite, tests);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
