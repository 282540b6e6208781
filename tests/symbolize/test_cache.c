/* The cache of names: what was put in comes out of another report's, and no file can do harm. */
#include "symbolize/native/cache.h"

#include <check.h>
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static char folder[] = "/tmp/memline-test-cache-XXXXXX";

static const uint8_t id[] = {0xca, 0xfe};
static const struct ml_dwarf_frame inlined[] = {{"inner\\x\n\t\x7f(int)", "/src/a b.c", 12}, {"outer", "/src/b.c", 1}};
static const struct ml_dwarf_frame symbol = {"only_a_name", NULL, 0}, nameless = {NULL, "/src/start.s", 7};

static struct ml_cache *open_it(void)
{
	struct ml_cache *c = ml_cache_open(folder, id, sizeof(id));

	ck_assert_ptr_nonnull(c);
	return c;
}

static void close_it(struct ml_cache *c)
{
	ml_cache_close(c, ML_CACHE_BYTES);
}

static const char *path_of(const char *name)
{
	static char path[256];

	snprintf(path, sizeof(path), "%s/%s", folder, name);
	return path;
}

static void check_frames(const struct ml_cache *c, uint64_t address, const struct ml_dwarf_frame *expected, size_t n)
{
	struct ml_dwarf_frame frames[4];
	size_t i;

	ck_assert_uint_eq(ml_cache_get(c, address, frames, 4), n);
	for (i = 0; i < n; i++) {
		ck_assert_pstr_eq(frames[i].function, expected[i].function);
		ck_assert_pstr_eq(frames[i].file, expected[i].file);
		ck_assert_uint_eq(frames[i].line, expected[i].line);
	}
}

START_TEST(test_kept)
{
	struct ml_cache *c = open_it();
	struct ml_dwarf_frame frame;

	ml_cache_put(c, UINT64_MAX, inlined, 2);
	ml_cache_put(c, 0, &symbol, 1);
	ml_cache_put(c, 0x1234, &nameless, 1);
	ml_cache_put(c, 0x1235, NULL, 0);
	check_frames(c, UINT64_MAX, inlined, 2);
	close_it(c);
	c = open_it();
	check_frames(c, UINT64_MAX, inlined, 2);
	check_frames(c, 0, &symbol, 1);
	check_frames(c, 0x1234, &nameless, 1);
	check_frames(c, 0x1235, NULL, 0);
	ck_assert_uint_eq(ml_cache_get(c, UINT64_MAX, &frame, 1), 1);
	close_it(c);
}
END_TEST

/* DWARF is better than a symbol table; nothing else replaces what is there. */
START_TEST(test_better_ones)
{
	struct ml_cache *c = open_it();

	ml_cache_put(c, 1, &symbol, 1);
	ml_cache_put(c, 2, &inlined[1], 1);
	ml_cache_put(c, 3, &symbol, 1);
	close_it(c);
	c = open_it();
	ml_cache_put(c, 1, inlined, 2);
	ml_cache_put(c, 2, &symbol, 1);
	ml_cache_put(c, 3, &(struct ml_dwarf_frame){"another", NULL, 0}, 1);
	close_it(c);
	c = open_it();
	check_frames(c, 1, inlined, 2);
	check_frames(c, 2, &inlined[1], 1);
	check_frames(c, 3, &symbol, 1);
	close_it(c);
}
END_TEST

START_TEST(test_many)
{
	struct ml_cache *c = open_it();
	uint64_t i;

	for (i = 0; i < 100000; i++)
		ml_cache_put(c, i * 0x10001, inlined, 1 + i % 2);
	close_it(c);
	c = open_it();
	for (i = 0; i < 100000; i++)
		check_frames(c, i * 0x10001, inlined, 1 + i % 2);
	close_it(c);
}
END_TEST

/* Only what is new is written, and each object has a file of its own. */
START_TEST(test_files)
{
	struct ml_cache *c = open_it();
	struct stat before, after;

	ml_cache_put(c, 1, inlined, 2);
	close_it(c);
	ck_assert_int_eq(stat(path_of("cafe.symbols"), &before), 0);
	ck_assert_int_eq(before.st_mode & 0777, 0600);
	c = open_it();
	ml_cache_put(c, 1, inlined, 2);
	close_it(c);
	ck_assert_int_eq(stat(path_of("cafe.symbols"), &after), 0);
	ck_assert_uint_eq(before.st_ino, after.st_ino);
	c = ml_cache_open(folder, id, 1);
	check_frames(c, 1, NULL, 0);
	close_it(c);
	ck_assert_int_ne(access(path_of("ca.symbols"), F_OK), 0);
}
END_TEST

static void write_file(const char *name, const char *text, size_t bytes)
{
	FILE *out = fopen(path_of(name), "w");

	ck_assert_ptr_nonnull(out);
	ck_assert_uint_eq(fwrite(text, 1, bytes, out), bytes);
	fclose(out);
}

static const char *const damaged[] = {
	"",
	"end\n",
	"memline symbols 2\n@1\n1\tf\tg\nend\n",
	"memline symbols 1\n@1\n1\tf\tg\n",
	"memline symbols 1\n@1\n1\tf\tg\nend",
	"memline symbols 1\n1\tf\tg\nend\n",
	"memline symbols 1\n@1\n1\tf\nend\n",
	"memline symbols 1\n@1\n99999999999\tf\tg\nend\n",
	"memline symbols 1\n@1\n1\tf\tg\n@1\n1\tf\tg\nend\n",
	"memline symbols 1\n@1\n1\tf\tg\nnonsense\nend\n",
	"memline symbols 1\n@1\n1\tf\tg\nwithout endend\n",
};

