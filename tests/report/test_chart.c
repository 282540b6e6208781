#include "report/chart.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>

static char *text;
static size_t bytes;

static char *draw(struct ml_point *points, size_t n, bool unicode)
{
	struct ml_timeline t = {.points = points, .n = n};
	FILE *out = open_memstream(&text, &bytes);

	ml_chart_print(out, &t, unicode);
	fclose(out);
	return text;
}

/* The columns of a row of the chart, the topmost being 0; room for 64 and a NUL. */
static const char *row(int n)
{
	static char cells[65];
	const char *at = text;

	for (n++; n; n--)
		at = strchr(at, '\n') + 1;
	memcpy(cells, strchr(at, '|') + 1, 64);
	return cells;
}

START_TEST(test_ascii)
{
	/* Live grows to 100 in the first half and stays; 200 are resident from the middle on. */
	struct ml_point points[] = {
		{16, 16, 0, 50, 0}, {32, 32, 50, 50, 0}, {33, 33, 100, 200, 0}, {64, 64, 100, 200, 0}};
	const char *cells;

	draw(points, 4, false);
	ck_assert_ptr_nonnull(strstr(text, "live (#) and resident (-) over time"));
	ck_assert_ptr_nonnull(strstr(text, "200 bytes |"));
	cells = row(0);
	ck_assert_int_eq(cells[31], ' ');
	ck_assert_int_eq(cells[33], '-');
	ck_assert_int_eq(cells[63], '-');
	cells = row(5);
	ck_assert_int_eq(cells[31], ' ');
	ck_assert_int_eq(cells[33], '#');
	cells = row(9);
	ck_assert_int_eq(cells[0], ' ');
	ck_assert_int_eq(cells[31], '#');
	free(text);
	draw(points, 4, true);
	ck_assert_ptr_nonnull(strstr(text, "█"));
	free(text);
}
END_TEST

START_TEST(test_nothing)
{
	struct ml_point points[] = {{.place = 0}, {.place = 5, .ns = 5}};

	ck_assert_str_eq(draw(points, 1, false), "");
	free(text);
	ck_assert_str_eq(draw(points, 2, false), "");
	free(text);
	points[1].live_bytes = UINT64_MAX; /* of a damaged trace */
	draw(points, 2, true);
	free(text);
}
END_TEST

START_TEST(test_locale)
{
	unsetenv("LC_ALL");
	setenv("LC_CTYPE", "C.UTF-8", 1);
	setenv("LANG", "C", 1);
	ck_assert(ml_chart_unicode());
	setenv("LC_ALL", "C", 1);
	ck_assert(!ml_chart_unicode());
	setenv("LC_ALL", "de_DE.utf8", 1);
	ck_assert(ml_chart_unicode());
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("chart");
	TCase *tests = tcase_create("chart");
	SRunner *runner = srunner_create(suite);
	int failed;

	tcase_add_test(tests, test_ascii);
	tcase_add_test(tests, test_nothing);
	tcase_add_test(tests, test_locale);
	suite_add_tcase(suite, tests);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
