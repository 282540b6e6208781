#include "report/mappings.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>

static struct ml_mappings mappings;

static void setup(void)
{
	memset(&mappings, 0, sizeof mappings);
}

static void teardown(void)
{
	ml_mappings_free(&mappings);
}

static void put(uint64_t start, uint64_t end, uint64_t born)
{
	struct ml_mapping m = {.start = start, .end = end, .born = born};

	ml_mappings_put(&mappings, &m);
}

static void free_list(struct ml_mapping *list)
{
	while (list) {
		struct ml_mapping *next = list->right;
		free(list);
		list = next;
	}
}

static void check_is(const struct ml_mapping *m, uint64_t start, uint64_t end)
{
	ck_assert_ptr_nonnull(m);
	ck_assert_uint_eq(m->start, start);
	ck_assert_uint_eq(m->end, end);
}

START_TEST(test_find)
{
	ck_assert_ptr_null(ml_mappings_find(&mappings, 0));
	put(10, 20, 1);
	put(20, 30, 2);
	put(50, UINT64_MAX, 3);
	check_is(ml_mappings_find(&mappings, 0), 10, 20);
	check_is(ml_mappings_find(&mappings, 19), 10, 20);
	check_is(ml_mappings_find(&mappings, 20), 20, 30);
	check_is(ml_mappings_find(&mappings, 30), 50, UINT64_MAX);
	ck_assert_ptr_null(ml_mappings_find(&mappings, UINT64_MAX));
}
END_TEST

START_TEST(test_cut_join)
{
	put(10, 20, 1);
	put(20, 30, 2);
	ck_assert_ptr_null(ml_mappings_cut(&mappings, 5));
	ck_assert_ptr_null(ml_mappings_cut(&mappings, 10));
	ck_assert_ptr_null(ml_mappings_cut(&mappings, 20)); /* already the border of two */
	ck_assert_ptr_null(ml_mappings_cut(&mappings, 30));
	check_is(ml_mappings_cut(&mappings, 12), 12, 20);
	check_is(ml_mappings_find(&mappings, 11), 10, 12);
	ck_assert_ptr_null(ml_mappings_join(&mappings, 20)); /* never were one */
	ck_assert_ptr_null(ml_mappings_join(&mappings, 0));
	ck_assert_ptr_null(ml_mappings_join(&mappings, 15));
	check_is(ml_mappings_join(&mappings, 12), 10, 20);
	ck_assert_ptr_null(ml_mappings_join(&mappings, 12));
	ck_assert_uint_eq(ml_mappings_find(&mappings, 12)->born, 1);
}
END_TEST

START_TEST(test_take)
{
	struct ml_mapping *list;

	for (uint64_t i = 0; i < 100; i++)
		put(i * 10, i * 10 + 5, i);
	list = ml_mappings_take(&mappings, 250, 300);
	for (uint64_t i = 25; i < 30; i++) {
		struct ml_mapping *next = list->right;
		check_is(list, i * 10, i * 10 + 5);
		free(list);
		list = next;
	}
	ck_assert_ptr_null(list);
	check_is(ml_mappings_find(&mappings, 246), 300, 305);
	ck_assert_ptr_null(ml_mappings_take(&mappings, 250, 300));
	free_list(ml_mappings_take(&mappings, 0, UINT64_MAX));
	ck_assert_ptr_null(ml_mappings_find(&mappings, 0));
}
END_TEST

static unsigned depth(const struct ml_mapping *m)
{
	unsigned left, right;

	if (!m)
		return 0;
	left = depth(m->left);
	right = depth(m->right);
	return 1 + (left > right ? left : right);
}

/* However the mappings come, the tree stays flat: 100,000 of them need 17 levels at best. */
START_TEST(test_balance)
{
	enum { N = 100000 };

	for (uint64_t i = 0; i < N; i++) {
		uint64_t at = _i == 0 ? i : _i == 1 ? N - i : i % 2 ? i : N * 2 - i;
		put(at * 4096, at * 4096 + 4096, i);
	}
	ck_assert_uint_lt(depth(mappings.root), 60);
}
END_TEST

/* Against a plain array of who owns each unit of a small space. */
START_TEST(test_many)
{
	enum { SPACE = 300 };
	uint64_t owner[SPACE] = {0}, seed = (uint64_t)_i + 1;

	for (uint64_t born = 1; born < 3000; born++) {
		uint64_t start, end;
		seed = seed * 6364136223846793005u + 1442695040888963407u;
		start = (seed >> 33) % (SPACE - 20);
		end = start + 1 + (seed >> 20) % 20;
		ml_mappings_cut(&mappings, start);
		ml_mappings_cut(&mappings, end);
		free_list(ml_mappings_take(&mappings, start, end));
		if (seed >> 63)
			put(start, end, born);
		for (uint64_t i = start; i < end; i++)
			owner[i] = seed >> 63 ? born : 0;
		for (uint64_t i = 0; i < SPACE; i++) {
			const struct ml_mapping *m = ml_mappings_find(&mappings, i);
			if ((m && m->start <= i ? m->born : 0) != owner[i])
				ck_abort_msg("unit %zu is of the wrong mapping", (size_t)i);
		}
	}
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("mappings");
	TCase *tests = tcase_create("mappings");
	SRunner *runner = srunner_create(suite);
	int failed;

	tcase_add_checked_fixture(tests, setup, teardown);
	tcase_set_timeout(tests, 60);
	tcase_add_test(tests, test_find);
	tcase_add_test(tests, test_cut_join);
	tcase_add_test(tests, test_take);
	tcase_add_loop_test(tests, test_balance, 0, 3);
	tcase_add_loop_test(tests, test_many, 0, 5);
	suite_add_tcase(suite, tests);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
