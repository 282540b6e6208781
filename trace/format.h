/*
 * The memline trace file, version 1.
 *
 * This header is the specification. The recorder (preload/) writes what it describes and the reader (report/) reads it;
 * neither knows more about the other.
 *
 * A trace belongs to one process image (a fork or an exec starts another file) and is little-endian. It starts with a
 * struct ml_header, which leads to a directory: a chain of DIRECTORY extents, each an array of struct ml_extent. The
 * directory says where everything else is. It is the only way into the file: bytes that no entry names mean nothing.
 *
 *   header ──► directory ──► META      who the process was: pairs of strings
 *                       ├──► DEFS      what the numbers mean: struct ml_def (code objects, modules)
 *                       ├──► NODES     the tree of stacks: arrays of struct ml_node
 *                       ├──► RING      the newest events of one thread, still being written: a struct ml_piece
 *                       ├──► EVENTS    an older piece of a ring, as the ring was when it was full
 *                       ├──► CONTROL   what people asked of the process meanwhile: a struct ml_control
 *                       └──► COUNTS    how often lines ran: struct ml_count
 *
 * Everything but EVENTS is written in place through a shared mapping, so that a SIGKILL between any two instructions
 * leaves a file that can be read. Each item therefore has one word that makes it valid and that is stored last:
 *
 *   extent   length           DEFS record   length          node   subject          events   ml_piece.state
 *   count    count
 *
 * A reader takes an item whose word is zero for one that is not there, and goes on behind it where the size is known.
 *
 * Order. The events of one ring are in program order. Events of different rings are ordered by turns: a turn is a
 * stretch of the process's events that one thread made without another thread coming between. Turns are numbered from
 * 1; a BASE or TURN record says that what follows in this ring belongs to the turn that it names. Sorted by turn, a
 * free of a block always comes before the next allocation at the same address, because the recorder notes a free before
 * it happens and an allocation after it has happened.
 */
#ifndef ML_TRACE_FORMAT_H
#define ML_TRACE_FORMAT_H

#include <stdint.h>

#define ML_VERSION 1
#define ML_MAGIC "memline\n"
#define ML_BYTE_ORDER 0x01020304u

/* Behind the name of a file in which a trace is being made. Such a file says nothing; where its process dies it
   stays. */
#define ML_UNFINISHED ".new"

/* The recorder's own counters, kept in the header so that no failure goes unsaid. X(NAME, what it counts). */
#define ML_COUNTER_LIST(X)                                                                                             \
	X(DROPPED_STOPPED, "events after recording had stopped")                                                       \
	X(DROPPED_SIGNAL, "events of a signal handler that interrupted the recorder")                                  \
	X(DROPPED_EARLY, "events before the first Python frame that outgrew their buffer")                             \
	X(DROPPED_NO_RING, "events of threads for which no ring could be had")                                         \
	X(TRUNCATED_STACKS, "events whose stack was cut because the tree of stacks was full")                          \
	X(DEEP_STACKS, "events deeper than the frames that are kept")                                                  \
	X(BAD_STACKS, "stacks that ended at a frame that could not be trusted")                                        \
	X(LOST_DEFINITIONS, "code objects and modules that could not be described")

enum ml_counter {
#define X(name, text) ML_COUNTER_##name,
	ML_COUNTER_LIST(X)
#undef X
		ML_COUNTERS
};

/* Why recording stopped before the process ended. */
#define ML_STOP_LIST(X)                                                                                                \
	X(NONE, "")                                                                                                    \
	X(MAX_BYTES, "the trace reached MEMLINE_MAX_BYTES")                                                            \
	X(KEEP_FREE, "the file system reached MEMLINE_KEEP_FREE")                                                      \
	X(NO_SPACE, "the file system was full")                                                                        \
	X(FILE_LIMIT, "the trace reached the process's file size limit (RLIMIT_FSIZE)")                                \
	X(WRITE, "the trace could not be written")                                                                     \
	X(DIRECTORY, "the trace's directory of extents could not grow")

enum ml_stop {
#define X(name, text) ML_STOP_##name,
	ML_STOP_LIST(X)
#undef X
		ML_STOPS
};

/* How the process image ended, as far as it could say so itself. */
enum ml_end {
	ML_END_NONE = 0, /* it runs, was killed, or was replaced by exec */
	ML_END_EXIT = 1, /* exit handlers ran, or _exit was called */
};

