#include "preload/occurrences.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "preload/monitoring.h"
#include "preload/process.h"
#include "preload/ring.h"
#include "tests/preload/monitored.h"
#include "tests/preload/session.h"
#include "tests/preload/trace_file.h"

static struct trace_file trace;
/* The interpreter says that the line runs. False: it is not to say so any more. */
static bool line(const struct code *code, long number)
{
	static struct fake_object object;
	void *arguments[] = {(void *)(uintptr_t)code, &object}, *result;

	object.value = number;
	result = fake->line_ran(NULL, arguments, 2);
	return result == monitored_none;
}

static const struct ml_count *count_of(const char *name, uint32_t number)
{
	trace_open(&trace, session_trace());
	for (size_t i = 0; i < trace.extent_count; i++) {
		const struct ml_extent *e = &trace.extents[i];
		const struct ml_count *c = (const void *)(trace.data + e->offset), *end = c + e->length / sizeof *c;
		for (; e->kind == ML_EXTENT_COUNTS && c < end && c->count; c++) {
			const struct ml_def_code *d = trace_code(&trace, c->code);
			if (c->line == number && d->name_bytes == strlen(name) &&
			    !memcmp((const char *)(d + 1) + d->file_bytes, name, d->name_bytes))
				return c;
		}
	}
	return NULL;
}

static uint64_t times(const char *name, uint32_t number)
{
	const struct ml_count *c = count_of(name, number);

	return c ? c->count : 0;
}

START_TEST(counts_what_is_in_scope)
{
	struct code *in, *out, *other;

	monitored_begin();
	in = monitored_code("/app/main.py", "in");
	out = monitored_code("/usr/lib/python3.12/json/decoder.py", "out");
	other = monitored_code("/app/other.py", "other");
	ck_assert_int_eq(monitored_events(in), FAKE_LINE);
	ck_assert_int_eq(monitored_events(out), 0);
	ck_assert_int_eq(monitored_events(other), FAKE_LINE);
	for (int i = 0; i < 5; i++) {
		ck_assert(line(in, 3));
		ck_assert(i % 2 || line(in, 4));
		ck_assert(i % 2 || line(other, 3));
	}
	ck_assert_uint_eq(times("in", 3), 5);
	ck_assert_uint_eq(times("in", 4), 3);
	ck_assert_uint_eq(times("other", 3), 3);
	ck_assert_uint_eq(times("in", 5), 0);
	ck_assert(line(out, 0x100000000)); /* no line at all */
	ck_assert_uint_eq(times("out", 0), 0);
	ck_assert_ptr_null(trace_meta(&trace, ML_OCCURRENCES_REFUSED, 0));
}
END_TEST

/* More lines than are kept at hand, than an extent holds, and than fit the first index. */
START_TEST(counts_many_lines)
{
	enum { CODES = 5, LINES = 2000 };
	const struct code *codes[CODES];
	char name[CODES][16];

	monitored_begin();
	for (int i = 0; i < CODES; i++) {
		snprintf(name[i], sizeof name[i], "f%d", i);
		codes[i] = monitored_code("/app/main.py", name[i]);
	}
	for (int round = 0; round < 3; round++)
		for (int n = 0; n < CODES * LINES; n++)
			line(codes[n % CODES], 1 + n / CODES);
	for (int i = 0; i < CODES; i++)
		for (uint32_t n = 1; n < LINES; n += 333)
			ck_assert_uint_eq(times(name[i], n), 3);
	ck_assert_uint_gt(trace_count_extents(&trace, ML_EXTENT_COUNTS), 2);
}
END_TEST

/* Another code object at the address of one that is gone; and one that is like another. */
START_TEST(tells_code_objects_apart)
{
	struct code *code, *twin;

	monitored_begin();
	code = monitored_code("/app/main.py", "first");
	line(code, 3);
	line(code, 3);
	line(code, 3 + 1024); /* which is kept at hand at the same place */
	line(code, 3 + 1024);
	line(code, 3);
	ck_assert_uint_eq(times("first", 3), 3);
	ck_assert_uint_eq(times("first", 3 + 1024), 2);
	frames_make_code(code, "/app/main.py", "second", 1);
	fake->watcher(0, code);
	line(code, 3);
	twin = monitored_code("/app/main.py", "first");
	line(twin, 3);
	ck_assert_uint_eq(times("first", 3), 4);
	ck_assert_uint_eq(times("second", 3), 1);
}
END_TEST

START_TEST(ends_beyond_the_cap)
{
	struct code *code;

	monitored_begin();
	code = monitored_code("/app/main.py", "f");
	for (unsigned i = 0; i < ML_COUNT_MAX; i++)
		if (!line(code, 3))
			ck_abort_msg("it ended at %u", i);
	ck_assert_uint_eq(times("f", 3), ML_COUNT_MAX);
	ck_assert(line(code, 4));
	for (int i = 0; i < 3; i++) /* at each of its places */
		ck_assert(!line(code, 3));
	ck_assert_uint_eq(times("f", 3), ML_COUNT_MAX + 1);
	ck_assert(line(code, 4));
}
END_TEST

/* The ring whose event was the last, whoever's line it is. */
START_TEST(notes_where_the_process_stands)
{
	struct code *code;
	const struct ml_count *c;
	uint64_t position;

	monitored_begin();
	code = monitored_code("/app/main.py", "f");
	session_alloc(0x2000, 1);
	line(code, 3);
	position = ml_thread.ring->piece->state;
	session_alloc(0x3000, 1);
	line(code, 4);
	line(code, 4);
	session_alloc(0x4000, 1);
	c = count_of("f", 3);
	ck_assert_uint_eq(c->ring, ml_thread.ring->id);
	ck_assert_uint_eq(c->state, position);
	c = count_of("f", 4);
	ck_assert_uint_gt(c->state, position);
	ck_assert_uint_lt(c->state, ml_thread.ring->piece->state);
}
END_TEST

