#include "report/dump.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "report/memory.h"
#include "tests/report/golden.h"

/*
 * The golden files of version 1 of the format. They are never changed: a reader reads what was recorded once. After a
 * change of what memline dump prints, the texts are written anew with ML_WRITE_GOLDEN=1 in the environment.
 */
static const struct {
	const char *name;
	void (*make)(struct build *b);
} golden[] = {
	{"tests/data/all-records-1", golden_all_records},
	{"tests/data/rings-1", golden_rings},
};

static char *read_file(const char *name, const char *ending, size_t *length)
{
	char *path = ml_memory_print("%s.%s", name, ending), *text = NULL;
	FILE *file = fopen(path, "rb");
	size_t room = 1 << 16;

	ck_assert_msg(file != NULL, "%s is not there", path);
	text = malloc(room);
	*length = fread(text, 1, room, file);
	ck_assert_uint_lt(*length, room);
	fclose(file);
	free(path);
	return text;
}

static char *dump(const char *path, unsigned parts, size_t *length)
{
	char *text, *error;
	struct ml_trace *t = ml_load_open(path, &error);
	const struct ml_moment *moments;
	FILE *out = open_memstream(&text, length);

	ck_assert_ptr_nonnull(t);
	while (ml_load_next(t, &moments)) /* so that all damage is known */
		;
	ck_assert_int_eq(ml_dump(t, parts, NULL, out), 0);
	fclose(out);
	ml_load_close(t);
	return text;
}

static void check_same(const char *got, size_t got_bytes, const char *name, const char *ending)
{
	size_t length;
	char *expected = read_file(name, ending, &length);

	for (size_t i = 0; i < length && i < got_bytes; i++)
		ck_assert_msg(got[i] == expected[i], "%s.%s differs at byte %zu", name, ending, i);
	ck_assert_uint_eq(got_bytes, length);
	free(expected);
}

/* The builder, which writes with trace/put.h, still writes what it wrote when the file was made. */
START_TEST(test_bytes)
{
	struct build *b = build_new();
	const uint8_t *bytes;
	size_t length;

	golden[_i].make(b);
	bytes = build_bytes(b, &length);
	if (getenv("ML_WRITE_GOLDEN")) {
		char *path = ml_memory_print("%s.memline", golden[_i].name);
		build_save(path, bytes, length);
		free(path);
	}
	check_same((const char *)bytes, length, golden[_i].name, "memline");
	build_done(b);
}
END_TEST

START_TEST(test_text)
{
	char *path = ml_memory_print("%s.memline", golden[_i].name), *text;
	size_t length;

	text = dump(path, ML_DUMP_DEFS | ML_DUMP_NODES | ML_DUMP_EVENTS, &length);
	free(path);
	if (getenv("ML_WRITE_GOLDEN")) {
		path = ml_memory_print("%s.txt", golden[_i].name);
		build_save(path, text, length);
		free(path);
	}
	check_same(text, length, golden[_i].name, "txt");
	free(text);
}
END_TEST

/* Without them, no line of a part is there. */
START_TEST(test_parts)
{
	static const struct {
		unsigned part;
		const char *line;
	} parts[] = {{0, "\nmeta pid = 1\n"},
		     {0, "\nextent ring "},
		     {ML_DUMP_DEFS, "\ncode 0 "},
		     {ML_DUMP_NODES, "\nnode 1 "},
		     {ML_DUMP_EVENTS, " base turn "}};

	for (unsigned asked = 0; asked < 8; asked++) {
		size_t length;
		char *text = dump("tests/data/all-records-1.memline", asked, &length);
		for (size_t i = 0; i < sizeof parts / sizeof *parts; i++)
			ck_assert_int_eq(strstr(text, parts[i].line) != NULL, (parts[i].part & asked) == parts[i].part);
		free(text);
	}
}
END_TEST

/* Text that the process chose cannot forge lines or reach the terminal. */
START_TEST(test_text_is_escaped)
{
	struct build *b = build_new();
	char path[64], *text;
	size_t length;

	build_meta(b, "arg", "a\nmeta pid = 2\x1b[2J\\");
	build_code(b, "x\ty.py", "\x7f", 1, NULL, 0);
	snprintf(path, sizeof path, "/tmp/memline-test-dump-%d", (int)getpid());
	build_write(b, path);
	text = dump(path, ML_DUMP_DEFS, &length);
	unlink(path);
	ck_assert_ptr_nonnull(strstr(text, "\nmeta arg = a\\x0ameta pid = 2\\x1b[2J\\x5c\n"));
	ck_assert_ptr_nonnull(strstr(text, "\ncode 0 x\\x09y.py:1 \\x7f flags"));
	free(text);
	build_done(b);
}
END_TEST

START_TEST(test_full_disk)
{
	char *error;
	struct ml_trace *t = ml_load_open("tests/data/rings-1.memline", &error);
	FILE *out = fopen("/dev/full", "w");

	setvbuf(out, NULL, _IONBF, 0);
	ck_assert_int_eq(ml_dump(t, 0, NULL, out), -1);
	fclose(out);
	ml_load_close(t);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("dump");
	TCase *tests = tcase_create("dump");
	SRunner *runner = srunner_create(suite);
	int failed;

	tcase_add_loop_test(tests, test_bytes, 0, sizeof golden / sizeof *golden);
	tcase_add_loop_test(tests, test_text, 0, sizeof golden / sizeof *golden);
	tcase_add_test(tests, test_parts);
	tcase_add_test(tests, test_text_is_escaped);
	tcase_add_test(tests, test_full_disk);
	suite_add_tcase(suite, tests);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
