#include "report/load.h"

#include <check.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/report/build_trace.h"
#include "tests/report/golden.h"
#include "tests/report/read_all.h"
#include "trace/put.h"

static struct build *b;
static struct ml_trace *trace;
static char path[64];

static void setup(void)
{
	b = build_new();
	trace = NULL;
	snprintf(path, sizeof path, "/tmp/memline-test-load-%d", (int)getpid());
}

static void teardown(void)
{
	ml_load_close(trace);
	build_done(b);
	unlink(path);
}

static void open_bytes(const void *bytes, size_t length)
{
	char *error;

	ml_load_close(trace);
	build_save(path, bytes, length);
	trace = ml_load_open(path, &error);
	if (!trace)
		ck_abort_msg("%s", error);
}

static void open_built(void)
{
	size_t length;
	const uint8_t *bytes = build_bytes(b, &length);

	open_bytes(bytes, length);
}

/* A copy of the file as it is built, to be damaged. */
static uint8_t *copy_built(size_t *length)
{
	const uint8_t *bytes = build_bytes(b, length);
	uint8_t *copy = malloc(*length);

	memcpy(copy, bytes, *length);
	return copy;
}

/* The n-th extent of a kind, as the built file's directory names it. */
static struct ml_extent extent(enum ml_extent_kind kind, unsigned n)
{
	open_built();
	for (size_t i = 0; i < trace->extents_n; i++)
		if (trace->extents[i].kind == kind && n-- == 0)
			return trace->extents[i];
	ck_abort_msg("no such extent");
}

static uint64_t damage(enum ml_damage kind)
{
	return trace->damage[kind].count;
}

static uint64_t all_damage(void)
{
	uint64_t sum = 0;

	for (unsigned i = 0; i < ML_DAMAGES; i++)
		sum += trace->damage[i].count;
	return sum;
}

/* The addresses of all events, which tests use to name them. */
#define EVENTS_MAX 100000
static struct ml_moment events[EVENTS_MAX];
static size_t events_n;

static void read_events(void)
{
	const struct ml_moment *m;
	size_t n;

	events_n = 0;
	while ((n = ml_load_next(trace, &m))) {
		ck_assert_uint_le(events_n + n, EVENTS_MAX);
		memcpy(events + events_n, m, n * sizeof *m);
		events_n += n;
	}
}

/* Checks that the events are frees of these addresses times 16. */
static void check_events(size_t n, const unsigned *expected)
{
	read_events();
	ck_assert_uint_eq(events_n, n);
	for (size_t i = 0; i < n; i++)
		ck_assert_uint_eq(events[i].event.address, expected[i] * 16);
}

#define expect_events(...)                                                                                             \
	do {                                                                                                           \
		static const unsigned expected[] = {__VA_ARGS__};                                                      \
		check_events(sizeof expected / sizeof *expected, expected);                                            \
	} while (0)

static void event(struct build_ring *r, unsigned number)
{
	build_free(r, ML_DOMAIN_C, 0, number * 16);
}

/* What makes a trace unreadable: one sentence with the file, the place, and what to do. */

static void check_error(const void *bytes, size_t length, const char *expected)
{
	char *error, text[512];

	build_save(path, bytes, length);
	ck_assert_ptr_null(ml_load_open(path, &error));
	snprintf(text, sizeof text, "%s: %s", path, expected);
	ck_assert_str_eq(error, text);
	free(error);
}

START_TEST(test_unreadable)
{
	size_t length;
	uint8_t *bytes = copy_built(&length);
	struct ml_header *h = (struct ml_header *)bytes, good = *h;

	check_error("", 0, "offset 0: the file ends within the header, so nothing was recorded; record again");
	check_error(bytes, 511, "offset 511: the file ends within the header, so nothing was recorded; record again");
	check_error("PK\3\4 and so on", 14, "offset 0: this is not a memline trace; give a file that memline recorded");
	h->version = 9;
	check_error(bytes, length,
		    "offset 8: the trace has format version 9 and this memline reads 1; use the memline that recorded "
		    "it");
	*h = good;
	h->byte_order = 0x04030201;
	check_error(bytes, length,
		    "offset 12: the trace has another byte order or is damaged; read it where it was recorded");
	*h = good;
	h->directory = length;
	check_error(bytes, length,
		    "offset 16: the header does not lead to a directory; the file is damaged or was cut off, record "
		    "again");
	free(bytes);
}
END_TEST

START_TEST(test_no_file)
{
	char *error, text[512];

	ck_assert_ptr_null(ml_load_open("/nonexistent/x.memline", &error));
	ck_assert_str_eq(error, "/nonexistent/x.memline: cannot be opened: No such file or directory");
	free(error);
	ck_assert_ptr_null(ml_load_open("/tmp", &error));
	ck_assert_str_eq(error, "/tmp: is not a file, so no trace; give a file that ends in .memline");
	free(error);
	ck_assert_int_eq(mkfifo(path, 0600), 0); /* nobody writes to it: we must not wait */
	ck_assert_ptr_null(ml_load_open(path, &error));
	snprintf(text, sizeof text, "%s: is not a file, so no trace; give a file that ends in .memline", path);
	ck_assert_str_eq(error, text);
	free(error);
}
END_TEST

/* Definitions. */

START_TEST(test_meta)
{
	build_meta(b, "pid", "4711");
	build_meta(b, "arg", "python");
	build_meta(b, "arg", "");
	build_meta(b, "arg", "-c");
	build_meta(b, "late", "x1");
	build_meta(b, "page_bytes", "12345");
	build_meta(b, "huge", "99999999999999999999999");
	open_built();
	ck_assert_uint_eq(trace->meta_n, 7);
	ck_assert_str_eq(ml_load_meta(trace, "arg"), "python");
	ck_assert_str_eq(trace->meta[2].value, "");
	ck_assert_str_eq(trace->meta[3].value, "-c");
	ck_assert_ptr_null(ml_load_meta(trace, "nothing"));
	ck_assert_uint_eq(ml_load_number(trace, "pid", 1), 4711);
	ck_assert_uint_eq(ml_load_number(trace, "late", 7), 7);
	ck_assert_uint_eq(ml_load_number(trace, "arg", 8), 8);
	ck_assert_uint_eq(ml_load_number(trace, "nothing", 9), 9);
	ck_assert_uint_eq(ml_load_number(trace, "huge", 10), 10);
	ck_assert_uint_eq(trace->page_bytes, 4096); /* no power of two */
	ck_assert_uint_eq(all_damage(), 0);
}
END_TEST

