/* The table of modules over lists that a loader seldom or never has: the loader's list is made up here. */
#include <check.h>
#include <dlfcn.h>
#include <link.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/time.h>

#include "symbolize/native/modules.h"

#define FAKES 3000
#define BASE 0x100000000u
#define STEP 0x100000u

/* The made-up list, while list_length is not 0. */
static struct dl_phdr_info list[FAKES];
static unsigned list_length;

/* In place of libc's, for the whole program: so also for a sanitizer that isn't ready yet. */
__attribute__((no_sanitize("thread"))) int
dl_iterate_phdr(int (*callback)(struct dl_phdr_info *info, size_t size, void *data), void *data)
{
	unsigned i;
	int result = 0;

	if (!list_length) {
		__typeof__(dl_iterate_phdr) *next = (__typeof__(next))dlsym(RTLD_NEXT, "dl_iterate_phdr");

		return next(callback, data);
	}
	for (i = 0; i < list_length && !result; i++)
		result = callback(&list[i], sizeof(list[i]), data);
	return result;
}

static struct ml_modules modules;
static int blocks_left; /* that pages() may still give; negative: any number */

static void *pages(size_t bytes)
{
	void *p;

	if (blocks_left == 0)
		return NULL;
	blocks_left--;
	p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	return p == MAP_FAILED ? NULL : p;
}

static const ElfW(Phdr) two_segments[] = {
	{.p_type = PT_LOAD, .p_vaddr = 0, .p_memsz = 0x1000},
	{.p_type = PT_LOAD, .p_vaddr = 0x3000, .p_memsz = 0x800},
};

static char names[FAKES][16];

/* Objects first to last, each with two segments, at ascending addresses. */
static void make_list(unsigned first, unsigned last)
{
	unsigned i;

	list_length = 0;
	for (i = first; i <= last; i++) {
		snprintf(names[i], sizeof(names[i]), "/lib/%u.so", i);
		list[i - first] = (struct dl_phdr_info){.dlpi_addr = BASE + (ElfW(Addr))i * STEP,
							.dlpi_name = names[i],
							.dlpi_phdr = two_segments,
							.dlpi_phnum = 2};
	}
	list_length = last - first + 1;
}

static void setup(void)
{
	blocks_left = -1;
	ml_modules_init(&modules, pages, "/the/program");
}

static void teardown(void)
{
	list_length = 0;
}

static unsigned refresh(void)
{
	return ml_modules_refresh(&modules, NULL, NULL);
}

static uint32_t find(uintptr_t address)
{
	uint64_t offset;

	return ml_modules_find(&modules, address, &offset);
}

START_TEST(test_gaps)
{
	make_list(0, 9);
	ck_assert_uint_eq(refresh(), 0);
	ck_assert_uint_eq(find(BASE - 1), 0);
	ck_assert_uint_eq(find(BASE), 1);
	ck_assert_uint_eq(find(BASE + 0xfff), 1);
	ck_assert_uint_eq(find(BASE + 0x1000), 0);
	ck_assert_uint_eq(find(BASE + 0x2fff), 0);
	ck_assert_uint_eq(find(BASE + 0x3000), 1);
	ck_assert_uint_eq(find(BASE + 0x37ff), 1);
	ck_assert_uint_eq(find(BASE + 0x3800), 0);
	ck_assert_uint_eq(find(BASE + 9 * STEP), 10);
	ck_assert_uint_eq(find(BASE + 10 * STEP), 0);
}
END_TEST

START_TEST(test_ends_of_the_list)
{
	uint32_t epoch = 0;
	static const struct {
		unsigned first, last, count;
	} step[] = {{0, 9, 10}, {0, 8, 10}, {0, 9, 10}, {1, 9, 10}, {0, 9, 10}, {0, 10, 11}, {5, 5, 11}, {0, 10, 11}};
	unsigned i, n;

	for (i = 0; i < sizeof(step) / sizeof(step[0]); i++) {
		make_list(step[i].first, step[i].last);
		ck_assert_uint_eq(refresh(), 0);
		ck_assert_uint_eq(ml_modules_epoch(&modules), ++epoch);
		ck_assert_uint_eq(ml_modules_count(&modules), step[i].count);
		for (n = 0; n < 12; n++)
			ck_assert_uint_eq(find(BASE + n * STEP), n >= step[i].first && n <= step[i].last ? n + 1 : 0);
		ck_assert_uint_eq(refresh(), 0);
		ck_assert_uint_eq(ml_modules_epoch(&modules), epoch);
	}
}
END_TEST

