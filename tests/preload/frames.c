#include "tests/preload/frames.h"

#include <check.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/auxv.h>

#include "preload/process.h"

/* PyTypeObject up to tp_flags (Include/cpython/object.h). */
struct type {
	struct object head;
	uint8_t fields[168 - sizeof(struct object)];
	uint64_t flags;
};

struct text {
	struct object head; /* size: characters */
	uint32_t state;
	char data[128];
};

struct bytes {
	struct object head;
	uint8_t data[64];
};

struct thread {
	const void *frame;
	uint32_t status;
	int tracing;
	const void *chunk, *top;
};

#define COMPACT_ASCII (1u << 2 | 1u << 5 | 1u << 6) /* one byte a character; compact; ASCII */
#define CLEARED 1u
#define TAG 1u

__thread const struct frame *frames_top;
__thread int frames_tracing;
const void *frames_chunk, *frames_chunk_end;
struct frames_runtime frames_runtime;

static const struct type code_type, text_type = {.flags = 1u << 28}, bytes_type = {.flags = 1u << 27};
static const struct object no_exceptions = {.type = &bytes_type};
static uint32_t versions_made;

/* Objects live as long as the test. */
static void *allocate(size_t bytes)
{
	static _Alignas(16) char arena[64 << 20];
	static _Atomic size_t used;
	size_t at = atomic_fetch_add(&used, (bytes + 15) / 16 * 16);

	if (at + bytes > sizeof arena)
		ck_abort_msg("the arena is used up");
	return arena + at;
}

static void *current_thread(void)
{
	static __thread struct thread thread;

	thread.frame = frames_top;
	thread.tracing = frames_tracing;
	thread.chunk = frames_chunk;
	thread.top = frames_chunk_end;
	return &thread;
}

static int is_initialized(void)
{
	return 1;
}

void frames_start(unsigned how)
{
	struct ml_abi *a = &ml_process.abi;
	struct ml_offsets *at = &a->is.at;

	memset(a, 0, sizeof *a);
	strcpy(a->version, "3.99.0");
	a->runtime = (const char *)&frames_runtime;
	at->runtime_interpreters = offsetof(struct frames_runtime, newest);
	a->main_stack_end = getauxval(AT_RANDOM);
	a->code_type = &code_type;
	a->current_thread = a->bound_thread = current_thread;
	a->is_initialized = is_initialized;
	a->is.code_type_basicsize = sizeof(struct code);
	a->is.code_mask = ~(uintptr_t)3;
	a->is.shim_owner = FRAME_OWNER_SHIM;
	a->is.cleared = CLEARED;
	a->is.lines = ML_LINES_LOCATIONS;
	at->thread_frame = offsetof(struct thread, frame);
	at->thread_chunk = offsetof(struct thread, chunk);
	at->thread_status = offsetof(struct thread, status);
	at->frame_previous = offsetof(struct frame, previous);
	at->frame_code = offsetof(struct frame, code);
	at->frame_instr = how & FRAMES_INDEX ? offsetof(struct frame, index) : offsetof(struct frame, instr);
	a->is.instr_unit = how & FRAMES_INDEX ? sizeof(uint16_t) : 0;
	at->frame_owner = offsetof(struct frame, owner);
	at->frame_size = sizeof(struct frame);
	at->code_file = offsetof(struct code, file);
	at->code_name = offsetof(struct code, name);
	at->code_table = offsetof(struct code, table);
	at->code_consts = offsetof(struct code, consts);
	at->code_first_line = offsetof(struct code, first_line);
	at->code_flags = offsetof(struct code, flags);
	if (how & FRAMES_VERSIONS) {
		at->code_version = offsetof(struct code, version);
		at->code_exceptions = offsetof(struct code, exceptions);
		at->thread_tracing = offsetof(struct thread, tracing);
	}
	at->code_first_traceable = offsetof(struct code, first_traceable);
	at->code_bytes = offsetof(struct code, bytecode);
	at->object_type = offsetof(struct object, type);
	at->object_size = offsetof(struct object, size);
	at->bytes_data = offsetof(struct bytes, data);
	at->unicode_length = offsetof(struct object, size);
	at->unicode_state = offsetof(struct text, state);
	at->unicode_ascii = offsetof(struct text, data);
	ml_process.refused = NULL;
	ml_process.python = true;
	atomic_store(&ml_process.walks, true);
}

static const void *text(const char *from)
{
	struct text *t = allocate(sizeof *t);

	t->head.type = &text_type;
	t->head.size = strlen(from);
	t->state = COMPACT_ASCII;
	strcpy(t->data, from);
	return t;
}

/* A location table, as far as anyone here looks: bytes that say something of the code. */
static const void *table(const char *from)
{
	struct bytes *b = allocate(sizeof *b);

	b->head.type = &bytes_type;
	b->head.size = strlen(from) % sizeof b->data;
	memcpy(b->data, from, b->head.size);
	return b;
}

void frames_make_code(struct code *at, const char *file, const char *name, int first_line)
{
	memset(at, 0, sizeof *at);
	at->head.type = &code_type;
	at->head.size = sizeof at->bytecode / sizeof *at->bytecode;
	at->file = text(file);
	at->name = text(name);
	at->table = table(name);
	at->exceptions = &no_exceptions;
	at->first_line = first_line;
	at->first_traceable = 2;
	at->version = ++versions_made;
}

struct code *frames_code(const char *file, const char *name, int first_line)
{
	struct code *c = allocate(sizeof *c);

	frames_make_code(c, file, name, first_line);
	return c;
}

uint64_t frames_tagged(const struct code *code)
{
	return (uint64_t)(uintptr_t)code | TAG;
}