/* At offset 0. Mapped while the process lives: the fields from stop on change until its end. */
struct ml_header {
	char magic[8];
	uint32_t version;
	uint32_t byte_order;
	uint32_t header_bytes; /* sizeof(struct ml_header) of the writer */
	uint32_t counters;     /* how many words of counter[] the writer knows */
	uint64_t directory;    /* offset of the first DIRECTORY extent */
	uint64_t directory_bytes;
	uint32_t flags;      /* ML_FLAG_* */
	uint32_t stop;       /* enum ml_stop */
	int32_t stop_errno;  /* the error behind it, or 0 */
	uint32_t end;        /* enum ml_end */
	int32_t exit_status; /* of _exit(); -1: not known (exit handlers ran) */
	uint32_t reserved;
	uint64_t counter[48];
	uint8_t pad[64];
};

#define ML_FLAG_UNMAPPED 1u /* no mapping could be had: a SIGKILL loses each thread's last piece */
#define ML_FLAG_LOGGER 2u   /* a process was started that is to write the table for MEMLINE_LOG */

enum ml_extent_kind {
	ML_EXTENT_NONE = 0,
	ML_EXTENT_DIRECTORY = 1, /* the next part of the directory */
	ML_EXTENT_META = 2,
	ML_EXTENT_DEFS = 3,
	ML_EXTENT_NODES = 4,  /* id: number of the first node */
	ML_EXTENT_RING = 5,   /* id: ring */
	ML_EXTENT_EVENTS = 6, /* id: ring; sequence: of the piece */
	ML_EXTENT_CONTROL = 7,
	ML_EXTENT_COUNTS = 8,
};

/* An entry of the directory. An entry of length 0 is not there (yet); those after it may be. */
struct ml_extent {
	uint64_t offset; /* from the start of the file */
	uint64_t length; /* bytes; stored last */
	uint32_t kind;   /* enum ml_extent_kind; readers pass over kinds that they don't know */
	uint32_t id;
	uint64_t sequence;
};

/*
 * The one extent that its process only reads: others write it while the process runs, one at a time (they hold a write
 * lock of fcntl(2) on the header). The process looks at it now and then.
 */
struct ml_control {
	uint32_t paused; /* not 0: nothing is to be recorded */
	uint32_t logger; /* pid of the process that has begun to write the table for MEMLINE_LOG, or 0 */
	uint32_t reserved[14];
	struct ml_control_entry {
		uint64_t ns;      /* since monotonic_ns */
		uint32_t request; /* enum ml_request; stored last. The first 0 ends the list */
		uint32_t reserved;
		char name[48]; /* MARK: UTF-8, padded with NULs, of which the last byte is always one */
	} entry[255];
};

enum ml_request {
	ML_REQUEST_NONE = 0,
	ML_REQUEST_MARK = 1, /* this moment has a name */
	ML_REQUEST_PAUSE = 2,
	ML_REQUEST_RESUME = 3,
};

/*
 * How often the interpreter said that a line of a code object runs. Lines are counted if there is any COUNTS extent, an
 * empty one too. Code objects that are alike have one id, and one count.
 */
struct ml_count {
	uint32_t code; /* id */
	uint32_t line;
	/* Where the process stood when the line last began to run: its newest event was this ring's, and this the state
	   of the ring's piece. ML_COUNT_NO_RING: there had been no event. */
	uint64_t state;
	uint32_t ring;
	uint32_t reserved;
	uint64_t count; /* stored last. ML_COUNT_MAX + 1 stands for all that is more: the last run is not known then */
};

#define ML_COUNT_MAX 100000u
#define ML_COUNT_NO_RING UINT32_MAX

/*
 * META is text: KEY NUL VALUE NUL, again and again; an empty KEY ends it. Keys may repeat. Numbers are decimal.
 *
 *   pid ppid uid          numbers
 *   start_ticks           start of the process, field 22 of /proc/PID/stat
 *   image                 number of this file among those of the same process, from 0
 *   started_ns            wall clock when tracking began, ns since the epoch
 *   monotonic_ns          CLOCK_MONOTONIC at that moment; TIME records count from it
 *   exe cwd               paths, as /proc/self has them
 *   arg                   each element of argv
 *   page_bytes            size of a page
 *   python                version text up to the first space ("3.11.7"); absent where no usable CPython was found
 *   python_refused        why an interpreter that is there could not be walked
 *   line_table            enum ml_line_table of every code object, as a number
 *   late                  "1": CPython was loaded after the process had started; what came before was not seen
 *   fork                  "1": a forked child
 *   parent_file           the forking process's trace: a file name in the same directory
 *   parent_ring           how far it had come at the fork: "RING SEQUENCE BYTES" of each of its rings, that piece's
 *   run_pid run_ticks     the topmost ancestor that preloads memline (itself, if none): what makes several files a run
 *   baseline_rss          resident bytes of the process when tracking began
 *   root                  the app root by which scope "auto" judges
 *   program               what is run: "file:PATH", "module:NAME", "command" (-c) or "stdin"
 *   option.NAME           the value in force of MEMLINE_NAME (without the prefix)
 *   ignored.NAME          a value of MEMLINE_NAME that made no sense
 *   log_refused           why no process was started that writes the table for MEMLINE_LOG
 *   occurrences_refused   why lines were not counted, or not until the end
 */

