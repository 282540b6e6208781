#include "preload/occurrences.h"

#include <errno.h>
#include <string.h>

#include "preload/file.h"
#include "preload/identity.h"
#include "preload/options.h"
#include "preload/process.h"
#include "preload/ring.h"
#include "preload/sys.h"
#include "preload/tree.h"
#include "symbolize/python/code.h"

/* Python objects are void pointers here. */

/* CPython's functions. X(result, name, parameters). */
#define PYTHON_LIST(X)                                                                                                 \
	X(void *, PyErr_GetRaisedException, (void))                                                                    \
	X(void, PyErr_SetRaisedException, (void *))                                                                    \
	X(void, PyErr_Clear, (void))                                                                                   \
	X(void *, PySys_GetObject, (const char *))                                                                     \
	X(void *, PyObject_GetAttrString, (void *, const char *))                                                      \
	X(void *, PyObject_Vectorcall, (void *, void *const *, size_t, void *))                                        \
	X(void *, PyLong_FromLong, (long))                                                                             \
	X(long, PyLong_AsLong, (void *))                                                                               \
	X(void *, PyUnicode_FromString, (const char *))                                                                \
	X(void *, PyCMethod_New, (const void *, void *, void *, void *))                                               \
	X(int, PyCode_AddWatcher, (int (*)(int, void *)))                                                              \
	X(int, Py_AddPendingCall, (int (*)(void *), void *))                                                           \
	X(void, Py_IncRef, (void *))                                                                                   \
	X(void, Py_DecRef, (void *))

static struct {
#define X(result, name, parameters) result(*name) parameters;
	PYTHON_LIST(X)
#undef X
	void *none;
} py;

/* Objects that we hold once counting has begun. */
static struct {
	void *tool; /* the number of our tool */
	void *name; /* what it is called: as long as it has this very name it is ours */
	void *get_tool;
	void *set_local_events;
	void *line; /* sys.monitoring.events.LINE */
	void *disable;
} held;

static bool begun;
static const char *refused;
_Atomic bool ml_occurrences_wanted;

/* A counter that was found lately. A code object is known by its version: addresses are used again. */
struct near {
	const void *code;
	uint32_t version; /* 0: nothing here */
	uint32_t line;
	struct ml_count *count;
};

#define NEARS 1024u /* a power of two */
#define GATE_NONE UINT32_MAX
#define SLOTS_MIN 1024u
#define FIRST_BYTES 16384u
#define MORE_BYTES 65536u

static struct {
	uint32_t gate; /* of the trace that is being recorded, as the counters are ready for it; GATE_NONE: of none */
	struct near near[NEARS];
	struct ml_count **slots; /* by code and line: open addressing, at most half full */
	uint32_t mask;
	uint32_t used;
	struct ml_count *next; /* the counters that are free in the newest extent */
	uint32_t left;
	bool has_extent;
} counting = {.gate = GATE_NONE};

static int state(void)
{
	return atomic_load_explicit(&ml_process.state, memory_order_acquire);
}

/* Our own code begins, in which nothing is recorded; what the guard was before, for leave(). */
static uint32_t enter(void)
{
	uint32_t was = ml_thread.busy;

	ml_thread.busy = ML_IN_RECORD;
	atomic_signal_fence(memory_order_seq_cst);
	return was;
}

static void leave(uint32_t was)
{
	atomic_signal_fence(memory_order_seq_cst);
	ml_thread.busy = was;
}

/* What the interpreter allocates from here on is for our sake. NULL: nothing is being recorded. */
static struct ml_ring *begin_ours(void)
{
	struct ml_thread *t = ml_enter(NULL);

	if (!t)
		return NULL;
	t->busy = ML_IN_RECORD;
	ml_stack_instead(&t->ring->stack, ml_tree_node(0, ML_SUBJECT(ML_NODE_MARK, ML_MARK_MEMLINE), 0));
	ml_leave(t);
	return t->ring;
}

static void end_ours(struct ml_ring *r)
{
	if (r)
		ml_stack_instead(&r->stack, 0);
}

/* Counters. */

