#include <check.h>
#include <dlfcn.h>
#include <errno.h>
#include <gnu/libc-version.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "preload/symbols.h"

#define OBJECT(name) ML_TEST_OBJECTS "/" name ".so"

static void *open_object(const char *path, int mode)
{
	void *handle = dlopen(path, mode);

	ck_assert_msg(handle != NULL, "%s", dlerror());
	return handle;
}

/* Calls ask with each dynamic symbol's name of an object that has a DT_GNU_HASH; not thread-local ones, for which dlsym
   has an answer and we don't. */
static void each_symbol(const struct ml_object *o, void (*ask)(const struct ml_object *o, const char *name, void *c),
			void *context)
{
	const uint32_t *table = o->gnu_hash;
	const uint32_t *bucket = (const uint32_t *)((const uint64_t *)(table + 4) + table[2]);
	const uint32_t *chain = bucket + table[0];
	uint32_t i, last = 0;

	for (i = 0; i < table[0]; i++)
		if (bucket[i] > last)
			last = bucket[i];
	while (last >= table[1] && !(chain[last - table[1]] & 1))
		last++;
	for (i = 1; i <= last; i++)
		if (ELF64_ST_TYPE(o->symbols[i].st_info) != STT_TLS)
			ask(o, o->strings + o->symbols[i].st_name, context);
}

/* What dlsym says that the object itself defines, is what we say. */
static void same_as_dlsym(const struct ml_object *o, const char *name, void *handle)
{
	void *ours = ml_symbols_in(o, name);
	char *loaders = dlsym(handle, name);

	if (ours)
		/* Data of which the program has a copy differ. */
		ck_assert_msg(ours == loaders || ours == dlsym(RTLD_DEFAULT, name), "%s: %p, not %p", name, ours,
			      (void *)loaders);
	else if (loaders)
		ck_assert_msg((uintptr_t)loaders < o->start || (uintptr_t)loaders >= o->end, "%s is in %s", name,
			      o->path);
}

static void count(const struct ml_object *o, const char *name, void *names)
{
	(void)o;
	(void)name;
	++*(unsigned *)names;
}

/* Did the loader find the same behind someone? Before glibc 2.36 it took a symbol's oldest version there, and its
   default version everywhere else (sourceware.org bug 14932). */
static bool agrees(const char *name, void *ours, void *loaders)
{
	const char *minor = strchr(gnu_get_libc_version(), '.') + 1;

	return ours == loaders || (atoi(minor) < 36 && ours == dlsym(RTLD_DEFAULT, name));
}

static void same_next(const struct ml_object *o, const char *name, void *context)
{
	void *ours = ml_symbols_next(name), *loaders = dlsym(RTLD_NEXT, name);

	count(o, name, context);
	ck_assert_msg(agrees(name, ours, loaders), "%s: %p, not %p", name, ours, loaders);
}

START_TEST(test_hash)
{
	static const char *const paths[] = {OBJECT("hash_sysv"), OBJECT("hash_gnu"), OBJECT("hash_both")};
	void *handle = open_object(paths[_i], RTLD_NOW | RTLD_LOCAL);
	struct ml_object o;
	char name[32];
	int i;

	ck_assert_int_eq(ml_symbols_object_with("numbered_10", &o), 0);
	ck_assert_str_eq(o.path, paths[_i]);
	ck_assert_int_eq(o.sysv_hash != NULL, _i != 1);
	ck_assert_int_eq(o.gnu_hash != NULL, _i != 0);
	for (i = 0; i < 300; i++) {
		void *found;

		snprintf(name, sizeof(name), "numbered_%d", i);
		found = ml_symbols_in(&o, name);
		ck_assert_ptr_eq(found, dlsym(handle, name));
		ck_assert_int_eq(found != NULL, i >= 10 && i < 100);
		if (found)
			ck_assert_int_eq(((int (*)(void))found)(), i);
	}
	ck_assert_ptr_eq(ml_symbols_in(&o, "data_symbol"), dlsym(handle, "data_symbol"));
	ck_assert_ptr_eq(ml_symbols_in(&o, "weak_function"), dlsym(handle, "weak_function"));
	ck_assert_uint_eq((uintptr_t)ml_symbols_in(&o, "absolute_symbol"), 0x1234);
	ck_assert_ptr_eq(dlsym(handle, "absolute_symbol"), (void *)0x1234);
	ck_assert_ptr_null(ml_symbols_in(&o, "thread_symbol"));
	ck_assert_ptr_null(ml_symbols_in(&o, "second_thread_symbol"));
	ck_assert_ptr_null(ml_symbols_in(&o, "hidden_function"));
	ck_assert_ptr_null(ml_symbols_in(&o, "missing_function"));
	ck_assert_ptr_null(ml_symbols_in(&o, ""));
	ck_assert_int_eq(ml_symbols_object_with("missing_function", &o), -1);
	dlclose(handle);
	ck_assert_int_eq(ml_symbols_object_with("numbered_10", &o), -1);
}
END_TEST

