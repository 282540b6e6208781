#include <check.h>
#include <dlfcn.h>
#include <errno.h>
#include <link.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "symbolize/native/modules.h"

#define OBJECT(name) ML_TEST_OBJECTS "/" name ".so"
#define PROGRAM "/the/program"

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

static uint32_t last_id; /* of all that were ever added */

static void note_added(void *context, const struct ml_module *module)
{
	uint64_t offset;

	++*(unsigned *)context;
	ck_assert_uint_eq(module->id, ++last_id);
	ck_assert_ptr_eq(module, ml_modules_get(&modules, module->id));
	ck_assert_uint_ne(ml_modules_find(&modules, module->start, &offset), module->id);
}

/* Refreshes; returns how many modules were added. */
static unsigned refresh(void)
{
	unsigned added = 0;

	ck_assert_uint_eq(ml_modules_refresh(&modules, note_added, &added), 0);
	ck_assert_uint_eq(ml_modules_count(&modules), last_id);
	return added;
}

static void setup(void)
{
	blocks_left = -1;
	last_id = 0;
	ml_modules_init(&modules, pages, PROGRAM);
}

static uint32_t find(const void *address)
{
	uint64_t offset;
	uint32_t id = ml_modules_find(&modules, (uintptr_t)address, &offset);

	ck_assert_uint_eq(offset, (uintptr_t)address - (id ? ml_modules_get(&modules, id)->base : 0));
	ck_assert_ptr_eq(ml_modules_at(&modules, (uintptr_t)address), id ? ml_modules_get(&modules, id) : NULL);
	return id;
}

struct library {
	void *handle;
	char *function;
};

static struct library load(const char *path)
{
	struct library l = {.handle = dlopen(path, RTLD_NOW | RTLD_LOCAL)};

	ck_assert_msg(l.handle != NULL, "%s", dlerror());
	l.function = dlsym(l.handle, "twin_function");
	ck_assert_ptr_nonnull(l.function);
	return l;
}

/* Loads path at the address where its twin had the function. */
static struct library load_at(const char *path, const char *function)
{
	struct library l = load(path), held[64];
	int n = 0;

	while (l.function != function && n < 64) {
		char copy[] = "/tmp/memline-test-XXXXXX";
		char command[4200];

		/* Some other hole was found first: fill it. */
		close(mkstemp(copy));
		snprintf(command, sizeof(command), "cp '%s' %s", path, copy);
		ck_assert_int_eq(system(command), 0);
		dlclose(l.handle);
		held[n++] = load(copy);
		unlink(copy);
		l = load(path);
	}
	ck_assert_ptr_eq(l.function, function);
	while (n > 0)
		dlclose(held[--n].handle);
	return l;
}

static int check_segments(struct dl_phdr_info *info, size_t size, void *visited)
{
	const struct ml_module *module = NULL;
	ElfW(Half) i;

	(void)size;
	for (i = 0; i < info->dlpi_phnum; i++) {
		const char *start = (const char *)info->dlpi_addr + info->dlpi_phdr[i].p_vaddr;
		uint32_t id;

		if (info->dlpi_phdr[i].p_type != PT_LOAD)
			continue;
		id = find(start);
		ck_assert_uint_ne(id, 0);
		ck_assert_uint_eq(find(start + info->dlpi_phdr[i].p_memsz - 1), id);
		ck_assert(!module || module->id == id);
		module = ml_modules_get(&modules, id);
		ck_assert_uint_eq(module->base, info->dlpi_addr);
		ck_assert((uintptr_t)start >= module->start);
		ck_assert((uintptr_t)start + info->dlpi_phdr[i].p_memsz <= module->end);
	}
	ck_assert_ptr_nonnull(module);
	ck_assert_uint_ne(find((const char *)module->start - 1), module->id);
	ck_assert_uint_ne(find((const char *)module->end), module->id);
	if (*info->dlpi_name && !strstr(info->dlpi_name, "vdso"))
		ck_assert_str_eq(module->path, info->dlpi_name);
	++*(unsigned *)visited;
	return 0;
}

