#include "report/blocks.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>

static struct ml_blocks blocks;

/* For inner loops: check's own assertions write to a file each time. */
#define require(condition)                                                                                             \
	do {                                                                                                           \
		if (!(condition))                                                                                      \
			ck_abort_msg("%s does not hold", #condition);                                                  \
	} while (0)

static void setup(void)
{
	blocks = (struct ml_blocks){0};
}

static void teardown(void)
{
	ml_blocks_free(&blocks);
}

static struct ml_block block(uint64_t address, uint64_t bytes)
{
	return (struct ml_block){.address = address, .bytes = bytes, .node = (uint32_t)bytes + 1, .owned = true};
}

START_TEST(test_put_take)
{
	struct ml_block a = block(0x1000, 5), b = block(0x1000, 6), got;

	ck_assert(!ml_blocks_take(&blocks, 0x1000, &got));
	ck_assert(!ml_blocks_put(&blocks, &a, &got));
	ck_assert(!ml_blocks_take(&blocks, 0x1001, &got));
	ck_assert(ml_blocks_put(&blocks, &b, &got));
	ck_assert_uint_eq(got.bytes, 5);
	ck_assert(ml_blocks_take(&blocks, 0x1000, &got));
	ck_assert_uint_eq(got.bytes, 6);
	ck_assert_uint_eq(got.node, 7);
	ck_assert(got.owned);
	ck_assert(!ml_blocks_take(&blocks, 0x1000, &got));
}
END_TEST

/* Against a plain array, with addresses of which some lie in runs, some on strides of pages, and some anywhere. */
START_TEST(test_many)
{
	enum { N = 5000, STEPS = 200000 };
	static uint64_t address[N], bytes[N]; /* bytes: 0 is not there */
	uint64_t seed = (uint64_t)_i + 1;
	struct ml_block got;

	memset(bytes, 0, sizeof bytes);
	for (size_t i = 0; i < N; i++)
		address[i] = i % 3 == 0 ? i * 16 : i % 3 == 1 ? 0x7f0000000000 + i * 4096 : i * 0x9e3779b97f4a7c15u;
	for (size_t step = 1; step <= STEPS; step++) {
		size_t i;
		bool there;
		seed = seed * 6364136223846793005u + 1442695040888963407u;
		i = (seed >> 33) % (step < STEPS / 2 ? N : N / 10); /* fills up, then works in a part */
		if (seed >> 63) {
			struct ml_block b = block(address[i], step);
			there = ml_blocks_put(&blocks, &b, &got);
		} else {
			there = ml_blocks_take(&blocks, address[i], &got);
		}
		require(there == (bytes[i] != 0));
		require(!there || got.bytes == bytes[i]);
		bytes[i] = seed >> 63 ? step : 0;
	}
	for (size_t i = 0; i < N; i++) {
		require(ml_blocks_take(&blocks, address[i], &got) == (bytes[i] != 0));
		require(!bytes[i] || got.bytes == bytes[i]);
	}
}
END_TEST

/* Births follow their blocks through growing and moving, and all blocks that are there are seen. */
START_TEST(test_births)
{
	enum { N = 5000 };
	static bool seen[N];
	struct ml_block got;
	size_t cursor = 0, n = 0;

	memset(seen, 0, sizeof seen);
	blocks.births = _i;
	for (size_t i = 0; i < N; i++) {
		struct ml_block b = block(i * 16, i);
		b.born_ms = (uint32_t)i + 7;
		require(!ml_blocks_put(&blocks, &b, &got));
	}
	for (size_t i = 0; i < N; i += 3) {
		got = (struct ml_block){0};
		require(ml_blocks_take(&blocks, i * 16, &got));
		require(got.born_ms == (_i ? i + 7 : 0));
	}
	while (ml_blocks_next(&blocks, &cursor, &got)) {
		size_t i = got.address / 16;
		require(i < N && i % 3 && !seen[i] && got.bytes == i);
		require(got.born_ms == (_i ? i + 7 : 0));
		seen[i] = true;
		n++;
	}
	ck_assert_uint_eq(n, N - (N + 2) / 3);
}
END_TEST

/* What the table promises of its size. */
START_TEST(test_memory)
{
	size_t room = 0, n = 1000000;

	blocks.births = _i;
	for (size_t i = 0; i < n; i++) {
		struct ml_block b = block(0x7f0000000000 + i * 48, 40), old;
		require(!ml_blocks_put(&blocks, &b, &old));
	}
	for (size_t i = 0; i < sizeof blocks.part / sizeof *blocks.part; i++) {
		room += blocks.part[i].room;
		ck_assert_uint_gt(blocks.part[i].n, n / 32); /* none is much fuller than another */
		ck_assert_uint_lt(blocks.part[i].n, n / 8);
	}
	ck_assert_uint_le(room * (_i ? 32 : 24), n * (_i ? 61 : 46));
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("blocks");
	TCase *tests = tcase_create("blocks");
	SRunner *runner = srunner_create(suite);
	int failed;

	tcase_add_checked_fixture(tests, setup, teardown);
	tcase_set_timeout(tests, 60);
	tcase_add_test(tests, test_put_take);
	tcase_add_loop_test(tests, test_many, 0, 5);
	tcase_add_loop_test(tests, test_births, 0, 2);
	tcase_add_loop_test(tests, test_memory, 0, 2);
	suite_add_tcase(suite, tests);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
