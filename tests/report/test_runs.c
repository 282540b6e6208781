#include "report/runs.h"

#include <check.h>
#include <inttypes.h>
#include <stdio.h>
#include <unistd.h>

#include "report/fold.h"
#include "tests/report/build_trace.h"

#define RINGS 5u
#define COUNTS 200u

static struct build *b;
static struct ml_trace *trace;
static struct ml_fold *fold;
static uint32_t code, node;

static void setup(void)
{
	b = build_new();
	code = build_code(b, "/srv/app.py", "main", 1, NULL, 0);
	node = build_node(b, 0, ML_NODE_PYTHON, code, 2);
	trace = NULL;
	fold = NULL;
}

static void teardown(void)
{
	ml_fold_free(fold);
	ml_load_close(trace);
	build_done(b);
}

static void run(const struct ml_fold_options *options)
{
	char path[64], text[256], *error;

	snprintf(path, sizeof path, "/tmp/memline-test-runs-%d", (int)getpid());
	build_write(b, path);
	ml_fold_free(fold);
	ml_load_close(trace);
	trace = ml_load_open(path, &error);
	unlink(path);
	if (!trace)
		ck_abort_msg("%s", error);
	fold = ml_fold_run(trace, options, NULL, NULL);
	ck_assert_msg(!ml_load_warning(trace, 0, text, sizeof text), "%s", text);
}

static const struct ml_fold_options all = {.to_ns = UINT64_MAX, .end_last = true};

static uint64_t seed;

static uint64_t random_below(uint64_t n)
{
	seed ^= seed << 13;
	seed ^= seed >> 7;
	seed ^= seed << 17;
	return seed % n;
}

/* Lines run at any moment between the events of several threads, whose pieces become full at any time. */
START_TEST(test_any_moment)
{
	struct build_ring *rings[RINGS];
	struct ml_run wanted[COUNTS] = {{.sequence = 0}};
	uint64_t events = 0, live = 0, address = 0x10000;

	seed = (uint64_t)_i * 0x9e3779b97f4a7c15u + 1;
	build_layout(b)->piece_bytes = 300 + random_below(1000);
	for (uint32_t i = 0; i < RINGS; i++)
		rings[i] = build_ring(b, 100 + i);
	for (uint32_t n = 0; n < COUNTS;) {
		struct build_ring *ring = rings[random_below(RINGS)];
		for (uint64_t burst = random_below(12); burst; burst--) {
			uint64_t bytes = random_below(1000);
			build_alloc(ring, ML_DOMAIN_C, node, address, bytes);
			address += 1024;
			live += bytes;
			events++;
		}
		if (!random_below(8))
			build_flush(ring);
		for (uint64_t more = random_below(3); more && n < COUNTS; more--) {
			build_count(b, code, n + 1, 1 + random_below(9));
			wanted[n++] = (struct ml_run){.sequence = events, .live_bytes = live};
		}
	}
	run(&all);
	ck_assert_uint_eq(fold->runs.n, COUNTS);
	ck_assert_uint_eq(fold->totals.events, events);
	for (uint32_t i = 0; i < COUNTS; i++) {
		ck_assert_uint_eq(fold->runs.runs[i].sequence, wanted[i].sequence);
		ck_assert_uint_eq(fold->runs.runs[i].live_bytes, wanted[i].live_bytes);
	}
}
END_TEST

/* Before any event, and in a ring that is not in the trace: nothing is known. */
START_TEST(test_no_moment)
{
	build_count(b, code, 1, 1);
	build_alloc(build_ring(b, 100), ML_DOMAIN_C, node, 0x1000, 10);
	build_count_never(b, code, 2, 1);
	build_count(b, code, 3, 1);
	run(&all);
	ck_assert_uint_eq(fold->runs.n, 3);
	ck_assert_uint_eq(fold->runs.runs[0].sequence, 0);
	ck_assert_uint_eq(fold->runs.runs[1].sequence, 0);
	ck_assert_uint_eq(fold->runs.runs[2].sequence, 1);
	ck_assert_uint_eq(fold->runs.runs[2].live_bytes, 10);
}
END_TEST

/* Behind the end that was asked for there are no more events: it is as if those before had been the last. */
START_TEST(test_behind_the_end)
{
	struct build_ring *ring = build_ring(b, 100);
	struct ml_fold_options finalized = {.to_ns = UINT64_MAX};

	build_alloc(ring, ML_DOMAIN_C, node, 0x1000, 10);
	build_count(b, code, 1, 1);
	build_finalize(ring);
	build_alloc(ring, ML_DOMAIN_C, node, 0x2000, 1);
	build_count(b, code, 2, 1);
	run(&finalized);
	ck_assert_uint_eq(fold->runs.runs[0].live_bytes, 10);
	ck_assert_uint_eq(fold->runs.runs[1].live_bytes, 10);
	run(&all);
	ck_assert_uint_eq(fold->runs.runs[0].live_bytes, 10);
	ck_assert_uint_eq(fold->runs.runs[1].live_bytes, 11);
}
END_TEST

/* Counts are of whole runs. */
START_TEST(test_part_of_a_run)
{
	const struct ml_fold_options parts[] = {
		{.from_ns = 1, .to_ns = UINT64_MAX}, {.to_ns = 1000}, {.to_ns = UINT64_MAX, .tid = 100}};

	build_alloc(build_ring(b, 100), ML_DOMAIN_C, node, 0x1000, 10);
	build_count(b, code, 1, 1);
	for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
		run(&parts[i]);
		ck_assert_uint_eq(fold->runs.n, 0);
	}
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("runs");
	TCase *tests = tcase_create("runs");
	SRunner *runner = srunner_create(suite);
	int failed;

	tcase_add_checked_fixture(tests, setup, teardown);
	tcase_add_loop_test(tests, test_any_moment, 0, 200);
	tcase_add_test(tests, test_no_moment);
	tcase_add_test(tests, test_behind_the_end);
	tcase_add_test(tests, test_part_of_a_run);
	suite_add_tcase(suite, tests);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? 1 : 0;
}
