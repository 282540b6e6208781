/* The bytes of the table. What memory_profiler 0.61 prints for the same numbers was copied from its output. */
#include "report/table.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "report/json.h"
#include "report/memory.h"
#include "tests/report/frames.h"

#define MIB 1048576

static const char program[] = "@profile\n"
			      "def f(n):\n"
			      "    # comment\n"
			      "    a = bytearray(10_000_000)\n"
			      "\n"
			      "    del a\n"
			      "    return g(\n"
			      "    )   \n"
			      "\n"
			      "def g():\r\n"
			      "\tx = 1";

static struct ml_options options;

static void set_up(void)
{
	ml_options_init(&options);
	frames_write("app.py", program, -60);
}

/* f allocates 9.5 MiB and frees them, g keeps 1 MiB; a library and native code make the rest. */
static struct ml_reading read_program(const char *file)
{
	struct build *b = frames_new(ML_LINES_LINETABLE);
	uint32_t f = frames_code(b, file, "f", 1, 7), g = frames_code(b, file, "g", 10, 2);
	uint32_t library = frames_code(b, "/elsewhere/x.py", "x", 1, 1);
	uint32_t line4 = frames_node(b, 0, f, 1, 4), line6 = frames_node(b, 0, f, 1, 6);
	uint32_t line7 = frames_node(b, 0, f, 1, 7), g11 = frames_node(b, line7, g, 10, 11);
	struct build_ring *ring = build_ring(b, 1);
	struct ml_reading r = {0};

	build_meta(b, "arg", "python3");
	build_meta(b, "arg", "-c");
	build_meta(b, "arg", "it's\n");
	build_alloc(ring, ML_DOMAIN_OBJ, line4, 0x10000000, 10000000);
	build_free(ring, ML_DOMAIN_OBJ, line6, 0x10000000);
	build_alloc(ring, ML_DOMAIN_OBJ, g11, 0x20000000, MIB);
	build_alloc(ring, ML_DOMAIN_OBJ, frames_node(b, 0, library, 1, 1), 0x30000000, MIB / 2);
	build_alloc(ring, ML_DOMAIN_C, 0, 0x40000000, MIB / 4);
	build_time(ring, 1500000000, 0);
	build_header(b)->end = ML_END_EXIT;
	frames_read(&r, b, "trace", &options);
	ml_reading_finish(&r, &options);
	return r;
}

static char *print(const struct ml_reading *r)
{
	char *text = NULL;
	size_t bytes;
	FILE *out = open_memstream(&text, &bytes);

	ml_table_print(out, r, &options);
	fclose(out);
	return text;
}

static void prints(struct ml_reading *r, const char *expected)
{
	char *text = print(r);

	ck_assert_str_eq(text, expected);
	free(text);
	ml_reading_close(r);
}

#define HEAD                                                                                                           \
	"# memline " ML_VERSION_TEXT                                                                                   \
	": pid 100, Python 3.10.0, started 2026-01-02T03:04:05.678901+00:00, 1.500 s, exit\n"                          \
	"# python3 -c 'it'\\''s '\n"                                                                                   \
	"# Every allocation was recorded. Mem usage is tracked memory plus the 1.0 MiB that were resident when "       \
	"tracking began.\n"

#define TABLE                                                                                                          \
	"Line #    Mem usage    Increment  Occurrences   Line Contents\n"                                              \
	"=============================================================\n"

START_TEST(test_text)
{
	struct ml_reading r = read_program("app.py");
	char *expected = ml_memory_print(
		HEAD "\n"
		     "Filename: %s\n\n" TABLE "     1                                         @profile\n"
		     "     2                                         def f(n):\n"
		     "     3                                             # comment\n"
		     "     4     10.5 MiB      9.5 MiB                   a = bytearray(10_000_000)\n"
		     "     5                                         \n"
		     "     6      1.0 MiB     -9.5 MiB                   del a\n"
		     "     7      2.0 MiB      1.0 MiB                   return g(\n"
		     "     8                                             )   \n"
		     "\n\n"
		     "Filename: %s\n\n" TABLE "    10                                         def g():\n"
		     "    11      2.0 MiB      1.0 MiB               \tx = 1\n"
		     "\n\n"
		     "# What the lines above did themselves, and the rest:\n"
		     "#                        1.0 MiB               <lines above>\n"
		     "#                        0.5 MiB               <out of scope>\n"
		     "#                        0.2 MiB               <native>\n"
		     "#           2.8 MiB      1.8 MiB               total\n",
		frames_path("app.py"), frames_path("app.py"));

	prints(&r, expected);
	free(expected);
}
END_TEST

