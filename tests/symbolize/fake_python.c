#include "tests/symbolize/fake_python.h"

#include <check.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define LOOSE_BYTES (1u << 20)
#define RUNTIME_BYTES 8192
#define THREAD_BYTES 512
#define UNICODE (1u << 28)
#define BYTES (1u << 27)

struct fake_python fake;
bool fake_loose;

static void *blocks[4096];
static unsigned block_count;
static char *loose;
static size_t loose_used;

void fake_set_word(void *object, uint32_t offset, uintptr_t word)
{
	memcpy((char *)object + offset, &word, sizeof(word));
}

void fake_set_int(void *object, uint32_t offset, int32_t value)
{
	memcpy((char *)object + offset, &value, sizeof(value));
}

static void *loose_block(size_t bytes)
{
	void *block;

	if (!loose) {
		loose = mmap(NULL, LOOSE_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		ck_assert_ptr_ne(loose, MAP_FAILED);
		loose_used = 4096; /* there is something before the first */
	}
	block = loose + loose_used;
	loose_used += (bytes + 15) / 16 * 16;
	ck_assert_uint_lt(loose_used, LOOSE_BYTES - 4096);
	return block;
}

void *fake_block(size_t bytes)
{
	void *block;

	if (fake_loose)
		return loose_block(bytes);
	block = calloc(1, bytes);
	ck_assert_ptr_nonnull(block);
	ck_assert_uint_lt(block_count, sizeof(blocks) / sizeof(blocks[0]));
	blocks[block_count++] = block;
	return block;
}

void fake_drop(void)
{
	while (block_count)
		free(blocks[--block_count]);
	if (loose)
		munmap(loose, LOOSE_BYTES);
	loose = NULL;
	fake_loose = false;
	memset(&fake, 0, sizeof(fake));
}

static const char *get_version(void)
{
	return fake.version;
}

static void *current_thread(void)
{
	return fake.current;
}

static void *bound_thread(void)
{
	return fake.bound;
}

static void unused(void)
{
	ck_abort_msg("not to be called");
}

static void *address_of(void (*function)(void))
{
	void *address;
	memcpy(&address, &function, sizeof(address));
	return address;
}

void *fake_lookup(void *context, const char *symbol)
{
	const bool old_name = fake.row && fake.row->minor < 13;
	const struct {
		const char *symbol;
		void *address;
	} all[] = {
		{"_PyRuntime", fake.runtime},
		{"PyType_Type", &fake.type_type},
		{"PyCode_Type", &fake.code_type},
		{"PyFrame_Type", &fake.frame_type},
		{"PyGen_Type", &fake.generator_type},
		{"PyCoro_Type", &fake.coroutine_type},
		{"PyAsyncGen_Type", &fake.async_generator_type},
		{"Py_GetVersion", address_of((void (*)(void))get_version)},
		{"PyGILState_GetThisThreadState", address_of((void (*)(void))bound_thread)},
		{"PyThreadState_GetUnchecked", old_name ? NULL : address_of((void (*)(void))current_thread)},
		{"_PyThreadState_UncheckedGet", old_name ? address_of((void (*)(void))current_thread) : NULL},
		{"Py_IsInitialized", address_of(unused)},
		{"PyMem_GetAllocator", address_of(unused)},
		{"PyMem_SetAllocator", address_of(unused)},
		{"PyObject_GetArenaAllocator", address_of(unused)},
		{"PyObject_SetArenaAllocator", address_of(unused)},
	};

	(void)context;
	if (fake.missing && !strcmp(symbol, fake.missing))
		return NULL;
	for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++)
		if (!strcmp(symbol, all[i].symbol))
			return all[i].address;
	return NULL;
}

void fake_init(struct ml_abi *abi)
{
	const char *why = NULL;
	int result = ml_abi_init(abi, fake_lookup, NULL, &why);
	ck_assert_msg(result == 0 && !why, "3.%u: %s", fake.row->minor, why ? why : "no reason");
}

static void make_type(struct fake_type *type, const char *name, uint64_t flags)
{
	type->references = 1;
	type->type = &fake.type_type;
	type->name = name;
	type->flags = flags;
}

static void add_member(struct fake_member *members, const char *name, uint32_t offset)
{
	while (members->name)
		members++;
	members->name = name;
	members->offset = offset;
}

static void make_members(void)
{
	const struct ml_offsets *at = &fake.row->at;

	fake.code_type.basicsize = (intptr_t)fake.row->code_type_basicsize;
	fake.code_type.members = fake.code_members;
	add_member(fake.code_members, "co_flags", at->code_flags);
	add_member(fake.code_members, "co_consts", at->code_consts);
	add_member(fake.code_members, "co_filename", at->code_file);
	if (strcmp(fake.row->name_member, "co_name") != 0)
		add_member(fake.code_members, "co_name", at->code_name - 8);
	add_member(fake.code_members, fake.row->name_member, at->code_name);
	add_member(fake.code_members, "co_firstlineno", at->code_first_line);
	add_member(fake.code_members, fake.row->table_member, at->code_table);
	fake.frame_type.members = fake.frame_members;
	if (!at->frame_trace_lines)
		return;
	add_member(fake.frame_members, "f_back", at->frame_previous);
	add_member(fake.frame_members, "f_code", at->frame_code);
	add_member(fake.frame_members, "f_trace_lines", at->frame_trace_lines);
	if (fake.row->instr_unit == 1)
		add_member(fake.frame_members, "f_lasti", at->frame_instr);
}

