/*
 * From the stack of the calling thread to a node of the tree.
 *
 * Successive events of a thread share nearly all of their stack. So each thread keeps the chain of frames of its last
 * event, root first, each with the node that it got. An event looks for the innermost frame that is still in the chain,
 * compares downwards from there, and interns only what has changed and what stands above it. Each comparison reads a
 * frame only after the frame above it has named it as its caller: so only live frames are read. The addresses come from
 * the chain, so that no load has to wait for the one before.
 */
#ifndef ML_PRELOAD_STACK_H
#define ML_PRELOAD_STACK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "preload/barriers.h"
#include "preload/process.h"
#include "preload/tree.h"
#include "symbolize/python/walk.h"
#include "trace/format.h"

/* Where a frame stands: what is compared at each event. */
struct ml_spot {
	const void *frame;
	uintptr_t instr; /* as ml_frame_instr() gives it */
};

/* What was made of it. */
struct ml_link {
	const void *code;
	uint64_t key;     /* of its node: ml_node_key() */
	uint32_t version; /* see ml_stack_code_version() */
	uint32_t known;   /* the id of the code with that version, plus 1; 0: not known, or the frame runs no code */
	uint32_t node;    /* a shim has that of its caller */
	/* ML_CODE_USERS, which a shim has if its caller has it, and ML_CODE_GENERATOR. Of a way into the user's code,
	   which is a link of the user's whose caller is none, the rest is ml_stack.ways without it. */
	uint32_t users;
};

/* A node that this thread has asked the tree for, kept at hand: the tree is large, and what is asked for is little. */
struct ml_recent {
	uint64_t place; /* Python: instr less the code's address, or as it is. Of a caller the address */
	uint64_t key;   /* ml_node_key(), of a caller with module 0; 0: nothing here */
	uint32_t node;
	uint32_t unused;
};

#define ML_RECENTS 512u

/* What a node is but for its place. Not 0. */
static inline uint64_t ml_node_key(uint32_t parent, uint32_t subject)
{
	return (uint64_t)parent << 32 | subject;
}

struct ml_stack {
	struct ml_spot *spots; /* root first; in front of it stands one of no frame, which calls the root */
	struct ml_link *links; /* behind the spots in the same memory */
	/* The uppermost of each, where the whole chain is compared, positions are pointers and the code is known: then
	   ml_stack_python() mostly need not call ml_stack_changed(). Else no frame's. */
	struct ml_spot *top;
	struct ml_link *top_link;
	const struct ml_spot *stop; /* where it ends to compare: the root or a barrier */
	uint32_t depth;
	uint32_t room;
	uint32_t countdown;        /* walks until the whole chain is compared again */
	uint32_t blind;            /* events that get their innermost frame only: the stack was too deep */
	struct ml_recent *recents; /* direct-mapped */
	struct ml_merged *merged;  /* with MEMLINE_NATIVE=full */
	struct ml_walker walker;
	uint32_t modules_epoch;
	uint32_t instead;        /* 0, or the node of every event: see ml_stack_instead() */
	const void *const *kept; /* the walker's current, while there is one */
	/* The user's code has been entered or left, which is told in front of the next record: see ml_ring_attend(). */
	uint32_t ways;         /* links up to the innermost way into it, that included */
	uint32_t generators;   /* links up to the outermost of the user's that is a generator's, that included */
	uint32_t watched;      /* the larger of these */
	uint32_t events_left;  /* if there is something to tell: what *attend was then */
	uint32_t *attend;      /* the countdown of the ring, which 1 makes attend to the event; NULL: there is none */
	const void *generator; /* the one that generators is about */
	const void *told;      /* the last one that the trace names */
	bool crossed;          /* there is something to tell */
	/* Barriers. Of the indices 0 is none. */
	uint32_t barrier_version;
	struct ml_barrier *barrier;
	uint32_t held;    /* the frame that is one */
	uint32_t hopeful; /* the frame that may be one, as soon as it calls another */
	/* So many frames have stood where they stand, without an event of their own, since the last search, */
	uint32_t untouched;
	uint32_t looks; /* and so many looks are left until the next one */
};

/* Frames from the root that get nodes of their own; deeper ones share one <deeper> node. */
#define ML_STACK_NODES 4096u

/* Frames that are compared at each event; the rest of the chain is trusted but at every ML_STACK_WHOLE-th event. */
#define ML_STACK_VERIFIED 256u
#define ML_STACK_WHOLE 64u

/* parent with the native frame that called the allocator on top. */
uint32_t ml_stack_caller(struct ml_stack *s, uint32_t parent, const void *caller);

/* A frame of the chain on top of parent. It has to run code that is known: links[index].known. */
uint32_t ml_stack_frame(const struct ml_stack *s, uint32_t index, uint32_t parent);

/* A mark on top of parent. */
uint32_t ml_stack_mark(const struct ml_stack *s, uint32_t parent, enum ml_mark mark);

/* From now on the thread's events get this node, whatever its stack; 0: no longer. */
void ml_stack_instead(struct ml_stack *s, uint32_t node);

/* To be called every few events, when one is over: looks for a barrier. */
void ml_stack_look(struct ml_stack *s);

/* A function returns, in the stack's thread. False: its frame is not the barrier. The guard is held. */
bool ml_stack_returned(struct ml_stack *s, const void *code);

/* An event of the thread may have been missed. */
void ml_stack_doubt(struct ml_stack *s);