static bool map_counters(void)
{
	uint32_t bytes = counting.has_extent ? MORE_BYTES : FIRST_BYTES;

	ml_lock_take(&ml_process.lock);
	counting.next = ml_file_map(ML_EXTENT_COUNTS, 0, bytes);
	ml_lock_drop(&ml_process.lock);
	counting.left = counting.next ? bytes / sizeof *counting.next : 0;
	counting.has_extent |= counting.next != NULL;
	return counting.next != NULL;
}

static uint64_t slot_hash(uint32_t code, uint32_t line)
{
	uint64_t h = ((uint64_t)code << 32 | line) * 0x9e3779b97f4a7c15u;

	return h ^ h >> 32;
}

/* The slot of a counter, or the free one where it would be. */
static struct ml_count **slot_of(uint32_t code, uint32_t line)
{
	uint64_t i = slot_hash(code, line);

	for (;; i++) {
		struct ml_count **slot = &counting.slots[i & counting.mask];
		if (!*slot || ((*slot)->code == code && (*slot)->line == line))
			return slot;
	}
}

static bool grow_slots(void)
{
	struct ml_count **old = counting.slots;
	uint32_t slots = old ? counting.mask + 1 : 0, more = slots ? slots * 2 : SLOTS_MIN;
	struct ml_count **larger;

	if (counting.used * 2 < slots)
		return true;
	larger = ml_sys_pages(more * sizeof *larger);
	if (!larger)
		return false;
	counting.slots = larger;
	counting.mask = more - 1;
	for (uint32_t i = 0; i < slots; i++)
		if (old[i])
			*slot_of(old[i]->code, old[i]->line) = old[i];
	if (old)
		ml_sys_munmap(old, slots * sizeof *old);
	return true;
}

/* NULL: there is no room, or no such line, or the code object can't be described. */
static struct ml_count *count_of(const void *code, uint32_t line)
{
	uint32_t id = line - 1 < INT32_MAX ? ml_tree_code(code) : UINT32_MAX;
	struct ml_count **slot;

	if (id == UINT32_MAX || !grow_slots())
		return NULL;
	slot = slot_of(id, line);
	if (*slot)
		return *slot;
	if (!counting.left && !map_counters())
		return NULL;
	counting.left--;
	counting.used++;
	counting.next->code = id;
	counting.next->line = line;
	return *slot = counting.next++;
}

static uint32_t version_of(const void *code)
{
	return (uint32_t)ml_load_int(code, ml_process.abi.is.at.code_version);
}

static inline struct near *near_of(const void *code, uint32_t line)
{
	return &counting.near[((uint32_t)((uintptr_t)code >> 5) * 31 + line) % NEARS];
}

static struct ml_count *find_count(const void *code, uint32_t line)
{
	struct near *near = near_of(code, line);
	uint32_t was;

	if (near->code != code || near->line != line || !near->version || near->version != version_of(code)) {
		was = enter();
		*near = (struct near){code, version_of(code), line, count_of(code, line)};
		leave(was);
		near->version = near->count ? near->version : 0;
	}
	return near->count;
}

void ml_occurrences_reset(void)
{
	if (counting.slots)
		ml_sys_munmap(counting.slots, (counting.mask + (size_t)1) * sizeof *counting.slots);
	if (counting.has_extent) /* else it was not touched */
		memset(&counting, 0, sizeof counting);
	counting.gate = GATE_NONE;
}

/* Whether lines are counted now, where the gate is another one than before: in a forked child, or after a pause. */
static __attribute__((noinline)) bool is_counting(void)
{
	bool stopped = state() == ML_STOPPED || state() == ML_INERT;
	struct ml_thread *t;
	uint32_t was, gate;

	if (stopped && atomic_load(&ml_wiped->alive))
		return false;
	t = ml_enter(NULL); /* a child finds out that it is one */
	if (t)
		ml_leave(t);
	was = enter();
	if (state() == ML_EARLY || state() == ML_WAITING)
		ml_process_adopt();
	gate = atomic_load(&ml_wiped->gate);
	if (gate && state() == ML_RECORDING && (counting.has_extent || map_counters()))
		counting.gate = gate;
	leave(was);
	return gate && counting.gate == gate;
}

