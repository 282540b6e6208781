/* Whole readings: sums of several traces, windows, and traces with damaged bytes. */
#include "report/reading.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "report/json.h"
#include "report/memory.h"
#include "report/table.h"
#include "tests/report/frames.h"

static struct ml_options options;

static void set_up(void)
{
	ml_options_init(&options);
	frames_write("app.py", "def f():\n    a\n    b\n    c\n", -60);
}

/* A block a second: 1, 10 and 100 bytes; the second is freed by another thread after 4 s; then Python finalizes. */
static struct build *build_seconds(void)
{
	struct build *b = frames_new(ML_LINES_LINETABLE);
	uint32_t f = frames_code(b, "app.py", "f", 1, 4), lambda = frames_code(b, "app.py", "<lambda>", 2, 2);
	uint32_t line2 = frames_node(b, 0, f, 1, 2), line3 = frames_node(b, line2, lambda, 2, 3);
	uint32_t line4 = frames_node(b, 0, f, 1, 4), native = frames_native(b, line3);
	struct build_ring *first = build_ring(b, 7), *second = build_ring(b, 8);

	build_time(first, 1000000000, 100);
	build_alloc(first, ML_DOMAIN_OBJ, line2, 0x1000, 1);
	build_time(first, 2000000000, 200);
	build_alloc(first, ML_DOMAIN_OBJ, line3, 0x2000, 10);
	build_time(first, 3000000000, 300);
	build_alloc(first, ML_DOMAIN_C, native, 0x3000, 100);
	build_time(second, 4000000000, 200);
	build_free(second, ML_DOMAIN_OBJ, line4, 0x2000);
	build_time(second, 5000000000, 100);
	build_finalize(second);
	build_free(second, ML_DOMAIN_OBJ, 0, 0x3000);
	return b;
}

static struct ml_reading read_seconds(void)
{
	struct ml_reading r = {0};

	frames_read(&r, build_seconds(), "trace", &options);
	ml_reading_finish(&r, &options);
	return r;
}

static void increments_are(struct ml_reading *r, int64_t line2, int64_t line3, int64_t line4)
{
	const int64_t expected[] = {line2, line3, line4};
	int i;

	for (i = 0; i < 3; i++) {
		const struct ml_line *line = frames_line(r, "f", i + 2);
		ck_assert_int_eq(line ? line->increment_bytes : 0, expected[i]);
	}
	ck_assert_int_eq(frames_sum(r), (int64_t)(r->totals.live_bytes - r->totals.start_live_bytes));
	ml_reading_close(r);
}

START_TEST(test_end)
{
	struct ml_reading r = read_seconds();

	ck_assert(r.totals.finalized);
	ck_assert_uint_eq(r.totals.live_bytes, 101);
	ck_assert_double_eq(ml_reading_seconds(&r), 5);
	increments_are(&r, 111, 110, -10);

	options.fold.end_last = true;
	r = read_seconds();
	ck_assert_uint_eq(r.totals.live_bytes, 1);
	ck_assert_int_eq(r.sites.native.increment_bytes, -100);
	increments_are(&r, 111, 110, -10);
}
END_TEST

START_TEST(test_windows)
{
	struct ml_reading r;

	options.fold.from_ns = 1500000000;
	options.fold.to_ns = 3500000000;
	r = read_seconds();
	ck_assert_uint_eq(r.totals.start_live_bytes, 1);
	ck_assert_uint_eq(frames_line(&r, "f", 2)->live_bytes, 1); /* owned, though allocated before */
	increments_are(&r, 110, 110, 0);
	options.fold.from_ns = 3500000000;
	options.fold.to_ns = UINT64_MAX;
	r = read_seconds();
	ck_assert_uint_eq(frames_line(&r, "f", 3)->mem_bytes, 0); /* it did nothing in that time */
	increments_are(&r, 0, 0, -10);
}
END_TEST

START_TEST(test_thread)
{
	struct ml_reading r;

	options.fold.tid = 7;
	r = read_seconds();
	ck_assert_int_eq(frames_line(&r, "f", 2)->increment_bytes, 111);
	ck_assert_ptr_null(frames_line(&r, "f", 4));
	ml_reading_close(&r);
	options.fold.tid = 8;
	r = read_seconds();
	ck_assert_int_eq(frames_line(&r, "f", 4)->increment_bytes, -10);
	ml_reading_close(&r);
}
END_TEST

