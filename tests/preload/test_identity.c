#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "preload/identity.h"
#include "preload/process.h"
#include "tests/preload/frames.h"
#include "tests/preload/session.h"
#include "tests/preload/trace_file.h"

static struct trace_file trace;

/*
 * A process with a command line of its own: this program again, which then goes to the folder and records one event.
 * Arguments and environment are those of the test.
 */
static int record_as_told(void)
{
	const char *app_root = getenv("FUNCTIONS_APPLICATION_DIRECTORY");
	static char option[4096];

	strcpy(session_directory, getenv("TEST_DIRECTORY"));
	snprintf(option, sizeof option, "FUNCTIONS_APPLICATION_DIRECTORY=%s", app_root ? app_root : "");
	if (!session_try_start((const char *[]){option, NULL}) || chdir(getenv("TEST_FOLDER")))
		return 1;
	session_initialize();
	session_alloc(16, 1);
	return 0;
}

static void run(char *const arguments[], const char *folder, const char *app_root)
{
	int status;
	pid_t pid = fork();

	if (!pid) {
		setenv("TEST_DIRECTORY", session_directory, 1);
		setenv("TEST_FOLDER", folder, 1);
		if (app_root)
			setenv("FUNCTIONS_APPLICATION_DIRECTORY", app_root, 1);
		execv("/proc/self/exe", arguments);
		_exit(127);
	}
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert_int_eq(status, 0);
	trace_open(&trace, session_trace());
}

static uint64_t number(const char *key)
{
	const char *text = trace_meta(&trace, key, 0);
	char *end;
	uint64_t value;

	ck_assert_msg(text, "%s", key);
	value = strtoull(text, &end, 10);
	ck_assert_int_eq(*end, 0);
	return value;
}

#define PYTHON "/usr/bin/python3"

/* FOLDER: the test's own. */
static const struct row {
	const char *arguments[8];
	const char *folder;
	const char *program;
	const char *root;
} rows[] = {
	{{PYTHON, "/app/main.py"}, "/", "file:/app/main.py", "/app"},
	{{PYTHON, "/main.py", "-c", "x"}, "/usr", "file:/main.py", "/"},
	{{PYTHON, "main.py"}, "/usr", "file:main.py", "/usr"},
	{{PYTHON, "main.py"}, "/", "file:main.py", "/"},
	{{PYTHON, "sub/main.py"}, "/usr", "file:sub/main.py", "/usr/sub"},
	{{PYTHON, "sub/main.py"}, "/", "file:sub/main.py", "/sub"},
	{{PYTHON, "./main.py"}, "/usr", "file:./main.py", "/usr"},
	{{PYTHON, "../main.py"}, "/usr/lib", "file:../main.py", "/usr"},
	{{PYTHON, "a/../b//./c/main.py"}, "/usr", "file:a/../b//./c/main.py", "/usr/b/c"},
	{{PYTHON, "../../../main.py"}, "/usr", "file:../../../main.py", "/"},
	{{PYTHON, "/app/.hidden/..x/main.py"}, "/", "file:/app/.hidden/..x/main.py", "/app/.hidden/..x"},
	{{PYTHON, "lib"}, "/usr", "file:lib", "/usr/lib"}, /* a folder with a __main__.py */
	{{PYTHON, "."}, "/usr", "file:.", "/usr"},
	{{PYTHON}, "/usr", "stdin", "/usr"},
	{{PYTHON, "-"}, "/usr", "stdin", "/usr"},
	{{PYTHON, "-", "main.py"}, "/usr", "stdin", "/usr"},
	{{PYTHON, "-i"}, "/usr", "stdin", "/usr"},
	{{PYTHON, "-c", "pass", "main.py"}, "/usr", "command", "/usr"},
	{{PYTHON, "-cpass", "main.py"}, "/usr", "command", "/usr"},
	{{PYTHON, "-Ic", "pass"}, "/usr", "command", "/usr"},
	{{PYTHON, "-IBEc", "pass", "-m"}, "/usr", "command", "/usr"},
	{{PYTHON, "-m", "pkg.mod", "main.py"}, "/usr", "module:pkg.mod", "/usr"},
	{{PYTHON, "-mpkg", "main.py"}, "/usr", "module:pkg", "/usr"},
	{{PYTHON, "-Im", "pkg"}, "/usr", "module:pkg", "/usr"},
	{{PYTHON, "-m"}, "/usr", "module:", "/usr"},
	{{PYTHON, "-W", "error", "/app/main.py"}, "/usr", "file:/app/main.py", "/app"},
	{{PYTHON, "-Werror", "/app/main.py"}, "/usr", "file:/app/main.py", "/app"},
	{{PYTHON, "-Wc", "/app/main.py"}, "/usr", "file:/app/main.py", "/app"},
	{{PYTHON, "-WX", "/app/main.py"}, "/usr", "file:/app/main.py", "/app"},
	{{PYTHON, "-BW", "c", "/app/main.py"}, "/usr", "file:/app/main.py", "/app"},
	{{PYTHON, "-X", "dev", "-c", "pass"}, "/usr", "command", "/usr"},
	{{PYTHON, "-Xdev", "-X", "tracemalloc=5", "-m", "x"}, "/usr", "module:x", "/usr"},
	{{PYTHON, "-u", "-O", "-OO", "/app/main.py"}, "/usr", "file:/app/main.py", "/app"},
	{{PYTHON, "--check-hash-based-pycs", "never", "/app/main.py"}, "/usr", "file:/app/main.py", "/app"},
	{{PYTHON, "--", "/app/main.py"}, "/usr", "file:/app/main.py", "/app"},
	{{PYTHON, "-X"}, "/usr", "stdin", "/usr"},
	/* A console script, which lies beside the interpreter, is not the user's code; what it runs is where it was
	   started. */
	{{"/opt/venv/bin/python", "/opt/venv/bin/gunicorn", "app:app"}, "/usr", "file:/opt/venv/bin/gunicorn", "/usr"},
	{{"python", "main.py"}, "/usr", "file:main.py", "/usr"},
	/* A worker of Azure Functions. */
	{{PYTHON, "/azure/worker.py", "--workerId", "1"}, "/usr", "file:/azure/worker.py", "/usr"},
	{{PYTHON, "/azure/worker.py", "--functions-worker-id", "1"}, "/usr", "file:/azure/worker.py", "/usr"},
	{{PYTHON, "/azure/worker.py", "--grpcMaxMessageLength", "9"}, "/usr", "file:/azure/worker.py", "/usr"},
	{{PYTHON, "/azure/worker.py", "--workerIdentity", "1"}, "/usr", "file:/azure/worker.py", "/azure"},
};

