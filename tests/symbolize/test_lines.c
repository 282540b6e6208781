/* Line tables made by real interpreters (make_line_tables.py) and damaged ones. Run from the top of the tree. */
#include "symbolize/python/lines.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *const versions[] = {"3.8", "3.9", "3.10", "3.11", "3.12", "3.13", "3.14", "3.15"};
#define VERSIONS ((int)(sizeof(versions) / sizeof(versions[0])))

/* A code object of a data file. The table is in a block of its own size, so that a sanitizer sees a read behind it. */
struct sample {
	struct ml_lines lines;
	int last;
	char name[256];
	long places;
};

static uint8_t *from_hex(const char *hex, size_t *bytes)
{
	size_t i;
	uint8_t *table;

	*bytes = *hex == '-' ? 0 : strlen(hex) / 2;
	table = malloc(*bytes ? *bytes : 1);
	ck_assert_ptr_nonnull(table);
	for (i = 0; i < *bytes; i++) {
		unsigned byte;
		ck_assert_int_eq(sscanf(hex + 2 * i, "%2x", &byte), 1);
		table[i] = (uint8_t)byte;
	}
	return table;
}

/* Reads the next code object's head line; 0 at the end of the file. The text stays the caller's. */
static int read_code(const char *text, enum ml_line_table kind, struct sample *s)
{
	static char hex[1 << 16];

	if (sscanf(text, "code %d %d %65535s %255s", &s->lines.first_line, &s->last, hex, s->name) != 4)
		return 0;
	free((void *)s->lines.table);
	s->lines.kind = kind;
	s->lines.table = from_hex(hex, &s->lines.bytes);
	return 1;
}

static FILE *open_data(int version, enum ml_line_table *kind)
{
	char path[64];
	int number;
	FILE *f;

	snprintf(path, sizeof(path), "tests/data/lines-%s.txt", versions[version]);
	f = fopen(path, "r");
	ck_assert_msg(f != NULL, "cannot open %s", path);
	ck_assert_int_eq(fscanf(f, "version %d\n", &number), 1);
	*kind = (enum ml_line_table)number;
	return f;
}

START_TEST(test_agrees_with_interpreter)
{
	static char text[1 << 16];
	enum ml_line_table kind;
	FILE *f = open_data(_i, &kind);
	struct sample s = {0};
	long codes = 0, places = 0;

	while (fgets(text, sizeof(text), f)) {
		long place;
		int line;

		if (read_code(text, kind, &s)) {
			codes++;
			ck_assert_msg(ml_lines_last(&s.lines) == s.last, "%s %s: last line %d, not %d", versions[_i],
				      s.name, ml_lines_last(&s.lines), s.last);
			continue;
		}
		ck_assert_int_eq(sscanf(text, "%ld %d", &place, &line), 2);
		places++;
		ck_assert_msg(ml_lines_find(&s.lines, place) == line, "%s %s place %ld: line %d, not %d", versions[_i],
			      s.name, place, ml_lines_find(&s.lines, place), line);
		/* an address within the instruction */
		ck_assert_int_eq(ml_lines_find(&s.lines, place + 1), line);
	}
	ck_assert_int_ge(codes, 20);
	ck_assert_int_ge(places, 1500);
	free((void *)s.lines.table);
	fclose(f);
}
END_TEST

START_TEST(test_before_first_instruction)
{
	static char text[1 << 16];
	enum ml_line_table kind;
	FILE *f = open_data(_i, &kind);
	struct sample s = {0};

	while (fgets(text, sizeof(text), f)) {
		if (!read_code(text, kind, &s))
			continue;
		ck_assert_int_eq(ml_lines_find(&s.lines, -1), s.lines.first_line);
		ck_assert_int_eq(ml_lines_find(&s.lines, INT64_MIN), s.lines.first_line);
	}
	free((void *)s.lines.table);
	fclose(f);
}
END_TEST

/* Every table cut at every byte: lines may be wrong, reads behind the end may not happen. */
START_TEST(test_cut_tables)
{
	static char text[1 << 16];
	enum ml_line_table kind;
	FILE *f = open_data(_i, &kind);
	struct sample s = {0};

	while (fgets(text, sizeof(text), f)) {
		size_t bytes;

		if (!read_code(text, kind, &s))
			continue;
		for (bytes = 0; bytes < s.lines.bytes && bytes < 300; bytes++) {
			uint8_t *copy = malloc(bytes ? bytes : 1);
			struct ml_lines cut = {kind, s.lines.first_line, copy, bytes};

			ck_assert_ptr_nonnull(copy);
			memcpy(copy, s.lines.table, bytes);
			ck_assert_int_gt(ml_lines_find(&cut, 1 << 20), 0);
			ck_assert_int_ge(ml_lines_last(&cut), s.lines.first_line);
			free(copy);
		}
	}
	free((void *)s.lines.table);
	fclose(f);
}
END_TEST

