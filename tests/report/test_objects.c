/* Object files behind modules of traces: what they are called, which are the same, what stands in them. */
#include "report/objects.h"

#include <check.h>
#include <dlfcn.h>
#include <link.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "report/memory.h"
#include "tests/report/frames.h"

#define OBJECT ML_TEST_OBJECTS "/native.so"

static const char *const names[][2] = {
	{"", "[unknown]"},
	{"[vdso]", "[vdso]"},
	{"/usr/bin/python3.11", "python"},
	{"/opt/python/versions/3.13.0/bin/python3.13", "python"},
	{"/srv/venv/bin/python", "python"},
	{"/usr/bin/python3.11-dbg", "python"},
	{"/usr/lib/x86_64-linux-gnu/libpython3.11.so.1.0", "python"},
	{"/usr/lib/libpython3.8d.so", "python"},
	{"/usr/lib/libpython3.13t.so.1.0", "python"},
	{"/usr/lib/libpython3.so", "python"},
	{"/usr/lib/libboost_python311.so.1.74.0", "libboost_python311"},
	{"/usr/lib/libpythonic.so.1", "libpythonic"},
	{"/usr/bin/uwsgi", "uwsgi"},
	{"/lib/x86_64-linux-gnu/libcrypto.so.3", "libcrypto"},
	{"/lib/x86_64-linux-gnu/libc.so.6", "libc"},
	{"/lib64/ld-linux-x86-64.so.2", "ld-linux-x86-64"},
	{"/usr/lib/x86_64-linux-gnu/libstdc++.so.6.0.30", "libstdc++"},
	{"/opt/libx.something.so", "libx.something"},
	{"/opt/.so", ".so"},
	{"/v/lib/python3.11/site-packages/numpy/_core/_multiarray_umath.cpython-311-x86_64-linux-gnu.so",
	 "numpy/_core/_multiarray_umath"},
	{"/v/lib/python3.11/site-packages/numpy.libs/libopenblas64_p-r0-0cf96a72.3.23.dev.so",
	 "numpy.libs/libopenblas64_p-r0-0cf96a72.3.23.dev"},
	{"/v/site-packages/cryptography/hazmat/bindings/_rust.abi3.so", "cryptography/hazmat/bindings/_rust"},
	{"/usr/lib/python3/dist-packages/lxml/etree.cpython-311-x86_64-linux-gnu.so", "lxml/etree"},
	{"/app/.python_packages/lib/site-packages/grpc/_cython/cygrpc.cpython-311-x86_64-linux-gnu.so",
	 "grpc/_cython/cygrpc"},
	{"/a/site-packages/b/site-packages/c/d.so", "c/d"},
	{"/usr/lib/python3.11/lib-dynload/_json.cpython-311-x86_64-linux-gnu.so", "_json"},
	{"relative.so", "relative"},
};

START_TEST(test_name)
{
	char *name = ml_object_name(names[_i][0]);

	ck_assert_str_eq(name, names[_i][1]);
	free(name);
}
END_TEST

/* A trace with modules in it; the caller closes it. */
static struct ml_trace *open_trace(struct build *b, const char *name)
{
	const char *path = frames_path(name);
	struct ml_trace *t;
	char *error;

	build_write(b, path);
	build_done(b);
	t = ml_load_open(path, &error);
	ck_assert_ptr_nonnull(t);
	return t;
}

static uint32_t object_of(struct ml_objects *o, uint32_t module, uint64_t place)
{
	const struct ml_node node = {0, ML_SUBJECT(ML_NODE_NATIVE, module), place};
	uint64_t address;

	return ml_objects_of(o, &node, &address);
}

