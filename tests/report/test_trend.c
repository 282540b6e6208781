#include "report/trend.h"

#include <check.h>
#include <math.h>
#include <stdlib.h>

#define N 32
#define ALPHA 0.01

static double seconds[N];
static uint64_t seed;

static void setup(void)
{
	for (size_t i = 0; i < N; i++)
		seconds[i] = (double)i * 0.5;
	seed = 1;
}

/* Uniform in [0, 1). */
static double chance(void)
{
	seed = seed * 6364136223846793005u + 1442695040888963407u;
	return (double)(seed >> 11) / 9007199254740992.0;
}

static struct ml_trend judge(const uint64_t *y, size_t n)
{
	struct ml_trend trend;

	ml_trend_judge(&trend, seconds, y, n, ALPHA);
	return trend;
}

START_TEST(test_straight)
{
	uint64_t y[N];
	struct ml_trend trend;

	for (size_t i = 0; i < N; i++)
		y[i] = 1000 + 70 * i;
	trend = judge(y, N);
	ck_assert_int_eq(trend.verdict, ML_TREND_GROWS);
	ck_assert_double_eq_tol(trend.tau, 1, 1e-9);
	ck_assert_double_eq_tol(trend.slope, 140, 1e-6);
	ck_assert_double_eq_tol(trend.slope_low, 140, 1e-6);
	ck_assert_double_eq_tol(trend.slope_high, 140, 1e-6);
	ck_assert_double_lt(trend.p, 1e-9);
	/* Two points that are far off change little. */
	y[5] = 1000000;
	y[20] = 0;
	trend = judge(y, N);
	ck_assert_int_eq(trend.verdict, ML_TREND_GROWS);
	ck_assert_double_eq_tol(trend.slope, 140, 2);
	/* Downwards and level there is nothing. */
	for (size_t i = 0; i < N; i++)
		y[i] = 10000 - i;
	ck_assert_int_eq(judge(y, N).verdict, ML_TREND_NONE);
	for (size_t i = 0; i < N; i++)
		y[i] = 10000;
	trend = judge(y, N);
	ck_assert_int_eq(trend.verdict, ML_TREND_NONE);
	ck_assert_double_eq(trend.p, 1);
	ck_assert_double_eq(trend.tau, 0);
}
END_TEST

/* By hand: of 1, 3, 2, 5, 4, 6, 8, 7, 9, 10 three pairs go down; the slope is the median of all 45. */
START_TEST(test_known)
{
	const uint64_t y[10] = {1, 3, 2, 5, 4, 6, 8, 7, 9, 10};
	struct ml_trend trend;

	for (size_t i = 0; i < 10; i++)
		seconds[i] = (double)i;
	trend = judge(y, 10);
	ck_assert_double_eq_tol(trend.tau, 39 / 45.0, 1e-9);
	ck_assert_double_eq_tol(trend.slope, 1, 1e-9);
	/* S is 39 and its variance 10 * 9 * 25 / 18 */
	ck_assert_double_eq_tol(trend.p, erfc(38 / sqrt(125) / sqrt(2)) / 2, 1e-9);
	ck_assert_int_eq(trend.verdict, ML_TREND_GROWS);
}
END_TEST

START_TEST(test_too_few)
{
	uint64_t y[N];

	for (size_t i = 0; i < N; i++)
		y[i] = i;
	ck_assert_int_eq(judge(y, ML_TREND_POINTS_MIN).verdict, ML_TREND_GROWS);
	ck_assert_int_eq(judge(y, ML_TREND_POINTS_MIN - 1).verdict, ML_TREND_NONE);
	ck_assert_int_eq(judge(y, 0).verdict, ML_TREND_NONE);
}
END_TEST

