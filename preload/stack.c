#include "preload/stack.h"

#include <stdbool.h>

#include "preload/process.h"
#include "preload/sys.h"
#include "preload/tree.h"
#include "symbolize/python/walk.h"

/* How many frames may have gone and come since the event before: mostly that few, and so many before the whole stack is
   walked again. */
#define NEAR 3u
#define FAR 24u

/* Frames of one chain that are kept at all. Of a deeper stack only the innermost frame is told. */
#define DEPTH_MAX (1u << 20)

/* Events after which such a stack is looked at again: a walk over it takes milliseconds. */
#define BLIND 4096u

#define NONE UINT32_MAX

static const struct ml_abi *abi(void)
{
	return &ml_process.abi;
}

/* Room for depth links, of which the first kept ones stay. */
static bool grow(struct ml_stack *s, uint32_t depth, uint32_t kept)
{
	uint32_t room = s->room ? s->room : 128;
	struct ml_link *more;

	while (room < depth)
		room *= 2;
	if (room == s->room)
		return true;
	more = room <= DEPTH_MAX ? ml_sys_pages(room * sizeof *more) : NULL;
	if (!more)
		return false;
	if (s->links) {
		__builtin_memcpy(more, s->links, kept * sizeof *more);
		ml_sys_munmap(s->links, s->room * sizeof *more);
	}
	s->links = more;
	s->room = room;
	return true;
}

/* Reads the frame into a link. Its node is left for intern(). The code's id stays if the link had that code before. */
static inline void read_link(struct ml_link *l, const void *frame)
{
	const void *code = ml_frame_code(abi(), frame);

	l->frame = frame;
	l->instr = ml_frame_instr(abi(), frame);
	if (l->code != code) {
		l->code = code;
		l->id = NONE;
	}
}

/* The same for a frame that may be new. Where code objects have no number of their own, its code may be another one at
   the address, with its parts at the addresses of the former's too. */
static inline void read_new_link(struct ml_link *l, const void *frame)
{
	read_link(l, frame);
	if (!abi()->is.at.code_version)
		l->id = NONE;
}

/* Whether the frame is at the position that the link has of it. */
static inline bool same_position(const struct ml_link *l)
{
	return ml_frame_instr(abi(), l->frame) == l->instr &&
	       (!abi()->is.instr_unit || ml_frame_code(abi(), l->frame) == l->code);
}

/* The id of a link's code. A version of 0 where there are versions: they have run out. */
static inline uint32_t code_id(struct ml_link *l)
{
	const uint32_t version_at = abi()->is.at.code_version;
	uint32_t version = version_at ? (uint32_t)ml_load_int(l->code, version_at) : 0;

	if (l->id == NONE || l->version != version || (version_at && !version)) {
		l->id = ml_tree_code(l->code);
		l->version = version;
	}
	return l->id;
}

/* Where a node is kept at hand, or would be. */
static inline struct ml_recent *recent(const struct ml_stack *s, uint32_t parent, uint32_t subject, uint64_t place)
{
	return &s->recents[(place >> 1 ^ place >> 8 ^ (parent + subject * 5) * (uint64_t)0x9e3779b1) % ML_RECENTS];
}

static inline bool is_recent(const struct ml_recent *r, uint32_t parent, uint32_t subject, uint64_t place)
{
	return r->place == place && r->parent == parent && r->subject == subject && r->node;
}

static uint32_t python_node(const struct ml_stack *s, uint32_t parent, struct ml_link *l)
{
	uint32_t id = code_id(l), subject = ML_SUBJECT(ML_NODE_PYTHON, id);
	uint64_t place;
	struct ml_recent *r;

	if (id == NONE)
		return parent;
	place = (uint64_t)ml_frame_place(abi(), l->code, l->instr);
	r = recent(s, parent, subject, place);
	if (!is_recent(r, parent, subject, place))
		*r = (struct ml_recent){place, parent, subject, ml_tree_node(parent, subject, place), 0};
	return r->node;
}

/* What the links from index on stand on. Those deeper than ML_STACK_NODES all hang under one <deeper> node. */
static uint32_t parent_of(const struct ml_stack *s, uint32_t index)
{
	if (index <= ML_STACK_NODES)
		return index ? s->links[index - 1].node : 0;
	return ml_tree_node(s->links[ML_STACK_NODES - 1].node, ML_SUBJECT(ML_NODE_MARK, ML_MARK_DEEPER), 0);
}

