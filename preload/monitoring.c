#include "preload/monitoring.h"

#include <errno.h>

#include "preload/barriers.h"
#include "preload/identity.h"
#include "preload/occurrences.h"
#include "preload/options.h"
#include "preload/process.h"
#include "preload/ring.h"
#include "preload/tree.h"

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
} py;

/* PyMethodDef (Include/methodobject.h). */
struct method {
	const char *name;
	void *(*function)(void *self, void *const *arguments, intptr_t n);
	int flags;
	const char *doc;
};

#define METHOD_FASTCALL 0x80

static const struct {
	const char *name; /* in sys.monitoring.events */
	struct method callback;
} events[ML_PYTHON_EVENTS] = {
	[ML_PYTHON_LINE] = {"LINE", {"line_ran", ml_occurrences_line_ran, METHOD_FASTCALL, NULL}},
	[ML_PYTHON_RETURN] = {"PY_RETURN", {"returned", ml_barriers_returned, METHOD_FASTCALL, NULL}},
};

/* Objects that we hold once we have begun. */
static struct {
	void *tool; /* the number of our tool */
	void *name; /* what it is called: as long as it has this very name it is ours */
	void *get_tool;
	void *get_local_events;
	void *set_local_events;
	void *event[ML_PYTHON_EVENTS];
} held;

struct ml_monitoring ml_monitoring;
_Atomic bool ml_monitoring_wanted;
static bool begun;
static const char *refused;

static int state(void)
{
	return atomic_load_explicit(&ml_process.state, memory_order_acquire);
}

uint32_t ml_monitoring_enter(void)
{
	uint32_t was = ml_thread.busy;

	ml_thread.busy = ML_IN_RECORD;
	atomic_signal_fence(memory_order_seq_cst);
	return was;
}

void ml_monitoring_leave(uint32_t was)
{
	atomic_signal_fence(memory_order_seq_cst);
	ml_thread.busy = was;
}

void ml_monitoring_disown(const void *number)
{
	struct ml_thread *t = &ml_thread;
	uint32_t was;

	if (!atomic_load(&ml_wiped->gate) || t->gate != atomic_load(&ml_wiped->gate) ||
	    !ml_ring_is_newest(t->ring, number))
		return;
	was = ml_monitoring_enter();
	ml_ring_commit(t->ring, ml_put_ours(t->ring->at));
	ml_monitoring_leave(was);
}

/* Calls into the interpreter. */

/* What has to be as it was. */
struct before {
	int error;
	void *exception;
	struct ml_ring *ring;
};

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

static struct before begin_calls(void)
{
	struct before b = {.error = errno, .exception = py.PyErr_GetRaisedException()};

	b.ring = begin_ours();
	return b;
}

static void end_calls(const struct before *b)
{
	if (b->ring)
		ml_stack_instead(&b->ring->stack, 0);
	py.PyErr_SetRaisedException(b->exception);
	errno = b->error;
}

static void drop(void *object)
{
	if (object)
		py.Py_DecRef(object);
}

/* The result, or NULL: there was an exception, which is gone. */
static void *result_of(void *callable, void *const *arguments, size_t n)
{
	void *result = py.PyObject_Vectorcall(callable, arguments, n, NULL);

	if (!result)
		py.PyErr_Clear();
	return result;
}

/* Calls and drops the result. False: there was an exception, which is gone. */
static bool call(void *callable, void *const *arguments, size_t n)
{
	void *result = result_of(callable, arguments, n);

	drop(result);
	return result != NULL;
}

/* Nothing is told any more, or never was. */
static void refuse(const char *why)
{
	uint32_t was = ml_monitoring_enter();

	begun = false;
	refused = why;
	ml_barriers_end();
	ml_lock_take(&ml_process.lock);
	if (state() == ML_RECORDING || state() == ML_PAUSED)
		ml_identity_add(ML_OCCURRENCES_REFUSED, why);
	ml_lock_drop(&ml_process.lock);
	ml_monitoring_leave(was);
}

static bool owns_tool(void)
{
	void *name = result_of(held.get_tool, &held.tool, 1);

	drop(name);
	return name == held.name;
}

static bool set_event(void *code, enum ml_python_event event, bool on)
{
	void *arguments[] = {held.tool, code, NULL};
	void *were = result_of(held.get_local_events, arguments, 2);
	long bit = py.PyLong_AsLong(held.event[event]), bits = were ? py.PyLong_AsLong(were) : 0;
	bool done;

	arguments[2] = were ? py.PyLong_FromLong(on ? bits | bit : bits & ~bit) : NULL;
	done = arguments[2] && call(held.set_local_events, arguments, 3);
	drop(arguments[2]);
	drop(were);
	return done;
}

