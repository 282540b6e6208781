/* What code objects say about themselves, and how two at one address are told apart. */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "tests/symbolize/fake_python.h"

static struct ml_abi abi;
static struct ml_code_text text;

static void start(int minor)
{
	fake_make((unsigned)minor);
	fake_init(&abi);
}

/* Describes a code object whose file name is this object, in a buffer of its own size, which the caller frees. */
static char *describe_file(void *file, size_t room)
{
	void *code = fake_code("", "f", 7, 10, 0);
	char *buffer = malloc(room ? room : 1);

	fake_set_word(code, fake.row->at.code_file, (uintptr_t)file);
	ck_assert_int_eq(ml_code_describe(&abi, code, buffer, room, &text), 0);
	ck_assert_ptr_eq(text.file, buffer);
	ck_assert_ptr_eq(text.name, buffer + text.file_bytes);
	ck_assert_uint_le(text.file_bytes + text.name_bytes, room);
	return buffer;
}

static void assert_file(void *file, const char *utf8)
{
	char *buffer = describe_file(file, 256);

	ck_assert_uint_eq(text.file_bytes, strlen(utf8));
	ck_assert_mem_eq(text.file, utf8, text.file_bytes);
	ck_assert_uint_eq(text.name_bytes, 1);
	ck_assert_mem_eq(text.name, "f", 1);
	free(buffer);
}

START_TEST(describes_plain_code)
{
	char buffer[64];
	void *code;

	start(_i);
	code = fake_code("/srv/app.py", "main.<locals>.f", 12, 10, 0);
	ck_assert_int_eq(ml_code_describe(&abi, code, buffer, sizeof(buffer), &text), 0);
	ck_assert_uint_eq(text.file_bytes, 11);
	ck_assert_mem_eq(text.file, "/srv/app.py", 11);
	ck_assert_uint_eq(text.name_bytes, 15);
	ck_assert_mem_eq(text.name, "main.<locals>.f", 15);
	ck_assert_uint_eq(text.table_bytes, 3);
	ck_assert_mem_eq(text.table, "\x80\x01\x02", 3);
	ck_assert_uint_eq(text.first_line, 12);
	ck_assert_uint_eq(text.flags, 3);

	fake_set_int(code, fake.row->at.code_first_line, -1);
	ck_assert_int_eq(ml_code_describe(&abi, code, buffer, sizeof(buffer), &text), 0);
	ck_assert_uint_eq(text.first_line, 0);
}
END_TEST

START_TEST(encodes_every_kind)
{
	static const uint8_t latin[] = {'c', 'a', 'f', 0xe9, 0x80, 0xff};
	static const uint16_t two[] = {0x540d, 'x', 0x7ff, 0x800, 0xffff};
	static const uint16_t surrogates[] = {0xd800, 0xdfff, 0xdc80};
	static const uint32_t four[] = {0x10437, 'x', 0xe9, 0x10ffff, 0x110000, 0xffffffff};

	start(_i);
	assert_file(fake_ascii(""), "");
	assert_file(fake_ascii("a.py"), "a.py");
	assert_file(fake_string(1, latin, 6), "caf\xc3\xa9\xc2\x80\xc3\xbf");
	assert_file(fake_string(2, two, 5), "\xe5\x90\x8dx\xdf\xbf\xe0\xa0\x80\xef\xbf\xbf");
	assert_file(fake_string(2, surrogates, 3), "\xed\xa0\x80\xed\xbf\xbf\xed\xb2\x80");
	assert_file(fake_string(4, four, 6), "\xf0\x90\x90\xb7x\xc3\xa9\xf4\x8f\xbf\xbf\xef\xbf\xbd\xef\xbf\xbd");
}
END_TEST

/* A str whose characters are not behind its header, as a subclass has. */
static void *loose_string(unsigned kind, const void *characters, size_t length, bool ascii)
{
	const struct ml_offsets *at = &fake.row->at;
	char *object = fake_block(at->unicode_compact + 8);
	char *data = fake_block(kind * length);

	memcpy(data, characters, kind * length);
	fake_set_word(object, at->object_type, (uintptr_t)&fake.unicode_type);
	fake_set_word(object, at->unicode_length, length);
	fake_set_int(object, at->unicode_state, (int32_t)(kind << 2 | (ascii ? 1u << 6 : 0)));
	fake_set_word(object, at->unicode_compact, (uintptr_t)data);
	return object;
}