START_TEST(test_all_segments)
{
	unsigned visited = 0;

	ck_assert_uint_eq(find(check_segments), 0);
	ck_assert_uint_eq(ml_modules_epoch(&modules), 0);
	ck_assert_uint_ge(refresh(), 3);
	ck_assert_uint_eq(ml_modules_epoch(&modules), 1);
	dl_iterate_phdr(check_segments, &visited);
	ck_assert_uint_eq(visited, ml_modules_count(&modules));
	ck_assert_uint_eq(refresh(), 0);
	ck_assert_uint_eq(ml_modules_epoch(&modules), 1);
}
END_TEST

START_TEST(test_program_and_vdso)
{
	int on_the_stack = 0;
	void *on_the_heap = malloc(100);
	const void *vdso = (const void *)getauxval(AT_SYSINFO_EHDR);

	refresh();
	ck_assert_uint_eq(find(check_segments), 1);
	ck_assert_str_eq(ml_modules_get(&modules, 1)->path, PROGRAM);
	ck_assert_uint_eq(ml_modules_get(&modules, 1)->path_bytes, strlen(PROGRAM));
	ck_assert_uint_eq(find(&on_the_stack), 0);
	ck_assert_uint_eq(find(on_the_heap), 0);
	ck_assert_uint_eq(find(NULL), 0);
	ck_assert_uint_eq(find((const void *)UINTPTR_MAX), 0);
	free(on_the_heap);
	if (vdso)
		ck_assert_str_eq(ml_modules_get(&modules, find(vdso))->path, "[vdso]");
	else
		printf("# SKIP test_program_and_vdso: the kernel gives this process no vdso\n");
}
END_TEST

START_TEST(test_build_id)
{
	static const uint8_t id_of_a[] = {0xa1, 0xa2, 0xa3, 0xa4, 0xa5, 0xa6, 0xa7, 0xa8};
	struct library a = load(OBJECT("twin_a")), none = load(OBJECT("twin_none"));
	const struct ml_module *module;

	refresh();
	module = ml_modules_get(&modules, find(a.function));
	ck_assert_str_eq(module->path, OBJECT("twin_a"));
	ck_assert_uint_eq(module->build_id_bytes, sizeof(id_of_a));
	ck_assert_mem_eq(module->build_id, id_of_a, sizeof(id_of_a));
	module = ml_modules_get(&modules, find(none.function));
	ck_assert_str_eq(module->path, OBJECT("twin_none"));
	ck_assert_uint_eq(module->build_id_bytes, 0);
	dlclose(a.handle);
	dlclose(none.handle);
}
END_TEST

START_TEST(test_come_and_go)
{
	struct library a;
	uint32_t id, epoch;
	char *function;

	refresh();
	epoch = ml_modules_epoch(&modules);
	a = load(OBJECT("twin_a"));
	ck_assert_uint_eq(find(a.function), 0);
	ck_assert_uint_eq(refresh(), 1);
	ck_assert_uint_eq(ml_modules_epoch(&modules), epoch + 1);
	id = find(a.function);
	ck_assert_uint_eq(id, ml_modules_count(&modules));
	ck_assert_uint_eq(ml_modules_get(&modules, id)->epoch, epoch + 1);

	dlclose(a.handle);
	ck_assert_uint_eq(refresh(), 0);
	ck_assert_uint_eq(ml_modules_epoch(&modules), epoch + 2);
	ck_assert_uint_eq(find(a.function), 0);
	ck_assert_str_eq(ml_modules_get(&modules, id)->path, OBJECT("twin_a"));

	/* Back where it was, it is the module that it was; elsewhere it is another, of the same file. */
	function = a.function;
	a = load_at(OBJECT("twin_a"), function);
	ck_assert_uint_eq(refresh(), 0);
	ck_assert_uint_eq(ml_modules_epoch(&modules), epoch + 3);
	ck_assert_uint_eq(find(function), id);
	dlclose(a.handle);
}
END_TEST

