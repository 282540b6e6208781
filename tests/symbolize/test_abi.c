/* Which interpreters are accepted, and why others are not. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/symbolize/fake_python.h"

static struct ml_abi abi;

/* The refusal of what fake is now. */
static const char *refusal(void)
{
	const char *why = NULL;

	ck_assert_int_eq(ml_abi_init(&abi, fake_lookup, NULL, &why), -1);
	ck_assert_ptr_nonnull(why);
	ck_assert_uint_lt(strlen(why), sizeof(abi.why));
	return why;
}

static void assert_refused(const char *part)
{
	const char *why = refusal();

	ck_assert_msg(strstr(why, part) != NULL, "refused with \"%s\", not with \"%s\"", why, part);
}

START_TEST(accepts_every_row)
{
	char version[16];

	fake_make((unsigned)_i);
	fake_init(&abi);
	snprintf(version, sizeof(version), "3.%d.1", _i);
	ck_assert_str_eq(abi.version, version);
	ck_assert_uint_eq(abi.is.minor, (unsigned)_i);
	ck_assert_ptr_eq(abi.runtime, fake.runtime);
	ck_assert_ptr_eq(abi.code_type, &fake.code_type);
	ck_assert_int_eq(memcmp(&abi.is.at, &ml_abi_row((unsigned)_i)->at, sizeof(abi.is.at)), 0);
	ck_assert_int_eq(abi.careful, 0);
	ck_assert_uint_gt(abi.main_stack_end, (uintptr_t)__builtin_frame_address(0));
	ck_assert_ptr_nonnull(abi.get_allocator);
	ck_assert_ptr_nonnull(abi.set_arenas);
}
END_TEST

START_TEST(has_no_other_rows)
{
	ck_assert_ptr_null(ml_abi_row(7));
	ck_assert_ptr_null(ml_abi_row(16));
	ck_assert_ptr_null(ml_abi_row(~0u));
}
END_TEST

START_TEST(names_what_is_missing)
{
	static const char *const symbols[] = {
		"_PyRuntime",
		"PyCode_Type",
		"PyFrame_Type",
		"PyType_Type",
		"PyGILState_GetThisThreadState",
		"Py_GetVersion",
		"Py_IsInitialized",
		"PyMem_SetAllocator",
		"PyObject_SetArenaAllocator",
		"PyGen_Type",
	};

	fake_make(11);
	for (size_t i = 0; i < sizeof(symbols) / sizeof(symbols[0]); i++) {
		fake.missing = symbols[i];
		assert_refused(symbols[i]);
	}
	fake.missing = "_PyThreadState_UncheckedGet";
	assert_refused("PyThreadState_GetUnchecked");
}
END_TEST

START_TEST(judges_the_version_text)
{
	static const struct {
		const char *text;
		const char *refused; /* NULL: accepted */
	} cases[] = {
		{"3.12.1 (main, Dec  4 2023) [Clang 17]", NULL},
		{"3.12.1+ (heads/3.12:abc, Dec  4 2023) [GCC]", NULL},
		{"3.12.0rc3 (main, Dec  4 2023) [GCC]", NULL},
		{"3.12.10", NULL},
		{"3.12.0a7 (main) [GCC]", "not a release"},
		{"3.12.0b4+ (main) [GCC]", "not a release"},
		{"3.7.16 (main) [GCC]", "CPython 3.7.16 is not supported (3.8 to 3.15 are)"},
		{"3.16.0 (main) [GCC]", "CPython 3.16.0 is not supported"},
		{"2.7.18 (main) [GCC]", "CPython 2.7.18 is not supported"},
		{"4.12.0 (main) [GCC]", "is not supported"},
		{"3.99999999999999999999.1", "is not supported"},
		{"3.12", "not a release"},
		{"3.", "is not supported"},
		{"3", "is not supported"},
		{"", "is not supported"},
		{"what is this", "is not supported"},
		{"3.12.a", "not a release"},
		{"3.10.13 (abc, Dec  4 2023)\n[PyPy 7.3.15 with GCC 10.2.1]", "PyPy"},
		{"3.11.7 (Wed) [Graal, GraalVM CE, Java 21 (amd64)]", "GraalPy"},
		{"3.10.5+cinder (heads/cinder/3.10) [GCC]", "Cinder"},
		{"3.13.0 experimental free-threading build (main) [GCC]", "free-threaded builds are not supported yet"},
		{"3.14.0 free-threading build (main) [GCC]", "free-threaded builds are not supported yet"},
		{"3.12.1234567890123456789012345678901234567890 (main)", NULL},
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		fake_make(12);
		snprintf(fake.version, sizeof(fake.version), "%s", cases[i].text);
		if (cases[i].refused)
			assert_refused(cases[i].refused);
		else
			fake_init(&abi);
		ck_assert_uint_lt(strlen(abi.version), sizeof(abi.version));
	}
}
END_TEST

START_TEST(believes_debug_offsets)
{
	if (!ml_abi_row((unsigned)_i)->debug.thread_frame)
		return;
	fake_make((unsigned)_i);
	fake_set_word(fake.runtime, fake.row->debug.thread_frame, 1024);
	fake_set_word(fake.runtime, fake.row->debug.runtime_finalizing, 2048);
	fake_init(&abi);
	ck_assert_uint_eq(abi.is.at.thread_frame, 1024);
	ck_assert_uint_eq(abi.is.at.runtime_finalizing, 2048);
	ck_assert_uint_eq(abi.is.at.frame_previous, fake.row->at.frame_previous);
}
END_TEST

