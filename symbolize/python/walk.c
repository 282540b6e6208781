#include "symbolize/python/walk.h"

#include <pthread.h>
#include <string.h>

#include "symbolize/readable.h"

/* _PyStackChunk (Include/cpython/pystate.h, 3.11 and later): frames of one thread, each right behind the one before. */
struct chunk {
	const struct chunk *previous;
	size_t size;
	size_t top; /* words of data in use; only once there is a newer chunk */
	uintptr_t data[1];
};

#define CHUNK_WORDS 2048 /* _PY_DATA_STACK_CHUNK_SIZE */
#define MAX_CHUNKS (1u << 16)
#define MAX_PROVEN (1u << 16) /* frames; what isn't live may be a ring */

static bool is_on_stack(const struct ml_abi *abi, uintptr_t stack_pointer, const void *object, size_t bytes)
{
	return ml_walk_is_on_stack(abi, (uintptr_t)pthread_self(), stack_pointer, object, bytes);
}

/*
 * Whether a thread state that may be another thread's, and be freed meanwhile, is in use by this thread. One that runs
 * Python code has its _PyCFrame on its own stack; before there was that, who made it must do for an answer.
 */
static bool is_mine(const struct ml_abi *abi, const void *thread, uintptr_t stack_pointer)
{
	if (!ml_is_readable(thread, abi->is.at.thread_id + sizeof(pthread_t)))
		return false;
	if (abi->is.has_cframe)
		return is_on_stack(abi, stack_pointer, (const void *)ml_load_word(thread, abi->is.at.thread_frame), 1);
	return (pthread_t)ml_load_word(thread, abi->is.at.thread_id) == pthread_self();
}

/* What glibc has of a thread's block of an object's thread-local variables: dtv_t in sysdeps/generic/dl-dtv.h. */
struct tls_block {
	uintptr_t start; /* UINTPTR_MAX or 0: it is not there. Of the element at -1: the number of the last one */
	uintptr_t to_free;
};

/* The calling thread's, by the loader's number of the object: dtv of tcbhead_t in sysdeps/x86_64/nptl/tls.h and in
   sysdeps/aarch64/nptl/tls.h. */
static const struct tls_block *tls_blocks(void)
{
	const struct tls_block *found;

#if defined(__x86_64__)
	__asm__ volatile("mov %%fs:8, %0" : "=r"(found));
#elif defined(__aarch64__)
	__asm__ volatile("mrs %0, tpidr_el0\n\tldr %0, [%0]" : "=r"(found));
#else
#error "it is not known where this machine has its thread-local variables"
#endif
	return found;
}

/* CPython's thread-local variables of the calling thread. NULL: they are not there. The loader, asked for them, would
   allocate them. */
static const void *const *variables(const struct ml_abi *abi)
{
	const struct tls_block *blocks = tls_blocks();
	uintptr_t start = abi->tls_module <= blocks[-1].start ? blocks[abi->tls_module].start : 0;

	return abi->tls_module && start != UINTPTR_MAX ? (const void *const *)start : NULL;
}

/* Where bound_is_variable, which of them hold a thread's current and bound state, as bits. 0: not known. */
static uint64_t state_variables;

/*
 * Whether the calling thread may have a state, from 3.12 on. CPython can be asked for the bound one where that is under
 * a key (pthread_getspecific(3)), but for no thread-local variable, unless this thread has used them before.
 */
static bool may_have_state(const struct ml_abi *abi)
{
	uint64_t left = __atomic_load_n(&state_variables, __ATOMIC_RELAXED);
	const void *const *at;

	if (!abi->is.bound_is_variable)
		return abi->bound_thread() != NULL;
	if (!left)
		return true;
	for (at = variables(abi); at && left; left &= left - 1)
		if (at[__builtin_ctzll(left)])
			return true;
	return false;
}

/*
 * The calling thread's own thread state. Until 3.11 the current one is that of whoever holds the GIL: if it isn't the
 * one that was first bound to this thread, then this thread doesn't hold the GIL, or it runs in a subinterpreter.
 */
