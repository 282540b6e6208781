#include <check.h>
#include <dlfcn.h>
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <ucontext.h>
#include <unistd.h>
#include <unwind.h>

#include "preload/merged.h"
#include "preload/options.h"
#include "preload/process.h"
#include "preload/stack.h"
#include "preload/tree.h"
#include "tests/preload/frames.h"
#include "tests/preload/objects/shapes.h"
#include "tests/preload/session.h"

#define EVENTS 15000
#define CODES 20
#define FRAMES_MAX 4096

/* How the interpreter's C calls tell which frames they run: as 3.12 and later, 3.11, and 3.10 and earlier do. */
enum how { SHIMS, ENTRIES, ONE_EACH };

static struct ml_stack stack, reference;
static struct code *codes[CODES];
static enum how how;
static unsigned events;
static uint64_t random_state = 88172645463325252u;

static unsigned any(unsigned below)
{
	random_state ^= random_state << 13;
	random_state ^= random_state >> 7;
	random_state ^= random_state << 17;
	return (unsigned)(random_state % below);
}

/* The Python stack: frame i is called by frame i - 1. Each C call of the interpreter begins with one of them. */
static struct frame chunk[FRAMES_MAX + 1], *const frames = &chunk[1], *on_stack[FRAMES_MAX];
static unsigned depth, calls[FRAMES_MAX], calls_n;

static void push(struct frame *f, unsigned owner)
{
	ck_assert_uint_lt(depth, FRAMES_MAX);
	*f = (struct frame){.previous = depth ? on_stack[depth - 1] : NULL, .index = (int32_t)any(64)};
	f->owner = (uint8_t)owner;
	f->code = frames_tagged(codes[any(CODES)]);
	f->instr = &((struct code *)(uintptr_t)(f->code & ~(uint64_t)3))->bytecode[f->index];
	on_stack[depth++] = f;
	frames_top = f;
}

static void pop_to(unsigned n)
{
	depth = n;
	frames_top = depth ? on_stack[depth - 1] : NULL;
}

static bool is_shim(const struct frame *f)
{
	return how == SHIMS && f->owner == FRAME_OWNER_SHIM;
}

static void enter(void *room)
{
	calls[calls_n++] = depth;
	if (how == SHIMS)
		push(room, FRAME_OWNER_SHIM);
	push(&frames[depth], how == ENTRIES);
}

static void leave(void)
{
	pop_to(calls[--calls_n]);
}

/* Python code goes on: calls and returns without the interpreter's C code, and steps. */
static void go_on(void)
{
	unsigned first = calls_n ? calls[calls_n - 1] + (how == SHIMS ? 1 : 0) : 0;

	if (!calls_n)
		return;
	if (how != ONE_EACH && !any(3))
		push(&frames[depth], 0);
	else if (how != ONE_EACH && depth > first + 1 && !any(2))
		pop_to(first + 1 + any(depth - first - 1));
	else if (!any(2)) {
		struct frame *f = on_stack[depth - 1];
		f->index = (int32_t)any(64);
		f->instr = &((struct code *)(uintptr_t)(f->code & ~(uint64_t)3))->bytecode[f->index];
	}
}

struct native {
	unsigned n;
	uintptr_t pc[100000]; /* innermost first */
};

static struct native native;

static _Unwind_Reason_Code note_frame(struct _Unwind_Context *context, void *unused)
{
	int exact = 0;
	uintptr_t pc = _Unwind_GetIPInfo(context, &exact) + (exact ? 1 : 0);

	(void)unused;
	if (pc > 1)
		native.pc[native.n++] = pc;
	return _URC_NO_REASON;
}

static bool is_in(uintptr_t pc, const void *function)
{
	struct ml_unwind_range r = ml_unwind_function(&ml_process.modules, (uintptr_t)function);

	return pc > r.start && pc <= r.end;
}

static const void *eval; /* shapes_eval() */

static uint32_t python_node(uint32_t parent, unsigned i)
{
	const struct frame *f = on_stack[i];
	const struct code *code = (const struct code *)(uintptr_t)(f->code & ~(uint64_t)3);
	uint64_t place = (uint64_t)f->index * 2;

	if (is_shim(f))
		return parent;
	if (how != ONE_EACH && f->index < code->first_traceable)
		place = UINT64_MAX;
	return ml_tree_node(parent, ML_SUBJECT(ML_NODE_PYTHON, ml_tree_code(code)), place);
}

