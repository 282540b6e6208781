/*
 * What memline knows about the insides of CPython: one row of data for each minor version, and the check that the
 * interpreter in this process is one that a row describes.
 *
 * Everything here, and in walk.h and code.h, runs inside the profiled program, in the middle of its malloc: it
 * allocates nothing, takes no lock, leaves errno alone, and reads only memory that is known to be there.
 */
#ifndef ML_SYMBOLIZE_PYTHON_ABI_H
#define ML_SYMBOLIZE_PYTHON_ABI_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "trace/format.h"

/*
 * Where things are, in bytes from the start of the object that the name begins with. A field that the version doesn't
 * have is 0 and is not read. All members are uint32_t: abi.c also goes over them as an array.
 */
struct ml_offsets {
	uint32_t runtime_finalizing;   /* of _PyRuntime: the thread state that finalizes, or NULL */
	uint32_t runtime_interpreters; /* the newest interpreter state; the next word is the main one */
	uint32_t runtime_current;      /* with current_is_global: the current thread state */

	uint32_t thread_frame;   /* of PyThreadState: the innermost frame; with has_cframe the _PyCFrame */
	uint32_t thread_base;    /* the sentinel frame that ends every chain */
	uint32_t thread_id;      /* pthread_t */
	uint32_t thread_status;  /* uint32_t of bits */
	uint32_t thread_tracing; /* int: not 0 while a function of sys.settrace() or the like runs */
	uint32_t thread_chunk;   /* newest chunk of the data stack; the next word is the top of the data stack */
	uint32_t thread_cframe;  /* the _PyCFrame that is in use while no Python code runs */
	uint32_t cframe_frame;   /* of _PyCFrame: the innermost frame */

	uint32_t frame_code;
	uint32_t frame_previous;
	uint32_t frame_instr;       /* see instr_unit */
	uint32_t frame_owner;       /* uint8_t */
	uint32_t frame_entry;       /* 3.11: bool: a C call of the interpreter began with this frame */
	uint32_t frame_size;        /* up to and without the local variables */
	uint32_t frame_trace_lines; /* f_trace_lines, for the check alone */
	uint32_t frame_generator;   /* before 3.11: the generator that runs in it (f_gen), or NULL */

	uint32_t code_file;
	uint32_t code_name; /* co_qualname where there is one */
	uint32_t code_table;
	uint32_t code_first_line;
	uint32_t code_flags;
	uint32_t code_version;         /* co_version: another one for every code object that is made */
	uint32_t code_bytes;           /* where the bytecode starts; before 3.11 the pointer to a bytes object */
	uint32_t code_first_traceable; /* int: index of the RESUME instruction, in two-byte units */
	uint32_t code_frame_words;     /* int: words of its frames on the data stack, header included, but for: */
	uint32_t code_stack_words;     /* int: 3.11: to be added to the former, with the header */
	uint32_t code_consts;
	uint32_t code_exceptions; /* the bytes object that is empty where the code handles no exception */

	uint32_t generator_frame; /* of generators, coroutines and asynchronous generators alike: the frame inside */
	uint32_t generator_state; /* int8_t */

	uint32_t object_type;
	uint32_t object_size; /* of PyVarObject: the number of items */
	uint32_t bytes_data;
	uint32_t unicode_length;
	uint32_t unicode_state;
	uint32_t unicode_ascii;   /* data of a compact ASCII string */
	uint32_t unicode_compact; /* data of any other compact string; pointer to the data of one that isn't compact */
	uint32_t unicode_wstr;    /* pointer to wchar_t, the only data of a string of kind 0 */
	uint32_t unicode_wstr_length;
};

