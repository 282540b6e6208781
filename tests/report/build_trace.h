/*
 * Makes trace files for tests: the same calls make the same bytes.
 *
 *	struct build *b = build_new();
 *	build_meta(b, "python", "3.11.7");
 *	uint32_t code = build_code(b, "/srv/app.py", "main", 10, table, sizeof table);
 *	uint32_t node = build_node(b, 0, ML_NODE_PYTHON, code, 4);
 *	struct build_ring *r = build_ring(b, 4711);
 *	build_alloc(r, ML_DOMAIN_OBJ, node, 0x1000, 56);
 *	build_write(b, path);
 *	build_done(b);
 *
 * Events get their turns as the recorder gives them: a new one whenever another ring was the last to be written to.
 */
#ifndef ML_TESTS_REPORT_BUILD_TRACE_H
#define ML_TESTS_REPORT_BUILD_TRACE_H

#include <stddef.h>
#include <stdint.h>

#include "trace/get.h"

struct build;
struct build_ring;

/* How the file is laid out. What build_new() sets may be changed at any time before build_bytes(). */
struct build_layout {
	size_t piece_bytes;       /* events in a piece before it becomes an EVENTS extent; at least 4 * ML_RECORD_MAX */
	uint32_t chunk_entries;   /* of the directory, the link to the next one included; at least 2 */
	uint32_t nodes_in_extent; /* nodes for which an extent has room */
	uint32_t holes;           /* empty entries of the directory before each one that is in use */
};

struct build *build_new(void);
void build_done(struct build *b);
struct build_layout *build_layout(struct build *b);
struct ml_control *build_control(struct build *b); /* from the first call on the trace has one; the builder's */
struct ml_header *build_header(struct build *b);   /* counters, end and so on; the rest is filled in by build_bytes() */

/* Definitions; each returns the number that it got. */
void build_meta(struct build *b, const char *key, const char *value);
void build_code_flags(struct build *b, uint32_t flags); /* co_flags of the code objects that follow; at first 0 */
uint32_t build_code(struct build *b, const char *file, const char *name, uint32_t first_line, const void *table,
		    uint32_t table_bytes);
uint32_t build_module(struct build *b, const char *path, uint64_t start, uint64_t bytes);
uint32_t build_node(struct build *b, uint32_t parent, enum ml_node_kind kind, uint32_t number, int64_t place);

/* A ring that the thread writes to. */
struct build_ring *build_ring(struct build *b, uint32_t tid);
void build_owner(struct build_ring *r, uint32_t tid); /* another thread takes it over */
void build_flush(struct build_ring *r);               /* the piece becomes an EVENTS extent, full or not */

/* Any event but BASE and TURN; of a TIME, ns is added to the ring's. */
void build_event(struct build_ring *r, const struct ml_event *e);

void build_alloc(struct build_ring *r, enum ml_domain domain, uint32_t node, uint64_t address, uint64_t bytes);
void build_free(struct build_ring *r, enum ml_domain domain, uint32_t node, uint64_t address);
void build_realloc(struct build_ring *r, enum ml_domain domain, uint32_t node, uint64_t from, uint64_t to,
		   uint64_t bytes); /* BEGIN and END DONE */
void build_map(struct build_ring *r, uint32_t node, uint64_t address, uint64_t bytes, int prot, int flags);
void build_unmap(struct build_ring *r, uint32_t node, uint64_t address, uint64_t bytes); /* BEGIN and END DONE */
void build_time(struct build_ring *r, uint64_t ns, uint64_t pages);                      /* ns: since the start */
void build_generator(struct build_ring *r, uint64_t address);
void build_finalize(struct build_ring *r);

/* A line's count, in a COUNTS extent that is there from the first call on. It last ran now, or at no time that is
   known. With a count of 0 it is an entry that is not there. */
void build_count(struct build *b, uint32_t code, uint32_t line, uint64_t count);
void build_count_never(struct build *b, uint32_t code, uint32_t line, uint64_t count);

/* The file, in memory that stays the builder's until the next call. */
const uint8_t *build_bytes(struct build *b, size_t *bytes);
void build_write(struct build *b, const char *path);

/* Writes bytes to a file that is made or replaced. */
void build_save(const char *path, const void *bytes, size_t length);

#endif