/* Callbacks. */

/* Whether the newest record of the thread's ring is about the object: then it is the object's allocation. */
static bool is_newest(const struct ml_ring *r, const void *object)
{
	return r->coder.address == (uintptr_t)object >> 4;
}

/* The number of the line may be an object that was made for this call alone. */
static void disown(const void *number)
{
	struct ml_thread *t = &ml_thread;
	uint32_t was;

	if (t->gate != counting.gate || !is_newest(t->ring, number))
		return;
	was = enter();
	ml_ring_commit(t->ring, ml_put_ours(t->ring->at));
	leave(was);
}

static void *disable(void)
{
	py.Py_IncRef(held.disable);
	return held.disable;
}

/* One more run. False: it is the one that ends the counting. The position is known before the run counts. */
static bool count_run(struct ml_count *count, uint32_t ring, uint64_t position)
{
	if (__builtin_expect(count->count >= ML_COUNT_MAX, 0)) {
		count->count = ML_COUNT_MAX + 1;
		return false;
	}
	count->ring = ring;
	count->state = position;
	__atomic_store_n(&count->count, count->count + 1, __ATOMIC_RELEASE);
	return true;
}

/* What line_ran() does, whatever is unusual. */
static __attribute__((noinline)) void *line_ran_unusually(const void *code, uint32_t line, const void *number)
{
	struct ml_count *count;
	uint64_t position = 0;
	uint32_t ring;

	if (atomic_load(&ml_wiped->gate) != counting.gate && !is_counting())
		return state() == ML_STOPPED ? disable() : py.none;
	disown(number);
	count = find_count(code, line);
	if (!count)
		return py.none;
	ring = ml_ring_newest(&position);
	return count_run(count, ring, position) ? py.none : disable();
}

/* (code, line): the line begins to run. A METH_FASTCALL function. */
static void *line_ran(void *self, void *const *arguments, intptr_t n)
{
	const void *code = arguments[0], *number = arguments[1];
	uint32_t line = (uint32_t)py.PyLong_AsLong(arguments[1]);
	const struct near *near = near_of(code, line);
	const struct ml_thread *t = &ml_thread;
	const struct ml_ring *r = t->ring;

	(void)self;
	(void)n;
	if (__builtin_expect(atomic_load_explicit(&ml_wiped->gate, memory_order_relaxed) == counting.gate, 1) &&
	    __builtin_expect(t->gate == counting.gate && near->code == code && near->line == line, 1) &&
	    __builtin_expect(near->version && near->version == version_of(code), 1) &&
	    __builtin_expect(ml_ring_has_turn(r) && !is_newest(r, number), 1))
		return count_run(near->count, r->id, r->piece->state) ? py.none : disable();
	return line_ran_unusually(code, line, number);
}

/* PyMethodDef (Include/methodobject.h). */
static const struct {
	const char *name;
	void *(*function)(void *self, void *const *arguments, intptr_t n);
	int flags;
	const char *doc;
} line_method = {"line_ran", line_ran, 0x80 /* METH_FASTCALL */, NULL};

/* Code objects. */

/* No longer than that are the names of files and functions that are looked at. */
static char names[2 * ML_IDENTITY_FILE_MAX];

/* The calling thread's innermost frame, or NULL. */
static const void *top_frame(void)
{
	struct ml_walker walker = {.self = 0};
	uint32_t was = enter();
	const void *frame = ml_walk_top(&ml_process.abi, &walker, (uintptr_t)__builtin_frame_address(0));

	leave(was);
	return frame;
}

/* The next frame from this one on that runs code of the program; NULL: there is none. */
static const void *running(const void *frame)
{
	const struct ml_abi *abi = &ml_process.abi;

	while (frame && ml_frame_kind(abi, frame, ml_frame_code(abi, frame)) == ML_FRAME_SHIM)
		frame = ml_frame_previous(abi, frame);
	return frame;
}