/* Makes a stack, all zero at first, ready for another thread. What was learnt stays, but not the chain. False: no
   memory. */
bool ml_stack_prepare(struct ml_stack *s);

/* Forgets everything: there is another tree. */
void ml_stack_forget(struct ml_stack *s);

/*
 * What an address of a code object must go with to be that of the same code object: its co_version, which no other one
 * has. Before there was that, the count of code objects that have been freed, where that is known.
 */
static inline uint32_t ml_stack_code_version(const void *code)
{
	if (ml_process.abi.is.at.code_version)
		return ml_code_version(&ml_process.abi, code);
	return atomic_load_explicit(&ml_tree_epoch, memory_order_relaxed);
}

static inline bool ml_stack_has_code(const struct ml_link *l)
{
	return l->version == ml_stack_code_version(l->code);
}

/* Where a node is kept at hand, or would be. */
static inline struct ml_recent *ml_stack_recent(const struct ml_stack *s, uint64_t key, uint64_t place)
{
	return &s->recents[(place >> 1 ^ place >> 8 ^ key * 0x9e3779b97f4a7c15u >> 40) % ML_RECENTS];
}

static inline bool ml_stack_is_recent(const struct ml_recent *r, uint64_t key, uint64_t place)
{
	return r->place == place && r->key == key;
}

/* Asks the tree for the node of a frame, and puts it there. */
uint32_t ml_stack_ask(struct ml_recent *r, uint64_t place, const struct ml_link *l, uintptr_t instr);

/* The node of the link's frame at this position; place: as struct ml_recent has it. */
static inline uint32_t ml_stack_node(const struct ml_stack *s, const struct ml_link *l, uintptr_t instr, uint64_t place)
{
	struct ml_recent *r = ml_stack_recent(s, l->key, place);

	if (__builtin_expect(ml_stack_is_recent(r, l->key, place), 1))
		return r->node;
	return ml_stack_ask(r, place, l, instr);
}

/* Whether a frame that is known to be live still has the caller below it in the chain, at the same position. */
static inline __attribute__((always_inline)) bool ml_stack_same_caller(const struct ml_spot *p, uint32_t previous_at,
								       uint32_t instr_at)
{
	const void *caller = p[-1].frame;

	return __builtin_expect((const void *)ml_load_word(p->frame, previous_at) == caller, 1) &&
	       __builtin_expect(ml_load_word(caller, instr_at) == p[-1].instr, 1);
}

/* Whether all from the spot, whose frame is live, down to the caller of the one at stop is as the chain has it, but for
   that caller's position. Positions are pointers. */
static inline __attribute__((always_inline)) bool ml_stack_same_down(const struct ml_spot *p,
								     const struct ml_spot *stop)
{
	const uint32_t previous_at = ml_process.abi.is.at.frame_previous, instr_at = ml_process.abi.is.at.frame_instr;

	for (const struct ml_spot *eighth = stop + 8; p >= eighth; p -= 8)
		if (!(ml_stack_same_caller(p, previous_at, instr_at) &&
		      ml_stack_same_caller(p - 1, previous_at, instr_at) &&
		      ml_stack_same_caller(p - 2, previous_at, instr_at) &&
		      ml_stack_same_caller(p - 3, previous_at, instr_at) &&
		      ml_stack_same_caller(p - 4, previous_at, instr_at) &&
		      ml_stack_same_caller(p - 5, previous_at, instr_at) &&
		      ml_stack_same_caller(p - 6, previous_at, instr_at) &&
		      ml_stack_same_caller(p - 7, previous_at, instr_at)))
			return false;
	for (; p > stop; p--)
		if (!ml_stack_same_caller(p, previous_at, instr_at))
			return false;
	return (const void *)ml_load_word(p->frame, previous_at) == p[-1].frame;
}

/* Whether the thread is known to have no Python stack, and never had one: ml_stack_python() would give 0. */
static inline bool ml_stack_is_native(struct ml_stack *s)
{
	return !s->walker.current && !s->depth && ml_walk_is_stateless(&s->walker);
}

/* What ml_stack_python() gives where the frames may be others than those of the event before. top: of
   ml_walk_top_quick() or ml_walk_top_held(). */
uint32_t ml_stack_changed(struct ml_stack *s, const void *top);

/* The calling thread's Python stack as a node; 0: no Python frame, or none that can be trusted. held: see
   ml_walk_top_held(). */
static inline __attribute__((always_inline)) uint32_t ml_stack_python(struct ml_stack *s, bool held)
{
	const struct ml_abi *abi = &ml_process.abi;
	char here;
	const void *top =
		held ? ml_walk_top_held(abi, &s->walker) : ml_walk_top_quick(abi, &s->walker, (uintptr_t)&here);
	struct ml_spot *p = s->top;
	struct ml_link *l = s->top_link;
	uintptr_t instr;

	if (__builtin_expect(p->frame != top || !ml_stack_same_down(p, s->stop), 0))
		return ml_stack_changed(s, top);
	instr = ml_load_word(top, abi->is.at.frame_instr);
	if (instr == p->instr)
		return l->node;
	if (__builtin_expect(ml_frame_code(abi, top) != l->code || !ml_stack_has_code(l), 0))
		return ml_stack_changed(s, top);
	p->instr = instr;
	return l->node = ml_stack_node(s, l, instr, instr - (uintptr_t)l->code);
}

#endif
