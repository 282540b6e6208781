#include <check.h>
#include <stdlib.h>

#include "preload/text.h"

START_TEST(adds_until_the_room_is_used)
{
	char data[9];
	struct ml_text t;

	memset(data, 'x', sizeof data);
	ml_text_init(&t, data, sizeof data - 1);
	ck_assert_str_eq(data, "");
	ml_text_add(&t, "abcd");
	ck_assert_str_eq(data, "abcd");
	ml_text_add(&t, "efg");
	ck_assert_str_eq(data, "abcdefg");
	ck_assert(!t.cut);
	ck_assert_uint_eq(t.used, 7);
	ml_text_add(&t, "");
	ck_assert(!t.cut);
	ml_text_add(&t, "h");
	ck_assert(t.cut);
	ck_assert_str_eq(data, "abcdefg");
	ck_assert_int_eq(data[8], 'x');
}
END_TEST

START_TEST(cuts_what_does_not_fit)
{
	char data[4] = "xxx";
	struct ml_text t;

	ml_text_init(&t, data, 1);
	ml_text_add(&t, "a");
	ck_assert(t.cut);
	ck_assert_str_eq(data, "");
	ck_assert_int_eq(data[1], 'x');
	ml_text_init(&t, data, sizeof data);
	ck_assert(!t.cut);
	ml_text_add(&t, "abcdef");
	ck_assert_str_eq(data, "abc");
	ck_assert(t.cut);
}
END_TEST

START_TEST(adds_bytes_with_nuls)
{
	char data[8];
	struct ml_text t;

	ml_text_init(&t, data, sizeof data);
	ml_text_add_bytes(&t, "a\0b", 3);
	ml_text_add_bytes(&t, "", 1);
	ck_assert_uint_eq(t.used, 4);
	ck_assert_mem_eq(data, "a\0b\0\0", 5);
}
END_TEST

START_TEST(writes_numbers)
{
	static const struct {
		uint64_t number;
		const char *text;
	} rows[] = {{0, "0"}, {7, "7"}, {10, "10"}, {4294967296, "4294967296"}, {UINT64_MAX, "18446744073709551615"}};
	char data[32];
	struct ml_text t;

	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		ml_text_init(&t, data, sizeof data);
		ml_text_add_number(&t, rows[i].number);
		ck_assert_str_eq(data, rows[i].text);
	}
	ml_text_init(&t, data, 4);
	ml_text_add_number(&t, 12345);
	ck_assert_str_eq(data, "123");
	ck_assert(t.cut);
}
END_TEST

START_TEST(reads_numbers)
{
	static const struct {
		const char *text;
		uint64_t number;
		const char *rest;
	} rows[] = {{"0", 0, ""}, {"12k", 12, "k"}, {"007 8", 7, " 8"}, {"18446744073709551615.", UINT64_MAX, "."}};

	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		const char *s = rows[i].text;
		uint64_t number = 1;
		ck_assert(ml_text_number(&s, &number));
		ck_assert_uint_eq(number, rows[i].number);
		ck_assert_str_eq(s, rows[i].rest);
	}
}
END_TEST

START_TEST(refuses_what_is_no_number)
{
	static const char *const rows[] = {
		"", "k", "-1", "+1", " 1", "18446744073709551616", "99999999999999999999999",
	};

	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		const char *s = rows[i];
		uint64_t number = 77;
		ck_assert_msg(!ml_text_number(&s, &number), "%s", rows[i]);
		ck_assert_ptr_eq(s, rows[i]);
		ck_assert_uint_eq(number, 77);
	}
}
END_TEST

int main(void)
{
	Suite *s = suite_create("text");
	TCase *c = tcase_create("text");
	SRunner *r = srunner_create(s);
	int failed;

	suite_add_tcase(s, c);
	tcase_add_test(c, adds_until_the_room_is_used);
	tcase_add_test(c, cuts_what_does_not_fit);
	tcase_add_test(c, adds_bytes_with_nuls);
	tcase_add_test(c, writes_numbers);
	tcase_add_test(c, reads_numbers);
	tcase_add_test(c, refuses_what_is_no_number);
	srunner_run_all(r, CK_NORMAL);
	failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