/* Growth that becomes faster, and in steps, and with what a request has for a while on top of it. */
START_TEST(test_shapes)
{
	uint64_t square[N], steps[N], noisy[N];

	for (size_t i = 0; i < N; i++) {
		square[i] = 100 * i * i;
		steps[i] = 4096 * (i / 2);
		noisy[i] = 10000 * i + (uint64_t)(chance() * 100000);
	}
	ck_assert_int_eq(judge(square, N).verdict, ML_TREND_GROWS);
	ck_assert_int_eq(judge(steps, N).verdict, ML_TREND_GROWS);
	ck_assert_int_eq(judge(noisy, N).verdict, ML_TREND_GROWS);
	ck_assert_double_eq_tol(judge(noisy, N).slope, 20000, 4000);
	ck_assert_double_lt(judge(noisy, N).slope_low, judge(noisy, N).slope);
}
END_TEST

/* Full after _i points. */
START_TEST(test_full)
{
	uint64_t y[N];

	for (size_t i = 0; i < N; i++)
		y[i] = 1000 * (i < (size_t)_i ? i : (size_t)_i);
	ck_assert_int_ne(judge(y, N).verdict, ML_TREND_GROWS);
	if (_i > 5)
		ck_assert_int_eq(judge(y, N).verdict, ML_TREND_STOPPED);
	/* and so if it then goes up and down a little */
	for (size_t i = (size_t)_i; i < N; i++)
		y[i] += (uint64_t)(chance() * 100);
	ck_assert_int_ne(judge(y, N).verdict, ML_TREND_GROWS);
}
END_TEST

/* How many of so many runs are taken for growth. */
#define RUNS 2000

static int accused(void (*make)(uint64_t *y))
{
	uint64_t y[N];
	int n = 0;

	for (int run = 0; run < RUNS; run++) {
		make(y);
		n += judge(y, N).verdict == ML_TREND_GROWS;
	}
	return n;
}

static void make_noise(uint64_t *y)
{
	for (size_t i = 0; i < N; i++)
		y[i] = (uint64_t)(chance() * 1e6);
}

static void make_walk(uint64_t *y)
{
	double at = 1e7;

	for (size_t i = 0; i < N; i++)
		y[i] = (uint64_t)(at += (chance() - 0.5) * 1e5);
}

/* Drawn back to where it was by a fifth each time. */
static void make_drawn(uint64_t *y)
{
	double off = 0;

	for (size_t i = 0; i < N; i++)
		y[i] = (uint64_t)(1e7 + (off = off * 0.8 + (chance() - 0.5) * 1e5));
}

/* Filled for a while, then emptied, as by a collector. */
static void make_saw(uint64_t *y)
{
	size_t period = 4 + (size_t)(chance() * 6), start = (size_t)(chance() * 10);

	for (size_t i = 0; i < N; i++)
		y[i] = 1000 * ((i + start) % period) + (uint64_t)(chance() * 100);
}

static void make_leak(uint64_t *y)
{
	for (size_t i = 0; i < N; i++)
		y[i] = 10000 * i + (uint64_t)(chance() * 100000);
}

START_TEST(test_false_alarms)
{
	ck_assert_int_le(accused(make_noise), RUNS * ALPHA);
	ck_assert_int_le(accused(make_walk), RUNS * 2 * ALPHA); /* it may look like noise around growth */
	ck_assert_int_le(accused(make_drawn), RUNS * ALPHA);
	ck_assert_int_le(accused(make_saw), RUNS * ALPHA);
	ck_assert_int_ge(accused(make_leak), RUNS * 9 / 10);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("trend");
	TCase *tests = tcase_create("trend");
	SRunner *runner = srunner_create(suite);
	int failed;

	tcase_add_checked_fixture(tests, setup, NULL);
	tcase_set_timeout(tests, 60);
	tcase_add_test(tests, test_straight);
	tcase_add_test(tests, test_known);
	tcase_add_test(tests, test_too_few);
	tcase_add_test(tests, test_shapes);
	tcase_add_loop_test(tests, test_full, 1, N / 2);
	tcase_add_test(tests, test_false_alarms);
	suite_add_tcase(suite, tests);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