/* This program is where the recorder is: none of its functions are shown. */
static bool is_ours(uintptr_t pc)
{
	uint64_t offset;

	return ml_modules_find(&ml_process.modules, pc - 1, &offset) ==
	       ml_modules_find(&ml_process.modules, (uintptr_t)is_ours, &offset);
}

/* The stack as the compiler's unwinder and the list of frames above have it. */
static uint32_t expected_node(uint32_t node)
{
	unsigned call = 0, i = 0;

	native.n = 0;
	_Unwind_Backtrace(note_frame, NULL);
	for (unsigned n = native.n; n-- > 0;) {
		if (is_in(native.pc[n], eval) && call < calls_n)
			for (call++; i < (call < calls_n ? calls[call] : depth); i++)
				node = python_node(node, i);
		else if (!is_ours(native.pc[n]))
			node = ml_stack_caller(&reference, node, (const void *)native.pc[n]);
	}
	return node;
}

static uint32_t node_now(void)
{
	uint32_t python = depth ? ml_stack_python(&stack, false) : 0;

	return ml_merged_node(&stack, python, (const void *)eval);
}

static void event(void)
{
	uint32_t node;

	if (events++ > EVENTS)
		return;
	go_on();
	errno = 77;
	node = node_now();
	ck_assert_int_eq(errno, 77);
	ck_assert_msg(node == expected_node(0), "event %u: node %u and not %u", events, node, expected_node(0));
}

static const struct shapes random_shapes = {any, event, enter, leave};

static void (*start(const char *object, enum how as))(const struct shapes *, unsigned)
{
	void *library = dlopen(object, RTLD_NOW);
	void (*function)(const struct shapes *, unsigned);

	ck_assert_msg(library != NULL, "%s", dlerror());
	session_start("MEMLINE_NATIVE=full", "MEMLINE_MAX_NODES=16M", NULL);
	how = as;
	frames_start(how == ONE_EACH ? FRAMES_INDEX : 0);
	if (how != SHIMS)
		ml_process.abi.is.shim_owner = 0;
	ml_process.abi.is.at.frame_entry = how == ENTRIES ? offsetof(struct frame, owner) : 0;
	for (unsigned i = 0; i < CODES; i++)
		codes[i] = frames_code("/app/a.py", "f", (int)i + 1);
	*(void **)&function = dlsym(library, "shapes_run");
	eval = dlsym(library, "shapes_eval");
	ml_process_new_modules();
	ml_merged_start((void *)(uintptr_t)eval);
	ck_assert(ml_stack_prepare(&stack));
	ck_assert(ml_stack_prepare(&reference));
	depth = calls_n = events = 0;
	frames_chunk = chunk;
	frames_chunk_end = frames + FRAMES_MAX;
	return function;
}

static const char *const objects[] = {ML_TEST_OBJECTS "/shapes.so", ML_TEST_OBJECTS "/shapes_frames.so"};

START_TEST(matches_the_compilers_unwinder)
{
	void (*run)(const struct shapes *, unsigned) = start(objects[_i % 2], (enum how)(_i / 2));

	while (events < EVENTS)
		run(&random_shapes, 60);
	ck_assert_uint_eq(calls_n, 0);
}
END_TEST

/* Another thread's stack, with the same chain for its own. */
static void *run_in_thread(void *run)
{
	ck_assert(ml_stack_prepare(&stack));
	for (unsigned until = events + 2000; events < until;)
		((void (*)(const struct shapes *, unsigned))run)(&random_shapes, 30);
	return NULL;
}

START_TEST(goes_from_thread_to_thread)
{
	void (*run)(const struct shapes *, unsigned) = start(objects[0], SHIMS);
	pthread_t thread;

	for (unsigned i = 0; i < 10; i++) {
		ck_assert_int_eq(pthread_create(&thread, NULL, run_in_thread, (void *)run), 0);
		ck_assert_int_eq(pthread_join(thread, NULL), 0);
	}
	ck_assert_uint_gt(events, 10 * 2000);
}
END_TEST

