#include "report/logged.h"

#include <check.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "report/follow.h"
#include "report/memory.h"
#include "tests/report/frames.h"

#define MIB 1048576

#define LOG "memory_profiler_logs: "

static struct ml_options options;

static void set_up(void)
{
	ml_options_init(&options);
}

/* Line 2 of f keeps 3 MiB, line 3 gives 1 MiB of them back, line 4 has an increment of nothing; g keeps half a MiB. */
static struct build *build_program(const char *file)
{
	struct build *b = frames_new(ML_LINES_LINETABLE);
	uint32_t f = frames_code(b, file, "f", 1, 4), g = frames_code(b, file, "g", 5, 2);
	struct build_ring *ring = build_ring(b, 1);

	build_alloc(ring, ML_DOMAIN_OBJ, frames_node(b, 0, f, 1, 2), 0x10000000, 2 * MIB);
	build_alloc(ring, ML_DOMAIN_OBJ, frames_node(b, 0, f, 1, 2), 0x20000000, MIB);
	build_free(ring, ML_DOMAIN_OBJ, frames_node(b, 0, f, 1, 3), 0x20000000);
	build_alloc(ring, ML_DOMAIN_OBJ, frames_node(b, 0, f, 1, 4), 0x30000000, MIB);
	build_free(ring, ML_DOMAIN_OBJ, frames_node(b, 0, f, 1, 4), 0x30000000);
	build_alloc(ring, ML_DOMAIN_OBJ, frames_node(b, 0, g, 5, 6), 0x40000000, MIB / 2);
	return b;
}

/* Lines that were put, up to a number of them. */
struct taken {
	char *text;
	size_t lines;
	size_t most;
};

static bool take(void *context, const char *line, size_t bytes)
{
	struct taken *t = context;
	char *longer;

	ck_assert_uint_le(bytes, ML_LOGGED_MAX);
	ck_assert_int_eq(line[bytes - 1], '\n');
	ck_assert_ptr_eq(memchr(line, '\n', bytes), line + bytes - 1);
	longer = ml_memory_print("%s%.*s", t->text ? t->text : "", (int)bytes, line);
	free(t->text);
	t->text = longer;
	return ++t->lines < t->most;
}

/* The caller frees it. */
static char *logged(struct build *b, size_t top, size_t most)
{
	struct taken t = {.most = most};
	struct ml_reading r = {0};

	frames_read(&r, b, "trace", &options);
	ml_reading_finish(&r, &options);
	ml_logged_table(&r.sites, r.trace, top, take, &t);
	ml_reading_close(&r);
	return t.text ? t.text : ml_memory_text("", 0);
}

static void check(char *got, const char *format, ...)
{
	char *wanted;
	va_list list;

	va_start(list, format);
	ck_assert_int_gt(vasprintf(&wanted, format, list), -1);
	va_end(list);
	ck_assert_str_eq(got, wanted);
	free(wanted);
	free(got);
}

static const char program[] = "def f():\n    a = 1\n\tb\r\n    c\ndef g():\n    d";

START_TEST(test_rows)
{
	const char *file = frames_path("app.py");

	frames_write("app.py", program, -60);
	check(logged(build_program("app.py"), 20, 100),
	      LOG "Filename: %s\n" LOG "2  4.0 MiB  3.0 MiB        a = 1\n" LOG "3  3.0 MiB  -1.0 MiB     b\n" LOG
		  "Filename: %s\n" LOG "6  3.5 MiB  0.5 MiB        d\n",
	      file, file);
}
END_TEST

START_TEST(test_top)
{
	const char *file = frames_path("app.py");

	frames_write("app.py", program, -60);
	check(logged(build_program("app.py"), 2, 100),
	      LOG "Filename: %s\n" LOG "2  4.0 MiB  3.0 MiB        a = 1\n" LOG "3  3.0 MiB  -1.0 MiB     b\n", file);
	check(logged(build_program("app.py"), 1, 100), LOG "Filename: %s\n" LOG "2  4.0 MiB  3.0 MiB        a = 1\n",
	      file);
}
END_TEST

