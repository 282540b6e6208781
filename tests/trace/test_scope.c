#include "trace/scope.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>

START_TEST(test_match)
{
	static const struct {
		const char *glob, *text;
		int matches;
	} cases[] = {
		{"", "", 1},
		{"", "a", 0},
		{"a", "", 0},
		{"abc", "abc", 1},
		{"abc", "abcd", 0},
		{"abcd", "abc", 0},
		{"*", "", 1},
		{"*", "any/thing", 1},
		{"**", "any/thing", 1},
		{"a*c", "abbbc", 1},
		{"a*c", "abbbcd", 0},
		{"a*b*c", "aXbXbXc", 1},
		{"a*b*c", "aXcXb", 0},
		{"*.py", "/srv/app/x.py", 1},
		{"*.py", "/srv/app/x.pyc", 0},
		{"/srv/**/x.py", "/srv/a/b/x.py", 1},
		{"?", "a", 1},
		{"?", "", 0},
		{"a?c", "a/c", 1},
		{"[a-c]x", "bx", 1},
		{"[a-c]x", "dx", 0},
		{"[!a-c]x", "dx", 1},
		{"[^a-c]x", "bx", 0},
		{"[]]", "]", 1},
		{"[!]]", "]", 0},
		{"[]-a]", "^", 1},
		{"[a-]", "-", 1},
		{"[a\\]b]", "]", 1},
		{"[ab", "[ab", 1},
		{"[ab", "a", 0},
		{"x[", "x[", 1},
		{"*[0-9]", "line7", 1},
		{"*[0-9]", "7line", 0},
		{"\\*", "*", 1},
		{"\\*", "a", 0},
		{"\\", "\\", 1},
		{"\\?x", "?x", 1},
		{"[\xc3-\xc4]?", "\xc3\xa9", 1},
	};
	size_t i;

	for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		ck_assert_msg(ml_scope_match(cases[i].glob, cases[i].text) == cases[i].matches, "%s on %s",
			      cases[i].glob, cases[i].text);
}
END_TEST

/* The classic that takes exponential time where every star is tried again. */
START_TEST(test_match_is_fast)
{
	char glob[256] = "", text[1024];
	int i;

	for (i = 0; i < 60; i++)
		strcat(glob, "a*");
	strcat(glob, "b");
	memset(text, 'a', sizeof(text));
	text[sizeof(text) - 1] = 0;
	ck_assert(!ml_scope_match(glob, text));
}
END_TEST

/* The property that the matcher stands on, against the plainest matcher there is. */
static int match_slowly(const char *glob, const char *text)
{
	if (*glob == '*')
		return match_slowly(glob + 1, text) || (*text && match_slowly(glob, text + 1));
	if (!*glob || !*text)
		return *glob == *text;
	return (*glob == '?' || *glob == *text) && match_slowly(glob + 1, text + 1);
}

START_TEST(test_match_agrees_with_slow_one)
{
	uint32_t state = 7;
	int round, matched = 0;

	for (round = 0; round < 200000; round++) {
		char glob[8], text[8];
		int i;

		for (i = 0; i < 7; i++) {
			state = state * 1664525 + 1013904223;
			glob[i] = "ab*?a*"[(state >> 24) % 6];
			text[i] = "aabb"[(state >> 16) % 4];
		}
		glob[state % 7] = 0;
		text[state / 7 % 7] = 0;
		matched += match_slowly(glob, text);
		ck_assert_msg(ml_scope_match(glob, text) == match_slowly(glob, text), "%s on %s", glob, text);
	}
	ck_assert_int_gt(matched, 1000);
}
END_TEST