/* A pair that is cut off is left out, and those before it are there. */
START_TEST(test_meta_cut_off)
{
	struct ml_extent e;
	size_t length;
	uint8_t *bytes;

	build_meta(b, "pid", "4711");
	build_meta(b, "cwd", "/srv");
	e = extent(ML_EXTENT_META, 0);
	bytes = copy_built(&length);
	memset(bytes + e.offset, 'x', 4); /* "pid" runs into its value */
	memset(bytes + e.offset + e.length - 9, 'x', 9);
	open_bytes(bytes, length);
	ck_assert_uint_eq(trace->meta_n, 1);
	ck_assert_str_eq(trace->meta[0].key, "xxxx4711");
	ck_assert_uint_eq(damage(ML_DAMAGE_META), 1);
	free(bytes);
}
END_TEST

START_TEST(test_definitions)
{
	static const uint8_t table[] = {1, 0, 2};
	const struct ml_code *code;
	const struct ml_module *module;

	build_code(b, "/srv/a.py", "f", 3, NULL, 0);
	build_code(b, "/srv/\xc3\xa9.py", "C.g.<locals>.h", 70000, table, sizeof table);
	build_code(b, "", "", 0, NULL, 0);
	build_module(b, "/usr/lib/libc.so.6", 0x1000, 0x2000);
	open_built();
	code = ml_load_code(trace, 1);
	ck_assert_str_eq(code->file, "/srv/\xc3\xa9.py");
	ck_assert_str_eq(code->name, "C.g.<locals>.h");
	ck_assert_uint_eq(code->first_line, 70000);
	ck_assert_uint_eq(code->table_bytes, 3);
	ck_assert_mem_eq(code->table, table, 3);
	ck_assert_str_eq(ml_load_code(trace, 0)->name, "f");
	ck_assert_str_eq(ml_load_code(trace, 2)->name, "");
	ck_assert_ptr_null(ml_load_code(trace, 3));
	module = ml_load_module(trace, 1);
	ck_assert_str_eq(module->path, "/usr/lib/libc.so.6");
	ck_assert_uint_eq(module->end, 0x3000);
	ck_assert_uint_eq(module->build_id_bytes, 4);
	ck_assert_mem_eq(module->build_id, "\xca\xfe\xba\xbe", 4);
	ck_assert_ptr_null(ml_load_module(trace, 0));
	ck_assert_uint_eq(all_damage(), 0);
}
END_TEST

/* An unknown kind is passed over; a length that makes no sense ends the extent; texts that don't fit lose their own. */
START_TEST(test_definitions_damaged)
{
	struct ml_extent e;
	size_t length;
	uint8_t *bytes;
	struct ml_def *first, *second;

	build_code(b, "/srv/a.py", "f", 1, NULL, 0);
	build_code(b, "/srv/a.py", "g", 2, NULL, 0);
	build_code(b, "/srv/a.py", "h", 3, NULL, 0);
	e = extent(ML_EXTENT_DEFS, 0);
	bytes = copy_built(&length);
	first = (struct ml_def *)(bytes + e.offset);
	second = (struct ml_def *)((uint8_t *)first + first->length);
	first->kind = 77;
	((struct ml_def_code *)second)->file_bytes = 0xfffffff0;
	open_bytes(bytes, length);
	ck_assert_uint_eq(trace->codes_n, 1);
	ck_assert_str_eq(ml_load_code(trace, 2)->name, "h");
	ck_assert_uint_eq(damage(ML_DAMAGE_DEFINITION), 1);
	ck_assert_uint_eq(trace->damage[ML_DAMAGE_DEFINITION].offset, (uint64_t)((uint8_t *)second - bytes));
	second->length = 0xfffffff8;
	open_bytes(bytes, length);
	ck_assert_uint_eq(trace->codes_n, 0);
	ck_assert_uint_eq(damage(ML_DAMAGE_DEFINITION), 1);
	free(bytes);
}
END_TEST

START_TEST(test_nodes)
{
	uint32_t code, parent = 0;

	build_layout(b)->nodes_in_extent = 7;
	code = build_code(b, "/srv/a.py", "f", 1, NULL, 0);
	for (int i = 0; i < 40; i++)
		parent = build_node(b, i % 5 ? parent : 0, ML_NODE_PYTHON, code, -i);
	build_node(b, parent, ML_NODE_MARK, ML_MARK_DEEPER, 0);
	open_built();
	ck_assert_uint_eq(trace->nodes_n, 42);
	ck_assert_uint_eq(trace->nodes[0].subject, 0);
	ck_assert_uint_eq(trace->nodes[9].parent, 8);
	ck_assert_uint_eq(trace->nodes[11].parent, 0);
	ck_assert_int_eq((int64_t)trace->nodes[40].place, -39);
	ck_assert_uint_eq(trace->nodes[41].subject, ML_SUBJECT(ML_NODE_MARK, ML_MARK_DEEPER));
	ck_assert_uint_eq(all_damage(), 0);
}
END_TEST

