#include "symbolize/python/abi.h"

#include <string.h>
#include <sys/auxv.h>

_Static_assert(sizeof(void *) == 8 && __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "64-bit little-endian machines");

/*
 * The offsets were compiled from each version's headers (Include/internal), and tests/pythons/check_abi.c compiles them
 * again. They are those of the default builds, with and without Py_DEBUG, on x86-64 and aarch64. Those of the objects
 * that PyCode_Type, PyFrame_Type and _Py_DebugOffsets describe are checked in the running interpreter too.
 */
#define OBJECTS .object_type = 8, .object_size = 16, .bytes_data = 32, .unicode_length = 16, .unicode_state = 32

#define OBJECTS_TO_3_11                                                                                                \
	OBJECTS, .unicode_ascii = 48, .unicode_compact = 72, .unicode_wstr = 40, .unicode_wstr_length = 64
#define OBJECTS_FROM_3_12 OBJECTS, .unicode_ascii = 40, .unicode_compact = 56

#define CODE_TO_3_10                                                                                                   \
	.code_file = 104, .code_name = 112, .code_table = 120, .code_first_line = 40, .code_flags = 36,                \
	.code_bytes = 48, .code_consts = 56
#define CODE_FROM_3_11                                                                                                 \
	.code_file = 112, .code_name = 128, .code_table = 136, .code_flags = 48, .code_frame_words = 76,               \
	.code_consts = 24, .code_exceptions = 40

