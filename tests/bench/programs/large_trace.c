/*
 * Writes a large trace, as no program has to be run for so long:
 *
 *   large_trace FILE EVENTS LIVE
 *
 * LIVE blocks are allocated; then, until there are EVENTS, three of four allocations are of blocks that are soon freed,
 * as most objects of Python are, and the fourth takes the place of any of the live ones. The same arguments make the
 * same file. Prints what a reader has to find: allocations, frees, live blocks, live bytes.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "trace/put.h"

#define CODES 500
#define NODES 20000
#define LINES 40       /* of each code object */
#define TEMPORARIES 32 /* blocks that are soon freed, at one time */
#define EVENT_NS 50
#define EVENTS_PER_TIME 64
#define PIECE_BYTES ML_RING_BYTES_BUSY
#define GRID 64 /* between addresses */
#define HEAP UINT64_C(0x7f0000000000)

struct block {
	uint32_t place; /* address, in steps of the grid */
	uint32_t bytes;
};

struct writer {
	FILE *out;
	uint64_t at; /* bytes written */
	struct ml_extent *directory;
	uint64_t directory_n, directory_room;
	uint8_t *piece, *next; /* events of the piece being made */
	struct ml_tables tables;
	struct ml_coder coder;
	uint32_t sequence;
	uint64_t ns, piece_ns;
	uint64_t events;
	uint64_t random;
	uint32_t node;
};

static void die(const char *what)
{
	perror(what);
	exit(1);
}

static void *get(size_t n, size_t size)
{
	void *memory = calloc(n, size);

	if (!memory)
		die("memory");
	return memory;
}

/* xorshift64* (Vigna, "An experimental exploration of Marsaglia's xorshift generators, scrambled", 2016). */
static uint32_t draw(struct writer *w, uint32_t below)
{
	w->random ^= w->random >> 12;
	w->random ^= w->random << 25;
	w->random ^= w->random >> 27;
	return (uint32_t)((w->random * UINT64_C(0x2545f4914f6cdd1d) >> 32) * below >> 32);
}

static void put(struct writer *w, const void *bytes, size_t n)
{
	if (fwrite(bytes, 1, n, w->out) != n)
		die("write");
	w->at += n;
}

static void begin_extent(struct writer *w, enum ml_extent_kind kind, uint64_t length, uint32_t id, uint64_t sequence)
{
	static const char zeros[8];

	put(w, zeros, -w->at % 8);
	if (w->directory_n == w->directory_room) {
		fputs("more extents than were thought of\n", stderr);
		exit(1);
	}
	w->directory[w->directory_n++] = (struct ml_extent){w->at, length, kind, id, sequence};
}

static void put_meta(struct writer *w)
{
	static const char meta[] =
		"pid\0001000\0ppid\0001\0start_ticks\0001\0image\0000\0started_ns\0001767323045000000000\0"
		"page_bytes\0004096\0python\0003.11.7\0line_table\0001\0arg\0python\0arg\0large.py\0"
		"root\0/srv\0cwd\0/srv\0program\0file:/srv/large.py\0baseline_rss\0008388608\0";

	begin_extent(w, ML_EXTENT_META, sizeof(meta), 0, 0);
	put(w, meta, sizeof(meta));
}

/* co_lnotab: each line has two bytes of bytecode. */
static void put_codes(struct writer *w)
{
	static const char file[] = "/srv/large.py";
	uint8_t record[256] = {0}, *text = record + sizeof(struct ml_def_code);
	uint32_t id, i;

	begin_extent(w, ML_EXTENT_DEFS, CODES * sizeof(record), 0, 0);
	for (id = 0; id < CODES; id++) {
		char name[32];
		int name_bytes = snprintf(name, sizeof(name), "function_%u", id);
		struct ml_def_code code = {.def = {sizeof(record), ML_DEF_CODE, 0},
					   .id = id,
					   .first_line = 1 + id * LINES,
					   .file_bytes = sizeof(file) - 1,
					   .name_bytes = (uint32_t)name_bytes,
					   .table_bytes = 2 * (LINES - 1)};
		uint8_t *table = text + code.file_bytes + code.name_bytes;

		memcpy(record, &code, sizeof(code));
		memcpy(text, file, code.file_bytes);
		memcpy(text + code.file_bytes, name, code.name_bytes);
		for (i = 0; i < LINES - 1; i++) {
			table[2 * i] = 2;
			table[2 * i + 1] = 1;
		}
		put(w, record, sizeof(record));
	}
}

/* A tree in which each node has up to four callees, so the deepest stack has eight frames. */
static void put_nodes(struct writer *w)
{
	uint32_t n;

	begin_extent(w, ML_EXTENT_NODES, NODES * sizeof(struct ml_node), 1, 0);
	for (n = 1; n <= NODES; n++) {
		const struct ml_node node = {(n + 2) / 4, ML_SUBJECT(ML_NODE_PYTHON, n % CODES), n % LINES * 2};
		put(w, &node, sizeof(node));
	}
}

