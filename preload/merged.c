#include "preload/merged.h"

#include <pthread.h>
#include <sys/auxv.h>

#include "preload/process.h"
#include "preload/stack.h"
#include "preload/sys.h"
#include "preload/tree.h"
#include "symbolize/readable.h"

#define NONE UINT32_MAX

/* Frames of one chain. A deeper stack is told as its Python frames and the caller of the allocator. */
#define DEPTH_MAX (1u << 17)
#define FIRST_ROOM 32u

/* Events after which such a stack is looked at again. */
#define BLIND 4096u

/* Frames that are compared at each event, but all of them at every ML_STACK_WHOLE-th. */
#define VERIFIED 1024u
#define VERIFIED_RUNS 256u

/* Native frames that keep their order on top of a Python frame that is too far from the root to keep its own place. */
#define LOOSE 64u

/* How far down a thread's own stack is looked for. */
#define STACK_MAX ((uintptr_t)1 << 30)

/* Where the next frame goes. */
struct top {
	uint32_t node;   /* of the stack so far */
	uint32_t shown;  /* its frames */
	uint32_t deeper; /* <deeper> on the one that is ML_STACK_NODES from the root, once there are more; */
	uint32_t python; /* the last one that is a Python frame on that, or 0, */
	uint32_t loose;  /* and how many native ones are on top of it */
};

/*
 * Where words have to stand if a link is still to lead to the one below: the return address and, where that matters
 * further down, the frame pointer, else the same again. If the link is unsteady the first one is made wrong.
 */
struct lead {
	const uintptr_t *slot[2];
	uintptr_t word[2];
};

/* A native frame. */
struct link {
	struct ml_unwind_frame at;
	/* As in struct ml_unwind_step, of the way to the link below. */
	const uintptr_t *pc_slot;
	uintptr_t pc_word;
	const uintptr_t *fp_slot;
	bool by_fp, unsteady;
	bool fp_matters; /* this link or one further down leads on by the frame pointer that this one has */
	bool eval;       /* it runs Python code, */
	bool ours;       /* it is a function of this library, and is not shown */
	uint32_t evals;  /* those that run Python code, from the root up to here */
	struct top top;  /* with this frame, if it is shown */
};

/* Python frames that belong to one native frame, or (the first run) to none. */
struct run {
	uint32_t above; /* the link behind that of the native frame */
	uint32_t start; /* first and one past the last, in the chain of Python frames */
	uint32_t end;
	uint32_t node;     /* of the last one, among stacks of Python frames alone */
	const void *frame; /* the first one */
	struct top top;    /* with the last one */
};

/* What was made of a Python frame. It holds as long as the frame, with all its callers, is in a run that starts at that
   frame on that top. */
struct shadow {
	uint32_t node; /* among stacks of Python frames alone */
	uint32_t start;
	uint32_t parent;
	struct top top;
};

struct ml_merged {
	struct link *links;     /* root first */
	struct lead *leads;     /* of each of them */
	struct link *walked;    /* what is unwound anew, innermost first */
	struct run *runs;       /* root first */
	struct shadow *shadows; /* by index in the chain of Python frames */
	uint32_t depth, room;
	uint32_t walked_n, runs_n, shadows_room;
	uint32_t base;        /* the first link that is shown */
	struct top root;      /* what the link at base stands on */
	enum ml_unwind ended; /* how the chain ended at the root */
	bool passing;         /* it cannot be compared with: not all of it lies on the thread's own stack */
	uint32_t epoch;       /* of the modules */
	uint32_t countdown, runs_countdown, blind;
	struct ml_unwind_stack own;       /* the thread's stack as far as it is known */
	struct ml_unwind_stack elsewhere; /* that which is in use instead */
};

/* The code of the interpreter's function that runs Python code. */
static struct ml_unwind_range eval[2];

/* This library's code. */
static uintptr_t here_start, here_end;

static const struct ml_abi *abi(void)
{
	return &ml_process.abi;
}

