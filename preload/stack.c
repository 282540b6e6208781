#include "preload/stack.h"

#include <stdbool.h>

#include "preload/merged.h"
#include "preload/options.h"
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

/* Calls of ml_stack_look() between two searches for a barrier, and the frames that it has to spare. */
#define LOOKS 16u
#define WORTH 4u

static const struct ml_abi *abi(void)
{
	return &ml_process.abi;
}

static uint64_t chain_bytes(uint32_t room)
{
	return (uint64_t)room * (sizeof(struct ml_spot) + sizeof(struct ml_link)) + sizeof(struct ml_spot);
}

static void free_chain(struct ml_stack *s)
{
	if (s->spots)
		ml_sys_munmap(s->spots - 1, chain_bytes(s->room));
}

/* Room for depth links, of which the first kept ones stay. */
static bool grow(struct ml_stack *s, uint32_t depth, uint32_t kept)
{
	uint32_t room = s->room ? s->room : 128;
	struct ml_spot *spots;
	struct ml_link *links;

	while (room < depth)
		room *= 2;
	if (room == s->room)
		return true;
	spots = room <= DEPTH_MAX ? ml_sys_pages(chain_bytes(room)) : NULL;
	if (!spots)
		return false;
	spots++;
	links = (struct ml_link *)(spots + room);
	if (s->spots) {
		__builtin_memcpy(spots, s->spots, kept * sizeof *spots);
		__builtin_memcpy(links, s->links, kept * sizeof *links);
	}
	free_chain(s);
	s->spots = spots;
	s->links = links;
	s->room = room;
	return true;
}

/* Reads the frame into the spot at index. What was made of it stays if it has the same code. */
static inline void read_link(struct ml_stack *s, uint32_t index, const void *frame)
{
	const void *code = ml_frame_code(abi(), frame);
	struct ml_link *l = &s->links[index];

	s->spots[index] = (struct ml_spot){frame, ml_frame_instr(abi(), frame)};
	if (l->code != code) {
		l->code = code;
		l->known = 0;
	}
}

/* The same for a frame that may be new: its code may be another one at the address. */
static inline void read_new_link(struct ml_stack *s, uint32_t index, const void *frame)
{
	read_link(s, index, frame);
	if (!abi()->is.at.code_version && !atomic_load_explicit(&ml_tree_epoch, memory_order_relaxed))
		s->links[index].known = 0;
}

/* Whether the frame is at the position that the chain has of it. by_pointer: positions are pointers, so that one that
   is the same lies in the same code. */
static inline __attribute__((always_inline)) bool same_position(const struct ml_stack *s, uint32_t index,
								bool by_pointer)
{
	const struct ml_spot *p = &s->spots[index];

	if (by_pointer)
		return ml_load_word(p->frame, abi()->is.at.frame_instr) == p->instr;
	return ml_frame_instr(abi(), p->frame) == p->instr && ml_frame_code(abi(), p->frame) == s->links[index].code;
}

/* Whether what is known of the link's code can be told to be about the one that is there later. A version of 0: they
   have run out, or frees of code are not seen. */
static inline bool is_sure(const struct ml_link *l)
{
	return l->known && (l->version || !abi()->is.at.code_version);
}

uint32_t ml_stack_ask(struct ml_recent *r, uint64_t place, const struct ml_link *l, uintptr_t instr)
{
	uint64_t offset = (uint64_t)ml_frame_place(abi(), l->code, instr);

	*r = (struct ml_recent){place, l->key, ml_tree_node((uint32_t)(l->key >> 32), (uint32_t)l->key, offset), 0};
	return r->node;
}

static uint32_t node_of(const struct ml_stack *s, const struct ml_link *l, uintptr_t instr)
{
	return ml_stack_node(s, l, instr, abi()->is.instr_unit ? instr : instr - (uintptr_t)l->code);
}

/* The ring will tell that the thread has come into the user's code or left it, in front of the record. */
static void cross(struct ml_stack *s)
{
	if (!s->attend || s->crossed)
		return;
	s->crossed = true;
	s->events_left = *s->attend;
	*s->attend = 1;
}

#define WAYS_BIT 2

