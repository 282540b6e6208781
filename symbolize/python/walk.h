/*
 * The Python frames of the calling thread, innermost first. Nothing is copied: a frame is the address of CPython's own
 * struct, and is good until the thread goes on. Use:
 *
 *	for (frame = ml_walk_top(abi, walker, stack_pointer); frame; frame = ml_frame_previous(abi, frame)) {
 *		const void *code = ml_frame_code(abi, frame);
 *		switch (ml_frame_kind(abi, frame, code)) { ... }
 *		place = ml_frame_place(abi, code, ml_frame_instr(abi, frame));
 *	}
 *
 * The caller bounds the length. code may be anything until ml_frame_kind() has said ML_FRAME_PYTHON.
 */
#ifndef ML_SYMBOLIZE_PYTHON_WALK_H
#define ML_SYMBOLIZE_PYTHON_WALK_H

#include "symbolize/python/abi.h"

enum ml_frame_kind {
	ML_FRAME_PYTHON,
	ML_FRAME_SHIM, /* runs no code of the program: pass over it, and don't count it */
	ML_FRAME_BAD,  /* not a frame: stop */
};

/*
 * A C++ exception or a longjmp() that passes over C calls of the interpreter takes no frame off the thread state. Until
 * a call or return of Python code does so, frames of these C calls are still named, and so is, in 3.11 and 3.12, a
 * _PyCFrame; and what was on the C stack, the _PyCFrame and from 3.12 on shims, has anything in its place. So a frame
 * that is there is in doubt, and what is named there: a shim's caller, and until 3.12 the innermost frame. In 3.11 the
 * first frame of a C call has its caller from the _PyCFrame before, so that this one is in doubt, too.
 */
struct ml_walk_stack {
	uintptr_t start, bytes; /* of a thread's C stack, or a little more; bytes is 0 where no frame is in doubt */
};

/* What a thread remembers from one walk to the next: how to get at its thread state without a call. Starts as zero, in
   each thread. */
struct ml_walker {
	/* The variable of CPython's that holds the current state, from 3.12 on one for each thread; NULL: not found. */
	const void *const *current;
	const void *bound;   /* before 3.12: the state that was first bound to this thread. May be gone */
	uintptr_t self;      /* pthread_self() */
	bool has_looked;     /* for current */
	bool on_first_stack; /* it was the process's first thread's that was in use then */
	/* Walks that need not look for a thread state, since there was none: see ml_walk_may_get_state(). */
	uint32_t stateless;
};

/* Walks after which a thread without a thread state is looked at again in any case. */
#define ML_WALK_STATELESS 1024u

/*
 * Is to be told of each stack chunk and each block of PyMem_RawCalloc that the calling thread asks for: from 3.11 on a
 * thread state is made by the one, and gets the other before its first function runs (new_threadstate and push_chunk,
 * Python/pystate.c), so that until then a thread that had none has none.
 */
static inline void ml_walk_may_get_state(struct ml_walker *w)
{
	w->stateless = 0;
}

/* Whether the calling thread is known to have no thread state, and so no Python frame. */
static inline bool ml_walk_is_stateless(struct ml_walker *w)
{
	return __builtin_expect(w->stateless != 0, 0) && w->stateless--;
}

/* What the walk that goes on now has found out, for ml_walk_previous_careful(). */
struct ml_walk_seen {
	const void *thread;
	const void *chunk; /* of the data stack: the one that starts is about, or NULL */
};

extern __thread struct ml_walk_seen ml_walk_seen __attribute__((tls_model("initial-exec"), visibility("hidden")));

/* ml_frame_previous() where abi->careful: of the walk that the thread's last ml_walk_top() began. */
const void *ml_walk_previous_careful(const struct ml_abi *abi, const void *frame);

static inline uintptr_t ml_load_word(const void *object, uint32_t offset)
{
	return *(const uintptr_t *)((const char *)object + offset);
}

static inline int32_t ml_load_int(const void *object, uint32_t offset)
{
	return *(const int32_t *)((const char *)object + offset);
}

/* What tells a code object from others at its address, where there is that: see code_version. 0: they have run out. */
static inline uint32_t ml_code_version(const struct ml_abi *abi, const void *code)
{
	return (uint32_t)ml_load_int(code, abi->is.at.code_version);
}

/*
 * Above the calling thread's C stack. glibc keeps a thread's descriptor, which pthread_self() points to, at the upper
 * end of its stack (nptl/allocatestack.c); but the first thread's stack is the kernel's, above all that is mapped
 * later.
 */
static inline uintptr_t ml_walk_stack_end(const struct ml_abi *abi, uintptr_t self, bool is_first)
{
	return is_first ? abi->main_stack_end : self;
}