static void (*running)(const struct shapes *, unsigned);

static void on_signal(int number)
{
	(void)number;
	running(&random_shapes, 10);
	event();
}

static void event_or_signal(void)
{
	event();
	if (!any(50))
		raise(SIGUSR1);
}

/* A handler on the same stack or on another one, between events of the stack that it interrupts. */
START_TEST(goes_into_signal_handlers_and_back)
{
	static char memory[1 << 20];
	struct sigaction action = {.sa_handler = on_signal, .sa_flags = _i ? SA_ONSTACK : 0};
	const struct shapes shapes = {any, event_or_signal, enter, leave};

	running = start(objects[0], SHIMS);
	ck_assert_int_eq(sigaltstack(&(stack_t){.ss_sp = memory, .ss_size = sizeof(memory)}, NULL), 0);
	ck_assert_int_eq(sigaction(SIGUSR1, &action, NULL), 0);
	while (events < EVENTS)
		running(&shapes, 40);
}
END_TEST

static void nothing(void *unused)
{
	(void)unused;
}

static void leave_nothing(void)
{
}

static ucontext_t first, second;
static unsigned swaps;

static void swap(void)
{
	if (events < 4000)
		event();
	if (events < 4000 && !any(4)) {
		swaps++;
		swapcontext(swaps % 2 ? &first : &second, swaps % 2 ? &second : &first);
	}
}

static void run_on_other_stack(void)
{
	const struct shapes shapes = {any, swap, nothing, leave_nothing};

	while (events < 4000)
		running(&shapes, 20);
	setcontext(&first);
}

/* Two C stacks by turns, as coroutines have them; without Python, whose frames would have to change with them. */
START_TEST(changes_stacks)
{
	static char memory[1 << 20];
	const struct shapes shapes = {any, swap, nothing, leave_nothing};

	running = start(objects[0], SHIMS);
	ck_assert_int_eq(getcontext(&second), 0);
	second.uc_stack = (stack_t){.ss_sp = memory, .ss_size = sizeof(memory)};
	makecontext(&second, run_on_other_stack, 0);
	while (events < 4000)
		running(&shapes, 20);
	ck_assert_uint_gt(swaps, 100);
}
END_TEST

static __attribute__((noinline)) uint32_t deep(unsigned n, uint32_t (*then)(void))
{
	volatile unsigned kept = n;
	uint32_t node = n ? deep(n - 1, then) : then();

	ck_assert_uint_eq(kept, n);
	return node;
}

/* One that is far too deep is told as its Python frames and the caller; a while later it is looked at again. */
static void *go_deep(void *unused)
{
	ck_assert(ml_stack_prepare(&stack));
	ck_assert_uint_eq(deep(10000, node_now), node_now());
	ck_assert_uint_eq(deep(1 << 17, node_now), ml_stack_caller(&reference, 0, eval));
	for (unsigned i = 0; i < 4096; i++)
		ck_assert_uint_eq(node_now(), ml_stack_caller(&reference, 0, eval));
	ck_assert_uint_eq(node_now(), expected_node(0));
	return unused;
}

START_TEST(bears_endless_stacks)
{
	pthread_attr_t attributes;
	pthread_t thread;

	start(objects[0], SHIMS);
	pthread_attr_init(&attributes);
	ck_assert_int_eq(pthread_attr_setstacksize(&attributes, 256 << 20), 0);
	ck_assert_int_eq(pthread_create(&thread, &attributes, go_deep, NULL), 0);
	ck_assert_int_eq(pthread_join(thread, NULL), 0);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("merged");
	TCase *c = tcase_create("merged");
	SRunner *r = srunner_create(s);
	int failed;

	suite_add_tcase(s, c);
	tcase_add_checked_fixture(c, session_begin, session_end);
	tcase_set_timeout(c, 120);
	tcase_add_loop_test(c, matches_the_compilers_unwinder, 0, 6);
	tcase_add_test(c, goes_from_thread_to_thread);
	tcase_add_loop_test(c, goes_into_signal_handlers_and_back, 0, 2);
	tcase_add_test(c, changes_stacks);
	tcase_add_test(c, bears_endless_stacks);
	srunner_run_all(r, CK_NORMAL);
	failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