START_TEST(test_has)
{
	static const struct {
		const char *globs, *root, *program, *file;
		int in;
	} cases[] = {
		/* auto: below the root */
		{NULL, "/srv/app", "file:/srv/app/main.py", "/srv/app/main.py", 1},
		{"", "/srv/app", "file:/srv/app/main.py", "/srv/app/a/b.py", 1},
		{"auto", "/srv/app", "file:/srv/app/main.py", "/srv/app2/b.py", 0},
		{"auto", "/srv/app", "file:/srv/app/main.py", "/srv/app", 0},
		{"auto", "/srv/app/", "file:/srv/app/main.py", "/srv/app/x.py", 1},
		{"auto", "/", "file:/x.py", "/x.py", 1},
		{"auto", NULL, NULL, "/x.py", 1},
		/* auto: not what others wrote */
		{"auto", "/srv/app", NULL, "/srv/app/.venv/lib/x.py", 0},
		{"auto", "/srv/app", NULL, "/srv/app/env/lib/python3.11/site-packages/x.py", 0},
		{"auto", "/srv/app", NULL, "/srv/app/.python_packages/lib/site-packages/x.py", 0},
		{"auto", "/", NULL, "/usr/lib/python3/dist-packages/x.py", 0},
		{"auto", "/", NULL, "/usr/lib/python3.11/json/decoder.py", 0},
		{"auto", "/", NULL, "/usr/lib64/python3.9/json/decoder.py", 0},
		{"auto", "/", NULL, "/opt/lib/python3.13t/os.py", 0},
		{"auto", "/", NULL, "/opt/lib/python311.zip/os.py", 0},
		{"auto", "/usr/lib/python3.11/test", NULL, "/usr/lib/python3.11/test/x.py", 0},
		{"auto", "/", NULL, "/home/u/lib/python3-app/x.py", 1},
		{"auto", "/", NULL, "/home/u/lib/python3./x.py", 1},
		{"auto", "/", NULL, "/home/u/lib/python3.11", 1},
		{"auto", "/", NULL, "/home/u/python3.11/x.py", 1},
		/* auto: a root inside of such a folder is the user's wish */
		{"auto", "/srv/.venv/bin", NULL, "/srv/.venv/bin/tool.py", 1},
		{"auto", "/srv/app", NULL, "/srv/app/site-packages", 1},
		/* names in angle brackets */
		{"auto", "/srv/app", "command", "<string>", 1},
		{"auto", "/srv/app", "stdin", "<stdin>", 1},
		{"auto", "/srv/app", "stdin", "<string>", 0},
		{"auto", "/srv/app", "command", "<stdin>", 0},
		{"auto", "/srv/app", "module:x", "<string>", 0},
		{"auto", "/srv/app", NULL, "<string>", 0},
		{"auto", "/", "command", "<frozen importlib._bootstrap>", 0},
		{"*", "/", "command", "<frozen importlib._bootstrap>", 0},
		{"*", "/", "command", "<string>", 1},
		{"/srv/*", "/srv", "command", "<string>", 0},
		/* globs: whole paths */
		{"/srv/*.py", "/x", NULL, "/srv/a/b.py", 1},
		{"*/b.py", "/x", NULL, "/srv/a/b.py", 1},
		{"/srv", "/x", NULL, "/srv/a/b.py", 1},
		{"/srv", "/x", NULL, "/srv2/a/b.py", 0},
		{"/s*", "/x", NULL, "/srv/a/b.py", 1},
		{"*/site-packages/numpy", "/x", NULL, "/v/lib/python3.11/site-packages/numpy/core.py", 1},
		/* globs: below the root, and file names */
		{"a/*.py", "/srv", NULL, "/srv/a/b.py", 1},
		{"a/*.py", "/srv", NULL, "/other/a/b.py", 0},
		{"a", "/srv", NULL, "/srv/a/b.py", 1},
		{"b.py", "/srv", NULL, "/other/a/b.py", 1},
		{"a", "/srv", NULL, "/other/a/b.py", 0},
		{"a/b.py", NULL, NULL, "/a/b.py", 0},
		/* lists */
		{"/a/*:/b/*", "/", NULL, "/b/x.py", 1},
		{"/a/*:/b/*", "/", NULL, "/c/x.py", 0},
		{"/a/*:auto", "/srv", NULL, "/srv/x.py", 1},
		{"auto:/a/*", "/srv", NULL, "/a/x.py", 1},
		{":/a/*:", "/srv", NULL, "/a/x.py", 1},
		{":", "/srv", NULL, "/srv/x.py", 0},
		{"/a\\:b/*", "/srv", NULL, "/a:b/x.py", 1},
		{"/a\\:b/*", "/srv", NULL, "b/x.py", 0},
	};
	size_t i;

	for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct ml_scope scope = {cases[i].globs, cases[i].root, cases[i].program};
		ck_assert_msg(ml_scope_has(&scope, cases[i].file) == cases[i].in, "case %zu: %s below %s: %s", i,
			      cases[i].globs ? cases[i].globs : "", cases[i].root ? cases[i].root : "", cases[i].file);
	}
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("scope");
	TCase *tests = tcase_create("scope");
	SRunner *runner = srunner_create(suite);
	int failed;

	tcase_add_test(tests, test_match);
	tcase_add_test(tests, test_match_is_fast);
	tcase_add_test(tests, test_match_agrees_with_slow_one);
	tcase_add_test(tests, test_has);
	suite_add_tcase(suite, tests);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