/* How a code object's line table is encoded; see symbolize/python/lines.h. */
enum ml_line_table {
	ML_LINES_NONE = 0,
	ML_LINES_LNOTAB = 1,    /* CPython 3.8, 3.9: co_lnotab */
	ML_LINES_LINETABLE = 2, /* 3.10: co_linetable, PEP 626 */
	ML_LINES_LOCATIONS = 3, /* 3.11 and later: location table, PEP 657 */
};

enum ml_def_kind {
	ML_DEF_CODE = 1,
	ML_DEF_MODULE = 2,
};

/* A DEFS extent is a sequence of these, each on an 8-byte boundary, up to the first whose length is 0. */
struct ml_def {
	uint32_t length; /* of the whole record, padding included: a multiple of 8; stored last */
	uint16_t kind;   /* enum ml_def_kind; unknown ones are passed over */
	uint16_t flags;
};

/* A Python code object, copied at first sight. Followed by file name, qualified name and line table, without NULs. */
struct ml_def_code {
	struct ml_def def;
	uint32_t id; /* from 0 */
	uint32_t first_line;
	uint32_t file_bytes; /* UTF-8 (lone surrogates as three bytes each), as the next */
	uint32_t name_bytes; /* co_qualname from 3.11, co_name before */
	uint32_t table_bytes;
	uint32_t code_flags; /* co_flags */
};

/* Of co_flags (Include/cpython/code.h): CO_OPTIMIZED, set for functions and for them alone; CO_GENERATOR, CO_COROUTINE
   and CO_ASYNC_GENERATOR, of which a function that makes one of these has one. */
#define ML_CO_FUNCTION 0x1u
#define ML_CO_GENERATOR (0x20u | 0x80u | 0x200u)

/* A loaded object. Followed by its path and its build id. */
struct ml_def_module {
	struct ml_def def;
	uint32_t id;    /* from 1; 0 is "in no known module" */
	uint32_t epoch; /* counts the loader's changes: later epochs may reuse addresses */
	uint64_t base;  /* load bias: address in memory minus address in the file */
	uint64_t start; /* lowest and one past the highest mapped address */
	uint64_t end;
	uint32_t path_bytes;
	uint32_t build_id_bytes;
};

/*
 * A stack is a node: a frame and the node that called it. Node 0 is the empty stack and is not written. Nodes are
 * numbered in the order of their creation, so a parent's number is always smaller than its child's.
 */
struct ml_node {
	uint32_t parent;
	uint32_t subject; /* ML_SUBJECT(kind, number); stored last */
	/* Python: offset of the instruction in the bytecode, in bytes, negative before the first (int64_t).
	   Native: return address minus the module's base; the address itself where the module is 0. Mark: 0. */
	uint64_t place;
};

enum ml_node_kind {
	ML_NODE_PYTHON = 1, /* number: id of the code object */
	ML_NODE_NATIVE = 2, /* number: id of the module */
	ML_NODE_MARK = 3,   /* number: enum ml_mark */
};

/*
 * X(NAME, number, how people are told).
 *
 * DEEPER: frames between here and the root were left out, since the stack was too deep. TRUNCATED: callers were left
 * out, since the tree was full. MEMLINE is a root: what the interpreter allocates for the recorder's sake stands on it;
 * whoever frees it, it is the recorder's doing. LOST: native callers that could not be told were left out here. OBJECTS
 * is on top of a native frame: that has called one of CPython's allocators, not the C library's.
 */
#define ML_MARK_LIST(X)                                                                                                \
	X(DEEPER, 1, "deeper")                                                                                         \
	X(TRUNCATED, 2, "truncated")                                                                                   \
	X(MEMLINE, 3, "memline")                                                                                       \
	X(LOST, 4, "unknown callers")                                                                                  \
	X(OBJECTS, 5, "python objects")

enum ml_mark {
#define X(name, number, text) ML_MARK_##name = (number),
	ML_MARK_LIST(X)
#undef X
};

