/* Which lines of two readings are taken for the same. */
#include "report/compare.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/report/frames.h"

static struct ml_options options;

static void set_up(void)
{
	ml_options_init(&options);
	options.stacks = true;
}

/* f begins at first_line; on its line k it allocates 10^k bytes times the factor, for k from 1 on. */
static struct ml_reading read_function(const char *file, uint32_t first_line, uint32_t lines, uint64_t factor)
{
	struct build *b = frames_new(ML_LINES_LINETABLE);
	uint32_t f = frames_code(b, frames_path(file), "f", first_line, 9), k;
	struct build_ring *ring = build_ring(b, 1);
	struct ml_reading r = {0};
	uint64_t bytes = factor;

	for (k = 1; k <= lines; k++)
		build_alloc(ring, ML_DOMAIN_OBJ, frames_node(b, 0, f, first_line, first_line + k), 0x100000 * k,
			    bytes *= 10);
	frames_read(&r, b, "trace", &options);
	ml_reading_finish(&r, &options);
	return r;
}

/* The item of a line, by its numbers in both; 0: it is in one alone. */
static const struct ml_compared *find(const struct ml_comparison *c, int a, int b)
{
	uint32_t i;

	for (i = 0; i < c->n; i++)
		if (c->items[i].line[0] == a && c->items[i].line[1] == b)
			return &c->items[i];
	return NULL;
}

static void close_both(struct ml_comparison *c, struct ml_reading *sides)
{
	ml_comparison_free(c);
	ml_reading_close(&sides[0]);
	ml_reading_close(&sides[1]);
}

START_TEST(test_by_distance)
{
	struct ml_reading sides[] = {read_function("gone.py", 10, 2, 1), read_function("gone.py", 30, 3, 2)};
	const struct ml_compared *item;
	struct ml_comparison c;

	ml_compare_lines(&c, sides);
	item = find(&c, 12, 32);
	ck_assert_ptr_nonnull(item);
	ck_assert_uint_eq(item->amount[0].live_bytes, 100);
	ck_assert_uint_eq(item->amount[1].live_bytes, 200);
	ck_assert_int_eq(item->own_increment_bytes[1], 200);
	item = find(&c, 0, 33);
	ck_assert(!item->seen[0] && item->seen[1]);
	ck_assert_ptr_null(find(&c, 10, 30));
	ck_assert_uint_eq(c.n, 5); /* three lines and what is in none */
	close_both(&c, sides);
}
END_TEST

/* Each time the same file; so what counts is that lines that read alike stay in their order. */
START_TEST(test_by_text)
{
	struct ml_reading sides[2];
	struct ml_comparison c;

	frames_write("here.py", "def f():\n\tx()\n  x()  \n  y()\n", -60);
	sides[0] = read_function("here.py", 1, 3, 1);
	sides[1] = read_function("here.py", 1, 3, 5);
	ml_compare_lines(&c, sides);
	ck_assert_uint_eq(find(&c, 2, 2)->amount[1].live_bytes, 50);
	ck_assert_uint_eq(find(&c, 3, 3)->amount[1].live_bytes, 500);
	ck_assert_uint_eq(find(&c, 4, 4)->amount[1].live_bytes, 5000);
	ck_assert_uint_eq(c.n, 5);
	close_both(&c, sides);
}
END_TEST

START_TEST(test_changed_text_is_no_text)
{
	struct ml_reading sides[2];
	struct ml_comparison c;

	frames_write("here.py", "def f():\n\tx()\ndef f():\n\tx()\n", 60);
	sides[0] = read_function("here.py", 1, 1, 1);
	sides[1] = read_function("here.py", 3, 1, 1);
	ml_compare_lines(&c, sides);
	ck_assert_ptr_nonnull(find(&c, 2, 4));
	close_both(&c, sides);
}
END_TEST

START_TEST(test_stacks)
{
	struct ml_reading sides[] = {read_function("gone.py", 10, 2, 1), read_function("gone.py", 30, 3, 2)};
	struct ml_comparison c;
	uint64_t bytes[2] = {0};
	uint32_t i, both = 0;

	ml_compare_stacks(&c, sides, &options);
	for (i = 0; i < c.n; i++) {
		both += c.items[i].seen[0] && c.items[i].seen[1];
		bytes[0] += c.items[i].amount[0].live_bytes;
		bytes[1] += c.items[i].amount[1].live_bytes;
	}
	ck_assert_uint_eq(both, 2);
	ck_assert_uint_eq(c.n, 3);
	ck_assert_uint_eq(bytes[0], sides[0].totals.live_bytes);
	ck_assert_uint_eq(bytes[1], sides[1].totals.live_bytes);
	close_both(&c, sides);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("compare");
	TCase *tests = tcase_create("compare");
	SRunner *runner = srunner_create(suite);
	int failed;

	frames_folder();
	tcase_add_checked_fixture(tests, set_up, NULL);
	tcase_add_test(tests, test_by_distance);
	tcase_add_test(tests, test_by_text);
	tcase_add_test(tests, test_changed_text_is_no_text);
	tcase_add_test(tests, test_stacks);
	suite_add_tcase(suite, tests);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