/* No line follows one that was refused. */
START_TEST(test_stops)
{
	const char *file = frames_path("app.py");

	frames_write("app.py", program, -60);
	check(logged(build_program("app.py"), 20, 1), LOG "Filename: %s\n", file);
	check(logged(build_program("app.py"), 20, 2), LOG "Filename: %s\n" LOG "2  4.0 MiB  3.0 MiB        a = 1\n",
	      file);
}
END_TEST

START_TEST(test_no_source)
{
	check(logged(build_program("gone.py"), 1, 100), LOG "Filename: %s\n" LOG "2  4.0 MiB  3.0 MiB    \n",
	      frames_path("gone.py"));
}
END_TEST

START_TEST(test_nothing)
{
	struct build *b = frames_new(ML_LINES_LINETABLE);

	build_ring(b, 1);
	check(logged(b, 20, 100), "%s", "");
}
END_TEST

/* Control characters, also of file names, end no line. */
START_TEST(test_controls)
{
	frames_write("a\nb\x7f.py", "\n\ta\x1b[31m\x01\tb\n", -60);
	check(logged(build_program("a\nb\x7f.py"), 1, 100),
	      LOG "Filename: %s\n" LOG "2  4.0 MiB  3.0 MiB     a [31m  b\n", frames_path("a b .py"));
}
END_TEST

static const char *const letters[] = {"x", "\xc3\xa4", "\xe2\x82\xac", "\xf0\x9f\x90\x8d"};

/* Long lines end behind a whole letter, wherever the limit lies in it. */
START_TEST(test_long)
{
	const char *letter = letters[_i / 4];
	char *source = ml_memory_text("\n", 1), *got, *end;
	size_t n = 5000 / strlen(letter), shift = (size_t)_i % 4, row;

	for (size_t i = 0; i < n + shift; i++) {
		char *longer = ml_memory_print("%s%s", source, i < shift ? "." : letter);
		free(source);
		source = longer;
	}
	frames_write("long.py", source, -60);
	free(source);
	got = logged(build_program("long.py"), 1, 100);
	end = strrchr(got, '\n');
	row = strlen(strchr(got, '\n') + 1);
	ck_assert_uint_le(row, ML_LOGGED_MAX);
	ck_assert_uint_gt(row + strlen(letter), ML_LOGGED_MAX);
	ck_assert(!memcmp(end - strlen(letter), letter, strlen(letter)));
	free(got);
}
END_TEST

/* What a follower says of a trace that has ended is what its report says. */
START_TEST(test_follower)
{
	struct build *b = build_program("app.py");
	const char *path = frames_path("followed");
	struct taken t = {.most = 100};
	struct ml_follow follow;
	struct ml_sites sites;
	char *error;

	frames_write("app.py", program, -60);
	build_write(b, path);
	ck_assert_int_eq(ml_follow_open(&follow, path, &error), 0);
	ck_assert(!ml_follow_on(&follow));
	ml_follow_sites(&follow, &sites);
	ml_logged_table(&sites, follow.trace, 20, take, &t);
	ml_sites_free(&sites);
	ml_follow_close(&follow);
	check(logged(b, 20, 100), "%s", t.text);
	free(t.text);
	ck_assert_int_eq(ml_follow_open(&follow, "/nowhere", &error), -1);
	free(error);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("logged");
	TCase *tests = tcase_create("logged");
	SRunner *runner = srunner_create(suite);
	int failed;

	frames_folder();
	tcase_add_checked_fixture(tests, set_up, NULL);
	tcase_add_test(tests, test_rows);
	tcase_add_test(tests, test_top);
	tcase_add_test(tests, test_stops);
	tcase_add_test(tests, test_no_source);
	tcase_add_test(tests, test_nothing);
	tcase_add_test(tests, test_controls);
	tcase_add_loop_test(tests, test_long, 0, 4 * sizeof(letters) / sizeof(letters[0]));
	tcase_add_test(tests, test_follower);
	suite_add_tcase(suite, tests);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
