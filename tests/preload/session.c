#include "tests/preload/session.h"

#include <check.h>
#include <dirent.h>
#include <dlfcn.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "preload/options.h"
#include "preload/process.h"
#include "preload/record.h"

#define OPTIONS_MAX 16

char session_directory[64];

static int *initialized; /* of the interpreter */

void session_begin(void)
{
	strcpy(session_directory, "/tmp/memline-test-XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(session_directory));
}

static void each_file(void (*each)(const char *path))
{
	DIR *d = opendir(session_directory);
	struct dirent *entry;

	while (d && (entry = readdir(d))) {
		char path[512];
		if (entry->d_name[0] == '.')
			continue;
		snprintf(path, sizeof path, "%s/%s", session_directory, entry->d_name);
		each(path);
	}
	if (d)
		closedir(d);
}

static void remove_file(const char *path)
{
	unlink(path);
}

void session_end(void)
{
	each_file(remove_file);
	rmdir(session_directory);
}

bool session_try_start(const char *const *options)
{
	static char directory[128];
	char *environment[OPTIONS_MAX + 2] = {directory};
	void *interpreter;

	snprintf(directory, sizeof directory, "MEMLINE_DIR=%s", session_directory);
	for (unsigned i = 0; i < OPTIONS_MAX && options[i]; i++)
		environment[i + 1] = (char *)(uintptr_t)options[i];
	ml_options_read(environment);
	interpreter = dlopen(ML_TEST_OBJECTS "/interpreter.so", RTLD_NOW);
	if (!interpreter)
		return false;
	initialized = dlsym(interpreter, "initialized");
	/* It wakes, or check's time limit ends the test. */
	while (session_state() == ML_DORMANT) {
		struct ml_thread *t = ml_enter(NULL);
		if (t)
			ml_leave(t);
	}
	return session_state() == ML_EARLY;
}

void session_start(const char *option, ...)
{
	const char *options[OPTIONS_MAX + 1] = {NULL};
	va_list list;

	va_start(list, option);
	for (unsigned i = 0; i < OPTIONS_MAX && option; i++) {
		options[i] = option;
		option = va_arg(list, const char *);
	}
	va_end(list);
	ck_assert_int_eq(session_state(), ML_DORMANT);
	ck_assert(session_try_start(options));
	ck_assert_ptr_nonnull(ml_process.refused);
	ck_assert(ml_process.late);
}

void session_initialize(void)
{
	*initialized = 1;
	if (!ml_process.refused)
		ml_process.refused = "it is made by hand";
}

static char found[512];

static unsigned traces;

static void note_trace(const char *path)
{
	if (strcmp(path + strlen(path) - 8, ".memline"))
		return;
	snprintf(found, sizeof found, "%s", path);
	traces++;
}

const char *session_trace(void)
{
	found[0] = 0;
	ck_assert_uint_le(session_traces(), 1);
	return found;
}

unsigned session_traces(void)
{
	traces = 0;
	each_file(note_trace);
	return traces;
}

static const void *block(uint64_t address)
{
	return (const void *)(uintptr_t)address;
}

int session_alloc_by(const void *caller, uint64_t address, uint64_t bytes)
{
	struct ml_thread *t = ml_enter(caller);

	if (!t)
		return 0;
	ml_record_alloc(t, ML_DOMAIN_C, block(address), bytes, caller);
	ml_leave(t);
	return 1;
}

int session_alloc(uint64_t address, uint64_t bytes)
{
	return session_alloc_by(NULL, address, bytes);
}

int session_free(uint64_t address)
{
	struct ml_thread *t = ml_enter(NULL);

	if (!t)
		return 0;
	ml_record_free(t, ML_DOMAIN_C, block(address), NULL);
	ml_leave(t);
	return 1;
}

int session_realloc(uint64_t from, uint64_t to, uint64_t bytes, enum ml_outcome outcome)
{
	struct ml_thread *t = ml_enter(NULL);

	if (!t)
		return 0;
	ml_record_realloc_begin(t, ML_DOMAIN_C, block(from), NULL);
	ml_record_realloc_end(t, outcome, block(to), bytes);
	ml_leave(t);
	return 1;
}

int session_state(void)
{
	return atomic_load(&ml_process.state);
}
