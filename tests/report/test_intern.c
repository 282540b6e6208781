/* Numbers of texts and pairs: dense, stable while the tables grow, and the same for the same. */
#include "report/intern.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>

#define MANY 5000u

START_TEST(test_pairs)
{
	struct ml_pairs p = {0};
	uint32_t i;

	for (i = 0; i < MANY; i++)
		ck_assert_uint_eq(ml_pairs_number(&p, i % 7, UINT32_MAX - i), i);
	ck_assert_uint_eq(ml_pairs_number(&p, 0, 0), MANY);
	for (i = MANY; i-- > 0;)
		ck_assert_uint_eq(ml_pairs_number(&p, i % 7, UINT32_MAX - i), i);
	ck_assert_uint_eq(ml_pairs_number(&p, 0, 0), MANY);
	ck_assert_uint_eq(p.n, MANY + 1);
	ml_pairs_free(&p);
	ck_assert_uint_eq(ml_pairs_number(&p, 3, 4), 0);
	ml_pairs_free(&p);
}
END_TEST

START_TEST(test_texts)
{
	struct ml_texts t = {0};
	char text[16];
	const char *first;
	uint32_t i;

	ck_assert_uint_eq(ml_texts_number(&t, ""), 0);
	first = t.items[0];
	for (i = 1; i < MANY; i++) {
		snprintf(text, sizeof(text), "%u", i);
		ck_assert_uint_eq(ml_texts_number(&t, text), i);
	}
	ck_assert_ptr_eq(t.items[0], first);
	for (i = MANY; i-- > 1;) {
		snprintf(text, sizeof(text), "%u", i);
		ck_assert_uint_eq(ml_texts_number(&t, text), i);
		ck_assert_str_eq(t.items[i], text);
	}
	ck_assert_uint_eq(ml_texts_number(&t, ""), 0);
	ck_assert_uint_eq(t.n, MANY);
	ml_texts_free(&t);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("intern");
	TCase *tests = tcase_create("intern");
	SRunner *runner = srunner_create(suite);
	int failed;

	suite_add_tcase(suite, tests);
	tcase_add_test(tests, test_pairs);
	tcase_add_test(tests, test_texts);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
