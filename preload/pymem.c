#include "preload/pymem.h"

#include <stddef.h>

#include "preload/monitoring.h"
#include "preload/options.h"
#include "preload/process.h"
#include "preload/record.h"
#include "preload/ring.h"
#include "preload/tree.h"

#define DOMAINS 3

/* How often the hooks of a domain can be replaced and installed again. */
#define INSTALLS 16

/*
 * What our hook calls. Never rewritten once it is installed: CPython keeps copies of the allocators that it finds and
 * puts them back later, so an old hook can come to life again and must find what it replaced.
 */
struct slot {
	struct ml_py_allocator previous;
	enum ml_domain domain;
};

static struct slot slots[DOMAINS][INSTALLS];
static unsigned installed[DOMAINS];
static struct ml_py_arenas arena_slots[INSTALLS];
static unsigned arenas_installed;

_Atomic bool ml_pymem_settled = true;

/* What the calling thread asks for may be its thread state, or the first stack chunk of one. */
static void may_get_state(void)
{
	const struct ml_thread *t = &ml_thread;

	if (t->ring && t->gate == ml_process.generation)
		ml_walk_may_get_state(&t->ring->stack.walker);
}

/*
 * The hooks of what allocates are there several times. caller is NULL but with MEMLINE_NATIVE=full. held: who calls the
 * hook holds the GIL, as for all domains but the raw one, and that is of use.
 */
#define ALWAYS_INLINE inline __attribute__((always_inline))

static ALWAYS_INLINE void *call_malloc(const struct slot *s, size_t size, const void *caller, bool held)
{
	struct ml_thread *t = ml_enter(NULL);
	void *block;

	if (__builtin_expect(!t, 0))
		return s->previous.malloc(s->previous.context, size);
	block = s->previous.malloc(s->previous.context, size);
	if (__builtin_expect(!block, 0))
		ml_stack_doubt(&t->ring->stack); /* it may have been a traceback */
	else if (caller)
		ml_record_alloc(t, s->domain, block, size, caller);
	else
		ml_record_object_alloc(t, s->domain, block, size, held);
	ml_leave(t);
	return block;
}

static ALWAYS_INLINE void *call_calloc(const struct slot *s, size_t count, size_t size, const void *caller)
{
	struct ml_thread *t = ml_enter(NULL);
	void *block = s->previous.calloc(s->previous.context, count, size);

	if (s->domain == ML_DOMAIN_RAW)
		may_get_state();
	if (t) {
		if (block)
			ml_record_alloc(t, s->domain, block, count * size, caller);
		ml_leave(t);
	}
	return block;
}

/* PyMem_Realloc() never frees: a size of 0 is taken as 1. */
static ALWAYS_INLINE void *call_realloc(const struct slot *s, void *old, size_t size, const void *caller)
{
	struct ml_thread *t = ml_enter(NULL);
	void *block;

	if (t && old) {
		ml_record_realloc_begin(t, s->domain, old, caller);
		t->freeing = old;
		t->reallocating = 1;
	}
	block = s->previous.realloc(s->previous.context, old, size);
	if (t) {
		t->freeing = NULL;
		t->reallocating = 0;
		if (old)
			ml_record_realloc_end(t, block ? ML_OUTCOME_DONE : ML_OUTCOME_FAILED, block, size);
		else if (block)
			ml_record_alloc(t, s->domain, block, size, caller);
		ml_leave(t);
	}
	return block;
}

static void *hook_malloc(void *context, size_t size)
{
	return call_malloc(context, size, NULL, false);
}

static void *held_malloc(void *context, size_t size)
{
	return call_malloc(context, size, NULL, true);
}

static void *hook_calloc(void *context, size_t count, size_t size)
{
	return call_calloc(context, count, size, NULL);
}

static void *hook_realloc(void *context, void *old, size_t size)
{
	return call_realloc(context, old, size, NULL);
}

static void *full_malloc(void *context, size_t size)
{
	return call_malloc(context, size, __builtin_return_address(0), false);
}

static void *full_calloc(void *context, size_t count, size_t size)
{
	return call_calloc(context, count, size, __builtin_return_address(0));
}

static void *full_realloc(void *context, void *old, size_t size)
{
	return call_realloc(context, old, size, __builtin_return_address(0));
}

/* A free that finds the guard held, or nothing recorded. */
static __attribute__((noinline)) void pass_free(const struct slot *s, void *block)
{
	const void *outer = ml_thread.freeing;

	if (outer)
		ml_record_nested_free(s->domain, block, NULL);
	s->previous.free(s->previous.context, block);
	ml_thread.freeing = outer;
}

/* code: it may be a code object's block, and nothing but its free tells when that goes. */
static ALWAYS_INLINE void call_free(const struct slot *s, void *block, bool held, bool code)
{
	struct ml_thread *t = ml_enter(NULL);

	if (code)
		ml_tree_object_freed(block, t != NULL);
	if (__builtin_expect(!t, 0)) {
		pass_free(s, block);
		return;
	}
	if (__builtin_expect(block != NULL, 1))
		ml_record_object_free(t, s->domain, block, held);
	t->freeing = block;
	s->previous.free(s->previous.context, block);
	t->freeing = NULL;
	ml_leave(t);
}

static void hook_free(void *context, void *block)
{
	call_free(context, block, false, false);
}

static void held_free(void *context, void *block)
{
	call_free(context, block, true, false);
}

