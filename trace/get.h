/*
 * Records out of a buffer: the reading half of trace/put.h. Every read is bounded; what the bytes say is believed only
 * as far as it has a meaning.
 */
#ifndef ML_TRACE_GET_H
#define ML_TRACE_GET_H

#include <stdbool.h>
#include <stddef.h>

#include "trace/put.h"

/* One record, decoded. Which fields count is said by the record list in trace/format.h; the others are 0. It fills one
   cache line: millions of them go through a reader each second. */
struct ml_event {
	enum ml_record record : 8;
	enum ml_domain domain : 8;   /* ALLOC, FREE, REALLOC_BEGIN */
	enum ml_outcome outcome : 8; /* the END records */
	enum ml_other other : 8;     /* OTHER; never LOW, which is folded into the address that follows */
	bool brk;                    /* MAP, UNMAP_BEGIN */
	bool released;               /* ARENA */
	uint32_t node;
	uint32_t tid;     /* BASE */
	uint64_t address; /* OTHER too: of OURS and GENERATOR */
	uint64_t bytes;   /* size of the block or the range */
	uint32_t prot;
	uint32_t flags;
	uint64_t turn;  /* BASE: the turn; TURN: turns to add */
	uint64_t ns;    /* BASE: since monotonic_ns; TIME: to add */
	uint64_t pages; /* TIME */
};

_Static_assert(sizeof(struct ml_event) <= 64, "an event fits a cache line");

struct ml_cursor {
	const uint8_t *at;
	const uint8_t *end;
	struct ml_coder coder; /* its tables are not used */
	struct ml_tables tables;
};

/* Starts at the first record of a piece's events. */
void ml_cursor_init(struct ml_cursor *c, const void *events, size_t bytes);

/*
 * Decodes the next record into *e and moves on. Returns 1; 0 at the end; -1 where the bytes are no record (c->at then
 * still stands at its first byte). After -1 nothing behind it in this piece can be trusted.
 */
int ml_get(struct ml_cursor *c, struct ml_event *e);

/* Name of a record for people, "?" for an unknown one. Never NULL. */
const char *ml_record_name(enum ml_record record);

#endif