START_TEST(finds_loose_characters)
{
	static const uint16_t two[] = {0x540d, 'x'};

	start(_i);
	assert_file(loose_string(1, "a.py", 4, true), "a.py");
	assert_file(loose_string(1, "\xe9", 1, false), "\xc3\xa9");
	assert_file(loose_string(2, two, 2, false), "\xe5\x90\x8dx");
}
END_TEST

/* The wchar_t string that until 3.11 may be all there is. */
START_TEST(reads_legacy_strings)
{
	static const wchar_t wide[] = {'a', 0x540d, 0x10437};
	char *object, *data;

	start(_i);
	object = fake_block(80);
	data = fake_block(sizeof(wide));
	memcpy(data, wide, sizeof(wide));
	fake_set_word(object, fake.row->at.object_type, (uintptr_t)&fake.unicode_type);
	fake_set_word(object, fake.row->at.unicode_wstr, (uintptr_t)data);
	fake_set_word(object, fake.row->at.unicode_wstr_length, 3);
	assert_file(object, "a\xe5\x90\x8d\xf0\x90\x90\xb7");
}
END_TEST

START_TEST(cuts_between_characters)
{
	static const uint16_t two[] = {0x540d, 0x540d, 0x540d, 0x540d};

	start(11);
	for (size_t room = 0; room < 40; room++) {
		char *buffer = describe_file(fake_string(2, two, 4), room);
		size_t allowed = room / 4 * 3;
		ck_assert_uint_eq(text.file_bytes, allowed > 12 ? 12 : allowed / 3 * 3);
		ck_assert_uint_eq(text.name_bytes, room > text.file_bytes);
		free(buffer);
		buffer = describe_file(fake_ascii("0123456789"), room);
		ck_assert_uint_eq(text.file_bytes, allowed > 10 ? 10 : allowed);
		ck_assert_mem_eq(text.file, "0123456789", text.file_bytes);
		free(buffer);
	}
}
END_TEST

static int describe_with(uint32_t offset, uintptr_t word)
{
	static char buffer[64];
	void *code = fake_code("a.py", "f", 1, 10, 0);

	fake_set_word(code, offset, word);
	return ml_code_describe(&abi, code, buffer, sizeof(buffer), &text);
}

START_TEST(refuses_what_makes_no_sense)
{
	const struct ml_offsets *at;
	void *bytes, *string;

	start(_i);
	at = &fake.row->at;
	bytes = fake_bytes("x", 1);
	string = fake_ascii("x");
	ck_assert_int_eq(describe_with(at->code_file, 0), -1);
	ck_assert_int_eq(describe_with(at->code_name, 0), -1);
	ck_assert_int_eq(describe_with(at->code_table, 0), -1);
	ck_assert_int_eq(describe_with(at->code_file, (uintptr_t)string + 1), -1);
	ck_assert_int_eq(describe_with(at->code_file, (uintptr_t)bytes), -1);
	ck_assert_int_eq(describe_with(at->code_name, (uintptr_t)bytes), -1);
	ck_assert_int_eq(describe_with(at->code_table, (uintptr_t)string), -1);
	ck_assert_int_eq(describe_with(at->code_table, (uintptr_t)bytes), 0);

	fake_set_word(bytes, at->object_size, (uintptr_t)-1);
	ck_assert_int_eq(describe_with(at->code_table, (uintptr_t)bytes), -1);
	fake_set_word(bytes, at->object_size, ML_DEF_MAX + 1);
	ck_assert_int_eq(describe_with(at->code_table, (uintptr_t)bytes), -1);

	fake_set_word(string, at->unicode_length, (uintptr_t)-1);
	ck_assert_int_eq(describe_with(at->code_file, (uintptr_t)string), -1);
	string = fake_ascii("x");
	fake_set_int(string, at->unicode_state, 3 << 2 | 1 << 5);
	ck_assert_int_eq(describe_with(at->code_file, (uintptr_t)string), -1);
	string = loose_string(1, "x", 1, true);
	fake_set_word(string, at->unicode_compact, 0);
	ck_assert_int_eq(describe_with(at->code_file, (uintptr_t)string), -1);
	string = fake_block(80); /* kind 0 without the wchar_t string */
	fake_set_word(string, at->object_type, (uintptr_t)&fake.unicode_type);
	ck_assert_int_eq(describe_with(at->code_file, (uintptr_t)string), -1);
	string = fake_ascii("x");
	fake_set_word(string, at->object_type, 0);
	ck_assert_int_eq(describe_with(at->code_file, (uintptr_t)string), -1);
}
END_TEST