static void code_free(void *context, void *block)
{
	call_free(context, block, false, true);
}

/* An arena is mostly made for an object, while the guard is held for that one. */
static struct ml_thread *enter_arena(bool *nested)
{
	struct ml_thread *t = &ml_thread;

	*nested = t->busy == ML_IN_CALL && t->gate == atomic_load_explicit(&ml_wiped->gate, memory_order_relaxed);
	return *nested ? t : ml_enter(NULL);
}

static void *hook_arena_alloc(void *context, size_t size)
{
	const struct ml_py_arenas *previous = context;
	bool nested;
	struct ml_thread *t = enter_arena(&nested);
	void *arena = previous->alloc(previous->context, size);

	may_get_state();
	if (t && arena)
		ml_record_arena(t, 0, arena, size);
	if (t && !nested)
		ml_leave(t);
	return arena;
}

static void hook_arena_free(void *context, void *arena, size_t size)
{
	const struct ml_py_arenas *previous = context;
	bool nested;
	struct ml_thread *t = enter_arena(&nested);

	if (t && arena)
		ml_record_arena(t, 1, arena, size);
	previous->free(previous->context, arena, size);
	if (t && !nested)
		ml_leave(t);
}

static bool is_ours(const struct ml_py_allocator *a)
{
	return a->malloc == hook_malloc || a->malloc == held_malloc || a->malloc == full_malloc;
}

/*
 * Whether an allocator of CPython's own is tracemalloc's on top of ours: its context is then a copy of our hook
 * (Modules/_tracemalloc.c, since 3.13 Python/tracemalloc.c). We stay below it: above, our guard would hide what it
 * allocates for itself, but not what it frees when it is stopped.
 */
static bool stands_on_ours(const struct ml_py_allocator *a)
{
	uintptr_t context = (uintptr_t)a->context;

	return context >= ml_process.python_start && context + sizeof *a <= ml_process.python_end && !(context & 7) &&
	       is_ours((const struct ml_py_allocator *)context);
}

/* Whether code objects are of this domain, and nothing but their free tells when they go. */
static bool has_code(enum ml_domain domain)
{
	return domain == ML_DOMAIN_OBJ && !ml_process.abi.is.at.code_version;
}

/* The hooks of a domain, with the context that they get. */
static struct ml_py_allocator hooks_of(enum ml_domain domain, void *context)
{
	struct ml_py_allocator hooks = {context, hook_malloc, hook_calloc, hook_realloc, hook_free};

	if (domain != ML_DOMAIN_RAW && ml_walk_can_be_held(&ml_process.abi)) {
		hooks.malloc = held_malloc;
		hooks.free = held_free;
	}
	if (has_code(domain))
		hooks.free = code_free;
	if (ml_options.native == ML_NATIVE_FULL) {
		hooks.malloc = full_malloc;
		hooks.calloc = full_calloc;
		hooks.realloc = full_realloc;
	}
	return hooks;
}

static void install(enum ml_domain domain)
{
	unsigned d = domain - ML_DOMAIN_RAW;
	struct slot *s = &slots[d][installed[d]];
	struct ml_py_allocator hooks = hooks_of(domain, s);

	if (installed[d] == INSTALLS)
		return;
	ml_process.abi.get_allocator((int)d, &s->previous);
	if (is_ours(&s->previous) || stands_on_ours(&s->previous))
		return;
	s->domain = domain;
	installed[d]++;
	ml_process.abi.set_allocator((int)d, &hooks);
	if (has_code(domain))
		ml_tree_sees_frees();
}

static void install_arenas(void)
{
	struct ml_py_arenas *previous = &arena_slots[arenas_installed];
	struct ml_py_arenas hook = {previous, hook_arena_alloc, hook_arena_free};

	if (arenas_installed == INSTALLS)
		return;
	ml_process.abi.get_arenas(previous);
	if (previous->alloc == hook_arena_alloc)
		return;
	arenas_installed++;
	ml_process.abi.set_arenas(&hook);
}

static void install_all(void)
{
	if (ml_options.objects)
		for (int domain = ML_DOMAIN_RAW; domain <= ML_DOMAIN_OBJ; domain++)
			install((enum ml_domain)domain);
	install_arenas();
}

/* The thread in which the interpreter starts, as far as that can be told. */
static struct ml_thread *_Atomic starter;

static bool may_replace(struct ml_thread *t, const void *caller)
{
	uintptr_t at = (uintptr_t)caller;

	if (at >= ml_process.python_start && at < ml_process.python_end)
		atomic_store(&starter, t);
	return atomic_load(&starter) == t;
}

void ml_pymem_start(bool now)
{
	if (now) {
		atomic_store(&starter, &ml_thread);
		install_all();
	}
	atomic_store(&ml_pymem_settled, now && ml_process.abi.is_initialized() != 0);
}

/* One thread at a time: two could give a slot the hook itself as its predecessor. */
void ml_pymem_check(struct ml_thread *t, const void *caller)
{
	static _Atomic bool installing;
	bool initialized;

	if (!may_replace(t, caller) || atomic_exchange(&installing, true))
		return;
	initialized = ml_process.abi.is_initialized() != 0;
	install_all();
	if (initialized) {
		atomic_store(&ml_pymem_settled, true);
		ml_monitoring_poll();
	}
	atomic_store(&installing, false);
}
