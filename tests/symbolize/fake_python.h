/*
 * An interpreter made of bytes: what abi.c, walk.c and code.c read of CPython, laid out as a row of the table says.
 * Every object is a heap block of its own size, so that a sanitizer sees each read beside it. There is one at a time.
 */
#ifndef ML_TESTS_FAKE_PYTHON_H
#define ML_TESTS_FAKE_PYTHON_H

#include "symbolize/python/code.h"
#include "symbolize/python/walk.h"

#define FAKE_OLDEST 8
#define FAKE_NEWEST 15
#define FAKE_MEMBERS 12

struct fake_member {
	const char *name;
	int type;
	intptr_t offset;
	int flags;
	const char *doc;
};

/* PyTypeObject, as far as it is read. */
struct fake_type {
	intptr_t references;
	const void *type;
	intptr_t size;
	const char *name;
	intptr_t basicsize;
	intptr_t itemsize;
	uint64_t between[15];
	uint64_t flags;
	uint64_t more[8];
	const struct fake_member *members;
};

struct fake_python {
	const struct ml_python *row;
	char version[96];    /* what Py_GetVersion() gives */
	const char *missing; /* a symbol that it doesn't have, or NULL */
	char *runtime;
	struct fake_type type_type, code_type, frame_type, unicode_type, bytes_type;
	struct fake_type generator_type, coroutine_type, async_generator_type;
	struct fake_member code_members[FAKE_MEMBERS];
	struct fake_member frame_members[FAKE_MEMBERS];
	void *current, *bound; /* what the thread state functions give */
};

extern struct fake_python fake;

/* Fills fake for a minor version, "3.MINOR.1". */
void fake_make(unsigned minor);
/* Frees every object. */
void fake_drop(void);
/* For ml_abi_init(). */
void *fake_lookup(void *context, const char *symbol);
/* ml_abi_init() on what fake is now; fails the test if it refuses. */
void fake_init(struct ml_abi *abi);

void fake_set_word(void *object, uint32_t offset, uintptr_t word);
void fake_set_int(void *object, uint32_t offset, int32_t value);

/* Whether blocks lie side by side in one mapping, not each in its own: for what looks at memory that may be anybody's.
   Until fake_drop(). */
extern bool fake_loose;

/* A block of zeros that fake_drop() frees. */
void *fake_block(size_t bytes);
void *fake_bytes(const void *data, size_t bytes);
/* A compact str of kind bytes a character; kind 0: ASCII. */
void *fake_string(unsigned kind, const void *characters, size_t length);
void *fake_ascii(const char *text);
/* A code object with so many two-byte units of bytecode, the first of them not traceable. */
void *fake_code(const char *file, const char *name, int first_line, unsigned units, unsigned untraceable);
/* A frame in a block of its own, at the unit of the bytecode. */
void *fake_frame(void *code, void *previous, unsigned owner, int unit);
void fake_fill_frame(void *frame, void *code, void *previous, unsigned owner, int unit);
/* A thread state of this thread with this innermost frame; the _PyCFrame, where there is one, is the caller's. */
void *fake_thread(void *frame, void *cframe);

#endif
