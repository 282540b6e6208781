#include "tests/preload/monitored.h"

#include <check.h>
#include <dlfcn.h>

#include "preload/monitoring.h"
#include "preload/process.h"
#include "tests/preload/session.h"

struct fake *fake;
void *monitored_none;

struct ml_object monitored_load(void)
{
	void *object = dlopen(ML_TEST_OBJECTS "/monitored.so", RTLD_NOW);
	struct ml_object python;

	ck_assert_msg(object != NULL, "%s", dlerror());
	fake = dlsym(object, "fake");
	monitored_none = dlsym(object, "_Py_NoneStruct");
	ck_assert_int_eq(ml_symbols_object_with("PyCode_AddWatcher", &python), 0);
	return python;
}

void monitored_put_frame(struct frame *f, const struct frame *caller, const struct code *code, unsigned index)
{
	*f = (struct frame){.previous = caller, .code = frames_tagged(code), .instr = code->bytecode + index};
	frames_top = f;
}

void monitored_poll(void)
{
	struct ml_thread *t = ml_enter(NULL);

	ml_monitoring_poll();
	if (t)
		ml_leave(t);
}

void monitored_start(const char *option)
{
	static struct frame frame;
	struct ml_object python;

	session_start("MEMLINE_SCOPE=/app/*", option, NULL);
	frames_start(FRAMES_VERSIONS);
	python = monitored_load();
	ml_monitoring_find(&python);
	monitored_put_frame(&frame, NULL, frames_code("/usr/lib/python3.12/site.py", "main", 1), 9);
	session_alloc(0x1000, 1);
	ck_assert_int_eq(session_state(), ML_RECORDING);
	monitored_poll();
}

void monitored_begin(void)
{
	monitored_start(NULL);
	ck_assert_ptr_nonnull(fake->pending);
	ck_assert_int_eq(fake->pending(NULL), 0);
	ck_assert_ptr_nonnull(fake->watcher);
	ck_assert_ptr_nonnull(fake->line_ran);
	ck_assert_ptr_nonnull(fake->returned);
}

struct code *monitored_code(const char *file, const char *name)
{
	struct code *code = frames_code(file, name, 1);

	ck_assert_int_eq(fake->watcher(0, code), 0);
	return code;
}

long monitored_events(const struct code *code)
{
	for (size_t i = 0; i < fake->set_n; i++)
		if (fake->set[i].code == code)
			return fake->set[i].bits;
	return 0;
}
