#include "trace/put.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>

static uint8_t buffer[4096];

#define check_bytes(end, ...)                                                                                          \
	do {                                                                                                           \
		static const uint8_t expected[] = {__VA_ARGS__};                                                       \
		ck_assert_uint_eq((size_t)((end)-buffer), sizeof expected);                                            \
		ck_assert_mem_eq(buffer, expected, sizeof expected);                                                   \
	} while (0)

START_TEST(test_varint)
{
	check_bytes(ml_put_varint(buffer, 0), 0x00);
	check_bytes(ml_put_varint(buffer, 0x7f), 0x7f);
	check_bytes(ml_put_varint(buffer, 0x80), 0x80, 0x01);
	check_bytes(ml_put_varint(buffer, 0x3fff), 0xff, 0x7f);
	check_bytes(ml_put_varint(buffer, 0x4000), 0x80, 0x80, 0x01);
	check_bytes(ml_put_varint(buffer, UINT64_MAX), 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01);
}
END_TEST

START_TEST(test_zigzag)
{
	check_bytes(ml_put_zigzag(buffer, 0), 0x00);
	check_bytes(ml_put_zigzag(buffer, -1), 0x01);
	check_bytes(ml_put_zigzag(buffer, 1), 0x02);
	check_bytes(ml_put_zigzag(buffer, -64), 0x7f);
	check_bytes(ml_put_zigzag(buffer, 64), 0x80, 0x01);
	check_bytes(ml_put_zigzag(buffer, INT64_MAX), 0xfe, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01);
	check_bytes(ml_put_zigzag(buffer, INT64_MIN), 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01);
}
END_TEST

/* The bytes of every record, as trace/format.h describes them. */
START_TEST(test_records)
{
	struct ml_tables tables = {{0}, {0}};
	struct ml_coder c = {.tables = &tables};
	uint8_t *at;

	/* node 3: +3, address 0x20: +2, 100 bytes; then the same node and size, address 0x30: +1 */
	at = ml_put_alloc(buffer, &c, ML_DOMAIN_OBJ, 3, 0x20, 100);
	at = ml_put_alloc(at, &c, ML_DOMAIN_C, 3, 0x30, 100);
	check_bytes(at, 0x31, 6, 4, 100, 0xc1, 2);
	/* an address that slot 2 holds, from another node, which has its own last size; then the same again; node 3 has
	   the size that it had */
	at = ml_put_alloc(buffer, &c, ML_DOMAIN_MEM, 2, 0x20, 101);
	at = ml_put_alloc(at, &c, ML_DOMAIN_MEM, 2, 0x20, 101);
	at = ml_put_alloc(at, &c, ML_DOMAIN_OBJ, 3, 0x40, 100);
	check_bytes(at, 0x2f, 1, 2, 101, 0xef, 2, 0xb1, 2, 4);
	/* an address off the grid: LOW 8 before the record */
	at = ml_put_free(buffer, &c, ML_RECORD_FREE, ML_DOMAIN_RAW, 3, 0x28);
	at = ml_put_free(at, &c, ML_RECORD_REALLOC_BEGIN, ML_DOMAIN_C, 4, 0x10);
	check_bytes(at, 0x20, 8, 0xd2, 2, 0x03, 2, 1);
	at = ml_put_realloc_end(buffer, &c, ML_OUTCOME_DONE, 0x30, 101);
	at = ml_put_realloc_end(at, &c, ML_OUTCOME_DONE, 0x71, 101);
	at = ml_put_realloc_end(at, &c, ML_OUTCOME_FAILED, 0, 0);
	at = ml_put_realloc_end(at, &c, ML_OUTCOME_FREED, 0, 0);
	check_bytes(at, 0x44, 3, 101, 0x20, 1, 0x84, 8, 0x14, 0x24);
	/* 0x1000 and 0x10 have one slot: the later one is in it */
	at = ml_put_free(buffer, &c, ML_RECORD_FREE, ML_DOMAIN_C, 4, 0x70);
	at = ml_put_free(at, &c, ML_RECORD_FREE, ML_DOMAIN_C, 4, 0x1000);
	at = ml_put_free(at, &c, ML_RECORD_FREE, ML_DOMAIN_C, 4, 0x10);
	at = ml_put_free(at, &c, ML_RECORD_FREE, ML_DOMAIN_C, 4, 0x70);
	check_bytes(at, 0xc2, 7, 0x42, 0xf2, 0x03, 0x42, 0xfd, 0x03, 0xc2, 7);
	at = ml_put_range(buffer, &c, ML_RECORD_MAP | ML_REC_BREAK, 4, 0x40, 4096);
	at = ml_put_range(at, &c, ML_RECORD_UNMAP_BEGIN, 5, 0x40, 1);
	at = ml_put_range_end(at, &c, ML_RECORD_UNMAP_END, ML_OUTCOME_DONE, 7, 7);
	at = ml_put_range_end(at, &c, ML_RECORD_REMAP_END, ML_OUTCOME_DONE, 0x50, 2);
	at = ml_put_range_end(at, &c, ML_RECORD_REMAP_END, ML_OUTCOME_FAILED, 7, 7);
	check_bytes(at, 0x55, 5, 0x80, 0x20, 0x06, 2, 0, 1, 0x07, 0x09, 2, 2, 0x19);
	at = ml_put_arena(buffer, &c, 0, 0x60, 3);
	at = ml_put_arena(at, &c, 1, 0x60, 3);
	check_bytes(at, 0x0b, 2, 3, 0x1b, 0, 3);
	at = ml_put_turn(buffer, 2);
	at = ml_put_time(at, 5, 6);
	at = ml_put_base(at, 7, 8, 9);
	at = ml_put_finalize(at);
	check_bytes(at, 0x0c, 2, 0x0d, 5, 6, 0x0e, 7, 8, 9, 0x10);
	/* without tables nothing comes back but the node */
	c = (struct ml_coder){.tables = NULL};
	at = ml_put_alloc(buffer, &c, ML_DOMAIN_OBJ, 3, 0x20, 100);
	at = ml_put_free(at, &c, ML_RECORD_FREE, ML_DOMAIN_OBJ, 3, 0x20);
	at = ml_put_alloc(at, &c, ML_DOMAIN_OBJ, 3, 0x20, 100);
	at = ml_put_realloc_end(at, &c, ML_OUTCOME_DONE, 0x20, 100);
	check_bytes(at, 0x31, 6, 4, 100, 0x72, 0, 0x71, 0, 100, 0x04, 0, 100);
}
END_TEST

