#include "report/holders.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "tests/report/frames.h"

#define MS 1000000u

static struct ml_options options;
static struct ml_reading r;
static struct ml_holders found;

static void setup(void)
{
	ml_options_init(&options);
	options.stacks = true;
	options.hold = ML_HOLD_END;
	memset(&r, 0, sizeof r);
	memset(&found, 0, sizeof found);
}

static void teardown(void)
{
	ml_holders_free(&found);
	ml_reading_close(&r);
	ml_options_free(&options);
}

static void find(struct build *b, enum ml_holders_by by)
{
	uint64_t bytes = 0, blocks = 0;

	frames_read(&r, b, "trace", &options);
	ml_reading_finish(&r, &options);
	ml_holders_find(&found, &r.holds, &r.stacks, &r.sites, by, NULL);
	for (uint32_t i = 0; i < found.n; i++) {
		bytes += found.items[i].held.bytes;
		blocks += found.items[i].held.blocks;
		ck_assert(!i || found.items[i].held.bytes <= found.items[i - 1].held.bytes);
	}
	if (options.hold == ML_HOLD_END) {
		ck_assert_uint_eq(bytes, r.totals.live_bytes);
		ck_assert_uint_eq(blocks, r.totals.live_blocks);
	} else {
		ck_assert_uint_eq(bytes, r.totals.peak_bytes);
	}
}

/* The one holder with these bytes. */
static const struct ml_holder *holder(uint64_t bytes)
{
	const struct ml_holder *one = NULL;

	for (uint32_t i = 0; i < found.n; i++)
		if (found.items[i].held.bytes == bytes) {
			ck_assert_ptr_null(one);
			one = &found.items[i];
		}
	ck_assert_msg(one != NULL, "nobody holds %lu bytes", (unsigned long)bytes);
	return one;
}

/* main() in scope calls a library, of which two places call native code. */
struct program {
	struct build *b;
	struct build_ring *ring;
	uint32_t in_main, in_library, in_other, native, alone, import, imported;
};

static struct program make(void)
{
	struct program p = {.b = frames_new(ML_LINES_LINETABLE)};
	uint32_t main_code = frames_code(p.b, frames_path("app.py"), "main", 10, 9);
	uint32_t library = frames_code(p.b, "/usr/lib/python3/dist-packages/lib.py", "work", 20, 9);
	uint32_t importing = frames_code(p.b, "<frozen importlib._bootstrap>", "_load", 1, 9);
	uint32_t body = frames_code(p.b, frames_path("part.py"), "<module>", 1, 9);

	p.ring = build_ring(p.b, 1);
	p.in_main = frames_node(p.b, 0, main_code, 10, 12);
	p.in_library = frames_node(p.b, p.in_main, library, 20, 21);
	p.in_other = frames_node(p.b, p.in_main, library, 20, 22);
	p.native = frames_native(p.b, p.in_library);
	p.alone = frames_node(p.b, 0, library, 20, 23);
	p.import = frames_node(p.b, p.in_main, importing, 1, 3);
	p.imported = frames_node(p.b, p.import, body, 1, 4);
	return p;
}

START_TEST(test_lines)
{
	struct program p = make();
	const struct ml_holder *main_line, *library;

	build_time(p.ring, 3 * MS, 0);
	build_alloc(p.ring, ML_DOMAIN_OBJ, p.in_main, 0x1000, 1);
	build_time(p.ring, 20 * MS, 0);
	build_alloc(p.ring, ML_DOMAIN_OBJ, p.in_library, 0x2000, 10);
	build_alloc(p.ring, ML_DOMAIN_C, p.native, 0x3000, 100);
	build_time(p.ring, 70 * MS, 0);
	build_alloc(p.ring, ML_DOMAIN_OBJ, p.in_other, 0x4000, 1000);
	build_alloc(p.ring, ML_DOMAIN_OBJ, p.alone, 0x5000, 10000);
	build_time(p.ring, 90 * MS, 0);
	find(p.b, ML_HOLDERS_LINE);
	ck_assert_uint_eq(found.n, 2);
	main_line = holder(1111); /* what is below it is its own */
	ck_assert_str_eq(main_line->function->name, "main");
	ck_assert_int_eq(main_line->line->line, 12);
	ck_assert_int_eq(main_line->phase, ML_HOLD_RUN);
	ck_assert_uint_eq(main_line->stacks_n, 4);
	ck_assert_uint_eq(main_line->largest, 1000);
	ck_assert_uint_eq(main_line->held.first_ms, 3);
	ck_assert_uint_eq(main_line->held.last_ms, 70);
	library = holder(10000); /* it has a line of its own where there is no other */
	ck_assert_ptr_null(library->line);
	ck_assert_str_eq(library->call->function, "work");
	ck_assert_int_eq(library->call->line, 23);
}
END_TEST