#define ML_SUBJECT(kind, number) ((uint32_t)(kind) << 28 | (uint32_t)(number))
#define ML_SUBJECT_KIND(subject) ((enum ml_node_kind)((subject) >> 28))
#define ML_SUBJECT_NUMBER(subject) ((subject)&0x0fffffffu)
#define ML_SUBJECT_NUMBERS (1u << 28)

/* The number of nodes in a NODES extent, but for what its length says. */
#define ML_NODES_PER_EXTENT 4096u

/*
 * A piece of a ring's event stream. A RING extent holds the piece that is being written, an EVENTS extent one that was
 * full. Pieces of a ring are numbered by sequence from 0; where a RING and an EVENTS extent carry the same number the
 * ring is the one to trust (the copy may be incomplete), so a piece is never lost and never counted twice.
 *
 * Each piece can be decoded alone: it starts with a BASE record, and nothing in it is coded against an earlier piece.
 */
struct ml_piece {
	uint64_t state; /* ML_PIECE_STATE(sequence, bytes of events that are valid) */
	uint32_t ring;
	uint32_t reserved;
	/* Only in EVENTS extents: */
	uint64_t checksum; /* ml_checksum() of the events */
	uint64_t first_turn;
	uint64_t last_turn;
	uint64_t first_ns; /* of the last TIME before and in the piece */
	uint64_t last_ns;
	uint32_t tid; /* at the start of the piece */
	uint32_t reserved2;
};

#define ML_PIECE_STATE(sequence, used) ((uint64_t)(sequence) << 32 | (uint32_t)(used))
#define ML_PIECE_SEQUENCE(state) ((uint32_t)((state) >> 32))
#define ML_PIECE_USED(state) ((uint32_t)(state))

/* Size of a RING extent. Small at first, so that a thousand threads cost little. A ring that is much used goes on in a
   larger extent with the same id, and the one before stays as it was. */
#define ML_RING_BYTES 16384u
#define ML_RING_BYTES_BUSY 65536u

/*
 * Records. The low four bits of the first byte are the code, the rest flags of its own; fields follow in the order that
 * is given here. X(NAME, code, text for dump).
 *
 *   varint     7 bits a byte, least significant first, the top bit says that more follow; at most 10 bytes
 *   zigzag     a signed number n as the varint (n << 1) ^ (n >> 63)
 *   NODE       absent with ML_REC_SAME_NODE: as in the last record that had one; else zigzag of the difference to it
 *   ADDR       zigzag of (address >> 4) minus that of the last ADDR in the piece. The low four bits are those that a
 *              LOW record just before gave, or 0. Each ADDR goes into slot ML_SLOT(address >> 4) of a table, too.
 *   BLOCK      an ADDR that, with the SLOT flag, is one byte: the slot that holds it. A writer need not use slots
 *   SIZE       absent with ML_REC_SAME_SIZE: as the last one that was recorded while the last node was this one, or
 *              another with the same ML_SIZE_OF(node); else varint
 *   bytes, prot, flags, turns, ns, pages, tid: varint
 *
 * At the start of a piece the last node and address, all slots and all sizes are 0.
 */
#define ML_RECORD_LIST(X)                                                                                              \
	X(OTHER, 0, "other") /* flags: one of enum ml_other, which says what follows */                                \
	X(ALLOC, 1, "alloc") /* NODE BLOCK SIZE; flags: domain, SAME_NODE, SAME_SIZE; with SLOT the    \
	                                        code is ML_RECORD_ALLOC_SLOT */               \
	X(FREE, 2, "free")   /* NODE BLOCK; domain, SAME_NODE, SLOT; before the block is freed */                      \
	X(REALLOC_BEGIN, 3, "realloc-begin") /* NODE BLOCK, the old one; domain, SAME_NODE, SLOT */                    \
	X(REALLOC_END, 4, "realloc-end")     /* outcome; DONE: BLOCK SIZE of the new one; END_SLOT, SAME_SIZE */       \
	X(MAP, 5, "map")                     /* NODE ADDR bytes prot flags; SAME_NODE, ML_REC_BREAK */                 \
	X(UNMAP_BEGIN, 6, "unmap-begin")     /* NODE ADDR bytes; SAME_NODE, ML_REC_BREAK */                            \
	X(UNMAP_END, 7, "unmap-end")         /* outcome */                                                             \
	X(REMAP_BEGIN, 8, "remap-begin")     /* NODE ADDR bytes flags; SAME_NODE */                                    \
	X(REMAP_END, 9, "remap-end")         /* outcome; DONE: ADDR bytes */                                           \
	X(PROTECT, 10, "protect")            /* NODE ADDR bytes prot; SAME_NODE; it has succeeded */                   \
	X(ARENA, 11, "arena")                /* ADDR bytes; ML_REC_RELEASED: freed, else allocated */                  \
	X(TURN, 12, "turn")                  /* turns: added to the turn in force */                                   \
	X(TIME, 13, "time")                  /* ns since the last TIME or BASE, pages: resident, 0: not measured */    \
	X(BASE, 14, "base")                  /* turn, ns since monotonic_ns, tid: first in every piece; a later one:   \
	                                        another thread took the ring over */

