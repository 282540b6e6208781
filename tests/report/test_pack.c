/* Packs: that they hold what was put in, and that those which are damaged harm nobody. */
#include "report/pack.h"

#include <check.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "report/commands.h"
#include "tests/report/frames.h"
#include "trace/put.h"

static struct ml_options options;

static void set_up(void)
{
	ml_options_init(&options);
}

/* Makes the pack "FOLDER/p" of a trace of some blocks, of which most are zero. */
static void make_pack(void)
{
	char *argv[] = {"pack", "--no-cache", "-o", NULL, NULL, NULL};
	struct build *b = frames_new(ML_LINES_LINETABLE);
	uint32_t f = frames_code(b, "app.py", "f", 1, 9), i;
	uint32_t library = build_module(b, "/nowhere/libx.so.1", 0x7f0000000000, 0x10000);
	uint32_t line = frames_node(b, 0, f, 1, 2);
	struct build_ring *ring = build_ring(b, 1);
	struct ml_reading r = {0};

	frames_write("app.py", "def f():\n\tx()\n", -60);
	for (i = 0; i < 30000; i++)
		build_alloc(ring, ML_DOMAIN_OBJ, line, 0x100000 + 64 * (i * 7919 % 30011), 1 + i * 7919 % 1000003);
	build_alloc(ring, ML_DOMAIN_C, build_node(b, line, ML_NODE_NATIVE, library, 0x123), 0x1000, 1);
	build_header(b)->end = ML_END_EXIT;
	frames_read(&r, b, "100-1-0.memline", &options);
	ml_reading_close(&r);
	argv[3] = (char *)frames_path("p");
	argv[4] = (char *)frames_path("100-1-0.memline");
	ck_assert_int_eq(ml_command_pack(5, argv), 0);
}

static uint8_t *load(const char *path, size_t *bytes)
{
	int fd = open(path, O_RDONLY);
	struct stat st;
	uint8_t *all;

	ck_assert_int_eq(fstat(fd, &st), 0);
	*bytes = (size_t)st.st_size;
	all = malloc(*bytes);
	ck_assert_int_eq(read(fd, all, *bytes), st.st_size);
	close(fd);
	return all;
}

START_TEST(test_content)
{
	struct ml_pack *p;
	const struct ml_packed *item;
	size_t bytes, i;
	uint8_t *all, *part;
	char *error, *text;

	make_pack();
	all = load(frames_path("100-1-0.memline"), &bytes);
	part = malloc(bytes);
	p = ml_pack_open(frames_path("p"), &error);
	ck_assert_ptr_nonnull(p);
	item = ml_pack_find(p, ML_PACK_TRACE, "100-1-0.memline");
	ck_assert_ptr_nonnull(item);
	ck_assert_uint_eq(item->bytes, bytes);
	ck_assert(bytes > 2 * ML_PACK_BLOCK && bytes % ML_PACK_BLOCK);
	for (i = 0; i < bytes; i += 40000) {
		size_t n = bytes - i < 70000 ? bytes - i : 70000;
		ck_assert_int_eq(ml_pack_read(p, item, i, part, 70000), (int64_t)n);
		ck_assert_mem_eq(part, all + i, n);
	}
	ck_assert_int_eq(ml_pack_read(p, item, bytes, part, 1), 0);
	ck_assert_int_eq(ml_pack_read(p, item, UINT64_MAX, part, 1), 0);
	ck_assert_uint_eq(ml_pack_data(item, bytes), bytes);
	item = ml_pack_find(p, ML_PACK_SOURCE, frames_path("app.py"));
	text = ml_pack_text(p, item);
	ck_assert_str_eq(text, "def f():\n\tx()\n");
	free(text);
	ck_assert_ptr_null(ml_pack_find(p, ML_PACK_SOURCE, "app.py"));
	free(all);
	free(part);
	ml_pack_close(p);
}
END_TEST

