#include "report/check.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "tests/report/build_trace.h"

#define A 0x7f0000000000u
#define ANON (MAP_PRIVATE | MAP_ANONYMOUS)

/* A trace with one node under construction, and what check says of it. */
static struct build *b;
static struct build_ring *ring;
static uint32_t node;
static struct ml_trace *trace;
static struct ml_check check;
static char path[64], *text;

static void setup(void)
{
	b = build_new();
	node = build_node(b, 0, ML_NODE_PYTHON, build_code(b, "/srv/app.py", "main", 1, NULL, 0), 0);
	ring = build_ring(b, 100);
	trace = NULL;
	text = NULL;
	snprintf(path, sizeof path, "/tmp/memline-test-check-%d", (int)getpid());
}

static void teardown(void)
{
	ml_load_close(trace);
	build_done(b);
	free(text);
}

static void run_bytes(const void *bytes, size_t length)
{
	size_t text_bytes;
	char *error;
	FILE *out;

	free(text);
	ml_load_close(trace);
	build_save(path, bytes, length);
	trace = ml_load_open(path, &error);
	unlink(path);
	if (!trace)
		ck_abort_msg("%s", error);
	ml_check_run(&check, trace, NULL, NULL);
	out = open_memstream(&text, &text_bytes);
	ml_check_print(&check, trace, out);
	fclose(out);
}

static void run(void)
{
	size_t length;
	const uint8_t *bytes = build_bytes(b, &length);

	run_bytes(bytes, length);
}

static unsigned lines(void)
{
	unsigned n = 0;

	for (const char *c = text; *c; c++)
		n += *c == '\n';
	return n;
}

/* These many of this kind, and nothing else that is wrong. */
static void expect(enum ml_check_kind kind, uint64_t count, uint64_t address)
{
	for (int i = 0; i < ML_CHECKS; i++)
		if (i != ML_CHECK_UNSEEN)
			ck_assert_uint_eq(check.counts[i].count, i == (int)kind ? count : 0);
	ck_assert_uint_eq(check.counts[kind].count, count);
	ck_assert_uint_eq(check.counts[kind].address, address);
	ck_assert(!ml_check_sound(&check, trace));
	ck_assert_uint_eq(lines(), 1);
}

static void expect_sound(uint64_t unseen)
{
	ck_assert_msg(ml_check_sound(&check, trace), "%s", text);
	ck_assert_uint_eq(check.counts[ML_CHECK_UNSEEN].count, unseen);
	ck_assert_ptr_nonnull(strstr(text, ": sound, "));
	ck_assert_uint_eq(lines(), unseen ? 2 : 1);
}

static void put(enum ml_record record, enum ml_outcome outcome, uint64_t address, uint64_t bytes)
{
	build_event(ring,
		    &(struct ml_event){
			    .record = record, .outcome = outcome, .node = node, .address = address, .bytes = bytes});
}

/* All that a program may do. */
START_TEST(test_sound)
{
	struct build_ring *other = build_ring(b, 101);

	build_alloc(ring, ML_DOMAIN_OBJ, node, A, 10);
	build_realloc(ring, ML_DOMAIN_OBJ, node, A, A, 20);
	build_realloc(ring, ML_DOMAIN_OBJ, node, A, A + 64, 30);
	build_alloc(other, ML_DOMAIN_C, node, A, 10);
	put(ML_RECORD_REALLOC_BEGIN, ML_OUTCOME_DONE, A, 0);
	put(ML_RECORD_REALLOC_END, ML_OUTCOME_FAILED, 0, 0);
	build_free(other, ML_DOMAIN_C, node, A);
	put(ML_RECORD_REALLOC_BEGIN, ML_OUTCOME_DONE, A + 64, 0);
	put(ML_RECORD_REALLOC_END, ML_OUTCOME_FREED, 0, 0);
	build_alloc(ring, ML_DOMAIN_C, node, A + 64, 0);
	build_free(ring, ML_DOMAIN_C, node, A + 64);
	build_map(ring, node, A, 8192, PROT_READ | PROT_WRITE, ANON);
	build_map(ring, node, A, 4096, PROT_READ | PROT_WRITE, ANON | MAP_FIXED);
	build_unmap(ring, node, A, 8192);
	put(ML_RECORD_UNMAP_BEGIN, ML_OUTCOME_DONE, UINT64_MAX - 4095, 65536);
	put(ML_RECORD_UNMAP_END, ML_OUTCOME_FAILED, 0, 0);
	run();
	ck_assert_uint_eq(check.events, 19);
	expect_sound(0);
}
END_TEST

START_TEST(test_live)
{
	build_alloc(ring, ML_DOMAIN_C, node, A, 10);
	build_alloc(ring, ML_DOMAIN_C, node, A + 16, 10);
	build_alloc(ring, ML_DOMAIN_C, node, A + 16, 10);
	build_realloc(ring, ML_DOMAIN_C, node, A + 16, A, 10);
	run();
	expect(ML_CHECK_LIVE, 2, A + 16);
}
END_TEST

