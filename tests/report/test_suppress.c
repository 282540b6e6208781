#include "report/suppress.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* As LeakSanitizer has it: https://github.com/google/sanitizers/wiki/AddressSanitizerLeakSanitizer#suppressions */
START_TEST(test_matches)
{
	static const struct {
		const char *pattern;
		const char *text;
		bool matches;
	} cases[] = {
		{"foo", "foo", true},
		{"foo", "a foo b", true},
		{"foo", "fo", false},
		{"foo", "", false},
		{"", "x", true},
		{"^foo", "foobar", true},
		{"^foo", "a foo", false},
		{"foo$", "a foo", true},
		{"foo$", "foobar", false},
		{"foo$", "foo foo", true},
		{"^foo$", "foo", true},
		{"^foo$", "foofoo", false},
		{"^foo$", "xfoo", false},
		{"a*b", "xaxxbx", true},
		{"a*b", "b a", false},
		{"a*b$", "a b c", false},
		{"a*b$", "a b c b", true},
		{"^a*b*c$", "abc", true},
		{"^a*b*c$", "a1b2c", true},
		{"^a*b*c$", "a1c2b", false},
		{"*", "", true},
		{"^*$", "x", true},
		{"a**b", "ab", true},
		{"aa*aa$", "aaa", false},
		{"a.c", "abc", false},
		{"$", "x", true},
		{"^$", "x", false},
		{"^$", "", true},
	};

	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
		ck_assert_msg(ml_suppress_matches(cases[i].pattern, cases[i].text) == cases[i].matches, "%s on %s",
			      cases[i].pattern, cases[i].text);
}
END_TEST

static int read_text(struct ml_suppressions *s, const char *text, char **error)
{
	char path[] = "/tmp/memline-test-suppress-XXXXXX";
	int fd = mkstemp(path), status;

	ck_assert_int_eq(write(fd, text, strlen(text)), (ssize_t)strlen(text));
	close(fd);
	status = ml_suppress_read(s, path, error);
	unlink(path);
	return status;
}

START_TEST(test_read)
{
	struct ml_suppressions s = {0};
	char *error;

	ck_assert_int_eq(read_text(&s, "# no\n\nleak:one\r\n  leak:two words\n#leak:no\nleak:last", &error), 0);
	ck_assert_uint_eq(s.n, 3);
	ck_assert_str_eq(s.items[0].pattern, "one");
	ck_assert_str_eq(s.items[1].pattern, "two words");
	ck_assert_str_eq(s.items[2].pattern, "last");
	ck_assert_int_eq(read_text(&s, "leak:more\nrace:other\n", &error), -1);
	ck_assert_ptr_nonnull(strstr(error, "line 2 is no suppression"));
	free(error);
	ck_assert_int_eq(read_text(&s, "leak:\n", &error), -1);
	free(error);
	ck_assert_int_eq(ml_suppress_read(&s, "/nonexistent/file", &error), -1);
	ck_assert_ptr_nonnull(strstr(error, "/nonexistent/file: No such file"));
	free(error);
	ml_suppress_free(&s);
}
END_TEST

/* Two stacks of Python and one of native code: the innermost call that matches decides, and the first suppression. */
START_TEST(test_find)
{
	struct ml_call calls[] = {{"main", "/srv/app.py", 1, 1}, {"leaf", "/srv/lib.py", 2, 2}, {"take", NULL, 0, 0}};
	struct ml_frame frames[] = {{.kind = ML_NODE_PYTHON, .first_call = 0, .calls_n = 1},
				    {.kind = ML_NODE_PYTHON, .first_call = 1, .calls_n = 1},
				    {.kind = ML_NODE_NATIVE, .object = 0, .first_call = 2, .calls_n = 1}};
	struct ml_stack items[] = {{.frame = 0}, {.frame = 0}, {.parent = 1, .frame = 1}, {.parent = 0, .frame = 2}};
	struct ml_stacks stacks = {
		.items = items, .n = 4, .frames = frames, .frames_n = 3, .calls = calls, .calls_n = 3};
	struct ml_object object = {.path = (char *)"/usr/lib/libz.so.1", .name = (char *)"libz"};
	struct ml_objects objects = {.objects = &object, .n = 1};
	struct ml_hold holds[4] = {{.held = {{0}}},
				   {.held = {{10, 1, 0, 0}, {0}}},
				   {.held = {{20, 2, 0, 0}, {40, 1, 0, 0}}},
				   {.held = {{70, 7, 0, 0}, {0}}}};
	struct ml_holds h = {holds, 4};
	struct ml_suppressions s = {0};
	char *error;
	bool *found;

	ck_assert_int_eq(read_text(&s, "leak:app.py\nleak:^leaf\nleak:lib\nleak:libz.so\nleak:nobody\n", &error), 0);
	found = ml_suppress_find(&s, &h, &stacks, &objects);
	ck_assert(!found[0] && found[1] && found[2] && found[3]);
	ck_assert_uint_eq(s.items[0].held.bytes, 10);
	ck_assert_uint_eq(s.items[1].held.bytes, 60);
	ck_assert_uint_eq(s.items[1].held.blocks, 3);
	ck_assert_uint_eq(s.items[2].held.bytes, 70);
	ck_assert_uint_eq(s.items[3].held.bytes + s.items[4].held.bytes, 0);
	free(found);
	ml_suppress_free(&s);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("suppress");
	TCase *tests = tcase_create("suppress");
	SRunner *runner = srunner_create(suite);
	int failed;

	tcase_add_test(tests, test_matches);
	tcase_add_test(tests, test_read);
	tcase_add_test(tests, test_find);
	suite_add_tcase(suite, tests);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
