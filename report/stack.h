/*
 * Whole stacks, of one trace or several, with names for people and for other programs.
 *
 * A frame is a place in code: a line of a Python function, a return address in an object file, or a mark that callers
 * were left out. At one place there may be several calls, one inlined into the other. Stacks are a tree again, but one
 * that knows no trace and in which lines of Python are told apart, not instructions.
 */
#ifndef ML_REPORT_STACK_H
#define ML_REPORT_STACK_H

#include "report/fold.h"
#include "report/intern.h"
#include "report/native.h"

/* Texts live as long as the stacks and their objects. */
struct ml_call {
	const char *function;
	const char *file; /* NULL: not known */
	int line;         /* 0: not known, as the next */
	int first_line;   /* of the function */
};

struct ml_frame {
	enum ml_node_kind kind;
	uint32_t object;     /* ML_NODE_NATIVE: number among the objects, */
	uint64_t address;    /* and the return address in its file */
	uint32_t first_call; /* of calls_n in ml_stacks.calls, innermost first; ML_NODE_NATIVE has none before
				ml_stacks_finish(), the others have one */
	uint32_t calls_n;
};

/* What was done, and is owned, with exactly this stack. */
struct ml_stack {
	uint32_t parent; /* smaller than its own number */
	uint32_t frame;
	uint32_t depth; /* frames */
	struct ml_amount amount;
};

/* All zero: none. */
struct ml_stacks {
	struct ml_stack *items; /* 0 is the empty one, with which nothing happens: in its place
				   there is one with a mark as its only frame */
	uint32_t n;
	uint32_t depth; /* of the deepest */
	struct ml_frame *frames;
	uint32_t frames_n;
	struct ml_call *calls;
	uint32_t calls_n;
	struct ml_texts texts;       /* private, as all below: of calls */
	struct ml_pairs names;       /* of file and function, */
	struct ml_pairs functions;   /* of these and the first line, */
	struct ml_pairs lines;       /* of these and the line */
	struct ml_pairs highs;       /* of object and upper half of the address, */
	struct ml_pairs addresses;   /* of these and the lower half */
	struct ml_pairs frame_index; /* of kind and number of such a pair: the frame's number */
	struct ml_pairs stack_index; /* of the caller's stack and the frame: the stack's number - 1 */
};

/* Adds the nodes of a trace with which something happened. It has to be the trace that the objects took last. Returns
   their stacks by node, 0 where nothing happened, which the caller frees. */
uint32_t *ml_stacks_add(struct ml_stacks *s, const struct ml_trace *t, const struct ml_fold *fold,
			struct ml_objects *objects);

/* After the last one: names native frames. */
void ml_stacks_finish(struct ml_stacks *s, struct ml_objects *objects);

/* Writes the frames of a stack, as many as it is deep, root first. */
void ml_stacks_path(const struct ml_stacks *s, uint32_t stack, uint32_t *frames);

/* One of the frame's calls, "function (file:line)", with the module where that isn't known. The caller frees it. */
char *ml_stacks_text(const struct ml_stacks *s, const struct ml_objects *objects, const struct ml_frame *frame,
		     uint32_t call);

/* Whether the file is of the module that runs the bodies of modules: CPython's Lib/importlib/_bootstrap.py and
   _bootstrap_external.py, frozen. */
bool ml_stack_imports(const char *file);

void ml_stacks_free(struct ml_stacks *s);

#endif