/* Whether an object of so many bytes lies in the live part of the calling thread's C stack. */
static inline bool ml_walk_is_on_stack(const struct ml_abi *abi, uintptr_t self, uintptr_t stack_pointer,
				       const void *object, size_t bytes)
{
	uintptr_t end = ml_walk_stack_end(abi, self, stack_pointer >= self);

	return (uintptr_t)object >= stack_pointer && (uintptr_t)object <= end && end - (uintptr_t)object >= bytes &&
	       !((uintptr_t)object & 7);
}

/* What the variable says that the walker has found; NULL: there is none, or no current state. */
static inline const void *ml_walk_current(const struct ml_walker *w)
{
	return w->current ? __atomic_load_n(w->current, __ATOMIC_RELAXED) : NULL;
}

/*
 * The thread state that the calling thread runs with, where that can be told at once. Before 3.12 the current state is
 * that of whoever holds the GIL: it is in use, so it can be read, and says whose it is.
 */
static inline const void *ml_walk_thread(const struct ml_abi *abi, const struct ml_walker *w)
{
	const void *thread = ml_walk_current(w);

	if (thread && abi->is.current_is_global &&
	    (thread != w->bound || ml_load_word(thread, abi->is.at.thread_id) != w->self))
		return NULL;
	return thread;
}

/* ml_walk_top() without a call; NULL where anything is unusual. There has to be an ml_walk_begin() before a frame is
   asked for its caller. */
static inline const void *ml_walk_top_quick(const struct ml_abi *abi, const struct ml_walker *w,
					    uintptr_t stack_pointer)
{
	const struct ml_offsets *at = &abi->is.at;
	const void *thread = ml_walk_thread(abi, w), *cframe;

	if (__builtin_expect(!thread || __atomic_load_n(&abi->careful, __ATOMIC_RELAXED) || ml_abi_finalizing(abi), 0))
		return NULL;
	if (__builtin_expect(abi->is.cleared & (uint32_t)ml_load_int(thread, at->thread_status), 0))
		return NULL;
	if (!abi->is.has_cframe)
		return (const void *)ml_load_word(thread, at->thread_frame);
	cframe = (const void *)ml_load_word(thread, at->thread_frame);
	if (__builtin_expect(!ml_walk_is_on_stack(abi, w->self, stack_pointer, cframe, at->cframe_frame + 8), 0))
		return NULL;
	return (const void *)ml_load_word(cframe, at->cframe_frame);
}

/*
 * ml_walk_top_quick() for a thread that is known to hold the GIL, where ml_walk_can_be_held(): its state is in use, and
 * the interpreter has not ended for it.
 */
static inline const void *ml_walk_top_held(const struct ml_abi *abi, const struct ml_walker *w)
{
	const void *thread = ml_walk_current(w);

	if (__builtin_expect(!thread || __atomic_load_n(&abi->careful, __ATOMIC_RELAXED), 0))
		return NULL;
	return (const void *)ml_load_word(thread, abi->is.at.thread_frame);
}

/* Whether ml_walk_top_held() may be used by who holds the GIL. */
static inline bool ml_walk_can_be_held(const struct ml_abi *abi)
{
	return !abi->is.has_cframe && !abi->is.current_is_global;
}

/* careful may be set while the walk goes on. */
static inline void ml_walk_begin(const struct ml_abi *abi, const struct ml_walker *w)
{
	ml_walk_seen = (struct ml_walk_seen){ml_walk_thread(abi, w), NULL};
}

/* ml_walk_top() where ml_walk_top_quick() gives NULL and the thread may have a state. */
const void *ml_walk_top_unusual(const struct ml_abi *abi, struct ml_walker *w, uintptr_t stack_pointer);

/*
 * The innermost frame of the calling thread, a shim maybe. NULL where there is none: no Python code on the stack, no
 * thread state, one that is finalized, or a chain that cannot be trusted now. Works with and without the GIL.
 * stack_pointer: any address in the C frame of the caller or below. The caller's recursion guard must be on: before any
 * thread state has been found, the loader may allocate libpython's thread-local variables for a thread that asks.
 */
static inline const void *ml_walk_top(const struct ml_abi *abi, struct ml_walker *w, uintptr_t stack_pointer)
{
	const void *frame = ml_walk_top_quick(abi, w, stack_pointer);

	if (frame)
		ml_walk_begin(abi, w);
	return frame || ml_walk_is_stateless(w) ? frame : ml_walk_top_unusual(abi, w, stack_pointer);
}

/* So far below its upper end a C stack is looked at. */
#define ML_WALK_STACK_BYTES ((uintptr_t)8 << 20)

static inline struct ml_walk_stack ml_walk_stack_below(const struct ml_abi *abi, uintptr_t end)
{
	return (struct ml_walk_stack){end - ML_WALK_STACK_BYTES, abi->is.shim_owner ? ML_WALK_STACK_BYTES : 0};
}

/* Of a walker that has looked: in no other stack anything has been left. */
static inline struct ml_walk_stack ml_walk_stack(const struct ml_abi *abi, const struct ml_walker *w)
{
	if (!w->has_looked)
		return (struct ml_walk_stack){0, 0};
	return ml_walk_stack_below(abi, ml_walk_stack_end(abi, w->self, w->on_first_stack));
}