void ml_merged_start(void *function)
{
	const struct ml_module *here = ml_modules_at(&ml_process.modules, (uintptr_t)ml_merged_start);

	if (here) {
		here_start = here->start;
		here_end = here->end;
	}
	if (!function)
		return;
	eval[0] = ml_unwind_function(&ml_process.modules, (uintptr_t)function);
	eval[1] = ml_unwind_cold(&ml_process.modules, eval[0]);
}

static bool is_in(const struct ml_unwind_range *range, uintptr_t pc)
{
	return pc - 1 - range->start < range->end - range->start;
}

#define EACH (2 * sizeof(struct link) + sizeof(struct lead) + sizeof(struct run))

static bool grow(struct ml_merged *c)
{
	struct ml_merged old = *c;
	uint32_t room = c->room ? c->room * 2 : FIRST_ROOM;
	struct link *links = room <= DEPTH_MAX ? ml_sys_pages(room * EACH) : NULL;

	if (!links)
		return false;
	c->room = room;
	c->links = links;
	c->walked = c->links + room;
	c->leads = (struct lead *)(c->walked + room);
	c->runs = (struct run *)(c->leads + room);
	if (!old.room)
		return true;
	__builtin_memcpy(c->links, old.links, c->depth * sizeof *links);
	__builtin_memcpy(c->leads, old.leads, c->depth * sizeof *c->leads);
	__builtin_memcpy(c->walked, old.walked, c->walked_n * sizeof *c->walked);
	__builtin_memcpy(c->runs, old.runs, c->runs_n * sizeof *c->runs);
	ml_sys_munmap(old.links, old.room * EACH);
	return true;
}

/*
 * Whether an address is on the stack that the thread was started with. That ends where the thread's descriptor is
 * (nptl/allocatestack.c) or, for the first thread, where the kernel's data starts. Downwards it goes on as far as there
 * is no gap, and there is one: glibc's guard, the kernel's.
 */
static bool is_on_own_stack(struct ml_merged *c, uintptr_t sp)
{
	struct ml_unwind_stack *own = &c->own;

	if (__builtin_expect(sp - own->start < own->end - own->start, 1))
		return true;
	if (!own->end) {
		bool is_first = ml_sys_gettid() == ml_process.pid;
		own->end = (is_first ? getauxval(AT_RANDOM) : (uintptr_t)pthread_self()) & ~(uintptr_t)7;
		own->start = own->end & ~(uintptr_t)(ML_PAGE_BYTES - 1);
	}
	if (sp >= own->end || own->end - sp > STACK_MAX)
		return false;
	for (; own->start > sp; own->start -= ML_PAGE_BYTES)
		if (!ml_is_readable((const void *)(own->start - ML_PAGE_BYTES), 1))
			return false;
	return true;
}

/* Whether what the link says holds for the frame. */
static inline bool is_same(const struct link *l, const struct ml_unwind_frame *at)
{
	return l->at.pc == at->pc && l->at.sp == at->sp && (l->at.fp == at->fp || !l->fp_matters);
}

/* Whether an unsteady link still leads to the one below. */
static __attribute__((noinline)) bool leads_unsteadily(struct ml_merged *c, uint32_t index)
{
	struct ml_unwind_step step;

	return c->links[index].unsteady &&
	       ml_unwind_step(&ml_process.modules, &c->own, &c->links[index].at, &step) == ML_UNWIND_CALLER &&
	       is_same(&c->links[index - 1], &step.caller);
}

/* 0 if the words are there. */
static inline uintptr_t difference(const struct lead *l)
{
	return (*l->slot[0] ^ l->word[0]) | (*l->slot[1] ^ l->word[1]);
}

/* The first link from index downwards that no longer leads to the one below; 0: there is none. */
static uint32_t compare(struct ml_merged *c, uint32_t index)
{
	const struct lead *leads = c->leads;
	uint32_t last = 0;

	if (index > VERIFIED && --c->countdown)
		last = index - VERIFIED;
	else if (index > VERIFIED)
		c->countdown = ML_STACK_WHOLE;
	for (;;) {
		while (index >= last + 4 && !(difference(&leads[index]) | difference(&leads[index - 1]) |
					      difference(&leads[index - 2]) | difference(&leads[index - 3])))
			index -= 4;
		while (index > last && !difference(&leads[index]))
			index--;
		if (index == last)
			return 0;
		if (!leads_unsteadily(c, index))
			return index;
		index--;
	}
}

