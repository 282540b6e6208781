#include <check.h>
#include <errno.h>
#include <malloc.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "preload/options.h"
#include "preload/process.h"
#include "preload/record.h"
#include "preload/ring.h"
#include "tests/preload/frames.h"
#include "tests/preload/session.h"
#include "tests/preload/trace_file.h"

static uint64_t random_state = 88172645463325252u;

static uint64_t any(uint64_t below)
{
	random_state ^= random_state << 13;
	random_state ^= random_state >> 7;
	random_state ^= random_state << 17;
	return random_state % below;
}

/* Any address: near ones, far ones, off the grid, and the largest. */
static const void *any_block(void)
{
	static uint64_t last = 0x555555550000u;

	switch (any(8)) {
	case 0:
		last = any((uint64_t)1 << 47) & ~(uint64_t)15;
		break;
	case 1:
		return (const void *)(uintptr_t)(any((uint64_t)1 << 47) | 1);
	case 2:
		return (const void *)(uintptr_t)UINT64_MAX;
	default:
		last += 16 * any(64);
	}
	return (const void *)(uintptr_t)last;
}

static uint64_t any_size(void)
{
	return any(4) ? 64 : any((uint64_t)1 << any(63));
}

static struct trace_file trace;
static struct ml_event *expected;
static size_t expected_count, expected_room;

static struct ml_event *expect(enum ml_record record, const void *address, uint64_t bytes)
{
	struct ml_event *e;

	if (expected_count == expected_room) {
		expected_room = expected_room ? expected_room * 2 : 4096;
		expected = realloc(expected, expected_room * sizeof *expected);
	}
	e = &expected[expected_count++];
	memset(e, 0, sizeof *e);
	e->record = record;
	e->address = (uintptr_t)address;
	e->bytes = bytes;
	return e;
}

/* One event of the nth kind, with its end if it has one, as the hooks make it. */
static void make(unsigned kind)
{
	struct ml_thread *t = ml_enter(NULL);
	const void *a = any_block(), *b = any_block();
	uint64_t bytes = any_size();
	enum ml_domain domain = (enum ml_domain)any(4);
	enum ml_outcome outcome = (enum ml_outcome)any(3);
	int prot = (int)any(8), flags = (int)any(2) ? -1 : MAP_PRIVATE, brk = (int)any(2);
	struct ml_event *e;

	if (!t)
		ck_abort_msg("the hook was not entered");
	switch (kind) {
	case 0:
		ml_record_alloc(t, domain, a, bytes, NULL);
		expect(ML_RECORD_ALLOC, a, bytes)->domain = domain;
		break;
	case 1:
		ml_record_free(t, domain, a, NULL);
		expect(ML_RECORD_FREE, a, 0)->domain = domain;
		break;
	case 2:
		ml_record_realloc_begin(t, domain, a, NULL);
		expect(ML_RECORD_REALLOC_BEGIN, a, 0)->domain = domain;
		ml_record_realloc_end(t, outcome, b, bytes);
		e = expect(ML_RECORD_REALLOC_END, outcome ? NULL : b, outcome ? 0 : bytes);
		e->outcome = outcome;
		break;
	case 3:
		ml_record_map(t, brk, a, bytes, prot, flags, NULL);
		e = expect(ML_RECORD_MAP, a, bytes);
		e->brk = brk;
		e->prot = (unsigned)prot;
		e->flags = (unsigned)flags;
		break;
	case 4:
		ml_record_unmap_begin(t, brk, a, bytes, NULL);
		expect(ML_RECORD_UNMAP_BEGIN, a, bytes)->brk = brk;
		ml_record_unmap_end(t, (enum ml_outcome)(outcome % 2));
		expect(ML_RECORD_UNMAP_END, NULL, 0)->outcome = (enum ml_outcome)(outcome % 2);
		break;
	case 5:
		outcome %= 2;
		ml_record_remap_begin(t, a, bytes, flags, NULL);
		expect(ML_RECORD_REMAP_BEGIN, a, bytes)->flags = (unsigned)flags;
		ml_record_remap_end(t, outcome, b, bytes + 1);
		expect(ML_RECORD_REMAP_END, outcome ? NULL : b, outcome ? 0 : bytes + 1)->outcome = outcome;
		break;
	case 6:
		ml_record_protect(t, a, bytes, prot, NULL);
		expect(ML_RECORD_PROTECT, a, bytes)->prot = (unsigned)prot;
		break;
	case 7:
		ml_record_arena(t, brk, a, bytes);
		expect(ML_RECORD_ARENA, a, bytes)->released = brk;
		break;
	}
	if (t->busy != ML_IN_CALL)
		ck_abort_msg("the guard was lost");
	ml_leave(t);
}