START_TEST(test_versions)
{
	void *handle = open_object(OBJECT("versions"), RTLD_NOW | RTLD_LOCAL);
	struct ml_object o;
	int (*answer)(void);

	ck_assert_int_eq(ml_symbols_object_with("answer", &o), 0);
	ck_assert_ptr_nonnull(o.versions);
	answer = (int (*)(void))ml_symbols_in(&o, "answer");
	ck_assert_int_eq(answer(), 2);
	ck_assert_ptr_eq((void *)answer, dlsym(handle, "answer"));
	ck_assert_ptr_nonnull(dlvsym(handle, "withdrawn", "VERSION_1"));
	ck_assert_ptr_null(ml_symbols_in(&o, "withdrawn"));
	ck_assert_int_eq(ml_symbols_object_with("withdrawn", &o), -1);
	dlclose(handle);
}
END_TEST

START_TEST(test_local)
{
	void *handle = open_object(OBJECT("hash_gnu"), RTLD_NOW | RTLD_LOCAL);
	struct ml_object o;

	ck_assert_ptr_null(dlsym(RTLD_DEFAULT, "numbered_11"));
	ck_assert_int_eq(ml_symbols_object_with("numbered_11", &o), 0);
	ck_assert_ptr_eq(ml_symbols_in(&o, "numbered_11"), dlsym(handle, "numbered_11"));
	dlclose(handle);
}
END_TEST

START_TEST(test_indirect)
{
	void *handle = open_object(OBJECT("indirect"), RTLD_NOW | RTLD_LOCAL);
	struct ml_object o;
	void *found;

	ck_assert_int_eq(ml_symbols_object_with("indirect_function", &o), 0);
	found = ml_symbols_in(&o, "indirect_function");
	ck_assert_ptr_eq(found, dlsym(handle, "forty_five"));
	ck_assert_int_eq(((int (*)(void))found)(), 45);
	dlclose(handle);
}
END_TEST

static int resolved;

/* Here the object that calls the indirect function is in the loader's list, and is being relocated. */
static void look_at_half_loaded(void)
{
	struct ml_object o;

	ck_assert_int_eq(ml_symbols_object_with("calls_indirect", &o), 0);
	ck_assert_ptr_nonnull(ml_symbols_in(&o, "calls_indirect"));
	ck_assert(!ml_symbols_relocated(&o));
	ck_assert_int_eq(ml_symbols_object_with("indirect_function", &o), 0);
	ck_assert(ml_symbols_relocated(&o));
	resolved++;
}

START_TEST(test_half_loaded)
{
	static const char *const paths[] = {OBJECT("calls_indirect"), OBJECT("calls_indirect_by_data")};
	void *first = open_object(OBJECT("indirect"), RTLD_NOW | RTLD_GLOBAL), *second;
	void (**on_resolve)(void) = (void (**)(void))dlsym(first, "on_resolve");
	struct ml_object o;

	*on_resolve = look_at_half_loaded;
	second = open_object(paths[_i], RTLD_NOW | RTLD_LOCAL);
	ck_assert_int_eq(resolved, 1);
	*on_resolve = NULL;
	ck_assert_int_eq(ml_symbols_object_with("calls_indirect", &o), 0);
	ck_assert(ml_symbols_relocated(&o));
	ck_assert_int_eq(((int (*)(void))ml_symbols_in(&o, "calls_indirect"))(), 46);
	dlclose(second);
	dlclose(first);
}
END_TEST