/*
 * The frames of the chain from the link at from down to the one at to are still there: they are kept. at, the first of
 * them, becomes the last one, with the frame pointer that it has now: the chain need not know that.
 */
static bool keep(struct ml_merged *c, uint32_t from, uint32_t to, struct ml_unwind_frame *at)
{
	while (c->walked_n + from - to + 1 > c->room)
		if (!grow(c))
			return false;
	for (;; from--) {
		struct link *l = &c->walked[c->walked_n++];
		*l = c->links[from];
		l->at.fp = at->fp;
		*at = l->at;
		if (from == to)
			return true;
		if (l->fp_slot)
			at->fp = *l->fp_slot;
	}
}

static enum ml_unwind step_down(struct ml_unwind_stack *stack, const struct ml_unwind_frame *at,
				struct ml_unwind_step *step)
{
	enum ml_unwind result = ml_unwind_step(&ml_process.modules, stack, at, step);

	if (__builtin_expect(result == ML_UNWIND_UNKNOWN, 0) && ml_process_new_module_at(at->pc - 1))
		result = ml_unwind_step(&ml_process.modules, stack, at, step);
	return result;
}

/* Appends a frame that is new. */
static bool add(struct ml_merged *c, const struct ml_unwind_frame *at)
{
	if (c->walked_n == c->room && !grow(c))
		return false;
	c->walked[c->walked_n++] = (struct link){.at = *at,
						 .eval = is_in(&eval[0], at->pc) || is_in(&eval[1], at->pc),
						 .ours = at->pc - here_start < here_end - here_start};
	return true;
}

static void set_way(struct link *l, const struct ml_unwind_step *step)
{
	l->pc_slot = step->pc_slot;
	l->pc_word = step->pc_word;
	l->fp_slot = step->fp_slot;
	l->by_fp = step->by_fp;
	l->unsteady = step->unsteady;
}

/* Puts what was walked on top of the links that stay. */
static void put_on_top(struct ml_merged *c, uint32_t kept)
{
	for (c->depth = kept; c->walked_n; c->depth++) {
		struct link *l = &c->links[c->depth], *below = c->depth ? l - 1 : NULL;
		struct lead *lead = &c->leads[c->depth];

		*l = c->walked[--c->walked_n];
		l->evals = (below ? below->evals : 0) + l->eval;
		l->fp_matters = l->by_fp || (below && !l->fp_slot && below->fp_matters);
		if (!below)
			continue;
		*lead = (struct lead){{l->pc_slot, l->pc_slot}, {l->pc_word ^ l->unsteady, l->pc_word}};
		if (l->fp_slot && below->fp_matters) {
			lead->slot[1] = l->fp_slot;
			lead->word[1] = below->at.fp;
		}
	}
}

/*
 * Unwinds from the frame on, until the stack is what the chain has of it. Gives the number of links that stay; NONE: it
 * is too deep.
 */
static uint32_t unwind(struct ml_merged *c, struct ml_unwind_frame at, bool own)
{
	struct ml_unwind_stack below, *stack = &c->own;
	uint32_t left = c->depth, lowest;
	struct ml_unwind_step step;
	enum ml_unwind result;

	if (!own)
		stack = &c->elsewhere;
	for (c->walked_n = 0;;) {
		while (left && c->links[left - 1].at.sp < at.sp)
			left--;
		if (left && is_same(&c->links[left - 1], &at)) {
			lowest = compare(c, left - 1);
			if (!lowest)
				return left;
			if (!keep(c, left - 1, lowest, &at))
				return NONE;
			left = lowest;
		} else if (!add(c, &at)) {
			return NONE;
		}
		result = step_down(stack, &at, &step);
		if (result != ML_UNWIND_CALLER) {
			c->ended = result;
			return 0;
		}
		set_way(&c->walked[c->walked_n - 1], &step);
		at = step.caller;
		if (!step.signal)
			continue;
		c->passing = true;
		stack = &c->own;
		if (!is_on_own_stack(c, at.sp)) {
			ml_unwind_stack_at(&below, at.sp);
			stack = &below;
		}
	}
}