static void set_watched(struct ml_stack *s)
{
	s->watched = s->ways > s->generators ? s->ways : s->generators;
}

static __attribute__((noinline)) void unwatch(struct ml_stack *s, uint32_t index)
{
	if (s->ways > index)
		cross(s);
	while (s->ways > index)
		s->ways = s->links[s->ways - 1].users >> WAYS_BIT;
	if (s->generators > index)
		s->generators = 0;
	set_watched(s);
}

/* The frames that the links had from index on are gone. */
static inline void forget_users(struct ml_stack *s, uint32_t index)
{
	if (__builtin_expect(s->watched > index, 0))
		unwatch(s, index);
}

static inline bool is_users(const struct ml_stack *s, uint32_t index)
{
	return s->links[index].users & ML_CODE_USERS;
}

static __attribute__((noinline)) void watch(struct ml_stack *s, uint32_t index, bool is_way)
{
	struct ml_link *l = &s->links[index];
	const void *generator = NULL;

	if (is_way) {
		l->users = s->ways << WAYS_BIT | (l->users & (ML_CODE_USERS | ML_CODE_GENERATOR));
		s->ways = index + 1;
		cross(s);
	}
	if (!s->generators && l->users & ML_CODE_GENERATOR)
		generator = ml_frame_generator(abi(), s->spots[index].frame);
	if (generator) {
		s->generator = generator;
		s->generators = index + 1;
		if (generator != s->told)
			cross(s);
	}
	set_watched(s);
}

/* The link runs the user's code: it may be a way into it or a generator's. Those below it are interned. */
static inline void look_at_users(struct ml_stack *s, uint32_t index)
{
	bool is_way = !(index && is_users(s, index - 1));

	if (s->watched <= index && (is_way || (s->links[index].users & ML_CODE_GENERATOR && !s->generators)))
		watch(s, index, is_way);
}

/*
 * Gives a node to the link of a frame that stands under parent, its nearest caller of Python code being caller. False:
 * it is no frame.
 */
static inline bool intern_link(struct ml_stack *s, uint32_t index, uint32_t parent, uint32_t caller)
{
	const struct ml_spot *p = &s->spots[index];
	struct ml_link *l = &s->links[index];
	enum ml_frame_kind kind;
	uint32_t traits = 0;

	if (!is_sure(l) || !ml_stack_has_code(l)) {
		kind = ml_frame_kind(abi(), p->frame, l->code);
		if (kind == ML_FRAME_BAD)
			return false;
		l->version = kind == ML_FRAME_PYTHON ? ml_stack_code_version(l->code) : 0;
		l->known = kind == ML_FRAME_PYTHON ? ml_tree_code_traits(l->code, &traits) + 1 : 0;
		forget_users(s, index);
		l->users = traits;
		if (!l->known) {
			l->node = kind == ML_FRAME_PYTHON ? parent : caller;
			l->users = index && is_users(s, index - 1);
			return true;
		}
	}
	if (__builtin_expect(l->users & ML_CODE_USERS, 0))
		look_at_users(s, index);
	l->key = ml_node_key(parent, ML_SUBJECT(ML_NODE_PYTHON, l->known - 1));
	l->node = node_of(s, l, p->instr);
	return true;
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
		if (index == ML_STACK_NODES)
			parent = parent_of(s, index + 1);
		if (!intern_link(s, index, parent, caller))
			return false;
		caller = s->links[index].node;
		if (index < ML_STACK_NODES)
			parent = caller;
	}
	if (s->depth > ML_STACK_NODES)
		ml_process_count(ML_COUNTER_DEEP_STACKS, 1);
	return true;
}

/* No walk finds this frame. */
static struct ml_spot nowhere = {&nowhere, 0};
static struct ml_link no_link;

/* The next event has to look at the whole stack. */
static void reset_top(struct ml_stack *s)
{
	s->top = &nowhere;
	s->top_link = &no_link;
}

/* The barrier is one no longer. */
static void let_go(struct ml_stack *s)
{
	if (s->held)
		ml_barriers_let_go(s->barrier, s->barrier_version);
	s->held = 0;
}

