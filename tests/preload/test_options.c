#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "preload/options.h"

#define G ((uint64_t)1 << 30)

static const char *wanted_key;
static char value[8192];
static unsigned seen;

static void look(void *context, const char *key, const char *text)
{
	ck_assert_ptr_eq(context, &seen);
	if (strcmp(key, wanted_key))
		return;
	seen++;
	snprintf(value, sizeof value, "%s", text);
}

/* What is said of the key; NULL: nothing. */
static const char *said(const char *key)
{
	wanted_key = key;
	seen = 0;
	ml_options_each(look, &seen);
	ck_assert_uint_le(seen, 1);
	return seen ? value : NULL;
}

static void read_one(const char *assignment)
{
	char copy[8192], *environment[] = {(char *)(uintptr_t) "HOME=/root", copy, NULL};

	snprintf(copy, sizeof copy, "%s", assignment);
	ml_options_read(environment);
	memset(copy, '#', sizeof copy); /* the program may reuse its environment */
}

static void check_defaults(void)
{
	char directory[64];

	ck_assert(!ml_options.off);
	ck_assert(ml_options.objects);
	ck_assert_int_eq(ml_options.native, ML_NATIVE_CALLER);
	ck_assert_uint_eq(ml_options.max_bytes, 4 * G);
	ck_assert_uint_eq(ml_options.keep_free, ML_KEEP_FREE_AUTO);
	ck_assert_uint_eq(ml_options.max_nodes, 1u << 20);
	snprintf(directory, sizeof directory, "/tmp/memline-%u", getuid());
	ck_assert_str_eq(ml_options.directory, directory);
	ck_assert(!ml_options.directory_given);
	ck_assert(!ml_options.log);
	ck_assert_str_eq(ml_options.app_root, "");
	ck_assert_str_eq(said("option.DIR"), directory);
}

START_TEST(has_defaults)
{
	static const struct {
		const char *key, *value;
	} rows[] = {{"option.OBJECTS", "on"},  {"option.NATIVE", "caller"},    {"option.SAMPLE", "0"},
		    {"option.SCOPE", "auto"},  {"option.OCCURRENCES", "auto"}, {"option.LOG", "off"},
		    {"option.LOG_TOP", "20"},  {"option.MAX_BYTES", "4G"},     {"option.KEEP_FREE", "auto"},
		    {"option.MAX_NODES", "1M"}};
	char *environment[] = {(char *)(uintptr_t) "PATH=/bin", (char *)(uintptr_t) "MEMLINE_OBJECTSX=off",
			       (char *)(uintptr_t) "XMEMLINE_OBJECTS=off", (char *)(uintptr_t) "MEMLINE_OBJECTS", NULL};

	ml_options_read(environment);
	check_defaults();
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
		ck_assert_str_eq(said(rows[i].key), rows[i].value);
	ck_assert_ptr_null(said("ignored.OBJECTS"));
	ml_options_read(NULL);
	check_defaults();
}
END_TEST

START_TEST(is_off_when_set_to_anything)
{
	read_one("MEMLINE_OFF=");
	ck_assert(ml_options.off);
	read_one("MEMLINE_OFFICE=1");
	ck_assert(!ml_options.off);
	read_one("MEMLINE_OFF=1");
	ck_assert(ml_options.off);
}
END_TEST

static const struct good {
	const char *assignment;
	uint64_t wanted;
} good_sizes[] = {
	{"MEMLINE_MAX_BYTES=1048576", 1048576},
	{"MEMLINE_MAX_BYTES=1048577", 1048577},
	{"MEMLINE_MAX_BYTES=2048k", 2u << 20},
	{"MEMLINE_MAX_BYTES=2048K", 2u << 20},
	{"MEMLINE_MAX_BYTES=3M", 3u << 20},
	{"MEMLINE_MAX_BYTES=7G", 7 * G},
	{"MEMLINE_MAX_BYTES=2T", 2048 * G},
	{"MEMLINE_MAX_BYTES=16777215T", 16777215ull << 40},
	{"MEMLINE_MAX_BYTES=18446744073709551615", UINT64_MAX},
};

START_TEST(takes_sizes)
{
	const struct good *row = &good_sizes[_i];

	read_one(row->assignment);
	ck_assert_uint_eq(ml_options.max_bytes, row->wanted);
	ck_assert_str_eq(said("option.MAX_BYTES"), strchr(row->assignment, '=') + 1);
	ck_assert_ptr_null(said("ignored.MAX_BYTES"));
}
END_TEST

