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

#include "symbolize/python/walk.h"

/* Where a frame stands: what is compared at each event. */
struct ml_spot {
	const void *frame;
	uintptr_t instr; /* as ml_frame_instr() gives it */
};

/* What was made of it. */
struct ml_link {
	const void *code;
	uint32_t version; /* see code_version() */
	uint32_t known;   /* the id of the code with that version, plus 1; 0: not known, or the frame runs no code */
	uint32_t node;    /* a shim has that of its caller */
	/* ML_CODE_USERS, which a shim has if its caller has it, and ML_CODE_GENERATOR. Of a way into the user's code,
	   which is a link of the user's whose caller is none, the rest is ml_stack.ways without it. */
	uint32_t users;
};

/* A node that this thread has asked the tree for, kept at hand: the tree is large, and what is asked for is little. */
struct ml_recent {
	uint64_t place; /* Python: instr less the code's address, or as it is. Of a caller the address */
	uint32_t parent;
	uint32_t subject; /* of a caller ML_SUBJECT(ML_NODE_NATIVE, 0) */
	uint32_t node;    /* 0: nothing here */
	uint32_t unused;
};

#define ML_RECENTS 512u

struct ml_stack {
	struct ml_spot *spots; /* root first */
	struct ml_link *links; /* behind the spots in the same memory */
	uint32_t depth;
	uint32_t room;
	uint32_t countdown; /* walks until the whole chain is compared again */
	uint32_t blind;     /* events that get their innermost frame only: the stack was too deep */
	uint32_t modules_epoch;
	struct ml_recent *recents; /* direct-mapped */
	struct ml_merged *merged;  /* with MEMLINE_NATIVE=full */
	struct ml_walker walker;
	/* The user's code has been entered or left, which is told in front of the next record: see ml_ring_attend(). */
	uint32_t ways;         /* links up to the innermost way into it, that included */
	uint32_t generators;   /* links up to the outermost of the user's that is a generator's, that included */
	uint32_t watched;      /* the larger of these */
	bool crossed;          /* there is something to tell, */
	uint32_t events_left;  /* and this is what *attend was then */
	uint32_t *attend;      /* the countdown of the ring, which 1 makes attend to the event; NULL: there is none */
	const void *generator; /* the one that generators is about */
	const void *told;      /* the last one that the trace names */
	uint32_t instead;      /* 0, or the node of every event: see ml_stack_instead() */
	struct ml_walker kept;
};

/* Frames from the root that get nodes of their own; deeper ones share one <deeper> node. */
#define ML_STACK_NODES 4096u

/* Frames that are compared at each event; the rest of the chain is trusted but at every ML_STACK_WHOLE-th event. */
#define ML_STACK_VERIFIED 256u
#define ML_STACK_WHOLE 64u

/* The calling thread's Python stack as a node; 0: no Python frame, or none that can be trusted. */
uint32_t ml_stack_python(struct ml_stack *s);

/* parent with the native frame that called the allocator on top. */
uint32_t ml_stack_caller(struct ml_stack *s, uint32_t parent, const void *caller);

/* A frame of the chain on top of parent. It has to run code that is known: links[index].known. */
uint32_t ml_stack_frame(const struct ml_stack *s, uint32_t index, uint32_t parent);

/* A mark on top of parent. */
uint32_t ml_stack_mark(const struct ml_stack *s, uint32_t parent, enum ml_mark mark);

/* From now on the thread's events get this node, whatever its stack; 0: no longer. */
void ml_stack_instead(struct ml_stack *s, uint32_t node);

/* Makes a stack, all zero at first, ready for another thread. What was learnt stays, but not the chain. False: no
   memory. */
bool ml_stack_prepare(struct ml_stack *s);

/* Forgets everything: there is another tree. */
void ml_stack_forget(struct ml_stack *s);

#endif
