#include "trace/period.h"

#include <check.h>
#include <stdlib.h>

static const struct {
	const char *text;
	bool taken;
	uint32_t ms;
} rows[] = {
	{"end", true, 0},
	{"100ms", true, 100},
	{"0100ms", true, 100},
	{"1s", true, 1000},
	{"60s", true, 60000},
	{"5m", true, 300000},
	{"24h", true, ML_PERIOD_MAX_MS},
	{"1440m", true, ML_PERIOD_MAX_MS},
	{"86400000ms", true, ML_PERIOD_MAX_MS},
	{"86400001ms", false, 0},
	{"99ms", false, 0},
	{"0s", false, 0},
	{"1441m", false, 0},
	{"25h", false, 0},
	{"4294967297s", false, 0},
	{"18446744073709551617ms", false, 0},
	{"99999999999999999999999999999s", false, 0},
	{"60", false, 0},
	{"60 s", false, 0},
	{" 60s", false, 0},
	{"-1s", false, 0},
	{"+1s", false, 0},
	{"1.5s", false, 0},
	{"1d", false, 0},
	{"1S", false, 0},
	{"1sec", false, 0},
	{"s", false, 0},
	{"ends", false, 0},
	{"off", false, 0},
	{"", false, 0},
};

START_TEST(test_periods)
{
	uint32_t ms = 12345;

	ck_assert_msg(ml_period(rows[_i].text, &ms) == rows[_i].taken, "%s", rows[_i].text);
	if (rows[_i].taken)
		ck_assert_uint_eq(ms, rows[_i].ms);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("period");
	TCase *tests = tcase_create("period");
	SRunner *runner = srunner_create(suite);
	int failed;

	tcase_add_loop_test(tests, test_periods, 0, sizeof(rows) / sizeof(rows[0]));
	suite_add_tcase(suite, tests);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