/* clang-format off */
static const struct ml_python pythons[] = {
	{
		.minor = 8,
		.at = {
			.runtime_finalizing = 16, .runtime_interpreters = 32, .runtime_current = 1368,
			.thread_frame = 24, .thread_id = 176,
			.frame_code = 32, .frame_previous = 24, .frame_instr = 104, .frame_trace_lines = 88,
			.frame_generator = 96,
			CODE_TO_3_10, OBJECTS_TO_3_11,
		},
		.code_type_basicsize = 176,
		.code_mask = ~(uintptr_t)0,
		.instr_unit = 1,
		.current_is_global = true,
		.lines = ML_LINES_LNOTAB,
		.name_member = "co_name", .table_member = "co_lnotab",
	},
	{
		.minor = 9,
		.at = {
			.runtime_finalizing = 16, .runtime_interpreters = 32, .runtime_current = 568,
			.thread_frame = 24, .thread_id = 176,
			.frame_code = 32, .frame_previous = 24, .frame_instr = 104, .frame_trace_lines = 88,
			.frame_generator = 96,
			CODE_TO_3_10, OBJECTS_TO_3_11,
		},
		.code_type_basicsize = 176,
		.code_mask = ~(uintptr_t)0,
		.instr_unit = 1,
		.current_is_global = true,
		.lines = ML_LINES_LNOTAB,
		.name_member = "co_name", .table_member = "co_lnotab",
	},
	{
		.minor = 10,
		.at = {
			.runtime_finalizing = 16, .runtime_interpreters = 32, .runtime_current = 568,
			.thread_frame = 24, .thread_id = 176,
			.frame_code = 32, .frame_previous = 24, .frame_instr = 96, .frame_trace_lines = 84,
			.frame_generator = 88,
			CODE_TO_3_10, OBJECTS_TO_3_11,
		},
		.code_type_basicsize = 176,
		.code_mask = ~(uintptr_t)0,
		.instr_unit = 2,
		.current_is_global = true,
		.lines = ML_LINES_LINETABLE,
		.name_member = "co_name", .table_member = "co_linetable",
	},
	{
		.minor = 11,
		.at = {
			.runtime_finalizing = 24, .runtime_interpreters = 40, .runtime_current = 576,
			.thread_frame = 56, .thread_id = 152, .thread_chunk = 296, .thread_cframe = 336,
			.cframe_frame = 8,
			.frame_code = 32, .frame_previous = 48, .frame_instr = 56, .frame_owner = 69, .frame_entry = 68,
			.frame_size = 72,
			CODE_FROM_3_11, .code_first_line = 72, .code_bytes = 184, .code_first_traceable = 168,
			.code_stack_words = 68,
			.generator_frame = 80, .generator_state = 75,
			OBJECTS_TO_3_11,
		},
		.code_type_basicsize = 184,
		.code_mask = ~(uintptr_t)0,
		.has_cframe = true,
		.current_is_global = true,
		.lines = ML_LINES_LOCATIONS,
		.name_member = "co_qualname", .table_member = "co_linetable",
	},
	{
		.minor = 12,
		.at = {
			.runtime_finalizing = 24, .runtime_interpreters = 40,
			.thread_frame = 56, .thread_id = 136, .thread_status = 24, .thread_tracing = 44,
			.thread_chunk = 232, .thread_cframe = 272, .cframe_frame = 0,
			.frame_code = 0, .frame_previous = 8, .frame_instr = 56, .frame_owner = 70, .frame_size = 72,
			CODE_FROM_3_11, .code_first_line = 68, .code_bytes = 192, .code_first_traceable = 176,
			.code_version = 92,
			.generator_frame = 72, .generator_state = 67,
			OBJECTS_FROM_3_12,
		},
		.code_type_basicsize = 192,
		.cleared = 1u << 6,
		.code_mask = ~(uintptr_t)0,
		.shim_owner = 3,
		.has_cframe = true,
		.lines = ML_LINES_LOCATIONS,
		.name_member = "co_qualname", .table_member = "co_linetable",
	},
	{
		.minor = 13,
		.at = {
			.runtime_finalizing = 608, .runtime_interpreters = 632,
			.thread_frame = 72, .thread_id = 152, .thread_status = 32, .thread_tracing = 60,
			.thread_chunk = 232,
			.frame_code = 0, .frame_previous = 8, .frame_instr = 56, .frame_owner = 70, .frame_size = 72,
			CODE_FROM_3_11, .code_first_line = 68, .code_bytes = 200, .code_first_traceable = 184,
			.code_version = 92,
			.generator_frame = 72, .generator_state = 67,
			OBJECTS_FROM_3_12,
		},
		.debug = {
			.runtime_finalizing = 32, .runtime_interpreters = 40,
			.thread_frame = 184, .thread_id = 192, .thread_status = 216, .thread_chunk = 208,
			.frame_code = 240, .frame_previous = 232, .frame_instr = 248, .frame_owner = 264,
			.frame_size = 256,
			.code_file = 280, .code_name = 296, .code_table = 304, .code_first_line = 312,
			.code_bytes = 344,
			.object_type = 360, .object_size = 520, .bytes_data = 528,
			.unicode_length = 552, .unicode_state = 544, .unicode_ascii = 560,
		},
		.code_type_basicsize = 200,
		.cleared = 1u << 7,
		.init_shim = 0x2000000,
		.code_mask = ~(uintptr_t)0,
		.shim_owner = 3,
		.lines = ML_LINES_LOCATIONS,
		.name_member = "co_qualname", .table_member = "co_linetable",
	},
	{
		.minor = 14,
		.at = {
			.runtime_finalizing = 784, .runtime_interpreters = 808,
			.thread_frame = 72, .thread_id = 152, .thread_status = 32, .thread_tracing = 60,
			.thread_chunk = 232,
			.frame_code = 0, .frame_previous = 8, .frame_instr = 56, .frame_owner = 74, .frame_size = 80,
			CODE_FROM_3_11, .code_first_line = 68, .code_bytes = 208, .code_first_traceable = 192,
			.code_version = 92,
			.generator_frame = 72, .generator_state = 67,
			OBJECTS_FROM_3_12,
		},
		.debug = {
			.runtime_finalizing = 32, .runtime_interpreters = 40,
			.thread_frame = 208, .thread_id = 216, .thread_status = 240, .thread_chunk = 232,
			.frame_code = 264, .frame_previous = 256, .frame_instr = 272, .frame_owner = 288,
			.frame_size = 280,
			.code_file = 320, .code_name = 336, .code_table = 344, .code_first_line = 352,
			.code_bytes = 384,
			.generator_frame = 680, .generator_state = 688,
			.object_type = 408, .object_size = 600, .bytes_data = 608,
			.unicode_length = 632, .unicode_state = 624, .unicode_ascii = 640,
		},
		.code_type_basicsize = 208,
		.cleared = 1u << 6,
		.init_shim = 0x2000000,
		.code_mask = ~(uintptr_t)3,
		.shim_owner = 3,
		.lines = ML_LINES_LOCATIONS,
		.name_member = "co_qualname", .table_member = "co_linetable",
	},
	{
		.minor = 15,
		.at = {
			.runtime_finalizing = 912, .runtime_interpreters = 936,
			.thread_frame = 72, .thread_base = 80, .thread_id = 176, .thread_status = 32,
			.thread_tracing = 64, .thread_chunk = 256,
			.frame_code = 0, .frame_previous = 8, .frame_instr = 56, .frame_owner = 74, .frame_size = 80,
			CODE_FROM_3_11, .code_first_line = 68, .code_bytes = 208, .code_first_traceable = 192,
			.code_version = 92,
			.generator_frame = 72, .generator_state = 67,
			OBJECTS_FROM_3_12,
		},
		.debug = {
			.runtime_finalizing = 32, .runtime_interpreters = 40,
			.thread_frame = 208, .thread_base = 216, .thread_id = 240, .thread_status = 264,
			.thread_chunk = 256,
			.frame_code = 328, .frame_previous = 320, .frame_instr = 336, .frame_owner = 352,
			.frame_size = 344,
			.code_file = 384, .code_name = 400, .code_table = 408, .code_first_line = 416,
			.code_bytes = 448,
			.generator_frame = 808, .generator_state = 816,
			.object_type = 472, .object_size = 696, .bytes_data = 704,
			.unicode_length = 728, .unicode_state = 720, .unicode_ascii = 736, .unicode_compact = 744,
		},
		.code_type_basicsize = 208,
		.cleared = 1u << 6,
		.init_shim = 0x2000000,
		.code_mask = ~(uintptr_t)3,
		.shim_owner = 3,
		.generator_running = 4,
		.bound_is_variable = true,
		.lines = ML_LINES_LOCATIONS,
		.name_member = "co_qualname", .table_member = "co_linetable",
	},
};
/* clang-format on */