/* One object at two places is one; relative paths are below the folder that the program was started in. */
START_TEST(test_same_objects)
{
	struct ml_objects o = {.n = 0};
	struct build *b = frames_new(ML_LINES_LINETABLE);
	uint32_t first = build_module(b, "/lib/a.so", 0x1000, 0x1000),
		 again = build_module(b, "/lib/a.so", 0x9000, 0x1000);
	uint32_t other = build_module(b, "/lib/b.so", 0x1000, 0x1000), relative = build_module(b, "lib/a.so", 0, 1);
	struct ml_trace *t = open_trace(b, "same");
	uint32_t object;

	ml_objects_take(&o, t);
	object = object_of(&o, first, 0x10);
	ck_assert_uint_ne(object, 0);
	ck_assert_uint_eq(object_of(&o, again, 0x10), object);
	ck_assert_uint_ne(object_of(&o, other, 0x10), object);
	ck_assert_uint_eq(object_of(&o, 77, 0x10), 0);
	object = object_of(&o, relative, 0x10);
	ck_assert_str_eq(o.objects[object].path, frames_path("lib/a.so"));
	ck_assert_uint_eq(o.n, 4);
	ml_load_close(t);
	ml_objects_free(&o);
}
END_TEST

/* An address that was recorded as in no module belongs to the only one that ever was there; of two it is in neither. */
START_TEST(test_late_modules)
{
	struct ml_objects o = {.n = 0};
	struct build *b = frames_new(ML_LINES_LINETABLE);
	uint32_t alone = build_module(b, "/lib/alone.so", 0x10000, 0x1000), i;
	uint32_t first = build_module(b, "/lib/first.so", 0x20000, 0x1000);
	uint32_t second = build_module(b, "/lib/second.so", 0x20800, 0x1000);
	uint64_t address;
	struct ml_trace *t;

	for (i = 0; i < 200; i++)
		build_module(b, "/lib/many.so", 0x100000 + i, 1);
	build_module(b, "/lib/around.so", 0x90000, 0x80000);
	t = open_trace(b, "late");
	ml_objects_take(&o, t);
	ck_assert_uint_eq(object_of(&o, 0, 0x10000), object_of(&o, alone, 0));
	ck_assert_uint_eq(object_of(&o, 0, 0x10fff), object_of(&o, alone, 0));
	ml_objects_of(&o, &(struct ml_node){0, ML_SUBJECT(ML_NODE_NATIVE, 0), 0x10123}, &address);
	ck_assert_uint_eq(address, 0x123);
	ck_assert_uint_eq(object_of(&o, 0, 0xffff), 0);
	ck_assert_uint_eq(object_of(&o, 0, 0x11000), 0);
	ck_assert_uint_eq(object_of(&o, 0, 0x20100), object_of(&o, first, 0));
	ck_assert_uint_eq(object_of(&o, 0, 0x20900), 0);
	ck_assert_uint_eq(object_of(&o, 0, 0x21000), object_of(&o, second, 0));
	ck_assert_uint_eq(object_of(&o, 0, 0), 0);
	ck_assert_uint_eq(object_of(&o, 0, UINT64_MAX), 0);
	ck_assert_uint_ne(object_of(&o, 0, 0x90000), 0);
	ck_assert_uint_eq(object_of(&o, 0, 0x105000), 0); /* too many are looked at */
	ml_load_close(t);
	ml_objects_free(&o);
}
END_TEST

/* The return address of a call at the function's very end is the next function's first. */
static uint64_t address_of(const char *name)
{
	void *handle = dlopen(OBJECT, RTLD_NOW | RTLD_LOCAL);
	struct link_map *map;

	ck_assert_ptr_nonnull(handle);
	ck_assert_int_eq(dlinfo(handle, RTLD_DI_LINKMAP, &map), 0);
	ck_assert_ptr_nonnull(dlsym(handle, name));
	return (uintptr_t)dlsym(handle, name) - map->l_addr;
}

static struct ml_objects one_object(const char *path, struct ml_objects_options options)
{
	struct ml_objects o = {.options = options};
	struct build *b = frames_new(ML_LINES_LINETABLE);
	uint32_t module = build_module(b, path, 0x1000, 0x1000);
	struct ml_trace *t = open_trace(b, "one");

	ml_objects_take(&o, t);
	ck_assert_uint_eq(object_of(&o, module, 0x10), 1);
	ml_load_close(t);
	return o;
}

static void check_function(struct ml_objects *o, uint64_t address, const char *name)
{
	struct ml_dwarf_frame frame;
	size_t n = ml_objects_find(o, 1, address, &frame, 1);

	ck_assert_uint_eq(n, name != NULL);
	if (!name)
		return;
	ck_assert_str_eq(frame.function, name);
	ck_assert_str_eq(strrchr(frame.file, '/'), "/native.c");
}