/* Gives nodes to the links from index on; those below have theirs. False: the stack holds a frame that is none. */
static bool intern(struct ml_stack *s, uint32_t index)
{
	uint32_t parent = parent_of(s, index), caller = index ? s->links[index - 1].node : 0;

	for (; index < s->depth; index++) {
		struct ml_link *l = &s->links[index];
		enum ml_frame_kind kind = ml_frame_kind(abi(), l->frame, l->code);
		if (kind == ML_FRAME_BAD)
			return false;
		if (index == ML_STACK_NODES)
			parent = parent_of(s, index + 1);
		l->node = kind == ML_FRAME_SHIM ? caller : python_node(s, parent, l);
		caller = l->node;
		if (index < ML_STACK_NODES)
			parent = l->node;
	}
	if (s->depth > ML_STACK_NODES)
		ml_process_count(ML_COUNTER_DEEP_STACKS, 1);
	return true;
}

static uint32_t give_up(struct ml_stack *s)
{
	s->depth = 0;
	ml_process_count(ML_COUNTER_BAD_STACKS, 1);
	return 0;
}

/* The stack is deeper than any chain that we keep: its innermost frame under <deeper>. */
static uint32_t innermost_only(const struct ml_stack *s, const void *top)
{
	struct ml_link l = {.code = NULL};
	enum ml_frame_kind kind = ML_FRAME_SHIM;

	ml_process_count(ML_COUNTER_DEEP_STACKS, 1);
	for (const void *f = top; f && kind == ML_FRAME_SHIM; f = ml_frame_previous(abi(), f)) {
		read_link(&l, f);
		kind = ml_frame_kind(abi(), l.frame, l.code);
	}
	if (kind != ML_FRAME_PYTHON)
		return 0;
	return python_node(s, ml_tree_node(0, ML_SUBJECT(ML_NODE_MARK, ML_MARK_DEEPER), 0), &l);
}

/* Makes the chain anew from the whole stack; links that are the same from the root on keep their nodes. */
static uint32_t walk_whole(struct ml_stack *s, const void *top)
{
	uint32_t depth = 0, known = s->depth, changed;

	for (const void *f = top; f && depth <= DEPTH_MAX; f = ml_frame_previous(abi(), f))
		depth++;
	s->depth = 0;
	if (!grow(s, depth, known < depth ? known : depth)) {
		s->blind = BLIND;
		return innermost_only(s, top);
	}
	changed = depth;
	for (const void *f = top; depth && f; f = ml_frame_previous(abi(), f)) {
		struct ml_link *l = &s->links[--depth];
		if (depth >= known || l->frame != f || !same_position(l)) {
			read_new_link(l, f);
			changed = depth;
		}
		s->depth++;
	}
	return intern(s, changed) ? s->links[s->depth - 1].node : give_up(s);
}

/*
 * Where the stack and the chain part: the index of the uppermost link whose frame is still on the stack, among the
 * reach uppermost; above gets the frames on top of it, innermost first, and *pushed their number. NONE: further away
 * than that.
 */
static inline __attribute__((always_inline)) uint32_t meet(const struct ml_stack *s, const void *top, uint32_t reach,
							    const void **above, uint32_t *pushed)
{
	const struct ml_link *end = s->links + s->depth, *stop = s->depth > reach ? end - reach : s->links;
	const void *f = top;

	for (*pushed = 0; f; f = ml_frame_previous(abi(), f)) {
		for (const struct ml_link *l = end; l > stop;)
			if ((--l)->frame == f)
				return (uint32_t)(l - s->links);
		if (*pushed == reach)
			break;
		above[(*pushed)++] = f;
	}
	return NONE;
}

/*
 * Compares the chain with the stack from the link at index down, and brings positions up to date. Gives the lowest link
 * that has changed, index + 1 if none has, NONE if the frames are others than those of the chain. by_pointer: positions
 * are pointers, so that one that is the same lies in the same code.
 */
