/*
 * To whoever looks at its symbols this program is a CPython of the version text in REFUSED_VERSION, whose debug offsets
 * say that it is a free-threaded 3.13. No Python is in it. It makes COUNT blocks of SIZE bytes, frees every other one,
 * and says so: refused COUNT SIZE
 *
 * built with: -rdynamic */
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

/* The start of _Py_DebugOffsets, which is that of _PyRuntime (Include/internal/pycore_debug_offsets.h). */
struct runtime {
	char cookie[8];
	uint64_t version;
	uint64_t free_threaded;
	uint64_t rest[1024];
};

extern struct runtime _PyRuntime;
extern char PyType_Type[512], PyCode_Type[512], PyFrame_Type[512], PyGen_Type[512], PyCoro_Type[512],
	PyAsyncGen_Type[512];

void *PyGILState_GetThisThreadState(void);
void *PyThreadState_GetUnchecked(void);
int Py_IsInitialized(void);
const char *Py_GetVersion(void);
void PyMem_GetAllocator(int domain, void *allocator);
void PyMem_SetAllocator(int domain, void *allocator);
void PyObject_GetArenaAllocator(void *allocator);
void PyObject_SetArenaAllocator(void *allocator);

struct runtime _PyRuntime = {
	.cookie = {'x', 'd', 'e', 'b', 'u', 'g', 'p', 'y'},
	.version = 0x030d0ff0,
	.free_threaded = 1,
};
char PyType_Type[512], PyCode_Type[512], PyFrame_Type[512], PyGen_Type[512], PyCoro_Type[512], PyAsyncGen_Type[512];

static bool initialized;

/* A refused interpreter is asked for its version and whether it is up, and for nothing else. */
static void *never(void)
{
	abort();
}

void *PyGILState_GetThisThreadState(void)
{
	return never();
}

void *PyThreadState_GetUnchecked(void)
{
	return never();
}

void PyMem_GetAllocator(int domain, void *allocator)
{
	(void)domain, (void)allocator;
	never();
}

void PyMem_SetAllocator(int domain, void *allocator)
{
	(void)domain, (void)allocator;
	never();
}

void PyObject_GetArenaAllocator(void *allocator)
{
	(void)allocator;
	never();
}

void PyObject_SetArenaAllocator(void *allocator)
{
	(void)allocator;
	never();
}

int Py_IsInitialized(void)
{
	return initialized;
}

const char *Py_GetVersion(void)
{
	return getenv("REFUSED_VERSION");
}

int main(int argc, char **argv)
{
	size_t count = argc > 1 ? strtoul(argv[1], NULL, 10) : 0;
	size_t size = argc > 2 ? strtoul(argv[2], NULL, 10) : 0;
	void **blocks = malloc(count * sizeof *blocks);

	initialized = true;
	for (size_t i = 0; i < count; i++)
		blocks[i] = malloc(size);
	for (size_t i = 0; i < count; i += 2)
		free(blocks[i]);
	printf("%zu blocks of %zu bytes\n", count, size);
	return 3;
}