static bool is_as_expected(const struct ml_event *e, const struct ml_event *x)
{
	return e->record == x->record && e->address == x->address && e->bytes == x->bytes && e->domain == x->domain &&
	       e->outcome == x->outcome && e->brk == x->brk && e->released == x->released && e->prot == x->prot &&
	       e->flags == x->flags && e->node == x->node;
}

static void check_events(void)
{
	size_t count;
	struct trace_event *events;

	trace_open(&trace, session_trace());
	events = trace_events(&trace, &count);
	ck_assert_uint_eq(count, expected_count);
	for (size_t i = 0; i < count; i++)
		if (!is_as_expected(&events[i].e, &expected[i]))
			ck_abort_msg("event %zu: %s, expected %s", i, ml_record_name(events[i].e.record),
				     ml_record_name(expected[i].record));
	ck_assert_uint_eq(trace.damaged, 0);
	free(events);
}

START_TEST(reads_back_every_kind)
{
	session_start(NULL);
	session_initialize();
	for (unsigned kind = 0; kind < 8; kind++) {
		make(kind);
		check_events();
	}
}
END_TEST

START_TEST(reads_back_what_came_before_the_trace_was_made)
{
	session_start(NULL);
	for (unsigned i = 0; i < 100000; i++)
		make((unsigned)any(8));
	ck_assert_str_eq(session_trace(), "");
	ck_assert_int_eq(session_state(), ML_EARLY);
	session_initialize();
	for (unsigned i = 0; i < 200000; i++)
		make((unsigned)any(8));
	ck_assert_int_eq(session_state(), ML_RECORDING);
	check_events();
	ck_assert_uint_gt(trace_count_extents(&trace, ML_EXTENT_EVENTS), 50);
	for (unsigned counter = 0; counter < ML_COUNTERS; counter++)
		ck_assert_uint_eq(trace.header->counter[counter], 0);
}
END_TEST

/* Waiting events have a bound. What finds no room is counted, and what comes after is there. */
START_TEST(counts_early_events_without_room)
{
	uint64_t dropped;
	size_t kept;

	session_start(NULL);
	while (session_state() == ML_EARLY)
		make(0);
	ck_assert_int_eq(session_state(), ML_WAITING);
	kept = expected_count - 1; /* the last one found no room */
	for (unsigned i = 0; i < 1000; i++)
		session_alloc(16 * i, 1);
	dropped = 1 + 1000;
	ck_assert_str_eq(session_trace(), "");
	session_initialize();
	expected_count = kept;
	for (unsigned i = 0; i < 10000; i++)
		make((unsigned)any(8));
	check_events();
	ck_assert_uint_eq(trace.header->counter[ML_COUNTER_DROPPED_EARLY], dropped);
}
END_TEST

/* The clock is read on, also in a ring that was full for a while. */
START_TEST(notes_the_time_after_waiting)
{
	size_t count, times = 0;
	struct trace_event *events;
	struct timespec ten_ms = {0, 10000000};

	session_start(NULL);
	while (session_state() == ML_EARLY)
		make(0);
	for (unsigned i = 0; i < 200; i++)
		make(0);
	session_initialize();
	for (unsigned i = 0; i < 5; i++) {
		for (unsigned k = 0; k < 2 * ML_RING_PERIOD; k++)
			make(1);
		nanosleep(&ten_ms, NULL);
	}
	trace_open(&trace, session_trace());
	events = trace_ring_events(&trace, 0, &count);
	for (size_t i = count - 5 * 2 * ML_RING_PERIOD; i < count; i++)
		times += events[i].e.record == ML_RECORD_TIME;
	ck_assert_uint_ge(times, 4);
	free(events);
}
END_TEST

