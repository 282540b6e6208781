#include "preload/barriers.h"

#include <check.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "preload/monitoring.h"
#include "preload/process.h"
#include "preload/ring.h"
#include "preload/stack.h"
#include "preload/tree.h"
#include "tests/preload/monitored.h"
#include "tests/preload/session.h"

/*
 * An interpreter that does at random what Python programs do, and tells of returns as sys.monitoring does. A frame is
 * where the last one at that depth was, and callers mostly look alike; so that whoever takes one frame for another is
 * found out by the next event.
 */

#define CODES 24
#define ROOM 200
#define POSITIONS 4 /* of a frame in its code */

#define GENERATOR 0x20 /* co_flags */

static struct code *codes[CODES];
static struct frame data_stack[ROOM], generators[4], *frames[ROOM];
static uint32_t depth;
static unsigned long events, held_events, told_returns;
static unsigned nesting; /* of run(), which calls itself by way of much */
static uint64_t random_state = 88172645463325252u;

static uint32_t any(uint32_t below)
{
	random_state ^= random_state << 13;
	random_state ^= random_state >> 7;
	random_state ^= random_state << 17;
	return (uint32_t)(random_state % below);
}

static struct ml_stack *stack(void)
{
	return &ml_thread.ring->stack;
}

static struct code *code_of(const struct frame *f)
{
	return (struct code *)(uintptr_t)(f->code & ~(uint64_t)3);
}

static bool handles_exceptions(const struct code *code)
{
	return code->exceptions->size != 0;
}

static uint32_t brute_force(void)
{
	uint32_t node = 0;

	for (uint32_t i = 0; i < depth; i++)
		if (frames[i]->owner != FRAME_OWNER_SHIM)
			node = ml_tree_node(node, ML_SUBJECT(ML_NODE_PYTHON, ml_tree_code(code_of(frames[i]))),
					    (uint64_t)(frames[i]->instr - code_of(frames[i])->bytecode) * 2);
	return node;
}

/* The innermost frame allocates or frees. */
static void event(void)
{
	uint32_t got, wanted = brute_force();

	ml_thread.busy = ML_IN_RECORD;
	got = ml_stack_python(stack(), false);
	if (any(8) == 0)
		ml_stack_look(stack());
	ml_thread.busy = ML_IDLE;
	if (got != wanted)
		ck_abort_msg("event %lu at depth %u, barrier %u: node %u, wanted %u", events, depth, stack()->held, got,
			     wanted);
	events++;
	held_events += stack()->held != 0;
}

static void step(void)
{
	struct frame *f = frames[depth - 1];

	f->instr = code_of(f)->bytecode + 2 + any(POSITIONS);
}

static void put(struct frame *f)
{
	f->previous = depth ? frames[depth - 1] : NULL;
	frames[depth++] = f;
	frames_top = f;
}

static void drop(void)
{
	depth--;
	frames_top = depth ? frames[depth - 1] : NULL;
}

static void call(void)
{
	struct frame *f = &data_stack[depth];
	/* Those that are called most often have no handler. */
	*f = (struct frame){.code = frames_tagged(codes[any(any(2) ? 6 : CODES)])};
	put(f);
	step();
}

static bool is_running(const struct frame *f)
{
	for (uint32_t i = 0; i < depth; i++)
		if (frames[i] == f)
			return true;
	return false;
}

/* A generator goes on, where it was or not. */
static void resume(void)
{
	uint32_t which = any(4);
	struct frame *f = &generators[which];

	if (is_running(f))
		return;
	if (!f->code)
		*f = (struct frame){.code = frames_tagged(codes[CODES - 1 - which]), .owner = 1};
	put(f);
	if (!f->instr || any(2))
		step();
}

/* C code calls Python. */
static void enter(void)
{
	data_stack[depth] = (struct frame){.owner = FRAME_OWNER_SHIM};
	put(&data_stack[depth]);
}

static void run(unsigned actions);
static void leave_to(uint32_t base);

/* C code calls a function: a destructor, a callback, another tool's. */
static void run_by_c(unsigned actions)
{
	if (nesting == 3 || depth + 3 >= ROOM)
		return;
	enter();
	call();
	run(actions);
	leave_to(depth - 1);
	if (depth && frames[depth - 1]->owner == FRAME_OWNER_SHIM)
		drop();
}

static void tell_of_return(void)
{
	static struct fake_object offset, value;
	struct code *code = code_of(frames[depth - 1]);
	void *arguments[] = {code, &offset, &value};

	if (frames_tracing || code->flags & GENERATOR || !(monitored_events(code) & FAKE_PY_RETURN))
		return;
	told_returns++;
	ck_assert_ptr_eq(fake->returned(NULL, arguments, 3), monitored_none);
}

static void leave_by_return(void)
{
	step();
	if (any(8) == 0)
		run_by_c(any(100)); /* another tool hears of it first, */
	tell_of_return();
	if (any(8) == 0)
		run_by_c(any(100)); /* or last */
	drop();
	if (any(2))
		event(); /* something of the frame's is freed */
}