void ml_stack_doubt(struct ml_stack *s)
{
	let_go(s);
	reset_top(s);
}

/* There is no stack any more. */
static uint32_t end_stack(struct ml_stack *s)
{
	ml_stack_doubt(s);
	s->depth = s->untouched = 0;
	forget_users(s, 0);
	return 0;
}

static uint32_t give_up(struct ml_stack *s)
{
	ml_process_count(ML_COUNTER_BAD_STACKS, 1);
	return end_stack(s);
}

/* What a walk downwards doubts: see struct ml_walk_stack. */
struct doubt {
	struct ml_walk_stack stack;
	bool top;  /* the frame that the thread state names */
	bool next; /* the next one: that, or one that a shim or an entry names */
};

static inline struct doubt doubt(const struct ml_stack *s)
{
	return (struct doubt){ml_walk_stack(abi(), &s->walker), abi()->is.has_cframe, abi()->is.has_cframe};
}

static __attribute__((noinline)) bool is_frame_after_all(const struct doubt *d, const void *frame)
{
	if (abi()->careful)
		return true;
	return d->top ? ml_walk_is_top(abi(), frame) : ml_walk_is_frame(abi(), frame, d->next);
}

/* Whether the frame that is named next is one. */
static inline bool is_frame(struct doubt *d, const void *frame)
{
	const bool left = ml_walk_may_be_left(&d->stack, frame);

	if (__builtin_expect(left | d->next, 0) && !is_frame_after_all(d, frame))
		return false;
	d->top = false;
	d->next = left | ml_frame_is_entry(abi(), frame);
	return true;
}

/* The stack is deeper than any chain that we keep: its innermost frame under <deeper>. */
static uint32_t innermost_only(const struct ml_stack *s, const void *top)
{
	struct ml_link l = {.code = NULL};
	struct doubt d = doubt(s);
	enum ml_frame_kind kind = ML_FRAME_SHIM;
	const void *frame = NULL;

	ml_process_count(ML_COUNTER_DEEP_STACKS, 1);
	for (const void *f = top; f && kind == ML_FRAME_SHIM; f = ml_frame_previous(abi(), f)) {
		if (!is_frame(&d, f))
			return 0;
		frame = f;
		l.code = ml_frame_code(abi(), f);
		kind = ml_frame_kind(abi(), f, l.code);
	}
	if (kind != ML_FRAME_PYTHON || !(l.known = ml_tree_code(l.code) + 1))
		return 0;
	l.key = ml_node_key(ml_tree_node(0, ML_SUBJECT(ML_NODE_MARK, ML_MARK_DEEPER), 0),
			    ML_SUBJECT(ML_NODE_PYTHON, l.known - 1));
	return node_of(s, &l, ml_frame_instr(abi(), frame));
}

/* The node of the whole stack, once all its links are there; those below index have their nodes. */
static uint32_t intern_from(struct ml_stack *s, uint32_t index)
{
	return intern(s, index) ? s->links[s->depth - 1].node : give_up(s);
}

static inline uint32_t least(uint32_t a, uint32_t b)
{
	return a < b ? a : b;
}

/* The first same links are as they were at the event before, when the chain had this depth. The innermost frames, then
   and now, have had an event of their own. */
static inline void touch(struct ml_stack *s, uint32_t depth_before, uint32_t same)
{
	s->untouched = least(s->untouched, least(same, least(depth_before, s->depth) - 1));
}

/* Makes the chain anew from the whole stack; links that are the same from the root on keep their nodes. */
static uint32_t walk_whole(struct ml_stack *s, const void *top)
{
	const bool by_pointer = !abi()->is.instr_unit;
	struct doubt d = doubt(s);
	uint32_t depth = 0, known = s->depth, changed, still;

	let_go(s);
	for (const void *f = top; f && depth <= DEPTH_MAX; f = ml_frame_previous(abi(), f), depth++)
		if (!is_frame(&d, f))
			return give_up(s);
	s->depth = 0;
	if (!grow(s, depth, known < depth ? known : depth)) {
		end_stack(s);
		s->blind = BLIND;
		return innermost_only(s, top);
	}
	changed = still = depth;
	for (const void *f = top; depth && f; f = ml_frame_previous(abi(), f)) {
		depth--;
		if (depth >= known || s->spots[depth].frame != f)
			still = depth;
		if (still == depth || !same_position(s, depth, by_pointer)) {
			read_new_link(s, depth, f);
			changed = depth;
		}
		s->depth++;
	}
	forget_users(s, still);
	touch(s, known, changed);
	return intern_from(s, changed);
}

