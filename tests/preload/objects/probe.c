/* A preload that looks up what comes after it, in both ways. */
#include "preload/symbols.c"

#include <dlfcn.h>

void *next_by_us(const char *name);
void *next_by_us(const char *name)
{
	return ml_symbols_next(name);
}

void *next_by_loader(const char *name);
void *next_by_loader(const char *name)
{
	/* Not a tail call: the loader looks at who calls. */
	void *volatile next = dlsym(RTLD_NEXT, name);

	return next;
}