START_TEST(knows_what_is_run)
{
	const struct row *row = &rows[_i];
	char *arguments[9] = {NULL};

	for (unsigned i = 0; i < 8; i++)
		arguments[i] = (char *)(uintptr_t)row->arguments[i];
	run(arguments, row->folder, NULL);
	ck_assert_str_eq(trace_meta(&trace, "program", 0), row->program);
	ck_assert_str_eq(trace_meta(&trace, "root", 0), row->root);
	ck_assert_str_eq(trace_meta(&trace, "cwd", 0), row->folder);
	for (unsigned i = 0; i < 8 && row->arguments[i]; i++)
		ck_assert_str_eq(trace_meta(&trace, "arg", i), row->arguments[i]);
}
END_TEST

START_TEST(takes_the_app_root_that_is_given)
{
	char *arguments[] = {(char *)(uintptr_t)PYTHON, (char *)(uintptr_t) "/azure/worker.py",
			     (char *)(uintptr_t) "--workerId", NULL};

	run(arguments, "/usr", "/home/site//wwwroot/");
	ck_assert_str_eq(trace_meta(&trace, "root", 0), "/home/site/wwwroot");
}
END_TEST

START_TEST(says_who_the_process_is)
{
	struct stat self, exe;
	uint64_t ticks;
	int parent;

	session_start("MEMLINE_SAMPLE=nonsense", NULL);
	frames_start(FRAMES_VERSIONS);
	session_initialize();
	session_alloc(16, 1);
	trace_open(&trace, session_trace());
	ck_assert(ml_identity_of(getpid(), &ticks, &parent));
	ck_assert_int_eq(parent, getppid());
	ck_assert_uint_eq(number("pid"), (uint64_t)getpid());
	ck_assert_uint_eq(number("ppid"), (uint64_t)getppid());
	ck_assert_uint_eq(number("uid"), getuid());
	ck_assert_uint_eq(number("start_ticks"), ticks);
	ck_assert_uint_eq(number("image"), 0);
	ck_assert_uint_eq(number("page_bytes"), (uint64_t)sysconf(_SC_PAGESIZE));
	ck_assert_uint_le((uint64_t)time(NULL) - number("started_ns") / 1000000000, 60);
	ck_assert_uint_gt(number("monotonic_ns"), 0);
	ck_assert_uint_gt(number("baseline_rss"), 100000);
	ck_assert_uint_eq(number("run_pid"), number("pid"));
	ck_assert_uint_eq(number("run_ticks"), ticks);
	ck_assert_str_eq(trace_meta(&trace, "late", 0), "1");
	ck_assert_ptr_null(trace_meta(&trace, "fork", 0));
	ck_assert_str_eq(trace_meta(&trace, "python", 0), "3.99.0");
	ck_assert_uint_eq(number("line_table"), ML_LINES_LOCATIONS);
	ck_assert_str_eq(trace_meta(&trace, "option.SAMPLE", 0), "0");
	ck_assert_str_eq(trace_meta(&trace, "ignored.SAMPLE", 0), "nonsense");
	ck_assert_str_eq(trace_meta(&trace, "option.DIR", 0), session_directory);
	ck_assert_int_eq(stat("/proc/self/exe", &self), 0);
	ck_assert_int_eq(stat(trace_meta(&trace, "exe", 0), &exe), 0);
	ck_assert(self.st_ino == exe.st_ino && self.st_dev == exe.st_dev);
}
END_TEST

