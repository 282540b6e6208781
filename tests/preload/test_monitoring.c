#include "preload/monitoring.h"

#include <check.h>
#include <errno.h>
#include <stdlib.h>

#include "preload/process.h"
#include "tests/preload/monitored.h"
#include "tests/preload/session.h"
#include "tests/preload/trace_file.h"

static struct trace_file trace;

START_TEST(takes_another_number)
{
	static struct fake_object theirs;
	bool both = _i == 1;

	monitored_start(NULL);
	fake->tools[4] = &theirs;
	fake->tools[3] = both ? &theirs : NULL;
	ck_assert_int_eq(fake->pending(NULL), 0);
	ck_assert_ptr_null(fake->raised);
	ck_assert_ptr_eq(fake->tools[4], &theirs);
	trace_open(&trace, session_trace());
	if (!both) {
		ck_assert_str_eq(((struct fake_object *)fake->tools[3])->name, "memline");
		ck_assert_ptr_null(trace_meta(&trace, ML_OCCURRENCES_REFUSED, 0));
		return;
	}
	ck_assert_ptr_null(fake->watcher);
	ck_assert_str_eq(trace_meta(&trace, ML_OCCURRENCES_REFUSED, 0),
			 "other tools have taken the numbers 4 and 3 of sys.monitoring");
	ck_assert_uint_eq(trace_count_extents(&trace, ML_EXTENT_COUNTS), 0);
}
END_TEST

START_TEST(does_without)
{
	static const char *const missing[] = {
		"use_tool_id", "LINE", "PY_RETURN", "get_tool", "DISABLE", "get_local_events", "set_local_events"};

	monitored_start(NULL);
	if (_i < 7)
		fake->missing = missing[_i];
	else
		fake->has_no_watchers = 1;
	ck_assert_int_eq(fake->pending(NULL), 0);
	ck_assert_ptr_null(fake->raised);
	trace_open(&trace, session_trace());
	ck_assert_ptr_nonnull(trace_meta(&trace, ML_OCCURRENCES_REFUSED, 0));
	ck_assert_str_eq(trace_meta(&trace, ML_OCCURRENCES_REFUSED, 0), ml_monitoring_refused());
}
END_TEST

/* A program that takes the tool gets no events of ours; what is counted stays. */
START_TEST(gives_a_tool_up)
{
	static struct fake_object theirs;

	monitored_begin();
	monitored_code("/app/main.py", "f");
	fake->tools[4] = &theirs;
	monitored_code("/app/main.py", "g");
	fake->tools[4] = NULL;
	monitored_code("/app/main.py", "h");
	ck_assert_uint_eq(fake->set_n, 1);
	trace_open(&trace, session_trace());
	ck_assert_uint_eq(trace_count_extents(&trace, ML_EXTENT_COUNTS), 1);
	ck_assert_ptr_nonnull(trace_meta(&trace, ML_OCCURRENCES_REFUSED, 0));
	ck_assert_ptr_null(trace_meta(&trace, ML_OCCURRENCES_REFUSED, 1));
}
END_TEST

START_TEST(has_manners)
{
	static struct fake_object theirs;

	monitored_start(NULL);
	fake->raised = &theirs;
	errno = EXDEV;
	ck_assert_int_eq(fake->pending(NULL), 0);
	fake->refuses_events = 1;
	monitored_code("/app/main.py", "f");
	ck_assert_ptr_eq(fake->raised, &theirs);
	ck_assert_int_eq(errno, EXDEV);
}
END_TEST

START_TEST(asks_again)
{
	monitored_start("MEMLINE_OCCURRENCES=on");
	ck_assert_uint_eq(fake->asked, 1);
	monitored_poll();
	ck_assert_uint_eq(fake->asked, 1);
	atomic_store(&ml_monitoring_wanted, true);
	fake->has_full_queue = 1;
	monitored_poll();
	monitored_poll();
	ck_assert_uint_eq(fake->asked, 3);
	fake->has_full_queue = 0;
	monitored_poll();
	monitored_poll();
	ck_assert_uint_eq(fake->asked, 4);
}
END_TEST

START_TEST(is_not_wanted)
{
	static const char *const options[] = {"MEMLINE_OCCURRENCES=off", "MEMLINE_OCCURRENCES=auto",
					      "MEMLINE_OCCURRENCES=on"};
	struct ml_object older;
	struct frame frame;

	session_start(options[_i], NULL);
	frames_start(_i ? 0 : FRAMES_VERSIONS);
	older = monitored_load();
	if (_i) /* which has no code watchers */
		ck_assert_int_eq(ml_symbols_object_with("PyGILState_GetThisThreadState", &older), 0);
	ml_monitoring_find(&older);
	monitored_put_frame(&frame, NULL, frames_code("/app/main.py", "main", 1), 9);
	session_alloc(0x1000, 1);
	monitored_poll();
	ck_assert_uint_eq(fake->asked, 0);
	trace_open(&trace, session_trace());
	if (_i == 2)
		ck_assert_str_eq(trace_meta(&trace, ML_OCCURRENCES_REFUSED, 0),
				 "only CPython 3.12 and later tell which lines run");
	else
		ck_assert_ptr_null(trace_meta(&trace, ML_OCCURRENCES_REFUSED, 0));
}
END_TEST

int main(void)
{
	Suite *s = suite_create("monitoring");
	TCase *c = tcase_create("monitoring");
	SRunner *r = srunner_create(s);
	int failed;

	tcase_set_timeout(c, 60);
	tcase_add_checked_fixture(c, session_begin, session_end);
	tcase_add_loop_test(c, takes_another_number, 0, 2);
	tcase_add_loop_test(c, does_without, 0, 8);
	tcase_add_test(c, gives_a_tool_up);
	tcase_add_test(c, has_manners);
	tcase_add_test(c, asks_again);
	tcase_add_loop_test(c, is_not_wanted, 0, 3);
	suite_add_tcase(s, c);
	srunner_run_all(r, CK_NORMAL);
	failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
