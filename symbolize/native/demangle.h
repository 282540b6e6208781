/* The names that people wrote, for the names that compilers made of them. Offline. */
#ifndef ML_SYMBOLIZE_NATIVE_DEMANGLE_H
#define ML_SYMBOLIZE_NATIVE_DEMANGLE_H

#include <stdbool.h>

/* Does it look like a name that a compiler made? */
bool ml_demangle_can(const char *name);

/*
 * A C++ name with its parameters ("a::f(int)"), a Rust name without its hash; what is neither as it is. The caller
 * frees it; NULL: no memory.
 */
char *ml_demangle(const char *name);

#endif
