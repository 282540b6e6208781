#include <check.h>
#include <dlfcn.h>
#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <ucontext.h>
#include <unistd.h>
#include <unwind.h>

#include "symbolize/native/unwind.h"

#define DEPTH_MAX 20000

static struct ml_modules modules;

static void *pages(size_t bytes)
{
	void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	return p == MAP_FAILED ? NULL : p;
}

static void setup(void)
{
	ml_modules_init(&modules, pages, "/proc/self/exe");
	ml_modules_refresh(&modules, NULL, NULL);
}

/* A stack as the compiler's own unwinder sees it, and as ours does. */
struct trace {
	unsigned n;
	uintptr_t pc[DEPTH_MAX];
	uintptr_t sp[DEPTH_MAX];
};

static struct trace expected, found;
static enum ml_unwind how_it_ended;

static _Unwind_Reason_Code note_frame(struct _Unwind_Context *context, void *unused)
{
	int exact = 0;
	uintptr_t pc = _Unwind_GetIPInfo(context, &exact);

	(void)unused;
	ck_assert_uint_lt(expected.n, DEPTH_MAX);
	expected.pc[expected.n] = pc + (exact ? 1 : 0);
	expected.sp[expected.n++] = _Unwind_GetCFA(context);
	return _URC_NO_REASON;
}

static __attribute__((noinline)) void walk(void)
{
	struct ml_unwind_frame frame = ml_unwind_here();
	struct ml_unwind_stack stack;
	struct ml_unwind_step step;

	ml_unwind_stack_at(&stack, frame.sp);
	found.n = 0;
	do {
		ck_assert_uint_lt(found.n, DEPTH_MAX);
		found.pc[found.n] = frame.pc;
		found.sp[found.n++] = frame.sp;
		how_it_ended = ml_unwind_step(&modules, &stack, &frame, &step);
		if (how_it_ended == ML_UNWIND_CALLER && step.signal)
			ml_unwind_stack_at(&stack, step.caller.sp);
		frame = step.caller;
	} while (how_it_ended == ML_UNWIND_CALLER);
}

/* Both stacks from here, which have to be the same but for the places in this function. */
static __attribute__((noinline)) void compare(void)
{
	expected.n = 0;
	errno = 77;
	walk();
	ck_assert_int_eq(errno, 77);
	_Unwind_Backtrace(note_frame, NULL);
	ck_assert_int_eq(how_it_ended, ML_UNWIND_END);
	/* found has walk() first, and no entry for the 0 that may end the other one. */
	while (expected.n && expected.pc[expected.n - 1] <= 1)
		expected.n--;
	ck_assert_uint_eq(found.n, expected.n + 1);
	for (unsigned i = 1; i < expected.n; i++) {
		ck_assert_msg(found.pc[i + 1] == expected.pc[i], "frame %u of %u", i, expected.n);
		ck_assert_msg(found.sp[i] == expected.sp[i - 1], "stack pointer of frame %u", i);
	}
	ck_assert_uint_gt(found.n, 2);
}

START_TEST(test_the_stack_of_a_test)
{
	compare();
}
END_TEST

/* Deeper for each bit of shape in another kind of frame. */
static void descend(unsigned shape, unsigned depth);

static __attribute__((noinline)) void plain(unsigned shape, unsigned depth)
{
	volatile unsigned kept = depth;

	descend(shape >> 2, depth - 1);
	ck_assert_uint_eq(kept, depth);
}

static __attribute__((noinline)) void with_variable_array(unsigned shape, unsigned depth)
{
	volatile char text[depth * 7 + 1];

	memset((char *)text, (int)depth, sizeof(text));
	descend(shape >> 2, depth - 1);
	ck_assert_int_eq(text[depth], (char)depth);
}

static __attribute__((noinline)) void aligned(unsigned shape, unsigned depth)
{
	volatile char text[512] __attribute__((aligned(256)));

	memset((char *)text, (int)depth, sizeof(text));
	descend(shape >> 2, depth - 1);
	ck_assert_int_eq(text[depth % 512], (char)depth);
}

static __attribute__((noinline)) void aligned_variable(unsigned shape, unsigned depth)
{
	volatile char text[64] __attribute__((aligned(64)));
	volatile char more[depth % 50 + 1];

	memset((char *)text, (int)depth, sizeof(text));
	memset((char *)more, (int)depth, sizeof(more));
	descend(shape >> 2, depth - 1);
	ck_assert_int_eq(text[depth % 64], more[0]);
}

