/* The walk over hand-made frames of every version, and over chains that are not to be trusted. */
#include <check.h>
#include <dlfcn.h>
#include <errno.h>
#include <link.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "tests/symbolize/fake_python.h"

#define THREAD 0 /* owners of a frame */
#define GENERATOR 1
#define SHIM 3

#define HERE ((uintptr_t)__builtin_frame_address(0))

/* What is looked for on the C stack has to be there: the address sanitizer of gcc 13, clang 15 and later keeps locals
   elsewhere. */
const char *__asan_default_options(void);

const char *__asan_default_options(void)
{
	return "detect_stack_use_after_return=0";
}

static struct ml_abi abi;
static const struct ml_offsets *at;
static struct ml_walker walker;

static void start(int minor)
{
	walker = (struct ml_walker){.self = 0};
	fake_make((unsigned)minor);
	fake_init(&abi);
	at = &fake.row->at;
}

static enum ml_frame_kind kind_of(const void *frame)
{
	return ml_frame_kind(&abi, frame, ml_frame_code(&abi, frame));
}

static int64_t place_of(const void *frame)
{
	return ml_frame_place(&abi, ml_frame_code(&abi, frame), ml_frame_instr(&abi, frame));
}

START_TEST(follows_a_chain)
{
	uintptr_t cframe[2];
	void *outer, *middle, *inner;

	start(_i);
	outer = fake_frame(fake_code("a.py", "<module>", 1, 20, 0), NULL, THREAD, 4);
	middle = fake_frame(fake_code("a.py", "f", 3, 20, 0), outer, THREAD, 0);
	inner = fake_frame(fake_code("a.py", "g", 9, 20, 0), middle, THREAD, 19);
	fake.current = fake.bound = fake_thread(inner, cframe);

	ck_assert_ptr_eq(ml_walk_top(&abi, &walker, (uintptr_t)cframe), inner);
	ck_assert_ptr_eq(ml_frame_previous(&abi, inner), middle);
	ck_assert_ptr_eq(ml_frame_previous(&abi, middle), outer);
	ck_assert_ptr_null(ml_frame_previous(&abi, outer));
	ck_assert_int_eq(kind_of(inner), ML_FRAME_PYTHON);
	ck_assert_int_eq(place_of(inner), 38);
	ck_assert_int_eq(place_of(middle), 0);
	ck_assert_int_eq(place_of(outer), 8);
	ck_assert_uint_ne(ml_frame_instr(&abi, inner), ml_frame_instr(&abi, middle));
}
END_TEST

START_TEST(knows_frames_that_have_not_begun)
{
	void *code, *frame;

	start(_i);
	code = fake_code("a.py", "f", 1, 20, 3);
	frame = fake_frame(code, NULL, THREAD, -1);
	ck_assert_int_eq(place_of(frame), -1);
	if (fake.row->instr_unit)
		return;
	fake_fill_frame(frame, code, NULL, THREAD, 0);
	ck_assert_int_eq(place_of(frame), -1);
	fake_fill_frame(frame, code, NULL, THREAD, 2);
	ck_assert_int_eq(place_of(frame), -1);
	fake_fill_frame(frame, code, NULL, THREAD, 3);
	ck_assert_int_eq(place_of(frame), 6);
	/* Not in the bytecode at all. */
	fake_fill_frame(frame, code, NULL, THREAD, 20);
	ck_assert_int_eq(place_of(frame), -1);
	fake_set_word(frame, at->frame_instr, 0);
	ck_assert_int_eq(place_of(frame), -1);
	fake_set_word(frame, at->frame_instr, (uintptr_t)-8);
	ck_assert_int_eq(place_of(frame), -1);
}
END_TEST