static const char *const bad[] = {
	"MEMLINE_MAX_BYTES=0",
	"MEMLINE_MAX_BYTES=1048575",
	"MEMLINE_MAX_BYTES=",
	"MEMLINE_MAX_BYTES=G",
	"MEMLINE_MAX_BYTES=-1",
	"MEMLINE_MAX_BYTES=1m",
	"MEMLINE_MAX_BYTES=1KB",
	"MEMLINE_MAX_BYTES= 1",
	"MEMLINE_MAX_BYTES=1.5G",
	"MEMLINE_MAX_BYTES=18446744073709551616",
	"MEMLINE_MAX_BYTES=16777216T",
	"MEMLINE_MAX_BYTES=auto",
	"MEMLINE_KEEP_FREE=Auto",
	"MEMLINE_KEEP_FREE=10%",
	"MEMLINE_MAX_NODES=0",
	"MEMLINE_MAX_NODES=64M1",
	"MEMLINE_MAX_NODES=65M",
	"MEMLINE_MAX_NODES=4294967297",
	"MEMLINE_OBJECTS=",
	"MEMLINE_OBJECTS=ON",
	"MEMLINE_OBJECTS=yes",
	"MEMLINE_OBJECTS=1",
	"MEMLINE_NATIVE=on",
	"MEMLINE_NATIVE=Full",
	"MEMLINE_SAMPLE=512k",
	"MEMLINE_SCOPE=",
	"MEMLINE_OCCURRENCES=yes",
	"MEMLINE_LOG=",
	"MEMLINE_LOG=on",
	"MEMLINE_LOG=60",
	"MEMLINE_LOG=60 s",
	"MEMLINE_LOG=s",
	"MEMLINE_LOG=99ms",
	"MEMLINE_LOG=25h",
	"MEMLINE_LOG=18446744073709551617s",
	"MEMLINE_LOG_TOP=0",
	"MEMLINE_LOG_TOP=",
	"MEMLINE_LOG_TOP=all",
	"MEMLINE_DIR=",
};

START_TEST(ignores_what_makes_no_sense)
{
	char name[64];
	const char *text = strchr(bad[_i], '=') + 1;

	read_one(bad[_i]);
	check_defaults();
	snprintf(name, sizeof name, "ignored.%.*s", (int)(text - 1 - bad[_i] - 8), bad[_i] + 8);
	ck_assert_msg(said(name), "%s", bad[_i]);
	ck_assert_str_eq(value, text);
	ml_options_read(NULL);
	ck_assert_ptr_null(said(name));
}
END_TEST

START_TEST(takes_switches)
{
	read_one("MEMLINE_OBJECTS=off");
	ck_assert(!ml_options.objects);
	ck_assert_str_eq(said("option.OBJECTS"), "off");
	read_one("MEMLINE_NATIVE=off");
	ck_assert_int_eq(ml_options.native, ML_NATIVE_OFF);
	ck_assert_str_eq(said("option.NATIVE"), "off");
	read_one("MEMLINE_NATIVE=full");
	ck_assert_int_eq(ml_options.native, ML_NATIVE_FULL);
	ck_assert_str_eq(said("option.NATIVE"), "full");
	ck_assert_uint_eq(ml_options.max_nodes, 4u << 20);
	ck_assert_str_eq(said("option.MAX_NODES"), "4M");
	read_one("MEMLINE_OCCURRENCES=off");
	ck_assert_str_eq(said("option.OCCURRENCES"), "off");
	ck_assert_int_eq(ml_options.occurrences, ML_OCCURRENCES_OFF);
	read_one("MEMLINE_OCCURRENCES=on");
	ck_assert_int_eq(ml_options.occurrences, ML_OCCURRENCES_ON);
	read_one("MEMLINE_SCOPE=/srv/*.py:auto");
	ck_assert_str_eq(said("option.SCOPE"), "/srv/*.py:auto");
	ck_assert_str_eq(ml_options.scope, "/srv/*.py:auto");
}
END_TEST

