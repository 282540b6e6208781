/*
 * A pack: traces, the sources of their lines and the names of their native functions in one file, so that they can be
 * read on any machine. memline pack makes it.
 *
 *	struct ml_pack_header
 *	blocks: each ML_PACK_BLOCK bytes of an item's content (the last one fewer), compressed by zstd
 *	index:  for each item a struct ml_pack_item, its name with zeros up to a multiple of 8, and for each of its
 *	        blocks a struct ml_pack_block
 *	struct ml_pack_trailer
 *
 * All is little-endian. A trace in a pack is byte for byte what it was (of a process that runs: with its rings as they
 * were at one moment); its path is that of the pack, a slash, and its
 * name, so whatever looks for another trace beside it finds those of the same pack.
 */
#ifndef ML_REPORT_PACK_H
#define ML_REPORT_PACK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define ML_PACK_MAGIC "mempack\n"
#define ML_PACK_VERSION 1
#define ML_PACK_BLOCK 65536u

struct ml_pack_header {
	char magic[8];
	uint32_t version;
	uint32_t reserved;
};

struct ml_pack_trailer {
	uint64_t index; /* offset */
	uint64_t index_bytes;
	uint64_t checksum; /* ml_checksum() of the index */
	char magic[8];
};

enum ml_pack_kind {
	ML_PACK_TRACE = 1, /* name: the file's; detail: enum ml_process_end */
	ML_PACK_KIN = 2, /* the same, but it was not asked for: a trace of the pack needs it, as a child its parent's */
	ML_PACK_SOURCE = 3, /* name: the file's, as reports have it */
	ML_PACK_SYMBOLS =
		4, /* name: ml_pack_object_name(); detail: enum ml_dwarf_problem or 0; content: as in a file of
				symbolize/native/cache.h */
};

struct ml_pack_item {
	uint32_t kind; /* enum ml_pack_kind; readers pass over those that they don't know */
	uint32_t detail;
	uint64_t bytes;      /* of the content */
	int64_t modified_ns; /* ML_PACK_SOURCE: when the file was changed last, since the epoch */
	uint64_t last_turn;  /* of a trace whose process ran on: nothing behind this turn counts; else 0 */
	uint32_t name_bytes;
	uint32_t reserved;
};

/* Bytes 0: all of the block is zero. */
struct ml_pack_block {
	uint64_t offset;
	uint64_t bytes;
};

_Static_assert(sizeof(struct ml_pack_header) == 16, "header layout");
_Static_assert(sizeof(struct ml_pack_trailer) == 32, "trailer layout");
_Static_assert(sizeof(struct ml_pack_item) == 40, "item layout");
_Static_assert(sizeof(struct ml_pack_block) == 16, "block layout");

/* An item, as a reader has it. */
struct ml_packed {
	enum ml_pack_kind kind;
	uint32_t detail;
	uint64_t bytes;
	int64_t modified_ns;
	uint64_t last_turn;
	char *name;
	const uint8_t *blocks; /* private */
};

struct ml_pack {
	struct ml_packed *items;
	size_t n;
	int fd; /* private, as all below */
	uint64_t file_bytes;
	uint8_t *index;
	struct ml_pack_cached *cache;
};

/* NULL where the file is none (*error is NULL then) or cannot be read: *error is a sentence that the caller frees. */
struct ml_pack *ml_pack_open(const char *path, char **error);
void ml_pack_close(struct ml_pack *p);

/* NULL: there is none. A trace is found whether it was asked for or not. */
const struct ml_packed *ml_pack_find(const struct ml_pack *p, enum ml_pack_kind kind, const char *name);

/* Reads up to bytes of the content and returns how many there were; -1: a block is damaged. */
int64_t ml_pack_read(struct ml_pack *p, const struct ml_packed *item, uint64_t offset, void *buffer, size_t bytes);

/* The first offset from the given one on that is in a block which isn't all zero; the end if there is none. */
uint64_t ml_pack_data(const struct ml_packed *item, uint64_t offset);

/* The whole content with a NUL behind it, or NULL; the caller frees it. */
char *ml_pack_text(struct ml_pack *p, const struct ml_packed *item);

/* "PATH NEWLINE BUILDID", what the symbols of an object are called. The caller frees it. */
char *ml_pack_object_name(const char *path, const uint8_t *build_id, uint32_t build_id_bytes);

#endif
