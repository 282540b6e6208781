/* Who asked for a line's bytes: by module and by function, out of made-up traces of a real object. */
#include "report/native.h"

#include <check.h>
#include <dlfcn.h>
#include <link.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "report/json.h"
#include "report/memory.h"
#include "report/table.h"
#include "tests/report/frames.h"

#define OBJECT ML_TEST_OBJECTS "/native.so"
#define NUMPY "/v/site-packages/numpy/_core/_multiarray_umath.cpython-311-x86_64-linux-gnu.so"
#define MIB 1048576

static struct ml_options options;

static void set_up(void)
{
	ml_options_init(&options);
	options.objects.cache = false;
	frames_write("app.py", "def f():\n    a()\n    b()\n    c()\n", -60);
}

static uint64_t address_of(const char *name)
{
	void *handle = dlopen(OBJECT, RTLD_NOW | RTLD_LOCAL);
	struct link_map *map;

	ck_assert_ptr_nonnull(handle);
	ck_assert_int_eq(dlinfo(handle, RTLD_DI_LINKMAP, &map), 0);
	return (uintptr_t)dlsym(handle, name) - map->l_addr;
}

/*
 * Line 2: 4 MiB and 1 MiB of numpy's, 2 MiB of Python's. Line 3: native_first from two places and native_second, all
 * freed on line 4. No Python: native_first and an unknown module.
 */
static void build_program(struct build *b)
{
	uint64_t first = address_of("native_first"), second = address_of("native_second");
	uint32_t object = build_module(b, OBJECT, 0x100000, 0x10000), numpy = build_module(b, NUMPY, 0x200000, 0x10000);
	uint32_t f = frames_code(b, "app.py", "f", 1, 4), line2 = frames_node(b, 0, f, 1, 2);
	uint32_t line3 = frames_node(b, 0, f, 1, 3), line4 = frames_node(b, 0, f, 1, 4);
	uint32_t from_first = build_node(b, line3, ML_NODE_NATIVE, object, (int64_t)first + 1);
	uint32_t from_first_too = build_node(b, line3, ML_NODE_NATIVE, object, (int64_t)first + 2);
	uint32_t from_second = build_node(b, line3, ML_NODE_NATIVE, object, (int64_t)second + 1);
	struct build_ring *ring = build_ring(b, 1);

	build_alloc(ring, ML_DOMAIN_C, build_node(b, line2, ML_NODE_NATIVE, numpy, 0x300), 0x1000000, 4 * MIB);
	build_alloc(ring, ML_DOMAIN_C, build_node(b, line2, ML_NODE_NATIVE, numpy, 0x400), 0x2000000, MIB);
	build_alloc(ring, ML_DOMAIN_OBJ, line2, 0x3000000, 2 * MIB);
	build_alloc(ring, ML_DOMAIN_C, from_first, 0x4000000, 100);
	build_alloc(ring, ML_DOMAIN_C, from_first_too, 0x5000000, 200);
	build_alloc(ring, ML_DOMAIN_C, from_second, 0x6000000, 400);
	build_free(ring, ML_DOMAIN_C, line4, 0x4000000);
	build_free(ring, ML_DOMAIN_C, line4, 0x5000000);
	build_free(ring, ML_DOMAIN_C, line4, 0x6000000);
	build_alloc(ring, ML_DOMAIN_C, build_node(b, 0, ML_NODE_NATIVE, object, (int64_t)first + 1), 0x7000000, 800);
	build_alloc(ring, ML_DOMAIN_C, build_node(b, 0, ML_NODE_NATIVE, 0, 0x7fff1234), 0x8000000, 50);
}

static struct ml_reading read_program(enum ml_native_detail detail, int times)
{
	struct ml_reading r = {0};
	struct build *b;

	for (; times; times--) {
		b = frames_new(ML_LINES_LINETABLE);
		build_program(b);
		frames_read(&r, b, "native", &options);
	}
	options.native = detail;
	ml_reading_finish(&r, &options);
	return r;
}

static void check_item(const struct ml_reading *r, const struct ml_native *item, const char *module,
		       const char *function, uint64_t live, uint64_t allocated, uint64_t allocations)
{
	char *name = ml_native_function(&r->sites.natives, item);

	ck_assert_str_eq(r->sites.natives.objects.objects[item->object].name, module);
	ck_assert_str_eq(name, function);
	ck_assert_uint_eq(item->amount.live_bytes, live);
	ck_assert_uint_eq(item->amount.allocated_bytes, allocated);
	ck_assert_uint_eq(item->amount.allocations, allocations);
	free(name);
}