static const void *own_thread(const struct ml_abi *abi, const struct ml_walker *w, uintptr_t stack_pointer)
{
	const void *current, *bound;

	if (!abi->is.current_is_global && !w->has_looked && !may_have_state(abi))
		return NULL;
	current = w->current ? *w->current : abi->current_thread();
	if (!abi->is.current_is_global)
		return current ? current : abi->bound_thread();
	bound = abi->bound_thread();
	if (!current || current == bound)
		return bound;
	if (ml_abi_is_single(abi))
		return bound;
	return is_mine(abi, current, stack_pointer) ? current : bound;
}

static bool is_shim(const struct ml_abi *abi, const void *frame)
{
	return abi->is.shim_owner && *((const uint8_t *)frame + abi->is.at.frame_owner) >= abi->is.shim_owner;
}

/*
 * The frame behind this one on the data stack, or NULL if this isn't one. Until 3.11 a frame's size is the sum of its
 * parts (_PyFrame_Push in Include/internal/pycore_frame.h), then co_framesize.
 */
static const uintptr_t *next_on_data_stack(const struct ml_abi *abi, const uintptr_t *frame)
{
	const struct ml_offsets *at = &abi->is.at;
	const void *code = ml_frame_code(abi, frame);
	int64_t words;

	if (!ml_code_is_one(abi, code))
		return NULL;
	words = ml_load_int(code, at->code_frame_words);
	if (at->code_stack_words)
		words += ml_load_int(code, at->code_stack_words) + at->frame_size / sizeof(uintptr_t);
	return words < (int64_t)(at->frame_size / sizeof(uintptr_t)) ? NULL : frame + words;
}

/* The oldest chunk's first word is left free, so that it is never given back (push_chunk in Python/pystate.c). */
static const uintptr_t *first_in_chunk(const struct chunk *chunk)
{
	return &chunk->data[chunk->previous == NULL];
}

/*
 * In use is a chunk from its start without a gap, so that its frames can be told one after the other, without a look at
 * the address in question. Bit: a live frame starts at this word of ml_walk_seen.chunk's data.
 */
static __thread __attribute__((tls_model("initial-exec"))) uint64_t starts[CHUNK_WORDS / 64];

__thread struct ml_walk_seen ml_walk_seen __attribute__((tls_model("initial-exec")));

static void see_chunk(const struct ml_abi *abi, const struct chunk *chunk, const uintptr_t *end)
{
	memset(starts, 0, sizeof(starts));
	for (const uintptr_t *at = first_in_chunk(chunk); at && at < end; at = next_on_data_stack(abi, at)) {
		size_t word = (size_t)(at - chunk->data);
		if (word >= CHUNK_WORDS)
			break;
		starts[word / 64] |= (uint64_t)1 << word % 64;
	}
	ml_walk_seen.chunk = chunk;
}

static bool starts_in_chunk(const struct ml_abi *abi, const struct chunk *chunk, const uintptr_t *end,
			    const uintptr_t *frame)
{
	size_t word = (size_t)(frame - chunk->data);
	const uintptr_t *at;

	if (word < CHUNK_WORDS) {
		if (ml_walk_seen.chunk != chunk)
			see_chunk(abi, chunk, end);
		return starts[word / 64] >> word % 64 & 1;
	}
	/* A chunk that a large frame made large. */
	for (at = first_in_chunk(chunk); at && at < frame;)
		at = next_on_data_stack(abi, at);
	return at == frame;
}

/* Whether a live frame starts at this address on the thread's data stack. */
static bool is_on_data_stack(const struct ml_abi *abi, const void *frame)
{
	const struct chunk *chunk = (const struct chunk *)ml_load_word(ml_walk_seen.thread, abi->is.at.thread_chunk);
	const uintptr_t *end =
		(const uintptr_t *)ml_load_word(ml_walk_seen.thread, abi->is.at.thread_chunk + sizeof(chunk));

	for (unsigned i = 0; chunk && i < MAX_CHUNKS; i++) {
		if ((const uintptr_t *)frame >= chunk->data && (const uintptr_t *)frame < end)
			return starts_in_chunk(abi, chunk, end, frame);
		chunk = chunk->previous;
		if (chunk)
			end = chunk->data + chunk->top;
	}
	return false;
}

