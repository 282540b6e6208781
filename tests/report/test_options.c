#include "report/options.h"

#include <check.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static error_t parse(int key, char *text, struct argp_state *state)
{
	(void)text;
	if (key != ARGP_KEY_INIT)
		return ARGP_ERR_UNKNOWN;
	state->child_inputs[0] = state->child_inputs[1] = state->input;
	state->child_inputs[2] = state->child_inputs[3] = state->child_inputs[4] = state->input;
	return 0;
}

/* Words are separated by one space. */
static void read_words(struct ml_options *o, const char *words)
{
	static const struct argp_child children[] = {
		{&ml_options_select_argp, 0, NULL, 0}, {&ml_options_json_argp, 0, NULL, 0},
		{&ml_options_merge_argp, 0, NULL, 0},  {&ml_options_wide_argp, 0, NULL, 0},
		{&ml_options_native_argp, 0, NULL, 0}, {0},
	};
	static const struct argp argp = {.parser = parse, .children = children};
	static char copy[256];
	char *argv[32] = {"test"}, *word;
	int argc = 1;

	strcpy(copy, words);
	for (word = strtok(copy, " "); word; word = strtok(NULL, " "))
		argv[argc++] = word;
	ml_options_init(o);
	argp_err_exit_status = 2;
	argp_parse(&argp, argc, argv, 0, NULL, o);
}

START_TEST(test_defaults)
{
	struct ml_options o;

	read_words(&o, "");
	ck_assert_ptr_null(o.scope);
	ck_assert_uint_eq(o.fold.from_ns, 0);
	ck_assert_uint_eq(o.fold.to_ns, UINT64_MAX);
	ck_assert_uint_eq(o.fold.tid, 0);
	ck_assert(!o.fold.end_last && !o.all && !o.json && !o.merge && !o.wide);
	ck_assert_ptr_null(o.objects.sysroot);
	ck_assert_ptr_null(o.objects.debug_directory);
	ck_assert(o.objects.cache);
	ck_assert_uint_eq(o.top, 0);
	ck_assert_int_eq(o.precision, 1);
	ck_assert(ml_options_takes(&o, "anything"));
	ml_options_free(&o);
}
END_TEST

START_TEST(test_native)
{
	struct ml_options o;

	read_words(&o, "--sysroot=/srv/root --debug-dir /srv/debug --no-cache");
	ck_assert_str_eq(o.objects.sysroot, "/srv/root");
	ck_assert_str_eq(o.objects.debug_directory, "/srv/debug");
	ck_assert(!o.objects.cache);
	ml_options_free(&o);
}
END_TEST

START_TEST(test_values)
{
	struct ml_options o;

	read_words(&o, "--scope=/a/* --scope auto --function f* --function g --thread=4294967295 --from=0.5 --to 1e3 "
		       "--end=last --top 7 --all --precision=3 --json --merge --wide");
	ck_assert_str_eq(o.scope, "/a/*:auto");
	ck_assert_uint_eq(o.functions_n, 2);
	ck_assert_uint_eq(o.fold.tid, 4294967295);
	ck_assert_uint_eq(o.fold.from_ns, 500000000);
	ck_assert_uint_eq(o.fold.to_ns, 1000000000000);
	ck_assert(o.fold.end_last && o.all && o.json && o.merge && o.wide);
	ck_assert_uint_eq(o.top, 7);
	ck_assert_int_eq(o.precision, 3);
	ck_assert(ml_options_takes(&o, "f"));
	ck_assert(ml_options_takes(&o, "C.<locals>.first"));
	ck_assert(ml_options_takes(&o, "f.x"));
	ck_assert(ml_options_takes(&o, "x.g"));
	ck_assert(!ml_options_takes(&o, "g.x"));
	ck_assert(!ml_options_takes(&o, "xg"));
	ml_options_free(&o);
}
END_TEST

static const char *const wrong[] = {
	"--thread=0", "--thread=-1",     "--thread=4294967296", "--from=1e10",    "--from=-1",
	"--to=",      "--from=1 --to=0", "--from=nan",          "--to=inf",       "--end=now",
	"--top=0",    "--top=1x",        "--precision=-1",      "--precision=21", "--unknown",
	"--from=-x",
};

START_TEST(test_marks)
{
	struct ml_options o;

	read_words(&o, "--from=before --to=1x");
	ck_assert_str_eq(o.from_mark, "before");
	ck_assert_str_eq(o.to_mark, "1x");
	ml_options_free(&o);
	read_words(&o, "--from=before --to=2 --from=1");
	ck_assert_ptr_null(o.from_mark);
	ck_assert_ptr_null(o.to_mark);
	ck_assert_uint_eq(o.fold.from_ns, 1000000000);
	ml_options_free(&o);
	ck_assert(ml_options_mark("a b") && ml_options_mark("1,5") && ml_options_mark("x-"));
	ck_assert(!ml_options_mark("") && !ml_options_mark("-x") && !ml_options_mark("0x10") &&
		  !ml_options_mark("inf"));
}
END_TEST

START_TEST(test_usage)
{
	pid_t pid = fork();
	int status;

	if (!pid) {
		struct ml_options o;
		dup2(open("/dev/null", O_WRONLY), STDERR_FILENO);
		read_words(&o, wrong[_i]);
		_exit(0);
	}
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert_msg(WIFEXITED(status) && WEXITSTATUS(status) == 2, "%s", wrong[_i]);
}
END_TEST

START_TEST(test_number)
{
	uint64_t n;

	ck_assert(ml_options_number("0", &n) && n == 0);
	ck_assert(ml_options_number("18446744073709551615", &n) && n == UINT64_MAX);
	ck_assert(!ml_options_number("18446744073709551616", &n));
	ck_assert(!ml_options_number("", &n));
	ck_assert(!ml_options_number(" 1", &n));
	ck_assert(!ml_options_number("+1", &n));
	ck_assert(!ml_options_number("1 ", &n));
	ck_assert(!ml_options_number("0x1", &n));
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("options");
	TCase *tests = tcase_create("options");
	SRunner *runner = srunner_create(suite);
	int failed;

	tcase_add_test(tests, test_defaults);
	tcase_add_test(tests, test_native);
	tcase_add_test(tests, test_values);
	tcase_add_loop_test(tests, test_usage, 0, (int)(sizeof(wrong) / sizeof(wrong[0])));
	tcase_add_test(tests, test_marks);
	tcase_add_test(tests, test_number);
	suite_add_tcase(suite, tests);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