/* _Py_DebugOffsets, of which the row knows the positions. */
static void make_debug_offsets(unsigned minor)
{
	const uint32_t *position = (const uint32_t *)&fake.row->debug;
	const uint32_t *offset = (const uint32_t *)&fake.row->at;

	if (!fake.row->debug.thread_frame)
		return;
	memcpy(fake.runtime, "xdebugpy", 8);
	fake_set_word(fake.runtime, 8, 3u << 24 | minor << 16 | 1u << 8 | 0xf0);
	for (size_t i = 0; i < sizeof(struct ml_offsets) / sizeof(uint32_t); i++)
		if (position[i])
			fake_set_word(fake.runtime, position[i], offset[i]);
}

void fake_make(unsigned minor)
{
	fake_drop();
	fake.row = ml_abi_row(minor);
	ck_assert_ptr_nonnull(fake.row);
	snprintf(fake.version, sizeof(fake.version), "3.%u.1 (main, Dec  4 2023, 18:10:11) [GCC 12.2.0]", minor);
	fake.runtime = fake_block(RUNTIME_BYTES);
	make_type(&fake.type_type, "type", 0);
	make_type(&fake.code_type, "code", 0);
	make_type(&fake.frame_type, "frame", 0);
	make_type(&fake.unicode_type, "str", UNICODE);
	make_type(&fake.bytes_type, "bytes", BYTES);
	make_type(&fake.generator_type, "generator", 0);
	make_type(&fake.coroutine_type, "coroutine", 0);
	make_type(&fake.async_generator_type, "async_generator", 0);
	make_members();
	make_debug_offsets(minor);
}

void *fake_bytes(const void *data, size_t bytes)
{
	const struct ml_offsets *at = &fake.row->at;
	char *object = fake_block(at->bytes_data + bytes + 1);

	fake_set_word(object, at->object_type, (uintptr_t)&fake.bytes_type);
	fake_set_word(object, at->object_size, bytes);
	memcpy(object + at->bytes_data, data, bytes);
	return object;
}

void *fake_string(unsigned kind, const void *characters, size_t length)
{
	const struct ml_offsets *at = &fake.row->at;
	const bool ascii = kind == 0;
	const unsigned bytes = ascii ? 1 : kind;
	const uint32_t data = ascii ? at->unicode_ascii : at->unicode_compact;
	char *object = fake_block(data + (length + 1) * bytes);

	fake_set_word(object, at->object_type, (uintptr_t)&fake.unicode_type);
	fake_set_word(object, at->unicode_length, length);
	fake_set_int(object, at->unicode_state, (int32_t)(bytes << 2 | 1u << 5 | (ascii ? 1u << 6 : 0)));
	memcpy(object + data, characters, length * bytes);
	return object;
}

void *fake_ascii(const char *text)
{
	return fake_string(0, text, strlen(text));
}

void *fake_code(const char *file, const char *name, int first_line, unsigned units, unsigned untraceable)
{
	const struct ml_offsets *at = &fake.row->at;
	char *code = fake_block(fake.row->code_type_basicsize + 2 * units);

	fake_set_word(code, at->object_type, (uintptr_t)&fake.code_type);
	fake_set_word(code, at->code_file, (uintptr_t)fake_ascii(file));
	fake_set_word(code, at->code_name, (uintptr_t)fake_ascii(name));
	fake_set_word(code, at->code_table, (uintptr_t)fake_bytes("\x80\x01\x02", 3));
	fake_set_int(code, at->code_first_line, first_line);
	fake_set_int(code, at->code_flags, 3);
	if (fake.row->instr_unit)
		return code;
	fake_set_word(code, at->object_size, units);
	fake_set_int(code, at->code_first_traceable, (int32_t)untraceable);
	fake_set_int(code, at->code_frame_words, (int32_t)(at->frame_size / 8 + 3));
	if (at->code_stack_words) { /* the header isn't in either */
		fake_set_int(code, at->code_frame_words, 1);
		fake_set_int(code, at->code_stack_words, 2);
	}
	return code;
}

void fake_fill_frame(void *frame, void *code, void *previous, unsigned owner, int unit)
{
	const struct ml_offsets *at = &fake.row->at;

	fake_set_word(frame, at->frame_code, (uintptr_t)code);
	fake_set_word(frame, at->frame_previous, (uintptr_t)previous);
	if (fake.row->instr_unit) {
		fake_set_int(frame, at->frame_instr, unit < 0 ? -1 : unit * (fake.row->instr_unit == 1 ? 2 : 1));
		return;
	}
	fake_set_word(frame, at->frame_instr, (uintptr_t)code + at->code_bytes + (uintptr_t)(intptr_t)(2 * unit));
	((uint8_t *)frame)[at->frame_owner] = (uint8_t)owner;
}

void *fake_frame(void *code, void *previous, unsigned owner, int unit)
{
	void *frame = fake_block(fake.row->instr_unit ? 112 : fake.row->at.frame_size);

	fake_fill_frame(frame, code, previous, owner, unit);
	return frame;
}

void *fake_thread(void *frame, void *cframe)
{
	const struct ml_offsets *at = &fake.row->at;
	void *thread = fake_block(THREAD_BYTES);

	fake_set_word(thread, at->thread_id, (uintptr_t)pthread_self());
	if (fake.row->has_cframe) {
		fake_set_word(cframe, at->cframe_frame, (uintptr_t)frame);
		fake_set_word(thread, at->thread_frame, (uintptr_t)cframe);
	} else {
		fake_set_word(thread, at->thread_frame, (uintptr_t)frame);
	}
	return thread;
}