START_TEST(test_sums)
{
	struct ml_reading one = read_seconds(), r = {0};
	int i;

	for (i = 0; i < 3; i++)
		frames_read(&r, build_seconds(), "trace", &options);
	ml_reading_finish(&r, &options);
	ck_assert_uint_eq(r.traces_n, 3);
	ck_assert_uint_eq(r.totals.allocated_bytes, 3 * one.totals.allocated_bytes);
	ck_assert_uint_eq(r.totals.frees, 3 * one.totals.frees);
	ck_assert_uint_eq(r.totals.live_blocks, 3 * one.totals.live_blocks);
	ck_assert_uint_eq(r.totals.peak_bytes, 3 * one.totals.peak_bytes);
	ck_assert_uint_eq(r.totals.rss_max_bytes, 3 * one.totals.rss_max_bytes);
	ck_assert_uint_eq(r.totals.events, 3 * one.totals.events);
	ck_assert_double_eq(ml_reading_seconds(&r), 5);
	increments_are(&r, 3 * 111, 3 * 110, 3 * -10);
	ml_reading_close(&one);
}
END_TEST

START_TEST(test_no_trace)
{
	struct ml_reading r = {0};
	char *error;

	build_save(frames_path("text"), "text", 4);
	ck_assert_int_eq(ml_reading_add(&r, frames_path("text"), &options, &error), -1);
	ck_assert_ptr_nonnull(strstr(error, frames_path("text")));
	free(error);
	ck_assert_ptr_null(r.trace);
	ml_reading_close(&r);
}
END_TEST

/* Everything that a report prints, of a trace that may say anything. */
static void print_all(const char *path)
{
	struct ml_reading r = {0};
	FILE *out = fopen("/dev/null", "w");
	char *error;

	if (ml_reading_add(&r, path, &options, &error)) {
		ck_assert_ptr_null(strchr(error, '\n'));
		free(error);
	} else {
		ml_reading_finish(&r, &options);
		ml_table_print(out, &r, &options);
		ml_json_print(out, ml_json_reading(&r));
		ml_reading_close(&r);
	}
	fclose(out);
}

START_TEST(test_damaged_bytes)
{
	struct build *b = build_seconds();
	uint32_t state = (uint32_t)_i + 1;
	size_t bytes, at[4];
	const uint8_t *good = build_bytes(b, &bytes);
	uint8_t *bad = malloc(bytes);
	int round, flip;

	options.wide = true;
	options.all = true;
	for (round = 0; round < 500; round++) {
		memcpy(bad, good, bytes);
		for (flip = 0; flip < 4; flip++) {
			state = state * 1664525 + 1013904223;
			at[flip] = state % bytes;
			bad[at[flip]] ^= (uint8_t)(1u << (state >> 24 & 7));
		}
		build_save(frames_path("damaged"), bad, bytes);
		print_all(frames_path("damaged"));
	}
	free(bad);
	build_done(b);
}
END_TEST

START_TEST(test_cut_off)
{
	struct build *b = build_seconds();
	size_t bytes, cut;
	const uint8_t *good = build_bytes(b, &bytes);

	for (cut = (size_t)_i; cut < bytes; cut += 64) {
		build_save(frames_path("cut"), good, cut);
		print_all(frames_path("cut"));
	}
	build_done(b);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("reading");
	TCase *tests = tcase_create("reading");
	SRunner *runner = srunner_create(suite);
	int failed;

	frames_folder();
	tcase_set_timeout(tests, 120);
	tcase_add_checked_fixture(tests, set_up, NULL);
	tcase_add_test(tests, test_end);
	tcase_add_test(tests, test_windows);
	tcase_add_test(tests, test_thread);
	tcase_add_test(tests, test_sums);
	tcase_add_test(tests, test_no_trace);
	tcase_add_loop_test(tests, test_damaged_bytes, 0, 4);
	tcase_add_loop_test(tests, test_cut_off, 0, 4);
	suite_add_tcase(suite, tests);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