/* Where something was when somebody looked, by a hash of the addresses: so that the kernel need not be asked each time
   whether they can be read. */
#define SEEN_BITS 11

struct seen {
	const void *newest, *older;
};

static struct seen seen_codes[1u << SEEN_BITS], seen_generators[1u << SEEN_BITS];

static struct seen *seen_at(struct seen *table, const void *address)
{
	return &table[(uint64_t)(uintptr_t)address * 0x9e3779b97f4a7c15u >> (64 - SEEN_BITS)];
}

static bool is_seen(const struct seen *s, const void *address)
{
	return address && (address == __atomic_load_n(&s->newest, __ATOMIC_RELAXED) ||
			   address == __atomic_load_n(&s->older, __ATOMIC_RELAXED));
}

static void see(struct seen *s, const void *address)
{
	__atomic_store_n(&s->older, __atomic_load_n(&s->newest, __ATOMIC_RELAXED), __ATOMIC_RELAXED);
	__atomic_store_n(&s->newest, address, __ATOMIC_RELAXED);
}

/* Whether this address, which may be anything, is that of a code object. */
static bool is_code(const struct ml_abi *abi, const void *code)
{
	struct seen *s = seen_at(seen_codes, code);

	if (!code || (uintptr_t)code & 7)
		return false;
	if (is_seen(s, code))
		return true;
	if (!ml_is_readable(code, abi->is.code_type_basicsize) || !ml_code_is_one(abi, code))
		return false;
	see(s, code);
	return true;
}

/* Whether this address, which may be anything, is that of the frame in a generator that is on some stack. */
static bool is_in_running_generator(const struct ml_abi *abi, const void *frame)
{
	const struct ml_offsets *at = &abi->is.at;
	const char *generator = (const char *)((uintptr_t)frame - at->generator_frame);
	struct seen *s = seen_at(seen_generators, generator);
	const bool seen = is_seen(s, generator);
	const void *type;

	if (!seen && !ml_is_readable(generator, at->generator_frame + at->frame_size))
		return false;
	type = (const void *)ml_load_word(generator, at->object_type);
	if (type != abi->generator_type && type != abi->coroutine_type && type != abi->async_generator_type)
		return false;
	if (*((const uint8_t *)frame + at->frame_owner) != ML_GENERATOR_OWNER ||
	    *((const int8_t *)generator + at->generator_state) != abi->is.generator_running ||
	    !is_code(abi, ml_frame_code(abi, frame)))
		return false;
	if (!seen)
		see(s, generator);
	return true;
}

/* Whether it looks like a frame on the newest part of the data stack, where nearly all are. */
static bool is_in_newest_chunk(const struct ml_abi *abi, const void *frame)
{
	const uintptr_t *chunk = (const uintptr_t *)ml_load_word(ml_walk_seen.thread, abi->is.at.thread_chunk);
	uintptr_t end = ml_load_word(ml_walk_seen.thread, abi->is.at.thread_chunk + sizeof(chunk));

	return (uintptr_t)frame > (uintptr_t)chunk && (uintptr_t)frame <= end - abi->is.at.frame_size &&
	       !((uintptr_t)frame & 7) && is_code(abi, ml_frame_code(abi, frame));
}

/* Whether what may be a frame has the looks of one. A shim has a code object until 3.12, then None. */
static bool is_whole(const struct ml_abi *abi, const void *frame)
{
	const void *code = ml_frame_code(abi, frame);

	return (code == abi->none && is_shim(abi, frame)) || is_code(abi, code);
}

/*
 * The careful walk. greenlet runs with the C stack of one greenlet and the thread state of another for a moment, in
 * which it calls PyMem_Free. What lies on the C stack then is somebody else's: the _PyCFrame of 3.11 and 3.12, and the
 * shims from 3.12 on. So nothing that was read there is believed: it must be proven to be a live frame by other means.
 * What frames elsewhere say is true.
 */