enum ml_record {
#define X(name, code, text) ML_RECORD_##name = (code),
	ML_RECORD_LIST(X)
#undef X
};

/* ALLOC has no flag to spare. */
#define ML_RECORD_ALLOC_SLOT 15u

#define ML_REC_CODE(byte) ((byte)&15u)
#define ML_REC_DOMAIN(byte) ((enum ml_domain)((byte) >> 4 & 3u))
#define ML_REC_SAME_NODE 0x40u
#define ML_REC_SAME_SIZE 0x80u
#define ML_REC_SLOT 0x80u     /* FREE, REALLOC_BEGIN */
#define ML_REC_END_SLOT 0x40u /* REALLOC_END */
#define ML_REC_BREAK 0x10u    /* MAP, UNMAP: by sbrk or brk */
#define ML_REC_RELEASED 0x10u /* ARENA */
#define ML_REC_OUTCOME(byte) ((enum ml_outcome)((byte) >> 4 & 3u))
#define ML_REC_OTHER(byte) ((enum ml_other)((byte) >> 4))

/* Freed addresses soon come back, and what a line allocates mostly has one size. Both tables fit one page. */
#define ML_SLOTS 256u
#define ML_SLOT(high) ((uint8_t)((high) ^ (high) >> 8))
#define ML_SIZES 128u
#define ML_SIZE_OF(node) ((node) % ML_SIZES)

/* Who was asked. Only the outermost layer is recorded: an object that pymalloc takes from malloc is one OBJ block. */
enum ml_domain {
	ML_DOMAIN_C = 0,   /* malloc and its kin */
	ML_DOMAIN_RAW = 1, /* PyMem_RawMalloc */
	ML_DOMAIN_MEM = 2, /* PyMem_Malloc */
	ML_DOMAIN_OBJ = 3, /* PyObject_Malloc */
};

/* How what a BEGIN record announced has ended. An END belongs to the last BEGIN of its thread. A BEGIN without an END
   (the process ended in between) did not happen. */
enum ml_outcome {
	ML_OUTCOME_DONE = 0,
	ML_OUTCOME_FAILED = 1, /* everything is as it was before */
	ML_OUTCOME_FREED = 2,  /* realloc(p, 0) gave NULL: the old block is gone and there is no new one */
};

/* From 3 on they begin with a varint, the number of the bytes behind it, so that a reader passes over those that it
   does not know. */
enum ml_other {
	ML_OTHER_FINALIZE = 1, /* the interpreter has begun to finalize */
	ML_OTHER_LOW = 2,      /* one byte: the low four bits of the next ADDR */
	ML_OTHER_OURS = 3,     /* the block at the last ADDR (low bits 0) was allocated for the recorder's sake */
	/* zigzag of (address >> 4) minus that of the last GENERATOR in the piece, or 0: the generator, coroutine or
	   asynchronous generator whose frame is, from here on, the outermost one of a generator's in the thread's
	   stacks that runs a function in the scope that was set when recording. Where there is none on a stack the
	   last one may go on later. */
	ML_OTHER_GENERATOR = 4,
};

#define ML_OTHER_LENGTHS 3u

/* No record, with a LOW before it, is longer. */
#define ML_RECORD_MAX 64u

/* Largest lengths that a reader accepts. */
#define ML_DEF_MAX (16u << 20)
#define ML_PIECE_MAX (16u << 20)

_Static_assert(sizeof(struct ml_header) == 512, "header layout");
_Static_assert(ML_COUNTERS <= 48, "counters fit the header");
_Static_assert(sizeof(struct ml_extent) == 32, "extent layout");
_Static_assert(sizeof(struct ml_def_code) == 32, "code layout");
_Static_assert(sizeof(struct ml_def_module) == 48, "module layout");
_Static_assert(sizeof(struct ml_node) == 16, "node layout");
_Static_assert(sizeof(struct ml_piece) == 64, "piece layout");
_Static_assert(sizeof(struct ml_control) == 16384, "control layout");
_Static_assert(sizeof(struct ml_count) == 32, "count layout");

#endif
