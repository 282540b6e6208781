/*
 * The process-wide tree of stacks, and the code objects and modules that its nodes name: written once, as definitions
 * of the trace. Looking up what is known takes no lock; adding takes ml_process.lock.
 */
#ifndef ML_PRELOAD_TREE_H
#define ML_PRELOAD_TREE_H

#include <stdatomic.h>
#include <stdbool.h>

#include "preload/hidden.h"
#include "symbolize/native/modules.h"
#include "trace/format.h"

/* The node of a frame under parent. Where the tree is full: a Python frame under a node that says so, a native one
   under its parent all the same; once these overflow as well, what the frame would have stood under. 0: there is no
   memory. */
uint32_t ml_tree_node(uint32_t parent, uint32_t subject, uint64_t place);

/* What the recorder wants to know of a code object: a function in the scope that is set (nothing is, as long as the
   scope is not known, which is until META is written), and of these, one that makes generators or coroutines. */
#define ML_CODE_USERS 1u
#define ML_CODE_GENERATOR 2u

/* The id of a code object, which is described at first sight. UINT32_MAX: it can't be read. *traits: ML_CODE_*. */
uint32_t ml_tree_code_traits(const void *code, uint32_t *traits);

static inline uint32_t ml_tree_code(const void *code)
{
	uint32_t traits;

	return ml_tree_code_traits(code, &traits);
}

/*
 * Before CPython 3.12 nothing in a code object tells it from a later one at its address, so that what it says must be
 * looked at for each new frame. Not so where the frees of all objects are seen: then what is known of an address holds
 * until it is freed.
 */

/* Code objects that have been freed since frees are seen, plus 1; 0 where they are not seen, or need not be. */
extern _Atomic uint32_t ml_tree_epoch ML_HIDDEN;

/* From now on ml_tree_object_freed() is called before any object is freed. Only where code objects have no version. */
void ml_tree_sees_frees(void);

/* A hash of the addresses at which there were code objects. */
#define ML_CODE_BITS 16
extern uint64_t ml_tree_code_bits[(1u << ML_CODE_BITS) / 64] ML_HIDDEN;

static inline uint32_t ml_tree_code_bit(const void *object)
{
	return (uint32_t)((uint64_t)(uintptr_t)object * 0x9e3779b97f4a7c15u >> (64 - ML_CODE_BITS));
}

/* may_lock: no lock of this thread's is held. */
void ml_tree_code_freed(const void *object, bool may_lock);

static inline void ml_tree_object_freed(const void *object, bool may_lock)
{
	uint32_t bit = ml_tree_code_bit(object);

	if (__builtin_expect(ml_tree_code_bits[bit / 64] >> bit % 64 & 1, 0))
		ml_tree_code_freed(object, may_lock);
}

/* Writes the definition of a module: the callback of ml_modules_refresh(). */
void ml_tree_module(void *unused, const struct ml_module *module);

/* Forgets everything, for a trace that starts anew: no other thread may use the tree. False: no memory. */
bool ml_tree_reset(void);

/* Nodes so far, the root included. */
uint32_t ml_tree_nodes(void);

#endif
