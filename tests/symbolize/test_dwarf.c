/*
 * Names and lines of calls that really happen: functions of objects/calls.c call back and say at which lines they are;
 * the return address then has to lead there, whatever is left of the object's symbols.
 */
#include "symbolize/native/dwarf.h"

#include <check.h>
#include <dlfcn.h>
#include <link.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "symbolize/native/demangle.h"

#define OBJECT ML_TEST_OBJECTS "/calls.so"
#define FRAMES 8

static char folder[] = "/tmp/memline-test-dwarf-XXXXXX";

/* The call that came last: where it was made, and what the function said. */
static struct {
	uintptr_t base;
	uint64_t address; /* of the call, in the file */
	int lines[4];
} call;

static void probe(const int lines[4])
{
	call.address = (uintptr_t)__builtin_return_address(0) - call.base - 1;
	memcpy(call.lines, lines, sizeof(call.lines));
}

static void make_call(const char *object, const char *name)
{
	void *handle = dlopen(object, RTLD_NOW | RTLD_LOCAL);
	struct link_map *map;
	void (*function)(void (*)(const int[4]));

	ck_assert_msg(handle != NULL, "%s", dlerror());
	*(void **)&function = dlsym(handle, name);
	ck_assert_msg(function != NULL, "%s", name);
	ck_assert_int_eq(dlinfo(handle, RTLD_DI_LINKMAP, &map), 0);
	call.base = map->l_addr;
	function(probe);
}

/* Runs a command that has to succeed. */
__attribute__((format(printf, 1, 2))) static void shell(const char *format, ...)
{
	char command[4096];
	va_list list;

	va_start(list, format);
	vsnprintf(command, sizeof(command), format, list);
	va_end(list);
	ck_assert_msg(system(command) == 0, "%s", command);
}

static char *path_of(const char *name)
{
	static char path[8][256];
	static unsigned at;

	at = (at + 1) % 8;
	snprintf(path[at], sizeof(path[at]), "%s/%s", folder, name);
	return path[at];
}

/* The same functions in another object, which has its DWARF in a file of its own. By gcc, as clang puts that file into
   the folder that it is run in. */
static const char *split_object(void)
{
	const char *path = path_of("split.so");

	if (access(path, F_OK))
		shell("gcc -O2 -gdwarf-5 -gsplit-dwarf -fPIC -shared -fno-optimize-sibling-calls -Wl,--build-id=sha1 "
		      "-o %s "
		      "tests/symbolize/objects/calls.c",
		      path);
	return path;
}

struct build_id {
	uint8_t bytes[64];
	size_t n;
};

/* As the loader's list has it: read from the notes in memory by other means than libdw's. */
static int take_build_id(struct dl_phdr_info *info, size_t size, void *context)
{
	struct build_id *id = context;
	size_t i, at;

	(void)size;
	if (info->dlpi_addr != call.base)
		return 0;
	for (i = 0; i < info->dlpi_phnum; i++) {
		const char *notes = (const char *)info->dlpi_addr + info->dlpi_phdr[i].p_vaddr;
		if (info->dlpi_phdr[i].p_type != PT_NOTE)
			continue;
		for (at = 0; at + 16 < info->dlpi_phdr[i].p_memsz; at += 4) {
			const ElfW(Nhdr) *note = (const void *)(notes + at);
			if (note->n_namesz != 4 || note->n_type != NT_GNU_BUILD_ID || memcmp(note + 1, "GNU", 4) ||
			    note->n_descsz > sizeof(id->bytes))
				continue;
			memcpy(id->bytes, (const char *)(note + 1) + 4, note->n_descsz);
			id->n = note->n_descsz;
			return 1;
		}
	}
	return 0;
}

static struct build_id build_id_of(const char *object)
{
	struct build_id id = {.n = 0};

	make_call(object, "calls_direct");
	ck_assert_int_eq(dl_iterate_phdr(take_build_id, &id), 1);
	return id;
}

/* "FOLDER/debug/.build-id/xx/yyyy.debug", with the folders made. */
static char *debug_path(const struct build_id *id)
{
	char name[160], *to;
	size_t i;

	to = name + snprintf(name, sizeof(name), "debug/.build-id/%02x", id->bytes[0]);
	shell("mkdir -p %s", path_of(name));
	*to++ = '/';
	for (i = 1; i < id->n; i++)
		to += sprintf(to, "%02x", id->bytes[i]);
	strcpy(to, ".debug");
	return path_of(name);
}

static struct ml_dwarf *open_it(const char *path, const char *directory)
{
	struct build_id id = build_id_of(OBJECT);
	enum ml_dwarf_problem problem;
	struct ml_dwarf *d = ml_dwarf_open(path, id.bytes, id.n, directory, &problem);

	ck_assert_msg(d != NULL, "%s: problem %d", path, problem);
	return d;
}