static void allocate(void)
{
	session_alloc(0x7000, 77);
}

static const struct trace_event *event_at(struct trace_event *events, size_t n, uint64_t address)
{
	for (size_t i = 0; i < n; i++)
		if (events[i].e.record == ML_RECORD_ALLOC && events[i].e.address == address)
			return &events[i];
	ck_abort_msg("there is no block at %#lx", (unsigned long)address);
	return NULL;
}

/* What the interpreter does for us stands under a root of its own, and what it does behind it doesn't. */
START_TEST(owns_what_it_makes_the_interpreter_allocate)
{
	struct trace_event *events;
	const struct ml_node *node;
	size_t n;

	monitored_begin();
	fake->allocate = allocate;
	monitored_code("/app/main.py", "f");
	session_alloc(0x8000, 8);
	trace_open(&trace, session_trace());
	events = trace_events(&trace, &n);
	node = &trace.nodes[event_at(events, n, 0x7000)->e.node];
	ck_assert_uint_eq(node->subject, ML_SUBJECT(ML_NODE_MARK, ML_MARK_MEMLINE));
	ck_assert_uint_eq(node->parent, 0);
	node = &trace.nodes[event_at(events, n, 0x8000)->e.node];
	ck_assert_int_eq(ML_SUBJECT_KIND(node->subject), ML_NODE_PYTHON);
	free(events);
}
END_TEST

/* A large number of a line is an object that the interpreter has just made for the call. */
START_TEST(owns_the_number_of_a_line)
{
	static struct fake_object number = {.value = 1000}, small = {.value = 1};
	void *arguments[2];
	struct trace_event *events;
	unsigned ours = 0;
	size_t n;

	monitored_begin();
	arguments[0] = monitored_code("/app/main.py", "f");
	for (int i = 0; i < 3; i++) {
		arguments[1] = &number;
		session_alloc((uintptr_t)&number, 32);
		fake->line_ran(NULL, arguments, 2);
		session_free((uintptr_t)&number);
		arguments[1] = &small;
		fake->line_ran(NULL, arguments, 2);
	}
	trace_open(&trace, session_trace());
	events = trace_events(&trace, &n);
	for (size_t i = 0; i < n; i++) {
		if (events[i].e.record != ML_RECORD_OTHER || events[i].e.other != ML_OTHER_OURS)
			continue;
		ck_assert_uint_eq(events[i].e.address, (uintptr_t)&number);
		ck_assert_int_eq(events[i - 1].e.record, ML_RECORD_ALLOC);
		ck_assert_uint_eq(events[i - 1].e.address, (uintptr_t)&number);
		ours++;
	}
	ck_assert_uint_eq(ours, 3);
	ck_assert_uint_eq(times("f", 1000), 3);
	free(events);
}
END_TEST

/* The program that was there before us counts where it has just been started, with all that is defined in it. */
START_TEST(takes_a_program_at_its_start)
{
	static struct {
		struct object head;
		void *items[2];
	} constants = {.head.size = 2}, nothing;
	struct code *inner, *program;
	bool at_its_start = _i == 0;
	struct frame frame;

	monitored_start(NULL);
	program = frames_code("/app/main.py", "<module>", 1);
	inner = frames_code("/app/main.py", "f", 3);
	program->consts = &constants;
	inner->consts = &nothing;
	constants.items[0] = &nothing; /* which is no code object */
	constants.items[1] = inner;
	monitored_put_frame(&frame, NULL, program, at_its_start ? 2 : 7);
	ck_assert_int_eq(fake->pending(NULL), 0);
	ck_assert_int_eq(monitored_events(program), at_its_start ? FAKE_LINE : 0);
	ck_assert_int_eq(monitored_events(inner), at_its_start ? FAKE_LINE : 0);
}
END_TEST

START_TEST(does_not_count_while_nothing_is_recorded)
{
	struct code *code;

	monitored_begin();
	code = monitored_code("/app/main.py", "f");
	line(code, 3);
	((struct ml_control *)(uintptr_t)ml_process.control)->paused = 1;
	ml_process_obey();
	ck_assert(line(code, 3));
	((struct ml_control *)(uintptr_t)ml_process.control)->paused = 0;
	for (int i = 0; i < 100 && session_state() != ML_RECORDING; i++)
		line(code, 4);
	ck_assert_int_eq(session_state(), ML_RECORDING);
	line(code, 3);
	ck_assert_uint_eq(times("f", 3), 2);
	ml_process_stop(ML_STOP_MAX_BYTES, 0);
	ck_assert(!line(code, 3));
	ck_assert_uint_eq(times("f", 3), 2);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("occurrences");
	TCase *c = tcase_create("occurrences");
	SRunner *r = srunner_create(s);
	int failed;

	tcase_set_timeout(c, 60);
	tcase_add_checked_fixture(c, session_begin, session_end);
	tcase_add_test(c, counts_what_is_in_scope);
	tcase_add_test(c, counts_many_lines);
	tcase_add_test(c, tells_code_objects_apart);
	tcase_add_test(c, ends_beyond_the_cap);
	tcase_add_test(c, notes_where_the_process_stands);
	tcase_add_test(c, owns_what_it_makes_the_interpreter_allocate);
	tcase_add_test(c, owns_the_number_of_a_line);
	tcase_add_loop_test(c, takes_a_program_at_its_start, 0, 2);
	tcase_add_test(c, does_not_count_while_nothing_is_recorded);
	suite_add_tcase(s, c);
	srunner_run_all(r, CK_NORMAL);
	failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