bool ml_monitoring_tell(void *code, enum ml_python_event event, bool on)
{
	struct before b;
	bool done = false;

	if (!begun)
		return false;
	b = begin_calls();
	if (owns_tool())
		done = set_event(code, event, on);
	else
		refuse("the program took the tool of sys.monitoring that is memline's: "
		       "what it loaded afterwards was not counted");
	end_calls(&b);
	return done;
}

bool ml_monitoring_call_later(int (*function)(void *))
{
	return !py.Py_AddPendingCall(function, NULL);
}

/* PyCodeEvent (Include/cpython/code.h). */
#define CODE_CREATED 0
#define CODE_DESTROYED 1

/* PyCode_WatchCallback. There may be an exception, which has to stay. */
static int code_event(int event, void *code)
{
	int error = errno;

	if (event == CODE_CREATED && begun)
		ml_occurrences_made(code);
	else if (event == CODE_DESTROYED)
		ml_barriers_forget(code);
	errno = error;
	return 0;
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
		drop(arguments[0]);
	}
	return false;
}

static bool register_callback(void *monitoring, enum ml_python_event event)
{
	void *function = py.PyCMethod_New(&events[event].callback, NULL, NULL, NULL);
	void *arguments[] = {held.tool, held.event[event], function};
	void *callable = attribute(monitoring, "register_callback");
	bool done = function && callable && call(callable, arguments, 3);

	drop(callable);
	drop(function);
	return done;
}

/* NULL, or why not. Everything that is held stays so until the process ends. */
static const char *set_up(void)
{
	static const char *const odd = "sys.monitoring is not as it should be";
	void *monitoring = py.PySys_GetObject("monitoring"), *names, *use_tool_id;

	held.name = py.PyUnicode_FromString("memline");
	names = attribute(monitoring, "events");
	use_tool_id = attribute(monitoring, "use_tool_id");
	held.get_tool = attribute(monitoring, "get_tool");
	held.get_local_events = attribute(monitoring, "get_local_events");
	held.set_local_events = attribute(monitoring, "set_local_events");
	ml_monitoring.disable = attribute(monitoring, "DISABLE");
	if (!held.name || !use_tool_id || !held.get_tool || !held.get_local_events || !held.set_local_events ||
	    !ml_monitoring.disable)
		return odd;
	for (enum ml_python_event i = 0; i < ML_PYTHON_EVENTS; i++)
		if (!(held.event[i] = attribute(names, events[i].name)))
			return odd;
	if (!take_tool(use_tool_id))
		return "other tools have taken the numbers 4 and 3 of sys.monitoring";
	for (enum ml_python_event i = 0; i < ML_PYTHON_EVENTS; i++)
		if (!register_callback(monitoring, i))
			return odd;
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
	begun = ml_occurrences_can_count();
	if (!begun)
		return;
	ml_barriers_begin();
	ml_occurrences_begin();
}

static int begin_pending(void *unused)
{
	struct before b = begin_calls();

	(void)unused;
	if (state() != ML_STOPPED && state() != ML_INERT)
		begin();
	end_calls(&b);
	return 0;
}

void ml_monitoring_ask(void)
{
	int error = errno;

	if (ml_process.abi.is_initialized() && !ml_abi_finalizing(&ml_process.abi) &&
	    atomic_exchange(&ml_monitoring_wanted, false) && !ml_monitoring_call_later(begin_pending))
		atomic_store(&ml_monitoring_wanted, true); /* there is no room in the queue now */
	errno = error;
}

void ml_monitoring_find(const struct ml_object *python)
{
	bool all;

	if (!ml_process.python || ml_options.occurrences == ML_OCCURRENCES_OFF)
		return;
	ml_monitoring.none = ml_symbols_in(python, "_Py_NoneStruct");
	all = ml_monitoring.none && ml_process.abi.is.at.code_version;
#define X(result, name, parameters)                                                                                    \
	*(void **)&py.name = ml_symbols_in(python, #name);                                                             \
	all &= py.name != NULL;
	PYTHON_LIST(X)
#undef X
	ml_monitoring.number_of = py.PyLong_AsLong;
	ml_monitoring.increase = py.Py_IncRef;
	if (!all && ml_options.occurrences == ML_OCCURRENCES_ON)
		refused = "only CPython 3.12 and later tell which lines run";
	atomic_store(&ml_monitoring_wanted, all);
}

const char *ml_monitoring_refused(void)
{
	return refused;
}