START_TEST(tells_shims_and_bad_frames)
{
	void *code, *frame, *name;

	start(_i);
	code = fake_code("a.py", "f", 1, 20, 0);
	if (fake.row->shim_owner) {
		for (unsigned owner = SHIM; owner <= 4; owner++)
			ck_assert_int_eq(kind_of(fake_frame(NULL, NULL, owner, 0)), ML_FRAME_SHIM);
		ck_assert_int_eq(kind_of(fake_frame(code, NULL, SHIM, 0)), ML_FRAME_SHIM);
	}
	for (unsigned owner = 0; owner <= 2; owner++)
		ck_assert_int_eq(kind_of(fake_frame(code, NULL, owner, 0)), ML_FRAME_PYTHON);

	frame = fake_frame(code, NULL, THREAD, 0);
	fake_set_word(frame, at->frame_code, 0);
	ck_assert_int_eq(kind_of(frame), ML_FRAME_BAD);
	fake_set_word(frame, at->frame_code, (uintptr_t)code + 4);
	ck_assert_int_eq(kind_of(frame), ML_FRAME_BAD);
	fake_set_word(frame, at->frame_code, (uintptr_t)fake_ascii("no code"));
	ck_assert_int_eq(kind_of(frame), ML_FRAME_BAD);
	if (fake.row->code_mask != ~(uintptr_t)0) {
		fake_set_word(frame, at->frame_code, (uintptr_t)code | 1);
		ck_assert_int_eq(kind_of(frame), ML_FRAME_PYTHON);
	}
	if (!fake.row->init_shim)
		return;
	/* The static code of the interpreter's own, and a function that looks like it but for one thing each. */
	name = fake_ascii("__init__");
	fake_set_word(code, at->code_file, (uintptr_t)name);
	fake_set_word(code, at->code_name, (uintptr_t)name);
	fake_set_int(code, at->code_first_line, 0);
	fake_set_int(code, at->code_flags, (int32_t)(fake.row->init_shim | 1));
	frame = fake_frame(code, NULL, THREAD, 0);
	ck_assert_int_eq(kind_of(frame), ML_FRAME_SHIM);
	fake_set_int(code, at->code_flags, 3);
	ck_assert_int_eq(kind_of(frame), ML_FRAME_PYTHON);
	fake_set_int(code, at->code_flags, (int32_t)(fake.row->init_shim | 1));
	fake_set_int(code, at->code_first_line, 1);
	ck_assert_int_eq(kind_of(frame), ML_FRAME_PYTHON);
	fake_set_int(code, at->code_first_line, 0);
	fake_set_word(code, at->code_file, (uintptr_t)fake_ascii("__init__"));
	ck_assert_int_eq(kind_of(frame), ML_FRAME_PYTHON);
}
END_TEST

/* A thread state with one frame, whose _PyCFrame is the caller's. */
static void *thread_with_frame(uintptr_t *cframe, void **frame)
{
	*frame = fake_frame(fake_code("a.py", "f", 1, 20, 0), NULL, THREAD, 4);
	return fake_thread(*frame, cframe);
}

static void set_interpreters(bool several)
{
	fake_set_word(fake.runtime, at->runtime_interpreters, several ? 2 : 1);
	fake_set_word(fake.runtime, at->runtime_interpreters + 8, 1);
}

