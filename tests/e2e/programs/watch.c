/*
 * A C program under the eyes of the warden (objects/warden.c), which may open a libpython on its way and run a text:
 * watch WATCHED [LIBPYTHON TEXT]
 *
 * built with: -ldl -pthread */
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>

static void *symbol(void *library, const char *name)
{
	void *found = library ? dlsym(library, name) : NULL;

	if (!found) {
		fprintf(stderr, "no %s\n", name);
		exit(3);
	}
	return found;
}

int main(int argc, char **argv)
{
	void (*heap)(int, size_t), (*late)(int, int, size_t), (*initialize)(int);
	int (*early)(int), (*threads)(int, int, size_t), (*fork)(int, size_t), (*run)(const char *), (*finalize)(void);
	void *watched, *python = NULL;

	if (argc != 2 && argc != 4)
		return 2;
	watched = dlopen(argv[1], RTLD_NOW);
	*(void **)&heap = symbol(watched, "watched_heap");
	*(void **)&early = symbol(watched, "watched_early");
	*(void **)&late = symbol(watched, "watched_late");
	*(void **)&threads = symbol(watched, "watched_threads");
	*(void **)&fork = symbol(watched, "watched_fork");
	if (early(4))
		return 3;
	if (argc > 2) {
		python = dlopen(argv[2], RTLD_NOW | RTLD_LOCAL);
		*(void **)&initialize = symbol(python, "Py_InitializeEx");
		*(void **)&run = symbol(python, "PyRun_SimpleString");
		*(void **)&finalize = symbol(python, "Py_FinalizeEx");
		initialize(0);
		late(4, 100, 10001);
		if (early(4) || run(argv[3]))
			return 4;
	}
	late(4, 100, 10002);
	heap(100, 10003);
	if (threads(20, 100, 10004) || fork(100, 10005))
		return 5;
	if (python)
		finalize();
	return 0;
}