/* How a version behaves. */
struct ml_python {
	unsigned minor;
	struct ml_offsets at;
	/* Where _Py_DebugOffsets, at the start of _PyRuntime, says what the offset is (3.13 and later). */
	struct ml_offsets debug;
	uint32_t code_type_basicsize; /* PyCode_Type.tp_basicsize */
	uint32_t cleared;             /* bit of thread_status: PyThreadState_Clear() has run */
	/* Bit of code_flags that _Py_InitCleanup has, the static code under which C() may run an __init__(); 0: there
	   is never a frame of it. */
	uint32_t init_shim;
	uintptr_t code_mask;      /* bits of frame_code that are the address */
	uint8_t instr_unit;       /* 0: frame_instr is a pointer into the bytecode; else an int, in so many bytes */
	uint8_t shim_owner;       /* frames with this owner or a higher one run no Python code; 0: there are none */
	int8_t generator_running; /* generator_state of one that is on the stack */
	bool has_cframe;          /* the thread state leads to its frame by way of a struct on the C stack */
	bool current_is_global;   /* the current thread state is the GIL holder's, maybe another thread's */
	bool bound_is_variable;   /* the state bound to a thread is in a thread-local variable, not under a key */
	enum ml_line_table lines;
	const char *name_member; /* what code_name and code_table are called among PyCode_Type's members */
	const char *table_member;
};

/* PyMemAllocatorEx and PyObjectArenaAllocator, the same in all versions. */
struct ml_py_allocator {
	void *context;
	void *(*malloc)(void *context, size_t size);
	void *(*calloc)(void *context, size_t count, size_t size);
	void *(*realloc)(void *context, void *block, size_t size);
	void (*free)(void *context, void *block);
};

struct ml_py_arenas {
	void *context;
	void *(*alloc)(void *context, size_t size);
	void (*free)(void *context, void *block, size_t size);
};

/* Plain data; what it points to belongs to the interpreter and lives as long as that stays loaded. */
struct ml_abi {
	struct ml_python is;
	const char *runtime;   /* _PyRuntime */
	const void *code_type; /* PyCode_Type */
	const void *none;      /* Py_None, or NULL */
	const void *generator_type;
	const void *coroutine_type;
	const void *async_generator_type;
	int careful;              /* see ml_abi_saw_file() */
	uintptr_t main_stack_end; /* an address above every C frame of the process's first thread */
	/* For the caller to set after ml_abi_init(): CPython's block of thread-local variables. */
	size_t tls_module; /* number of its object, as the loader counts them (dlpi_tls_modid) */
	size_t tls_bytes;
	bool tls_stays; /* as long as the thread */

	char version[32]; /* Py_GetVersion() up to the first space */
	char why[128];    /* room for the text of a refusal */

	void *(*current_thread)(void); /* the attached thread state; see current_is_global */
	void *(*bound_thread)(void);   /* PyGILState_GetThisThreadState */
	int (*is_initialized)(void);
	/* domain: 0 raw, 1 mem, 2 obj */
	void (*get_allocator)(int domain, struct ml_py_allocator *allocator);
	void (*set_allocator)(int domain, struct ml_py_allocator *allocator);
	void (*get_arenas)(struct ml_py_arenas *arenas);
	void (*set_arenas)(struct ml_py_arenas *arenas);
};

/*
 * Finds out what the interpreter is. lookup gives the address of a dynamic symbol of the object that holds CPython, or
 * NULL. Works before the interpreter is initialized. Returns 0, or -1 with *why saying what is wrong with it, for
 * people: a static string or abi->why. abi is to be used only after a 0.
 */
int ml_abi_init(struct ml_abi *abi, void *(*lookup)(void *context, const char *symbol), void *context,
		const char **why);

/* The row of a minor version of CPython 3, or NULL; as it is in the table, so debug is not yet applied. */
const struct ml_python *ml_abi_row(unsigned minor);

/*
 * To be called with the file name of each code object that is seen for the first time, and with the path of each
 * loaded object: where that is greenlet's, which replaces the C stack under the interpreter and frees memory while it
 * does, the walk becomes careful: no frame is followed that isn't proven to be live. Costs a moment per event from
 * then on.
 */
void ml_abi_saw_file(struct ml_abi *abi, const char *file, size_t bytes);

/* Whether there is the main interpreter alone. */
static inline bool ml_abi_is_single(const struct ml_abi *abi)
{
	const void *const *newest = (const void *const *)(abi->runtime + abi->is.at.runtime_interpreters);

	return __atomic_load_n(&newest[0], __ATOMIC_RELAXED) == newest[1];
}

/* Whether the interpreter has begun to finalize. */
static inline bool ml_abi_finalizing(const struct ml_abi *abi)
{
	return __atomic_load_n((void *const *)(abi->runtime + abi->is.at.runtime_finalizing), __ATOMIC_RELAXED) != NULL;
}

#endif
