/* Whole stacks: what is one stack, what is named how, and that all amounts are there. */
#include "report/stack.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "tests/report/frames.h"

static struct ml_options options;

static void set_up(void)
{
	ml_options_init(&options);
	options.stacks = true;
}

/* "root|caller|leaf", which the caller frees. */
static char *text_of(const struct ml_reading *r, uint32_t stack)
{
	uint32_t *path = malloc((r->stacks.depth + 1) * sizeof(*path)), i;
	char *all = calloc(1, 4096), *text;

	ml_stacks_path(&r->stacks, stack, path);
	for (i = 0; i < r->stacks.items[stack].depth; i++) {
		text = ml_stacks_text(&r->stacks, &r->sites.natives.objects, &r->stacks.frames[path[i]], 0);
		strcat(strcat(all, i ? "|" : ""), text);
		free(text);
	}
	free(path);
	return all;
}

/* What is live with the stack of that text, which exactly one has; -1 where none has. */
static int64_t live_of(const struct ml_reading *r, const char *expected)
{
	int64_t live = -1;
	uint32_t i;

	for (i = 1; i < r->stacks.n; i++) {
		char *text = text_of(r, i);
		if (!strcmp(text, expected)) {
			ck_assert_int_eq(live, -1);
			live = (int64_t)r->stacks.items[i].amount.live_bytes;
		}
		free(text);
	}
	return live;
}

static void sums_are_right(const struct ml_reading *r)
{
	struct ml_amount sum = {0};
	uint32_t i;

	for (i = 0; i < r->stacks.n; i++)
		ml_amount_add(&sum, &r->stacks.items[i].amount);
	ck_assert(!r->stacks.n || ml_amount_is_nothing(&r->stacks.items[0].amount));
	ck_assert_uint_eq(sum.live_bytes, r->totals.live_bytes);
	ck_assert_uint_eq(sum.live_blocks, r->totals.live_blocks);
	ck_assert_uint_eq(sum.peak_bytes, r->totals.peak_bytes);
	ck_assert_uint_eq(sum.allocated_bytes, r->totals.allocated_bytes);
	ck_assert_uint_eq(sum.allocations, r->totals.allocations);
	ck_assert_uint_eq(sum.increment_bytes, r->totals.live_bytes - r->totals.start_live_bytes);
}

/* Two places of one line are one frame; two lines are two. */
static struct build *build_lines(uint32_t *inner)
{
	struct build *b = frames_new(ML_LINES_LINETABLE);
	uint32_t f = frames_code(b, "app.py", "f", 10, 9), g = frames_code(b, "/lib/g.py", "C.g", 1, 9);
	struct build_ring *ring = build_ring(b, 1);
	uint32_t call = frames_node(b, 0, f, 10, 12);

	*inner = frames_node(b, call, g, 1, 3);
	build_alloc(ring, ML_DOMAIN_OBJ, *inner, 0x1000, 100);
	build_alloc(ring, ML_DOMAIN_OBJ, frames_node(b, call, g, 1, 4), 0x2000, 7);
	build_alloc(ring, ML_DOMAIN_OBJ, build_node(b, call, ML_NODE_PYTHON, g, 5), 0x3000, 10);
	build_alloc(ring, ML_DOMAIN_OBJ, call, 0x4000, 1000);
	build_alloc(ring, ML_DOMAIN_C, 0, 0x5000, 3);
	frames_node(b, 0, f, 10, 13); /* with which nothing happened */
	return b;
}

START_TEST(test_lines_are_frames)
{
	struct ml_reading r = {0};
	char text[512];
	uint32_t inner;

	frames_read(&r, build_lines(&inner), "trace", &options);
	ml_reading_finish(&r, &options);
	snprintf(text, sizeof(text), "f (%s:12)|C.g (/lib/g.py:3)", frames_path("app.py"));
	ck_assert_int_eq(live_of(&r, text), 110);
	snprintf(text, sizeof(text), "f (%s:12)|C.g (/lib/g.py:4)", frames_path("app.py"));
	ck_assert_int_eq(live_of(&r, text), 7);
	snprintf(text, sizeof(text), "f (%s:12)", frames_path("app.py"));
	ck_assert_int_eq(live_of(&r, text), 1000);
	ck_assert_int_eq(live_of(&r, "<native>"), 3);
	ck_assert_uint_eq(r.stacks.n, 5);
	ck_assert_uint_eq(r.stacks.depth, 2);
	sums_are_right(&r);
	ml_reading_close(&r);
}
END_TEST

START_TEST(test_several_traces_are_one)
{
	struct ml_reading r = {0};
	char text[512];
	uint32_t inner;

	options.merge = true;
	frames_read(&r, build_lines(&inner), "one", &options);
	frames_read(&r, build_lines(&inner), "two", &options);
	ml_reading_finish(&r, &options);
	snprintf(text, sizeof(text), "f (%s:12)|C.g (/lib/g.py:3)", frames_path("app.py"));
	ck_assert_int_eq(live_of(&r, text), 220);
	ck_assert_uint_eq(r.stacks.n, 5);
	sums_are_right(&r);
	ml_reading_close(&r);
}
END_TEST