/* Nodes that aren't there yet, of no kind, or with a parent that is no parent. */
START_TEST(test_nodes_damaged)
{
	struct ml_extent e;
	size_t length;
	uint8_t *bytes;
	struct ml_node *nodes;

	for (uint32_t i = 0; i < 8; i++)
		build_node(b, i, ML_NODE_NATIVE, 0, 0x1000 + i);
	e = extent(ML_EXTENT_NODES, 0);
	bytes = copy_built(&length);
	nodes = (struct ml_node *)(bytes + e.offset) - 1;
	nodes[3].subject = 0;          /* a hole: node 4 loses its parent */
	nodes[6].parent = 6;           /* itself */
	nodes[7].subject = 0xf0000001; /* no kind: and node 8 loses its parent */
	open_bytes(bytes, length);
	ck_assert_uint_eq(trace->nodes_n, 9);
	ck_assert_uint_eq(trace->nodes[2].parent, 1);
	ck_assert_uint_eq(trace->nodes[3].subject, 0);
	ck_assert_uint_eq(trace->nodes[4].parent, 0);
	ck_assert_uint_eq(trace->nodes[5].parent, 4);
	ck_assert_uint_eq(trace->nodes[6].parent, 0);
	ck_assert_uint_eq(trace->nodes[7].subject, 0);
	ck_assert_uint_eq(trace->nodes[8].parent, 0);
	ck_assert_uint_eq(damage(ML_DAMAGE_NODE), 4);
	free(bytes);
}
END_TEST

/* A number far beyond what the file has room for must not make the table that large. */
START_TEST(test_nodes_far)
{
	struct ml_extent e;
	size_t length;
	uint8_t *bytes;

	build_node(b, 0, ML_NODE_NATIVE, 0, 1);
	e = extent(ML_EXTENT_NODES, 0);
	bytes = copy_built(&length);
	for (size_t i = 0; i + sizeof e <= length; i += 8)
		if (!memcmp(bytes + i, &e, sizeof e))
			((struct ml_extent *)(bytes + i))->id = 0xf0000000;
	open_bytes(bytes, length);
	ck_assert_uint_eq(trace->nodes_n, 1);
	ck_assert_uint_eq(damage(ML_DAMAGE_NODE), 1);
	free(bytes);
}
END_TEST

/* The directory. */

START_TEST(test_directory_chain)
{
	struct build_ring *r = build_ring(b, 100);

	build_layout(b)->chunk_entries = 2;
	build_layout(b)->holes = 3;
	for (unsigned i = 0; i < 20; i++) {
		event(r, i);
		build_flush(r);
	}
	open_built();
	expect_events(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19);
	ck_assert_uint_eq(all_damage(), 0);
}
END_TEST

/* Finds the entry of an extent in the bytes of a file. */
static struct ml_extent *entry_of(uint8_t *bytes, size_t length, const struct ml_extent *e)
{
	for (size_t i = 0; i + sizeof *e <= length; i += 8)
		if (!memcmp(bytes + i, e, sizeof *e))
			return (struct ml_extent *)(bytes + i);
	ck_abort_msg("no such entry");
}

START_TEST(test_directory_damaged)
{
	struct build_ring *r = build_ring(b, 100);
	struct ml_extent first, second, cycle;
	size_t length;
	uint8_t *bytes;

	for (unsigned i = 0; i < 3; i++) {
		event(r, i);
		build_flush(r);
	}
	first = extent(ML_EXTENT_EVENTS, 0);
	second = extent(ML_EXTENT_EVENTS, 1);
	bytes = copy_built(&length);
	/* a length that swallows the next extent; an unknown kind; a link of the directory to itself */
	entry_of(bytes, length, &first)->length += 100;
	open_bytes(bytes, length);
	expect_events(1, 2);
	ck_assert_uint_eq(damage(ML_DAMAGE_DIRECTORY), 1);
	ck_assert_uint_eq(damage(ML_DAMAGE_MISSING), 1);
	free(bytes);

	bytes = copy_built(&length);
	entry_of(bytes, length, &second)->kind = 99;
	open_bytes(bytes, length);
	expect_events(0, 2);
	ck_assert_uint_eq(damage(ML_DAMAGE_DIRECTORY), 0);
	ck_assert_uint_eq(damage(ML_DAMAGE_MISSING), 1);
	free(bytes);

	bytes = copy_built(&length);
	cycle = (struct ml_extent){sizeof(struct ml_header), 64 * sizeof cycle, ML_EXTENT_DIRECTORY, 0, 0};
	*entry_of(bytes, length, &first) = cycle;
	open_bytes(bytes, length);
	expect_events(1, 2);
	ck_assert_uint_eq(damage(ML_DAMAGE_DIRECTORY), 1);
	free(bytes);
}
END_TEST

/* Events. */

START_TEST(test_turns)
{
	struct build_ring *r[3];

	for (uint32_t i = 0; i < 3; i++)
		r[i] = build_ring(b, 100 + i);
	event(r[0], 1);
	event(r[0], 2);
	event(r[2], 3);
	build_flush(r[0]);
	event(r[0], 4);
	event(r[1], 5);
	build_flush(r[1]);
	build_owner(r[0], 200);
	event(r[2], 6);
	event(r[0], 7);
	event(r[1], 8);
	open_built();
	expect_events(1, 2, 3, 4, 5, 6, 7, 8);
	for (unsigned i = 0; i < 8; i++) {
		static const uint32_t tid[] = {100, 100, 102, 100, 101, 102, 200, 101};
		static const uint64_t turn[] = {1, 1, 2, 3, 4, 5, 6, 7};
		ck_assert_uint_eq(events[i].tid, tid[i]);
		ck_assert_uint_eq(events[i].turn, turn[i]);
		ck_assert_uint_lt(events[i].ring, trace->rings_n);
	}
	ml_load_rewind(trace);
	expect_events(1, 2, 3, 4, 5, 6, 7, 8);
	ck_assert_uint_eq(all_damage(), 0);
}
END_TEST