START_TEST(test_damaged)
{
	struct ml_cache *c;

	write_file("cafe.symbols", damaged[_i], strlen(damaged[_i]));
	c = open_it();
	check_frames(c, 1, NULL, 0);
	ml_cache_put(c, 1, inlined, 2);
	close_it(c);
	c = open_it();
	check_frames(c, 1, inlined, 2);
	close_it(c);
}
END_TEST

/* Cut off anywhere, a file gives nothing: it was never whole. Escapes that are none stay as they are. */
START_TEST(test_cut_off)
{
	static const char text[] = "memline symbols 1\n@1\n1\tf\\\tg\\4\n@2\n0\t\\zz\\0\t\nend\n";
	struct ml_cache *c;
	size_t i;

	for (i = 0; i < sizeof(text) - 1; i++) {
		write_file("cafe.symbols", text, i);
		c = open_it();
		check_frames(c, 1, NULL, 0);
		close_it(c);
	}
	write_file("cafe.symbols", text, i);
	c = open_it();
	check_frames(c, 1, &(struct ml_dwarf_frame){"f\\", "g\\4", 1}, 1);
	check_frames(c, 2, &(struct ml_dwarf_frame){"\\zz\\0", NULL, 0}, 1);
	close_it(c);
}
END_TEST

START_TEST(test_no_folder)
{
	static const char *const folders[] = {"/nonexistent/cache", "/proc", "/etc/passwd"};
	struct ml_cache *c = ml_cache_open(folders[_i], id, sizeof(id));

	ck_assert_ptr_nonnull(c);
	ml_cache_put(c, 1, inlined, 2);
	check_frames(c, 1, inlined, 2);
	close_it(c);
}
END_TEST

static unsigned count_files(void)
{
	DIR *dir = opendir(folder);
	unsigned n = 0;

	while (readdir(dir))
		n++;
	closedir(dir);
	return n - 2; /* without "." and ".." */
}

/* The one that was used longest ago goes, whatever its name; other files are no business of ours. */
START_TEST(test_bound)
{
	const struct timespec old[2] = {{1000, 0}, {1000, 0}}, older[2] = {{500, 0}, {500, 0}};
	char text[2000];
	struct ml_cache *c;

	memset(text, 'x', sizeof(text));
	write_file("1111.symbols", text, sizeof(text));
	write_file("2222.symbols.left", text, sizeof(text));
	write_file("other", text, sizeof(text));
	ck_assert_int_eq(utimensat(AT_FDCWD, path_of("1111.symbols"), old, 0), 0);
	ck_assert_int_eq(utimensat(AT_FDCWD, path_of("2222.symbols.left"), older, 0), 0);
	c = open_it();
	ml_cache_put(c, 1, inlined, 2);
	ml_cache_close(c, 3000);
	ck_assert_int_ne(access(path_of("2222.symbols.left"), F_OK), 0);
	ck_assert_int_eq(access(path_of("1111.symbols"), F_OK), 0);
	c = open_it();
	ml_cache_put(c, 2, inlined, 2);
	ml_cache_close(c, 1000);
	ck_assert_int_ne(access(path_of("1111.symbols"), F_OK), 0);
	ck_assert_int_eq(access(path_of("cafe.symbols"), F_OK), 0);
	ck_assert_int_eq(access(path_of("other"), F_OK), 0);
	ck_assert_uint_eq(count_files(), 2);
}
END_TEST

static void check_directory(const char *cache, const char *home, const char *expected)
{
	char *found;

	cache ? setenv("XDG_CACHE_HOME", cache, 1) : unsetenv("XDG_CACHE_HOME");
	home ? setenv("HOME", home, 1) : unsetenv("HOME");
	found = ml_cache_directory();
	ck_assert_pstr_eq(found, expected);
	free(found);
}

START_TEST(test_directory)
{
	char in_cache[128], in_home[128], home_cache[128];

	snprintf(in_cache, sizeof(in_cache), "%s/xdg/memline", folder);
	snprintf(in_home, sizeof(in_home), "%s/.cache/memline", folder);
	snprintf(home_cache, sizeof(home_cache), "%s/xdg", folder);
	check_directory(home_cache, folder, in_cache);
	check_directory(NULL, folder, in_home);
	check_directory("relative", folder, in_home);
	check_directory(NULL, "relative", NULL);
	check_directory(NULL, NULL, NULL);
	check_directory("/proc/nothing", folder, NULL);
	check_directory("/nonexistent/two/levels", folder, NULL);
}
END_TEST

static void make_folder(void)
{
	strcpy(folder + sizeof(folder) - 7, "XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(folder));
}

static void remove_folder(void)
{
	char command[64];

	snprintf(command, sizeof(command), "rm -rf %s", folder);
	ck_assert_int_eq(system(command), 0);
}

int main(void)
{
	Suite *suite = suite_create("cache");
	TCase *tests = tcase_create("cache");
	SRunner *runner = srunner_create(suite);
	int failed;

	tcase_add_checked_fixture(tests, make_folder, remove_folder);
	tcase_set_timeout(tests, 60);
	tcase_add_test(tests, test_kept);
	tcase_add_test(tests, test_better_ones);
	tcase_add_test(tests, test_many);
	tcase_add_test(tests, test_files);
	tcase_add_loop_test(tests, test_damaged, 0, sizeof(damaged) / sizeof(damaged[0]));
	tcase_add_test(tests, test_cut_off);
	tcase_add_loop_test(tests, test_no_folder, 0, 3);
	tcase_add_test(tests, test_bound);
	tcase_add_test(tests, test_directory);
	suite_add_tcase(suite, tests);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
