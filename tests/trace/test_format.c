#include "trace/format.h"

#include <check.h>
#include <stddef.h>
#include <stdlib.h>

/* Where each field is in the file: a change here is another version of the format. */
START_TEST(test_layout)
{
#define AT(type, field, offset) ck_assert_uint_eq(offsetof(struct type, field), offset)
	AT(ml_header, magic, 0);
	AT(ml_header, version, 8);
	AT(ml_header, byte_order, 12);
	AT(ml_header, header_bytes, 16);
	AT(ml_header, counters, 20);
	AT(ml_header, directory, 24);
	AT(ml_header, directory_bytes, 32);
	AT(ml_header, flags, 40);
	AT(ml_header, stop, 44);
	AT(ml_header, stop_errno, 48);
	AT(ml_header, end, 52);
	AT(ml_header, exit_status, 56);
	AT(ml_header, counter, 64);
	AT(ml_extent, offset, 0);
	AT(ml_extent, length, 8);
	AT(ml_extent, kind, 16);
	AT(ml_extent, id, 20);
	AT(ml_extent, sequence, 24);
	AT(ml_def, length, 0);
	AT(ml_def, kind, 4);
	AT(ml_def_code, id, 8);
	AT(ml_def_code, first_line, 12);
	AT(ml_def_code, file_bytes, 16);
	AT(ml_def_code, name_bytes, 20);
	AT(ml_def_code, table_bytes, 24);
	AT(ml_def_code, code_flags, 28);
	AT(ml_def_module, id, 8);
	AT(ml_def_module, epoch, 12);
	AT(ml_def_module, base, 16);
	AT(ml_def_module, start, 24);
	AT(ml_def_module, end, 32);
	AT(ml_def_module, path_bytes, 40);
	AT(ml_def_module, build_id_bytes, 44);
	AT(ml_node, parent, 0);
	AT(ml_node, subject, 4);
	AT(ml_node, place, 8);
	AT(ml_piece, state, 0);
	AT(ml_piece, ring, 8);
	AT(ml_piece, checksum, 16);
	AT(ml_piece, first_turn, 24);
	AT(ml_piece, last_turn, 32);
	AT(ml_piece, first_ns, 40);
	AT(ml_piece, last_ns, 48);
	AT(ml_piece, tid, 56);
#undef AT
}
END_TEST

START_TEST(test_subject)
{
	static const enum ml_node_kind kinds[] = {ML_NODE_PYTHON, ML_NODE_NATIVE, ML_NODE_MARK};
	static const uint32_t numbers[] = {0, 1, ML_SUBJECT_NUMBERS - 1};

	for (size_t i = 0; i < 3; i++)
		for (size_t k = 0; k < 3; k++) {
			uint32_t subject = ML_SUBJECT(kinds[i], numbers[k]);
			ck_assert_uint_eq(ML_SUBJECT_KIND(subject), kinds[i]);
			ck_assert_uint_eq(ML_SUBJECT_NUMBER(subject), numbers[k]);
			ck_assert_uint_ne(subject, 0);
		}
}
END_TEST

START_TEST(test_state)
{
	uint64_t state = ML_PIECE_STATE(0xffffffffu, 0xfffffffeu);

	ck_assert_uint_eq(ML_PIECE_SEQUENCE(state), 0xffffffffu);
	ck_assert_uint_eq(ML_PIECE_USED(state), 0xfffffffeu);
	ck_assert_uint_eq(ML_PIECE_STATE(0, 0), 0);
}
END_TEST

/* The code of a record and its flags share one byte. */
START_TEST(test_head)
{
	uint16_t seen = 0;

#define X(name, code, text)                                                                                            \
	ck_assert_uint_eq(ML_REC_CODE((code) | 0xf0u), (unsigned)(code));                                              \
	ck_assert_uint_eq(seen >> (code)&1, 0);                                                                        \
	seen |= (uint16_t)(1u << (code));
	ML_RECORD_LIST(X)
#undef X
	ck_assert_uint_eq(seen >> ML_RECORD_ALLOC_SLOT & 1, 0);
	ck_assert_uint_eq(ML_RECORD_OTHER, 0); /* a byte of zeros is no record, since it names none of the others */
	ck_assert_uint_eq(ML_REC_CODE(ML_RECORD_ALLOC_SLOT | 0xf0u), ML_RECORD_ALLOC_SLOT);
	ck_assert_uint_eq((ML_REC_SAME_NODE | ML_REC_SAME_SIZE) & 0x3fu, 0);
	ck_assert_uint_eq(ML_REC_DOMAIN(ML_DOMAIN_OBJ << 4 | ML_REC_SAME_NODE | ML_REC_SAME_SIZE), ML_DOMAIN_OBJ);
	ck_assert_uint_eq(ML_REC_OUTCOME(ML_OUTCOME_FREED << 4 | ML_REC_SAME_SIZE), ML_OUTCOME_FREED);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("format");
	TCase *tests = tcase_create("format");
	SRunner *runner = srunner_create(suite);
	int failed;

	tcase_add_test(tests, test_layout);
	tcase_add_test(tests, test_subject);
	tcase_add_test(tests, test_state);
	tcase_add_test(tests, test_head);
	suite_add_tcase(suite, tests);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