/* Brings the chain up to date. Gives the number of links from the root that are as they were; NONE: it is too deep. */
static __attribute__((noinline)) uint32_t follow(struct ml_merged *c)
{
	const struct ml_unwind_frame at = ml_unwind_here();
	const uint32_t epoch = ml_modules_epoch(&ml_process.modules);
	const bool own = is_on_own_stack(c, at.sp);
	uint32_t kept;

	/* What was loaded where a module was may have frames at the same places. */
	if (__builtin_expect(c->epoch != epoch || c->passing || !own, 0))
		c->depth = 0;
	c->epoch = epoch;
	c->passing = !own;
	c->elsewhere = (struct ml_unwind_stack){.end = 0};
	if (!own)
		ml_unwind_stack_at(&c->elsewhere, at.sp);
	if (c->depth && is_same(&c->links[c->depth - 1], &at) && !compare(c, c->depth - 1))
		return c->depth;
	kept = unwind(c, at, own);
	if (kept == NONE || kept + c->walked_n > DEPTH_MAX) {
		c->depth = 0;
		return NONE;
	}
	while (kept + c->walked_n > c->room)
		if (!grow(c))
			return NONE;
	put_on_top(c, kept);
	return kept;
}

static bool is_on_c_stack(const struct ml_merged *c, uintptr_t address)
{
	return address - c->own.start < c->own.end - c->own.start ||
	       address - c->elsewhere.start < c->elsewhere.end - c->elsewhere.start;
}

/*
 * Whether the Python frame is the first one of a C call of the interpreter. From 3.12 on that is a shim in the C frame.
 * Of the frames nothing is read before: those further down than what is compared at each event may be gone.
 */
static bool is_entry(const struct ml_merged *c, const struct ml_stack *s, uint32_t index)
{
	const void *frame = s->spots[index].frame;

	if (abi()->is.shim_owner)
		return is_on_c_stack(c, (uintptr_t)frame);
	return !abi()->is.at.frame_entry || ml_frame_is_entry(abi(), frame);
}

/* The link whose C frame holds the address, from index on; c->depth: there is none. */
static uint32_t find_holder(const struct ml_merged *c, uint32_t index, uintptr_t address)
{
	while (index < c->depth && c->links[index].at.sp > address)
		index++;
	return index && c->links[index - 1].at.sp > address ? index : c->depth;
}

/* Whether the C call of a run is still there, where links from kept on are new: the place in its function that it has
   come to does not matter. */
static bool is_standing(const struct ml_merged *c, const struct run *r, uint32_t kept)
{
	if (r->above <= kept)
		return true;
	if (r == c->runs || r->above > kept + 1 || r->above > c->depth)
		return false;
	if (abi()->is.shim_owner)
		return find_holder(c, kept, (uintptr_t)r->frame) == kept;
	return c->links[kept].eval;
}

static bool is_valid(const struct ml_merged *c, const struct ml_stack *s, uint32_t frames, uint32_t kept,
		     const struct run *r)
{
	if (r->end > frames || (r->end < frames && !is_entry(c, s, r->end)) || !is_standing(c, r, kept))
		return false;
	return r->start == r->end || (s->spots[r->start].frame == r->frame && s->links[r->end - 1].node == r->node);
}

/* The runs that are as they were, where links from kept on are new. As with frames, not all are looked at. */
static uint32_t count_valid(struct ml_merged *c, const struct ml_stack *s, uint32_t frames, uint32_t kept)
{
	uint32_t n = 0;

	if (c->runs_n > VERIFIED_RUNS && --c->runs_countdown)
		n = c->runs_n - VERIFIED_RUNS;
	else
		c->runs_countdown = ML_STACK_WHOLE;
	if (n && !is_valid(c, s, frames, kept, &c->runs[n]))
		n = 0;
	while (n < c->runs_n && is_valid(c, s, frames, kept, &c->runs[n]))
		n++;
	return n;
}