static void check_warnings(const struct ml_objects *o, const char *expected)
{
	struct ml_warnings w = {NULL, 0};

	ml_objects_warn(o, &w);
	ck_assert_uint_eq(w.n, expected != NULL);
	if (expected)
		ck_assert_str_eq(w.texts[0], expected);
	ml_warnings_free(&w);
}

START_TEST(test_return_addresses)
{
	struct ml_objects o = one_object(OBJECT, (struct ml_objects_options){0});

	check_function(&o, address_of("native_first") + 1, "native_first");
	check_function(&o, address_of("native_second"), "native_first");
	check_function(&o, address_of("native_second") + 1, "native_second");
	check_function(&o, 0, NULL);
	check_warnings(&o, NULL);
	ml_objects_free(&o);
}
END_TEST

START_TEST(test_warnings)
{
	char *gone = ml_memory_print("native functions are not named, the file is not there: /nonexistent/gone.so");
	char *text = ml_memory_print("native functions are not named, the file has changed since: %s",
				     frames_path("changed.so"));
	struct ml_objects o = one_object("/nonexistent/gone.so", (struct ml_objects_options){0});

	check_warnings(&o, NULL); /* nobody has asked yet */
	check_function(&o, 0x100, NULL);
	check_function(&o, 0x200, NULL);
	check_warnings(&o, gone);
	ml_objects_free(&o);
	frames_write("changed.so", "another file", 0);
	o = one_object(frames_path("changed.so"), (struct ml_objects_options){0});
	check_function(&o, 0x100, NULL);
	check_warnings(&o, text);
	ml_objects_free(&o);
	o = one_object("[vdso]", (struct ml_objects_options){0});
	check_function(&o, 0x100, NULL);
	check_warnings(&o, NULL);
	ml_objects_free(&o);
	free(gone);
	free(text);
}
END_TEST

/* The program's own root comes first; what isn't there may be where it was. */
START_TEST(test_sysroot)
{
	struct ml_objects_options options = {.sysroot = frames_folder()};
	const char *inside = frames_path("lib/native.so") + strlen(frames_folder());
	struct ml_objects o;

	ck_assert_int_eq(mkdir(frames_path("lib"), 0700), 0);
	ck_assert_int_eq(symlink(OBJECT, frames_path("lib/native.so")), 0);
	o = one_object(inside, options);
	check_function(&o, address_of("native_first") + 1, "native_first");
	check_warnings(&o, NULL);
	ml_objects_free(&o);
	o = one_object(OBJECT, options);
	check_function(&o, address_of("native_first") + 1, "native_first");
	check_warnings(&o, NULL);
	ml_objects_free(&o);
}
END_TEST

/* What was once found out stays known when the file is gone. */
START_TEST(test_cache)
{
	uint64_t address = address_of("native_first") + 1;
	const char *copy = frames_path("copy.so");
	struct ml_objects o;
	char *command = ml_memory_print("cp %s %s", OBJECT, copy);

	setenv("XDG_CACHE_HOME", frames_folder(), 1);
	ck_assert_int_eq(system(command), 0);
	free(command);
	o = one_object(copy, (struct ml_objects_options){.cache = true});
	check_function(&o, address, "native_first");
	ml_objects_free(&o);
	unlink(copy);
	o = one_object(copy, (struct ml_objects_options){.cache = true});
	check_function(&o, address, "native_first");
	check_warnings(&o, NULL);
	ml_objects_free(&o);
	o = one_object(copy, (struct ml_objects_options){.cache = false});
	check_function(&o, address, NULL);
	ml_objects_free(&o);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("objects");
	TCase *tests = tcase_create("objects");
	SRunner *runner = srunner_create(suite);
	int failed;

	unsetenv("DEBUGINFOD_URLS");
	frames_folder();
	tcase_add_loop_test(tests, test_name, 0, sizeof(names) / sizeof(names[0]));
	tcase_add_test(tests, test_same_objects);
	tcase_add_test(tests, test_late_modules);
	tcase_add_test(tests, test_return_addresses);
	tcase_add_test(tests, test_warnings);
	tcase_add_test(tests, test_sysroot);
	tcase_add_test(tests, test_cache);
	suite_add_tcase(suite, tests);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
