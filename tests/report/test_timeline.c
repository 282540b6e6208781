#include "report/timeline.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "tests/report/frames.h"

#define MS 1000000u

/* Of a program whose function f leaks a block of 10 bytes a millisecond, and g holds 1007 bytes. */
static void read_leak(struct ml_reading *r, int ms, size_t points, uint64_t from_ns)
{
	struct build *b = frames_new(ML_LINES_LINETABLE);
	uint32_t f_code = frames_code(b, frames_path("app.py"), "f", 10, 9);
	uint32_t g_code = frames_code(b, frames_path("app.py"), "g", 20, 9);
	uint32_t import_code = frames_code(b, "<frozen importlib._bootstrap>", "_load", 1, 9);
	uint32_t f = frames_node(b, 0, f_code, 10, 12), g = frames_node(b, f, g_code, 20, 21);
	uint32_t imported = frames_node(b, frames_node(b, f, import_code, 1, 2), g_code, 20, 22);
	struct build_ring *ring = build_ring(b, 1);
	struct ml_options options;

	build_alloc(ring, ML_DOMAIN_OBJ, g, 0x1000, 1007);
	for (int i = 1; i <= ms; i++) {
		build_time(ring, (uint64_t)i * MS, 1);
		build_alloc(ring, ML_DOMAIN_OBJ, f, 0x100000 + (uint64_t)i * 16, 10);
		build_alloc(ring, ML_DOMAIN_OBJ, imported, 0x10000000 + (uint64_t)i * 16, 3);
	}
	ml_options_init(&options);
	options.stacks = options.owners = true;
	options.hold = ML_HOLD_END;
	options.points = points;
	options.fold.from_ns = from_ns;
	frames_read(r, b, "trace", &options);
	ml_reading_finish(r, &options);
	ml_options_free(&options);
}

static const uint64_t *row_of(const struct ml_timeline *t, uint64_t at_end)
{
	const uint64_t *found = NULL;

	for (uint32_t i = 0; i < t->owners_n; i++)
		if (t->rows[i] && t->rows[i][t->n - 1] == at_end) {
			ck_assert_ptr_null(found);
			found = t->rows[i];
		}
	ck_assert_ptr_nonnull(found);
	return found;
}

/* Points are a period apart, from as many as were asked for to twice as many, and have what was live then. */
START_TEST(test_points)
{
	const int lengths[] = {30, 39, 40, 41, 100, 1000, 5000};
	uint64_t ms = (uint64_t)lengths[_i];
	struct ml_reading r = {0};
	const struct ml_timeline *t = &r.timeline;
	const uint64_t *f, *g;

	read_leak(&r, lengths[_i], 20, 0);
	ck_assert_uint_ge(t->n, 20);
	ck_assert_uint_le(t->n, 41);
	f = row_of(t, ms * 10);
	g = row_of(t, 1007);
	for (size_t i = 0; i < t->n; i++) {
		uint64_t at = t->points[i].ns / MS, before = i + 1 < t->n ? at - 1 : at; /* the end has all */
		if (i + 1 < t->n)
			ck_assert_uint_eq(t->points[i].ns, (i + 1) * t->period);
		ck_assert_uint_eq(f[i], before * 10);
		ck_assert_uint_eq(g[i], 1007);
		ck_assert_uint_eq(t->points[i].live_bytes, 1007 + before * 13);
	}
	ck_assert_uint_eq(t->points[t->n - 1].ns, ms * MS);
	/* Of all owners only two hold anything: what is imported has none. */
	for (uint32_t i = 0; i < t->owners_n; i++)
		ck_assert(!t->rows[i] || t->rows[i] == f || t->rows[i] == g);
	ml_reading_close(&r);
}
END_TEST

START_TEST(test_from)
{
	struct ml_reading r = {0};

	read_leak(&r, 100, 20, 50 * MS);
	ck_assert_uint_gt(r.timeline.points[0].ns, 50 * MS);
	ck_assert_uint_eq(r.timeline.points[r.timeline.n - 1].ns, 100 * MS);
	ml_reading_close(&r);
}
END_TEST

/* Long pauses leave no points, and what comes behind them is in the right place. */
START_TEST(test_pauses)
{
	struct build *b = frames_new(ML_LINES_LINETABLE);
	uint32_t node = frames_node(b, 0, frames_code(b, frames_path("app.py"), "f", 10, 9), 10, 12);
	struct build_ring *ring = build_ring(b, 1);
	struct ml_reading r = {0};
	struct ml_options options;
	uint64_t ms = 0;

	for (uint64_t i = 0; i < 300; i++) {
		build_alloc(ring, ML_DOMAIN_OBJ, node, 0x1000 + 16 * i, 1);
		ms += i % 50 ? 2 : 400;
		build_time(ring, ms * MS, 0);
	}
	ml_options_init(&options);
	options.points = 20;
	frames_read(&r, b, "trace", &options);
	ml_reading_finish(&r, &options);
	ml_options_free(&options);
	ck_assert_uint_le(r.timeline.n, 41);
	for (size_t i = 1; i < r.timeline.n; i++) {
		ck_assert_uint_gt(r.timeline.points[i].ns, r.timeline.points[i - 1].ns);
		ck_assert_uint_ge(r.timeline.points[i].live_bytes, r.timeline.points[i - 1].live_bytes);
	}
	ck_assert_uint_eq(r.timeline.points[r.timeline.n - 1].live_bytes, 300);
	ml_reading_close(&r);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("timeline");
	TCase *tests = tcase_create("timeline");
	SRunner *runner = srunner_create(suite);
	int failed;

	frames_folder();
	tcase_add_loop_test(tests, test_points, 0, 7);
	tcase_add_test(tests, test_from);
	tcase_add_test(tests, test_pauses);
	suite_add_tcase(suite, tests);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