START_TEST(test_live_range)
{
	build_map(ring, node, A, 8192, PROT_READ | PROT_WRITE, ANON);
	build_map(ring, node, A + 4096, 8192, PROT_READ | PROT_WRITE, ANON);
	run();
	expect(ML_CHECK_LIVE, 1, A + 4096);
}
END_TEST

START_TEST(test_gone)
{
	build_alloc(ring, ML_DOMAIN_C, node, A, 10);
	build_free(ring, ML_DOMAIN_C, node, A);
	build_free(ring, ML_DOMAIN_C, node, A);
	build_free(ring, ML_DOMAIN_C, node, A);
	run();
	expect(ML_CHECK_GONE, 2, A);
}
END_TEST

START_TEST(test_gone_realloc)
{
	build_alloc(ring, ML_DOMAIN_C, node, A, 10);
	build_realloc(ring, ML_DOMAIN_C, node, A, A + 32, 10);
	build_realloc(ring, ML_DOMAIN_C, node, A, A + 64, 10);
	run();
	expect(ML_CHECK_GONE, 1, A);
}
END_TEST

/* A realloc that failed leaves a block that is gone as gone as it was. */
START_TEST(test_gone_failed)
{
	build_alloc(ring, ML_DOMAIN_C, node, A, 10);
	build_free(ring, ML_DOMAIN_C, node, A);
	put(ML_RECORD_REALLOC_BEGIN, ML_OUTCOME_DONE, A, 0);
	put(ML_RECORD_REALLOC_END, ML_OUTCOME_FAILED, 0, 0);
	run();
	expect_sound(0);
	build_free(ring, ML_DOMAIN_C, node, A);
	run();
	expect(ML_CHECK_GONE, 1, A);
}
END_TEST

/* Blocks from before recording may be freed once, ranges be unmapped at any time. */
START_TEST(test_unseen)
{
	build_free(ring, ML_DOMAIN_C, node, A);
	build_realloc(ring, ML_DOMAIN_C, node, A + 32, A + 64, 10);
	build_unmap(ring, node, A + 4096, 4096);
	build_unmap(ring, node, A + 4096, 4096);
	run();
	expect_sound(4);
	ck_assert_uint_eq(check.counts[ML_CHECK_UNSEEN].address, A);
	build_free(ring, ML_DOMAIN_C, node, A + 32);
	run();
	ck_assert_uint_eq(check.counts[ML_CHECK_GONE].count, 1);
	ck_assert(!ml_check_sound(&check, trace));
}
END_TEST

START_TEST(test_orphan_end)
{
	build_alloc(ring, ML_DOMAIN_C, node, A, 10);
	put(ML_RECORD_REALLOC_BEGIN, ML_OUTCOME_DONE, A, 0);
	put(ML_RECORD_UNMAP_END, ML_OUTCOME_DONE, 0, 0);
	run();
	expect(ML_CHECK_ORPHAN_END, 1, 0);
}
END_TEST

START_TEST(test_range)
{
	build_alloc(ring, ML_DOMAIN_C, node, A, UINT64_MAX - A + 1);
	build_alloc(ring, ML_DOMAIN_C, node, 0, 10);
	run();
	expect(ML_CHECK_RANGE, 2, A);
}
END_TEST

START_TEST(test_definitions)
{
	build_node(b, node, ML_NODE_MARK, ML_MARK_DEEPER, 0);
	build_node(b, node, ML_NODE_NATIVE, 0, 4711);
	run();
	expect_sound(0);
	build_node(b, node, ML_NODE_PYTHON, 1, 0);
	run();
	expect(ML_CHECK_CODE, 1, 4);
	ck_assert_ptr_nonnull(strstr(text, "; the first: node 4\n"));
	build_node(b, node, ML_NODE_NATIVE, 1, 0);
	run();
	ck_assert_uint_eq(check.counts[ML_CHECK_MODULE].count, 1);
	ck_assert_uint_eq(check.counts[ML_CHECK_MODULE].address, 5);
}
END_TEST

/* The line says where: what dump prints of that offset. */
START_TEST(test_place)
{
	char place[128];
	uint64_t at;

	build_ring(b, 101);
	ring = build_ring(b, 102);
	build_alloc(ring, ML_DOMAIN_C, node, A, 10);
	build_flush(ring);
	build_alloc(ring, ML_DOMAIN_C, node, A, 10);
	run();
	expect(ML_CHECK_LIVE, 1, A);
	at = check.counts[ML_CHECK_LIVE].offset;
	ck_assert_uint_ne(at, 0);
	snprintf(place, sizeof place, "; the first: 0x7f0000000000, ring 2, piece 1, offset %llu\n",
		 (unsigned long long)at);
	ck_assert_ptr_nonnull(strstr(text, place));
}
END_TEST