START_TEST(test_precision_and_top)
{
	struct ml_reading r;
	char *expected;

	options.precision = 4;
	options.top = 1;
	options.functions = ml_memory_get(1, sizeof(char *));
	options.functions[options.functions_n++] = "[g]";
	r = read_program("app.py");
	expected = ml_memory_print(HEAD "\n"
					"Filename: %s\n\n" TABLE
					"    10                                         def g():\n"
					"    11   2.0000 MiB   1.0000 MiB               \tx = 1\n"
					"\n\n"
					"# What the lines above did themselves, and the rest:\n"
					"#                     1.0000 MiB               <lines above>\n"
					"#                     0.0000 MiB               <1 more function>\n"
					"#                     0.5000 MiB               <out of scope>\n"
					"#                     0.2500 MiB               <native>\n"
					"#        2.7500 MiB   1.7500 MiB               total\n",
				   frames_path("app.py"));
	prints(&r, expected);
	free(expected);
	ml_options_free(&options);
}
END_TEST

START_TEST(test_wide)
{
	struct ml_reading r;
	char *text;

	options.wide = true;
	r = read_program("app.py");
	text = print(&r);
	ck_assert_ptr_nonnull(strstr(text, "\nLine #    Mem usage    Increment  Occurrences          Own         Live"
					   "         Peak    Allocated     Allocs       Python       Native"
					   " Module                             Line Contents\n"
					   "============================================================="
					   "==============================================================="
					   "===========================================================\n"));
	ck_assert_ptr_nonnull(strstr(text, "\n     4     10.5 MiB      9.5 MiB                  9.5 MiB      0.0 MiB"
					   "      9.5 MiB      9.5 MiB          1      0.0 MiB      0.0 MiB"
					   " python                                 a = bytearray(10_000_000)\n"));
	ck_assert_ptr_nonnull(strstr(text, "\n     7      2.0 MiB      1.0 MiB                  0.0 MiB      0.0 MiB"
					   "      0.0 MiB      0.0 MiB          0      0.0 MiB      0.0 MiB"
					   "                                        return g(\n"));
	free(text);
	ml_reading_close(&r);
}
END_TEST

START_TEST(test_source_that_is_gone)
{
	struct ml_reading r = read_program("gone.py");
	char *expected =
		ml_memory_print(HEAD "# warning: source not found: %s\n\n"
				     "Filename: %s\n\n" TABLE "     4     10.5 MiB      9.5 MiB               \n"
				     "     6      1.0 MiB     -9.5 MiB               \n"
				     "     7      2.0 MiB      1.0 MiB               \n"
				     "\n\n"
				     "Filename: %s\n\n" TABLE "    11      2.0 MiB      1.0 MiB               \n"
				     "\n\n"
				     "# What the lines above did themselves, and the rest:\n"
				     "#                        1.0 MiB               <lines above>\n"
				     "#                        0.5 MiB               <out of scope>\n"
				     "#                        0.2 MiB               <native>\n"
				     "#           2.8 MiB      1.8 MiB               total\n",
				frames_path("gone.py"), frames_path("gone.py"), frames_path("gone.py"));

	prints(&r, expected);
	free(expected);
}
END_TEST

START_TEST(test_source_that_changed)
{
	struct ml_reading r;
	char *text, *warning = ml_memory_print("\n# warning: source changed since the recording: %s\n",
					       frames_path("app.py"));

	frames_write("app.py", "x\n", 1);
	r = read_program("app.py");
	text = print(&r);
	ck_assert_ptr_nonnull(strstr(text, warning));
	/* rows behind the end of what is there now */
	ck_assert_ptr_nonnull(strstr(text, "\n     1                                         x\n"
					   "     4     10.5 MiB      9.5 MiB               \n"));
	free(text);
	free(warning);
	ml_reading_close(&r);
}
END_TEST