/* Many rings, few events between two turns: the order is that in which they were made. */
START_TEST(test_many_rings)
{
	enum { RINGS = 200, N = 20000 };
	struct build_ring *r[RINGS];
	uint64_t seed = 1;

	build_layout(b)->piece_bytes = 400;
	build_layout(b)->chunk_entries = 1000;
	for (uint32_t i = 0; i < RINGS; i++)
		r[i] = build_ring(b, i + 1);
	for (unsigned i = 0; i < N; i++) {
		seed = seed * 6364136223846793005u + 1442695040888963407u;
		event(r[(seed >> 33) % RINGS], i);
	}
	open_built();
	read_events();
	ck_assert_uint_eq(events_n, N);
	for (unsigned i = 0; i < N; i++)
		ck_assert_uint_eq(events[i].event.address, i * 16);
	ck_assert_uint_eq(all_damage(), 0);
	ck_assert(ml_load_progress(trace) == 1);
}
END_TEST

/* Time counts per ring, but never goes back in the order of all events. */
START_TEST(test_time)
{
	struct build_ring *x = build_ring(b, 100), *y = build_ring(b, 101);
	static const uint64_t ns[] = {0, 5000, 5000, 5000, 6000, 6000};

	event(x, 0);
	build_time(x, 5000, 7);
	event(y, 0); /* its own clock still stands at 0 */
	build_flush(x);
	event(x, 0);
	build_time(y, 6000, 0);
	event(y, 0);
	open_built();
	read_events();
	ck_assert_uint_eq(events_n, 6);
	for (unsigned i = 0; i < 6; i++)
		ck_assert_uint_eq(events[i].ns, ns[i]);
	ck_assert_uint_eq(events[1].rss, 7 * 4096);
	ck_assert_uint_eq(events[2].rss, 0);
}
END_TEST

/* Of a piece that is in its ring and in an EVENTS extent too, which a recorder was about to write. */
START_TEST(test_ring_wins)
{
	struct build_ring *r = build_ring(b, 100);
	struct ml_extent e, entry;
	size_t length, used;
	uint8_t *bytes;
	struct ml_piece *copy, *ring;

	event(r, 1);
	build_flush(r);
	event(r, 2);
	event(r, 3);
	e = extent(ML_EXTENT_RING, 0);
	bytes = copy_built(&length);
	ring = (struct ml_piece *)(bytes + e.offset);
	used = sizeof *ring + ML_PIECE_USED(ring->state);
	/* the copy goes to the end of the file, and its entry to the first one that is free */
	bytes = realloc(bytes, length + used);
	ring = (struct ml_piece *)(bytes + e.offset);
	copy = (struct ml_piece *)(bytes + length);
	memset(copy, 0, used);
	entry = (struct ml_extent){length, used, ML_EXTENT_EVENTS, 0, 1};
	for (struct ml_extent *at = (struct ml_extent *)(bytes + sizeof(struct ml_header));; at++)
		if (!at->length) {
			*at = entry;
			break;
		}
	open_bytes(bytes, length); /* not even begun: the file ends before it */
	expect_events(1, 2, 3);
	ck_assert_uint_eq(all_damage(), 0);
	open_bytes(bytes, length + used); /* not written */
	expect_events(1, 2, 3);
	ck_assert_uint_eq(all_damage(), 0);
	memcpy(copy, ring, used - 1); /* written but for its checksum and last byte */
	open_bytes(bytes, length + used);
	expect_events(1, 2, 3);
	ck_assert_uint_eq(all_damage(), 0);
	memcpy(copy, ring, used); /* whole, and the ring is still the same */
	copy->checksum = ml_checksum(copy + 1, used - sizeof *copy);
	open_bytes(bytes, length + used);
	expect_events(1, 2, 3);
	ck_assert_uint_eq(all_damage(), 0);
	free(bytes);
}
END_TEST

/* A bad byte: what comes before it in the piece is there, and all other pieces. */
START_TEST(test_piece_damaged)
{
	struct build_ring *r = build_ring(b, 100);
	struct ml_extent e;
	size_t length;
	uint8_t *bytes, *at;

	for (unsigned i = 1; i <= 9; i++) {
		event(r, i * 1000);
		if (i % 3 == 0)
			build_flush(r);
	}
	e = extent(ML_EXTENT_EVENTS, 1);
	bytes = copy_built(&length);
	/* BASE (4 bytes), FREE of 4000 (3 or 4 bytes): the next record's head is made one that does not exist */
	at = bytes + e.offset + sizeof(struct ml_piece) + 4;
	ck_assert_uint_eq(ML_REC_CODE(*at), ML_RECORD_FREE);
	while (ML_REC_CODE(*++at) != ML_RECORD_FREE || !(*at & ML_REC_SAME_NODE))
		;
	*at = 0;
	open_bytes(bytes, length);
	expect_events(1000, 2000, 3000, 4000, 7000, 8000, 9000);
	ck_assert_uint_ge(damage(ML_DAMAGE_PIECE), 1);
	ck_assert_uint_eq(all_damage(), damage(ML_DAMAGE_PIECE));
	ml_load_rewind(trace);
	read_events();
	ck_assert_uint_eq(damage(ML_DAMAGE_PIECE), 2); /* not counted twice: the checksum and the byte */
	((struct ml_piece *)(bytes + e.offset))->ring = 5;
	open_bytes(bytes, length);
	expect_events(1000, 2000, 3000, 7000, 8000, 9000);
	ck_assert_uint_eq(damage(ML_DAMAGE_PIECE), 1);
	free(bytes);
}
END_TEST

START_TEST(test_warnings)
{
	struct build_ring *r = build_ring(b, 100);
	char text[256];

	build_free(r, ML_DOMAIN_C, 5, 16); /* no such node */
	build_free(r, ML_DOMAIN_C, 6, 16);
	open_built();
	read_events();
	ck_assert_uint_eq(events[0].event.node, 0);
	ck_assert_int_eq(ml_load_warning(trace, 0, text, sizeof text), 1);
	text[strcspn(text, "(")] = 0; /* the offset is the layout's */
	ck_assert_str_eq(text, "events whose stack is not in the trace: 2 ");
	ck_assert_int_eq(ml_load_warning(trace, 1, text, sizeof text), 0);
}
END_TEST