/*
 * Where the stack and the chain part: the index of the uppermost link whose frame is still on the stack, among the
 * reach uppermost; above gets the frames on top of it, innermost first, and *pushed their number. NONE: further away
 * than that, or there is what is no frame.
 */
static inline __attribute__((always_inline)) uint32_t meet(const struct ml_stack *s, const void *top, uint32_t reach,
							   const void **above, uint32_t *pushed)
{
	const struct ml_spot *end = s->spots + s->depth, *stop = s->depth > reach ? end - reach : s->spots;
	struct doubt d = doubt(s);
	const void *f = top;

	for (*pushed = 0; f; f = ml_frame_previous(abi(), f)) {
		for (const struct ml_spot *p = end; p > stop;)
			if ((--p)->frame == f)
				return (uint32_t)(p - s->spots);
		if (*pushed == reach || !is_frame(&d, f))
			break;
		above[(*pushed)++] = f;
	}
	return NONE;
}

/* The lowest index that is compared with the stack at this event, where the comparison begins at index. */
static inline uint32_t lowest(struct ml_stack *s, uint32_t index)
{
	if (__builtin_expect(index - s->held < ML_STACK_VERIFIED, 1))
		return s->held;
	if (!--s->countdown) {
		s->countdown = ML_STACK_WHOLE;
		return s->held;
	}
	return index - (ML_STACK_VERIFIED - 1);
}

/*
 * Compares the chain with the stack from the link at index down, and brings positions up to date. Gives the lowest link
 * that has changed, index + 1 if none has, NONE if the frames are others than those of the chain.
 */
static inline __attribute__((always_inline)) uint32_t compare(struct ml_stack *s, uint32_t index, uint32_t last,
							      bool by_pointer)
{
	const uint32_t previous_at = abi()->is.at.frame_previous;
	uint32_t changed = index + 1;

	for (;; index--) {
		const struct ml_spot *p = &s->spots[index];
		if (__builtin_expect(!same_position(s, index, by_pointer), 0)) {
			read_link(s, index, p->frame);
			changed = index;
		}
		if (__builtin_expect((const void *)ml_load_word(p->frame, previous_at) != p[-1].frame, 0))
			return NONE;
		if (index == last)
			return changed;
	}
}

/* compare(), for each way in which positions are told. */
static inline uint32_t compare_from(struct ml_stack *s, uint32_t index, uint32_t last)
{
	if (abi()->is.instr_unit)
		return compare(s, index, last, false);
	if (!ml_stack_same_down(&s->spots[index], &s->spots[last]))
		return compare(s, index, last, true);
	if (same_position(s, index, true))
		return index + 1;
	read_link(s, index, s->spots[index].frame);
	return index;
}

/*
 * All of the chain has just been compared. The hopeful frame may be a barrier now if it has called the one on top of it
 * itself: C code would have come in by way of a shim.
 */
static void try_to_hold(struct ml_stack *s)
{
	const struct ml_link *l = &s->links[s->hopeful];

	if (s->hopeful + 1 < s->depth && l[0].known && l[1].known && l->code == s->barrier->code &&
	    l->version == s->barrier_version && !ml_load_int(ml_walk_seen.thread, abi()->is.at.thread_tracing) &&
	    ml_barriers_hold(s->barrier, s->barrier_version))
		s->held = s->hopeful;
}

static void hope_for(struct ml_stack *s, uint32_t index, struct ml_barrier *b)
{
	let_go(s);
	s->barrier = b;
	s->barrier_version = s->links[index].version;
	s->hopeful = index;
}