START_TEST(doubts_debug_offsets)
{
	if (!ml_abi_row((unsigned)_i)->debug.thread_frame)
		return;
	fake_make((unsigned)_i);
	fake.runtime[3] = '?';
	assert_refused("does not describe itself");

	fake_make((unsigned)_i);
	fake_set_word(fake.runtime, 8, 0x030c01f0);
	assert_refused("does not describe itself");

	fake_make((unsigned)_i);
	fake_set_word(fake.runtime, 16, 1);
	assert_refused("free-threaded builds are not supported yet");

	fake_make((unsigned)_i);
	fake_set_word(fake.runtime, fake.row->debug.frame_previous, 1u << 20);
	assert_refused("make no sense");

	fake_make((unsigned)_i);
	fake_set_word(fake.runtime, fake.row->debug.object_type, 24);
	assert_refused("make no sense");

	fake_make((unsigned)_i);
	fake_set_word(fake.runtime, fake.row->debug.code_file, 120);
	assert_refused("code objects are not laid out as in CPython 3.");
}
END_TEST

START_TEST(checks_code_objects)
{
	fake_make((unsigned)_i);
	fake.code_type.basicsize += 8;
	assert_refused("code objects are not laid out");

	fake_make((unsigned)_i);
	fake.code_type.name = "cinder.code";
	assert_refused("code objects are not laid out");

	fake_make((unsigned)_i);
	fake.code_type.members = NULL;
	assert_refused("code objects are not laid out");

	for (unsigned member = 0; member < FAKE_MEMBERS; member++) {
		const char *name;
		fake_make((unsigned)_i);
		name = fake.code_members[member].name;
		if (!name || (!strcmp(name, "co_name") && strcmp(fake.row->name_member, "co_name") != 0))
			continue; /* where there is a qualified name the plain one is not read */
		fake.code_members[member].offset += 8;
		assert_refused("code objects are not laid out");
		fake.code_members[member].name = "co_renamed";
		assert_refused("code objects are not laid out");
	}
}
END_TEST

START_TEST(checks_frames)
{
	for (unsigned member = 0; member < FAKE_MEMBERS; member++) {
		fake_make((unsigned)_i);
		if (!fake.frame_members[member].name)
			continue;
		fake.frame_members[member].offset += 8;
		assert_refused("frames are not laid out");
	}
}
END_TEST

START_TEST(recognises_trace_refs)
{
	/* The same type object behind the two pointers that such a build puts before each. */
	struct {
		const void *next, *previous;
		struct fake_type type;
	} shifted = {NULL, NULL, {0}};

	fake_make(11);
	shifted.type = fake.code_type;
	memcpy(&fake.code_type, &shifted, sizeof(fake.code_type));
	assert_refused("Py_TRACE_REFS");

	fake_make(11);
	fake.code_type.type = &fake.frame_type;
	assert_refused("PyCode_Type is not laid out");
}
END_TEST

START_TEST(becomes_careful_for_greenlet)
{
	static const struct {
		const char *file;
		int careful;
	} cases[] = {
		{"/srv/app/main.py", 0},
		{"", 0},
		{"greenle", 0},
		{"/venv/site-packages/greenlet/__init__.py", 1},
		{"/venv/site-packages/greenlet/_greenlet.cpython-312-x86_64-linux-gnu.so", 1},
		{"greenlet", 1},
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		size_t bytes = strlen(cases[i].file);
		char *file = malloc(bytes + 1); /* no NUL is relied on */
		memcpy(file, cases[i].file, bytes);
		file = realloc(file, bytes ? bytes : 1);
		abi.careful = 0;
		ml_abi_saw_file(&abi, file, bytes);
		ck_assert_int_eq(abi.careful, cases[i].careful);
		free(file);
	}
	ml_abi_saw_file(&abi, "/srv/app/main.py", 16);
	ck_assert_int_eq(abi.careful, 1);
}
END_TEST

START_TEST(tells_when_it_finalizes)
{
	fake_make((unsigned)_i);
	fake_init(&abi);
	ck_assert(!ml_abi_finalizing(&abi));
	fake_set_word(fake.runtime, fake.row->at.runtime_finalizing, (uintptr_t)fake_block(8));
	ck_assert(ml_abi_finalizing(&abi));
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("abi");
	TCase *tcase = tcase_create("abi");
	SRunner *runner;
	int failed;

	tcase_add_checked_fixture(tcase, NULL, fake_drop);
	tcase_add_loop_test(tcase, accepts_every_row, FAKE_OLDEST, FAKE_NEWEST + 1);
	tcase_add_test(tcase, has_no_other_rows);
	tcase_add_test(tcase, names_what_is_missing);
	tcase_add_test(tcase, judges_the_version_text);
	tcase_add_loop_test(tcase, believes_debug_offsets, FAKE_OLDEST, FAKE_NEWEST + 1);
	tcase_add_loop_test(tcase, doubts_debug_offsets, FAKE_OLDEST, FAKE_NEWEST + 1);
	tcase_add_loop_test(tcase, checks_code_objects, FAKE_OLDEST, FAKE_NEWEST + 1);
	tcase_add_loop_test(tcase, checks_frames, FAKE_OLDEST, FAKE_NEWEST + 1);
	tcase_add_test(tcase, recognises_trace_refs);
	tcase_add_test(tcase, becomes_careful_for_greenlet);
	tcase_add_loop_test(tcase, tells_when_it_finalizes, FAKE_OLDEST, FAKE_NEWEST + 1);
	suite_add_tcase(suite, tcase);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? 1 : 0;
}
