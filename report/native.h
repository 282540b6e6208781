/*
 * Which native code asked the C library for memory: what a line allocated without CPython's allocators, by module and
 * function.
 *
 * An *owner* is what gets the bytes of a stack: a line, or one of the two parts that belong to no line.
 */
#ifndef ML_REPORT_NATIVE_H
#define ML_REPORT_NATIVE_H

#include <stdbool.h>
#include <stdint.h>

#include "report/fold.h"
#include "report/objects.h"

/* Owners that are no lines. */
#define ML_OWNER_NATIVE (UINT32_MAX - 1)
#define ML_OWNER_OUT_OF_SCOPE (UINT32_MAX - 2)

struct ml_amount {
	uint64_t increment_bytes; /* as two's complement */
	uint64_t live_bytes;
	uint64_t live_blocks;
	uint64_t peak_bytes;
	uint64_t allocated_bytes;
	uint64_t allocations;
};

struct ml_amount ml_amount_of(const struct ml_tally *t);
void ml_amount_add(struct ml_amount *to, const struct ml_amount *a);
bool ml_amount_is_nothing(const struct ml_amount *a);

/* A caller of the C library's allocators on behalf of one owner. */
struct ml_native {
	uint32_t owner;
	uint32_t object;
	uint64_t address;     /* return address in the object's file; 0 where only the module counts */
	const char *function; /* innermost one there; NULL: not known */
	const char *file;
	uint32_t line;
	struct ml_amount amount;
};

/* Of one trace or several. All zero: empty. */
struct ml_natives {
	struct ml_objects objects;
	struct ml_native *items; /* after ml_natives_finish(): by owner, the largest first */
	size_t n;
	struct ml_amount python; /* what went through CPython's allocators, of all owners together */
};

/* How far callers are told apart. */
enum ml_native_detail {
	ML_NATIVE_MODULES,   /* by module, and no file is opened */
	ML_NATIVE_OUTSIDE,   /* the same but for ML_OWNER_NATIVE: that by function and line of source */
	ML_NATIVE_FUNCTIONS, /* all by function and line of source */
};

/* Adds the nodes of a trace: owners has one for each node of the fold. */
void ml_natives_add(struct ml_natives *s, const struct ml_trace *t, const struct ml_fold *fold, const uint32_t *owners);

/* After the last one: finds names and sums up what is the same. */
void ml_natives_finish(struct ml_natives *s, enum ml_native_detail detail);

void ml_natives_free(struct ml_natives *s);

/* The callers of one owner, and how many there are. */
const struct ml_native *ml_natives_of(const struct ml_natives *s, uint32_t owner, size_t *n);

/* What a module did for an owner, or for all of them. */
struct ml_module_amount {
	const char *name;
	struct ml_amount amount;
};

/*
 * The callers by the names of their modules, those first that held the most, at the end or at the peak; what CPython's
 * allocators did (python) is part of "python". Modules that allocated nothing are left out. The caller frees the array.
 */
struct ml_module_amount *ml_natives_by_module(const struct ml_natives *s, const struct ml_native *items, size_t n,
					      const struct ml_amount *python, size_t *modules_n);

/* "function", or "module+0xaddress" where it isn't known. The caller frees it. */
char *ml_native_function(const struct ml_natives *s, const struct ml_native *item);

#endif