static void start_run(struct ml_merged *c, uint32_t above, uint32_t start)
{
	if (c->runs_n)
		c->runs[c->runs_n - 1].end = start;
	c->runs[c->runs_n++] = (struct run){.above = above, .start = start};
}

/* Runs from 3.12 on: the shim at the start of each tells by its address to which C frame it belongs. */
static void match_by_address(struct ml_merged *c, const struct ml_stack *s, uint32_t from, uint32_t frames,
			     uint32_t index)
{
	uint32_t holder;

	for (; from < frames && c->runs_n < c->room; from++) {
		if (!is_entry(c, s, from))
			continue;
		holder = find_holder(c, index, (uintptr_t)s->spots[from].frame);
		if (holder == c->depth)
			continue;
		index = holder + 1;
		start_run(c, index, from);
	}
}

/* The links from index on that run Python code. */
static uint32_t count_evals(const struct ml_merged *c, uint32_t index)
{
	return c->links[c->depth - 1].evals - (index ? c->links[index - 1].evals : 0);
}

/* Before: the innermost C frame of the function belongs to the innermost run, and so on. Gives how many more of the
   former there are than of the latter. */
static int64_t count_unmatched(const struct ml_merged *c, const struct ml_stack *s, uint32_t from, uint32_t frames,
			       uint32_t index)
{
	int64_t more = count_evals(c, index);

	for (; from < frames; from++)
		more -= is_entry(c, s, from);
	return more;
}

/* less: runs at the root that have no counterpart. */
static void match_in_turn(struct ml_merged *c, const struct ml_stack *s, uint32_t from, uint32_t frames, uint32_t index,
			  int64_t less)
{
	for (; from < frames && c->runs_n < c->room; from++) {
		if (!is_entry(c, s, from) || less-- > 0)
			continue;
		while (index < c->depth && !c->links[index].eval)
			index++;
		if (index == c->depth)
			return;
		start_run(c, ++index, from);
	}
}

/*
 * A C call of the interpreter below all those that run the thread's Python frames is none of this stack's: greenlets
 * have the C stack to themselves down to where each was started, and there is what another one has left.
 */
static uint32_t find_base(const struct ml_merged *c, const struct ml_stack *s, uint32_t frames)
{
	uint32_t index = c->depth;
	int64_t more;

	if (!abi()->is.shim_owner) {
		more = frames ? count_unmatched(c, s, 0, frames, 0) : 0;
		for (index = 0; more > 0; index++)
			more -= c->links[index].eval;
		return index;
	}
	for (uint32_t i = 0; i < frames && index == c->depth; i++)
		if (is_entry(c, s, i))
			index = find_holder(c, 0, (uintptr_t)s->spots[i].frame);
	if (index == c->depth)
		return 0;
	while (index && !c->links[index - 1].eval)
		index--;
	return index;
}

/* Finds runs for the Python frames behind those of the first valid runs, or for all of them. */
static void match(struct ml_merged *c, const struct ml_stack *s, uint32_t frames, uint32_t valid)
{
	uint32_t from = 0, index;

	c->runs_n = valid;
	if (valid) {
		from = c->runs[valid - 1].end;
		index = c->runs[valid - 1].above;
	} else {
		c->base = index = find_base(c, s, frames);
		start_run(c, index, 0);
	}
	if (abi()->is.shim_owner)
		match_by_address(c, s, from, frames, index);
	else
		match_in_turn(c, s, from, frames, index, -count_unmatched(c, s, from, frames, index));
	c->runs[c->runs_n - 1].end = frames;
}

/* <deeper> on the stack so far. */
static uint32_t deeper(uint32_t node)
{
	return ml_tree_node(node, ML_SUBJECT(ML_NODE_MARK, ML_MARK_DEEPER), 0);
}