START_TEST(test_dropped)
{
	build_header(b)->counter[ML_COUNTER_DROPPED_STOPPED] = 1;
	build_header(b)->counter[ML_COUNTER_DROPPED_SIGNAL] = 20;
	build_header(b)->counter[ML_COUNTER_DROPPED_EARLY] = 300;
	build_header(b)->counter[ML_COUNTER_DROPPED_NO_RING] = 4000;
	build_header(b)->counter[ML_COUNTER_DEEP_STACKS] = 50000;
	open_built();
	ck_assert_uint_eq(ml_load_dropped(trace), 4321);
}
END_TEST

/* Only what the process was; nothing else is there to be asked for. */
START_TEST(test_open_meta)
{
	char *error;

	build_meta(b, "pid", "1");
	build_write(b, path);
	trace = ml_load_open_meta(path, &error);
	ck_assert_ptr_nonnull(trace);
	ck_assert_uint_eq(ml_load_number(trace, "pid", 0), 1);
}
END_TEST

/* A process that is still writing: whatever is read at any time is a beginning of its events, and no damage. */

#define LIVE_PIECES 4096u
#define LIVE_RING 2048u
#define LIVE_NODES 16384u
#define LIVE_ENTRIES (LIVE_PIECES + 5)

struct live_code {
	struct ml_def_code def;
	char text[8];
};

/* The parts of the file, but for the pieces behind it. */
struct live_file {
	struct ml_header header;
	struct ml_extent directory[LIVE_ENTRIES];
	struct {
		struct ml_piece piece;
		uint8_t events[LIVE_RING - sizeof(struct ml_piece)];
	} rings[2];
	struct ml_node nodes[LIVE_NODES];
	struct live_code codes[LIVE_NODES];
	struct ml_count counts[LIVE_NODES];
};

/* A file that a process of its own writes to. */
static struct live {
	_Atomic int *stop;
	int fd;
	struct live_file *file;
	pid_t child;
} live;

/* Code objects, nodes and counts as a recorder makes them: each complete before the next. A node's code has its number,
   and its first line. */
static void define_live(struct live_file *f, uint32_t n)
{
	struct live_code *code = &f->codes[n];

	code->def = (struct ml_def_code){
		.def = {.kind = ML_DEF_CODE}, .id = n, .first_line = n, .file_bytes = 4, .name_bytes = 1};
	memcpy(code->text, "a.pyf", 5);
	__atomic_store_n(&code->def.def.length, (uint32_t)sizeof *code, __ATOMIC_RELEASE);
	f->nodes[n].parent = n - 1;
	__atomic_store_n(&f->nodes[n].subject, ML_SUBJECT(ML_NODE_PYTHON, n), __ATOMIC_RELEASE);
	f->counts[n] = (struct ml_count){.code = n, .line = n, .ring = ML_COUNT_NO_RING};
	__atomic_store_n(&f->counts[n].count, 1, __ATOMIC_RELEASE);
}

/* Appends the piece with as many bytes, in two halves between which others may look. */
static void append_live(int fd, struct ml_extent *entry, struct ml_piece *piece, uint64_t bytes, uint64_t *end)
{
	const size_t half = bytes / 2 | 1;

	piece->checksum = ml_checksum(piece + 1, bytes - sizeof *piece);
	entry->offset = *end;
	entry->kind = ML_EXTENT_EVENTS;
	entry->id = piece->ring;
	entry->sequence = ML_PIECE_SEQUENCE(piece->state);
	*end += (bytes + 7) / 8 * 8;
	if (ftruncate(fd, (off_t)*end))
		_exit(1);
	__atomic_store_n(&entry->length, bytes, __ATOMIC_RELEASE);
	if (pwrite(fd, piece, half, (off_t)entry->offset) != (ssize_t)half)
		_exit(1);
	usleep(entry->sequence % 5 * 50);
	if (pwrite(fd, (uint8_t *)piece + half, bytes - half, (off_t)(entry->offset + half)) != (ssize_t)(bytes - half))
		_exit(1);
}

/* Writes as a recorder does: two rings in turn, each event numbered, full pieces appended; at times slowly, so that the
   reader comes between at many points, at times fast, so that it misses whole pieces. */
static void write_live(int fd, struct live_file *f, _Atomic int *stop)
{
	struct ml_extent *entry = f->directory + 5;
	struct ml_coder coder[2] = {{0}};
	uint64_t turn[2] = {0}, last = 0, end = sizeof *f;
	uint8_t *at[2];
	uint32_t node = 0;

	for (uint32_t i = 0; i < 2; i++) {
		f->rings[i].piece.ring = i;
		at[i] = ml_put_base(f->rings[i].events, 0, 0, 100 + i);
	}
	for (uint64_t number = 0; !atomic_load(stop) && node < LIVE_NODES - 1; number++) {
		const unsigned i = number / 1024 % 2;
		struct ml_piece *piece = &f->rings[i].piece;
		uint8_t *start = f->rings[i].events;
		uint32_t sequence = ML_PIECE_SEQUENCE(piece->state);
		if (number % 32 == 0)
			define_live(f, ++node);
		if (number % 1024 == 0) {
			at[i] = ml_put_turn(at[i], ++last - turn[i]);
			turn[i] = last;
		}
		at[i] = ml_put_alloc(at[i], &coder[i], ML_DOMAIN_C, node, number * 16, number);
		__atomic_store_n(&piece->state, ML_PIECE_STATE(sequence, at[i] - start), __ATOMIC_RELEASE);
		if (number % 64 == 0 && number / 8192 % 2)
			usleep(1);
		if ((size_t)(at[i] - start) < sizeof f->rings[i].events - 4 * ML_RECORD_MAX)
			continue;
		if (entry == f->directory + LIVE_ENTRIES)
			break;
		piece->last_turn = turn[i];
		append_live(fd, entry++, piece, (uint64_t)(at[i] - (uint8_t *)piece), &end);
		coder[i] = (struct ml_coder){0};
		__atomic_store_n(&piece->state, ML_PIECE_STATE(sequence + 1, 0), __ATOMIC_RELEASE);
		at[i] = ml_put_base(start, turn[i], 0, 100 + i);
	}
}