/* The longest record of each kind, with the LOW before it. */
START_TEST(test_longest)
{
	const uint64_t far = UINT64_MAX, size = UINT64_MAX;
	struct ml_coder c;
	uint8_t *end;

#define LONGEST(call)                                                                                                  \
	memset(&c, 0, sizeof c);                                                                                       \
	c.address = far >> 5; /* so that the difference takes most bytes */                                            \
	end = (call);                                                                                                  \
	ck_assert_uint_le((size_t)(end - buffer), ML_RECORD_MAX)
	LONGEST(ml_put_alloc(buffer, &c, ML_DOMAIN_OBJ, UINT32_MAX, far, size));
	LONGEST(ml_put_free(buffer, &c, ML_RECORD_FREE, ML_DOMAIN_OBJ, UINT32_MAX, far));
	LONGEST(ml_put_realloc_end(buffer, &c, ML_OUTCOME_DONE, far, size));
	LONGEST(ml_put_varint(ml_put_varint(ml_put_range(buffer, &c, ML_RECORD_MAP, UINT32_MAX, far, size), size),
			      size));
	LONGEST(ml_put_range_end(buffer, &c, ML_RECORD_REMAP_END, ML_OUTCOME_DONE, far, size));
	LONGEST(ml_put_arena(buffer, &c, 1, far, size));
	LONGEST(ml_put_turn(buffer, size));
	LONGEST(ml_put_time(buffer, size, size));
	LONGEST(ml_put_base(buffer, size, size, UINT32_MAX));
#undef LONGEST
}
END_TEST

/* Each bit counts, and so does the length. */
START_TEST(test_checksum)
{
	enum { SIZE = 300 };
	uint8_t data[SIZE] = {0};
	uint64_t seen[SIZE + 1];

	for (size_t n = 0; n <= SIZE; n++) {
		seen[n] = ml_checksum(data, n);
		for (size_t k = 0; k < n; k++)
			ck_assert_uint_ne(seen[n], seen[k]);
	}
	for (size_t i = 0; i < SIZE; i++)
		for (unsigned bit = 0; bit < 8; bit++) {
			data[i] ^= (uint8_t)(1u << bit);
			ck_assert_uint_ne(ml_checksum(data, SIZE), seen[SIZE]);
			data[i] ^= (uint8_t)(1u << bit);
		}
	for (size_t i = 0; i < SIZE; i++)
		data[i] = (uint8_t)(i * 7);
	/* These values are part of the format. */
	ck_assert_uint_eq(ml_checksum(data, 0), 0x74e97d414190fb34u);
	ck_assert_uint_eq(ml_checksum(data, 37), 0xf48c3868c6ce5d8fu);
	ck_assert_uint_eq(ml_checksum(data, 300), 0x6c12c60475601508u);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("put");
	TCase *tests = tcase_create("put");
	SRunner *runner = srunner_create(suite);
	int failed;

	tcase_add_test(tests, test_varint);
	tcase_add_test(tests, test_zigzag);
	tcase_add_test(tests, test_records);
	tcase_add_test(tests, test_longest);
	tcase_add_test(tests, test_checksum);
	suite_add_tcase(suite, tests);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