static __attribute__((noinline)) void descend(unsigned shape, unsigned depth)
{
	static void (*const shapes[])(unsigned, unsigned) = {plain, with_variable_array, aligned, aligned_variable};

	if (depth)
		shapes[shape & 3](shape, depth);
	else
		compare();
}

START_TEST(test_frames_of_every_kind)
{
	descend((unsigned)_i * 0x9e3779b9u, 16);
}
END_TEST

START_TEST(test_a_deep_stack)
{
	descend(0, 5000);
}
END_TEST

static int compare_in_sort(const void *left, const void *right)
{
	compare();
	return *(const int *)left - *(const int *)right;
}

static void *compare_in_thread(void *unused)
{
	compare();
	return unused;
}

START_TEST(test_through_the_c_library)
{
	int numbers[] = {3, 1, 2};
	pthread_t thread;

	qsort(numbers, 3, sizeof(numbers[0]), compare_in_sort);
	ck_assert_int_eq(pthread_create(&thread, NULL, compare_in_thread, NULL), 0);
	ck_assert_int_eq(pthread_join(thread, NULL), 0);
}
END_TEST

static volatile sig_atomic_t handled;

static void on_signal(int number)
{
	(void)number;
	handled++;
	compare();
}

static volatile int zero;

/* Interrupted where no call is. */
static __attribute__((noinline)) void fault_once(void)
{
	int *page = mmap(NULL, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	ck_assert_ptr_ne(page, MAP_FAILED);
	zero = *(volatile int *)page;
}

static sigjmp_buf out;

static void on_fault(int number)
{
	on_signal(number);
	siglongjmp(out, 1);
}

static __attribute__((noinline)) void fault_and_return(void)
{
	if (!sigsetjmp(out, 1))
		fault_once();
}

static void handle(int number, void (*handler)(int), bool elsewhere)
{
	static char memory[1 << 18];
	struct sigaction action = {.sa_handler = handler, .sa_flags = elsewhere ? SA_ONSTACK : 0};

	ck_assert_int_eq(sigaltstack(&(stack_t){.ss_sp = memory, .ss_size = sizeof(memory)}, NULL), 0);
	ck_assert_int_eq(sigaction(number, &action, NULL), 0);
}

START_TEST(test_out_of_a_signal_handler)
{
	bool elsewhere = _i;

	handled = 0;
	handle(SIGUSR1, on_signal, elsewhere);
	raise(SIGUSR1);
	handle(SIGSEGV, on_fault, elsewhere);
	fault_and_return();
	ck_assert_int_eq(handled, 2);
}
END_TEST

static ucontext_t back, other;

static void on_other_stack(void)
{
	compare();
}

START_TEST(test_on_a_stack_of_the_programs_own)
{
	static char memory[1 << 18];

	ck_assert_int_eq(getcontext(&other), 0);
	other.uc_stack = (stack_t){.ss_sp = memory, .ss_size = sizeof(memory)};
	other.uc_link = &back;
	makecontext(&other, on_other_stack, 0);
	ck_assert_int_eq(swapcontext(&back, &other), 0);
}
END_TEST

/* The words of the stack may be anything: each walk ends, and reads nothing that isn't there. */
START_TEST(test_a_stack_of_garbage)
{
	enum { BYTES = 1 << 16 };
	char *memory = pages(BYTES + 4096);
	uintptr_t *words = (uintptr_t *)memory, end = (uintptr_t)memory + BYTES;
	uintptr_t texts[3] = {(uintptr_t)compare, (uintptr_t)qsort, (uintptr_t)dlopen};
	uint64_t seed = 88172645463325252u;

	ck_assert_int_eq(mprotect((void *)end, 4096, PROT_NONE), 0);
	for (unsigned i = 0; i < BYTES / 8; i++) {
		seed ^= seed << 13;
		seed ^= seed >> 7;
		seed ^= seed << 17;
		words[i] =
			i % 3 == 2 ? (uintptr_t)memory + seed % (BYTES + 8192) : texts[seed % 3] + (seed >> 40) % 4096;
	}
	for (uintptr_t at = (uintptr_t)memory; at < end; at += 8) {
		struct ml_unwind_frame frame = {*(uintptr_t *)at, at, words[(at / 8) % 1000]};
		struct ml_unwind_stack stack;
		struct ml_unwind_step step;
		unsigned n = 0;

		ml_unwind_stack_at(&stack, at);
		while (ml_unwind_step(&modules, &stack, &frame, &step) == ML_UNWIND_CALLER) {
			ck_assert_uint_lt(n++, BYTES / 8);
			frame = step.caller;
		}
	}
}
END_TEST

START_TEST(test_code_of_no_module)
{
	struct ml_unwind_frame frame = {(uintptr_t)&modules + 8, 0, 0};
	uintptr_t words[64] = {0};
	struct ml_unwind_stack stack;
	struct ml_unwind_step step;

	ml_unwind_stack_at(&stack, (uintptr_t)words);
	frame.sp = (uintptr_t)words;
	/* In the program, but no code. */
	ck_assert_int_eq(ml_unwind_step(&modules, &stack, &frame, &step), ML_UNWIND_LOST);
	frame.pc = (uintptr_t)pages(4096);
	ck_assert_int_eq(ml_unwind_step(&modules, &stack, &frame, &step), ML_UNWIND_UNKNOWN);
	frame.pc = 0;
	ck_assert_int_ne(ml_unwind_step(&modules, &stack, &frame, &step), ML_UNWIND_CALLER);
}
END_TEST

/* The slots are where the words are that lead to the caller. */
START_TEST(test_slots)
{
	struct ml_unwind_frame frame;
	struct ml_unwind_stack stack;
	struct ml_unwind_step step;
	unsigned n = 0;

	frame = ml_unwind_here();
	ml_unwind_stack_at(&stack, frame.sp);
	while (ml_unwind_step(&modules, &stack, &frame, &step) == ML_UNWIND_CALLER) {
		ck_assert_uint_ge((uintptr_t)step.pc_slot, frame.sp);
		ck_assert_uint_lt((uintptr_t)step.pc_slot, step.caller.sp);
		ck_assert_uint_eq(*step.pc_slot, step.pc_word);
		ck_assert_uint_eq(step.pc_word, step.caller.pc);
		ck_assert_uint_eq(step.fp_slot ? *step.fp_slot : frame.fp, step.caller.fp);
		frame = step.caller;
		n++;
	}
	ck_assert_uint_gt(n, 2);
}
END_TEST

START_TEST(test_functions)
{
	struct ml_unwind_range r;

	r = ml_unwind_function(&modules, (uintptr_t)compare + 3);
	ck_assert_uint_eq(r.start, (uintptr_t)compare);
	ck_assert_uint_gt(r.end, r.start + 3);
	ck_assert_uint_eq(ml_unwind_function(&modules, (uintptr_t)&modules).start, 0);
}
END_TEST

static uintptr_t called_from;

static __attribute__((noinline, cold)) void seldom(int number)
{
	called_from = (uintptr_t)__builtin_return_address(0);
	zero += number;
}

/* GCC puts what leads to a cold function in a piece of its own. */
static __attribute__((noinline)) int with_cold_part(int number)
{
	volatile int sum = 0;

	for (int i = 0; i < number; i++) {
		if (number > 1000)
			seldom(i);
		sum += i;
		if (sum > 100000)
			seldom(sum);
		if (sum == 77777)
			seldom(sum + number);
		if (sum % 12345 == 12344)
			seldom(sum + i);
	}
	return sum;
}

START_TEST(test_cold_part)
{
	struct ml_unwind_range hot = ml_unwind_function(&modules, (uintptr_t)with_cold_part);
	struct ml_unwind_range cold = ml_unwind_cold(&modules, hot);

	ck_assert_uint_eq(hot.start, (uintptr_t)with_cold_part);
	with_cold_part(1001);
	if (called_from - hot.start < hot.end - hot.start) {
		puts("# SKIP test_cold_part: this compiler leaves functions in one piece");
		ck_assert_uint_eq(cold.start, 0);
		return;
	}
	ck_assert_uint_ge(called_from, cold.start);
	ck_assert_uint_lt(called_from, cold.end);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("unwind");
	TCase *tests = tcase_create("unwind");
	SRunner *runner = srunner_create(suite);
	int failed;

	tcase_add_checked_fixture(tests, setup, NULL);
	tcase_add_test(tests, test_the_stack_of_a_test);
	tcase_add_loop_test(tests, test_frames_of_every_kind, 0, 64);
	tcase_add_test(tests, test_a_deep_stack);
	tcase_add_test(tests, test_through_the_c_library);
	tcase_add_loop_test(tests, test_out_of_a_signal_handler, 0, 2);
	tcase_add_test(tests, test_on_a_stack_of_the_programs_own);
	tcase_add_test(tests, test_a_stack_of_garbage);
	tcase_add_test(tests, test_code_of_no_module);
	tcase_add_test(tests, test_slots);
	tcase_add_test(tests, test_functions);
	tcase_add_test(tests, test_cold_part);
	tcase_set_timeout(tests, 60);
	suite_add_tcase(suite, tests);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed != 0;
}