static void start_live(void)
{
	static const struct ml_extent extents[] = {
		{offsetof(struct live_file, rings[0]), LIVE_RING, ML_EXTENT_RING, 0, 0},
		{offsetof(struct live_file, rings[1]), LIVE_RING, ML_EXTENT_RING, 1, 0},
		{offsetof(struct live_file, nodes), sizeof live.file->nodes, ML_EXTENT_NODES, 0, 0},
		{offsetof(struct live_file, codes[1]), sizeof live.file->codes - sizeof(struct live_code),
		 ML_EXTENT_DEFS, 0, 0},
		{offsetof(struct live_file, counts), sizeof live.file->counts, ML_EXTENT_COUNTS, 0, 0},
	};

	live.stop = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	live.fd = open(path, O_RDWR | O_CREAT | O_TRUNC, 0600);
	ck_assert_int_eq(ftruncate(live.fd, sizeof *live.file), 0);
	live.file = mmap(NULL, sizeof *live.file, PROT_READ | PROT_WRITE, MAP_SHARED, live.fd, 0);
	ck_assert_ptr_ne(live.file, MAP_FAILED);
	live.file->header = (struct ml_header){.magic = ML_MAGIC,
					       .version = ML_VERSION,
					       .byte_order = ML_BYTE_ORDER,
					       .header_bytes = sizeof live.file->header,
					       .directory = offsetof(struct live_file, directory),
					       .directory_bytes = sizeof live.file->directory};
	memcpy(live.file->directory, extents, sizeof extents);
	live.child = fork();
	if (live.child == 0) {
		write_live(live.fd, live.file, live.stop);
		_exit(0);
	}
}

static void stop_live(void)
{
	int status;

	atomic_store(live.stop, 1);
	ck_assert_int_eq(waitpid(live.child, &status, 0), live.child);
	ck_assert_int_eq(status, 0);
}

static void free_live(void)
{
	close(live.fd);
	munmap(live.file, sizeof *live.file);
	munmap((void *)live.stop, 4096);
}

/* Reads on: events are numbered from *number. All nodes and counts that are there have their code. */
static void read_on(uint64_t *number)
{
	const struct ml_moment *m;
	size_t n;

	while ((n = ml_load_next(trace, &m)))
		for (size_t i = 0; i < n; i++, ++*number) {
			const struct ml_event *e = &m[i].event;
			const struct ml_code *code = ml_load_node_code(trace, &trace->nodes[e->node]);
			if (e->address != *number * 16 || e->bytes != *number || e->node != *number / 32 + 1)
				ck_abort_msg("event %zu is not in its place", (size_t)*number);
			if (!code || (uint32_t)code->first_line != e->node)
				ck_abort_msg("event %zu has no code", (size_t)*number);
		}
	for (uint32_t i = 1; i < trace->nodes_n; i++)
		if (!ml_load_node_code(trace, &trace->nodes[i]))
			ck_abort_msg("node %u has no code", i);
	for (size_t i = 0; i < trace->counts_n; i++)
		ck_assert_ptr_nonnull(ml_load_code(trace, trace->counts[i].code));
	ck_assert_uint_eq(all_damage(), 0);
}

static void open_live(void)
{
	char *error;

	trace = ml_load_open(path, &error);
	ck_assert_ptr_nonnull(trace);
}

static void check_prefix(uint64_t *seen, uint64_t *whole_pieces)
{
	uint64_t number = 0;

	open_live();
	read_on(&number);
	ck_assert_uint_ge(number, *seen);
	*seen = number;
	*whole_pieces = trace->extents_n;
	ml_load_close(trace);
	trace = NULL;
}

START_TEST(test_running)
{
	uint64_t seen = 0, pieces = 0;

	start_live();
	for (int i = 0; (i < 50 || seen <= 1000) && pieces < LIVE_ENTRIES; i++)
		check_prefix(&seen, &pieces);
	stop_live();
	check_prefix(&seen, &pieces);
	ck_assert_uint_gt(seen, 1000);
	free_live();
}
END_TEST

/* Each event comes once, in its place, however often the reader looks what has been added. */
START_TEST(test_followed)
{
	uint64_t seen = 0, all = 0, pieces, grew = 0;

	start_live();
	open_live();
	read_on(&seen);
	for (int i = 0; i < 1000 && (i < 300 || grew <= 20) && trace->extents_n < LIVE_ENTRIES; i++) {
		uint64_t before = seen;
		if (i % 8 == 7)
			usleep(3000); /* so that pieces are left out, too */
		ml_load_follow(trace);
		read_on(&seen);
		grew += seen > before;
	}
	stop_live();
	ml_load_follow(trace);
	read_on(&seen);
	ck_assert_uint_eq(trace->rings_n, 2);
	ml_load_close(trace);
	check_prefix(&all, &pieces);
	ck_assert_uint_eq(seen, all);
	ck_assert_uint_gt(grew, 20);
	free_live();
}
END_TEST

/* What the definition of a count, a node or a code object makes valid, and where that is in the file. */
static struct hidden {
	size_t offset;
	uint64_t word;
} hidden[16];

static size_t hidden_n;

static void hide(uint8_t *file, size_t offset)
{
	uint64_t zero = 0;

	hidden[hidden_n].offset = offset;
	memcpy(&hidden[hidden_n++].word, file + offset, sizeof zero);
	memcpy(file + offset, &zero, sizeof zero);
}

