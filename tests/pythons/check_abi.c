/*
 * Compares the row of symbolize/python/abi.c with the headers of the CPython that this is compiled against: every
 * offset, and every position in _Py_DebugOffsets. The only file of the project that includes CPython's internal
 * headers. Prints what differs; "--print" prints what the headers say. See check_abi.py.
 */
#define Py_BUILD_CORE 1
#include <Python.h>
#include <frameobject.h>
#include <structmember.h>

#include <stdio.h>
#include <string.h>

#if PY_VERSION_HEX >= 0x030b0000
#include "internal/pycore_code.h"
#include "internal/pycore_frame.h"
#endif
#if PY_VERSION_HEX >= 0x030e0000
#include "internal/pycore_interpframe.h"
#include "internal/pycore_interpframe_structs.h"
#endif
#include "internal/pycore_pystate.h"
#if PY_VERSION_HEX >= 0x03090000
#include "internal/pycore_interp.h"
#include "internal/pycore_runtime.h"
#endif
#if PY_VERSION_HEX < 0x03090000
#define FINALIZING finalizing
#else
#define FINALIZING _finalizing
#endif

#include "symbolize/python/walk.h"

static int differences;
static int print;

static void check(const char *what, uint64_t ours, uint64_t theirs)
{
	if (print)
		printf("\t.%s = %llu\n", what, (unsigned long long)theirs);
	else if (ours != theirs)
		printf("%s: the table says %llu, CPython %s %llu\n", what, (unsigned long long)ours, PY_VERSION,
		       (unsigned long long)theirs);
	differences += ours != theirs;
}

/* A frame on the C stack or the data stack: the struct that walk.c follows. */
#if PY_VERSION_HEX < 0x030b0000
#define FRAME PyFrameObject
#else
#define FRAME struct _PyInterpreterFrame
#endif

static void check_frames(const struct ml_python *row)
{
	const struct ml_offsets *at = &row->at;

#if PY_VERSION_HEX < 0x030b0000
	check("thread_frame", at->thread_frame, offsetof(PyThreadState, frame));
	check("frame_code", at->frame_code, offsetof(FRAME, f_code));
	check("frame_previous", at->frame_previous, offsetof(FRAME, f_back));
	check("frame_instr", at->frame_instr, offsetof(FRAME, f_lasti));
	check("frame_trace_lines", at->frame_trace_lines, offsetof(FRAME, f_trace_lines));
	check("frame_generator", at->frame_generator, offsetof(FRAME, f_gen));
	check("instr_unit", row->instr_unit, PY_VERSION_HEX < 0x030a0000 ? 1 : 2);
#else
	check("frame_previous", at->frame_previous, offsetof(FRAME, previous));
	check("frame_owner", at->frame_owner, offsetof(FRAME, owner));
#if PY_VERSION_HEX < 0x030c0000
	check("frame_entry", at->frame_entry, offsetof(FRAME, is_entry));
#endif
	check("frame_size", at->frame_size, offsetof(FRAME, localsplus));
	check("thread_chunk", at->thread_chunk, offsetof(PyThreadState, datastack_chunk));
	check("datastack_top", at->thread_chunk + sizeof(void *), offsetof(PyThreadState, datastack_top));
	check("generator_frame", at->generator_frame, offsetof(PyGenObject, gi_iframe));
	check("generator_state", at->generator_state, offsetof(PyGenObject, gi_frame_state));
	check("generator_owner", ML_GENERATOR_OWNER, FRAME_OWNED_BY_GENERATOR);
	check("generator_running", (uint64_t)row->generator_running, FRAME_EXECUTING);
#endif
#if PY_VERSION_HEX >= 0x030b0000 && PY_VERSION_HEX < 0x030d0000
	check("thread_frame", at->thread_frame, offsetof(PyThreadState, cframe));
	check("thread_cframe", at->thread_cframe, offsetof(PyThreadState, root_cframe));
	check("cframe_frame", at->cframe_frame, offsetof(_PyCFrame, current_frame));
	check("frame_code", at->frame_code, offsetof(FRAME, f_code));
	check("frame_instr", at->frame_instr, offsetof(FRAME, prev_instr));
#elif PY_VERSION_HEX >= 0x030d0000
	check("thread_frame", at->thread_frame, offsetof(PyThreadState, current_frame));
	check("frame_code", at->frame_code, offsetof(FRAME, f_executable));
	check("frame_instr", at->frame_instr, offsetof(FRAME, instr_ptr));
#endif
#if PY_VERSION_HEX >= 0x030f0000
	check("thread_base", at->thread_base, offsetof(PyThreadState, base_frame));
#endif
#if PY_VERSION_HEX >= 0x030e0000
	check("shim_owner", row->shim_owner, FRAME_OWNED_BY_INTERPRETER);
#elif PY_VERSION_HEX >= 0x030c0000
	check("shim_owner", row->shim_owner, FRAME_OWNED_BY_CSTACK);
#endif
}