/* The body of a module or class shows only the neighbourhood of what happened, unless --all asks for every line. */
START_TEST(test_gaps)
{
	char text[400] = "";
	char *printed;
	int i;

	for (i = 0; i < 40; i++)
		strcat(text, "pass\n");
	frames_write("app.py", text, -60);
	for (i = 0; i < 2; i++) {
		struct build *b = frames_new(ML_LINES_LINETABLE);
		uint32_t body = frames_code(b, "app.py", "<module>", 1, 40);
		struct build_ring *ring = build_ring(b, 1);
		struct ml_reading r = {0};

		build_alloc(ring, ML_DOMAIN_OBJ, frames_node(b, 0, body, 1, 2), 0x1000, MIB);
		build_alloc(ring, ML_DOMAIN_OBJ, frames_node(b, 0, body, 1, 10), 0x2000000, MIB);
		build_alloc(ring, ML_DOMAIN_OBJ, frames_node(b, 0, body, 1, 19), 0x4000000, MIB);
		options.all = i;
		frames_read(&r, b, "trace", &options);
		ml_reading_finish(&r, &options);
		printed = print(&r);
		ck_assert_ptr_nonnull(strstr(printed, "\n     9                                         pass\n"));
		ck_assert_int_eq(!strstr(printed, "\n# lines 11 to 18: nothing happened\n    19 "), i);
		ck_assert_int_eq(!strstr(printed, "\n    19      4.0 MiB      1.0 MiB               pass\n"
						  "# lines 20 to 40: nothing happened\n\n\n"),
				 i);
		ck_assert_int_eq(!!strstr(printed, "\n    40                                         pass\n\n\n"), i);
		free(printed);
		ml_reading_close(&r);
	}
}
END_TEST

/* A trace can say anything about line numbers; what is printed is bounded by the source. */
START_TEST(test_absurd_lines)
{
	struct build *b = frames_new(ML_LINES_LNOTAB);
	uint8_t jumps[2000];
	uint32_t code;
	struct ml_reading r = {0};
	char *text;

	memset(jumps, 127, sizeof(jumps));
	code = build_code(b, "app.py", "f", 1, jumps, sizeof(jumps));
	build_alloc(build_ring(b, 1), ML_DOMAIN_OBJ, build_node(b, 0, ML_NODE_PYTHON, code, 0), 0x1000, MIB);
	code = build_code(b, "app.py", "far", 2000000000, jumps, sizeof(jumps));
	build_alloc(build_ring(b, 2), ML_DOMAIN_OBJ, build_node(b, 0, ML_NODE_PYTHON, code, 0), 0x2000000, MIB);
	frames_read(&r, b, "trace", &options);
	ml_reading_finish(&r, &options);
	text = print(&r);
	ck_assert_ptr_nonnull(strstr(text, "\n2000000000      3.0 MiB      1.0 MiB               \n\n\n"));
	ck_assert_uint_lt(strlen(text), 5000);
	free(text);
	ml_reading_close(&r);
}
END_TEST

START_TEST(test_warnings)
{
	struct build *b = frames_new(ML_LINES_LINETABLE);
	struct ml_reading r = {0};
	char *text;

	build_meta(b, "ignored.SAMPLE", "many\n");
	build_meta(b, "late", "1");
	build_header(b)->stop = ML_STOP_MAX_BYTES;
	build_header(b)->counter[ML_COUNTER_DROPPED_STOPPED] = 12;
	build_header(b)->flags |= ML_FLAG_UNMAPPED;
	frames_read(&r, b, "trace", &options);
	ml_reading_finish(&r, &options);
	text = print(&r);
	ck_assert_ptr_nonnull(strstr(text, "\n# warning: recording stopped: the trace reached MEMLINE_MAX_BYTES\n"));
	ck_assert_ptr_nonnull(strstr(text, "\n# warning: 12 events after recording had stopped\n"));
	ck_assert_ptr_nonnull(strstr(text, "\n# warning: MEMLINE_SAMPLE was ignored: it does not take 'many '\n"));
	ck_assert_ptr_nonnull(strstr(text, "\n# warning: CPython was loaded after"));
	ck_assert_ptr_nonnull(strstr(text, "\n# warning: the trace's file system gave no shared mapping"));
	ck_assert_ptr_nonnull(strstr(text, ", killed\n"));
	free(text);
	ml_reading_close(&r);
}
END_TEST