/* Writes over the file that is being read. */
static void put(size_t offset, const void *bytes, size_t n)
{
	int fd = open(path, O_WRONLY);

	ck_assert_int_eq(pwrite(fd, bytes, n, (off_t)offset), (ssize_t)n);
	close(fd);
}

/* Puts back the i-th, from 0, into the file. */
static void show(size_t i)
{
	put(hidden[i].offset, &hidden[i].word, sizeof hidden[i].word);
}

/* Code objects and nodes that are defined later, one by one. */
START_TEST(test_followed_definitions)
{
	size_t length, at = 0;
	uint8_t *file;

	for (uint32_t i = 0; i < 5; i++) {
		build_code(b, "/srv/app.py", "f", i + 1, "", 0);
		build_node(b, i, ML_NODE_PYTHON, i, 0);
	}
	build_layout(b)->nodes_in_extent = 2;
	file = copy_built(&length);
	open_bytes(file, length);
	hidden_n = 0;
	for (size_t i = 0; i < trace->extents_n; i++) {
		const struct ml_extent *e = &trace->extents[i];
		for (uint32_t k = 0; e->kind == ML_EXTENT_NODES && k < 2; k++)
			if (e->id + k > 0 && e->id + k <= 5)
				hide(file, e->offset + k * sizeof(struct ml_node));
		at = e->kind == ML_EXTENT_DEFS ? e->offset : at;
	}
	for (size_t i = 0; i < 5; i++) {
		uint32_t bytes = ((struct ml_def *)(file + at))->length;
		hide(file, at);
		at += bytes;
	}
	ck_assert_uint_eq(hidden_n, 10);
	open_bytes(file, length);
	for (uint32_t i = 0; i < 5; i++) {
		ck_assert_uint_eq(trace->codes_n, i);
		ck_assert_uint_eq(trace->nodes_n, i + 1);
		show(5 + i);
		show(i);
		ml_load_follow(trace);
		ck_assert_ptr_nonnull(ml_load_code(trace, i));
		ck_assert_uint_eq(ml_load_code(trace, i)->first_line, i + 1);
		ck_assert_uint_eq(ML_SUBJECT_NUMBER(trace->nodes[i + 1].subject), i);
		ck_assert_uint_eq(trace->nodes[i + 1].parent, i);
	}
	ck_assert_uint_eq(all_damage(), 0);
	free(file);
}
END_TEST

/* The allocations from one on that the trace goes on with. */
static void check_allocations(unsigned from, unsigned to)
{
	read_events();
	ck_assert_uint_eq(events_n, to - from);
	for (unsigned i = from; i < to; i++) {
		const struct ml_event *e = &events[i - from].event;
		ck_assert_uint_eq(e->address, 0x10000 + i * i * 1040);
		ck_assert_uint_eq(e->bytes, i * 100);
		ck_assert_uint_eq(e->node, 1 + i % 3);
	}
	ck_assert_uint_eq(all_damage(), 0);
}

/* The ring holds its first piece when it is read. Until the directory is read, that one was appended and another made,
   of which only a part is in the file: wherever it is cut off, it is read once it is whole. */
START_TEST(test_followed_appending)
{
	const uint64_t none = 0;
	struct build_ring *r = build_ring(b, 100);
	struct ml_extent ring, pieces[2], *entry;
	uint8_t *file, *first;
	size_t length;

	for (uint32_t i = 0; i < 3; i++)
		build_node(b, i, ML_NODE_PYTHON, build_code(b, "a.py", "f", i + 1, "", 0), 0);
	for (unsigned i = 0; i < 18; i++) {
		build_alloc(r, ML_DOMAIN_C, 1 + i % 3, 0x10000 + i * i * 1040, i * 100);
		if (i == 5 || i == 11)
			build_flush(r);
	}
	ring = extent(ML_EXTENT_RING, 0);
	pieces[0] = extent(ML_EXTENT_EVENTS, 0);
	pieces[1] = extent(ML_EXTENT_EVENTS, 1);
	file = copy_built(&length);
	first = malloc(length);
	memcpy(first, file, length);
	memcpy(first + ring.offset, file + pieces[0].offset, pieces[0].length);
	for (unsigned i = 0; i < 2; i++)
		entry_of(first, length, &pieces[i])->length = 0;
	for (size_t cut = 0; cut < pieces[1].length; cut++) {
		open_bytes(first, length);
		check_allocations(0, 6);
		for (unsigned i = 0; i < 2; i++) {
			entry = entry_of(file, length, &pieces[i]);
			put((size_t)((uint8_t *)entry - file), entry, sizeof *entry);
		}
		put(pieces[1].offset, file + pieces[1].offset, cut);
		for (size_t n = cut; n < pieces[1].length; n++)
			put(pieces[1].offset + n, &none, 1);
		ml_load_follow(trace);
		check_allocations(6, 6);
		put(0, file, length);
		ml_load_follow(trace);
		check_allocations(6, 18);
	}
	free(first);
	free(file);
}
END_TEST

/* Damage of any kind: no crash, no hang, sums that add up. */

/* Cut off at every byte. What has been read never grows less as there is more of the file. */
START_TEST(test_truncated)
{
	const uint8_t *bytes;
	size_t length;
	uint64_t events_before = 0;
	struct read_all result;

	golden_all_records(b);
	bytes = build_bytes(b, &length);
	for (size_t n = 0; n < length; n++) {
		result = read_all(bytes, n);
		ck_assert_int_eq(result.opened, n > sizeof(struct ml_header));
		ck_assert_uint_ge(result.events, events_before);
		events_before = result.events;
	}
	result = read_all(bytes, length);
	ck_assert_uint_eq(result.warnings, 0);
	ck_assert_uint_gt(result.events, 50);
}
END_TEST

