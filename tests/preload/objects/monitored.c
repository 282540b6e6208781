/*
 * As much of CPython 3.12 as the recorder asks: sys.monitoring with its tools, the code watcher, and pending calls that
 * wait until the test makes them. The test reads and sets what is in `fake`.
 */
#include "tests/preload/objects/monitored.h"

#include <stdlib.h>
#include <string.h>

void *PyErr_GetRaisedException(void);
void PyErr_SetRaisedException(void *exception);
void PyErr_Clear(void);
void *PySys_GetObject(const char *name);
void *PyObject_GetAttrString(void *object, const char *name);
void *PyObject_Vectorcall(void *callable, void *const *arguments, size_t n, void *names);
void *PyLong_FromLong(long value);
long PyLong_AsLong(void *number);
void *PyUnicode_FromString(const char *text);
void *PyCMethod_New(const void *definition, void *self, void *module, void *type);
int PyCode_AddWatcher(int (*callback)(int event, void *code));
int Py_AddPendingCall(int (*call)(void *), void *argument);
void Py_IncRef(void *object);
void Py_DecRef(void *object);

struct fake fake;
struct fake_object _Py_NoneStruct = {.name = "None"};

static struct fake_object error = {.name = "error"}, numbers[64];
static struct fake_object attributes[] = {
	{.name = "monitoring"},
	{.name = "events"},
	{.name = "LINE", .value = FAKE_LINE},
	{.name = "PY_RETURN", .value = FAKE_PY_RETURN},
	{.name = "use_tool_id"},
	{.name = "get_tool"},
	{.name = "register_callback"},
	{.name = "get_local_events"},
	{.name = "set_local_events"},
	{.name = "DISABLE"},
};

/* PyMethodDef */
struct method {
	const char *name;
	void *(*function)(void *self, void *const *arguments, intptr_t n);
	int flags;
	const char *doc;
};

void *PyErr_GetRaisedException(void)
{
	void *raised = fake.raised;

	fake.raised = NULL;
	return raised;
}

void PyErr_SetRaisedException(void *exception)
{
	fake.raised = exception;
}

void PyErr_Clear(void)
{
	fake.raised = NULL;
}

void *PySys_GetObject(const char *name)
{
	return strcmp(name, "monitoring") ? NULL : &attributes[0];
}

void *PyObject_GetAttrString(void *object, const char *name)
{
	(void)object;
	for (size_t i = 1; i < sizeof attributes / sizeof *attributes; i++)
		if (!strcmp(attributes[i].name, name) && (!fake.missing || strcmp(fake.missing, name)))
			return &attributes[i];
	fake.raised = &error;
	return NULL;
}

static void *fail(void)
{
	fake.raised = &error;
	return NULL;
}

static void *use_tool(long id, void *name)
{
	if (fake.tools[id])
		return fail();
	fake.tools[id] = name;
	return &_Py_NoneStruct;
}

static struct fake_events *events_of(void *code)
{
	size_t i = 0;

	while (i < fake.set_n && fake.set[i].code != code)
		i++;
	if (i == FAKE_CODES)
		abort();
	return &fake.set[i];
}

static void *get_local_events(void *code)
{
	return PyLong_FromLong(events_of(code)->bits);
}

static void *set_local_events(void *code, long bits)
{
	struct fake_events *e;

	if (fake.allocate)
		fake.allocate();
	if (fake.refuses_events)
		return fail();
	e = events_of(code);
	fake.set_n += !e->code;
	*e = (struct fake_events){code, bits};
	return &_Py_NoneStruct;
}

static void *register_callback(const struct fake_object *event, const struct fake_object *method)
{
	if (event->value == FAKE_LINE)
		fake.line_ran = method->function;
	else
		fake.returned = method->function;
	return &_Py_NoneStruct;
}

void *PyObject_Vectorcall(void *callable, void *const *arguments, size_t n, void *names)
{
	const char *called = ((struct fake_object *)callable)->name;
	long id = ((struct fake_object *)arguments[0])->value;

	(void)n;
	(void)names;
	if (!strcmp(called, "use_tool_id"))
		return use_tool(id, arguments[1]);
	if (!strcmp(called, "get_tool"))
		return fake.tools[id] ? fake.tools[id] : &_Py_NoneStruct;
	if (!strcmp(called, "register_callback"))
		return register_callback(arguments[1], arguments[2]);
	if (!strcmp(called, "get_local_events"))
		return get_local_events(arguments[1]);
	if (!strcmp(called, "set_local_events"))
		return set_local_events(arguments[1], ((struct fake_object *)arguments[2])->value);
	return &_Py_NoneStruct;
}

void *PyLong_FromLong(long value)
{
	numbers[value].value = value;
	return &numbers[value];
}

long PyLong_AsLong(void *object)
{
	return ((struct fake_object *)object)->value;
}

void *PyUnicode_FromString(const char *text)
{
	static struct fake_object string;

	string.name = text;
	return &string;
}

void *PyCMethod_New(const void *definition, void *self, void *module, void *type)
{
	static struct fake_object method;

	(void)self;
	(void)module;
	(void)type;
	method.function = ((const struct method *)definition)->function;
	return &method;
}

int PyCode_AddWatcher(int (*callback)(int event, void *code))
{
	if (fake.has_no_watchers) {
		fail();
		return -1;
	}
	fake.watcher = callback;
	return 0;
}

int Py_AddPendingCall(int (*call)(void *), void *argument)
{
	(void)argument;
	fake.asked++;
	if (fake.has_full_queue)
		return -1;
	fake.pending = call;
	return 0;
}

void Py_IncRef(void *object)
{
	(void)object;
}

void Py_DecRef(void *object)
{
	(void)object;
}