/* Looks for the uppermost frame that nothing has happened to for a while. */
static void look_for_barrier(struct ml_stack *s)
{
	enum ml_barrier_state state = ML_BARRIER_UNFIT;
	struct ml_barrier *b;

	for (uint32_t i = s->untouched; state == ML_BARRIER_UNFIT && i-- > s->held + WORTH;) {
		if (!s->links[i].known || !s->links[i + 1].known)
			continue;
		state = ml_barriers_of(s->links[i].code, s->links[i].version, &b);
		if (state == ML_BARRIER_TOLD)
			hope_for(s, i, b);
	}
}

void ml_stack_look(struct ml_stack *s)
{
	if (!--s->looks) {
		s->looks = LOOKS;
		if (!s->held)
			s->hopeful = 0;
		look_for_barrier(s);
		s->untouched = s->depth ? s->depth - 1 : 0;
	}
	if (s->hopeful && !s->held)
		reset_top(s); /* the next event is to try it */
}

bool ml_stack_returned(struct ml_stack *s, const void *code)
{
	if (!s->held || s->links[s->held].code != code ||
	    ml_walk_top(abi(), &s->walker, (uintptr_t)__builtin_frame_address(0)) != s->spots[s->held].frame)
		return false;
	ml_stack_doubt(s);
	s->hopeful = 0;
	return true;
}

/* The node of the stack whose innermost frame is top, whatever has happened since the last event. */
static __attribute__((noinline)) uint32_t follow(struct ml_stack *s, const void *top)
{
	const void *above[FAR];
	uint32_t pushed, index, changed, before, last, node;

	if (__builtin_expect(s->blind, 0)) {
		s->blind--;
		return innermost_only(s, top);
	}
	if (__builtin_expect(abi()->careful, 0))
		return walk_whole(s, top);
	before = s->depth;
	index = meet(s, top, NEAR, above, &pushed);
	if (index == NONE && (index = meet(s, top, FAR, above, &pushed)) == NONE)
		return walk_whole(s, top);
	if (index < s->held)
		let_go(s);
	last = lowest(s, index);
	changed = compare_from(s, index, last);
	if (changed == NONE)
		return walk_whole(s, top);
	s->depth = index + 1;
	forget_users(s, index + 1);
	if (pushed && !grow(s, s->depth + pushed, s->depth)) {
		s->depth = changed; /* what is above has new positions, but the nodes of the old ones */
		return walk_whole(s, top);
	}
	while (pushed)
		read_new_link(s, s->depth++, above[--pushed]);
	touch(s, before, changed);
	if (s->held && s->depth - 1 <= s->held)
		let_go(s);
	node = changed == s->depth ? s->links[changed - 1].node : intern_from(s, changed);
	if (s->hopeful && !s->held && !last)
		try_to_hold(s);
	return node;
}

/* A walker that knows nothing finds no frame at once, which leads to without_top(). */
void ml_stack_instead(struct ml_stack *s, uint32_t node)
{
	if (node && !s->instead) {
		s->kept = s->walker.current;
		s->walker.current = NULL;
		s->walker.stateless = 0;
	} else if (!node && s->instead) {
		s->walker.current = s->kept;
	}
	s->instead = node;
}

static void set_top(struct ml_stack *s)
{
	const uint32_t top = s->depth - 1;
	const bool quick = top - s->held < ML_STACK_VERIFIED && !abi()->is.instr_unit && is_sure(&s->links[top]);

	s->stop = &s->spots[s->held];
	s->top = quick ? &s->spots[top] : &nowhere;
	s->top_link = quick ? &s->links[top] : &no_link;
}

static uint32_t without_top(struct ml_stack *s)
{
	const void *top;

	if (!atomic_load_explicit(&ml_process.walks, memory_order_relaxed) && !ml_process_may_walk())
		return end_stack(s);
	if (s->instead)
		return s->instead;
	top = ml_walk_top_unusual(abi(), &s->walker, (uintptr_t)__builtin_frame_address(0));
	return top ? follow(s, top) : end_stack(s);
}

uint32_t ml_stack_changed(struct ml_stack *s, const void *top)
{
	uint32_t node;

	if (top) {
		ml_walk_begin(abi(), &s->walker);
		node = follow(s, top);
	} else if (ml_walk_is_stateless(&s->walker)) {
		return s->depth ? end_stack(s) : 0;
	} else {
		node = without_top(s);
	}
	set_top(s);
	return node;
}