START_TEST(says_why_an_interpreter_was_refused)
{
	session_start(NULL);
	session_initialize();
	session_alloc(16, 1);
	trace_open(&trace, session_trace());
	ck_assert_ptr_null(trace_meta(&trace, "python", 0));
	ck_assert_ptr_nonnull(trace_meta(&trace, "python_refused", 0));
}
END_TEST

/* The command in /proc/PID/stat may hold blanks and parentheses. */
START_TEST(reads_the_stat_of_any_command)
{
	FILE *f;
	uint64_t before, ticks = 0;
	int parent = 0;

	ck_assert(ml_identity_of(getpid(), &before, &parent));
	f = fopen("/proc/self/comm", "w");
	ck_assert_ptr_nonnull(f);
	fputs(") R 1 (x) S 2", f);
	ck_assert_int_eq(fclose(f), 0);
	ck_assert(ml_identity_of(getpid(), &ticks, &parent));
	ck_assert_int_eq(parent, getppid());
	ck_assert_uint_eq(ticks, before);
	ck_assert(!ml_identity_of(0x7fffffff, &ticks, &parent));
}
END_TEST

START_TEST(measures_the_resident_set)
{
	enum { BYTES = 64 << 20 };
	uint64_t before = ml_identity_resident_pages(), after;
	void *memory = mmap(NULL, BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);

	ck_assert_ptr_ne(memory, MAP_FAILED);
	after = ml_identity_resident_pages();
	ck_assert_uint_ge(after - before, BYTES / (uint64_t)sysconf(_SC_PAGESIZE) * 9 / 10);
}
END_TEST

/* Very many arguments, and long ones: what has no place is cut off, and all else is there. */
START_TEST(bears_any_command_line)
{
	static char *arguments[20003], longest[100001];

	arguments[0] = (char *)(uintptr_t)PYTHON;
	arguments[1] = (char *)(uintptr_t) "/app/main.py";
	memset(longest, 'x', sizeof longest - 1);
	for (unsigned i = 2; i < 20002; i++)
		arguments[i] = i % 5000 ? (char *)(uintptr_t) "" : longest;
	run(arguments, "/usr", NULL);
	ck_assert_str_eq(trace_meta(&trace, "program", 0), "file:/app/main.py");
	ck_assert_str_eq(trace_meta(&trace, "arg", 10000), longest);
	ck_assert_str_eq(trace_meta(&trace, "arg", 20000), longest);
	ck_assert_str_eq(trace_meta(&trace, "arg", 20001), "");
	ck_assert_ptr_null(trace_meta(&trace, "arg", 20002));
}
END_TEST

int main(void)
{
	Suite *s;
	TCase *c;
	SRunner *r;
	int failed;

	if (getenv("TEST_FOLDER"))
		return record_as_told();
	s = suite_create("identity");
	c = tcase_create("identity");
	r = srunner_create(s);
	suite_add_tcase(s, c);
	tcase_add_checked_fixture(c, session_begin, session_end);
	tcase_add_loop_test(c, knows_what_is_run, 0, sizeof rows / sizeof *rows);
	tcase_add_test(c, takes_the_app_root_that_is_given);
	tcase_add_test(c, says_who_the_process_is);
	tcase_add_test(c, says_why_an_interpreter_was_refused);
	tcase_add_test(c, reads_the_stat_of_any_command);
	tcase_add_test(c, measures_the_resident_set);
	tcase_add_test(c, bears_any_command_line);
	srunner_run_all(r, CK_NORMAL);
	failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
