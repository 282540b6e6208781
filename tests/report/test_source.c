#include "report/source.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "tests/report/frames.h"

static void line_is(const struct ml_source *s, int line, const char *expected)
{
	size_t bytes = 0;
	const char *text = ml_source_line(s, line, &bytes);

	if (!expected) {
		ck_assert_ptr_null(text);
		return;
	}
	ck_assert_ptr_nonnull(text);
	ck_assert_uint_eq(bytes, strlen(expected));
	ck_assert_int_eq(memcmp(text, expected, bytes), 0);
}

START_TEST(test_lines)
{
	struct ml_source s;

	ml_source_set(&s, "one\n\ntwo\r\n\r\n  three ");
	ck_assert_int_eq(s.lines, 5);
	line_is(&s, 0, NULL);
	line_is(&s, 1, "one");
	line_is(&s, 2, "");
	line_is(&s, 3, "two");
	line_is(&s, 4, "");
	line_is(&s, 5, "  three ");
	line_is(&s, 6, NULL);
	line_is(&s, -1, NULL);
	ml_source_close(&s);
	line_is(&s, 1, NULL);
}
END_TEST

START_TEST(test_empty)
{
	struct ml_source s;

	ml_source_set(&s, "");
	ck_assert_int_eq(s.lines, 0);
	line_is(&s, 1, NULL);
	ck_assert_int_eq(ml_source_block_end(&s, 1), 1);
	ml_source_close(&s);
}
END_TEST

START_TEST(test_many_lines)
{
	struct ml_source s;
	char *text = calloc(30001, 2);
	int i;

	for (i = 0; i < 30000; i++)
		memcpy(text + 2 * i, "x\n", 2);
	ml_source_set(&s, text);
	ck_assert_int_eq(s.lines, 30000);
	line_is(&s, 30000, "x");
	ml_source_close(&s);
	free(text);
}
END_TEST

START_TEST(test_files)
{
	struct ml_source s;

	frames_write("a\x80\xff.py", "odd\n", 5);
	/* as CPython has the name: U+DC80, U+DCFF */
	ck_assert_int_eq(ml_source_open(&s, frames_path("a\xed\xb2\x80\xed\xb3\xbf.py")), 0);
	line_is(&s, 1, "odd");
	ck_assert_int_eq(s.modified_ns, (int64_t)FRAMES_START_NS + 5000000000);
	ml_source_close(&s);

	ck_assert_int_eq(ml_source_open(&s, frames_path("none.py")), -1);
	line_is(&s, 1, NULL);
	ck_assert_int_eq(ml_source_open(&s, frames_folder()), -1);
	ck_assert_int_eq(ml_source_open(&s, "/dev/zero"), -1);
	ck_assert_int_eq(mkfifo(frames_path("fifo"), 0600), 0);
	ck_assert_int_eq(ml_source_open(&s, frames_path("fifo")), -1); /* and doesn't wait for a writer */
	ml_source_close(&s);
}
END_TEST

/* What inspect.getsourcelines() says of the same texts, but for comments at the end. */
static const struct {
	const char *text;
	int first, last;
} blocks[] = {
	{"def f():\n    a\n    b\nc\n", 1, 3},
	{"def f():\n    a\n\n    # x\n\nc\n", 1, 2},
	{"def f():\n    a\n\n# at the margin\n    b\nc\n", 1, 5},
	{"def f(): return 1\nc\n", 1, 1},
	{"@deco\n@deco(\n  1)\ndef f():\n    a\nc\n", 1, 5},
	{"@deco\n\n# x\ndef f():\n    a\nc\n", 1, 5},
	{"def f(\n    a,\n):\n    a\nc\n", 1, 4},
	{"    def f():\n        a\n    c\n", 1, 2},
	{"class C:\n    def m(self):\n        a\n\n    x = 1\nc\n", 1, 5},
	{"class C:\n    def m(self):\n        a\n\n    x = 1\nc\n", 2, 3},
	{"def f():\n    a = '''\nno end\n'''\n    b\nc\n", 1, 5},
	{"def f():\n    a = \"\"\"\nno 'end\n\\\"\"\"\n\"\"\"\n    b\nc\n", 1, 6},
	{"def f():\n    a = 'x\\\ny'\n    b\nc\n", 1, 4},
	{"def f():\n    a = 1 + \\\n2\n    b\nc\n", 1, 4},
	{"def f():\n    a = '#'  # ( [\n    b\nc\n", 1, 3},
	{"def f():\n    a = [\n1,\n]\n    b\nc\n", 1, 5},
	{"def f():\n\ta\n        b\nc\n", 1, 3},
	{"def f():\n    return 1\n", 1, 2},
	{"def f():\n    return 1", 1, 2},
	{"async def f():\n    await g(\n    )\n\n\n\nx", 1, 3},
	{"def f():\n    a = ''\n    b = \"\"\n    c = '''x'''\nd\n", 1, 4},
	{"def f():\n    a = 'unfinished\n    b\nc\n", 1, 3},
	{"def f():\n    a = (\n", 1, 2},
	{"x = 1\ny = lambda: (\n  1)\nz\n", 2, 3},
};

START_TEST(test_block_end)
{
	struct ml_source s;

	ml_source_set(&s, blocks[_i].text);
	ck_assert_msg(ml_source_block_end(&s, blocks[_i].first) == blocks[_i].last, "%s: %d, not %d", blocks[_i].text,
		      ml_source_block_end(&s, blocks[_i].first), blocks[_i].last);
	ck_assert_int_eq(ml_source_block_end(&s, 1000), 1000);
	ml_source_close(&s);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("source");
	TCase *tests = tcase_create("source");
	SRunner *runner = srunner_create(suite);
	int failed;

	frames_folder();
	tcase_add_test(tests, test_lines);
	tcase_add_test(tests, test_empty);
	tcase_add_test(tests, test_many_lines);
	tcase_add_test(tests, test_files);
	tcase_add_loop_test(tests, test_block_end, 0, (int)(sizeof(blocks) / sizeof(blocks[0])));
	suite_add_tcase(suite, tests);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