START_TEST(test_any_order)
{
	static const unsigned order[] = {7, 3, 9, 1, 0, 8, 2, 6, 5, 4};
	struct dl_phdr_info in_order[10];
	unsigned i;

	make_list(0, 9);
	memcpy(in_order, list, sizeof(in_order));
	for (i = 0; i < 10; i++)
		list[i] = in_order[order[i]];
	ck_assert_uint_eq(refresh(), 0);
	for (i = 0; i < 10; i++)
		ck_assert_uint_eq(find(BASE + order[i] * STEP), i + 1);
	/* The same objects in another order are no change. */
	make_list(0, 9);
	ck_assert_uint_eq(refresh(), 0);
	ck_assert_uint_eq(ml_modules_epoch(&modules), 1);
	ck_assert_uint_eq(ml_modules_count(&modules), 10);
}
END_TEST

START_TEST(test_growth)
{
	unsigned last;

	for (last = 99; last < FAKES; last += 100) {
		unsigned i;

		make_list(0, last);
		ck_assert_uint_eq(refresh(), 0);
		for (i = 0; i <= last; i++)
			ck_assert_uint_eq(find(BASE + (uintptr_t)i * STEP), i + 1);
	}
	for (last = 0; last < FAKES; last++)
		ck_assert_str_eq(ml_modules_get(&modules, last + 1)->path, names[last]);
}
END_TEST

/* One file that is loaded at ever new addresses. */
START_TEST(test_full_table)
{
	const char *path = NULL;
	unsigned n, left = ML_MODULES_MAX + 10;

	while (left > 0) {
		unsigned i, count = left < FAKES ? left : FAKES;

		make_list(0, count - 1);
		for (i = 0; i < count; i++) {
			list[i].dlpi_addr = BASE + (uintptr_t)(left - i) * STEP;
			list[i].dlpi_name = "/lib/again.so";
		}
		left -= count;
		ck_assert_uint_eq(refresh(), left > 0 ? 0 : 10);
		if (!path)
			path = ml_modules_get(&modules, 1)->path;
	}
	ck_assert_uint_eq(ml_modules_count(&modules), ML_MODULES_MAX);
	for (n = 1; n <= ML_MODULES_MAX; n++)
		ck_assert_ptr_eq(ml_modules_get(&modules, n)->path, path);
	ck_assert_uint_eq(find(BASE + 11 * STEP), ML_MODULES_MAX);
	ck_assert_uint_eq(find(BASE + 10 * STEP), 0);
}
END_TEST

START_TEST(test_left_out)
{
	static char path[100000];

	memset(path, 'x', sizeof(path) - 1);
	make_list(0, 8);
	ck_assert_uint_eq(refresh(), 0);
	make_list(0, 9);
	ck_assert_uint_eq(refresh(), 0);
	list[0].dlpi_name = path;
	blocks_left = 0; /* none is needed but for the path */
	ck_assert_uint_eq(refresh(), 1);
	ck_assert_uint_eq(find(BASE), 0);
	ck_assert_uint_eq(find(BASE + STEP), 2);
	blocks_left = -1;
	ck_assert_uint_eq(refresh(), 0);
	ck_assert_uint_eq(find(BASE), 11);
	ck_assert_str_eq(ml_modules_get(&modules, 11)->path, path);
	ck_assert_uint_eq(ml_modules_get(&modules, 11)->path_bytes, sizeof(path) - 1);
}
END_TEST

START_TEST(test_names)
{
	make_list(0, 3);
	list[0].dlpi_name = "";
	list[1].dlpi_name = "linux-vdso.so.1";
	list[2].dlpi_name = NULL;
	ck_assert_uint_eq(refresh(), 0);
	ck_assert_str_eq(ml_modules_get(&modules, 1)->path, "/the/program");
	ck_assert_str_eq(ml_modules_get(&modules, 2)->path, "[vdso]");
	ck_assert_str_eq(ml_modules_get(&modules, 3)->path, "[vdso]");
	/* A program that was started through the loader has a name. */
	list[0].dlpi_name = "./program";
	ck_assert_uint_eq(refresh(), 0);
	ck_assert_str_eq(ml_modules_get(&modules, find(BASE))->path, "./program");
}
END_TEST

/* Notes that the first segment holds, told by their words. */
static struct ml_module module_with_notes(const uint32_t *words, size_t bytes, size_t align, size_t loaded)
{
	ElfW(Phdr) headers[] = {{.p_type = PT_LOAD, .p_memsz = loaded},
				{.p_type = PT_NOTE, .p_memsz = bytes, .p_align = align}};

