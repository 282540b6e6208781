#include "report/memory.h"

#include <check.h>
#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#define HUGE_PAGE ((size_t)2 << 20)
#define ITEM 24u

/* Bytes of a table: around the size from which on it is mapped, and such that its end is in the midst of a page. */
static const size_t sizes[] = {0, ITEM, HUGE_PAGE / 2, HUGE_PAGE - 8, HUGE_PAGE, 3 * HUGE_PAGE + 100};

START_TEST(test_table)
{
	size_t count = sizes[_i] / ITEM, bytes = count * ITEM;
	uint8_t *table = ml_memory_get_table(count, ITEM);

	for (size_t i = 0; i < bytes; i++)
		if (table[i])
			ck_abort_msg("byte %zu is not zero", i);
	for (size_t i = 0; i < bytes; i++)
		table[i] = 1;
	if (bytes >= HUGE_PAGE)
		ck_assert_uint_eq((uintptr_t)table % HUGE_PAGE, 0);
	ml_memory_free_table(table, count, ITEM);
}
END_TEST

/* Nothing of a large one stays, in front of it, in it or behind it. */
START_TEST(test_table_is_given_back)
{
	size_t count = 5 * HUGE_PAGE / ITEM, page = (size_t)sysconf(_SC_PAGESIZE);
	uint8_t *table = ml_memory_get_table(count, ITEM);
	unsigned char there;

	ck_assert_int_eq(mincore(table, page, &there), 0);
	ml_memory_free_table(table, count, ITEM);
	for (size_t at = 0; at < count * ITEM; at += page) {
		ck_assert_int_eq(mincore(table + at, page, &there), -1);
		ck_assert_int_eq(errno, ENOMEM);
	}
}
END_TEST

START_TEST(test_no_table)
{
	ml_memory_free_table(NULL, 0, ITEM);
}
END_TEST

/* The command ends, and says why. */
START_TEST(test_hex)
{
	const uint8_t bytes[] = {0x00, 0x0f, 0xa0, 0xff};
	char *text = ml_memory_hex(bytes, sizeof bytes), *none = ml_memory_hex(bytes, 0);

	ck_assert_str_eq(text, "000fa0ff");
	ck_assert_str_eq(none, "");
	free(text);
	free(none);
}
END_TEST

START_TEST(test_out_of_memory)
{
	ml_memory_get_table(SIZE_MAX / 2, ITEM);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("memory");
	TCase *tests = tcase_create("memory");
	SRunner *runner = srunner_create(suite);
	int failed;

	tcase_add_loop_test(tests, test_table, 0, sizeof sizes / sizeof *sizes);
	tcase_add_test(tests, test_table_is_given_back);
	tcase_add_test(tests, test_no_table);
	tcase_add_test(tests, test_hex);
	tcase_add_exit_test(tests, test_out_of_memory, 1);
	suite_add_tcase(suite, tests);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
