/*
 * Python frames made by hand, in memory laid out as nobody's CPython does it: the recorder knows offsets and nothing
 * else.
 */
#ifndef ML_TEST_FRAMES_H
#define ML_TEST_FRAMES_H

#include <stddef.h>
#include <stdint.h>

struct object {
	uint64_t references;
	const void *type;
	uint64_t size;
};

struct code {
	struct object head;
	const void *file;
	const void *name;
	const void *table;
	const void *consts;
	const struct object *exceptions; /* size 0: it handles none */
	int32_t first_line;
	int32_t flags;
	uint32_t version;
	int32_t first_traceable;
	uint16_t bytecode[64];
};

/* As long as a frame without local variables on CPython's data stack, or so. */
struct frame {
	const void *previous;
	uint64_t code; /* an address with a tag in the low bits */
	const uint16_t *instr;
	int32_t index; /* of instr in the bytecode */
	uint8_t owner;
};

#define FRAME_OWNER_SHIM 3

/* The innermost frame of the calling thread. */
extern __thread const struct frame *frames_top;

/* Not 0: a function of sys.settrace() runs in the calling thread. */
extern __thread int frames_tracing;

/* The data stack that has all frames but shims, in one chunk. NULL: nobody looks for it. */
extern const void *frames_chunk, *frames_chunk_end;

/* What all interpreters have in common. */
extern struct frames_runtime {
	uintptr_t finalizing;   /* not 0: the interpreter finalizes */
	uintptr_t newest, main; /* interpreters */
} frames_runtime;

#define FRAMES_VERSIONS 1u /* code objects have numbers, as from CPython 3.12 on */
#define FRAMES_INDEX 2u    /* a frame's position is an index, not a pointer, as before 3.11 */

/* From here on the process has a CPython whose frames can be walked. */
void frames_start(unsigned how);

/* A code object of 64 instructions that can be any. The texts are copied. */
struct code *frames_code(const char *file, const char *name, int first_line);

/* The same again at a given place. */
void frames_make_code(struct code *at, const char *file, const char *name, int first_line);

/* The address with its tag. */
uint64_t frames_tagged(const struct code *code);

#endif
