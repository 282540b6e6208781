/*
 * Of the size of the other twin, so that one can be loaded where the other was. Each allocates under a name of its own.
 * built with: -O0 -Wl,--build-id=sha1 -Wno-missing-prototypes */
#include <stdlib.h>

void *twin_first(size_t n)
{
	return malloc(n);
}

/* Calls somebody else who does so. */
void *twin_first_by(void *(*call)(size_t), size_t n)
{
	return call(n);
}