/* Whether a frame is on the C stack, or was. */
static inline bool ml_walk_may_be_left(const struct ml_walk_stack *stack, const void *frame)
{
	return (uintptr_t)frame - stack->start < stack->bytes;
}

/* 3.11: whether a C call of the interpreter began with this frame. */
static inline bool ml_frame_is_entry(const struct ml_abi *abi, const void *frame)
{
	return abi->is.at.frame_entry && *((const uint8_t *)frame + abi->is.at.frame_entry);
}

/* Whether what may be anything is a frame: one that may be left, or what is in doubt otherwise (named). */
bool ml_walk_is_frame(const struct ml_abi *abi, const void *frame, bool named);

/* Until 3.12: whether the innermost frame is one. */
bool ml_walk_is_top(const struct ml_abi *abi, const void *frame);

/* The frame that called this one, or NULL. */
static inline const void *ml_frame_previous(const struct ml_abi *abi, const void *frame)
{
	if (__builtin_expect(__atomic_load_n(&abi->careful, __ATOMIC_RELAXED), 0))
		return ml_walk_previous_careful(abi, frame);
	return (const void *)ml_load_word(frame, abi->is.at.frame_previous);
}

static inline const void *ml_frame_code(const struct ml_abi *abi, const void *frame)
{
	return (const void *)(ml_load_word(frame, abi->is.at.frame_code) & abi->is.code_mask);
}

/* A word that is another one when the frame has moved on in its code; from 3.11 an address inside the code object. */
static inline uintptr_t ml_frame_instr(const struct ml_abi *abi, const void *frame)
{
	if (abi->is.instr_unit)
		return (uintptr_t)(intptr_t)ml_load_int(frame, abi->is.at.frame_instr);
	return ml_load_word(frame, abi->is.at.frame_instr);
}

/*
 * Offset of the instruction in the bytecode, in bytes, as struct ml_node wants it. -1: the frame hasn't begun to run
 * its own code (it is making its cells, say), so that its line is the first one.
 */
static inline int64_t ml_frame_place(const struct ml_abi *abi, const void *code, uintptr_t instr)
{
	const struct ml_offsets *at = &abi->is.at;
	int64_t place;

	if (abi->is.instr_unit)
		return (intptr_t)instr < 0 ? -1 : (int64_t)instr * abi->is.instr_unit;
	place = (int64_t)(instr - ((uintptr_t)code + at->code_bytes));
	if (place < 2 * (int64_t)ml_load_int(code, at->code_first_traceable) ||
	    place >= 2 * (int64_t)ml_load_word(code, at->object_size))
		return -1;
	return place;
}

/* Code objects cannot be subclassed, so that their type is proof. */
static inline bool ml_code_is_one(const struct ml_abi *abi, const void *code)
{
	return code && !((uintptr_t)code & 7) &&
	       (const void *)ml_load_word(code, abi->is.at.object_type) == abi->code_type;
}

/* _Py_InitCleanup (Python/specialize.c, Objects/codeobject.c) is no exported symbol in 3.13. It has no line, and one
   object is both its names and its file name. */
static inline bool ml_code_is_init_shim(const struct ml_abi *abi, const void *code)
{
	const struct ml_offsets *at = &abi->is.at;

	return ((uint32_t)ml_load_int(code, at->code_flags) & abi->is.init_shim) &&
	       ml_load_int(code, at->code_first_line) <= 0 &&
	       ml_load_word(code, at->code_file) == ml_load_word(code, at->code_name);
}

/* frame_owner of a frame that lies in its generator: FRAME_OWNED_BY_GENERATOR of enum _frameowner
   (Include/internal/pycore_frame.h, 3.11 to 3.15). */
#define ML_GENERATOR_OWNER 1

/* The generator, coroutine or asynchronous generator whose frame it is, or NULL. Of a frame that is on the stack. */
static inline const void *ml_frame_generator(const struct ml_abi *abi, const void *frame)
{
	const struct ml_offsets *at = &abi->is.at;

	if (at->frame_generator)
		return (const void *)ml_load_word(frame, at->frame_generator);
	return *((const uint8_t *)frame + at->frame_owner) == ML_GENERATOR_OWNER
		       ? (const char *)frame - at->generator_frame
		       : NULL;
}

static inline enum ml_frame_kind ml_frame_kind(const struct ml_abi *abi, const void *frame, const void *code)
{
	if (abi->is.shim_owner && *((const uint8_t *)frame + abi->is.at.frame_owner) >= abi->is.shim_owner)
		return ML_FRAME_SHIM;
	if (!ml_code_is_one(abi, code))
		return ML_FRAME_BAD;
	if (ml_code_is_init_shim(abi, code))
		return ML_FRAME_SHIM;
	return ML_FRAME_PYTHON;
}

#endif
