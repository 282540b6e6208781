/*
 * The object files that native frames of traces lie in: what they are called, and what stands at an address in them.
 *
 * A file is what it was when the trace was made if its build id says so. It is opened when the first address in it is
 * asked for; what was found out is kept in the user's cache for the next report.
 */
#ifndef ML_REPORT_OBJECTS_H
#define ML_REPORT_OBJECTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "report/load.h"
#include "report/warnings.h"
#include "symbolize/native/dwarf.h"

/* Calls inlined into one another at one place; what lies further out is left out. */
#define ML_OBJECTS_FRAMES 64

/* Where files are. All zero: where they were when the trace was made, and no cache. */
struct ml_objects_options {
	const char *sysroot;         /* folder with the file system of the recorded program; NULL: this one */
	const char *debug_directory; /* of debug files; NULL: ML_DWARF_DIRECTORY */
	bool cache;
};

struct ml_object {
	char *path; /* as the loader had it, made absolute; "" where the code was in no known object */
	char *name; /* for people, see ml_object_name() */
	uint8_t *build_id;
	uint32_t build_id_bytes;
	uint64_t end; /* one past the highest address in the file, as far as it was seen loaded */
	bool opened;  /* private, as all below */
	bool cache_sought;
	bool missed; /* something was asked for that is neither in the file nor in the cache */
	enum ml_dwarf_problem problem;
	struct ml_dwarf *dwarf;
	struct ml_cache *cache;
	char *symbols; /* the text of the cache, where it is out of a pack */
};

/* All zero: empty. Object 0, once there is one, is the unknown one. */
struct ml_objects {
	struct ml_objects_options options;
	struct ml_object *objects;
	uint32_t n;
	bool cache_sought; /* private, as all below */
	char *cache_directory;
	const struct ml_trace *trace;      /* the one that was taken last */
	const struct ml_module **by_start; /* its modules by address */
	uint64_t *ends;                    /* for each of by_start: the highest end up to it */
	uint32_t *numbers;                 /* objects by place in the trace's modules; NONE: not needed yet */
};

/* From now on ml_objects_of() is about this trace, which has to stay open until then. */
void ml_objects_take(struct ml_objects *o, const struct ml_trace *t);

/*
 * The number of the object that a native node of the trace lies in, which is the same for every module of one path and
 * build id, and the return address in its file.
 *
 * A thread that comes into a new library while another one asks the loader about it is recorded as in no known module:
 * where one module alone was ever loaded at the address, it is that.
 */
uint32_t ml_objects_of(struct ml_objects *o, const struct ml_node *node, uint64_t *address);

/*
 * The frames at a return address, which is that in the object's file: innermost first, at most room. None where
 * nothing is known. Texts live as long as the objects.
 */
size_t ml_objects_find(struct ml_objects *o, uint32_t object, uint64_t address, struct ml_dwarf_frame *frames,
		       size_t room);

/* "MODULE+0xADDRESS", for an address without a name. The caller frees it. */
char *ml_objects_place(const struct ml_objects *o, uint32_t object, uint64_t address);

/* A sentence for each object that was asked for and could not be had. */
void ml_objects_warn(const struct ml_objects *o, struct ml_warnings *w);

void ml_objects_free(struct ml_objects *o);

/*
 * What an object is called in reports: "python" for the interpreter and its library; the path below site-packages,
 * dist-packages or lib-dynload, else the file's name; without ".so", what stands behind that, and Python's tags. The
 * caller frees it.
 */
char *ml_object_name(const char *path);

#endif