/* The shape that docs/interface.md promises, key by key. */
START_TEST(test_json)
{
	struct ml_reading r = read_program("app.py");
	json_t *value = ml_json_reading(&r);
	char *text = json_dumps(value, JSON_COMPACT | JSON_PRESERVE_ORDER | JSON_REAL_PRECISION(15));
	char *expected = ml_memory_print(
		"{\"pid\":100,\"ppid\":1,\"command\":[\"python3\",\"-c\",\"it's\\n\"],\"python\":\"3.10.0\","
		"\"started\":\"2026-01-02T03:04:05.678901+00:00\",\"seconds\":1.5,\"end\":\"exit\","
		"\"sample_bytes\":0,\"warnings\":[],\"totals\":{\"allocated_bytes\":11835008,\"allocations\":4,"
		"\"freed_bytes\":10000000,\"frees\":1,\"live_bytes\":1835008,\"live_blocks\":3,"
		"\"peak_bytes\":10000000,\"peak_seconds\":0.0,\"start_live_bytes\":0,\"unknown_frees\":0,"
		"\"missed_frees\":0,\"dropped_events\":0,\"baseline_rss_bytes\":1048576,\"allocator_bytes\":0,"
		"\"mappings\":{\"anonymous_bytes\":0,\"file_bytes\":0,\"reserved_bytes\":0}},"
		"\"out_of_scope\":{\"increment_bytes\":524288,\"live_bytes\":524288,\"callers\":[]},"
		"\"native\":{\"increment_bytes\":262144,\"live_bytes\":262144,\"callers\":[]},\"functions\":["
		"{\"file\":\"%s\",\"name\":\"f\",\"first_line\":1,\"lines\":["
		"{\"line\":4,\"source\":\"    a = bytearray(10_000_000)\",\"occurrences\":null,"
		"\"mem_bytes\":11048576,\"increment_bytes\":10000000,\"own_increment_bytes\":10000000,"
		"\"live_bytes\":0,\"live_blocks\":0,\"allocated_bytes\":10000000,\"allocations\":1,"
		"\"peak_bytes\":10000000,\"inclusive_live_bytes\":0,"
		"\"module\":\"python\",\"python_live_bytes\":0,\"native_live_bytes\":0,\"callers\":[]},"
		"{\"line\":6,\"source\":\"    del a\",\"occurrences\":null,\"mem_bytes\":1048576,"
		"\"increment_bytes\":-10000000,\"own_increment_bytes\":-10000000,\"live_bytes\":0,"
		"\"live_blocks\":0,\"allocated_bytes\":0,\"allocations\":0,\"peak_bytes\":0,"
		"\"inclusive_live_bytes\":0,"
		"\"module\":null,\"python_live_bytes\":0,\"native_live_bytes\":0,\"callers\":[]},"
		"{\"line\":7,\"source\":\"    return g(\",\"occurrences\":null,\"mem_bytes\":2097152,"
		"\"increment_bytes\":1048576,\"own_increment_bytes\":0,\"live_bytes\":0,\"live_blocks\":0,"
		"\"allocated_bytes\":0,\"allocations\":0,\"peak_bytes\":0,\"inclusive_live_bytes\":1048576,"
		"\"module\":null,\"python_live_bytes\":0,\"native_live_bytes\":0,\"callers\":[]}]},"
		"{\"file\":\"%s\",\"name\":\"g\",\"first_line\":10,\"lines\":["
		"{\"line\":11,\"source\":\"\\tx = 1\",\"occurrences\":null,\"mem_bytes\":2097152,"
		"\"increment_bytes\":1048576,\"own_increment_bytes\":1048576,\"live_bytes\":1048576,"
		"\"live_blocks\":1,\"allocated_bytes\":1048576,\"allocations\":1,\"peak_bytes\":0,"
		"\"inclusive_live_bytes\":1048576,"
		"\"module\":\"python\",\"python_live_bytes\":1048576,\"native_live_bytes\":0,\"callers\":[]}]}]}",
		frames_path("app.py"), frames_path("app.py"));

	ck_assert_str_eq(text, expected);
	free(text);
	free(expected);
	json_decref(value);
	ml_reading_close(&r);
}
END_TEST