START_TEST(test_every_symbol)
{
	static const struct {
		const char *library;
		const char *function; /* that no other library defines */
	} all[] = {
		{"libc.so.6", "gnu_get_libc_version"},
		{"libm.so.6", "cbrt"},
		{"libstdc++.so.6", "_ZSt9terminatev"},
	};
	void *handle = open_object(all[_i].library, RTLD_NOW);
	struct ml_object o;
	unsigned names = 0;

	ck_assert_int_eq(ml_symbols_object_with(all[_i].function, &o), 0);
	ck_assert_msg(strstr(o.path, all[_i].library) != NULL, "%s", o.path);
	ck_assert(ml_symbols_relocated(&o));
	each_symbol(&o, same_as_dlsym, handle);
	each_symbol(&o, count, &names);
	ck_assert_uint_gt(names, 500);
	dlclose(handle);
}
END_TEST

START_TEST(test_next)
{
	struct ml_object libc;
	unsigned names = 0;

	ck_assert_int_eq(ml_symbols_object_with("gnu_get_libc_version", &libc), 0);
	each_symbol(&libc, same_next, &names);
	ck_assert_uint_gt(names, 2000);
	ck_assert_ptr_null(ml_symbols_next("no_object_defines_this"));
	/* The program's own are not behind it. */
	ck_assert_ptr_null(ml_symbols_next("main"));
}
END_TEST

START_TEST(test_program_copy)
{
	struct ml_object libc;

	ck_assert_int_eq(ml_symbols_object_with("gnu_get_libc_version", &libc), 0);
	ck_assert_ptr_eq(ml_symbols_in(&libc, "stdout"), &stdout);
	ck_assert_ptr_eq(ml_symbols_in(&libc, "environ"), &environ);
}
END_TEST

START_TEST(test_vdso)
{
#if defined(__aarch64__)
	const char *name = "__kernel_clock_gettime";
#else
	const char *name = "__vdso_clock_gettime";
#endif
	struct ml_object vdso;
	struct timespec before, now, after;
	int (*get)(clockid_t, struct timespec *);

	if (!getauxval(AT_SYSINFO_EHDR)) {
		printf("# SKIP test_vdso: the kernel gives this process no vdso\n");
		return;
	}
	ck_assert_int_eq(ml_symbols_object_with(name, &vdso), 0);
	ck_assert_uint_eq(vdso.start, getauxval(AT_SYSINFO_EHDR));
	ck_assert(ml_symbols_relocated(&vdso));
	get = (int (*)(clockid_t, struct timespec *))ml_symbols_in(&vdso, name);
	clock_gettime(CLOCK_MONOTONIC, &before);
	ck_assert_int_eq(get(CLOCK_MONOTONIC, &now), 0);
	clock_gettime(CLOCK_MONOTONIC, &after);
	ck_assert(before.tv_sec <= now.tv_sec && now.tv_sec <= after.tv_sec);
}
END_TEST

START_TEST(test_changed)
{
	uint64_t seen = 0;
	void *handle;

	ck_assert(ml_symbols_changed(&seen));
	ck_assert(!ml_symbols_changed(&seen));
	handle = open_object(OBJECT("hash_gnu"), RTLD_NOW);
	ck_assert(ml_symbols_changed(&seen));
	ck_assert(!ml_symbols_changed(&seen));
	dlclose(handle);
	ck_assert(ml_symbols_changed(&seen));
	ck_assert(!ml_symbols_changed(&seen));
}
END_TEST