static const struct ml_native *items_of_line(const struct ml_reading *r, int line, size_t n)
{
	const struct ml_native *items;
	size_t found;

	items = ml_natives_of(&r->sites.natives, frames_line(r, "f", line)->number, &found);
	ck_assert_uint_eq(found, n);
	return items;
}

/* Two places in one function are one caller; places in what cannot be read stay apart. Twice the same is the sum. */
START_TEST(test_functions)
{
	uint64_t times = (uint64_t)_i;
	struct ml_reading r = read_program(ML_NATIVE_FUNCTIONS, _i);
	const struct ml_native *items = items_of_line(&r, 2, 2);
	size_t n;

	check_item(&r, &items[0], "numpy/_core/_multiarray_umath", "numpy/_core/_multiarray_umath+0x300",
		   times * 4 * MIB, times * 4 * MIB, times);
	check_item(&r, &items[1], "numpy/_core/_multiarray_umath", "numpy/_core/_multiarray_umath+0x400", times * MIB,
		   times * MIB, times);
	items = items_of_line(&r, 3, 2);
	check_item(&r, &items[0], "native", "native_second", 0, times * 400, times);
	check_item(&r, &items[1], "native", "native_first", 0, times * 300, times * 2);
	ck_assert_str_eq(strrchr(items[0].file, '/'), "/native.c");
	items_of_line(&r, 4, 0);
	items = ml_natives_of(&r.sites.natives, ML_OWNER_NATIVE, &n);
	ck_assert_uint_eq(n, 2);
	check_item(&r, &items[0], "native", "native_first", times * 800, times * 800, times);
	check_item(&r, &items[1], "[unknown]", "[unknown]+0x7fff1234", times * 50, times * 50, times);
	ml_natives_of(&r.sites.natives, ML_OWNER_OUT_OF_SCOPE, &n);
	ck_assert_uint_eq(n, 0);
	ck_assert_uint_eq(r.warnings.n, 1);
	ck_assert_str_eq(r.warnings.texts[0], "native functions are not named, the file is not there: " NUMPY);
	ml_reading_close(&r);
}
END_TEST

/* No file is asked for, so none is missed. */
START_TEST(test_modules)
{
	struct ml_reading r = read_program(ML_NATIVE_MODULES, 1);
	const struct ml_natives *natives = &r.sites.natives;
	const struct ml_native *items = items_of_line(&r, 2, 1);
	struct ml_module_amount *modules;
	size_t n;

	ck_assert_uint_eq(items[0].amount.live_bytes, 5 * MIB);
	ck_assert_uint_eq(items_of_line(&r, 3, 1)->amount.allocations, 3);
	modules = ml_natives_by_module(natives, natives->items, natives->n, &natives->python, &n);
	ck_assert_uint_eq(n, 4);
	ck_assert_str_eq(modules[0].name, "numpy/_core/_multiarray_umath");
	ck_assert_str_eq(modules[1].name, "python");
	ck_assert_uint_eq(modules[1].amount.live_bytes, 2 * MIB);
	ck_assert_str_eq(modules[2].name, "native");
	ck_assert_uint_eq(modules[2].amount.allocated_bytes, 1500);
	ck_assert_str_eq(modules[3].name, "[unknown]");
	ck_assert_uint_eq(r.warnings.n, 0);
	free(modules);
	ml_reading_close(&r);
}
END_TEST

static void check_modules(const struct ml_reading *r, int line, const char *first, size_t n, uint64_t python)
{
	struct ml_line_modules m;

	ml_site_modules(&r->sites, frames_line(r, "f", line), &m);
	ck_assert_uint_eq(m.n, n);
	if (first)
		ck_assert_str_eq(m.modules[0].name, first);
	ck_assert_uint_eq(m.python.live_bytes, python);
	free(m.modules);
}

/* A line that only freed has no module. */
START_TEST(test_modules_of_lines)
{
	struct ml_reading r = read_program(ML_NATIVE_MODULES, 1);

	check_modules(&r, 2, "numpy/_core/_multiarray_umath", 2, 2 * MIB);
	check_modules(&r, 3, "native", 1, 0);
	check_modules(&r, 4, NULL, 0, 0);
	ml_reading_close(&r);
}
END_TEST