static void begin_piece(struct writer *w)
{
	w->tables = (struct ml_tables){{0}, {0}};
	w->coder = (struct ml_coder){.tables = &w->tables};
	w->piece_ns = w->ns;
	w->next = ml_put_base(w->piece, 1, w->ns, 1000);
}

static void end_piece(struct writer *w)
{
	size_t used = (size_t)(w->next - w->piece);
	const struct ml_piece head = {
		.state = ML_PIECE_STATE(w->sequence, used),
		.checksum = ml_checksum(w->piece, used),
		.first_turn = 1,
		.last_turn = 1,
		.first_ns = w->piece_ns,
		.last_ns = w->ns,
		.tid = 1000,
	};

	begin_extent(w, ML_EXTENT_EVENTS, sizeof(head) + used, 0, w->sequence++);
	put(w, &head, sizeof(head));
	put(w, w->piece, used);
}

/* Room for one more record; the time of every 64th. */
static void make_room(struct writer *w)
{
	if (w->next - w->piece > PIECE_BYTES - 2 * (int)ML_RECORD_MAX) {
		end_piece(w);
		begin_piece(w);
	}
	if (!(++w->events % EVENTS_PER_TIME)) {
		w->next = ml_put_time(w->next, EVENTS_PER_TIME * EVENT_NS, 0);
		w->ns += EVENTS_PER_TIME * EVENT_NS;
	}
}

static void put_alloc(struct writer *w, const struct block *b)
{
	make_room(w);
	if (!draw(w, 3)) /* mostly a line allocates more than once */
		w->node = 1 + draw(w, NODES);
	w->next = ml_put_alloc(w->next, &w->coder, ML_DOMAIN_OBJ, w->node, HEAP + (uint64_t)b->place * GRID, b->bytes);
}

static void put_free(struct writer *w, const struct block *b)
{
	make_room(w);
	w->next = ml_put_free(w->next, &w->coder, ML_RECORD_FREE, ML_DOMAIN_OBJ, w->node,
			      HEAP + (uint64_t)b->place * GRID);
}

static void put_events(struct writer *w, uint64_t events, uint32_t live)
{
	struct block *blocks = get(live, sizeof(*blocks)), temporary[TEMPORARIES];
	uint64_t allocations = 0, bytes = 0;
	uint32_t i, spare = live;

	begin_piece(w);
	for (i = 0; i < live; i++, allocations++) {
		blocks[i] = (struct block){i, 16 + 8 * draw(w, 6)};
		put_alloc(w, &blocks[i]);
	}
	while (w->events + 2 <= events) {
		struct block *b;
		if (draw(w, 4) || !live) {
			b = &temporary[draw(w, TEMPORARIES)];
			*b = (struct block){live + 1 + (uint32_t)(b - temporary), 28 + 4 * draw(w, 3)};
			put_alloc(w, b);
			put_free(w, b);
		} else {
			b = &blocks[draw(w, live)];
			const struct block old = *b;
			*b = (struct block){spare, 16 + 8 * draw(w, 6)};
			spare = old.place;
			put_alloc(w, b);
			put_free(w, &old);
		}
		allocations++;
	}
	end_piece(w);
	for (i = 0; i < live; i++)
		bytes += blocks[i].bytes;
	printf("%" PRIu64 " %" PRIu64 " %" PRIu32 " %" PRIu64 "\n", allocations, allocations - live, live, bytes);
	free(blocks);
}

int main(int argc, char **argv)
{
	struct ml_header header = {.magic = ML_MAGIC,
				   .version = ML_VERSION,
				   .byte_order = ML_BYTE_ORDER,
				   .header_bytes = sizeof(header),
				   .counters = ML_COUNTERS,
				   .end = ML_END_EXIT};
	struct writer w = {.random = 1, .node = 1};
	uint64_t events;

	if (argc != 4 || !(events = strtoull(argv[2], NULL, 10))) {
		fputs("usage: large_trace FILE EVENTS LIVE\n", stderr);
		return 2;
	}
	w.out = fopen(argv[1], "wb");
	if (!w.out)
		die(argv[1]);
	/* No record of it is longer than 16 bytes. */
	w.directory_room = events * 16 / PIECE_BYTES + 16;
	w.directory = get(w.directory_room, sizeof(*w.directory));
	w.piece = get(PIECE_BYTES, 1);
	header.directory = sizeof(header);
	header.directory_bytes = w.directory_room * sizeof(*w.directory);
	put(&w, &header, sizeof(header));
	put(&w, w.directory, header.directory_bytes);
	put_meta(&w);
	put_codes(&w);
	put_nodes(&w);
	put_events(&w, events, (uint32_t)strtoul(argv[3], NULL, 10));
	if (fseek(w.out, sizeof(header), SEEK_SET) ||
	    fwrite(w.directory, sizeof(*w.directory), w.directory_n, w.out) != w.directory_n || fclose(w.out))
		die(argv[1]);
	free(w.directory);
	free(w.piece);
	return 0;
}