START_TEST(test_is_a_trace)
{
	struct ml_finds finds = {NULL, 0};
	struct ml_reading r = {0};
	struct ml_warnings *w = &r.warnings;
	char *error;

	make_pack();
	frames_write("app.py", "changed\n", 60);
	ck_assert_int_eq(unlink(frames_path("100-1-0.memline")), 0);
	ck_assert_int_eq(ml_find(&finds, frames_path("p"), &error), 0);
	ck_assert_uint_eq(finds.n, 1);
	options.native = ML_NATIVE_FUNCTIONS;
	ck_assert_int_eq(ml_reading_add(&r, finds.items[0].path, &options, &error), 0);
	ml_reading_finish(&r, &options);
	ck_assert_uint_eq(r.totals.allocations, 30001);
	ck_assert_ptr_nonnull(frames_line(&r, "f", 2));
	ck_assert_ptr_nonnull(strstr(frames_function(&r, "f")->source->text, "x()"));
	ck_assert_uint_eq(w->n, 1);
	ck_assert_str_eq(w->texts[0], "native functions are not named, the file is not there: /nowhere/libx.so.1");
	ml_reading_close(&r);
	ml_finds_free(&finds);
}
END_TEST

static void reads_or_refuses(const uint8_t *bytes, size_t n)
{
	struct ml_finds finds = {NULL, 0};
	struct ml_reading r = {0};
	char *error = NULL;
	size_t i;

	build_save(frames_path("damaged"), bytes, n);
	if (ml_find(&finds, frames_path("damaged"), &error))
		free(error);
	for (i = 0; i < finds.n; i++)
		if (ml_reading_add(&r, finds.items[i].path, &options, &error))
			free(error);
	if (r.trace)
		ml_reading_finish(&r, &options);
	ml_reading_close(&r);
	ml_finds_free(&finds);
}

START_TEST(test_cut_off)
{
	char *error;
	size_t bytes, i;
	uint8_t *all;

	make_pack();
	all = load(frames_path("p"), &bytes);
	for (i = 0; i < bytes; i += i < 64 || bytes - i < 64 ? 1 : bytes / 40) {
		reads_or_refuses(all, i);
		ck_assert_ptr_null(ml_pack_open(frames_path("damaged"), &error));
		ck_assert_int_eq(error != NULL, i >= sizeof(struct ml_pack_header));
		free(error);
	}
	free(all);
}
END_TEST

/* Also behind a checksum that is right. */
START_TEST(test_damaged)
{
	struct ml_pack_trailer t;
	size_t bytes, at;
	uint8_t *all;
	int round;

	make_pack();
	all = load(frames_path("p"), &bytes);
	memcpy(&t, all + bytes - sizeof(t), sizeof(t));
	srand((unsigned)_i + 1);
	for (round = 0; round < 40; round++) {
		uint8_t *copy = malloc(bytes);
		memcpy(copy, all, bytes);
		at = round % 2 ? (size_t)rand() % bytes : t.index + (size_t)rand() % t.index_bytes;
		copy[at] ^= (uint8_t)(1 + rand() % 255);
		t.checksum = ml_checksum(copy + t.index, t.index_bytes);
		if (at < bytes - sizeof(t))
			memcpy(copy + bytes - sizeof(t), &t, sizeof(t));
		reads_or_refuses(copy, bytes);
		free(copy);
	}
	free(all);
}
END_TEST

START_TEST(test_other_version)
{
	size_t bytes;
	uint8_t *all;
	char *error;

	make_pack();
	all = load(frames_path("p"), &bytes);
	all[8]++;
	build_save(frames_path("other"), all, bytes);
	ck_assert_ptr_null(ml_pack_open(frames_path("other"), &error));
	ck_assert_ptr_nonnull(strstr(error, "another version"));
	free(error);
	free(all);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("pack");
	TCase *tests = tcase_create("pack");
	SRunner *runner = srunner_create(suite);
	int failed;

	frames_folder();
	tcase_add_checked_fixture(tests, set_up, NULL);
	tcase_add_test(tests, test_content);
	tcase_add_test(tests, test_is_a_trace);
	tcase_add_test(tests, test_cut_off);
	tcase_add_loop_test(tests, test_damaged, 0, 5);
	tcase_add_test(tests, test_other_version);
	tcase_set_timeout(tests, 60);
	suite_add_tcase(suite, tests);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