START_TEST(test_flipped)
{
	uint64_t seed = (uint64_t)_i + 1;
	size_t length;
	uint8_t *bytes;

	golden_all_records(b);
	bytes = copy_built(&length);
	for (int i = 0; i < 1000; i++) {
		uint8_t old[8];
		size_t at[8], flips;
		seed = seed * 6364136223846793005u + 1442695040888963407u;
		flips = 1 + (seed >> 60) % 8;
		for (size_t k = 0; k < flips; k++) {
			seed = seed * 6364136223846793005u + 1442695040888963407u;
			at[k] = (seed >> 20) % length;
			old[k] = bytes[at[k]];
			bytes[at[k]] ^= (uint8_t)(1 + (seed >> 56) % 255);
		}
		read_all(bytes, length);
		while (flips--)
			bytes[at[flips]] = old[flips];
	}
	free(bytes);
}
END_TEST

/* Each word of the file in turn replaced by one of a few extreme values. */
START_TEST(test_extreme_words)
{
	static const uint64_t extreme[] = {0,
					   1,
					   UINT64_MAX,
					   INT64_MAX,
					   (uint64_t)INT64_MIN,
					   0xffffffff,
					   0xfffffffffffffff8,
					   ML_PIECE_STATE(0, UINT32_MAX)};
	size_t length;
	uint8_t *bytes, old[8];

	golden_all_records(b);
	bytes = copy_built(&length);
	for (size_t at = 0; at + 8 <= length; at += 8) {
		memcpy(old, bytes + at, 8);
		memcpy(bytes + at, &extreme[_i], 8);
		read_all(bytes, length);
		memcpy(bytes + at, old, 8);
	}
	free(bytes);
}
END_TEST

/* A file that is nearly all hole: what it claims to hold costs neither memory nor time. */
START_TEST(test_sparse)
{
	struct ml_extent entry[4] = {
		{1u << 20, 1ull << 40, ML_EXTENT_META, 0, 0},
		{(1ull << 41), 1ull << 40, ML_EXTENT_DEFS, 0, 0},
		{(1ull << 42), 16u << 20, ML_EXTENT_NODES, 1, 0},
		{(1ull << 42) + (1u << 25), 16u << 20, ML_EXTENT_DIRECTORY, 0, 0},
	};
	const uint8_t *bytes;
	size_t length;
	int fd;

	bytes = build_bytes(b, &length);
	build_save(path, bytes, length);
	fd = open(path, O_RDWR);
	ck_assert_int_eq(pwrite(fd, entry, sizeof entry, sizeof(struct ml_header)), sizeof entry);
	ck_assert_int_eq(ftruncate(fd, 1ll << 43), 0);
	close(fd);
	trace = ml_load_open(path, &(char *){NULL});
	ck_assert_ptr_nonnull(trace);
	ck_assert_uint_eq(trace->nodes_n, 1);
	ck_assert_uint_eq(trace->meta_n, 0);
}
END_TEST

/* What can't be a count is left out and told; so is what is of no code object. */
START_TEST(test_counts)
{
	uint32_t code = build_code(b, "/srv/app.py", "main", 1, NULL, 0);
	char text[256];

	open_built();
	ck_assert(!trace->counts_lines);
	build_count(b, code, 7, 3);
	build_count(b, code, 8, 0);
	build_count(b, code, 9, ML_COUNT_MAX + 1);
	open_built();
	ck_assert(trace->counts_lines);
	ck_assert_uint_eq(trace->counts_n, 2);
	ck_assert_uint_eq(trace->counts[0].line, 7);
	ck_assert_uint_eq(trace->counts[0].count, 3);
	ck_assert_uint_eq(trace->counts[1].line, 9);
	ck_assert(!ml_load_warning(trace, 0, text, sizeof text));
	build_count(b, code, 0, 1);
	build_count(b, code, UINT32_MAX, 1);
	build_count(b, code + 1, 7, 1);
	build_count(b, code, 10, ML_COUNT_MAX + 2);
	build_count(b, code, 11, 1);
	open_built();
	ck_assert_uint_eq(trace->counts_n, 3);
	ck_assert_uint_eq(trace->counts[2].line, 11);
	ck_assert(ml_load_warning(trace, 0, text, sizeof text));
	ck_assert_ptr_nonnull(strstr(text, "damaged counts of how often lines ran: 4"));
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("load");
	TCase *tests = tcase_create("load");
	SRunner *runner = srunner_create(suite);
	int failed;

	tcase_add_checked_fixture(tests, setup, teardown);
	tcase_set_timeout(tests, 120);
	tcase_add_test(tests, test_unreadable);
	tcase_add_test(tests, test_no_file);
	tcase_add_test(tests, test_meta);
	tcase_add_test(tests, test_meta_cut_off);
	tcase_add_test(tests, test_definitions);
	tcase_add_test(tests, test_definitions_damaged);
	tcase_add_test(tests, test_nodes);
	tcase_add_test(tests, test_nodes_damaged);
	tcase_add_test(tests, test_nodes_far);
	tcase_add_test(tests, test_directory_chain);
	tcase_add_test(tests, test_directory_damaged);
	tcase_add_test(tests, test_turns);
	tcase_add_test(tests, test_many_rings);
	tcase_add_test(tests, test_time);
	tcase_add_test(tests, test_ring_wins);
	tcase_add_test(tests, test_piece_damaged);
	tcase_add_test(tests, test_warnings);
	tcase_add_test(tests, test_dropped);
	tcase_add_test(tests, test_open_meta);
	tcase_add_test(tests, test_running);
	tcase_add_test(tests, test_followed);
	tcase_add_test(tests, test_followed_definitions);
	tcase_add_test(tests, test_followed_appending);
	tcase_add_test(tests, test_truncated);
	tcase_add_loop_test(tests, test_flipped, 0, 10);
	tcase_add_loop_test(tests, test_extreme_words, 0, 8);
	tcase_add_test(tests, test_counts);
	tcase_add_test(tests, test_sparse);
	suite_add_tcase(suite, tests);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
