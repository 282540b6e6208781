/*
 * What was found out about addresses of one object, kept in a file between reports. The file is named by the object's
 * build id, so it is right for as long as it is there; it is replaced as a whole or not at all, and one that is damaged
 * is as good as none.
 *
 * Offline. That the folder cannot be read or written is no error: then nothing is kept.
 */
#ifndef ML_SYMBOLIZE_NATIVE_CACHE_H
#define ML_SYMBOLIZE_NATIVE_CACHE_H

#include <stdbool.h>
#include <stdio.h>

#include "symbolize/native/dwarf.h"

/* Bytes that all files of the folder have together, at most, after one was written: the oldest go. */
#define ML_CACHE_BYTES (256u << 20)

struct ml_cache;

/* "memline" in XDG_CACHE_HOME or in ~/.cache, made if it isn't there; the caller frees it. NULL: there can be none. */
char *ml_cache_directory(void);

/* Reads what there is of an object; NULL where there is no memory. */
struct ml_cache *ml_cache_open(const char *directory, const void *build_id, size_t build_id_bytes);

/* One without a file: what another wrote, NUL behind it, or NULL for nothing. The text is changed, and has to live as
   long as the cache. NULL where there is no memory. */
struct ml_cache *ml_cache_of(char *text, size_t bytes);

/* Writes all as text. Nothing may be asked of it afterwards. */
void ml_cache_write(struct ml_cache *c, FILE *out);

/* Writes what is new, so that all files together are not larger than bytes, and frees everything. */
void ml_cache_close(struct ml_cache *c, uint64_t bytes);

/* The frames at an address, at most room, as from ml_dwarf_find(); 0: not known. Texts live as long as the cache. */
size_t ml_cache_get(const struct ml_cache *c, uint64_t address, struct ml_dwarf_frame *frames, size_t room);

/* Takes frames where it has none, or none with a file and these have one. Their texts have to live as long as it. */
void ml_cache_put(struct ml_cache *c, uint64_t address, const struct ml_dwarf_frame *frames, size_t n);

#endif