START_TEST(test_native_and_marks)
{
	struct build *b = frames_new(ML_LINES_LINETABLE);
	uint32_t f = frames_code(b, "app.py", "f", 10, 9);
	uint32_t library = build_module(b, "/nowhere/libx.so.1", 0x7f0000000000, 0x10000);
	uint32_t deeper = build_node(b, 0, ML_NODE_MARK, ML_MARK_DEEPER, 0);
	uint32_t line = frames_node(b, deeper, f, 10, 11);
	struct build_ring *ring = build_ring(b, 1);
	struct ml_reading r = {0};
	char text[512];

	build_alloc(ring, ML_DOMAIN_C, build_node(b, line, ML_NODE_NATIVE, library, 0x123), 0x1000, 1);
	build_alloc(ring, ML_DOMAIN_C, build_node(b, line, ML_NODE_NATIVE, library, 0x456), 0x2000, 2);
	build_alloc(ring, ML_DOMAIN_C, build_node(b, line, ML_NODE_NATIVE, 0, 0x789), 0x3000, 4);
	build_alloc(ring, ML_DOMAIN_C, build_node(b, 0, ML_NODE_MARK, ML_MARK_TRUNCATED, 0), 0x4000, 8);
	build_alloc(ring, ML_DOMAIN_C, build_node(b, 0, ML_NODE_PYTHON, 77, 0), 0x5000, 16);
	frames_read(&r, b, "trace", &options);
	ml_reading_finish(&r, &options);
	snprintf(text, sizeof(text), "<deeper>|f (%s:11)|libx+0x123 (libx)", frames_path("app.py"));
	ck_assert_int_eq(live_of(&r, text), 1);
	snprintf(text, sizeof(text), "<deeper>|f (%s:11)|libx+0x456 (libx)", frames_path("app.py"));
	ck_assert_int_eq(live_of(&r, text), 2);
	snprintf(text, sizeof(text), "<deeper>|f (%s:11)|[unknown]+0x789 ([unknown])", frames_path("app.py"));
	ck_assert_int_eq(live_of(&r, text), 4);
	ck_assert_int_eq(live_of(&r, "<truncated>"), 8);
	ck_assert_int_eq(live_of(&r, "[unknown]"), 16);
	sums_are_right(&r);
	ml_reading_close(&r);
}
END_TEST

/* Whatever allocated, freed and moved: the stacks have all of it, of one trace and of two. */
START_TEST(test_random_trees)
{
	struct ml_reading r = {0};
	uint32_t trace, n, i;

	srand((unsigned)_i + 1);
	options.merge = true;
	for (trace = 0; trace < 2; trace++) {
		struct build *b = frames_new(ML_LINES_LINETABLE);
		uint32_t nodes[40] = {0}, codes[4];
		struct build_ring *ring = build_ring(b, 1);
		bool live[60] = {false};

		for (i = 0; i < 4; i++)
			codes[i] = frames_code(b, i % 2 ? "app.py" : "lib.py", i < 2 ? "f" : "g", 10 * i + 1, 9);
		for (n = 1; n < 40; n++) {
			uint32_t parent = nodes[(uint32_t)rand() % n], code = (uint32_t)rand() % 4;
			nodes[n] = rand() % 4 ? frames_node(b, parent, codes[code], 10 * code + 1,
							    10 * code + 1 + (uint32_t)rand() % 9)
					      : frames_native(b, parent);
		}
		for (i = 0; i < 500; i++) {
			uint32_t slot = (uint32_t)rand() % 60, node = nodes[rand() % 40];
			uint64_t address = (slot + 1) << 12, bytes = (uint64_t)rand() % 5000;
			bool moves = rand() % 3 == 0;
			if (!live[slot])
				build_alloc(ring, ML_DOMAIN_C, node, address, bytes);
			else if (moves)
				build_realloc(ring, ML_DOMAIN_C, node, address, address, bytes);
			else
				build_free(ring, ML_DOMAIN_C, node, address);
			live[slot] = !live[slot] || moves;
		}
		frames_read(&r, b, "trace", &options);
	}
	ml_reading_finish(&r, &options);
	sums_are_right(&r);
	ml_reading_close(&r);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("stack");
	TCase *tests = tcase_create("stack");
	SRunner *runner = srunner_create(suite);
	int failed;

	frames_folder();
	tcase_add_checked_fixture(tests, set_up, NULL);
	tcase_add_test(tests, test_lines_are_frames);
	tcase_add_test(tests, test_several_traces_are_one);
	tcase_add_test(tests, test_native_and_marks);
	tcase_add_loop_test(tests, test_random_trees, 0, 100);
	suite_add_tcase(suite, tests);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
