/*
 * A trace file, opened: what the process was, what its numbers mean, and its events in one order.
 *
 * The file may still be written to, may be cut off or damaged. What cannot be believed is left out, counted and told by
 * ml_load_warning(); only a file that gives nothing at all is an error. Everything is read with pread(), in memory
 * bounded by the definitions and one piece for each ring. What a running process adds after ml_load_open() is not seen
 * before ml_load_follow().
 */
#ifndef ML_REPORT_LOAD_H
#define ML_REPORT_LOAD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "report/pack.h"
#include "trace/format.h"
#include "trace/get.h"

/* What may be wrong with a file that can be read all the same. X(NAME, what is counted). */
#define ML_DAMAGE_LIST(X)                                                                                              \
	X(DIRECTORY, "entries of the directory that make no sense")                                                    \
	X(CUT_OFF, "parts of the trace that lie beyond the end of the file")                                           \
	X(META, "descriptions of the process that are cut off")                                                        \
	X(DEFINITION, "damaged definitions of code objects and modules")                                               \
	X(NODE, "damaged nodes of the tree of stacks")                                                                 \
	X(COUNT, "damaged counts of how often lines ran")                                                              \
	X(PIECE, "damage in the event stream, where the rest of a piece may have been left out")                       \
	X(MISSING, "gaps in the event stream")                                                                         \
	X(READ, "parts of the trace that could not be read from the disk")                                             \
	X(UNKNOWN_NODE, "events whose stack is not in the trace")                                                      \
	X(TURN, "turns that go backwards or that two rings claim")                                                     \
	X(TIME, "times that run backwards")

enum ml_damage {
#define X(name, text) ML_DAMAGE_##name,
	ML_DAMAGE_LIST(X)
#undef X
		ML_DAMAGES
};

struct ml_damage_count {
	uint64_t count;
	uint64_t offset; /* of the first in the file */
};

struct ml_pair {
	char *key;
	char *value;
};

/* A Python code object. file and name end with a NUL and may hold any other bytes; name and table live behind file. */
struct ml_code {
	uint32_t id;
	uint32_t first_line;
	uint32_t flags; /* co_flags */
	uint32_t table_bytes;
	char *file;
	char *name;
	uint8_t *table; /* encoded as META's line_table says */
};

struct ml_module {
	uint32_t id;
	uint32_t epoch;
	uint64_t base;
	uint64_t start;
	uint64_t end;
	char *path; /* build_id lives behind it */
	uint8_t *build_id;
	uint32_t build_id_bytes;
};

struct ml_trace {
	char *path;
	int fd;                         /* -1: it is in a pack, */
	struct ml_pack *pack;           /* NULL where it isn't, */
	const struct ml_packed *packed; /* and there it is this */
	uint64_t file_bytes;
	uint64_t page_bytes; /* of the recorded process */
	struct ml_header header;

	/* The directory in its own order, without the entries that make no sense. No two of them overlap. */
	struct ml_extent *extents;
	size_t extents_n;

	struct ml_pair *meta;
	size_t meta_n;
	struct ml_code *codes; /* by id; look one up with ml_load_code() */
	size_t codes_n;
	struct ml_module *modules;
	size_t modules_n;

	/* By number: nodes[0] is the empty stack, and a subject of 0 says that a node isn't there. A parent is always
	   there (or 0) and smaller than its child. */
	struct ml_node *nodes;
	uint32_t nodes_n;
	uint32_t own_nodes_n;    /* of them; those behind are the parent's: see report/inherit.h */
	uint32_t rings_n;        /* rings that have events */
	struct ml_trace *parent; /* from which it inherits, or NULL */

	/* How often lines ran: those that did. Without counting there are none, but there may be none where lines are
	   counted, too. */
	bool counts_lines;
	struct ml_count *counts;
	size_t counts_n;

	struct ml_damage_count damage[ML_DAMAGES];

