/*
 * Whole stacks, native and Python (MEMLINE_NATIVE=full): from the stack of the calling thread to a node of the tree in
 * which the interpreter's own function that runs Python code is replaced by the Python frames that it runs.
 *
 * As with Python frames each thread keeps the chain of its last event, root first, each frame with its node. A native
 * frame leads to its caller by one or two words in memory. Where these are still what they were, so is the caller. What
 * lies on top of the last frame for which that holds is unwound anew. Then the Python frames are looked over: only from
 * the lowest one on that has changed are nodes asked for.
 */
#ifndef ML_PRELOAD_MERGED_H
#define ML_PRELOAD_MERGED_H

#include <stdbool.h>
#include <stdint.h>

#include "symbolize/native/unwind.h"

struct ml_stack;
struct ml_merged;

/* What has to be known of the interpreter. Once, when it is there and the modules are known. */
void ml_merged_start(void *eval);

/* The whole stack of the calling thread as a node. python: what ml_stack_python() has just given. caller: who called
   the hook, the innermost frame where the stack is too deep. */
uint32_t ml_merged_node(struct ml_stack *s, uint32_t python, const void *caller);

/* Memory for a thread's chain, or NULL. */
struct ml_merged *ml_merged_open(void);

/* Forgets the chain: the thread is another one. */
void ml_merged_reset(struct ml_merged *c);

void ml_merged_close(struct ml_merged *c);

#endif