static enum ml_dwarf_problem problem_of(const char *path, const struct build_id *id)
{
	enum ml_dwarf_problem problem = 0;

	ck_assert_ptr_null(ml_dwarf_open(path, id->bytes, id->n, "/nonexistent", &problem));
	return problem;
}

/* The call of the function leads to frames of these names; lines: and to the lines that it said. */
static void check_call(struct ml_dwarf *d, const char *object, const char *function, int lines, ...)
{
	struct ml_dwarf_frame frames[FRAMES];
	const char *name;
	size_t n, i = 0;
	va_list list;

	make_call(object, function);
	n = ml_dwarf_find(d, call.address, frames, FRAMES);
	va_start(list, lines);
	while ((name = va_arg(list, const char *))) {
		ck_assert_msg(i < n, "%s: %zu frames", function, n);
		ck_assert_ptr_nonnull(frames[i].function);
		ck_assert_str_eq(frames[i].function, name);
		if (lines) {
			ck_assert_ptr_nonnull(frames[i].file);
			ck_assert_int_eq(frames[i].file[0], '/');
			ck_assert_str_eq(strrchr(frames[i].file, '/'), "/calls.c");
			ck_assert_uint_eq(frames[i].line, call.lines[i]);
		} else {
			ck_assert_ptr_null(frames[i].file);
			ck_assert_uint_eq(frames[i].line, 0);
		}
		i++;
	}
	va_end(list);
	ck_assert_uint_eq(n, i);
	ck_assert(!lines || call.lines[n] == 0);
}

static void check_all_names(struct ml_dwarf *d, const char *object, bool lines)
{
	check_call(d, object, "calls_direct", lines, "calls_direct", NULL);
	check_call(d, object, "_ZN5shape6Circle4areaEPKcj", lines, "shape::Circle::area(char const*, unsigned int)",
		   NULL);
	check_call(d, object, "_ZN7mycrate6module8function17h0123456789abcdefE", lines, "mycrate::module::function",
		   NULL);
	check_call(d, object, "_RNvNtCs1234_7mycrate6module8function", lines, "mycrate::module::function", NULL);
}

static void check_dwarf(struct ml_dwarf *d, const char *object)
{
	check_call(d, object, "calls_outer", true, "inner", "middle", "calls_outer", NULL);
	check_call(d, object, "calls_static", true, "hidden", NULL);
	check_all_names(d, object, true);
	ml_dwarf_close(d);
}

START_TEST(test_dwarf)
{
	check_dwarf(open_it(OBJECT, "/nonexistent"), OBJECT);
}
END_TEST

/* clang writes none. */
START_TEST(test_without_aranges)
{
	char *copy = path_of("no-aranges.so");

	shell("objcopy -R .debug_aranges %s %s", OBJECT, copy);
	check_dwarf(open_it(copy, "/nonexistent"), OBJECT);
}
END_TEST

START_TEST(test_split_dwarf)
{
	const char *split = split_object();
	struct build_id id = build_id_of(split);
	enum ml_dwarf_problem problem;
	struct ml_dwarf *d = ml_dwarf_open(split, id.bytes, id.n, "/nonexistent", &problem);

	ck_assert_ptr_nonnull(d);
	check_dwarf(d, split);
}
END_TEST

/* Inner frames go first where there is no room for all. */
START_TEST(test_little_room)
{
	struct ml_dwarf *d = open_it(OBJECT, "/nonexistent");
	struct ml_dwarf_frame frames[2];

	make_call(OBJECT, "calls_outer");
	ck_assert_uint_eq(ml_dwarf_find(d, call.address, frames, 0), 0);
	ck_assert_uint_eq(ml_dwarf_find(d, call.address, frames, 2), 2);
	ck_assert_str_eq(frames[0].function, "inner");
	ck_assert_str_eq(frames[1].function, "middle");
	ml_dwarf_close(d);
}
END_TEST

START_TEST(test_symbol_table)
{
	char *copy = path_of("symbols.so");
	struct ml_dwarf *d;

	shell("strip --strip-debug -o %s %s", copy, OBJECT);
	d = open_it(copy, "/nonexistent");
	check_call(d, OBJECT, "calls_outer", false, "calls_outer", NULL);
	check_call(d, OBJECT, "calls_static", false, "hidden", NULL);
	check_all_names(d, OBJECT, false);
	ml_dwarf_close(d);
}
END_TEST

/* Only what the loader needs is left: a name that is not known is not guessed. */
START_TEST(test_dynamic_symbols)
{
	char *copy = path_of("dynamic.so");
	struct ml_dwarf *d;

	shell("strip --strip-all -o %s %s", copy, OBJECT);
	d = open_it(copy, "/nonexistent");
	check_call(d, OBJECT, "calls_outer", false, "calls_outer", NULL);
	check_call(d, OBJECT, "calls_static", false, NULL);
	check_all_names(d, OBJECT, false);
	ml_dwarf_close(d);
}
END_TEST

