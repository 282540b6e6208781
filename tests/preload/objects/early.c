/* A preload that looks symbols up in every malloc, from the loader's first on, and can allocate in no other way. */
#include "preload/symbols.c"

static void *(*next_malloc)(size_t);
static uint64_t seen;
static _Atomic unsigned changes;

/* How often a malloc found that objects had come or gone. */
unsigned early_changes(void);
unsigned early_changes(void)
{
	return changes;
}

void *malloc(size_t bytes);
void *malloc(size_t bytes)
{
	struct ml_object object;

	if (!next_malloc)
		next_malloc = (void *(*)(size_t))ml_symbols_next("malloc");
	if (ml_symbols_changed(&seen))
		changes++;
	if (ml_symbols_object_with("no_object_defines_this", &object) == 0)
		__builtin_trap();
	return next_malloc(bytes);
}