/* The first byte of the newest piece's events in the ring: a BASE with its turn and time in a byte each. */
static size_t base_of(uint32_t id)
{
	run();
	for (size_t i = 0; i < trace->extents_n; i++)
		if (trace->extents[i].kind == ML_EXTENT_RING && trace->extents[i].id == id)
			return trace->extents[i].offset + sizeof(struct ml_piece);
	ck_abort_msg("no such ring");
}

/* The trace with one byte of that piece made another: the reader's damage of this kind is all that is found. */
static void expect_damage(enum ml_damage kind, size_t at, uint8_t was, uint8_t is)
{
	size_t length;
	const uint8_t *bytes = build_bytes(b, &length);
	uint8_t *copy = malloc(length);

	memcpy(copy, bytes, length);
	ck_assert_uint_eq(copy[at], was);
	copy[at] = is;
	run_bytes(copy, length);
	free(copy);
	for (int i = 0; i < ML_DAMAGES; i++)
		ck_assert_uint_eq(trace->damage[i].count, i == (int)kind ? 1 : 0);
	ck_assert(!ml_check_sound(&check, trace));
	ck_assert_uint_eq(lines(), 1);
	ck_assert_ptr_nonnull(strstr(text, ml_load_damage_text(kind)));
	ck_assert_ptr_nonnull(strstr(text, "; the first, ring "));
}

START_TEST(test_backwards)
{
	struct build_ring *other = build_ring(b, 101);
	size_t base;

	build_alloc(ring, ML_DOMAIN_C, node, A, 10);
	build_alloc(other, ML_DOMAIN_C, node, A + 32, 10);
	build_time(ring, 5, 0);
	build_flush(ring);
	build_alloc(ring, ML_DOMAIN_C, node, A + 64, 10);
	base = base_of(0);
	expect_sound(0);
	expect_damage(ML_DAMAGE_TURN, base + 1, 3, 1);
	expect_damage(ML_DAMAGE_TIME, base + 2, 5, 4);
}
END_TEST

START_TEST(test_turn_of_two)
{
	struct build_ring *other = build_ring(b, 101);
	size_t base, length;
	uint8_t *copy;

	build_alloc(ring, ML_DOMAIN_C, node, A, 10);
	build_alloc(other, ML_DOMAIN_C, node, A + 32, 10);
	base = base_of(1);
	expect_sound(0);
	/* BASE is four bytes; TURN +2 makes the turn of the event, and +1 that of the other ring. */
	expect_damage(ML_DAMAGE_TURN, base + 5, 2, 1);
	/* What stands before a ring's first turn belongs to none. */
	build_bytes(b, &length);
	copy = malloc(length);
	memcpy(copy, build_bytes(b, &length), length);
	copy[base + 5] = copy[base_of(0) + 5] = 0;
	run_bytes(copy, length);
	free(copy);
	expect_sound(0);
}
END_TEST

START_TEST(test_gap)
{
	size_t base;

	for (uint64_t i = 0; i < 3; i++) {
		build_alloc(ring, ML_DOMAIN_C, node, A + i * 32, 10);
		build_flush(ring);
	}
	build_alloc(ring, ML_DOMAIN_C, node, A + 256, 10);
	base = base_of(0);
	/* The number of the piece is the upper half of the state. */
	expect_damage(ML_DAMAGE_MISSING, base - sizeof(struct ml_piece) + 4, 3, 4);
}
END_TEST

START_TEST(test_lost)
{
	build_alloc(ring, ML_DOMAIN_C, node, A, 10);
	build_header(b)->counter[ML_COUNTER_DROPPED_SIGNAL] = 3;
	run();
	expect_sound(0);
	build_alloc(ring, ML_DOMAIN_C, node, A, 10);
	run();
	ck_assert_uint_eq(lines(), 2);
	ck_assert_ptr_nonnull(strstr(text, ": 3 events were not recorded, which may be why\n"));
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("check");
	TCase *tests = tcase_create("check");
	SRunner *runner = srunner_create(suite);
	int failed;

	tcase_add_checked_fixture(tests, setup, teardown);
	tcase_add_test(tests, test_sound);
	tcase_add_test(tests, test_live);
	tcase_add_test(tests, test_live_range);
	tcase_add_test(tests, test_gone);
	tcase_add_test(tests, test_gone_realloc);
	tcase_add_test(tests, test_gone_failed);
	tcase_add_test(tests, test_unseen);
	tcase_add_test(tests, test_orphan_end);
	tcase_add_test(tests, test_range);
	tcase_add_test(tests, test_definitions);
	tcase_add_test(tests, test_place);
	tcase_add_test(tests, test_backwards);
	tcase_add_test(tests, test_turn_of_two);
	tcase_add_test(tests, test_gap);
	tcase_add_test(tests, test_lost);
	suite_add_tcase(suite, tests);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