static void check_thread(const struct ml_python *row)
{
	const struct ml_offsets *at = &row->at;

	check("thread_id", at->thread_id, offsetof(PyThreadState, thread_id));
	check("runtime_finalizing", at->runtime_finalizing, offsetof(_PyRuntimeState, FINALIZING));
#if PY_VERSION_HEX < 0x030c0000
	check("runtime_current", at->runtime_current, offsetof(_PyRuntimeState, gilstate.tstate_current));
#endif
	check("runtime_interpreters", at->runtime_interpreters, offsetof(_PyRuntimeState, interpreters.head));
	check("main interpreter", at->runtime_interpreters + sizeof(void *),
	      offsetof(_PyRuntimeState, interpreters.main));
#if PY_VERSION_HEX >= 0x030c0000
	PyThreadState thread;
	uint32_t status;
	memset(&thread, 0, sizeof(thread));
	thread._status.cleared = 1;
	memcpy(&status, &thread._status, sizeof(status));
	check("thread_status", at->thread_status, offsetof(PyThreadState, _status));
	check("cleared", row->cleared, status);
	check("thread_tracing", at->thread_tracing, offsetof(PyThreadState, tracing));
#endif
}

static void check_code(const struct ml_python *row)
{
	const struct ml_offsets *at = &row->at;

	check("code_file", at->code_file, offsetof(PyCodeObject, co_filename));
	check("code_first_line", at->code_first_line, offsetof(PyCodeObject, co_firstlineno));
	check("code_flags", at->code_flags, offsetof(PyCodeObject, co_flags));
	check("code_consts", at->code_consts, offsetof(PyCodeObject, co_consts));
#if PY_VERSION_HEX < 0x030a0000
	check("code_table", at->code_table, offsetof(PyCodeObject, co_lnotab));
#else
	check("code_table", at->code_table, offsetof(PyCodeObject, co_linetable));
#endif
#if PY_VERSION_HEX < 0x030b0000
	check("code_name", at->code_name, offsetof(PyCodeObject, co_name));
	check("code_bytes", at->code_bytes, offsetof(PyCodeObject, co_code));
	check("code_type_basicsize", row->code_type_basicsize, sizeof(PyCodeObject));
#else
	check("code_name", at->code_name, offsetof(PyCodeObject, co_qualname));
	check("code_bytes", at->code_bytes, offsetof(PyCodeObject, co_code_adaptive));
	check("code_type_basicsize", row->code_type_basicsize, offsetof(PyCodeObject, co_code_adaptive));
	check("code_first_traceable", at->code_first_traceable, offsetof(PyCodeObject, _co_firsttraceable));
	check("code_exceptions", at->code_exceptions, offsetof(PyCodeObject, co_exceptiontable));
#endif
#if PY_VERSION_HEX >= 0x030b0000 && PY_VERSION_HEX < 0x030c0000
	check("code_frame_words", at->code_frame_words, offsetof(PyCodeObject, co_nlocalsplus));
	check("code_stack_words", at->code_stack_words, offsetof(PyCodeObject, co_stacksize));
#elif PY_VERSION_HEX >= 0x030c0000
	check("code_frame_words", at->code_frame_words, offsetof(PyCodeObject, co_framesize));
	check("code_version", at->code_version, offsetof(PyCodeObject, co_version));
#endif
#ifdef CO_NO_MONITORING_EVENTS
	check("init_shim", row->init_shim, CO_NO_MONITORING_EVENTS);
#endif
}

