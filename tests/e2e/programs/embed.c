/*
 * A program that knows nothing of Python until it opens a libpython, for itself alone (RTLD_LOCAL), and runs a text:
 * embed LIBPYTHON TEXT
 *
 * built with: -ldl */
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>

/* What the program has before Python comes: memline has not seen it. */
static void *before;

static void *symbol(void *library, const char *name)
{
	void *found = dlsym(library, name);

	if (!found) {
		fprintf(stderr, "no %s\n", name);
		exit(3);
	}
	return found;
}

int main(int argc, char **argv)
{
	void (*initialize)(int);
	int (*run)(const char *), (*finalize)(void);
	void *library;
	int status;

	if (argc != 3)
		return 2;
	before = malloc(1000);
	library = dlopen(argv[1], RTLD_NOW | RTLD_LOCAL);
	if (!library) {
		fprintf(stderr, "%s\n", dlerror());
		return 3;
	}
	*(void **)&initialize = symbol(library, "Py_InitializeEx");
	*(void **)&run = symbol(library, "PyRun_SimpleString");
	*(void **)&finalize = symbol(library, "Py_FinalizeEx");
	initialize(0);
	status = run(argv[2]);
	finalize();
	free(before);
	return status ? 4 : 0;
}