START_TEST(fingerprints_differ)
{
	const struct ml_offsets *at;
	char *code, *table;
	uint64_t before, after;

	start(_i);
	at = &fake.row->at;
	code = fake_code("a.py", "f", 1, 10, 0);
	before = ml_code_fingerprint(&abi, code);
	ck_assert_uint_ne(before, 0);
	ck_assert_uint_eq(ml_code_fingerprint(&abi, code), before);

	fake_set_int(code, at->code_first_line, 2);
	after = ml_code_fingerprint(&abi, code);
	ck_assert_uint_ne(after, before);
	before = after;
	fake_set_word(code, at->code_file, (uintptr_t)fake_ascii("a.py"));
	after = ml_code_fingerprint(&abi, code);
	ck_assert_uint_ne(after, before);
	before = after;
	fake_set_word(code, at->code_name, (uintptr_t)fake_ascii("f"));
	after = ml_code_fingerprint(&abi, code);
	ck_assert_uint_ne(after, before);
	if (at->code_version) {
		before = after;
		fake_set_int(code, at->code_version, 77);
		ck_assert_uint_ne(ml_code_fingerprint(&abi, code), before);
		fake_set_int(code, at->code_version, 0);
	}

	/* Without a version, other contents in the same places count too. */
	before = ml_code_fingerprint(&abi, code);
	table = (char *)ml_load_word(code, at->code_table);
	table[at->bytes_data + 2] ^= 1;
	after = ml_code_fingerprint(&abi, code);
	ck_assert_uint_ne(after, before);
	before = after;
	((char *)ml_load_word(code, at->code_file))[at->unicode_ascii] = 'b';
	after = ml_code_fingerprint(&abi, code);
	ck_assert_uint_ne(after, before);
	before = after;
	fake_set_word(code, at->code_consts, (uintptr_t)table);
	after = ml_code_fingerprint(&abi, code);
	ck_assert_uint_ne(after, before);
	before = after;
	/* A table or name that makes no sense is no reason to fail: what is wrong is said by ml_code_describe(). */
	fake_set_word(code, at->code_table, 0);
	fake_set_word(code, at->code_file, 0);
	ck_assert_uint_ne(ml_code_fingerprint(&abi, code), before);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("code");
	TCase *tcase = tcase_create("code");
	SRunner *runner;
	int failed;

	tcase_add_checked_fixture(tcase, NULL, fake_drop);
	tcase_add_loop_test(tcase, describes_plain_code, FAKE_OLDEST, FAKE_NEWEST + 1);
	tcase_add_loop_test(tcase, encodes_every_kind, FAKE_OLDEST, FAKE_NEWEST + 1);
	tcase_add_loop_test(tcase, finds_loose_characters, FAKE_OLDEST, FAKE_NEWEST + 1);
	tcase_add_loop_test(tcase, reads_legacy_strings, FAKE_OLDEST, 12);
	tcase_add_test(tcase, cuts_between_characters);
	tcase_add_loop_test(tcase, refuses_what_makes_no_sense, FAKE_OLDEST, FAKE_NEWEST + 1);
	tcase_add_loop_test(tcase, fingerprints_differ, FAKE_OLDEST, FAKE_NEWEST + 1);
	suite_add_tcase(suite, tcase);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