START_TEST(test_json_text)
{
	static const struct {
		const char *bytes, *text;
	} cases[] = {
		{"plain", "plain"},
		{"\xc3\xa9\xe2\x82\xac\xf0\x9f\x90\x8d", "\xc3\xa9\xe2\x82\xac\xf0\x9f\x90\x8d"},
		{"a\xff"
		 "b",
		 "a\xef\xbf\xbd"
		 "b"},
		{"\xed\xb2\x80", "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd"}, /* a lone surrogate */
		{"\xc0\x80", "\xef\xbf\xbd\xef\xbf\xbd"},                 /* too long */
		{"\xf4\x90\x80\x80", "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd"},
		{"\xe2\x82", "\xef\xbf\xbd\xef\xbf\xbd"}, /* cut off */
		{"", ""},
	};
	size_t i;

	for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		json_t *value = ml_json_text(cases[i].bytes);
		ck_assert_ptr_nonnull(value);
		ck_assert_str_eq(json_string_value(value), cases[i].text);
		json_decref(value);
	}
	ck_assert(json_is_null(ml_json_text(NULL)));
}
END_TEST

START_TEST(test_size)
{
	char text[ML_TABLE_SIZE_BYTES];

	ck_assert_str_eq(ml_table_size(0, text), "0 bytes");
	ck_assert_str_eq(ml_table_size(1023, text), "1023 bytes");
	ck_assert_str_eq(ml_table_size(1536, text), "1.5 KiB");
	ck_assert_str_eq(ml_table_size((uint64_t)5 << 40, text), "5.0 TiB");
	ck_assert_str_eq(ml_table_size(UINT64_MAX, text), "16777216.0 TiB");
}
END_TEST

/* Lines that ran, as memory_profiler shows them, and one that was no longer counted. */
START_TEST(test_occurrences)
{
	struct build *b = frames_new(ML_LINES_LINETABLE);
	uint32_t f = frames_code(b, "app.py", "f", 1, 7);
	struct ml_reading r = {0};
	char *text, *json;
	json_t *value;

	build_alloc(build_ring(b, 1), ML_DOMAIN_OBJ, frames_node(b, 0, f, 1, 4), 0x10000000, 10000000);
	build_count(b, f, 4, 12);
	build_count(b, f, 6, ML_COUNT_MAX);
	build_count(b, f, 7, ML_COUNT_MAX + 1);
	build_meta(b, "occurrences_refused", "the program took them");
	frames_read(&r, b, "trace", &options);
	ml_reading_finish(&r, &options);
	text = print(&r);
	ck_assert_ptr_nonnull(strstr(text,
				     "     4     10.5 MiB      9.5 MiB          12       a = bytearray(10_000_000)\n"
				     "     5                                         \n"
				     "     6     10.5 MiB      0.0 MiB      100000       del a\n"
				     "     7                   0.0 MiB     >100000       return g(\n"));
	ck_assert_ptr_nonnull(strstr(text, "# warning: lines were not counted until the end: the program took them\n"));
	value = ml_json_reading(&r);
	json = json_dumps(value, JSON_COMPACT | JSON_PRESERVE_ORDER);
	ck_assert_ptr_nonnull(strstr(json, "\"occurrences\":12,\"mem_bytes\""));
	ck_assert_ptr_nonnull(strstr(json, "\"occurrences\":100000,\"mem_bytes\""));
	ck_assert_ptr_nonnull(strstr(json, "\"occurrences\":100000,\"occurrences_at_least\":true,\"mem_bytes\""));
	free(json);
	json_decref(value);
	free(text);
	ml_reading_close(&r);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("table");
	TCase *tests = tcase_create("table");
	SRunner *runner = srunner_create(suite);
	int failed;

	frames_folder();
	tcase_add_checked_fixture(tests, set_up, NULL);
	tcase_add_test(tests, test_text);
	tcase_add_test(tests, test_precision_and_top);
	tcase_add_test(tests, test_wide);
	tcase_add_test(tests, test_source_that_is_gone);
	tcase_add_test(tests, test_source_that_changed);
	tcase_add_test(tests, test_gaps);
	tcase_add_test(tests, test_absurd_lines);
	tcase_add_test(tests, test_warnings);
	tcase_add_test(tests, test_json);
	tcase_add_test(tests, test_occurrences);
	tcase_add_test(tests, test_json_text);
	tcase_add_test(tests, test_size);
	suite_add_tcase(suite, tests);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