/* Of a frame's own line, and with the C caller on top. native: _i. */
START_TEST(records_under_the_stack)
{
	struct code *code;
	static struct frame root, top = {.previous = &root};
	const void *caller = (const void *)(uintptr_t)&make;
	struct ml_thread *t;
	struct trace_event *events;
	const struct ml_node *n;
	size_t count;
	uint32_t node;

	session_start(_i ? "MEMLINE_NATIVE=caller" : "MEMLINE_NATIVE=off", NULL);
	frames_start(FRAMES_VERSIONS);
	code = frames_code("/app/a.py", "f", 1);
	root.code = top.code = frames_tagged(code);
	root.instr = &code->bytecode[5];
	top.instr = &code->bytecode[9];
	frames_top = &top;
	t = ml_enter(caller);
	ml_record_alloc(t, ML_DOMAIN_C, (const void *)0x1000, 10, caller);
	ml_leave(t);
	ck_assert_int_eq(session_state(), ML_RECORDING); /* that was a Python frame */
	frames_top = &root;
	t = ml_enter(NULL);
	ml_record_free(t, ML_DOMAIN_OBJ, (const void *)0x1000, NULL);
	ml_leave(t);
	frames_top = NULL;
	t = ml_enter(NULL);
	ml_record_free(t, ML_DOMAIN_OBJ, (const void *)0x1000, NULL);
	ml_leave(t);
	trace_open(&trace, session_trace());
	events = trace_events(&trace, &count);
	ck_assert_uint_eq(count, 3);
	node = events[0].e.node;
	n = &trace.nodes[node];
	if (_i) {
		const struct ml_def_module *m = trace_module(&trace, ML_SUBJECT_NUMBER(n->subject));
		ck_assert_int_eq(ML_SUBJECT_KIND(n->subject), ML_NODE_NATIVE);
		ck_assert_ptr_nonnull(m);
		ck_assert_uint_eq(n->place + m->base, (uintptr_t)caller);
		n = &trace.nodes[n->parent];
	}
	ck_assert_uint_eq(n->subject, ML_SUBJECT(ML_NODE_PYTHON, 0));
	ck_assert_uint_eq(n->place, 18);
	ck_assert_uint_eq(events[1].e.node, n->parent);
	n = &trace.nodes[n->parent];
	ck_assert_uint_eq(n->subject, ML_SUBJECT(ML_NODE_PYTHON, 0));
	ck_assert_uint_eq(n->place, 10);
	ck_assert_uint_eq(n->parent, 0);
	ck_assert_uint_eq(events[2].e.node, 0);
	free(events);
}
END_TEST

#define COROUTINE 0x81u /* co_flags */

static void *act_once(void *unused)
{
	(void)unused;
	session_alloc(0x9000, 1);
	return NULL;
}

/* Where the user's code is entered or left the time comes before the event, in a turn of its own, and the coroutine
   that runs is named if it is another one. */
START_TEST(tells_when_the_users_code_is_entered)
{
	static const struct {
		enum { LIBRARY, FIRST, SECOND } runs;
		bool pauses;
		const char *wanted; /* T: time, N: turn, G and H: the first and the second coroutine, a: an event */
	} steps[] = {
		{LIBRARY, true, NULL}, {FIRST, true, "NTGa"}, {FIRST, true, "a"},
		{LIBRARY, true, "Ta"}, {FIRST, false, "a"},   {LIBRARY, false, "a"},
		{SECOND, true, "THa"}, {FIRST, false, "Ga"},  {SECOND, false, "Ha"},
	};
	const struct timespec pause = {0, 25000000};
	_Alignas(16) struct frame library = {.previous = NULL},
				  coroutines[2] = {{.previous = &library}, {.previous = &library}};
	struct trace_event *events;
	pthread_t thread;
	size_t count, at = 0;

	session_start("MEMLINE_SCOPE=/app/*", NULL);
	frames_start(FRAMES_VERSIONS);
	library.code = frames_tagged(frames_code("/lib/loop.py", "loop", 1));
	library.instr = &((struct code *)(uintptr_t)(library.code & ~(uint64_t)3))->bytecode[5];
	for (int i = 0; i < 2; i++) {
		struct code *code = frames_code("/app/a.py", "task", 1);
		code->flags = COROUTINE;
		coroutines[i].code = frames_tagged(code);
		coroutines[i].instr = &code->bytecode[5];
		coroutines[i].owner = 1;
	}
	for (size_t i = 0; i < sizeof steps / sizeof *steps; i++) {
		frames_top = steps[i].runs ? &coroutines[steps[i].runs - 1] : &library;
		if (steps[i].pauses)
			nanosleep(&pause, NULL);
		ck_assert(session_alloc((i + 1) * 16, 1));
		if (i == 0) {
			ck_assert_int_eq(pthread_create(&thread, NULL, act_once, NULL), 0);
			pthread_join(thread, NULL);
		}
	}
	trace_open(&trace, session_trace());
	events = trace_ring_events(&trace, 0, &count);
	while (at < count && events[at].e.record != ML_RECORD_ALLOC)
		at++;
	for (size_t i = 1; i < sizeof steps / sizeof *steps; i++) {
		char got[16] = "";
		for (size_t n = 0; n < 15 && ++at < count; n++) {
			const struct ml_event *e = &events[at].e;
			if (e->record == ML_RECORD_TIME && !steps[i].pauses) {
				n--; /* the clock has gone on by itself */
				continue;
			}
			got[n] = e->record == ML_RECORD_TIME                         ? 'T'
				 : e->record == ML_RECORD_TURN                       ? 'N'
				 : e->record == ML_RECORD_ALLOC                      ? 'a'
				 : e->address == ((uintptr_t)&coroutines[0] & ~15ul) ? 'G'
										     : 'H';
			if (e->record == ML_RECORD_ALLOC)
				break;
		}
		ck_assert_msg(!strcmp(got, steps[i].wanted), "step %zu: %s, wanted %s", i, got, steps[i].wanted);
	}
	free(events);
}
END_TEST

