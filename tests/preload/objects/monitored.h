/* What a test sees of the interpreter in monitored.c. */
#ifndef ML_TEST_MONITORED_H
#define ML_TEST_MONITORED_H

#include <stddef.h>
#include <stdint.h>

struct fake_object {
	_Alignas(16) const char *name;
	long value;
	void *(*function)(void *self, void *const *arguments, intptr_t n);
};

#define FAKE_CODES 64

/* The bits of sys.monitoring.events. */
#define FAKE_LINE 32
#define FAKE_PY_RETURN 4

struct fake_events {
	void *code;
	long bits;
};

struct fake {
	void *tools[6];                     /* the names of those that are in use */
	void *raised;                       /* the exception */
	struct fake_events set[FAKE_CODES]; /* in the order in which the code objects were first set */
	size_t set_n;
	void *(*line_ran)(void *self, void *const *arguments, intptr_t n);
	void *(*returned)(void *self, void *const *arguments, intptr_t n);
	int (*watcher)(int event, void *code);
	int (*pending)(void *argument);
	unsigned asked;         /* for a pending call */
	void (*allocate)(void); /* called in the middle of set_local_events */
	int has_full_queue;
	int has_no_watchers;
	int refuses_events;
	const char *missing; /* the attribute of sys.monitoring that isn't there */
};

#endif