START_TEST(picks_the_threads_own_state)
{
	uintptr_t cframes[4];
	void *mine, *other, *my_frame, *other_frame;
	uintptr_t *heap_cframe;

	start(_i);
	heap_cframe = fake_block(16);
	mine = thread_with_frame(cframes, &my_frame);
	other = thread_with_frame(cframes + 2, &other_frame);
	set_interpreters(false);
	ck_assert_ptr_null(ml_walk_top(&abi, &walker, (uintptr_t)cframes));
	ml_walk_may_get_state(&walker);
	fake.current = mine;
	fake.bound = mine;
	ck_assert_ptr_eq(ml_walk_top(&abi, &walker, (uintptr_t)cframes), my_frame);
	fake.current = NULL; /* the GIL is released */
	ck_assert_ptr_eq(ml_walk_top(&abi, &walker, (uintptr_t)cframes), my_frame);
	fake.current = other;
	if (!fake.row->current_is_global) { /* a subinterpreter's, attached by this thread */
		ck_assert_ptr_eq(ml_walk_top(&abi, &walker, (uintptr_t)cframes), other_frame);
		return;
	}
	/* Another thread holds the GIL. */
	ck_assert_ptr_eq(ml_walk_top(&abi, &walker, (uintptr_t)cframes), my_frame);
	fake.bound = NULL;
	ck_assert_ptr_null(ml_walk_top(&abi, &walker, (uintptr_t)cframes));
	ml_walk_may_get_state(&walker);
	fake.bound = mine;
	/* This thread's own, of a subinterpreter. */
	set_interpreters(true);
	ck_assert_ptr_eq(ml_walk_top(&abi, &walker, (uintptr_t)cframes), other_frame);
	/* There are subinterpreters, but it is another thread's after all. */
	fake_set_word(other, at->thread_id, (uintptr_t)pthread_self() + 8);
	if (fake.row->has_cframe)
		fake_set_word(other, at->thread_frame, (uintptr_t)heap_cframe);
	ck_assert_ptr_eq(ml_walk_top(&abi, &walker, (uintptr_t)cframes), my_frame);
	/* It has been freed and its memory given back. */
	fake.current = mmap(NULL, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	ck_assert_ptr_eq(ml_walk_top(&abi, &walker, (uintptr_t)cframes), my_frame);
	munmap(fake.current, 4096);
}
END_TEST

START_TEST(knows_for_a_while_that_there_is_no_state)
{
	uintptr_t cframe[2];
	void *frame;

	start(_i);
	set_interpreters(false);
	fake.bound = NULL;
	ck_assert_ptr_null(ml_walk_top(&abi, &walker, (uintptr_t)cframe));
	fake.bound = thread_with_frame(cframe, &frame);
	if (at->thread_chunk) { /* nobody has said that there may be one */
		for (unsigned i = 0; i < ML_WALK_STATELESS; i++)
			ck_assert_ptr_null(ml_walk_top(&abi, &walker, (uintptr_t)cframe));
		ck_assert_ptr_eq(ml_walk_top(&abi, &walker, (uintptr_t)cframe), frame);
		fake.bound = NULL;
		ck_assert_ptr_null(ml_walk_top(&abi, &walker, (uintptr_t)cframe));
		fake.bound = thread_with_frame(cframe, &frame);
		ml_walk_may_get_state(&walker);
	}
	ck_assert_ptr_eq(ml_walk_top(&abi, &walker, (uintptr_t)cframe), frame);
}
END_TEST

/* CPython's thread-local variables. */
static const void **(*thread_locals)(void);

/* Where CPython keeps the current thread state. */
static void set_variable(const void *thread)
{
	void *library = dlopen(ML_TEST_OBJECTS "/variables.so", RTLD_NOW);

	ck_assert_ptr_nonnull(library);
	*(void **)&thread_locals = dlsym(library, "variables_of_thread");
	ck_assert_int_eq(dlinfo(library, RTLD_DI_TLS_MODID, &abi.tls_module), 0);
	abi.tls_bytes = 4 * sizeof(void *);
	abi.tls_stays = true;
	if (fake.row->current_is_global)
		fake_set_word(fake.runtime, at->runtime_current, (uintptr_t)thread);
	else
		thread_locals()[1] = thread;
}

START_TEST(reads_the_current_state_without_a_call)
{
	uintptr_t cframes[4];
	void *mine, *other, *my_frame, *other_frame;

	start(_i);
	set_interpreters(false);
	mine = thread_with_frame(cframes, &my_frame);
	other = thread_with_frame(cframes + 2, &other_frame);
	set_variable(mine);
	fake.current = fake.bound = mine;
	ck_assert_ptr_eq(ml_walk_top(&abi, &walker, (uintptr_t)cframes), my_frame);
	fake.current = fake.bound = NULL; /* no more asked */
	ck_assert_ptr_eq(ml_walk_top(&abi, &walker, (uintptr_t)cframes), my_frame);
	ck_assert_ptr_eq(ml_walk_top_quick(&abi, &walker, (uintptr_t)cframes), my_frame);
	set_variable(NULL); /* the state is gone, */
	ck_assert_ptr_null(ml_walk_top(&abi, &walker, (uintptr_t)cframes));
	ml_walk_may_get_state(&walker);
	fake.bound = mine; /* or only the GIL */
	ck_assert_ptr_eq(ml_walk_top(&abi, &walker, (uintptr_t)cframes), my_frame);
	set_variable(other);
	if (!fake.row->current_is_global) {
		ck_assert_ptr_eq(ml_walk_top_quick(&abi, &walker, (uintptr_t)cframes), other_frame);
		return;
	}
	/* Another thread holds the GIL; and that has a state where this one had its own. */
	ck_assert_ptr_null(ml_walk_top_quick(&abi, &walker, (uintptr_t)cframes));
	ck_assert_ptr_eq(ml_walk_top(&abi, &walker, (uintptr_t)cframes), my_frame);
	fake.bound = NULL;
	set_variable(mine);
	fake_set_word(mine, at->thread_id, (uintptr_t)pthread_self() + 8);
	ck_assert_ptr_null(ml_walk_top_quick(&abi, &walker, (uintptr_t)cframes));
	ck_assert_ptr_null(ml_walk_top(&abi, &walker, (uintptr_t)cframes));
}
END_TEST

/* What has the same value is not the variable for that. */
START_TEST(takes_no_variable_that_may_be_another)
{
	uintptr_t cframe[2];
	void *thread, *frame;

	start(_i);
	if (fake.row->current_is_global)
		return;
	thread = thread_with_frame(cframe, &frame);
	set_variable(thread);
	thread_locals()[2] = thread;
	fake.current = fake.bound = thread;
	ck_assert_ptr_eq(ml_walk_top(&abi, &walker, (uintptr_t)cframe), frame);
	ck_assert_ptr_null(ml_walk_top_quick(&abi, &walker, (uintptr_t)cframe));
	fake.current = fake.bound = NULL;
	ck_assert_ptr_null(ml_walk_top(&abi, &walker, (uintptr_t)cframe));
}
END_TEST

/* The calling thread's variables, if the loader has made them. */
static int visit_variables(struct dl_phdr_info *info, size_t size, void *found)
{
	(void)size;
	if (info->dlpi_tls_modid == abi.tls_module)
		*(void **)found = info->dlpi_tls_data;
	return 0;
}

/* The state that CPython would give is not asked for. */
static void *walk_in_a_new_thread(void *frame)
{
	struct ml_walker other = {.self = 0};
	void *found = NULL;

	ck_assert_ptr_null(ml_walk_top(&abi, &other, HERE));
	dl_iterate_phdr(visit_variables, &found);
	ck_assert_ptr_null(found);
	thread_locals()[2] = fake.bound;
	ml_walk_may_get_state(&other);
	ck_assert_ptr_eq(ml_walk_top(&abi, &other, HERE), frame);
	return NULL;
}

START_TEST(asks_for_no_variable_that_is_not_there)
{
	uintptr_t cframe[2];
	void *thread, *frame;
	pthread_t other;

	start(_i);
	if (!fake.row->bound_is_variable)
		return;
	thread = thread_with_frame(cframe, &frame);
	set_variable(thread);
	thread_locals()[2] = thread;
	fake.current = fake.bound = thread;
	ck_assert_ptr_eq(ml_walk_top(&abi, &walker, (uintptr_t)cframe), frame);
	ck_assert_int_eq(pthread_create(&other, NULL, walk_in_a_new_thread, frame), 0);
	pthread_join(other, NULL);
}
END_TEST

START_TEST(leaves_finished_threads_alone)
{
	uintptr_t cframe[2];
	void *thread, *frame;

	start(_i);
	thread = fake.current = fake.bound = thread_with_frame(cframe, &frame);
	fake_set_word(fake.runtime, at->runtime_finalizing, (uintptr_t)fake_block(8));
	ck_assert_ptr_null(ml_walk_top(&abi, &walker, (uintptr_t)cframe));
	fake_set_word(fake.runtime, at->runtime_finalizing, (uintptr_t)thread);
	ck_assert_ptr_eq(ml_walk_top(&abi, &walker, (uintptr_t)cframe), frame);
	if (!fake.row->cleared)
		return;
	fake_set_int(thread, at->thread_status, (int32_t)~fake.row->cleared);
	ck_assert_ptr_eq(ml_walk_top(&abi, &walker, (uintptr_t)cframe), frame);
	fake_set_int(thread, at->thread_status, (int32_t)fake.row->cleared);
	ck_assert_ptr_null(ml_walk_top(&abi, &walker, (uintptr_t)cframe));
}
END_TEST

/* struct chunk of walk.c. */
struct data_stack {
	struct data_stack *previous;
	size_t size;
	size_t top;
	uintptr_t data[256];
};

static struct data_stack *newest;
static uintptr_t *top;

static struct data_stack *push_chunk(void)
{
	struct data_stack *chunk = fake_block(sizeof(*chunk));

	if (newest)
		newest->top = (size_t)(top - newest->data);
	chunk->previous = newest;
	chunk->size = sizeof(*chunk);
	newest = chunk;
	top = &chunk->data[chunk->previous == NULL];
	return chunk;
}

static size_t frame_words(void)
{
	return at->frame_size / 8 + 3; /* of fake_code() */
}

static void *push_frame(void *previous)
{
	void *frame = top;

	top += frame_words();
	fake_fill_frame(frame, fake_code("a.py", "f", 1, 20, 0), previous, THREAD, 4);
	return frame;
}

/* The thread's data stack is what has been pushed. */
static void set_data_stack(void *thread)
{
	fake_set_word(thread, at->thread_chunk, (uintptr_t)newest);
	fake_set_word(thread, at->thread_chunk + 8, (uintptr_t)top);
}

/* A generator with its frame; returns the frame. */
static char *make_generator(const void *type, void *previous, int state)
{
	char *generator = fake_block(at->generator_frame + at->frame_size);
	char *frame = generator + at->generator_frame;

	fake_set_word(generator, at->object_type, (uintptr_t)type);
	generator[at->generator_state] = (char)state;
	fake_fill_frame(frame, fake_code("a.py", "g", 1, 20, 0), previous, GENERATOR, 4);
	return frame;
}

/* Whether the careful walk takes this for the innermost frame, where it stands on a part of the C stack. */
static bool is_taken(void *thread, uintptr_t *on_stack, const void *frame)
{
	const void *first;

	if (fake.row->has_cframe) {
		fake_set_word(on_stack, at->cframe_frame, (uintptr_t)frame);
		fake_set_word(thread, at->thread_frame, (uintptr_t)on_stack);
		first = ml_walk_top(&abi, &walker, (uintptr_t)on_stack);
		return first && first == frame;
	}
	/* Behind a shim. */
	fake_fill_frame(on_stack, NULL, (void *)frame, SHIM, 0);
	fake_set_word(thread, at->thread_frame, (uintptr_t)on_stack);
	first = ml_walk_top(&abi, &walker, (uintptr_t)on_stack);
	ck_assert_ptr_eq(first, on_stack);
	return ml_frame_previous(&abi, first) == frame && frame != NULL;
}

static void *start_careful(int minor)
{
	void *thread;

	start(minor);
	fake_loose = true;
	newest = NULL;
	abi.careful = 1;
	thread = fake.current = fake.bound = fake_block(512);
	fake_set_word(thread, at->thread_id, (uintptr_t)pthread_self());
	return thread;
}

START_TEST(proves_frames_on_the_data_stack)
{
	uintptr_t on_stack[16];
	char *frames[40];
	void *thread = start_careful(_i), *unmapped;

	push_chunk();
	for (int i = 0; i < 40; i++) {
		if (top + frame_words() > newest->data + 256)
			push_chunk();
		frames[i] = push_frame(i ? frames[i - 1] : NULL);
	}
	ck_assert_ptr_nonnull(newest->previous);
	set_data_stack(thread);
	for (int i = 0; i < 40; i++) {
		ck_assert(is_taken(thread, on_stack, frames[i]));
		for (size_t word = 1; word < frame_words(); word++)
			ck_assert(!is_taken(thread, on_stack, frames[i] + 8 * word));
		ck_assert(!is_taken(thread, on_stack, frames[i] + 1));
	}
	/* The newest one has returned: its bytes are still there. */
	top -= frame_words();
	set_data_stack(thread);
	ck_assert(!is_taken(thread, on_stack, frames[39]));
	ck_assert(is_taken(thread, on_stack, frames[38]));

	unmapped = mmap(NULL, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	ck_assert(!is_taken(thread, on_stack, unmapped));
	munmap(unmapped, 4096);
	ck_assert(!is_taken(thread, on_stack, (void *)0x4141414141414140));
	ck_assert(!is_taken(thread, on_stack, (void *)~(uintptr_t)7));
	ck_assert(!is_taken(thread, on_stack, (void *)8));
	ck_assert(!is_taken(thread, on_stack, (void *)(uintptr_t)at->generator_frame));
	ck_assert(!is_taken(thread, on_stack, NULL));
	ck_assert(!is_taken(thread, on_stack, newest));
	/* A frame as it should be, but nowhere where frames are. */
	ck_assert(!is_taken(thread, on_stack, fake_frame(fake_code("a.py", "f", 1, 20, 0), NULL, THREAD, 4)));
}
END_TEST

START_TEST(proves_generators)
{
	uintptr_t on_stack[16];
	void *thread = start_careful(_i);
	int running = fake.row->generator_running;
	char *frame;
	char *page = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	ck_assert(is_taken(thread, on_stack, make_generator(&fake.generator_type, NULL, running)));
	ck_assert(is_taken(thread, on_stack, make_generator(&fake.coroutine_type, NULL, running)));
	ck_assert(is_taken(thread, on_stack, make_generator(&fake.async_generator_type, NULL, running)));
	ck_assert(!is_taken(thread, on_stack, make_generator(&fake.unicode_type, NULL, running)));
	ck_assert(!is_taken(thread, on_stack, make_generator(&fake.generator_type, NULL, running + 1)));
	ck_assert(!is_taken(thread, on_stack, make_generator(&fake.generator_type, NULL, -1)));
	frame = make_generator(&fake.generator_type, NULL, running);
	frame[at->frame_owner] = THREAD;
	ck_assert(!is_taken(thread, on_stack, frame));
	frame = make_generator(&fake.generator_type, NULL, running);
	fake_set_word(frame, at->frame_code, (uintptr_t)fake_ascii("no code"));
	ck_assert(!is_taken(thread, on_stack, frame));

	mprotect(page + 4096, 4096, PROT_NONE);
	fake_set_word(frame, at->frame_code, (uintptr_t)page + 4096);
	ck_assert(!is_taken(thread, on_stack, frame));
	/* One that the end of what can be read cuts in two. */
	frame = page + 4096 - 16;
	fake_set_word(frame - at->generator_frame, at->object_type, (uintptr_t)&fake.generator_type);
	(frame - at->generator_frame)[at->generator_state] = (char)running;
	ck_assert(!is_taken(thread, on_stack, frame));
	munmap(page, 8192);
}
END_TEST

START_TEST(doubts_the_c_stack)
{
	uintptr_t on_stack[16] = {0}, shim[16] = {0};
	void *thread, *frame;

	if (!ml_abi_row((unsigned)_i)->shim_owner)
		return;
	thread = start_careful(_i);
	push_chunk();
	frame = push_frame(shim);
	set_data_stack(thread);
	ck_assert(is_taken(thread, on_stack, frame));

	/* A shim on the C stack must say that it is one. What it leads to is doubted, too. */
	fake_fill_frame(shim, NULL, frame, SHIM, 0);
	ck_assert_ptr_eq(ml_frame_previous(&abi, frame), shim);
	ck_assert_ptr_eq(ml_frame_previous(&abi, shim), frame);
	fake_fill_frame(shim, NULL, frame, THREAD, 0);
	ck_assert_ptr_null(ml_frame_previous(&abi, frame));
	fake_fill_frame(shim, NULL, (char *)frame + 8, SHIM, 0);
	ck_assert_ptr_null(ml_frame_previous(&abi, shim));
	/* What a true frame leads to is believed wherever else it is. */
	fake_fill_frame(frame, fake_code("a.py", "f", 1, 20, 0), thread, THREAD, 4);
	ck_assert_ptr_eq(ml_frame_previous(&abi, frame), thread);

	if (!at->thread_base)
		return;
	fake_set_word(thread, at->thread_base, (uintptr_t)fake_frame(NULL, NULL, SHIM, 0));
	fake_fill_frame(shim, NULL, (void *)ml_load_word(thread, at->thread_base), SHIM, 0);
	ck_assert_ptr_eq(ml_frame_previous(&abi, shim), (void *)ml_load_word(thread, at->thread_base));
}
END_TEST

START_TEST(becomes_careful_in_mid_walk)
{
	uintptr_t on_stack[18] = {0}, *cframe = on_stack + 16;
	void *thread, *outer, *inner;

	if (!ml_abi_row((unsigned)_i)->shim_owner)
		return;
	thread = start_careful(_i);
	abi.careful = 0;
	push_chunk();
	outer = push_frame(NULL);
	fake_fill_frame(on_stack, NULL, outer, SHIM, 0);
	inner = push_frame(on_stack);
	set_data_stack(thread);
	fake_set_word(thread, at->thread_frame, (uintptr_t)inner);
	if (fake.row->has_cframe) {
		fake_set_word(cframe, at->cframe_frame, (uintptr_t)inner);
		fake_set_word(thread, at->thread_frame, (uintptr_t)cframe);
	}
	ck_assert_ptr_eq(ml_walk_top(&abi, &walker, (uintptr_t)on_stack), inner);
	abi.careful = 1;
	ck_assert_ptr_eq(ml_frame_previous(&abi, inner), on_stack);
	ck_assert_ptr_eq(ml_frame_previous(&abi, on_stack), outer);
}
END_TEST

/* A _PyCFrame of another greenlet, or on another stack: the data stack says where the thread is. */
START_TEST(finds_the_newest_without_cframe)
{
	uintptr_t on_stack[16];
	void *thread, *outer, *inner;
	uintptr_t *heap;

	if (!ml_abi_row((unsigned)_i)->has_cframe)
		return;
	thread = start_careful(_i);
	heap = fake_block(16);
	fake_set_word(thread, at->thread_frame, (uintptr_t)heap);
	ck_assert_ptr_null(ml_walk_top(&abi, &walker, HERE)); /* no data stack */
	push_chunk();
	set_data_stack(thread);
	ck_assert_ptr_null(ml_walk_top(&abi, &walker, HERE)); /* an empty one */
	outer = push_frame(NULL);
	inner = push_frame(outer);
	set_data_stack(thread);
	fake_set_word(heap, at->cframe_frame, (uintptr_t)outer);
	ck_assert_ptr_eq(ml_walk_top(&abi, &walker, HERE), inner);
	abi.careful = 0;
	ck_assert_ptr_eq(ml_walk_top(&abi, &walker, HERE), inner);
	abi.careful = 1;
	ck_assert(!is_taken(thread, on_stack, (char *)inner + 8));
	ck_assert_ptr_eq(ml_walk_top(&abi, &walker, (uintptr_t)on_stack), inner);

	/* Not linked yet: what is in its place for the caller is old. */
	fake_set_word(inner, at->frame_previous, (uintptr_t)outer + 16);
	ck_assert_ptr_null(ml_walk_top(&abi, &walker, HERE));
	fake_set_word(inner, at->frame_previous, (uintptr_t)outer);
	/* Not a row of frames up to the top. */
	top++;
	set_data_stack(thread);
	ck_assert_ptr_null(ml_walk_top(&abi, &walker, HERE));
}
END_TEST

/* Stacks that the C library made are as good as the first thread's. */
static void *walk_in_thread(void *argument)
{
	struct ml_walker mine = {.self = 0};
	uintptr_t cframe[2];
	void *frame;

	fake.current = fake.bound = thread_with_frame(cframe, &frame);
	*(bool *)argument =
		ml_walk_top(&abi, &mine, (uintptr_t)cframe) == frame && ml_walk_top(&abi, &mine, HERE - 4096) == frame;
	return NULL;
}

/* No Python code runs; a frame is made ready for a call, in a place that is full of what was there before. */
START_TEST(takes_no_frame_that_is_not_linked_yet)
{
	uintptr_t stale[16] = {0};
	void *thread, *frame;

	if (!ml_abi_row((unsigned)_i)->has_cframe)
		return;
	thread = start_careful(_i);
	fake_set_word(thread, at->thread_frame, (uintptr_t)thread + at->thread_cframe);
	push_chunk();
	fake_fill_frame(stale, NULL, (void *)0x4141414141414140, SHIM, 0);
	frame = push_frame(stale);
	set_data_stack(thread);
	ck_assert_ptr_null(ml_walk_top(&abi, &walker, (uintptr_t)stale));
	abi.careful = 0;
	ck_assert_ptr_null(ml_walk_top(&abi, &walker, (uintptr_t)stale));
	/* Nor where the thread is on another stack than its _PyCFrame; unless all of the chain is as it should be. */
	fake_set_word(thread, at->thread_frame, (uintptr_t)fake_block(16));
	ck_assert_ptr_null(ml_walk_top(&abi, &walker, (uintptr_t)stale));
	fake_set_word(frame, at->frame_previous, 0);
	ck_assert_ptr_eq(ml_walk_top(&abi, &walker, (uintptr_t)stale), frame);
}
END_TEST

START_TEST(knows_the_stacks_of_threads)
{
	static const size_t sizes[] = {64 << 10, 8 << 20, 256 << 20};
	pthread_attr_t attributes;
	pthread_t thread;

	start(_i);
	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		bool found = false;
		pthread_attr_init(&attributes);
		ck_assert_int_eq(pthread_attr_setstacksize(&attributes, sizes[i]), 0);
		ck_assert_int_eq(pthread_create(&thread, &attributes, walk_in_thread, &found), 0);
		pthread_join(thread, NULL);
		pthread_attr_destroy(&attributes);
		ck_assert(found);
	}
}
END_TEST

START_TEST(leaves_errno_and_signals_alone)
{
	uintptr_t on_stack[16];
	sigset_t before, after;
	void *thread = start_careful(_i);

	sigemptyset(&before);
	sigaddset(&before, SIGUSR2);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	errno = 12345;
	ck_assert(!is_taken(thread, on_stack, (void *)0x4141414141414140));
	ck_assert(is_taken(thread, on_stack, make_generator(&fake.generator_type, NULL, fake.row->generator_running)));
	ck_assert_int_eq(errno, 12345);
	pthread_sigmask(SIG_SETMASK, NULL, &after);
	ck_assert_int_eq(sigismember(&after, SIGUSR2), 1);
	ck_assert_int_eq(sigismember(&after, SIGUSR1), 0);
}
END_TEST

int main(void)
{
	const int first_with_data_stack = 11;
	Suite *suite = suite_create("walk");
	TCase *tcase = tcase_create("walk");
	SRunner *runner;
	int failed;

	tcase_add_checked_fixture(tcase, NULL, fake_drop);
	tcase_add_loop_test(tcase, follows_a_chain, FAKE_OLDEST, FAKE_NEWEST + 1);
	tcase_add_loop_test(tcase, knows_frames_that_have_not_begun, FAKE_OLDEST, FAKE_NEWEST + 1);
	tcase_add_loop_test(tcase, tells_shims_and_bad_frames, FAKE_OLDEST, FAKE_NEWEST + 1);
	tcase_add_loop_test(tcase, picks_the_threads_own_state, FAKE_OLDEST, FAKE_NEWEST + 1);
	tcase_add_loop_test(tcase, knows_for_a_while_that_there_is_no_state, FAKE_OLDEST, FAKE_NEWEST + 1);
	tcase_add_loop_test(tcase, reads_the_current_state_without_a_call, FAKE_OLDEST, FAKE_NEWEST + 1);
	tcase_add_loop_test(tcase, takes_no_variable_that_may_be_another, FAKE_OLDEST, FAKE_NEWEST + 1);
	tcase_add_loop_test(tcase, asks_for_no_variable_that_is_not_there, FAKE_OLDEST, FAKE_NEWEST + 1);
	tcase_add_loop_test(tcase, leaves_finished_threads_alone, FAKE_OLDEST, FAKE_NEWEST + 1);
	tcase_add_loop_test(tcase, proves_frames_on_the_data_stack, first_with_data_stack, FAKE_NEWEST + 1);
	tcase_add_loop_test(tcase, proves_generators, first_with_data_stack, FAKE_NEWEST + 1);
	tcase_add_loop_test(tcase, doubts_the_c_stack, first_with_data_stack, FAKE_NEWEST + 1);
	tcase_add_loop_test(tcase, becomes_careful_in_mid_walk, first_with_data_stack, FAKE_NEWEST + 1);
	tcase_add_loop_test(tcase, finds_the_newest_without_cframe, first_with_data_stack, FAKE_NEWEST + 1);
	tcase_add_loop_test(tcase, takes_no_frame_that_is_not_linked_yet, first_with_data_stack, FAKE_NEWEST + 1);
	tcase_add_loop_test(tcase, knows_the_stacks_of_threads, FAKE_OLDEST, FAKE_NEWEST + 1);
	tcase_add_loop_test(tcase, leaves_errno_and_signals_alone, first_with_data_stack, FAKE_NEWEST + 1);
	suite_add_tcase(suite, tcase);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