/* A Python frame: those deeper than ML_STACK_NODES all hang under one <deeper> node. */
static void add_python(const struct ml_stack *s, uint32_t index, struct top *top)
{
	if (top->shown == ML_STACK_NODES)
		top->deeper = deeper(top->node);
	if (top->shown < ML_STACK_NODES) {
		top->node = ml_stack_frame(s, index, top->node);
	} else {
		top->node = top->python = ml_stack_frame(s, index, top->deeper);
		top->loose = 0;
	}
	top->shown++;
}

/* A native frame: so deep it hangs there, too, or on top of the Python frame that called it. */
static void add_native(struct ml_stack *s, const struct link *l, struct top *top)
{
	uint32_t parent = top->node;

	if (top->shown == ML_STACK_NODES)
		top->deeper = deeper(top->node);
	if (top->shown >= ML_STACK_NODES && !top->python)
		parent = top->deeper;
	else if (top->python && top->loose++ >= LOOSE)
		parent = deeper(top->python);
	top->node = ml_stack_caller(s, parent, (const void *)l->at.pc);
	top->shown++;
}

static bool grow_shadows(struct ml_merged *c, uint32_t frames)
{
	uint32_t room = c->shadows_room ? c->shadows_room : 64;
	struct shadow *shadows;

	if (frames <= c->shadows_room)
		return true;
	while (room < frames)
		room *= 2;
	shadows = ml_sys_pages(room * sizeof *shadows);
	if (!shadows)
		return false;
	if (c->shadows_room) {
		__builtin_memcpy(shadows, c->shadows, c->shadows_room * sizeof *shadows);
		ml_sys_munmap(c->shadows, c->shadows_room * sizeof *shadows);
	}
	c->shadows = shadows;
	c->shadows_room = room;
	return true;
}

/* Nodes for the Python frames of a run, from the uppermost on that is as it was. */
static void add_run(struct ml_merged *c, const struct ml_stack *s, struct run *r, struct top *top)
{
	const uint32_t parent = top->node;
	uint32_t i = r->end;

	for (; i > r->start; i--) {
		const struct shadow *w = &c->shadows[i - 1];
		if (w->node != s->links[i - 1].node || w->start != r->start || w->parent != parent)
			continue;
		*top = w->top;
		break;
	}
	for (; i < r->end; i++) {
		if (s->links[i].known) /* else it is a shim, or code that could not be described */
			add_python(s, i, top);
		c->shadows[i] = (struct shadow){s->links[i].node, r->start, parent, *top};
	}
	r->top = *top;
	if (r->start == r->end)
		return;
	r->frame = s->spots[r->start].frame;
	r->node = s->links[r->end - 1].node;
}

/* What the first link stands on. */
static void intern_root(struct ml_merged *c, const struct ml_stack *s)
{
	c->root = (struct top){.node = 0};
	add_run(c, s, &c->runs[0], &c->root);
	if (!c->base && c->ended != ML_UNWIND_END)
		c->root.node = ml_stack_mark(s, c->root.node, ML_MARK_LOST);
}

/* Gives nodes to the links from index on, and to the runs from the one with that number on. */
static void intern(struct ml_merged *c, struct ml_stack *s, uint32_t index, uint32_t number)
{
	struct top top = c->root;

	if (index > c->base)
		top = c->links[index - 1].top;
	if (index < c->depth && c->runs[number - 1].above == index + 1) {
		top = c->runs[number - 1].top;
		c->links[index++].top = top;
	}
	for (; index < c->depth; index++) {
		struct link *l = &c->links[index];
		if (number < c->runs_n && c->runs[number].above == index + 1)
			add_run(c, s, &c->runs[number++], &top);
		else if (!l->ours)
			add_native(s, l, &top);
		l->top = top;
	}
	if (top.shown > ML_STACK_NODES)
		ml_process_count(ML_COUNTER_DEEP_STACKS, 1);
}