/* Bytes that no compiler has made, read as each kind. */
START_TEST(test_random_tables)
{
	uint32_t state = 1 + (uint32_t)_i;
	int round;

	for (round = 0; round < 20000; round++) {
		uint8_t table[64];
		struct ml_lines lines = {ML_LINES_NONE, 1, table, 0};
		size_t i;

		state = state * 1664525 + 1013904223;
		lines.kind = (enum ml_line_table)(round & 3);
		lines.bytes = state >> 26;
		for (i = 0; i < lines.bytes; i++) {
			state = state * 1664525 + 1013904223;
			table[i] = (uint8_t)(state >> 24);
		}
		ck_assert_int_gt(ml_lines_find(&lines, state >> 22), 0);
		ck_assert_int_gt(ml_lines_last(&lines), 0);
	}
}
END_TEST

START_TEST(test_empty)
{
	int kind;

	for (kind = ML_LINES_NONE; kind <= ML_LINES_LOCATIONS; kind++) {
		struct ml_lines lines = {(enum ml_line_table)kind, 42, NULL, 0};
		ck_assert_int_eq(ml_lines_find(&lines, 0), 42);
		ck_assert_int_eq(ml_lines_find(&lines, 100), 42);
		ck_assert_int_eq(ml_lines_last(&lines), 42);
	}
}
END_TEST

/* The documented form by hand: a table of each kind whose every byte is explained. */
START_TEST(test_by_hand)
{
	/* 3.8: 6 bytes of line 10, then 4 of line 12, 2 of line 11, the rest of line 11 + 127 + 1 */
	const uint8_t lnotab[] = {6, 2, 4, 0xff, 2, 127, 0, 1};
	/* 3.10: nothing of line 10, 6 bytes of line 11, 2 without a line, 4 of line 9 */
	const uint8_t linetable[] = {0, 0, 6, 1, 2, 128, 4, 0xfe};
	/* 3.11: 8 units two lines on with columns, 1 unit without a line, 2 units 33 lines back, up to 5 lines long */
	const uint8_t locations[] = {0x80 | 12 << 3 | 7, 1, 2, 0x80 | 15 << 3, 0x80 | 14 << 3 | 1, 67, 1, 5, 1, 1};
	struct ml_lines a = {ML_LINES_LNOTAB, 10, lnotab, sizeof(lnotab)};
	struct ml_lines b = {ML_LINES_LINETABLE, 10, linetable, sizeof(linetable)};
	struct ml_lines c = {ML_LINES_LOCATIONS, 100, locations, sizeof(locations)};

	ck_assert_int_eq(ml_lines_find(&a, 4), 10);
	ck_assert_int_eq(ml_lines_find(&a, 6), 12);
	ck_assert_int_eq(ml_lines_find(&a, 10), 11);
	ck_assert_int_eq(ml_lines_find(&a, 12), 139);
	ck_assert_int_eq(ml_lines_find(&a, 9999), 139);
	ck_assert_int_eq(ml_lines_last(&a), 139);

	ck_assert_int_eq(ml_lines_find(&b, 0), 11);
	ck_assert_int_eq(ml_lines_find(&b, 6), 10);
	ck_assert_int_eq(ml_lines_find(&b, 8), 9);
	ck_assert_int_eq(ml_lines_find(&b, 12), 10);
	ck_assert_int_eq(ml_lines_last(&b), 11);

	ck_assert_int_eq(ml_lines_find(&c, 15), 102);
	ck_assert_int_eq(ml_lines_find(&c, 16), 100);
	ck_assert_int_eq(ml_lines_find(&c, 18), 69);
	ck_assert_int_eq(ml_lines_find(&c, 21), 69);
	ck_assert_int_eq(ml_lines_find(&c, 22), 100);
	ck_assert_int_eq(ml_lines_last(&c), 102);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("lines");
	TCase *tests = tcase_create("lines");
	SRunner *runner = srunner_create(suite);
	int failed;

	tcase_add_loop_test(tests, test_agrees_with_interpreter, 0, VERSIONS);
	tcase_add_loop_test(tests, test_before_first_instruction, 0, VERSIONS);
	tcase_add_loop_test(tests, test_cut_tables, 0, VERSIONS);
	tcase_add_loop_test(tests, test_random_tables, 0, 4);
	tcase_add_test(tests, test_empty);
	tcase_add_test(tests, test_by_hand);
	suite_add_tcase(suite, tests);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
