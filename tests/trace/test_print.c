#include "trace/print.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>

START_TEST(test_lines)
{
	static const struct {
		struct ml_event event;
		const char *line;
	} cases[] = {
		{{.record = ML_RECORD_ALLOC, .domain = ML_DOMAIN_OBJ, .node = 7, .address = 0x7f00, .bytes = 56},
		 "alloc obj node 7 at 0x7f00 bytes 56"},
		{{.record = ML_RECORD_FREE, .domain = ML_DOMAIN_C, .node = 7, .address = 0x10},
		 "free c node 7 at 0x10"},
		{{.record = ML_RECORD_REALLOC_BEGIN, .domain = ML_DOMAIN_RAW, .address = 0x10},
		 "realloc-begin raw node 0 at 0x10"},
		{{.record = ML_RECORD_REALLOC_END, .address = 0x20, .bytes = 9}, "realloc-end done at 0x20 bytes 9"},
		{{.record = ML_RECORD_REALLOC_END, .outcome = ML_OUTCOME_FAILED, .address = 1}, "realloc-end failed"},
		{{.record = ML_RECORD_REALLOC_END, .outcome = ML_OUTCOME_FREED}, "realloc-end freed"},
		{{.record = ML_RECORD_MAP, .node = 1, .address = 0x1000, .bytes = 4096, .prot = 3, .flags = 0x22},
		 "map node 1 at 0x1000 bytes 4096 prot 0x3 flags 0x22"},
		{{.record = ML_RECORD_MAP, .node = 1, .address = 0x1000, .bytes = 1, .brk = 1},
		 "map node 1 at 0x1000 bytes 1 prot 0 flags 0 brk"},
		{{.record = ML_RECORD_UNMAP_BEGIN, .node = 1, .address = 0x1000, .bytes = 1, .brk = 1},
		 "unmap-begin node 1 at 0x1000 bytes 1 brk"},
		{{.record = ML_RECORD_UNMAP_END, .address = 1}, "unmap-end done"},
		{{.record = ML_RECORD_REMAP_BEGIN, .node = 1, .address = 0x1000, .bytes = 1, .flags = 1},
		 "remap-begin node 1 at 0x1000 bytes 1 flags 0x1"},
		{{.record = ML_RECORD_REMAP_END, .address = 0x2000, .bytes = 2}, "remap-end done at 0x2000 bytes 2"},
		{{.record = ML_RECORD_PROTECT, .node = 1, .address = 0x1000, .bytes = 1, .prot = 1},
		 "protect node 1 at 0x1000 bytes 1 prot 0x1"},
		{{.record = ML_RECORD_ARENA, .address = 0x1000, .bytes = 1}, "arena at 0x1000 bytes 1"},
		{{.record = ML_RECORD_ARENA, .address = 0x1000, .bytes = 1, .released = 1},
		 "arena at 0x1000 bytes 1 released"},
		{{.record = ML_RECORD_TURN, .turn = 3}, "turn +3"},
		{{.record = ML_RECORD_TIME, .ns = 5, .pages = 6}, "time +5 ns, 6 pages"},
		{{.record = ML_RECORD_BASE, .turn = 1, .ns = 2, .tid = 3}, "base turn 1 at 2 ns, thread 3"},
		{{.record = ML_RECORD_OTHER, .other = ML_OTHER_FINALIZE}, "other finalize"},
		{{.record = ML_RECORD_OTHER, .other = ML_OTHER_OURS, .address = 0x1000}, "other ours at 0x1000"},
		{{.record = ML_RECORD_OTHER, .other = ML_OTHER_GENERATOR, .address = 0x1000},
		 "other generator at 0x1000"},
	};
	char line[ML_PRINT_MAX];

	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		ck_assert_int_eq(ml_print_event(line, &cases[i].event), strlen(cases[i].line));
		ck_assert_str_eq(line, cases[i].line);
	}
}
END_TEST

/* The longest line fits, with everything at its largest. */
START_TEST(test_longest)
{
	struct ml_event e;
	char line[ML_PRINT_MAX];

	for (unsigned record = 1; record < 16; record++) {
		memset(&e, 0xff, sizeof e);
		e.record = (enum ml_record)record;
		e.domain = ML_DOMAIN_RAW;
		e.outcome = ML_OUTCOME_DONE;
		e.brk = e.released = true;
		ck_assert_int_lt(ml_print_event(line, &e), ML_PRINT_MAX - 1);
	}
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("print");
	TCase *tests = tcase_create("print");
	SRunner *runner = srunner_create(suite);
	int failed;

	tcase_add_test(tests, test_lines);
	tcase_add_test(tests, test_longest);
	suite_add_tcase(suite, tests);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