static void ask_caller_node(struct ml_recent *r, uint32_t parent, uintptr_t address)
{
	uint64_t offset;
	uint32_t module = ml_modules_find(&ml_process.modules, address, &offset);

	if (!module && ml_process_new_module_at(address))
		module = ml_modules_find(&ml_process.modules, address, &offset);
	if (module >= ML_SUBJECT_NUMBERS) {
		module = 0;
		offset = address;
	}
	*r = (struct ml_recent){address, ml_node_key(parent, ML_SUBJECT(ML_NODE_NATIVE, 0)),
				ml_tree_node(parent, ML_SUBJECT(ML_NODE_NATIVE, module), offset), 0};
}

/* What was found out about an address in an earlier epoch may be wrong: its module may be gone. */
static __attribute__((noinline)) uint32_t find_caller_node(struct ml_stack *s, struct ml_recent *r, uint32_t parent,
							   uintptr_t address)
{
	uint32_t epoch = ml_modules_epoch(&ml_process.modules);

	if (s->modules_epoch != epoch)
		__builtin_memset(s->recents, 0, ML_RECENTS * sizeof *s->recents);
	s->modules_epoch = epoch;
	if (!ml_stack_is_recent(r, ml_node_key(parent, ML_SUBJECT(ML_NODE_NATIVE, 0)), address))
		ask_caller_node(r, parent, address);
	return r->node;
}

uint32_t ml_stack_caller(struct ml_stack *s, uint32_t parent, const void *caller)
{
	const uint64_t key = ml_node_key(parent, ML_SUBJECT(ML_NODE_NATIVE, 0));
	uintptr_t address = (uintptr_t)caller;
	struct ml_recent *r = ml_stack_recent(s, key, address);

	if (__builtin_expect(s->modules_epoch == ml_modules_epoch(&ml_process.modules), 1) &&
	    __builtin_expect(ml_stack_is_recent(r, key, address), 1))
		return r->node;
	return find_caller_node(s, r, parent, address);
}

uint32_t ml_stack_frame(const struct ml_stack *s, uint32_t index, uint32_t parent)
{
	struct ml_link l = s->links[index];

	l.key = ml_node_key(parent, (uint32_t)l.key);
	return node_of(s, &l, s->spots[index].instr);
}

uint32_t ml_stack_mark(const struct ml_stack *s, uint32_t parent, enum ml_mark mark)
{
	const uint32_t subject = ML_SUBJECT(ML_NODE_MARK, mark);
	const uint64_t key = ml_node_key(parent, subject);
	struct ml_recent *r = ml_stack_recent(s, key, 0);

	if (!ml_stack_is_recent(r, key, 0))
		*r = (struct ml_recent){0, key, ml_tree_node(parent, subject, 0), 0};
	return r->node;
}

bool ml_stack_prepare(struct ml_stack *s)
{
	if (!s->recents) {
		s->recents = ml_sys_pages(ML_RECENTS * sizeof *s->recents);
		s->modules_epoch = ml_modules_epoch(&ml_process.modules); /* so that no page is touched to empty them */
	}
	if (s->merged)
		ml_merged_reset(s->merged);
	else if (ml_options.native == ML_NATIVE_FULL && !(s->merged = ml_merged_open()))
		return false;
	ml_stack_doubt(s);
	s->depth = 0;
	s->hopeful = s->untouched = 0;
	s->looks = LOOKS;
	s->blind = 0;
	s->countdown = ML_STACK_WHOLE;
	s->walker = (struct ml_walker){.self = 0};
	s->ways = s->generators = s->watched = 0;
	s->told = NULL;
	s->crossed = false;
	s->instead = 0;
	return s->recents != NULL;
}

void ml_stack_forget(struct ml_stack *s)
{
	free_chain(s);
	if (s->recents)
		ml_sys_munmap(s->recents, ML_RECENTS * sizeof *s->recents);
	if (s->merged)
		ml_merged_close(s->merged);
	*s = (struct ml_stack){.spots = NULL};
}
