#include "report/heap.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "tests/report/build_trace.h"

/* Small objects take multiples of 16 bytes of an arena, chunks of malloc 8 bytes more than they have, 32 at least. */
START_TEST(test_parts)
{
	struct build *b = build_new();
	struct build_ring *ring = build_ring(b, 1);
	const struct ml_fold_options options = {.to_ns = UINT64_MAX};
	struct ml_heap heap = {0};
	struct ml_fold *fold;
	struct ml_trace *t;
	char path[64], *error;

	build_alloc(ring, ML_DOMAIN_OBJ, 0, 0x1000, 1);
	build_alloc(ring, ML_DOMAIN_MEM, 0, 0x2000, 512);
	build_alloc(ring, ML_DOMAIN_OBJ, 0, 0x3000, 513);
	build_alloc(ring, ML_DOMAIN_OBJ, 0, 0x4000, 0);
	build_alloc(ring, ML_DOMAIN_RAW, 0, 0x5000, 24);
	build_alloc(ring, ML_DOMAIN_C, 0, 0x6000, 25);
	build_alloc(ring, ML_DOMAIN_C, 0, 0x7000, 100);
	build_free(ring, ML_DOMAIN_C, 0, 0x7000);
	build_map(ring, 0, 0x7f0000000000, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS);
	snprintf(path, sizeof path, "/tmp/memline-test-heap-%d", (int)getpid());
	build_write(b, path);
	t = ml_load_open(path, &error);
	unlink(path);
	ck_assert_ptr_nonnull(t);
	fold = ml_fold_run(t, &options, NULL, NULL);
	ml_heap_add(&heap, fold);
	ck_assert_uint_eq(heap.small.blocks, 2);
	ck_assert_uint_eq(heap.small.bytes, 513);
	ck_assert_uint_eq(heap.small.taken_bytes, 16 + 512);
	ck_assert_uint_eq(heap.malloc.blocks, 4);
	ck_assert_uint_eq(heap.malloc.bytes, 513 + 0 + 24 + 25);
	ck_assert_uint_eq(heap.malloc.taken_bytes, 528 + 32 + 32 + 48);
	ck_assert_uint_eq(heap.mapped_bytes, 8192);
	ck_assert_uint_eq(heap.small.bytes + heap.malloc.bytes + heap.mapped_bytes, fold->totals.live_bytes);
	ml_fold_free(fold);
	ml_load_close(t);
	build_done(b);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("heap");
	TCase *tests = tcase_create("heap");
	SRunner *runner = srunner_create(suite);
	int failed;

	tcase_add_test(tests, test_parts);
	suite_add_tcase(suite, tests);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
