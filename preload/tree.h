/*
 * The process-wide tree of stacks, and the code objects and modules that its nodes name: written once, as definitions
 * of the trace. Looking up what is known takes no lock; adding takes ml_process.lock.
 */
#ifndef ML_PRELOAD_TREE_H
#define ML_PRELOAD_TREE_H

#include <stdbool.h>

#include "symbolize/native/modules.h"
#include "trace/format.h"

/* The node of a frame under parent. Where the tree is full: a Python frame under a node that says so, a native one
   under its parent all the same; once these overflow as well, what the frame would have stood under. 0: there is no
   memory. */
uint32_t ml_tree_node(uint32_t parent, uint32_t subject, uint64_t place);

/* The id of a code object, which is described at first sight. UINT32_MAX: it can't be read. */
uint32_t ml_tree_code(const void *code);

/* Writes the definition of a module: the callback of ml_modules_refresh(). */
void ml_tree_module(void *unused, const struct ml_module *module);

/* Forgets everything, for a trace that starts anew: no other thread may use the tree. False: no memory. */
bool ml_tree_reset(void);

/* Nodes so far, the root included. */
uint32_t ml_tree_nodes(void);

#endif
