/*
 * The objects that are or were loaded into this process, so that a return address can be told as a module and an
 * offset that mean the same after the object is gone.
 *
 * In process: memory comes in whole pages from a callback and is never given back; errno is not touched.
 *
 * One thread at a time refreshes. It takes the loader's lock, and the program may allocate while it holds that: so hold
 * no lock that a hook waits for, and take the one that keeps other refreshers away by trying, not by waiting. The other
 * functions may run at any time, also in a signal handler that interrupted a refresh, and in a child that was forked in
 * the middle of one (such a child may refresh, too).
 */
#ifndef ML_SYMBOLIZE_NATIVE_MODULES_H
#define ML_SYMBOLIZE_NATIVE_MODULES_H

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

/* An object at one load address. Stays as it is for good, also when the object is unloaded. */
struct ml_module {
	uint32_t id;     /* from 1 */
	uint32_t epoch;  /* of the table when the module came */
	uintptr_t base;  /* load bias: address in memory minus address in the file */
	uintptr_t start; /* lowest and one past the highest mapped address */
	uintptr_t end;
	const char *path; /* the loader's (it may be relative), "[vdso]", or what the caller said of the program */
	const uint8_t *build_id;
	uint32_t path_bytes; /* without the NUL */
	uint32_t build_id_bytes;
	uintptr_t unwind_table; /* its .eh_frame_hdr; 0: it has none */
};

#define ML_MODULES_PER_BLOCK 256u
#define ML_MODULES_MAX (64u * ML_MODULES_PER_BLOCK)

struct ml_module_texts;
struct ml_module_segments;
struct ml_module_index;

/* All zero but for what ml_modules_init() sets. */
struct ml_modules {
	void *(*pages)(size_t bytes); /* zeroed and page aligned, or NULL */
	const char *program;
	_Atomic uint32_t count; /* of modules; they lie in the blocks by id */
	struct ml_module *block[ML_MODULES_MAX / ML_MODULES_PER_BLOCK];
	_Atomic(struct ml_module_texts *) texts;       /* the block with room for the next module's texts */
	_Atomic(struct ml_module_segments *) segments; /* of the refresh at work */
	/* What readers search: the index of epoch e is index[e % 2], left alone until epoch e + 1 is published. */
	_Atomic uint32_t epoch;
	_Atomic(struct ml_module_index *) index[2];
};

/* program: path of the program, kept, not copied: for the object that the loader has no name for. */
void ml_modules_init(struct ml_modules *m, void *(*pages)(size_t bytes), const char *program);

/*
 * Brings the table up to date with the loader's list. Calls added (if not NULL) for each module that was never seen
 * before, by ascending id, without the loader's lock, and before ml_modules_find() can give the module out. An object
 * that is loaded again at the address that it had (same path and build id) is the module that it was. Returns the
 * number of loaded objects for which there was no room: their addresses are in no known module.
 */
unsigned ml_modules_refresh(struct ml_modules *m, void (*added)(void *context, const struct ml_module *module),
			    void *context);

/*
 * The id of the loaded module with a segment at the address, as of the last refresh, and in *offset the address minus
 * the module's base. If there is none 0, and the address itself.
 */
uint32_t ml_modules_find(const struct ml_modules *m, uintptr_t address, uint64_t *offset);

/* The same module itself, or NULL. */
const struct ml_module *ml_modules_at(const struct ml_modules *m, uintptr_t address);

/* Counts the refreshes that found a change: what was looked up in an earlier epoch may be another module's now. */
static inline uint32_t ml_modules_epoch(const struct ml_modules *m)
{
	return atomic_load_explicit(&m->epoch, memory_order_acquire);
}

/* The number of modules, loaded or not, and each by its id, from 1 to that number. */
uint32_t ml_modules_count(const struct ml_modules *m);
const struct ml_module *ml_modules_get(const struct ml_modules *m, uint32_t id);

#endif
