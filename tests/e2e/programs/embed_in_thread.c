/*
 * A program with threads that allocate all the time, one of which opens a libpython late, for itself alone, and runs a
 * text: embed_in_thread LIBPYTHON TEXT
 *
 * built with: -ldl -pthread */
#include <dlfcn.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define WORKERS 3

static atomic_bool done;

static void *work(void *unused)
{
	void *held[64] = {0};

	(void)unused;
	for (unsigned i = 0; !done; i++) {
		free(held[i % 64]);
		held[i % 64] = malloc(1000 + i % 1000);
	}
	for (unsigned i = 0; i < 64; i++)
		free(held[i]);
	return NULL;
}

static void *symbol(void *library, const char *name)
{
	void *found = dlsym(library, name);

	if (!found) {
		fprintf(stderr, "no %s\n", name);
		exit(3);
	}
	return found;
}

static void *python(void *argument)
{
	char **argv = argument;
	void *library = dlopen(argv[1], RTLD_NOW | RTLD_LOCAL);
	void (*initialize)(int);
	int (*run)(const char *), (*finalize)(void);
	int status;

	if (!library) {
		fprintf(stderr, "%s\n", dlerror());
		exit(3);
	}
	*(void **)&initialize = symbol(library, "Py_InitializeEx");
	*(void **)&run = symbol(library, "PyRun_SimpleString");
	*(void **)&finalize = symbol(library, "Py_FinalizeEx");
	initialize(0);
	status = run(argv[2]);
	finalize();
	return status ? (void *)4 : NULL;
}

int main(int argc, char **argv)
{
	pthread_t worker[WORKERS], thread;
	void *failed = NULL;

	if (argc != 3)
		return 2;
	for (int i = 0; i < WORKERS; i++)
		pthread_create(&worker[i], NULL, work, NULL);
	usleep(50000);
	pthread_create(&thread, NULL, python, argv);
	pthread_join(thread, &failed);
	done = true;
	for (int i = 0; i < WORKERS; i++)
		pthread_join(worker[i], NULL);
	return failed ? 4 : 0;
}