START_TEST(marks_the_interpreters_end_once)
{
	struct code *code;
	struct frame root = {.previous = NULL};
	struct trace_event *events;
	size_t count, ends = 0;

	session_start(NULL);
	frames_start(FRAMES_VERSIONS);
	code = frames_code("/app/a.py", "f", 1);
	root.code = frames_tagged(code);
	root.instr = &code->bytecode[5];
	frames_top = &root;
	ck_assert(session_alloc(16, 1));
	frames_runtime.finalizing = (uintptr_t)&frames_runtime; /* another thread's: so this one has no frames */
	for (unsigned i = 0; i < 1000; i++)
		session_free(16);
	trace_open(&trace, session_trace());
	events = trace_events(&trace, &count);
	for (size_t i = 0; i < count; i++)
		ends += events[i].e.record == ML_RECORD_OTHER && events[i].e.other == ML_OTHER_FINALIZE;
	ck_assert_uint_eq(ends, 1);
	ck_assert_int_eq(events[1].e.record, ML_RECORD_OTHER);
	ck_assert_uint_eq(count, 1 + 1 + 1000);
	free(events);
}
END_TEST

#define BEFORE_THE_END 1000u

static void *act(void *unused)
{
	(void)unused;
	for (unsigned i = 0; i < BEFORE_THE_END; i++)
		session_alloc((i + 2) * 16, 1);
	return NULL;
}

/* Whoever notes the interpreter's end, what other threads did before stands before it. */
START_TEST(marks_the_end_behind_other_threads)
{
	struct code *code;
	struct frame root = {.previous = NULL};
	struct trace_event *events;
	pthread_t thread;
	size_t count, before = 0;

	session_start(NULL);
	frames_start(FRAMES_VERSIONS);
	code = frames_code("/app/a.py", "f", 1);
	root.code = frames_tagged(code);
	root.instr = &code->bytecode[5];
	frames_top = &root;
	ck_assert(session_alloc(16, 1));
	ck_assert_int_eq(pthread_create(&thread, NULL, act, NULL), 0);
	pthread_join(thread, NULL);
	frames_runtime.finalizing = (uintptr_t)&frames_runtime;
	ck_assert(session_free(16));
	trace_open(&trace, session_trace());
	events = trace_events(&trace, &count);
	ck_assert_uint_eq(count, 1 + BEFORE_THE_END + 1 + 1);
	while (before < count && events[before].e.record != ML_RECORD_OTHER)
		before++;
	ck_assert_uint_eq(before, 1 + BEFORE_THE_END);
	free(events);
}
END_TEST

/* A hook within a hook is the same call at a lower layer; in the middle of our own code it is a signal handler's. */
START_TEST(records_the_outermost_layer)
{
	struct ml_thread *t;
	struct trace_event *events;
	size_t count;

	session_start(NULL);
	session_initialize();
	t = ml_enter(NULL);
	ck_assert_ptr_nonnull(t);
	ck_assert(!session_alloc(16, 1));
	ml_record_alloc(t, ML_DOMAIN_OBJ, (const void *)32, 1, NULL);
	ck_assert(!session_free(16));
	t->busy = ML_IN_RECORD;
	ck_assert(!session_free(16));
	ck_assert(!session_alloc(16, 2));
	t->busy = ML_IN_CALL;
	ml_leave(t);
	trace_open(&trace, session_trace());
	events = trace_events(&trace, &count);
	ck_assert_uint_eq(count, 1);
	ck_assert_uint_eq(events[0].e.address, 32);
	ck_assert_uint_eq(trace.header->counter[ML_COUNTER_DROPPED_SIGNAL], 2);
	free(events);
}
END_TEST