static const void *checked(const struct ml_abi *abi, uintptr_t stack_pointer, const void *frame, bool believed)
{
	const uintptr_t self = (uintptr_t)pthread_self(), end = ml_walk_stack_end(abi, self, stack_pointer >= self);
	const struct ml_walk_stack stack = ml_walk_stack_below(abi, end);

	if (!frame || (uintptr_t)frame & 7)
		return NULL;
	if (is_on_stack(abi, stack_pointer, frame, abi->is.at.frame_size) && is_shim(abi, frame))
		return frame;
	if (believed && !ml_walk_may_be_left(&stack, frame))
		return frame;
	if (abi->is.at.thread_base && frame == (const void *)ml_load_word(ml_walk_seen.thread, abi->is.at.thread_base))
		return frame;
	return is_on_data_stack(abi, frame) || is_in_running_generator(abi, frame) ? frame : NULL;
}

/*
 * The newest frame on the thread's data stack: where the _PyCFrame is lost, the innermost frame but for generators.
 * One that is made ready for a call is there before it is linked to its caller, with whatever was in that place
 * before.
 */
static const void *newest_on_data_stack(const struct ml_abi *abi, uintptr_t stack_pointer, const void *thread)
{
	const struct chunk *chunk = (const struct chunk *)ml_load_word(thread, abi->is.at.thread_chunk);
	const uintptr_t *end = (const uintptr_t *)ml_load_word(thread, abi->is.at.thread_chunk + sizeof(chunk));
	const uintptr_t *at, *newest = NULL;
	const void *previous;

	if (!chunk)
		return NULL;
	for (at = first_in_chunk(chunk); at && at < end; at = next_on_data_stack(abi, at))
		newest = at;
	if (!newest || at != end)
		return NULL;
	previous = (const void *)ml_load_word(newest, abi->is.at.frame_previous);
	return !previous || checked(abi, stack_pointer, previous, false) ? newest : NULL;
}

const void *ml_walk_previous_careful(const struct ml_abi *abi, const void *frame)
{
	const void *previous = (const void *)ml_load_word(frame, abi->is.at.frame_previous);

	if (!abi->is.at.frame_owner) /* until 3.10 frames are objects on the heap */
		return previous;
	return checked(abi, (uintptr_t)__builtin_frame_address(0), previous,
		       !is_shim(abi, frame) && !ml_frame_is_entry(abi, frame));
}

bool ml_walk_is_frame(const struct ml_abi *abi, const void *frame, bool named)
{
	if (is_in_newest_chunk(abi, frame))
		return true;
	return named ? checked(abi, (uintptr_t)__builtin_frame_address(0), frame, false) != NULL : is_whole(abi, frame);
}

/* A _PyCFrame names the one before it, which is further up on the C stack or, before the first one, in the thread
   state. */
bool ml_walk_is_top(const struct ml_abi *abi, const void *frame)
{
	const struct ml_offsets *at = &abi->is.at;
	const char *thread = ml_walk_seen.thread;
	const uintptr_t cframe = ml_load_word(thread, at->thread_frame), first = (uintptr_t)thread + at->thread_cframe;
	uintptr_t before;

	if (is_in_newest_chunk(abi, frame) || cframe == first)
		return true;
	before = ml_load_word((const void *)cframe, at->cframe_frame + sizeof(frame));
	if (before == first || (before > cframe && is_on_stack(abi, cframe, (const void *)before, 1)))
		return true;
	return ml_is_readable(frame, at->frame_size) && is_whole(abi, frame);
}

/* Whether the thread state is to be left alone: cleared, or one that was left behind when the interpreter ended. */
static bool is_over(const struct ml_abi *abi, const void *thread)
{
	const void *finalizing =
		__atomic_load_n((void *const *)(abi->runtime + abi->is.at.runtime_finalizing), __ATOMIC_RELAXED);

	if (finalizing && finalizing != thread)
		return true;
	return abi->is.cleared && ((uint32_t)ml_load_int(thread, abi->is.at.thread_status) & abi->is.cleared);
}

/* Whether all frames from this one down to the root are proven to be live: then they can be followed without care. */
static bool is_proven(const struct ml_abi *abi, const void *frame)
{
	const void *previous;

	for (unsigned i = 0; i < MAX_PROVEN; i++) {
		previous = ml_walk_previous_careful(abi, frame);
		if (!previous)
			return !ml_load_word(frame, abi->is.at.frame_previous);
		frame = previous;
	}
	return false;
}