START_TEST(test_twin_at_the_same_address)
{
	struct library a = load(OBJECT("twin_a")), b;
	uint32_t id_a, id_b;

	refresh();
	id_a = find(a.function);
	dlclose(a.handle);
	b = load_at(OBJECT("twin_b"), a.function);
	/* Not seen in between: the address is the same, the module is not. */
	ck_assert_uint_eq(refresh(), 1);
	id_b = find(a.function);
	ck_assert_uint_eq(id_b, ml_modules_count(&modules));
	ck_assert_uint_ne(id_b, id_a);
	ck_assert_str_eq(ml_modules_get(&modules, id_a)->path, OBJECT("twin_a"));
	ck_assert_str_eq(ml_modules_get(&modules, id_b)->path, OBJECT("twin_b"));
	dlclose(b.handle);
}
END_TEST

START_TEST(test_file_replaced)
{
	char directory[] = "/tmp/memline-test-XXXXXX";
	char command[4200], path[64];
	struct library a, b;
	uint32_t id;

	ck_assert_ptr_nonnull(mkdtemp(directory));
	snprintf(path, sizeof(path), "%s/twin.so", directory);
	snprintf(command, sizeof(command), "cp '%s' %s", OBJECT("twin_a"), path);
	ck_assert_int_eq(system(command), 0);
	a = load(path);
	refresh();
	id = find(a.function);
	dlclose(a.handle);
	unlink(path);
	snprintf(command, sizeof(command), "cp '%s' %s", OBJECT("twin_b"), path);
	ck_assert_int_eq(system(command), 0);
	b = load_at(path, a.function);
	ck_assert_uint_eq(refresh(), 1);
	ck_assert_uint_ne(find(b.function), id);
	ck_assert_str_eq(ml_modules_get(&modules, find(b.function))->path, path);
	dlclose(b.handle);
	unlink(path);
	rmdir(directory);
}
END_TEST

#define MANY 100

START_TEST(test_many)
{
	static struct library many[MANY];
	char directory[] = "/tmp/memline-test-XXXXXX";
	char command[4200], path[64];
	unsigned first, i;
	unsigned visited = 0;

	refresh();
	first = ml_modules_count(&modules);
	ck_assert_ptr_nonnull(mkdtemp(directory));
	for (i = 0; i < MANY; i++) {
		snprintf(path, sizeof(path), "%s/%u.so", directory, i);
		snprintf(command, sizeof(command), "cp '%s' %s", OBJECT("twin_a"), path);
		ck_assert_int_eq(system(command), 0);
		many[i] = load(path);
		if (i % 20 == 19)
			ck_assert_uint_eq(refresh(), 20);
	}
	dl_iterate_phdr(check_segments, &visited);
	ck_assert_uint_eq(visited, first + MANY);
	for (i = 0; i < MANY; i++) {
		snprintf(path, sizeof(path), "%s/%u.so", directory, i);
		ck_assert_uint_eq(find(many[i].function), first + 1 + i);
		ck_assert_str_eq(ml_modules_get(&modules, first + 1 + i)->path, path);
		unlink(path);
	}
	for (i = 0; i < MANY; i += 2)
		dlclose(many[i].handle);
	ck_assert_uint_eq(refresh(), 0);
	for (i = 0; i < MANY; i++)
		ck_assert_uint_eq(find(many[i].function), i % 2 ? first + 1 + i : 0);
	for (i = 1; i < MANY; i += 2)
		dlclose(many[i].handle);
	rmdir(directory);
}
END_TEST

/* Memory for _i blocks: whatever is missing is said, what is known is right, and with memory all is well. */
START_TEST(test_no_memory)
{
	unsigned left_out, added = 0, visited = 0;
	uint32_t id;

	blocks_left = _i;
	left_out = ml_modules_refresh(&modules, note_added, &added);
	ck_assert_uint_eq(left_out == 0, _i >= 4);
	id = find(check_segments);
	ck_assert(id == 0 || id == 1);
	ck_assert_uint_eq(id, left_out == 0);
	blocks_left = -1;
	refresh();
	dl_iterate_phdr(check_segments, &visited);
	ck_assert_uint_eq(visited, ml_modules_count(&modules));
}
END_TEST