/* Whether the exception goes on to the caller. Where it has left the frame nothing more is heard of it. */
static bool leave_by_exception(void)
{
	bool caught = handles_exceptions(code_of(frames[depth - 1])) && nesting < 3 && any(2);

	event(); /* the traceback */
	if (caught) {
		step();
		run(any(200));
		if (any(2))
			return false;
		/* raised again, in silence */
	}
	if (any(4) == 0)
		run_by_c(any(100)); /* a destructor of what the frame held */
	drop();
	return any(3) != 0;
}

/* Leaves frames until so many are there. */
static void leave_to(uint32_t base)
{
	bool raised = false;

	while (depth > base) {
		if (frames[depth - 1]->owner == FRAME_OWNER_SHIM) {
			drop();
			if (raised && any(2))
				raised = false; /* C code swallows it, */
			else if (any(2))
				run_by_c(any(30)); /* or calls again */
		} else if (raised || any(3) == 0) {
			raised = leave_by_exception();
		} else {
			leave_by_return();
		}
	}
}

static void trace(void)
{
	frames_tracing++;
	run_by_c(any(200));
	frames_tracing--;
}

/* The innermost frame makes itself busy, and so do those that it calls. All of them are gone at the end. */
static void run(unsigned actions)
{
	uint32_t base = depth;

	nesting++;
	while (actions--) {
		uint32_t what = any(40);
		if (what < 8 && depth + 2 < ROOM) {
			if (any(4) == 0)
				enter();
			call();
		} else if (what < 11 && depth > base) {
			leave_to(depth - 1 - any(depth - base > 3 ? 3 : depth - base));
		} else if (what == 11 && depth + 1 < ROOM) {
			resume();
		} else if (what == 12 && depth < ROOM / 2) {
			trace();
		} else if (what == 13 && fake->pending) {
			ck_assert_int_eq(fake->pending(NULL), 0);
			fake->pending = NULL;
		} else {
			if (any(4))
				step();
			event();
		}
		if (frames[depth - 1]->owner == FRAME_OWNER_SHIM)
			drop();
	}
	leave_to(base);
	nesting--;
}

static void start(void)
{
	static const struct object handler = {.size = 4};

	monitored_begin();
	fake->pending = NULL;
	for (unsigned i = 0; i < CODES; i++) {
		char name[16];
		snprintf(name, sizeof name, "f%u", i);
		codes[i] = frames_code(i == 6 ? "<frozen os>" : "/lib/a.py", name, (int)i + 1);
		if (i > 12)
			codes[i]->exceptions = &handler;
		if (i >= CODES - 4)
			codes[i]->flags = GENERATOR;
	}
}

/* Whatever leaves a frame, and however, each event has its whole stack. */
START_TEST(holds_only_what_stays)
{
	start();
	random_state += (uint64_t)_i * 7919;
	for (unsigned round = 0; round < 4; round++) {
		frames_top = NULL;
		depth = 0;
		for (unsigned i = 0; i < 12; i++) {
			call();
			event();
		}
		run(3000);
		leave_to(0);
		event();
	}
	ck_assert_uint_gt(events, 100000);
	ck_assert_uint_gt(held_events, events / 20);
	ck_assert_uint_gt(told_returns, 1000);
}
END_TEST

/* So many events that a barrier is searched for, asked for, and held. */
static void stay(void)
{
	for (unsigned i = 0; i < 3 * 16 * 64 * 8; i++) {
		if (fake->pending)
			fake->pending(NULL);
		fake->pending = NULL;
		step();
		event();
	}
}

static void call_down(unsigned levels)
{
	depth = 0;
	frames_top = NULL;
	for (unsigned i = 0; i < levels; i++) {
		data_stack[depth] = (struct frame){.code = frames_tagged(codes[i % 3])};
		put(&data_stack[depth]);
		step();
	}
}

static void pile_up(unsigned levels)
{
	call_down(levels);
	stay();
}

START_TEST(spares_what_is_below)
{
	start();
	pile_up(20);
	ck_assert_uint_eq(stack()->held, 18); /* the caller of the innermost one */
	ck_assert_int_eq(monitored_events(codes[18 % 3]), FAKE_PY_RETURN);
	step();
	event();
	ck_assert_uint_eq(stack()->held, 18);
	/* Its own event. */
	drop();
	event();
	ck_assert_uint_eq(stack()->held, 0);
	call();
	event();
	ck_assert_uint_eq(stack()->held, 18);
	/* Its return, of which the interpreter tells. */
	drop();
	leave_by_return();
	ck_assert_uint_eq(stack()->held, 0);
	/* Nothing is gained by few. */
	pile_up(5);
	ck_assert_uint_eq(stack()->held, 0);
	pile_up(6);
	ck_assert_uint_eq(stack()->held, 4);
}
END_TEST