START_TEST(test_stacks)
{
	struct program p = make();
	uint32_t code = frames_code(p.b, frames_path("app.py"), "main", 10, 9);
	uint32_t again = frames_node(p.b, 0, code, 10, 12); /* another code object that reads alike */

	build_alloc(p.ring, ML_DOMAIN_OBJ, p.in_main, 0x1000, 1);
	build_alloc(p.ring, ML_DOMAIN_OBJ, again, 0x1100, 1);
	build_alloc(p.ring, ML_DOMAIN_OBJ, p.in_library, 0x2000, 10);
	build_alloc(p.ring, ML_DOMAIN_C, p.native, 0x3000, 100);
	build_alloc(p.ring, ML_DOMAIN_OBJ, p.in_other, 0x4000, 1000);
	find(p.b, ML_HOLDERS_STACK);
	ck_assert_uint_eq(found.n, 4);
	ck_assert_uint_eq(holder(2)->held.blocks, 2);
	ck_assert_uint_eq(holder(2)->stacks_n, 1);
	ck_assert_str_eq(holder(100)->function->name, "main");
	ck_assert_uint_eq(r.stacks.items[holder(100)->stack].depth, 3);
}
END_TEST

/* Imports, and what was there without a line in scope before the first line in scope ran. */
START_TEST(test_phases)
{
	struct program p = make();

	build_alloc(p.ring, ML_DOMAIN_OBJ, p.alone, 0x1000, 1);
	build_time(p.ring, 5 * MS, 0);
	build_alloc(p.ring, ML_DOMAIN_OBJ, p.imported, 0x2000, 10); /* this is no beginning */
	build_time(p.ring, 6 * MS, 0);
	build_alloc(p.ring, ML_DOMAIN_OBJ, p.alone, 0x3000, 100);
	build_time(p.ring, 9 * MS, 0);
	build_alloc(p.ring, ML_DOMAIN_OBJ, p.in_main, 0x4000, 1000);
	build_time(p.ring, 20 * MS, 0);
	build_alloc(p.ring, ML_DOMAIN_OBJ, p.alone, 0x5000, 10000);
	build_alloc(p.ring, ML_DOMAIN_OBJ, p.import, 0x6000, 100000);
	find(p.b, ML_HOLDERS_LINE);
	ck_assert_uint_eq(found.n, 5);
	ck_assert_int_eq(holder(101)->phase, ML_HOLD_STARTUP);
	ck_assert_int_eq(holder(10)->phase, ML_HOLD_STARTUP);
	ck_assert_int_eq(holder(1000)->phase, ML_HOLD_RUN);
	ck_assert_int_eq(holder(10000)->phase, ML_HOLD_RUN);
	ck_assert_int_eq(holder(100000)->phase, ML_HOLD_STARTUP);
}
END_TEST

START_TEST(test_from)
{
	struct program p = make();

	build_alloc(p.ring, ML_DOMAIN_OBJ, p.in_main, 0x1000, 1);
	build_time(p.ring, 5 * MS, 0);
	build_alloc(p.ring, ML_DOMAIN_OBJ, p.in_main, 0x2000, 10);
	build_alloc(p.ring, ML_DOMAIN_OBJ, p.alone, 0x3000, 100);
	options.fold.from_ns = 5 * MS;
	find(p.b, ML_HOLDERS_LINE);
	ck_assert_int_eq(holder(1)->phase, ML_HOLD_STARTUP);
	ck_assert_int_eq(holder(10)->phase, ML_HOLD_RUN);
	ck_assert_int_eq(holder(100)->phase, ML_HOLD_RUN);
}
END_TEST

START_TEST(test_peak)
{
	struct program p = make();

	build_alloc(p.ring, ML_DOMAIN_OBJ, p.imported, 0x1000, 500);
	build_alloc(p.ring, ML_DOMAIN_OBJ, p.in_main, 0x2000, 30);
	build_free(p.ring, ML_DOMAIN_OBJ, p.in_main, 0x1000);
	build_alloc(p.ring, ML_DOMAIN_OBJ, p.in_other, 0x3000, 400);
	options.hold = ML_HOLD_PEAK;
	find(p.b, ML_HOLDERS_LINE);
	ck_assert_uint_eq(r.totals.peak_bytes, 530);
	ck_assert_uint_eq(found.n, 2);
	ck_assert_int_eq(holder(500)->phase, ML_HOLD_RUN);
	ck_assert_uint_eq(holder(30)->line->inclusive_peak_bytes, 530);
	ck_assert_uint_eq(holder(500)->line->inclusive_peak_bytes, 500);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("holders");
	TCase *tests = tcase_create("holders");
	SRunner *runner = srunner_create(suite);
	int failed;

	frames_folder();
	tcase_add_checked_fixture(tests, setup, teardown);
	tcase_add_test(tests, test_lines);
	tcase_add_test(tests, test_stacks);
	tcase_add_test(tests, test_phases);
	tcase_add_test(tests, test_from);
	tcase_add_test(tests, test_peak);
	suite_add_tcase(suite, tests);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