/* As Fedora has it: the symbols, compressed. */
START_TEST(test_mini_debug_info)
{
	char *copy = path_of("mini.so"), *symbols = path_of("symbols");
	struct ml_dwarf *d;

	if (system("command -v xz >/dev/null")) {
		printf("# SKIP test_mini_debug_info: xz is not installed\n");
		return;
	}
	shell("strip --strip-debug -o %s %s && xz -kf %s", symbols, OBJECT, symbols);
	shell("objcopy --strip-all --add-section .gnu_debugdata=%s.xz %s %s", symbols, OBJECT, copy);
	d = open_it(copy, "/nonexistent");
	check_call(d, OBJECT, "calls_static", false, "hidden", NULL);
	ml_dwarf_close(d);
}
END_TEST

static void strip_with_link(const char *copy, const char *debug)
{
	shell("objcopy --only-keep-debug %s %s && objcopy --strip-all --add-gnu-debuglink=%s %s %s", OBJECT, debug,
	      debug, OBJECT, copy);
}

START_TEST(test_debug_link)
{
	char *copy = path_of("linked.so"), *debug = path_of("linked.debug");

	strip_with_link(copy, debug);
	check_dwarf(open_it(copy, "/nonexistent"), OBJECT);
	shell("mkdir %s && mv %s %s", path_of(".debug"), debug, path_of(".debug"));
	check_dwarf(open_it(copy, "/nonexistent"), OBJECT);
	/* Below the directory, under the path of the object's folder. */
	shell("mkdir -p %s%s && mv %s/linked.debug %s%s", path_of("tree"), folder, path_of(".debug"), path_of("tree"),
	      folder);
	check_dwarf(open_it(copy, path_of("tree")), OBJECT);
}
END_TEST

/* Also where the object itself is gone or was replaced. */
START_TEST(test_debug_file_by_build_id)
{
	struct build_id id = build_id_of(OBJECT);
	char *copy = path_of("bare.so");

	shell("objcopy --only-keep-debug %s %s && strip --strip-all -o %s %s", OBJECT, debug_path(&id), copy, OBJECT);
	check_dwarf(open_it(copy, path_of("debug")), OBJECT);
	shell("cp %s %s", split_object(), copy);
	check_dwarf(open_it(copy, path_of("debug")), OBJECT);
	unlink(copy);
	check_dwarf(open_it(copy, path_of("debug")), OBJECT);
}
END_TEST

/* From a server, here a folder in its layout, but only for those who name one. */
START_TEST(test_debuginfod)
{
	struct build_id id = build_id_of(OBJECT);
	char *copy = path_of("served.so"), hex[2 * sizeof(id.bytes) + 1], url[160];
	struct ml_dwarf *d;
	size_t i;

	if (!dlopen("libdebuginfod.so.1", RTLD_NOW | RTLD_LOCAL)) {
		printf("# SKIP test_debuginfod: libdebuginfod is not installed\n");
		return;
	}
	for (i = 0; i < id.n; i++)
		sprintf(hex + 2 * i, "%02x", id.bytes[i]);
	shell("mkdir -p %s/server/buildid/%s", folder, hex);
	shell("objcopy --only-keep-debug %s %s/server/buildid/%s/debuginfo", OBJECT, folder, hex);
	shell("strip --strip-all -o %s %s", copy, OBJECT);
	d = open_it(copy, "/nonexistent");
	check_call(d, OBJECT, "calls_static", false, NULL);
	ml_dwarf_close(d);
	snprintf(url, sizeof(url), "file://%s/server", folder);
	setenv("DEBUGINFOD_URLS", url, 1);
	setenv("DEBUGINFOD_CACHE_PATH", path_of("served"), 1);
	check_dwarf(open_it(copy, "/nonexistent"), OBJECT);
	unlink(copy);
	check_dwarf(open_it(copy, "/nonexistent"), OBJECT);
}
END_TEST

START_TEST(test_problems)
{
	const struct build_id id = build_id_of(OBJECT), none = {.n = 0};
	enum ml_dwarf_problem problem;
	struct ml_dwarf *d;
	char *fifo = path_of("fifo");

	ck_assert_int_eq(problem_of(path_of("nothing"), &id), ML_DWARF_MISSING);
	ck_assert_int_eq(problem_of(folder, &id), ML_DWARF_MISSING);
	ck_assert_int_eq(mkfifo(fifo, 0600), 0);
	ck_assert_int_eq(problem_of(fifo, &id), ML_DWARF_MISSING);
	ck_assert_int_eq(problem_of(split_object(), &id), ML_DWARF_CHANGED);
	ck_assert_int_eq(problem_of(OBJECT, &none), ML_DWARF_CHANGED);
	ck_assert_int_eq(problem_of(ML_TEST_OBJECTS "/twin_none.so", &id), ML_DWARF_CHANGED);
	ck_assert_int_eq(problem_of("/etc/passwd", &id), ML_DWARF_CHANGED);
	/* Neither of them has a build id: it may be the one. */
	d = ml_dwarf_open(ML_TEST_OBJECTS "/twin_none.so", NULL, 0, "/nonexistent", &problem);
	ck_assert_ptr_nonnull(d);
	ml_dwarf_close(d);
}
END_TEST