/* The code may be theirs. */
START_TEST(leaves_other_interpreters_alone)
{
	start();
	frames_runtime.newest = 1;
	pile_up(20);
	ck_assert_uint_eq(stack()->held, 0);
	ck_assert_uint_eq(fake->set_n, 0);
	/* One that comes between the request and the call. */
	frames_runtime.newest = frames_runtime.main;
	while (!fake->pending) {
		step();
		event();
	}
	frames_runtime.newest = 1;
	fake->pending(NULL);
	ck_assert_uint_eq(fake->set_n, 0);
	frames_runtime.newest = frames_runtime.main;
	stay();
	ck_assert_uint_eq(stack()->held, 18);
}
END_TEST

/* The main thread makes no pending calls while it waits for another one, where lines may run. Its queue is not filled
   with calls of ours. */
START_TEST(asks_where_a_line_runs)
{
	static struct fake_object number = {.value = 3};
	void *arguments[2];
	unsigned asked;

	start();
	arguments[0] = monitored_code("/app/main.py", "f");
	arguments[1] = &number;
	asked = fake->asked;
	fake->has_full_queue = _i;
	call_down(20);
	for (unsigned i = 0; i < 12 * 128 * 8; i++) {
		step();
		event();
		if (!_i || i > 6 * 128 * 8)
			ck_assert_ptr_eq(fake->line_ran(NULL, arguments, 2), monitored_none);
	}
	ck_assert_uint_eq(stack()->held, 18);
	if (!_i)
		ck_assert_uint_eq(fake->asked, asked + 1);
	else
		ck_assert_uint_gt(fake->asked, asked + 1);
}
END_TEST

START_TEST(is_not_for_all_code)
{
	static const struct object handler = {.size = 4};

	start();
	for (unsigned i = 0; i < 3; i++) {
		if (_i == 0)
			codes[i]->exceptions = &handler;
		else if (_i == 1)
			codes[i]->flags = GENERATOR;
		else if (_i == 2)
			codes[i]->file = codes[6]->file;
		else
			codes[i]->version = 0;
	}
	pile_up(20);
	ck_assert_uint_eq(stack()->held, 0);
	ck_assert_uint_eq(fake->set_n, 0);
}
END_TEST

/* Events that were not seen: an allocation that failed, a pause, the end of the interpreter, the loss of the tool. */
START_TEST(doubts)
{
	static struct fake_object theirs;

	start();
	pile_up(20);
	ck_assert_uint_ne(stack()->held, 0);
	if (_i == 0) {
		ml_stack_doubt(stack());
	} else if (_i == 1) {
		ml_ring_doubt();
	} else if (_i == 2) {
		ml_barriers_end();
	} else {
		fake->tools[4] = &theirs;
		monitored_code("/app/main.py", "f");
	}
	ck_assert_uint_eq(stack()->held, 0);
	event();
	stay();
	if (_i < 2)
		ck_assert_uint_ne(stack()->held, 0);
	else
		ck_assert_uint_eq(stack()->held, 0);
}
END_TEST

/* A code object that returns all the time is given up; one at the address of another that is gone is another one. */
START_TEST(is_given_up)
{
	static struct fake_object offset;
	void *arguments[] = {NULL, &offset, &offset};
	struct code *code;

	start();
	pile_up(20);
	code = codes[stack()->held % 3];
	arguments[0] = code;
	leave_to(0);
	event();
	ck_assert_int_eq(monitored_events(code), FAKE_PY_RETURN);
	for (unsigned i = 0; i < 3000; i++)
		fake->returned(NULL, arguments, 3);
	ck_assert_int_eq(monitored_events(code), 0);
	pile_up(20);
	ck_assert_ptr_ne(code_of(frames[stack()->held]), code);
	leave_to(0);
	fake->watcher(1, code);
	frames_make_code(code, "/lib/a.py", "again", 1);
	pile_up(20);
	ck_assert_ptr_eq(code_of(frames[stack()->held]), code);
	ck_assert_int_eq(monitored_events(code), FAKE_PY_RETURN);
}
END_TEST

START_TEST(has_manners)
{
	static struct fake_object offset, exception;
	void *arguments[] = {NULL, &offset, &offset};

	start();
	pile_up(20);
	leave_to(1);
	fake->raised = &exception;
	fake->pending = NULL;
	pile_up(20);
	arguments[0] = codes[0];
	errno = EXDEV;
	ck_assert_ptr_eq(fake->returned(NULL, arguments, 3), monitored_none);
	ck_assert_int_eq(errno, EXDEV);
	ck_assert_ptr_eq(fake->raised, &exception);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("barriers");
	TCase *c = tcase_create("barriers");
	SRunner *r = srunner_create(s);
	int failed;

	tcase_set_timeout(c, 120);
	tcase_add_checked_fixture(c, session_begin, session_end);
	tcase_add_loop_test(c, holds_only_what_stays, 0, 8);
	tcase_add_test(c, spares_what_is_below);
	tcase_add_loop_test(c, asks_where_a_line_runs, 0, 2);
	tcase_add_loop_test(c, is_not_for_all_code, 0, 4);
	tcase_add_test(c, leaves_other_interpreters_alone);
	tcase_add_loop_test(c, doubts, 0, 4);
	tcase_add_test(c, is_given_up);
	tcase_add_test(c, has_manners);
	suite_add_tcase(s, c);
	srunner_run_all(r, CK_NORMAL);
	failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