/* Cuts a run off behind its uppermost frame that is as it was. False: none is. */
static bool cut_run(const struct ml_merged *c, const struct ml_stack *s, uint32_t frames, struct run *r)
{
	if (r->start >= frames || s->spots[r->start].frame != r->frame)
		return false;
	for (uint32_t i = r->end < frames ? r->end : frames; i > r->start; i--) {
		if (c->shadows[i - 1].node != s->links[i - 1].node || c->shadows[i - 1].start != r->start)
			continue;
		r->end = i;
		return true;
	}
	return false;
}

/*
 * Finds the runs behind the first valid ones again. kept: the links that keep their nodes so far. False: what is left
 * does not fit together, so that the valid ones must be looked for as well.
 */
static bool match_on(struct ml_merged *c, const struct ml_stack *s, uint32_t frames, uint32_t valid, uint32_t *kept)
{
	uint32_t known = valid, end, above;

	if (valid < c->runs_n && is_standing(c, &c->runs[valid], *kept)) {
		*kept = c->runs[valid].above - 1;
		known += cut_run(c, s, frames, &c->runs[valid]);
	}
	end = c->runs[known - 1].end;
	above = c->runs[known - 1].above;
	if (!abi()->is.shim_owner && count_unmatched(c, s, end, frames, above))
		return false;
	match(c, s, frames, known);
	if (c->runs_n > known && c->runs[known].above <= *kept)
		*kept = c->runs[known].above - 1;
	return known > valid || c->runs[valid - 1].end == end;
}

/* Gives nodes to what is new: links from kept on, and Python frames. */
static void merge(struct ml_merged *c, struct ml_stack *s, uint32_t frames, uint32_t kept)
{
	uint32_t valid = count_valid(c, s, frames, kept);

	if (valid && valid == c->runs_n && kept == c->depth && c->runs[valid - 1].end == frames)
		return;
	if (!valid || !match_on(c, s, frames, valid, &kept)) {
		match(c, s, frames, 0);
		intern_root(c, s);
		kept = c->base;
		valid = 1;
	}
	intern(c, s, kept, valid);
}

/* The stack is too deep: its Python frames and the innermost native one. */
static uint32_t caller_only(struct ml_stack *s, uint32_t python, const void *caller)
{
	ml_process_count(ML_COUNTER_DEEP_STACKS, 1);
	return ml_stack_caller(s, python, caller);
}

uint32_t ml_merged_node(struct ml_stack *s, uint32_t python, const void *caller)
{
	struct ml_merged *c = s->merged;
	uint32_t frames = python ? s->depth : 0, kept;

	if (__builtin_expect(c->blind, 0)) {
		c->blind--;
		return caller_only(s, python, caller);
	}
	if (__builtin_expect(python && (!frames || s->links[frames - 1].node != python), 0))
		return ml_stack_caller(s, python, caller);
	kept = grow_shadows(c, frames) ? follow(c) : NONE;
	if (__builtin_expect(kept == NONE, 0)) {
		c->blind = BLIND;
		return caller_only(s, python, caller);
	}
	merge(c, s, frames, kept);
	/* is_entry() is going to read them. */
	if (frames > ML_STACK_VERIFIED && abi()->is.at.frame_entry)
		s->countdown = 1;
	return c->links[c->depth - 1].top.node;
}

struct ml_merged *ml_merged_open(void)
{
	struct ml_merged *c = ml_sys_pages(sizeof *c);

	if (c)
		ml_merged_reset(c);
	return c;
}

void ml_merged_reset(struct ml_merged *c)
{
	c->depth = c->runs_n = 0;
	c->blind = 0;
	c->countdown = c->runs_countdown = ML_STACK_WHOLE;
	c->own = (struct ml_unwind_stack){.end = 0};
}

void ml_merged_close(struct ml_merged *c)
{
	if (c->room)
		ml_sys_munmap(c->links, c->room * EACH);
	if (c->shadows_room)
		ml_sys_munmap(c->shadows, c->shadows_room * sizeof *c->shadows);
	ml_sys_munmap(c, sizeof *c);
}