/*
 * A thread that runs Python code has its _PyCFrame in a C frame of _PyEval_EvalFrameDefault, on its own stack; any
 * other uses the one in the thread state itself, which has no frame (but for a generator's at times): on the data stack
 * there may be one all the same, made ready for a call and not linked yet. A _PyCFrame that is elsewhere is that of a
 * greenlet that has just been left, or this thread has changed to another stack.
 */
static const void *top_of_cframe(const struct ml_abi *abi, const void *thread, uintptr_t stack_pointer)
{
	const struct ml_offsets *at = &abi->is.at;
	const bool careful = __atomic_load_n(&abi->careful, __ATOMIC_RELAXED);
	const void *cframe = (const void *)ml_load_word(thread, at->thread_frame), *frame = NULL;
	const bool own = cframe == (const char *)thread + at->thread_cframe;
	const bool found = own || is_on_stack(abi, stack_pointer, cframe, at->cframe_frame + sizeof(frame));

	if (found)
		frame = (const void *)ml_load_word(cframe, at->cframe_frame);
	if (found && !careful)
		return frame;
	frame = checked(abi, stack_pointer, frame, false);
	if (frame || own)
		return frame;
	frame = newest_on_data_stack(abi, stack_pointer, thread);
	return frame && (careful || is_proven(abi, frame)) ? frame : NULL;
}

/*
 * Finds the calling thread's thread-local variables that hold its state, the current and the bound one. Where two do,
 * which of them is the current one cannot be told: then neither is taken.
 */
static const void *const *find_thread_local(const struct ml_abi *abi, const void *thread)
{
	const void *const *block = variables(abi), *const *found = NULL;
	size_t n = abi->tls_bytes / sizeof *block;
	uint64_t bits = 0;
	unsigned several = 0;

	if (!block || !ml_is_readable(block, abi->tls_bytes))
		return NULL;
	for (size_t i = 0; i < n; i++) {
		if (block[i] != thread)
			continue;
		several += found != NULL;
		found = &block[i];
		bits |= i < 64 ? (uint64_t)1 << i : 0;
	}
	if (n <= 64 && several && abi->bound_thread() == thread)
		__atomic_store_n(&state_variables, bits, __ATOMIC_RELAXED);
	return several || !abi->tls_stays ? NULL : found;
}

/* The same before there were such variables. */
static const void *const *find_global(const struct ml_abi *abi, const void *thread)
{
	const void *const *word = (const void *const *)(abi->runtime + abi->is.at.runtime_current);

	return abi->is.at.runtime_current && *word == thread ? word : NULL;
}

/* Notes how to get at the thread state next time, where it is the current one. */
static void remember(const struct ml_abi *abi, struct ml_walker *w, const void *thread, uintptr_t stack_pointer)
{
	if ((w->has_looked && w->bound == thread) || abi->current_thread() != thread)
		return;
	if (!w->has_looked)
		w->current = abi->is.current_is_global ? find_global(abi, thread) : find_thread_local(abi, thread);
	w->has_looked = true;
	w->self = (uintptr_t)pthread_self();
	w->on_first_stack = stack_pointer >= w->self;
	w->bound = thread;
}

const void *ml_walk_top_unusual(const struct ml_abi *abi, struct ml_walker *w, uintptr_t stack_pointer)
{
	const void *thread = own_thread(abi, w, stack_pointer), *frame;

	if (!thread) {
		w->stateless = abi->is.at.thread_chunk ? ML_WALK_STATELESS : 0;
		return NULL;
	}
	if (is_over(abi, thread))
		return NULL;
	remember(abi, w, thread, stack_pointer);
	ml_walk_seen = (struct ml_walk_seen){thread, NULL}; /* always: careful may be set while this walk goes on */
	if (abi->is.has_cframe)
		return top_of_cframe(abi, thread, stack_pointer);
	frame = (const void *)ml_load_word(thread, abi->is.at.thread_frame);
	if (__builtin_expect(!__atomic_load_n(&abi->careful, __ATOMIC_RELAXED), 1) || !abi->is.at.frame_owner)
		return frame;
	return checked(abi, stack_pointer, frame, true);
}
