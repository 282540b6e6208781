#include <check.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>

#include "preload/file.h"
#include "preload/identity.h"
#include "preload/process.h"
#include "preload/stack.h"
#include "preload/tree.h"
#include "tests/preload/faults.h"
#include "tests/preload/frames.h"
#include "tests/preload/session.h"

#define FREES 0x100u /* with FRAMES_*: the frees of code objects are seen */

#define CODES 40
#define GENERATORS 8
#define ROOM (1u << 20)   /* frames that the recorder keeps */
#define BLIND_EVENTS 4096 /* before it looks again */

static struct ml_stack stack;
static struct code *codes[CODES];
static struct frame *data_stack;            /* where calls get their frames */
static struct frame generators[GENERATORS]; /* frames that stay where they are, whoever calls them */
static struct frame *frames[ROOM + 64];     /* those on the stack: frame i is called by frame i - 1 */
static uint32_t depth;
static uint64_t random_state = 88172645463325252u;

static uint32_t any(uint32_t below)
{
	random_state ^= random_state << 13;
	random_state ^= random_state >> 7;
	random_state ^= random_state << 17;
	return (uint32_t)(random_state % below);
}

static void start(unsigned how)
{
	session_start("MEMLINE_MAX_NODES=16M", "MEMLINE_SCOPE=/app/*", NULL);
	frames_start(how & ~FREES);
	if (how & FREES)
		ml_tree_sees_frees();
	for (unsigned i = 0; i < CODES; i++) {
		char name[16];
		snprintf(name, sizeof name, "f%u", i);
		codes[i] = frames_code("/app/a.py", name, (int)i + 1);
	}
	data_stack = mmap(NULL, (ROOM + 64) * sizeof *data_stack, PROT_READ | PROT_WRITE,
			  MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	ck_assert_ptr_ne(data_stack, MAP_FAILED);
	depth = 0;
	ck_assert(ml_stack_prepare(&stack));
}

static struct code *code_of(const struct frame *f)
{
	return (struct code *)(uintptr_t)(f->code & ~(uint64_t)3);
}

/* The frame goes on to an instruction. */
static void step(uint32_t index, unsigned instr)
{
	struct frame *f = frames[index];

	if (f->owner == FRAME_OWNER_SHIM)
		return;
	f->index = (int32_t)instr;
	f->instr = &code_of(f)->bytecode[instr];
}

/* A call: f is the innermost frame now. */
static void call(struct frame *f)
{
	f->previous = depth ? frames[depth - 1] : NULL;
	frames[depth++] = f;
	frames_top = f;
}

/* A call of a function: its frame lies where another one may have lain before. */
static void push(struct code *code, unsigned instr)
{
	struct frame *f = &data_stack[depth];

	f->code = frames_tagged(code);
	f->owner = 0;
	call(f);
	step(depth - 1, instr);
}

/* As the interpreter enters itself: a frame that runs no code of the program. */
static void push_shim(void)
{
	struct frame *f = &data_stack[depth];

	*f = (struct frame){.index = -1000, .owner = FRAME_OWNER_SHIM};
	call(f);
}

static bool is_running(const struct frame *f)
{
	for (uint32_t i = 0; i < depth; i++)
		if (frames[i] == f)
			return true;
	return false;
}

/* A generator goes on, mostly where it was: its caller may be another one than before. */
static void resume(unsigned generator)
{
	struct frame *f = &generators[generator];

	if (is_running(f))
		return;
	if (!f->code) {
		f->code = frames_tagged(codes[generator]);
		f->owner = 1;
	}
	call(f);
	if (!f->instr || any(4) == 0)
		step(depth - 1, any(64));
}

static void pop(uint32_t count)
{
	depth -= count;
	frames_top = depth ? frames[depth - 1] : NULL;
}

static void push_many(uint32_t count)
{
	while (count--)
		push(codes[any(CODES)], any(64));
}

static uint64_t place_of(const struct frame *f)
{
	if (ml_process.abi.is.instr_unit)
		return (uint64_t)f->index * 2;
	return f->index < code_of(f)->first_traceable ? UINT64_MAX : (uint64_t)f->index * 2;
}

static uint32_t node_of(uint32_t parent, const struct frame *f)
{
	return ml_tree_node(parent, ML_SUBJECT(ML_NODE_PYTHON, ml_tree_code(code_of(f))), place_of(f));
}

static uint32_t deeper(uint32_t parent)
{
	return ml_tree_node(parent, ML_SUBJECT(ML_NODE_MARK, ML_MARK_DEEPER), 0);
}

/* What the whole stack is, without any memory of the one before. */
static uint32_t brute_force(void)
{
	uint32_t parent = 0, leaf = 0;

	for (uint32_t i = 0; i < depth; i++) {
		if (i == ML_STACK_NODES)
			parent = deeper(parent);
		if (frames[i]->owner == FRAME_OWNER_SHIM)
			continue;
		leaf = node_of(parent, frames[i]);
		if (i < ML_STACK_NODES)
			parent = leaf;
	}
	return leaf;
}

static void check(unsigned long number)
{
	uint32_t got = ml_stack_python(&stack, false), wanted = brute_force();

	if (got != wanted)
		ck_abort_msg("step %lu at depth %u: node %u, wanted %u", number, depth, got, wanted);
	ml_stack_look(&stack); /* there is no barrier for it to find */
}

/* One thing that a program does between two events. */
static void change(uint32_t deepest)
{
	uint32_t what = any(20);

	if (!depth || (what < 6 && depth < deepest)) {
		push_many(1);
	} else if (what == 6 && depth + 1 < deepest) {
		push_shim();
		push_many(1);
	} else if (what >= 16) {
		if (depth < deepest)
			resume(any(GENERATORS));
	} else if (what < 10) {
		pop(1 + any(what == 7 && any(8) == 0 ? depth : depth < 3 ? depth : 3));
		if (depth)
			step(depth - 1, any(64));
	} else {
		step(depth - 1, any(64));
	}
}

static const unsigned hows[] = {FRAMES_VERSIONS, 0, FRAMES_INDEX, FREES, FRAMES_INDEX | FREES};
#define HOWS (int)(sizeof hows / sizeof *hows)

/* Any number of things between two events: with up to 256 frames each event is exact. */
START_TEST(matches_a_walk_from_nothing)
{
	start(hows[_i]);
	for (unsigned long i = 0; i < 100000; i++) {
		uint32_t changes = any(4) ? 1 : any(40);
		if (i % 20000 == 10000)
			pop(depth); /* all return, as at the end of a thread's function */
		while (changes--)
			change(ML_STACK_VERIFIED);
		check(i);
	}
	ck_assert_uint_eq(ml_file_header()->counter[ML_COUNTER_BAD_STACKS], 0);
	ck_assert_uint_eq(ml_file_header()->counter[ML_COUNTER_DEEP_STACKS], 0);
}
END_TEST

#define FUNCTION 1u /* co_flags */
#define COROUTINE 0x81u

/* What the chain should know of the user's code, whose code objects have numbers below USERS. */
#define USERS 20

struct users {
	uint32_t ways, generators; /* as struct ml_stack has them */
	uint32_t entered[256];     /* the ways by depth, each with its code: it is another one where either differs */
	uint32_t n;
};

static bool runs_users_code(uint32_t index)
{
	while (index && frames[index]->owner == FRAME_OWNER_SHIM)
		index--;
	return frames[index]->owner != FRAME_OWNER_SHIM && code_of(frames[index])->flags & FUNCTION &&
	       code_of(frames[index])->first_line <= USERS;
}

static struct users find_users(void)
{
	struct users u = {0};

	for (uint32_t i = 0; i < depth; i++) {
		if (frames[i]->owner == FRAME_OWNER_SHIM || !runs_users_code(i))
			continue;
		if (!i || !runs_users_code(i - 1)) {
			u.ways = i + 1;
			u.entered[u.n++] = i << 8 | (uint32_t)code_of(frames[i])->first_line;
		}
		if (!u.generators && frames[i]->owner == 1)
			u.generators = i + 1;
	}
	return u;
}

/* Where the user's code is entered and left the ring is told, and which generator runs. */
START_TEST(follows_the_users_code)
{
	struct users before = {0}, now;
	uint32_t left = 7, crossed = 0;
	bool changed;

	start(hows[_i]);
	for (unsigned i = 0; i < CODES; i++) {
		codes[i]->file = i < USERS ? codes[0]->file : frames_code("/lib/b.py", "g", 1)->file;
		codes[i]->flags = i < GENERATORS ? COROUTINE : i % 4 ? FUNCTION : 0;
	}
	push_many(1);
	ck_assert(session_alloc(0x1000, 1)); /* now it is known what is in scope */
	ck_assert(ml_identity_knows_scope());
	pop(1);
	stack.attend = &left;
	for (unsigned long i = 0; i < 100000; i++) {
		change(200);
		check(i);
		now = find_users();
		if (stack.ways != now.ways || stack.generators != now.generators ||
		    (now.generators && stack.generator != frames[now.generators - 1]))
			ck_abort_msg("step %lu: ways %u, generators %u, wanted %u and %u", i, stack.ways,
				     stack.generators, now.ways, now.generators);
		changed = now.n != before.n || memcmp(now.entered, before.entered, now.n * sizeof *now.entered) ||
			  (now.generators && stack.generator != stack.told);
		if (changed && !stack.crossed)
			ck_abort_msg("step %lu: it has not been told", i);
		ck_assert_uint_eq(left, stack.crossed ? 1 : 7);
		crossed += stack.crossed;
		stack.crossed = false;
		stack.told = now.generators ? stack.generator : stack.told;
		left = 7;
		before = now;
	}
	ck_assert_uint_gt(crossed, 1000);
	ck_assert_uint_lt(crossed, 60000);
}
END_TEST

/* Deeper ones are exact as long as what returns is seen before other calls take its place. */
START_TEST(matches_on_deep_stacks)
{
	start(hows[_i]);
	for (unsigned long i = 0; i < 3000; i++) {
		uint32_t count = 1 + any(any(20) ? 30 : 3000);
		if (any(2) && depth + count + 1 < 6000) {
			if (any(10) == 0)
				push_shim();
			push_many(count);
		} else if (depth > count) {
			pop(count);
			step(depth - 1, any(64));
		} else if (depth) {
			step(depth - 1, any(64));
		}
		check(i);
	}
	ck_assert_uint_gt(ml_file_header()->counter[ML_COUNTER_DEEP_STACKS], 0);
	ck_assert_uint_eq(ml_file_header()->counter[ML_COUNTER_BAD_STACKS], 0);
}
END_TEST

/* A caller far below that others hide is trusted to be where it was, for 64 events; the innermost frame is always
   true. */
START_TEST(trusts_far_callers_for_a_while)
{
	start(FRAMES_VERSIONS);
	push_many(1000);
	check(0);
	step(1000 - ML_STACK_VERIFIED - 1, 63 - (unsigned)frames[1000 - ML_STACK_VERIFIED - 1]->index);
	ck_assert_uint_ne(ml_stack_python(&stack, false), brute_force());
	for (unsigned i = 0; i < ML_STACK_WHOLE; i++)
		ml_stack_python(&stack, false);
	check(1);
	/* One frame nearer it is seen at once. */
	step(1000 - ML_STACK_VERIFIED, 63 - (unsigned)frames[1000 - ML_STACK_VERIFIED]->index);
	check(2);
}
END_TEST

START_TEST(folds_what_is_deeper_than_4096)
{
	uint32_t bottom, leaf;

	start(FRAMES_VERSIONS);
	push_many(ML_STACK_NODES);
	bottom = ml_stack_python(&stack, false);
	ck_assert_uint_eq(bottom, brute_force());
	push(codes[1], 5);
	leaf = ml_stack_python(&stack, false);
	ck_assert_uint_eq(leaf, node_of(deeper(bottom), frames[ML_STACK_NODES]));
	push_many(20);
	push(codes[1], 5);
	ck_assert_uint_eq(ml_stack_python(&stack, false), leaf); /* the same frame, however deep */
	push_shim();
	ck_assert_uint_eq(ml_stack_python(&stack, false), leaf);
	pop(22);
	ck_assert_uint_eq(ml_stack_python(&stack, false), leaf);
	pop(1);
	ck_assert_uint_eq(ml_stack_python(&stack, false), bottom);
}
END_TEST

/* Of a stack that is too deep to keep only the innermost frame is told, until some time later. */
START_TEST(tells_the_innermost_frame_of_endless_stacks)
{
	uint32_t leaf;

	start(FRAMES_VERSIONS);
	while (depth <= ROOM)
		push(codes[1], 5);
	leaf = node_of(deeper(0), frames_top);
	ck_assert_uint_eq(ml_stack_python(&stack, false), leaf);
	push_shim();
	ck_assert_uint_eq(ml_stack_python(&stack, false), leaf);
	pop(1);
	step(depth - 1, 6);
	ck_assert_uint_eq(ml_stack_python(&stack, false), node_of(deeper(0), frames_top));
	pop(depth - 10);
	for (unsigned i = 2; i < BLIND_EVENTS; i++)
		ml_stack_python(&stack, false);
	check(0); /* one event later it has looked again */
	check(1);
	while (depth < ROOM)
		push(codes[1], 5);
	check(2);
}
END_TEST

/* The chain's memory can't grow, once or twice: the stack is exact, or what is said of it is true. */
START_TEST(bears_a_chain_that_cannot_grow)
{
	uint32_t leaf;

	start(FRAMES_VERSIONS);
	faults_install(SYS_mmap, -1);
	push_many(128);
	check(0);
	pop(5);
	step(depth - 1, 63 - (unsigned)frames[depth - 1]->index);
	push_many(10);
	ml_tree_code(codes[0]);
	leaf = brute_force();
	faults_set(SYS_mmap, 1, ENOMEM);
	ck_assert_uint_eq(ml_stack_python(&stack, false), leaf);
	ck_assert_uint_eq(faults_made(), 1);
	push_many(300);
	leaf = node_of(deeper(0), frames_top);
	brute_force();
	faults_set(SYS_mmap, 0, ENOMEM);
	ck_assert_uint_eq(ml_stack_python(&stack, false), leaf);
	ck_assert_uint_ge(faults_made(), 1);
	faults_clear();
	for (unsigned i = 0; i < BLIND_EVENTS; i++)
		ck_assert_uint_eq(ml_stack_python(&stack, false), leaf);
	check(1);
}
END_TEST

/* In a loop of exec each code object may lie where the one before it did, with its line table, and run in the same
   frame. */
START_TEST(tells_code_that_takes_anothers_place)
{
	struct code *exec, *other;
	const void *table;

	start(hows[_i]);
	exec = frames_code("/app/exec.py", "<module>", 1);
	table = exec->table;
	push(codes[1], 5);
	check(0);
	for (unsigned long i = 0; i < 200; i++) {
		char file[32];
		snprintf(file, sizeof file, "/app/exec%lu.py", i);
		other = frames_code(file, "<module>", 1);
		ml_tree_object_freed(exec, true);
		*exec = *other;
		exec->table = table;
		push(exec, 7);
		check(2 * i + 1);
		pop(1);
		step(0, 5 + (unsigned)i % 2);
		check(2 * i + 2);
	}
	ck_assert_uint_eq(ml_tree_code(exec), 200);
}
END_TEST

START_TEST(gives_up_at_what_is_no_frame)
{
	struct code broken;

	start(FRAMES_VERSIONS);
	push_many(10);
	check(0);
	broken = *codes[0];
	broken.head.type = &broken;
	push(&broken, 5);
	ck_assert_uint_eq(ml_stack_python(&stack, false), 0);
	ck_assert_uint_eq(ml_file_header()->counter[ML_COUNTER_BAD_STACKS], 1);
	push_many(3);
	ck_assert_uint_eq(ml_stack_python(&stack, false), 0);
	ck_assert_uint_eq(ml_file_header()->counter[ML_COUNTER_BAD_STACKS], 2);
	pop(4);
	check(1);
	pop(depth);
	ck_assert_uint_eq(ml_stack_python(&stack, false), 0);
	ck_assert_uint_eq(ml_file_header()->counter[ML_COUNTER_BAD_STACKS], 2);
}
END_TEST

/* A C++ exception has passed over the C call of the interpreter that had the shim on its stack. */
START_TEST(gives_up_at_a_shim_that_was_left)
{
	struct frame shim = {.index = -1000, .owner = FRAME_OWNER_SHIM}, whole;

	start(FRAMES_VERSIONS);
	frames_chunk = data_stack;
	frames_chunk_end = data_stack + ROOM;
	push_many(10);
	check(0);
	call(&shim);
	push(codes[1], 5);
	check(1);
	whole = shim;
	memset(&shim, 0x58, sizeof shim);
	push(codes[2], 5);
	ck_assert_uint_eq(ml_stack_python(&stack, false), 0);
	ck_assert_uint_eq(ml_file_header()->counter[ML_COUNTER_BAD_STACKS], 1);
	shim = whole;
	shim.previous = (const void *)0x5a5a5a58;
	push(codes[3], 5);
	ck_assert_uint_eq(ml_stack_python(&stack, false), 0);
	ck_assert_uint_eq(ml_file_header()->counter[ML_COUNTER_BAD_STACKS], 2);
	/* An address on the data stack where no frame starts. */
	data_stack[500].instr = (const void *)0x5a5a5a58;
	shim.previous = (const char *)&data_stack[500] + 8;
	push(codes[4], 5);
	ck_assert_uint_eq(ml_stack_python(&stack, false), 0);
	ck_assert_uint_eq(ml_file_header()->counter[ML_COUNTER_BAD_STACKS], 3);
	shim = whole;
	check(2);
}
END_TEST

/* In 3.11 a frame of the program is the first of a C call, and has its caller from what a C call before has left. */
START_TEST(gives_up_at_the_caller_of_an_entry)
{
	struct frame *entry;
	const void *caller;

	start(FRAMES_VERSIONS);
	ml_process.abi.is.shim_owner = 0;
	ml_process.abi.is.at.frame_entry = offsetof(struct frame, owner);
	frames_chunk = data_stack;
	frames_chunk_end = data_stack + ROOM;
	push_many(10);
	check(0);
	push(codes[1], 5);
	entry = frames[depth - 1];
	entry->owner = 2;
	check(1);
	caller = entry->previous;
	entry->previous = (const void *)0x5a5a5a58;
	push(codes[2], 5);
	ck_assert_uint_eq(ml_stack_python(&stack, false), 0);
	ck_assert_uint_eq(ml_file_header()->counter[ML_COUNTER_BAD_STACKS], 1);
	entry->previous = (const char *)&data_stack[500] + 8;
	data_stack[500].instr = (const void *)0x5a5a5a58;
	ck_assert_uint_eq(ml_stack_python(&stack, false), 0);
	ck_assert_uint_eq(ml_file_header()->counter[ML_COUNTER_BAD_STACKS], 2);
	entry->previous = caller;
	check(2);
}
END_TEST

/* A frame whose code can't be described is left out. */
START_TEST(leaves_out_code_that_makes_no_sense)
{
	struct code broken;
	uint32_t below;

	start(FRAMES_VERSIONS);
	push(codes[0], 5);
	below = ml_stack_python(&stack, false);
	broken = *codes[0];
	broken.version = 1000000;
	broken.name = broken.table;
	push(&broken, 5);
	ck_assert_uint_eq(ml_stack_python(&stack, false), below);
	push(codes[1], 5);
	ck_assert_uint_eq(ml_stack_python(&stack, false), node_of(below, frames_top));
	ck_assert_uint_ge(ml_file_header()->counter[ML_COUNTER_LOST_DEFINITIONS], 1);
}
END_TEST

/* The C caller stands on the Python frame; it is looked up once for each pair of the two. */
START_TEST(puts_the_caller_on_top)
{
	uintptr_t caller = (uintptr_t)&brute_force;
	uint64_t offset;
	uint32_t module, nodes;

	start(FRAMES_VERSIONS);
	module = ml_modules_find(&ml_process.modules, caller, &offset);
	ck_assert_uint_ne(module, 0);
	for (unsigned round = 0; round < 3; round++) {
		for (uint32_t parent = 0; parent < 300; parent++) {
			uint32_t node = ml_stack_caller(&stack, parent, (const void *)(caller + parent % 7));
			if (node != ml_tree_node(parent, ML_SUBJECT(ML_NODE_NATIVE, module), offset + parent % 7))
				ck_abort_msg("parent %u", parent);
		}
		if (!round)
			nodes = ml_tree_nodes();
	}
	ck_assert_uint_eq(ml_tree_nodes(), nodes);
	/* Code of a JIT or so is in no module: the address itself. */
	ck_assert_uint_eq(ml_stack_caller(&stack, 0, (const void *)0x1234),
			  ml_tree_node(0, ML_SUBJECT(ML_NODE_NATIVE, 0), 0x1234));
}
END_TEST

/* Another thread takes the stack over: nothing of the former one's remains. */
START_TEST(forgets)
{
	start(FRAMES_VERSIONS);
	push_many(50);
	check(0);
	ck_assert(ml_stack_prepare(&stack));
	check(1);
	ml_stack_forget(&stack);
	ck_assert(ml_stack_prepare(&stack));
	check(2);
	push_many(500);
	check(3);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("stack");
	TCase *c = tcase_create("stack");
	SRunner *r = srunner_create(s);
	int failed;

	suite_add_tcase(s, c);
	tcase_add_checked_fixture(c, session_begin, session_end);
	tcase_set_timeout(c, 120);
	tcase_add_loop_test(c, matches_a_walk_from_nothing, 0, HOWS);
	tcase_add_loop_test(c, follows_the_users_code, 0, HOWS);
	tcase_add_loop_test(c, matches_on_deep_stacks, 0, HOWS);
	tcase_add_test(c, trusts_far_callers_for_a_while);
	tcase_add_test(c, folds_what_is_deeper_than_4096);
	tcase_add_test(c, tells_the_innermost_frame_of_endless_stacks);
	tcase_add_test(c, bears_a_chain_that_cannot_grow);
	tcase_add_loop_test(c, tells_code_that_takes_anothers_place, 0, HOWS);
	tcase_add_test(c, gives_up_at_what_is_no_frame);
	tcase_add_test(c, gives_up_at_a_shim_that_was_left);
	tcase_add_test(c, gives_up_at_the_caller_of_an_entry);
	tcase_add_test(c, leaves_out_code_that_makes_no_sense);
	tcase_add_test(c, puts_the_caller_on_top);
	tcase_add_test(c, forgets);
	srunner_run_all(r, CK_NORMAL);
	failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