/* *text: it is no file but a text. */
static bool has_file_in_scope(const void *code, bool *text)
{
	struct ml_code_text name;
	uint32_t was;
	bool has;

	if (ml_code_describe(&ml_process.abi, code, names, sizeof names, &name))
		return false;
	*text = name.file_bytes && name.file[0] == '<';
	was = enter();
	ml_lock_take(&ml_process.lock);
	has = ml_identity_has(name.file, name.file_bytes);
	ml_lock_drop(&ml_process.lock);
	leave(was);
	return has;
}

/* A text that Python code compiles is not the program, even where the program is a text of the same name. */
static bool is_in_scope(const void *code)
{
	bool text;

	return has_file_in_scope(code, &text) && !(text && running(top_frame()));
}

/* No more lines are counted, or none ever were. */
static void refuse(const char *why)
{
	uint32_t was = enter();

	begun = false;
	refused = why;
	ml_lock_take(&ml_process.lock);
	if (state() == ML_RECORDING || state() == ML_PAUSED)
		ml_identity_add(ML_OCCURRENCES_REFUSED, why);
	ml_lock_drop(&ml_process.lock);
	leave(was);
}

/* Calls and drops the result. False: there was an exception, which is gone. */
static bool call(void *callable, void *const *arguments, size_t n)
{
	void *result = py.PyObject_Vectorcall(callable, arguments, n, NULL);

	if (!result) {
		py.PyErr_Clear();
		return false;
	}
	py.Py_DecRef(result);
	return true;
}

static bool owns_tool(void)
{
	void *name = py.PyObject_Vectorcall(held.get_tool, &held.tool, 1, NULL);

	if (!name)
		py.PyErr_Clear();
	else
		py.Py_DecRef(name);
	return name == held.name;
}

/* Has the interpreter tell of each line of the code that runs. */
static void switch_on(void *code)
{
	void *arguments[] = {held.tool, code, held.line};

	if (!owns_tool())
		refuse("the program took the tool of sys.monitoring that is memline's: "
		       "what it loaded afterwards was not counted");
	else
		call(held.set_local_events, arguments, 3);
}

#define CODE_CREATED 0 /* PyCodeEvent (Include/cpython/code.h) */

/* PyCode_WatchCallback. There may be an exception, which has to stay. */
static int code_event(int event, void *code)
{
	struct ml_ring *ring;
	int error = errno;
	void *exception;

	if (event == CODE_CREATED && begun && is_in_scope(code)) {
		exception = py.PyErr_GetRaisedException();
		ring = begin_ours();
		switch_on(code);
		end_ours(ring);
		py.PyErr_SetRaisedException(exception);
	}
	errno = error;
	return 0;
}

/* The code and all that is defined in it. */
static void switch_on_all(void *code)
{
	const struct ml_offsets *at = &ml_process.abi.is.at;
	const char *constants = (const char *)ml_load_word(code, at->code_consts);
	size_t n = ml_load_word(constants, at->object_size);
	void *const *items = (void *const *)(constants + at->object_size + sizeof(uintptr_t)); /* PyTupleObject */

	switch_on(code);
	for (size_t i = 0; i < n && begun; i++)
		if (ml_code_is_one(&ml_process.abi, items[i]))
			switch_on_all(items[i]);
}

/* Of the code that was there before us only a program is counted that has just been started: no line of it ran. It
   stands at its RESUME, where pending calls are made, or behind it. */
static void switch_on_program(void)
{
	const struct ml_abi *abi = &ml_process.abi;
	const void *frame = running(top_frame());
	void *code = frame ? (void *)ml_frame_code(abi, frame) : NULL;
	bool text;

	if (!frame || ml_frame_kind(abi, frame, code) != ML_FRAME_PYTHON || running(ml_frame_previous(abi, frame)))
		return;
	if ((uint32_t)ml_load_int(code, abi->is.at.code_flags) & ML_CO_FUNCTION ||
	    ml_frame_place(abi, code, ml_frame_instr(abi, frame)) >
		    2 * (ml_load_int(code, abi->is.at.code_first_traceable) + 1))
		return;
	if (has_file_in_scope(code, &text))
		switch_on_all(code);
}