/* What is freed within a free: the block itself at a lower layer, once or more, or something else. */
START_TEST(tells_what_is_freed_within_a_free)
{
	struct ml_thread *t;
	struct trace_event *events;
	size_t count;
	const char *block = (const char *)0x10000;

	session_start(NULL);
	session_initialize();
	t = ml_enter(NULL);
	ml_record_free(t, ML_DOMAIN_OBJ, block, NULL);
	t->freeing = block;
	ml_record_nested_free(ML_DOMAIN_OBJ, block, NULL);         /* the same at a lower layer */
	ml_record_nested_free(ML_DOMAIN_C, block - 16, NULL);      /* the debug allocator's header */
	ml_record_nested_free(ML_DOMAIN_RAW, block + 0x500, NULL); /* something else */
	ml_record_nested_alloc(ML_DOMAIN_RAW, block + 0x600, 7, NULL);
	ml_record_nested_free(ML_DOMAIN_RAW, NULL, NULL);
	t->reallocating = 1;
	ml_record_nested_alloc(ML_DOMAIN_RAW, block + 0x700, 7, NULL);
	t->reallocating = 0;
	t->freeing = NULL;
	ml_record_nested_free(ML_DOMAIN_RAW, block + 0x800, NULL);
	ml_leave(t);
	trace_open(&trace, session_trace());
	events = trace_events(&trace, &count);
	ck_assert_uint_eq(count, 3);
	ck_assert_uint_eq(events[0].e.address, 0x10000);
	ck_assert_int_eq(events[1].e.record, ML_RECORD_FREE);
	ck_assert_uint_eq(events[1].e.address, 0x10500);
	ck_assert_int_eq(events[2].e.record, ML_RECORD_ALLOC);
	ck_assert_uint_eq(events[2].e.address, 0x10600);
	ck_assert_uint_eq(events[2].e.bytes, 7);
	free(events);
}
END_TEST

START_TEST(leaves_errno_alone)
{
	session_start(NULL);
	errno = 12345;
	for (unsigned i = 0; i < 1000; i++)
		make((unsigned)any(8));
	session_initialize();
	make(0);
	ck_assert_int_eq(session_state(), ML_RECORDING);
	ck_assert_int_eq(errno, 12345);
	for (unsigned i = 0; i < 100000; i++)
		make((unsigned)any(8));
	ck_assert_int_eq(errno, 12345);
	ml_options.max_bytes = 1;
	while (session_state() == ML_RECORDING)
		session_alloc(16, 1);
	session_alloc(16, 1);
	ck_assert_int_eq(errno, 12345);
}
END_TEST

/* Neither by malloc nor by what calls it: the recorder's memory is its own. */
START_TEST(allocates_nothing)
{
	struct mallinfo2 before, after;

	session_start(NULL);
	frames_start(FRAMES_VERSIONS);
	expected_room = 1u << 20;
	expected = malloc(expected_room * sizeof *expected);
	before = mallinfo2();
	for (unsigned i = 0; i < 10000; i++)
		make((unsigned)any(8));
	session_initialize();
	for (unsigned i = 0; i < 100000; i++)
		make((unsigned)any(8));
	ml_process_end(0);
	after = mallinfo2();
	ck_assert_int_eq(session_state(), ML_RECORDING);
	ck_assert_uint_eq(after.uordblks, before.uordblks);
	ck_assert_uint_eq(after.hblkhd, before.hblkhd);
	ck_assert_uint_eq(after.arena, before.arena);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("record");
	TCase *c = tcase_create("record");
	SRunner *r = srunner_create(s);
	int failed;

	suite_add_tcase(s, c);
	tcase_add_checked_fixture(c, session_begin, session_end);
	tcase_set_timeout(c, 60);
	tcase_add_test(c, reads_back_every_kind);
	tcase_add_test(c, reads_back_what_came_before_the_trace_was_made);
	tcase_add_test(c, counts_early_events_without_room);
	tcase_add_test(c, notes_the_time_after_waiting);
	tcase_add_loop_test(c, records_under_the_stack, 0, 2);
	tcase_add_test(c, tells_when_the_users_code_is_entered);
	tcase_add_test(c, marks_the_interpreters_end_once);
	tcase_add_test(c, marks_the_end_behind_other_threads);
	tcase_add_test(c, records_the_outermost_layer);
	tcase_add_test(c, tells_what_is_freed_within_a_free);
	tcase_add_test(c, leaves_errno_alone);
	tcase_add_test(c, allocates_nothing);
	srunner_run_all(r, CK_NORMAL);
	failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
