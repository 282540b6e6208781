/*
 * Symbols of the objects that are loaded into this process, found without the loader's dlsym: that one may allocate,
 * sets the program's dlerror, doesn't look into objects that were opened RTLD_LOCAL, and would ask for a glibc newer
 * than the oldest one served.
 *
 * Everything here may be called from inside any malloc, also one that the loader makes. Nothing allocates or touches
 * errno. dl_iterate_phdr takes a recursive lock of the loader's: hold no lock that a hook waits for, since the
 * program's own callbacks allocate while they hold the loader's.
 */
#ifndef ML_PRELOAD_SYMBOLS_H
#define ML_PRELOAD_SYMBOLS_H

#include <link.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct ml_relocations {
	const ElfW(Rela) * table;
	size_t count;
};

/* The dynamic section of a loaded object, where it lies in memory. Good as long as the object stays loaded. */
struct ml_object {
	uintptr_t base;  /* load bias: address in memory minus address in the file */
	uintptr_t start; /* lowest and one past the highest mapped address */
	uintptr_t end;
	const char *path;  /* the loader's; "" for the program itself */
	size_t tls_module; /* the loader's number of its thread-local variables' block, 0 if it has none */
	size_t tls_bytes;
	const ElfW(Sym) * symbols;
	const char *strings;
	const uint32_t *gnu_hash; /* at least one of the two hash tables is there */
	const uint32_t *sysv_hash;
	const ElfW(Versym) * versions; /* NULL: the symbols have no versions */
	struct ml_relocations data;    /* DT_RELA */
	struct ml_relocations calls;   /* DT_JMPREL */
};

/*
 * The definition of name in the first object behind the one that this code is in, in the loader's order: the program,
 * the preloads, what they need. That is what dlsym(RTLD_NEXT) gives, as long as it is asked before dlopen has brought
 * more objects. NULL: there is none.
 */
void *ml_symbols_next(const char *name);

/*
 * Fills *out with the first loaded object that defines name, however it was opened. Returns 0, or -1 if there is none.
 * Look for a function: a program may hold a copy of a library's data (a COPY relocation), never of its functions.
 */
int ml_symbols_object_with(const char *name, struct ml_object *out);

/*
 * The address of name as the object sees it, NULL if it doesn't define it. That is the program's copy if name is data
 * and the program has one. The default version is taken; thread-local symbols are refused.
 */
void *ml_symbols_in(const struct ml_object *object, const char *name);

/*
 * False while the loader has the object in its list but hasn't relocated it yet, so while another thread, or a frame
 * further down the stack, is in the dlopen that brings it. Its symbols can be found then, but none of its functions may
 * be called, nor an indirect function (STT_GNU_IFUNC) be looked up.
 */
bool ml_symbols_relocated(const struct ml_object *object);

/* Whether objects have come or gone since the call that left *seen, which starts as 0. */
bool ml_symbols_changed(uint64_t *seen);

#endif