	char *meta_text;             /* private: what meta points into */
	uint64_t definitions_end;    /* private: offset in the file, of the next one that the process will write */
	struct ml_merge *merge;      /* private: see report/merge.h */
	struct ml_moment *inherited; /* private: what makes the parent's live blocks the trace's */
	size_t inherited_n;
	bool inherited_is_read;       /* private */
	struct ml_ancestor *ancestor; /* private to inherit.c: keeps the parent */
	size_t own_codes_n;           /* private: the texts of those behind belong to the parent, as the next */
	size_t own_modules_n;
};

/* One event where it stands in the order of the whole process. */
struct ml_moment {
	struct ml_event event; /* its node is in the trace, else it was made 0; never a BASE or TURN */
	uint64_t turn;
	uint64_t ns;     /* since the start of tracking; never smaller than that of the moment before */
	uint64_t rss;    /* bytes, of a TIME that measured it; else 0 */
	uint64_t offset; /* of the record in the file */
	uint64_t place;  /* of the record in its ring: what ml_piece.state was before it came */
	uint32_t tid;
	uint32_t ring; /* which one, from 0 without holes up to rings_n of the trace */
	/* It stands for something that was live when the process was forked: ns, offset and tid are 0. */
	bool inherited;
};

/* NULL if nothing can be read from the file: *error is then a whole sentence that the caller prints and frees. */
struct ml_trace *ml_load_open(const char *path, char **error);

/* The same, but reads only what the process was: header, directory and META. There is nothing to ask about definitions,
   nodes and events. */
struct ml_trace *ml_load_open_meta(const char *path, char **error);
void ml_load_close(struct ml_trace *t);

/*
 * The next events in order: their number, and *moments is where they are until the next call. 0: there are no more.
 * ml_load_rewind() starts again at the first event.
 */
size_t ml_load_next(struct ml_trace *t, const struct ml_moment **moments);
void ml_load_rewind(struct ml_trace *t);

/* Which ring, as the trace's own moments have it, the ring with this id is; UINT32_MAX: it has no events. */
uint32_t ml_load_ring(const struct ml_trace *t, uint32_t id);

/*
 * Looks what a running process has added: header, definitions, nodes, and events, with which ml_load_next() goes on.
 * Each event is delivered once. Not with a trace that inherits, and afterwards there is no way back to the first event.
 * Costs time by what was added, by the directory and by the rings.
 */
void ml_load_follow(struct ml_trace *t);

/* How much of the events has been read, from 0 to 1. */
double ml_load_progress(const struct ml_trace *t);

/* NULL: not in the trace. */
const struct ml_code *ml_load_code(const struct ml_trace *t, uint32_t id);

/* The code object of the node's frame. NULL: that is none of Python's, or its code is not in the trace. */
const struct ml_code *ml_load_node_code(const struct ml_trace *t, const struct ml_node *node);
const struct ml_module *ml_load_module(const struct ml_trace *t, uint32_t id);

/* The first value of a META key, or NULL; as a number, or `otherwise` if it is absent or no number. */
const char *ml_load_meta(const struct ml_trace *t, const char *key);
uint64_t ml_load_number(const struct ml_trace *t, const char *key, uint64_t otherwise);

/* Events that the recorder knows that it lost. */
uint64_t ml_load_dropped(const struct ml_trace *t);

/* What is counted of a kind of damage. */
const char *ml_load_damage_text(enum ml_damage kind);

/* Writes the i-th warning about damage (from 0) as a sentence without a full stop. Returns 0 if there are no more.
   Complete when the events have been read to their end. */
int ml_load_warning(const struct ml_trace *t, unsigned i, char *text, size_t room);

/* One piece as it stands in the file, for those who want the raw records. */
struct ml_load_piece {
	struct ml_piece head;
	uint8_t *events;
	size_t bytes; /* valid ones */
	int intact;   /* the checksum is right (EVENTS), or there is none (RING) */
};

/* Reads the piece of a RING or EVENTS extent. 0, or -1 if there is none; the caller frees events. */
int ml_load_piece(struct ml_trace *t, const struct ml_extent *extent, struct ml_load_piece *piece);

#endif