#define OLDEST "3.8"
#define NEWEST "3.15"
_Static_assert(sizeof(pythons) / sizeof(pythons[0]) == 15 - 8 + 1, "OLDEST and NEWEST are the table's");

const struct ml_python *ml_abi_row(unsigned minor)
{
	for (size_t i = 0; i < sizeof(pythons) / sizeof(pythons[0]); i++)
		if (pythons[i].minor == minor)
			return &pythons[i];
	return NULL;
}

/* The start of _Py_DebugOffsets (Include/internal/pycore_debug_offsets.h). */
struct debug_head {
	char cookie[8];
	uint64_t version;
	uint64_t free_threaded;
};

/* As much as is read of a PyTypeObject: the same in all versions without Py_TRACE_REFS and with the GIL. */
struct type {
	intptr_t references;
	const void *type;
	intptr_t size;
	const char *name;
	intptr_t basicsize;
	intptr_t itemsize;
	const void *between[24];
	const struct member *members;
};
_Static_assert(offsetof(struct type, basicsize) == 32, "PyTypeObject.tp_basicsize");
_Static_assert(offsetof(struct type, members) == 240, "PyTypeObject.tp_members");

/* PyMemberDef. */
struct member {
	const char *name;
	int type;
	intptr_t offset;
	int flags;
	const char *doc;
};

struct search {
	void *(*lookup)(void *context, const char *symbol);
	void *context;
};

static bool find(const struct search *in, const char *symbol, void *address_of_pointer)
{
	void *found = in->lookup(in->context, symbol);

	memcpy(address_of_pointer, &found, sizeof(found));
	return found != NULL;
}

/* abi->why = before, middle, after; cut where that is too long. */
static const char *compose(struct ml_abi *abi, const char *before, const char *middle, const char *after)
{
	const char *parts[] = {before, middle, after};
	size_t used = 0;

	for (size_t i = 0; i < 3; i++)
		for (const char *c = parts[i]; *c && used + 1 < sizeof(abi->why); c++)
			abi->why[used++] = *c;
	abi->why[used] = '\0';
	return abi->why;
}