START_TEST(test_leaves_no_trace)
{
	struct ml_object o;
	uint64_t seen = 0;

	dlerror();
	ck_assert_ptr_null(dlsym(RTLD_DEFAULT, "no_object_defines_this"));
	errno = 77;
	ml_symbols_changed(&seen);
	ml_symbols_next("no_object_defines_this");
	ml_symbols_object_with("no_object_defines_this", &o);
	ck_assert_int_eq(ml_symbols_object_with("gnu_get_libc_version", &o), 0);
	ml_symbols_in(&o, "no_object_defines_this");
	ml_symbols_in(&o, "memcpy");
	ck_assert_int_eq(errno, 77);
	ck_assert_ptr_nonnull(dlerror());
}
END_TEST

/* Runs a program with a preload; its exit status. */
static int run_with_preload(const char *preload, char *const argv[])
{
	pid_t child = fork();
	int status;

	if (child == 0) {
		setenv("LD_PRELOAD", preload, 1);
		setenv("ASAN_OPTIONS", "verify_asan_link_order=0", 1);
		execv(argv[0], argv);
		_exit(126);
	}
	ck_assert_int_eq(waitpid(child, &status, 0), child);
	ck_assert_msg(WIFEXITED(status), "status %#x", status);
	return WEXITSTATUS(status);
}

/* In the process that test_preloaded starts. */
static int compare_in_preload(void)
{
	static const char *const names[] = {"malloc", "free",        "mmap",         "memcpy",
					    "_exit",  "numbered_10", "data_symbol",  "next_by_us",
					    "main",   "dlclose",     "aligned_alloc"};
	void *(*us)(const char *) = (void *(*)(const char *))dlsym(RTLD_DEFAULT, "next_by_us");
	void *(*loader)(const char *) = (void *(*)(const char *))dlsym(RTLD_DEFAULT, "next_by_loader");
	size_t i;

	if (!us || !loader)
		return 125;
	for (i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		if (!agrees(names[i], us(names[i]), loader(names[i])))
			return (int)i + 1;
	/* The object that was preloaded behind, whatever an earlier one defines. */
	return us("numbered_10") != dlsym(RTLD_DEFAULT, "numbered_10") || us("next_by_us");
}

START_TEST(test_preloaded)
{
	char *argv[] = {"/proc/self/exe", "compare-in-preload", NULL};

	ck_assert_int_eq(run_with_preload(OBJECT("probe") " " OBJECT("hash_both"), argv), 0);
}
END_TEST

START_TEST(test_inside_malloc)
{
	char *argv[] = {"/usr/bin/python3", "-c",
			"import ctypes, json, sqlite3\n"
			"assert ctypes.CDLL(None).early_changes() > 1\n",
			NULL};

	if (access(argv[0], X_OK) != 0) {
		printf("# SKIP test_inside_malloc: there is no %s\n", argv[0]);
		return;
	}
	ck_assert_int_eq(run_with_preload(OBJECT("early"), argv), 0);
}
END_TEST

int main(int argc, char **argv)
{
	Suite *suite;
	TCase *tests;
	SRunner *runner;
	int failed;

	if (argc > 1 && strcmp(argv[1], "compare-in-preload") == 0)
		return compare_in_preload();
	suite = suite_create("symbols");
	tests = tcase_create("symbols");
	tcase_add_loop_test(tests, test_hash, 0, 3);
	tcase_add_test(tests, test_versions);
	tcase_add_test(tests, test_local);
	tcase_add_test(tests, test_indirect);
	tcase_add_loop_test(tests, test_half_loaded, 0, 2);
	tcase_add_loop_test(tests, test_every_symbol, 0, 3);
	tcase_add_test(tests, test_next);
	tcase_add_test(tests, test_program_copy);
	tcase_add_test(tests, test_vdso);
	tcase_add_test(tests, test_changed);
	tcase_add_test(tests, test_leaves_no_trace);
	tcase_add_test(tests, test_preloaded);
	tcase_add_test(tests, test_inside_malloc);
	tcase_set_timeout(tests, 60);
	suite_add_tcase(suite, tests);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed != 0;
}