START_TEST(takes_bounds)
{
	read_one("MEMLINE_KEEP_FREE=0");
	ck_assert_uint_eq(ml_options.keep_free, 0);
	read_one("MEMLINE_KEEP_FREE=2G");
	ck_assert_uint_eq(ml_options.keep_free, 2 * G);
	read_one("MEMLINE_KEEP_FREE=auto");
	ck_assert_uint_eq(ml_options.keep_free, ML_KEEP_FREE_AUTO);
	read_one("MEMLINE_MAX_NODES=1");
	ck_assert_uint_eq(ml_options.max_nodes, 1);
	read_one("MEMLINE_MAX_NODES=64M");
	ck_assert_uint_eq(ml_options.max_nodes, 64u << 20);
	ck_assert_uint_eq(ml_options.max_nodes, ML_NODES_MAX);
}
END_TEST

START_TEST(takes_directories)
{
	char here[4096], wanted[8192];

	read_one("MEMLINE_DIR=/var/tmp/a b");
	ck_assert(ml_options.directory_given);
	ck_assert_str_eq(ml_options.directory, "/var/tmp/a b");
	ck_assert_str_eq(said("option.DIR"), "/var/tmp/a b");
	ck_assert_ptr_nonnull(getcwd(here, sizeof here));
	read_one("MEMLINE_DIR=traces/x");
	ck_assert(ml_options.directory_given);
	snprintf(wanted, sizeof wanted, "%s/traces/x", here);
	ck_assert_str_eq(ml_options.directory, wanted);
	ck_assert_str_eq(said("option.DIR"), wanted);
}
END_TEST

START_TEST(refuses_a_directory_that_is_too_long)
{
	char assignment[8192] = "MEMLINE_DIR=/", *end = assignment + strlen(assignment);

	memset(end, 'd', 4094);
	end[4094] = 0;
	read_one(assignment);
	ck_assert(ml_options.directory_given);
	ck_assert_uint_eq(strlen(ml_options.directory), 4095);
	end[4094] = 'd';
	end[4095] = 0;
	read_one(assignment);
	ck_assert(!ml_options.directory_given);
	ck_assert_int_eq(strncmp(ml_options.directory, "/tmp/memline-", 13), 0);
	ck_assert_ptr_nonnull(said("ignored.DIR"));
}
END_TEST

/* A relative path below a folder that is gone, or that is too long with the folder it is in. */
START_TEST(refuses_a_relative_directory_without_a_place)
{
	char here[] = "/tmp/memline-gone-XXXXXX", assignment[8192] = "MEMLINE_DIR=";

	ck_assert_ptr_nonnull(mkdtemp(here));
	ck_assert_int_eq(chdir(here), 0);
	memset(assignment + 12, 'd', 4090);
	read_one(assignment);
	ck_assert(!ml_options.directory_given);
	ck_assert_int_eq(rmdir(here), 0);
	read_one("MEMLINE_DIR=traces");
	ck_assert(!ml_options.directory_given);
	ck_assert_str_eq(said("ignored.DIR"), "traces");
}
END_TEST

START_TEST(knows_the_app_root)
{
	read_one("FUNCTIONS_APPLICATION_DIRECTORY=/home/site/wwwroot");
	ck_assert_str_eq(ml_options.app_root, "/home/site/wwwroot");
	read_one("FUNCTIONS_APPLICATION_DIRECTORY=");
	ck_assert_str_eq(ml_options.app_root, "");
}
END_TEST

START_TEST(takes_the_first_of_two)
{
	char *environment[] = {
		(char *)(uintptr_t) "MEMLINE_MAX_BYTES=1G",
		(char *)(uintptr_t) "MEMLINE_MAX_BYTES=2G",
		NULL,
	};

	ml_options_read(environment);
	ck_assert_uint_eq(ml_options.max_bytes, G);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("options");
	TCase *c = tcase_create("options");
	SRunner *r = srunner_create(s);
	int failed;

	suite_add_tcase(s, c);
	tcase_add_test(c, has_defaults);
	tcase_add_test(c, is_off_when_set_to_anything);
	tcase_add_loop_test(c, takes_sizes, 0, sizeof good_sizes / sizeof *good_sizes);
	tcase_add_loop_test(c, ignores_what_makes_no_sense, 0, sizeof bad / sizeof *bad);
	tcase_add_test(c, takes_switches);
	tcase_add_test(c, takes_bounds);
	tcase_add_test(c, takes_directories);
	tcase_add_test(c, refuses_a_directory_that_is_too_long);
	tcase_add_test(c, refuses_a_relative_directory_without_a_place);
	tcase_add_test(c, knows_the_app_root);
	tcase_add_test(c, takes_the_first_of_two);
	srunner_run_all(r, CK_NORMAL);
	failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