/* Setting up. */

static void *attribute(void *object, const char *name)
{
	return object ? py.PyObject_GetAttrString(object, name) : NULL;
}

/* Takes a number that no other kind of tool is meant to have. */
static bool take_tool(void *use_tool_id)
{
	static const long numbers[] = {4, 3};

	for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
		void *arguments[] = {py.PyLong_FromLong(numbers[i]), held.name};
		if (arguments[0] && call(use_tool_id, arguments, 2)) {
			held.tool = arguments[0];
			return true;
		}
		if (arguments[0])
			py.Py_DecRef(arguments[0]);
	}
	return false;
}

static bool register_callback(void *monitoring)
{
	void *function = py.PyCMethod_New(&line_method, NULL, NULL, NULL);
	void *arguments[] = {held.tool, held.line, function};
	void *callable = attribute(monitoring, "register_callback");
	bool done = function && callable && call(callable, arguments, 3);

	if (callable)
		py.Py_DecRef(callable);
	if (function)
		py.Py_DecRef(function);
	return done;
}

/* NULL, or why not. Everything that is held stays so until the process ends. */
static const char *set_up(void)
{
	void *monitoring = py.PySys_GetObject("monitoring"), *events, *use_tool_id;

	held.name = py.PyUnicode_FromString("memline");
	events = attribute(monitoring, "events");
	use_tool_id = attribute(monitoring, "use_tool_id");
	held.line = attribute(events, "LINE");
	held.get_tool = attribute(monitoring, "get_tool");
	held.set_local_events = attribute(monitoring, "set_local_events");
	held.disable = attribute(monitoring, "DISABLE");
	if (!held.name || !use_tool_id || !held.line || !held.get_tool || !held.set_local_events || !held.disable)
		return "sys.monitoring is not as it should be";
	if (!take_tool(use_tool_id))
		return "other tools have taken the numbers 4 and 3 of sys.monitoring";
	if (!register_callback(monitoring))
		return "sys.monitoring is not as it should be";
	if (py.PyCode_AddWatcher(code_event) < 0)
		return "the interpreter has no room for another code watcher";
	return NULL;
}

static void begin(void)
{
	const char *why = set_up();

	py.PyErr_Clear();
	if (why) {
		refuse(why);
		return;
	}
	begun = is_counting();
	if (begun)
		switch_on_program();
}

/* A pending call: Python's main thread makes it, between two instructions. */
static int begin_pending(void *unused)
{
	void *exception = py.PyErr_GetRaisedException();
	struct ml_ring *ring = begin_ours();
	int error = errno;

	(void)unused;
	if (state() != ML_STOPPED && state() != ML_INERT)
		begin();
	end_ours(ring);
	py.PyErr_SetRaisedException(exception);
	errno = error;
	return 0;
}

void ml_occurrences_ask(void)
{
	int error = errno;

	if (ml_process.abi.is_initialized() && !ml_abi_finalizing(&ml_process.abi) &&
	    atomic_exchange(&ml_occurrences_wanted, false) && py.Py_AddPendingCall(begin_pending, NULL))
		atomic_store(&ml_occurrences_wanted, true); /* there is no room in the queue now */
	errno = error;
}

void ml_occurrences_find(const struct ml_object *python)
{
	bool all;

	if (!ml_process.python || ml_options.occurrences == ML_OCCURRENCES_OFF)
		return;
	py.none = ml_symbols_in(python, "_Py_NoneStruct");
	all = py.none && ml_process.abi.is.at.code_version;
#define X(result, name, parameters)                                                                                    \
	*(void **)&py.name = ml_symbols_in(python, #name);                                                             \
	all &= py.name != NULL;
	PYTHON_LIST(X)
#undef X
	if (!all && ml_options.occurrences == ML_OCCURRENCES_ON)
		refused = "only CPython 3.12 and later tell which lines run";
	atomic_store(&ml_occurrences_wanted, all);
}

const char *ml_occurrences_refused(void)
{
	return refused;
}