static inline __attribute__((always_inline)) uint32_t compare(struct ml_stack *s, uint32_t index, bool by_pointer)
{
	const uint32_t previous_at = abi()->is.at.frame_previous, instr_at = abi()->is.at.frame_instr;
	struct ml_link *l = &s->links[index], *last = s->links;
	uint32_t changed = index + 1;

	if (__builtin_expect(!--s->countdown, 0))
		s->countdown = ML_STACK_WHOLE;
	else if (__builtin_expect(index >= ML_STACK_VERIFIED, 0))
		last = l - (ML_STACK_VERIFIED - 1);
	for (;; l--) {
		const void *frame = l->frame;
		bool same = by_pointer ? ml_load_word(frame, instr_at) == l->instr : same_position(l);
		if (__builtin_expect(!same, 0)) {
			read_link(l, frame);
			changed = (uint32_t)(l - s->links);
		}
		if (l == last)
			break;
		if (__builtin_expect((const void *)ml_load_word(frame, previous_at) != l[-1].frame, 0))
			return NONE;
	}
	return last == s->links && ml_load_word(last->frame, previous_at) ? NONE : changed;
}

uint32_t ml_stack_python(struct ml_stack *s)
{
	const void *above[FAR], *top;
	uint32_t pushed, index, changed;

	top = ml_walk_top(abi(), (uintptr_t)__builtin_frame_address(0));
	if (!top) {
		s->depth = 0;
		return 0;
	}
	if (__builtin_expect(s->blind, 0)) {
		s->blind--;
		return innermost_only(s, top);
	}
	if (__builtin_expect(abi()->careful, 0))
		return walk_whole(s, top);
	index = meet(s, top, NEAR, above, &pushed);
	if (index == NONE && (index = meet(s, top, FAR, above, &pushed)) == NONE)
		return walk_whole(s, top);
	changed = abi()->is.instr_unit ? compare(s, index, false) : compare(s, index, true);
	if (changed == NONE)
		return walk_whole(s, top);
	s->depth = index + 1;
	if (pushed) {
		if (!grow(s, s->depth + pushed, s->depth)) {
			s->depth = changed; /* what is above has new positions, but the nodes of the old ones */
			return walk_whole(s, top);
		}
		while (pushed)
			read_new_link(&s->links[s->depth++], above[--pushed]);
	}
	if (changed == s->depth)
		return s->links[changed - 1].node;
	return intern(s, changed) ? s->links[s->depth - 1].node : give_up(s);
}

/* What was found out about an address in an earlier epoch may be wrong: its module may be gone. */
static inline void follow_modules(struct ml_stack *s)
{
	uint32_t epoch = ml_modules_epoch(&ml_process.modules);

	if (__builtin_expect(s->modules_epoch != epoch, 0))
		__builtin_memset(s->recents, 0, ML_RECENTS * sizeof *s->recents);
	s->modules_epoch = epoch;
}

static uint32_t caller_node(uint32_t parent, uintptr_t address)
{
	uint64_t offset;
	uint32_t module = ml_modules_find(&ml_process.modules, address, &offset);

	if (!module && ml_process_new_module_at(address))
		module = ml_modules_find(&ml_process.modules, address, &offset);
	if (module >= ML_SUBJECT_NUMBERS) {
		module = 0;
		offset = address;
	}
	return ml_tree_node(parent, ML_SUBJECT(ML_NODE_NATIVE, module), offset);
}

uint32_t ml_stack_caller(struct ml_stack *s, uint32_t parent, const void *caller)
{
	const uint32_t subject = ML_SUBJECT(ML_NODE_NATIVE, 0);
	uintptr_t address = (uintptr_t)caller;
	struct ml_recent *r;

	follow_modules(s);
	r = recent(s, parent, subject, address);
	if (!is_recent(r, parent, subject, address))
		*r = (struct ml_recent){address, parent, subject, caller_node(parent, address), 0};
	return r->node;
}

bool ml_stack_prepare(struct ml_stack *s)
{
	if (!s->recents)
		s->recents = ml_sys_pages(ML_RECENTS * sizeof *s->recents);
	s->depth = 0;
	s->blind = 0;
	s->countdown = ML_STACK_WHOLE;
	return s->recents != NULL;
}

void ml_stack_forget(struct ml_stack *s)
{
	if (s->links)
		ml_sys_munmap(s->links, s->room * sizeof *s->links);
	if (s->recents)
		ml_sys_munmap(s->recents, ML_RECENTS * sizeof *s->recents);
	*s = (struct ml_stack){.links = NULL};
}