/* Of the two thread state functions, _PyThreadState_UncheckedGet goes until 3.12, its successor from 3.13 on. */
static const char *find_symbols(struct ml_abi *abi, const struct search *in, const char *(**get_version)(void))
{
	const struct {
		const char *symbol;
		void *to;
	} wanted[] = {
		{"_PyRuntime", &abi->runtime},
		{"PyCode_Type", &abi->code_type},
		{"PyGen_Type", &abi->generator_type},
		{"PyCoro_Type", &abi->coroutine_type},
		{"PyAsyncGen_Type", &abi->async_generator_type},
		{"PyGILState_GetThisThreadState", &abi->bound_thread},
		{"Py_IsInitialized", &abi->is_initialized},
		{"PyMem_GetAllocator", &abi->get_allocator},
		{"PyMem_SetAllocator", &abi->set_allocator},
		{"PyObject_GetArenaAllocator", &abi->get_arenas},
		{"PyObject_SetArenaAllocator", &abi->set_arenas},
		{"Py_GetVersion", get_version},
	};

	for (size_t i = 0; i < sizeof(wanted) / sizeof(wanted[0]); i++)
		if (!find(in, wanted[i].symbol, wanted[i].to))
			return compose(abi, "not a CPython that can be read: it has no ", wanted[i].symbol, "");
	find(in, "_Py_NoneStruct", &abi->none);
	if (!find(in, "PyThreadState_GetUnchecked", &abi->current_thread) &&
	    !find(in, "_PyThreadState_UncheckedGet", &abi->current_thread))
		return "not a CPython that can be read: it has no PyThreadState_GetUnchecked";
	return NULL;
}

/* Reads a decimal number at *text and moves on behind it; -1 where there is none. */
static int number(const char **text)
{
	int value = -1;

	for (; **text >= '0' && **text <= '9' && value < 100000; ++*text)
		value = (value < 0 ? 0 : value * 10) + (**text - '0');
	return value;
}

/* Fills abi->version and abi->is from a text such as "3.11.7 (main, Dec  4 2023, 18:10:11) [Clang 17.0.6 ]". */
static const char *choose_row(struct ml_abi *abi, const char *text)
{
	const struct ml_python *row = NULL;
	const char *at = text;
	size_t bytes = strcspn(text, " ");
	int major, minor;

	if (bytes >= sizeof(abi->version))
		bytes = sizeof(abi->version) - 1;
	memcpy(abi->version, text, bytes);
	if (strstr(text, "PyPy") || strstr(text, "GraalVM"))
		return "PyPy and GraalPy are not supported, only CPython is";
	if (strstr(text, "cinder"))
		return "Cinder is not supported, only CPython is";
	if (strstr(text, "free-threading"))
		return "free-threaded builds are not supported yet";

	major = number(&at);
	if (major == 3 && *at++ == '.' && (minor = number(&at)) >= 0)
		row = ml_abi_row((unsigned)minor);
	if (!row)
		return compose(abi, "CPython ", abi->version, " is not supported (" OLDEST " to " NEWEST " are)");
	if (*at++ != '.' || number(&at) < 0 || *at == 'a' || *at == 'b')
		return compose(abi, "CPython ", abi->version, " is not a release");
	abi->is = *row;
	return NULL;
}

/* 3.13 and later say themselves where things are: replaces the row's offsets by theirs. */
static const char *apply_debug_offsets(struct ml_abi *abi)
{
	uint32_t *to = (uint32_t *)&abi->is.at;
	const uint32_t *position = (const uint32_t *)&abi->is.debug;
	const uint32_t object_type = abi->is.at.object_type;
	struct debug_head head;

	if (!abi->is.debug.thread_frame)
		return NULL;
	memcpy(&head, abi->runtime, sizeof(head));
	if (memcmp(head.cookie, "xdebugpy", sizeof(head.cookie)) != 0 ||
	    head.version >> 16 != (3u << 8 | abi->is.minor))
		return compose(abi, "CPython ", abi->version, " does not describe itself as its version should");
	if (head.free_threaded)
		return "free-threaded builds are not supported yet";
	for (size_t i = 0; i < sizeof(struct ml_offsets) / sizeof(uint32_t); i++) {
		uint64_t offset;
		if (!position[i])
			continue;
		memcpy(&offset, abi->runtime + position[i], sizeof(offset));
		/* Every one lies in the first page of its struct. A wrong position reads another offset or a size. */
		if (offset >= 4096)
			return compose(abi, "CPython ", abi->version, " gives offsets that make no sense");
		to[i] = (uint32_t)offset;
	}
	if (abi->is.at.object_type != object_type || abi->is.at.thread_frame % 8 || abi->is.at.frame_instr % 8 ||
	    abi->is.at.thread_chunk % 8 || abi->is.at.frame_owner >= abi->is.at.frame_size)
		return compose(abi, "CPython ", abi->version, " gives offsets that make no sense");
	return NULL;
}