static void check_objects(const struct ml_python *row)
{
	const struct ml_offsets *at = &row->at;

	check("object_type", at->object_type, offsetof(PyObject, ob_type));
	check("object_size", at->object_size, offsetof(PyVarObject, ob_size));
	check("bytes_data", at->bytes_data, offsetof(PyBytesObject, ob_sval));
	check("unicode_length", at->unicode_length, offsetof(PyASCIIObject, length));
	check("unicode_state", at->unicode_state, offsetof(PyASCIIObject, state));
	check("unicode_ascii", at->unicode_ascii, sizeof(PyASCIIObject));
	check("unicode_compact", at->unicode_compact, sizeof(PyCompactUnicodeObject));
#if PY_VERSION_HEX < 0x030c0000
	check("unicode_wstr", at->unicode_wstr, offsetof(PyASCIIObject, wstr));
	check("unicode_wstr_length", at->unicode_wstr_length, offsetof(PyCompactUnicodeObject, wstr_length));
#endif
	check("unicode data pointer", at->unicode_compact, offsetof(PyUnicodeObject, data));
}

#if PY_VERSION_HEX >= 0x030d0000
#define POSITION(member, field) check("debug." #member, row->debug.member, offsetof(_Py_DebugOffsets, field))

static void check_debug_offsets(const struct ml_python *row)
{
	POSITION(runtime_finalizing, runtime_state.finalizing);
	POSITION(runtime_interpreters, runtime_state.interpreters_head);
	POSITION(thread_frame, thread_state.current_frame);
	POSITION(thread_id, thread_state.thread_id);
	POSITION(thread_status, thread_state.status);
	POSITION(thread_chunk, thread_state.datastack_chunk);
	POSITION(frame_code, interpreter_frame.executable);
	POSITION(frame_previous, interpreter_frame.previous);
	POSITION(frame_instr, interpreter_frame.instr_ptr);
	POSITION(frame_owner, interpreter_frame.owner);
	POSITION(frame_size, interpreter_frame.localsplus);
	POSITION(code_file, code_object.filename);
	POSITION(code_name, code_object.qualname);
	POSITION(code_table, code_object.linetable);
	POSITION(code_first_line, code_object.firstlineno);
	POSITION(code_bytes, code_object.co_code_adaptive);
	POSITION(object_type, pyobject.ob_type);
	POSITION(object_size, bytes_object.ob_size);
	POSITION(bytes_data, bytes_object.ob_sval);
	POSITION(unicode_length, unicode_object.length);
	POSITION(unicode_state, unicode_object.state);
	POSITION(unicode_ascii, unicode_object.asciiobject_size);
#if PY_VERSION_HEX >= 0x030e0000
	POSITION(generator_frame, gen_object.gi_iframe);
	POSITION(generator_state, gen_object.gi_frame_state);
#endif
#if PY_VERSION_HEX >= 0x030f0000
	POSITION(thread_base, thread_state.base_frame);
	POSITION(unicode_compact, unicode_object.compactunicodeobject_size);
#endif
}
#endif

int main(int argc, char **argv)
{
	static const struct ml_python none;
	const struct ml_python *row = ml_abi_row(PY_MINOR_VERSION);

	print = argc > 1 && !strcmp(argv[1], "--print");
	if (!row && !print) {
		printf("there is no row for CPython %s\n", PY_VERSION);
		return 1;
	}
	if (!row)
		row = &none;
	check_frames(row);
	check_thread(row);
	check_code(row);
	check_objects(row);
#if PY_VERSION_HEX >= 0x030d0000
	check_debug_offsets(row);
#endif
	return !print && differences > 0;
}