	make_list(0, 0);
	list[0].dlpi_addr = (uintptr_t)words;
	list[0].dlpi_phdr = headers;
	ck_assert_uint_eq(refresh(), 0);
	return *ml_modules_get(&modules, ml_modules_count(&modules));
}

#define GNU 0x554e47

START_TEST(test_notes)
{
	static const uint32_t good[] = {4, 4, NT_GNU_BUILD_ID, GNU, 0x04030201};
	static const uint32_t second[] = {4, 5, 1, GNU, 1, 2, 4, 4, NT_GNU_BUILD_ID, GNU, 0x04030201};
	static const uint32_t odd_name[] = {6, 0, 1, 1, 2, 4, 4, NT_GNU_BUILD_ID, GNU, 0x04030201};
	static const uint32_t wide[] = {4, 12, 5, GNU, 1, 2, 3, 0, 4, 4, NT_GNU_BUILD_ID, GNU, 0x04030201, 0};
	static const uint32_t other_owner[] = {4, 4, NT_GNU_BUILD_ID, GNU + 1, 0x04030201};
	static const uint32_t too_long[] = {4, 8, NT_GNU_BUILD_ID, GNU, 0x04030201};
	static const uint32_t endless[] = {0xffffffff, 0xffffffff, NT_GNU_BUILD_ID, GNU, 0x04030201};
	static const uint32_t cut[] = {4, 0, 1, GNU, 4, 4};
	static const uint8_t id[] = {1, 2, 3, 4};
	struct ml_module m;

#define CHECK(words, align, loaded, found)                                                                             \
	m = module_with_notes(words, sizeof(words), align, loaded);                                                    \
	ck_assert_uint_eq(m.build_id_bytes, (found) ? 4 : 0);                                                          \
	ck_assert(!(found) || memcmp(m.build_id, id, sizeof(id)) == 0)
	CHECK(good, 4, 0x1000, 1);
	CHECK(second, 4, 0x1000, 1);
	CHECK(odd_name, 4, 0x1000, 1);
	CHECK(wide, 8, 0x1000, 1);
	CHECK(other_owner, 4, 0x1000, 0);
	CHECK(too_long, 4, 0x1000, 0);
	CHECK(endless, 4, 0x1000, 0);
	CHECK(cut, 4, 0x1000, 0);
	/* Not in memory: not read. */
	CHECK(good, 4, sizeof(good) - 1, 0);
}
END_TEST

static volatile unsigned interruptions;

/* Once, after the interrupted reader has had some time. */
static void ask_for_interruption(void)
{
	struct itimerval soon = {.it_value = {.tv_usec = 50}};

	setitimer(ITIMER_REAL, &soon, NULL);
}

/* Everything moves in the index, twice, so that the index that an interrupted reader is in is written over. */
static void move_all(int signal)
{
	(void)signal;
	make_list(++interruptions % 2 ? 100 : 0, 200);
	refresh();
	make_list(interruptions % 2 ? 0 : 100, 200);
	refresh();
	make_list(interruptions % 2 ? 50 : 0, 200);
	refresh();
	ask_for_interruption();
}

START_TEST(test_interrupted_reader)
{
	struct sigaction action = {.sa_handler = move_all};
	unsigned i = 0, wrong = 0;

	make_list(0, 200);
	refresh();
	sigaction(SIGALRM, &action, NULL);
	ask_for_interruption();
	while (interruptions < 2000) {
		i = 100 + (i + 1) % 100;
		wrong += find(BASE + (uintptr_t)i * STEP) != i + 1;
	}
	signal(SIGALRM, SIG_IGN);
	ck_assert_uint_eq(wrong, 0);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("modules_list");
	TCase *tests = tcase_create("modules_list");
	SRunner *runner = srunner_create(suite);
	int failed;

	tcase_add_checked_fixture(tests, setup, teardown);
	tcase_add_test(tests, test_gaps);
	tcase_add_test(tests, test_ends_of_the_list);
	tcase_add_test(tests, test_any_order);
	tcase_add_test(tests, test_growth);
	tcase_add_test(tests, test_full_table);
	tcase_add_test(tests, test_left_out);
	tcase_add_test(tests, test_names);
	tcase_add_test(tests, test_notes);
	tcase_add_test(tests, test_interrupted_reader);
	tcase_set_timeout(tests, 120);
	suite_add_tcase(suite, tests);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed != 0;
}