/* Addresses that are nowhere, and all that there are. */
START_TEST(test_any_address)
{
	struct ml_dwarf *d = open_it(OBJECT, "/nonexistent");
	static const uint64_t nowhere[] = {0, 1, UINT64_MAX, UINT64_MAX - 1, INT64_MAX, 1 << 30};
	struct ml_dwarf_frame frames[FRAMES];
	uint64_t address;
	size_t i;

	for (i = 0; i < sizeof(nowhere) / sizeof(nowhere[0]); i++)
		ck_assert_uint_eq(ml_dwarf_find(d, nowhere[i], frames, FRAMES), 0);
	for (address = 0; address < 0x10000; address++)
		ck_assert_uint_le(ml_dwarf_find(d, address, frames, FRAMES), FRAMES);
	ml_dwarf_close(d);
}
END_TEST

/* Files that are cut off somewhere are read as far as they go, or not at all. */
START_TEST(test_cut_off)
{
	struct build_id id = build_id_of(OBJECT);
	char *copy = path_of("cut.so");
	struct ml_dwarf_frame frames[FRAMES];
	enum ml_dwarf_problem problem;
	struct ml_dwarf *d;
	struct stat st;
	int i;

	ck_assert_int_eq(stat(OBJECT, &st), 0);
	shell("cp %s %s", OBJECT, copy);
	for (i = 63; i >= 0; i--) {
		ck_assert_int_eq(truncate(copy, st.st_size * i / 64), 0);
		d = ml_dwarf_open(copy, id.bytes, id.n, "/nonexistent", &problem);
		if (d)
			ck_assert_uint_le(ml_dwarf_find(d, call.address, frames, FRAMES), FRAMES);
		ml_dwarf_close(d);
	}
}
END_TEST

static const char *const mangled[][2] = {
	{"malloc", "malloc"},
	{"", ""},
	{"_Z", "_Z"},
	{"_R", "_R"},
	{"_Zx!", "_Zx!"},
	{"_Znwm", "operator new(unsigned long)"},
	{"_ZNSt6vectorIiSaIiEE9push_backERKi", "std::vector<int, std::allocator<int> >::push_back(int const&)"},
	{"_ZN4core3fmt5Write9write_fmt17h0123456789abcdefE", "core::fmt::Write::write_fmt"},
	{"_ZN60_$LT$alloc..string..String$u20$as$u20$core..fmt..Display$GT$3fmt17h0123456789abcdefE",
	 "<alloc::string::String as core::fmt::Display>::fmt"},
	{"_RNvNtCs1234_7mycrate3foo3bar", "mycrate::foo::bar"},
};

START_TEST(test_demangle)
{
	char *text = ml_demangle(mangled[_i][0]);

	ck_assert_str_eq(text, mangled[_i][1]);
	free(text);
}
END_TEST

static void remove_folder(void)
{
	char command[64];

	snprintf(command, sizeof(command), "rm -rf %s", folder);
	if (system(command))
		perror(folder);
}

int main(void)
{
	Suite *suite = suite_create("dwarf");
	TCase *tests = tcase_create("dwarf");
	SRunner *runner = srunner_create(suite);
	int failed;

	unsetenv("DEBUGINFOD_URLS");
	if (!mkdtemp(folder))
		return EXIT_FAILURE;
	tcase_set_timeout(tests, 60);
	tcase_add_test(tests, test_dwarf);
	tcase_add_test(tests, test_without_aranges);
	tcase_add_test(tests, test_split_dwarf);
	tcase_add_test(tests, test_little_room);
	tcase_add_test(tests, test_symbol_table);
	tcase_add_test(tests, test_dynamic_symbols);
	tcase_add_test(tests, test_mini_debug_info);
	tcase_add_test(tests, test_debug_link);
	tcase_add_test(tests, test_debug_file_by_build_id);
	tcase_add_test(tests, test_debuginfod);
	tcase_add_test(tests, test_problems);
	tcase_add_test(tests, test_any_address);
	tcase_add_test(tests, test_cut_off);
	tcase_add_loop_test(tests, test_demangle, 0, sizeof(mangled) / sizeof(mangled[0]));
	suite_add_tcase(suite, tests);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	remove_folder();
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
