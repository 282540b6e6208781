/*
 * What stands at an address of an object file: the function, the calls that were inlined there, file and line.
 *
 * They come from DWARF where the object or a debug file beside it has some, else from its symbol table, also the
 * compressed one of .gnu_debugdata, else from the symbols for the loader. A debug file is found by build id or
 * .gnu_debuglink, and asked for from debuginfod servers where DEBUGINFOD_URLS names them: libdw does so itself.
 *
 * Offline. The one file that knows libdw.
 */
#ifndef ML_SYMBOLIZE_NATIVE_DWARF_H
#define ML_SYMBOLIZE_NATIVE_DWARF_H

#include <stddef.h>
#include <stdint.h>

struct ml_dwarf;

/* What is not known is NULL or 0. Texts live as long as the struct ml_dwarf, and may hold any bytes. */
struct ml_dwarf_frame {
	const char *function; /* demangled */
	const char *file;
	uint32_t line;
};

enum ml_dwarf_problem {
	ML_DWARF_MISSING = 1, /* there is no such file, or it cannot be read */
	ML_DWARF_CHANGED,     /* what is there now is another object: its build id differs */
};

/* Where debug files are looked for besides the object's own folder and .debug in it: a libdw search path. */
#define ML_DWARF_DIRECTORY "/usr/lib/debug"

/*
 * Opens the object that was loaded from path and had that build id (none: 0 bytes). directory: ML_DWARF_DIRECTORY or
 * one like it. Where the object itself is gone, its debug file does alone. NULL if there is neither, and *problem says
 * why.
 */
struct ml_dwarf *ml_dwarf_open(const char *path, const void *build_id, size_t build_id_bytes, const char *directory,
			       enum ml_dwarf_problem *problem);
void ml_dwarf_close(struct ml_dwarf *d);

/*
 * The frames at an instruction, innermost first: functions inlined there, and last the one that they are inlined into.
 * address is that in the file (in memory: minus the load bias). Returns how many there are, at most room; 0 where
 * nothing is known.
 */
size_t ml_dwarf_find(struct ml_dwarf *d, uint64_t address, struct ml_dwarf_frame *frames, size_t room);

#endif