/* Offset of a member of a type that is written in C, or -1. */
static intptr_t member_offset(const struct type *type, const char *name)
{
	const struct member *member = type->members;

	for (size_t i = 0; member && member->name && i < 100; i++, member++)
		if (!strcmp(member->name, name))
			return member->offset;
	return -1;
}

/* The table's offsets against those by which the interpreter itself serves Python's attributes. */
static bool code_members_match(const struct ml_abi *abi, const struct type *code)
{
	const struct ml_offsets *at = &abi->is.at;

	return code->basicsize == (intptr_t)abi->is.code_type_basicsize &&
	       member_offset(code, "co_filename") == (intptr_t)at->code_file &&
	       member_offset(code, abi->is.name_member) == (intptr_t)at->code_name &&
	       member_offset(code, abi->is.table_member) == (intptr_t)at->code_table &&
	       member_offset(code, "co_firstlineno") == (intptr_t)at->code_first_line &&
	       member_offset(code, "co_flags") == (intptr_t)at->code_flags &&
	       member_offset(code, "co_consts") == (intptr_t)at->code_consts;
}

static bool frame_members_match(const struct ml_abi *abi, const struct type *frame)
{
	const struct ml_offsets *at = &abi->is.at;
	intptr_t lasti = member_offset(frame, "f_lasti"); /* a member until 3.9 */

	return member_offset(frame, "f_back") == (intptr_t)at->frame_previous &&
	       member_offset(frame, "f_code") == (intptr_t)at->frame_code &&
	       member_offset(frame, "f_trace_lines") == (intptr_t)at->frame_trace_lines &&
	       (lasti == -1 || lasti == (intptr_t)at->frame_instr);
}

/* Whether the interpreter is built as the row says. Type objects that are written in C are complete in its data segment
   from the beginning, but for the name's relocation, which is done before any constructor runs. */
static const char *check_types(struct ml_abi *abi, const struct search *in)
{
	const struct type *code = abi->code_type, *type_type, *frame;

	if (!find(in, "PyType_Type", &type_type) || !find(in, "PyFrame_Type", &frame))
		return "not a CPython that can be read: it has no PyType_Type or PyFrame_Type";
	if (code->type != type_type) {
		/* _PyObject_HEAD_EXTRA (Include/object.h until 3.12) puts two pointers before the rest. */
		const void *const *words = abi->code_type;
		return words[3] == type_type ? "builds with Py_TRACE_REFS are not supported"
					     : "PyCode_Type is not laid out as in CPython";
	}
	if (!code->name || strcmp(code->name, "code") != 0 || !code_members_match(abi, code))
		return compose(abi, "code objects are not laid out as in CPython ", abi->version, "");
	if (abi->is.at.frame_trace_lines && !frame_members_match(abi, frame))
		return compose(abi, "frames are not laid out as in CPython ", abi->version, "");
	return NULL;
}

int ml_abi_init(struct ml_abi *abi, void *(*lookup)(void *context, const char *symbol), void *context, const char **why)
{
	const struct search in = {lookup, context};
	const char *(*get_version)(void);

	memset(abi, 0, sizeof(*abi));
	/* The kernel puts these sixteen bytes above the arguments of main (execve's stack, fs/binfmt_elf.c). */
	abi->main_stack_end = getauxval(AT_RANDOM);
	*why = find_symbols(abi, &in, &get_version);
	if (!*why)
		*why = choose_row(abi, get_version());
	if (!*why)
		*why = apply_debug_offsets(abi);
	if (!*why)
		*why = check_types(abi, &in);
	return *why ? -1 : 0;
}

void ml_abi_saw_file(struct ml_abi *abi, const char *file, size_t bytes)
{
	static const char word[] = "greenlet";
	const size_t length = sizeof(word) - 1;

	for (size_t i = 0; i + length <= bytes; i++)
		if (file[i] == word[0] && !memcmp(file + i, word, length)) {
			__atomic_store_n(&abi->careful, 1, __ATOMIC_RELAXED);
			return;
		}
}