static void fork_in_child(void *context, const struct ml_module *module)
{
	pid_t *child = context;

	if (module->id == 2)
		*child = fork();
}

START_TEST(test_fork)
{
	pid_t child = -1;
	int status;
	unsigned visited = 0;

	/* The child finds itself in the middle of a refresh; it leaves that and makes one of its own. */
	ck_assert_uint_eq(ml_modules_refresh(&modules, fork_in_child, &child), 0);
	last_id = ml_modules_count(&modules);
	if (child == 0) {
		ck_assert_uint_eq(refresh(), 0);
		dl_iterate_phdr(check_segments, &visited);
		_exit(visited == ml_modules_count(&modules) ? 0 : 1);
	}
	ck_assert_int_gt(child, 0);
	ck_assert_int_eq(waitpid(child, &status, 0), child);
	ck_assert_int_eq(status, 0);
}
END_TEST

static _Atomic int stop;
static _Atomic uintptr_t flapping;

/* Finds what stays, right, and what comes and goes, right or not at all. */
static void *read_on(void *finds)
{
	static const char twins[] = ML_TEST_OBJECTS "/twin_";
	uint64_t offset;
	uint32_t id;

	while (!atomic_load(&stop)) {
		uintptr_t address = atomic_load(&flapping);

		if (ml_modules_find(&modules, (uintptr_t)read_on, &offset) != 1)
			return "the program was not found";
		if (offset != (uintptr_t)read_on - ml_modules_get(&modules, 1)->base)
			return "the program was found elsewhere";
		id = ml_modules_find(&modules, address, &offset);
		if (id > ml_modules_count(&modules))
			return "there is no such module";
		if (offset != address - (id ? ml_modules_get(&modules, id)->base : 0))
			return "the offset is not from the module's base";
		if (id && strncmp(ml_modules_get(&modules, id)->path, twins, strlen(twins)))
			return "another module was found";
		++*(unsigned *)finds;
	}
	return NULL;
}

START_TEST(test_readers)
{
	struct library a = load(OBJECT("twin_a"));
	pthread_t thread[2];
	unsigned finds[2] = {0}, i;
	void *what;

	refresh();
	atomic_store(&flapping, (uintptr_t)a.function);
	for (i = 0; i < 2; i++)
		ck_assert_int_eq(pthread_create(&thread[i], NULL, read_on, &finds[i]), 0);
	for (i = 0; i < 300; i++) {
		dlclose(a.handle);
		refresh();
		a = load(i % 2 ? OBJECT("twin_a") : OBJECT("twin_b"));
		refresh();
	}
	atomic_store(&stop, 1);
	for (i = 0; i < 2; i++) {
		pthread_join(thread[i], &what);
		ck_assert_msg(!what, "%s", (char *)what);
		ck_assert_uint_gt(finds[i], 100);
	}
	dlclose(a.handle);
}
END_TEST

START_TEST(test_errno)
{
	uint64_t offset;

	errno = 77;
	refresh();
	ml_modules_find(&modules, 1, &offset);
	ck_assert_int_eq(errno, 77);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("modules");
	TCase *tests = tcase_create("modules");
	SRunner *runner = srunner_create(suite);
	int failed;

	tcase_add_checked_fixture(tests, setup, NULL);
	tcase_add_test(tests, test_all_segments);
	tcase_add_test(tests, test_program_and_vdso);
	tcase_add_test(tests, test_build_id);
	tcase_add_test(tests, test_come_and_go);
	tcase_add_test(tests, test_twin_at_the_same_address);
	tcase_add_test(tests, test_file_replaced);
	tcase_add_test(tests, test_many);
	tcase_add_loop_test(tests, test_no_memory, 0, 6);
	tcase_add_test(tests, test_fork);
	tcase_add_test(tests, test_readers);
	tcase_add_test(tests, test_errno);
	tcase_set_timeout(tests, 120);
	suite_add_tcase(suite, tests);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed != 0;
}