static char *print(struct ml_reading *r)
{
	static char *text;
	static size_t bytes;
	FILE *out = open_memstream(&text, &bytes);

	ml_table_print(out, r, &options);
	fclose(out);
	ml_reading_close(r);
	return text;
}

START_TEST(test_wide_table)
{
	struct ml_reading r;
	char *text, *at;

	options.wide = true;
	r = read_program(ML_NATIVE_OUTSIDE, 1);
	text = print(&r);
	ck_assert_ptr_nonnull(strstr(text, "      2.0 MiB      5.0 MiB _multiarray_umath +1                   a()\n"));
	ck_assert_ptr_nonnull(strstr(text, "      0.0 MiB      0.0 MiB native                                 b()\n"));
	ck_assert_ptr_nonnull(strstr(text, "      0.0 MiB      0.0 MiB                                        c()\n"));
	at = strstr(text, "# Who allocated in <native>:\n#              Live    Increment     Allocs\n"
			  "#           0.0 MiB      0.0 MiB          1   native: native_first at /");
	ck_assert_ptr_nonnull(at);
	ck_assert_ptr_nonnull(strstr(at, "/native.c:"));
	ck_assert_ptr_nonnull(
		strstr(at, "#           0.0 MiB      0.0 MiB          1   [unknown]: [unknown]+0x7fff1234\n"));
	free(text);
}
END_TEST

START_TEST(test_json)
{
	struct ml_reading r = read_program(ML_NATIVE_FUNCTIONS, 1);
	json_t *value = ml_json_reading(&r), *caller;
	const char *module, *path, *function;
	json_int_t live, allocations, increment;
	json_t *file, *line;

	caller = json_array_get(json_object_get(json_object_get(value, "native"), "callers"), 0);
	ck_assert_int_eq(json_unpack(caller, "{s:s, s:s, s:s, s:o, s:o, s:I, s:I, s:I}", "module", &module, "path",
				     &path, "function", &function, "file", &file, "line", &line, "live_bytes", &live,
				     "allocations", &allocations, "increment_bytes", &increment),
			 0);
	ck_assert_str_eq(module, "native");
	ck_assert_str_eq(strrchr(path, '/'), "/native.so");
	ck_assert_str_eq(function, "native_first");
	ck_assert(json_is_string(file) && json_is_integer(line));
	ck_assert_int_eq(live, 800);
	ck_assert_int_eq(increment, 800);
	ck_assert_int_eq(allocations, 1);
	caller = json_array_get(json_object_get(json_object_get(value, "native"), "callers"), 1);
	ck_assert(json_is_null(json_object_get(caller, "path")) && json_is_null(json_object_get(caller, "file")));
	json_decref(value);
	ml_reading_close(&r);
}
END_TEST

/* Callers that were not recorded are not guessed. */
START_TEST(test_off)
{
	struct build *b = frames_new(ML_LINES_LINETABLE);
	uint32_t f = frames_code(b, "app.py", "f", 1, 4);
	struct ml_reading r = {0};
	json_t *value, *line;
	char *text, row[128];

	build_meta(b, "option.NATIVE", "off");
	build_alloc(build_ring(b, 1), ML_DOMAIN_C, frames_node(b, 0, f, 1, 2), 0x1000, MIB);
	frames_read(&r, b, "off", &options);
	options.wide = true;
	ml_reading_finish(&r, &options);
	value = ml_json_reading(&r);
	line = json_array_get(json_object_get(value, "functions"), 0);
	line = json_array_get(json_object_get(line, "lines"), 0);
	ck_assert(json_is_null(json_object_get(line, "module")));
	ck_assert(json_is_null(json_object_get(line, "python_live_bytes")));
	ck_assert(json_is_null(json_object_get(line, "native_live_bytes")));
	json_decref(value);
	text = print(&r);
	snprintf(row, sizeof(row), "          1%*s       a()\n", 13 + 13 + 33, "");
	ck_assert_ptr_nonnull(strstr(text, row));
	free(text);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("native");
	TCase *tests = tcase_create("native");
	SRunner *runner = srunner_create(suite);
	int failed;

	unsetenv("DEBUGINFOD_URLS");
	frames_folder();
	tcase_add_checked_fixture(tests, set_up, NULL);
	tcase_add_loop_test(tests, test_functions, 1, 3);
	tcase_add_test(tests, test_modules);
	tcase_add_test(tests, test_modules_of_lines);
	tcase_add_test(tests, test_wide_table);
	tcase_add_test(tests, test_json);
	tcase_add_test(tests, test_off);
	suite_add_tcase(suite, tests);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
