#include "report/fold.h"

#include <check.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "tests/report/build_trace.h"
#include "tests/report/replay.h"

#define PAGE 4096u
#define ANON (MAP_PRIVATE | MAP_ANONYMOUS)
#define RW (PROT_READ | PROT_WRITE)
#define A 0x7f0000000000u

/* A trace under construction, with five nodes (1 to 5) and two of the recorder's own (6 and 7), and what was folded
   from it. */
static struct build *b;
static struct build_ring *ring;
static struct ml_fold *fold;
static struct ml_fold_options options;
static struct ml_live lives[8]; /* what was live in the end, as far as it was asked for */
static size_t lives_n;

static void take_live(void *context, const struct ml_live *l)
{
	(void)context;
	ck_assert_uint_lt(lives_n, sizeof lives / sizeof *lives);
	lives[lives_n++] = *l;
}

static void setup(void)
{
	uint32_t code;

	b = build_new();
	code = build_code(b, "/srv/app.py", "main", 1, NULL, 0);
	for (int i = 0; i < 5; i++)
		build_node(b, 0, ML_NODE_PYTHON, code, i);
	build_node(b, build_node(b, 0, ML_NODE_MARK, ML_MARK_MEMLINE, 0), ML_NODE_NATIVE, 0, 0x1000);
	ring = build_ring(b, 100);
	fold = NULL;
	options = (struct ml_fold_options){.to_ns = UINT64_MAX};
}

static void teardown(void)
{
	ml_fold_free(fold);
	build_done(b);
}

static struct ml_trace *open_trace(void)
{
	char path[64], *error;
	struct ml_trace *t;

	snprintf(path, sizeof path, "/tmp/memline-test-fold-%d", (int)getpid());
	build_write(b, path);
	t = ml_load_open(path, &error);
	unlink(path);
	if (!t)
		ck_abort_msg("%s", error);
	return t;
}

static void check_no_warning(const struct ml_trace *t)
{
	char text[256];

	ck_assert_msg(!ml_load_warning(t, 0, text, sizeof text), "%s", text);
}

/* Folds the trace as it was built so far, and holds the sums over the nodes against the totals. */
static void run(void)
{
	struct ml_trace *t = open_trace();
	uint64_t increment = 0, live = 0, blocks = 0, peak = 0;

	ml_fold_free(fold);
	fold = ml_fold_run(t, &options, NULL, NULL);
	check_no_warning(t);
	ml_load_close(t);
	for (uint32_t i = 0; i < fold->nodes_n; i++) {
		increment += fold->nodes[i].allocated_bytes - fold->nodes[i].freed_bytes;
		live += fold->nodes[i].live_bytes;
		blocks += fold->nodes[i].live_blocks;
		peak += fold->nodes[i].peak_bytes;
	}
	ck_assert_uint_eq(live, fold->totals.live_bytes);
	ck_assert_uint_eq(blocks, fold->totals.live_blocks);
	ck_assert_uint_eq(peak, fold->totals.peak_bytes);
	if (!options.tid)
		ck_assert_uint_eq(increment, fold->totals.live_bytes - fold->totals.start_live_bytes);
}

static void check_live(uint64_t bytes, uint64_t blocks)
{
	ck_assert_uint_eq(fold->totals.live_bytes, bytes);
	ck_assert_uint_eq(fold->totals.live_blocks, blocks);
}

static void check_counts(uint64_t allocated, uint64_t allocations, uint64_t freed, uint64_t frees)
{
	ck_assert_uint_eq(fold->totals.allocated_bytes, allocated);
	ck_assert_uint_eq(fold->totals.allocations, allocations);
	ck_assert_uint_eq(fold->totals.freed_bytes, freed);
	ck_assert_uint_eq(fold->totals.frees, frees);
}

static void check_node(uint32_t node, int64_t increment, uint64_t live, uint64_t blocks, uint64_t peak)
{
	ck_assert_int_eq(ml_tally_increment(&fold->nodes[node]), increment);
	ck_assert_uint_eq(fold->nodes[node].live_bytes, live);
	ck_assert_uint_eq(fold->nodes[node].live_blocks, blocks);
	ck_assert_uint_eq(fold->nodes[node].peak_bytes, peak);
}

static void check_classes(uint64_t anonymous, uint64_t file, uint64_t reserved)
{
	ck_assert_uint_eq(fold->totals.anonymous_bytes, anonymous);
	ck_assert_uint_eq(fold->totals.file_bytes, file);
	ck_assert_uint_eq(fold->totals.reserved_bytes, reserved);
}

static void put(enum ml_record record, uint32_t node, uint64_t address, uint64_t bytes)
{
	build_event(ring, &(struct ml_event){.record = record, .node = node, .address = address, .bytes = bytes});
}

static void put_end(enum ml_record record, enum ml_outcome outcome, uint64_t address, uint64_t bytes)
{
	build_event(ring, &(struct ml_event){.record = record, .outcome = outcome, .address = address, .bytes = bytes});
}

START_TEST(test_nothing)
{
	run();
	check_live(0, 0);
	check_counts(0, 0, 0, 0);
	ck_assert_uint_eq(fold->totals.events, 0);
	ck_assert_uint_eq(fold->totals.peak_bytes, 0);
	ck_assert(!fold->totals.finalized);
}
END_TEST

/* The block is its allocator's; the free is the acting node's. */
START_TEST(test_alloc_free)
{
	build_alloc(ring, ML_DOMAIN_OBJ, 1, 0x1000, 100);
	build_alloc(ring, ML_DOMAIN_C, 2, 0x1010, 50);
	build_free(ring, ML_DOMAIN_OBJ, 3, 0x1000);
	run();
	check_live(50, 1);
	check_counts(150, 2, 100, 1);
	check_node(1, 100, 0, 0, 100);
	check_node(2, 50, 50, 1, 50);
	check_node(3, -100, 0, 0, 0);
	ck_assert_uint_eq(fold->totals.peak_bytes, 150);
	ck_assert_uint_eq(fold->nodes[1].last_sequence, 1);
	ck_assert_uint_eq(fold->nodes[1].last_live_bytes, 100);
	ck_assert_uint_eq(fold->nodes[3].last_sequence, 3);
	ck_assert_uint_eq(fold->nodes[3].last_live_bytes, 50);
}
END_TEST

/* Blocks of no bytes are blocks. */
START_TEST(test_zero_bytes)
{
	build_alloc(ring, ML_DOMAIN_C, 1, 0x1000, 0);
	run();
	check_live(0, 1);
	build_free(ring, ML_DOMAIN_C, 1, 0x1000);
	run();
	check_live(0, 0);
	check_counts(0, 1, 0, 1);
	ck_assert_uint_eq(fold->totals.unknown_frees, 0);
}
END_TEST

START_TEST(test_realloc)
{
	build_alloc(ring, ML_DOMAIN_C, 1, 0x1000, 100);
	build_realloc(ring, ML_DOMAIN_C, 2, 0x1000, 0x2000, 130);
	run();
	check_live(130, 1);
	check_counts(230, 2, 100, 1);
	check_node(1, 100, 0, 0, 0);
	check_node(2, 30, 130, 1, 130);
	ck_assert_uint_eq(fold->totals.peak_bytes, 130); /* not both at once */
	build_realloc(ring, ML_DOMAIN_C, 3, 0x2000, 0x2000, 30);
	build_free(ring, ML_DOMAIN_C, 3, 0x2000);
	run();
	check_live(0, 0);
	check_node(3, -130, 0, 0, 0);
	ck_assert_uint_eq(fold->totals.unknown_frees + fold->totals.missed_frees, 0);
}
END_TEST

START_TEST(test_realloc_failed)
{
	build_alloc(ring, ML_DOMAIN_C, 1, 0x1000, 100);
	put(ML_RECORD_REALLOC_BEGIN, 2, 0x1000, 0);
	put_end(ML_RECORD_REALLOC_END, ML_OUTCOME_FAILED, 0, 0);
	run();
	check_live(100, 1);
	check_counts(100, 1, 0, 0);
	check_node(2, 0, 0, 0, 0);
	build_free(ring, ML_DOMAIN_C, 2, 0x1000);
	run();
	check_counts(100, 1, 100, 1);
}
END_TEST

/* realloc(p, 0) that frees; realloc(NULL, n); realloc of a block that we never saw, which may fail. */
START_TEST(test_realloc_ends)
{
	build_alloc(ring, ML_DOMAIN_C, 1, 0x1000, 100);
	put(ML_RECORD_REALLOC_BEGIN, 2, 0x1000, 0);
	put_end(ML_RECORD_REALLOC_END, ML_OUTCOME_FREED, 0, 0);
	build_realloc(ring, ML_DOMAIN_C, 3, 0, 0x3000, 7);
	run();
	check_live(7, 1);
	check_counts(107, 2, 100, 1);
	ck_assert_uint_eq(fold->totals.unknown_frees, 0);
	put(ML_RECORD_REALLOC_BEGIN, 4, 0x5000, 0);
	put_end(ML_RECORD_REALLOC_END, ML_OUTCOME_FAILED, 0, 0);
	run();
	ck_assert_uint_eq(fold->totals.unknown_frees, 0);
	build_realloc(ring, ML_DOMAIN_C, 4, 0x5000, 0x6000, 9);
	run();
	check_live(16, 2);
	check_counts(116, 3, 100, 1);
	ck_assert_uint_eq(fold->totals.unknown_frees, 1);
}
END_TEST

/* A BEGIN whose END is not there did not happen, but until the trace's end nobody can know. */
START_TEST(test_pending)
{
	struct build_ring *other = build_ring(b, 101);

	build_alloc(ring, ML_DOMAIN_C, 1, 0x1000, 100);
	put(ML_RECORD_REALLOC_BEGIN, 2, 0x1000, 0);
	/* meanwhile another thread gets the address, which the real realloc has freed, and gives it back */
	build_alloc(other, ML_DOMAIN_C, 3, 0x1000, 10);
	build_free(other, ML_DOMAIN_C, 3, 0x1000);
	run();
	check_live(100, 1);
	check_counts(110, 2, 10, 1);
	ck_assert_uint_eq(fold->totals.missed_frees + fold->totals.unknown_frees, 0);
	ck_assert_uint_eq(fold->totals.peak_bytes, 110);
	put_end(ML_RECORD_REALLOC_END, ML_OUTCOME_DONE, 0x2000, 60);
	run();
	check_live(60, 1);
	ck_assert_uint_eq(fold->totals.missed_frees + fold->totals.unknown_frees, 0);
}
END_TEST

/* The process was killed within a realloc and a munmap, behind the real ones: others already have their place. */
START_TEST(test_taken_since)
{
	struct build_ring *other = build_ring(b, 101), *third = build_ring(b, 102);

	build_alloc(ring, ML_DOMAIN_C, 1, 0x1000, 100);
	build_map(ring, 1, A, 10 * PAGE, RW, ANON);
	put(ML_RECORD_REALLOC_BEGIN, 2, 0x1000, 0);
	build_event(other, &(struct ml_event){
				   .record = ML_RECORD_UNMAP_BEGIN, .node = 3, .address = A + PAGE, .bytes = 8 * PAGE});
	build_alloc(third, ML_DOMAIN_C, 4, 0x1000, 7);
	build_map(third, 4, A + 3 * PAGE, 2 * PAGE, RW, ANON);
	build_map(third, 4, A + 5 * PAGE, PAGE, RW, ANON);
	run();
	check_live(7 + 10 * PAGE, 5);
	check_node(1, 100 + 10 * PAGE, 7 * PAGE, 2, 100 + 10 * PAGE);
	check_node(2, -100, 0, 0, 0);
	check_node(3, -3 * (int64_t)PAGE, 0, 0, 0);
	check_node(4, 7 + 3 * PAGE, 7 + 3 * PAGE, 3, 7 + 3 * PAGE);
	ck_assert_uint_eq(fold->totals.missed_frees + fold->totals.unknown_frees, 0);
}
END_TEST

/* What failed costs the same whatever it would have taken: a trace of a million such calls must not take hours. */
START_TEST(test_failed_is_cheap)
{
	for (uint64_t i = 0; i < 30000; i++)
		build_map(ring, 1, A + i * 2 * PAGE, PAGE, RW, ANON);
	for (int i = 0; i < 30000; i++) {
		put(ML_RECORD_UNMAP_BEGIN, 2, A, 60000 * (uint64_t)PAGE);
		put_end(ML_RECORD_UNMAP_END, ML_OUTCOME_FAILED, 0, 0);
	}
	run();
	check_live(30000 * (uint64_t)PAGE, 30000);
}
END_TEST

/* ENDs without their BEGIN, of another kind or another thread's: counted, and nothing else. */
START_TEST(test_orphans)
{
	build_alloc(ring, ML_DOMAIN_C, 1, 0x1000, 100);
	put_end(ML_RECORD_REALLOC_END, ML_OUTCOME_DONE, 0x2000, 60);
	put_end(ML_RECORD_UNMAP_END, ML_OUTCOME_DONE, 0, 0);
	put(ML_RECORD_REALLOC_BEGIN, 1, 0x1000, 0);
	put_end(ML_RECORD_REMAP_END, ML_OUTCOME_DONE, A, 60);
	build_owner(ring, 200);
	put_end(ML_RECORD_REALLOC_END, ML_OUTCOME_DONE, 0x2000, 60);
	run();
	ck_assert_uint_eq(fold->totals.orphan_ends, 4);
	check_live(100, 1);
	check_counts(100, 1, 0, 0);
}
END_TEST

START_TEST(test_unknown_and_missed)
{
	build_free(ring, ML_DOMAIN_C, 1, 0x1000);
	build_alloc(ring, ML_DOMAIN_C, 2, 0x1000, 100);
	build_alloc(ring, ML_DOMAIN_C, 3, 0x1000, 40);
	run();
	check_live(40, 1);
	check_counts(140, 2, 100, 1);
	ck_assert_uint_eq(fold->totals.unknown_frees, 1);
	ck_assert_uint_eq(fold->totals.missed_frees, 1);
	check_node(2, 100, 0, 0, 100);
	check_node(3, -60, 40, 1, 0);
}
END_TEST

/* Addresses that differ only in their low bits, and the two ends of the address space. */
START_TEST(test_addresses)
{
	static const uint64_t address[] = {0, 1, 15, 16, 17, 0x7fffffffffff, UINT64_MAX - 1, UINT64_MAX};
	enum { N = sizeof address / sizeof *address };

	for (uint32_t i = 0; i < N; i++)
		build_alloc(ring, ML_DOMAIN_C, 1, address[i], 1u << i);
	run();
	check_live((1u << N) - 1, N);
	for (uint32_t i = 0; i < N; i += 2)
		build_free(ring, ML_DOMAIN_C, 2, address[i]);
	run();
	check_live(0xaa, N / 2);
	ck_assert_uint_eq(fold->totals.unknown_frees + fold->totals.missed_frees, 0);
}
END_TEST

/* A node's peak is what it held at the process's high-water mark, not its own highest. */
START_TEST(test_peak)
{
	build_alloc(ring, ML_DOMAIN_C, 1, 0x1000, 100);
	build_free(ring, ML_DOMAIN_C, 1, 0x1000);
	build_alloc(ring, ML_DOMAIN_C, 2, 0x2000, 30);
	build_time(ring, 5000, 0);
	build_alloc(ring, ML_DOMAIN_C, 3, 0x3000, 90);
	build_time(ring, 7000, 0);
	build_alloc(ring, ML_DOMAIN_C, 3, 0x3000 + 16, 0);
	build_free(ring, ML_DOMAIN_C, 3, 0x3000);
	build_alloc(ring, ML_DOMAIN_C, 4, 0x4000, 90); /* as high again: the first time counts */
	run();
	ck_assert_uint_eq(fold->totals.peak_bytes, 120);
	ck_assert_uint_eq(fold->totals.peak_ns, 5000);
	check_node(1, 0, 0, 0, 0);
	check_node(2, 30, 30, 1, 30);
	check_node(3, 0, 0, 1, 90);
	check_node(4, 90, 90, 1, 0);
	ck_assert_uint_eq(fold->nodes[3].peak_blocks, 1);
}
END_TEST

/* What is left of 10 pages after parts of 1 or 2 have been taken from a mapping of 2, 4, 5, 8. */
START_TEST(test_munmap_arithmetic)
{
	static const struct {
		unsigned pages, from, length, left, blocks;
	} cases[] = {
		{2, 0, 1, 11, 2}, {2, 1, 1, 11, 2}, {4, 0, 2, 12, 2}, {4, 1, 2, 12, 3},
		{5, 3, 2, 13, 2}, {5, 2, 2, 13, 3}, {8, 7, 1, 17, 2}, {8, 3, 1, 17, 3},
	};
	uint64_t start = A + (unsigned)_i * 100 * PAGE;

	build_map(ring, 1, start, cases[_i].pages * PAGE, RW, ANON);
	build_unmap(ring, 2, start + cases[_i].from * PAGE, cases[_i].length * PAGE);
	build_map(ring, 3, start + 50 * PAGE, 10 * PAGE - 1, RW, ANON); /* rounded up */
	run();
	check_live(cases[_i].left * PAGE, cases[_i].blocks);
	check_classes(cases[_i].left * PAGE, 0, 0);
	check_counts((cases[_i].pages + 10) * PAGE, 2, cases[_i].length * PAGE, 1);
	check_node(2, -(int64_t)(cases[_i].length * PAGE), 0, 0, 0);
	build_unmap(ring, 4, start, 100 * PAGE);
	run();
	check_live(0, 0);
	ck_assert_uint_eq(fold->totals.unknown_frees, 0);
}
END_TEST

/* One munmap over the end of one mapping, all of the second, a gap, and the start of the third. */
/* Who is live since when; what is reallocated is born anew, and what is cut stays as old as it is. */
START_TEST(test_births)
{
	options.births = true;
	build_alloc(ring, ML_DOMAIN_OBJ, 1, 0x1000, 100);
	build_alloc(ring, ML_DOMAIN_OBJ, 2, 0x2000, 200);
	build_map(ring, 3, A, 3 * PAGE, RW, ANON);
	build_time(ring, 5000000, 0);
	build_alloc(ring, ML_DOMAIN_RAW, 1, 0x3000, 300);
	build_time(ring, 9999999, 0);
	build_realloc(ring, ML_DOMAIN_MEM, 4, 0x2000, 0x4000, 400);
	build_unmap(ring, 5, A + PAGE, PAGE);
	build_free(ring, ML_DOMAIN_OBJ, 5, 0x1000);
	run();
	lives_n = 0;
	ml_fold_each_live(fold, take_live, NULL);
	ck_assert_uint_eq(lives_n, 4);
	for (size_t i = 0; i < lives_n; i++) {
		ck_assert_uint_eq(lives[i].born_ms, lives[i].node == 1 ? 5 : lives[i].node == 4 ? 9 : 0);
		ck_assert_uint_eq(lives[i].bytes, lives[i].node == 3 ? PAGE : lives[i].node == 1 ? 300 : 400);
		ck_assert_int_eq(lives[i].mapping, lives[i].node == 3);
	}
	ck_assert_uint_eq(fold->nodes[1].first_ns, 0);
	ck_assert_uint_eq(fold->nodes[4].first_ns, 9999999);
	ck_assert_uint_eq(fold->nodes_used, 5);
}
END_TEST

struct bell {
	struct ml_fold_clock clock;
	uint64_t ns[8];
	uint64_t live[8];
	size_t n;
};

static void ring_bell(struct ml_fold_clock *clock, const struct ml_fold *f, uint64_t ns)
{
	struct bell *bell = (struct bell *)clock;

	bell->ns[bell->n] = ns;
	bell->live[bell->n++] = f->totals.live_bytes;
	clock->next_ns = ns + 10;
}

/* The clock strikes before what happens at its time, and not before that. */
START_TEST(test_clock)
{
	struct bell bell = {.clock = {5, ring_bell}};

	options.clock = &bell.clock;
	build_alloc(ring, ML_DOMAIN_OBJ, 1, 0x1000, 1);
	build_time(ring, 4, 0);
	build_alloc(ring, ML_DOMAIN_OBJ, 1, 0x2000, 2);
	build_time(ring, 6, 0);
	build_alloc(ring, ML_DOMAIN_OBJ, 1, 0x3000, 4);
	build_time(ring, 15, 0);
	build_alloc(ring, ML_DOMAIN_OBJ, 1, 0x4000, 8);
	build_time(ring, 40, 0);
	build_alloc(ring, ML_DOMAIN_OBJ, 1, 0x5000, 16);
	run();
	ck_assert_uint_eq(bell.n, 2);
	ck_assert_uint_eq(bell.ns[0], 6);
	ck_assert_uint_eq(bell.live[0], 3);
	ck_assert_uint_eq(bell.ns[1], 40);
	ck_assert_uint_eq(bell.live[1], 15);
}
END_TEST

START_TEST(test_munmap_several)
{
	build_map(ring, 1, A, 4 * PAGE, RW, ANON);
	build_map(ring, 2, A + 4 * PAGE, 2 * PAGE, RW, ANON);
	build_map(ring, 3, A + 8 * PAGE, 4 * PAGE, RW, ANON);
	build_unmap(ring, 4, A + 3 * PAGE, 6 * PAGE);
	run();
	check_live(6 * PAGE, 2);
	check_counts(10 * PAGE, 3, 4 * PAGE, 3);
	check_node(1, 4 * PAGE, 3 * PAGE, 1, 4 * PAGE);
	check_node(2, 2 * PAGE, 0, 0, 2 * PAGE);
	check_node(3, 4 * PAGE, 3 * PAGE, 1, 4 * PAGE);
	check_node(4, -4 * (int64_t)PAGE, 0, 0, 0);
}
END_TEST

/* A munmap that failed leaves one block as one block. */
START_TEST(test_munmap_failed)
{
	build_map(ring, 1, A, 4 * PAGE, RW, ANON);
	put(ML_RECORD_UNMAP_BEGIN, 2, A + PAGE, 2 * PAGE);
	put_end(ML_RECORD_UNMAP_END, ML_OUTCOME_FAILED, 0, 0);
	run();
	check_live(4 * PAGE, 1);
	check_counts(4 * PAGE, 1, 0, 0);
	put(ML_RECORD_UNMAP_BEGIN, 2, A + PAGE, PAGE); /* never ends */
	run();
	check_live(4 * PAGE, 1);
	put_end(ML_RECORD_UNMAP_END, ML_OUTCOME_DONE, 0, 0);
	build_unmap(ring, 2, A, 4 * PAGE);
	run();
	check_live(0, 0);
	check_counts(4 * PAGE, 1, 4 * PAGE, 3);
	build_unmap(ring, 2, A, 4 * PAGE); /* of what is not there */
	run();
	ck_assert_uint_eq(fold->totals.unknown_frees, 1);
	check_counts(4 * PAGE, 1, 4 * PAGE, 3);
}
END_TEST

/* Of the pages between BEGIN and END another thread may already have got new ones. */
START_TEST(test_munmap_race)
{
	struct build_ring *other = build_ring(b, 101);

	build_map(ring, 1, A, 2 * PAGE, RW, ANON);
	put(ML_RECORD_UNMAP_BEGIN, 1, A, 2 * PAGE);
	build_map(other, 2, A, PAGE, RW, ANON);
	put_end(ML_RECORD_UNMAP_END, ML_OUTCOME_DONE, 0, 0);
	run();
	check_live(PAGE, 1);
	check_counts(3 * PAGE, 2, 2 * PAGE, 1);
	ck_assert_uint_eq(fold->totals.missed_frees + fold->totals.unknown_frees, 0);
}
END_TEST

START_TEST(test_map_fixed)
{
	build_map(ring, 1, A, 4 * PAGE, RW, ANON);
	build_map(ring, 2, A + PAGE, PAGE, RW, ANON | MAP_FIXED);
	run();
	check_live(4 * PAGE, 3);
	check_counts(5 * PAGE, 2, PAGE, 1);
	check_node(2, 0, PAGE, 1, 0);
	ck_assert_uint_eq(fold->totals.missed_frees, 0);
	build_map(ring, 3, A, 2 * PAGE, PROT_READ, MAP_PRIVATE | MAP_FIXED); /* a file over both */
	run();
	check_live(2 * PAGE, 1);
	check_classes(2 * PAGE, 2 * PAGE, 0);
	build_map(ring, 3, A + 3 * PAGE, PAGE, RW, ANON); /* not asked for: a munmap was missed */
	run();
	ck_assert_uint_eq(fold->totals.missed_frees, 1);
	check_live(2 * PAGE, 2);
}
END_TEST

/* Reservations and files are no memory; what is made writable of a reservation is, for good, and of the node that did
   it. */
START_TEST(test_reservation)
{
	build_map(ring, 1, A, 100 * PAGE, PROT_NONE, ANON | MAP_NORESERVE);
	build_map(ring, 1, A + 200 * PAGE, 10 * PAGE, RW, MAP_PRIVATE);
	run();
	check_live(0, 0);
	check_counts(0, 0, 0, 0);
	check_classes(0, 10 * PAGE, 100 * PAGE);
	build_event(ring, &(struct ml_event){.record = ML_RECORD_PROTECT,
					     .node = 2,
					     .address = A + 10 * PAGE,
					     .bytes = 5 * PAGE - 1,
					     .prot = RW});
	build_event(ring, &(struct ml_event){.record = ML_RECORD_PROTECT,
					     .node = 3,
					     .address = A + 200 * PAGE,
					     .bytes = 10 * PAGE,
					     .prot = RW});
	build_event(ring, &(struct ml_event){.record = ML_RECORD_PROTECT,
					     .node = 3,
					     .address = A + 10 * PAGE,
					     .bytes = 5 * PAGE,
					     .prot = PROT_NONE});
	run();
	check_live(5 * PAGE, 1);
	check_counts(5 * PAGE, 1, 0, 0);
	check_classes(5 * PAGE, 10 * PAGE, 95 * PAGE);
	check_node(2, 5 * PAGE, 5 * PAGE, 1, 5 * PAGE);
	check_node(3, 0, 0, 0, 0);
	build_event(ring,
		    &(struct ml_event){
			    .record = ML_RECORD_PROTECT, .node = 4, .address = A, .bytes = 20 * PAGE, .prot = RW});
	run();
	check_live(20 * PAGE, 3);
	check_node(4, 15 * PAGE, 15 * PAGE, 2, 15 * PAGE);
	build_unmap(ring, 5, A, 100 * PAGE);
	build_unmap(ring, 5, A + 200 * PAGE, 10 * PAGE);
	run();
	check_live(0, 0);
	check_counts(20 * PAGE, 3, 20 * PAGE, 3);
	check_classes(0, 0, 0);
}
END_TEST

static void put_remap(uint32_t node, uint64_t from, uint64_t old, uint64_t flags, uint64_t to, uint64_t bytes)
{
	build_event(
		ring,
		&(struct ml_event){
			.record = ML_RECORD_REMAP_BEGIN, .node = node, .address = from, .bytes = old, .flags = flags});
	put_end(ML_RECORD_REMAP_END, ML_OUTCOME_DONE, to, bytes);
}

START_TEST(test_mremap)
{
	build_map(ring, 1, A, 4 * PAGE, RW, ANON);
	put_remap(2, A, 4 * PAGE, MREMAP_MAYMOVE, A + 50 * PAGE, 6 * PAGE);
	run();
	check_live(6 * PAGE, 1);
	check_counts(10 * PAGE, 2, 4 * PAGE, 1);
	check_node(1, 4 * PAGE, 0, 0, 0);
	check_node(2, 2 * PAGE, 6 * PAGE, 1, 6 * PAGE);
	put_remap(3, A + 50 * PAGE, 6 * PAGE, 0, A + 50 * PAGE, PAGE + 1);
	run();
	check_live(2 * PAGE, 1);
	check_node(3, -4 * (int64_t)PAGE, 2 * PAGE, 1, 0);
	put(ML_RECORD_REMAP_BEGIN, 3, A + 50 * PAGE, PAGE);
	put_end(ML_RECORD_REMAP_END, ML_OUTCOME_FAILED, 0, 0);
	run();
	check_live(2 * PAGE, 1);
	build_map(ring, 4, A, PAGE, RW, ANON);
	put_remap(5, A + 50 * PAGE, 2 * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, A, 2 * PAGE); /* over another one */
	run();
	check_live(2 * PAGE, 1);
	ck_assert_uint_eq(fold->totals.missed_frees + fold->totals.unknown_frees, 0);
}
END_TEST

/* Files stay files and reservations stay reservations; an old length of 0 and DONTUNMAP leave the old range. */
START_TEST(test_mremap_classes)
{
	build_map(ring, 1, A, 4 * PAGE, PROT_READ, MAP_SHARED);
	put_remap(1, A, 4 * PAGE, MREMAP_MAYMOVE, A + 10 * PAGE, 8 * PAGE);
	build_map(ring, 1, A + 20 * PAGE, 4 * PAGE, PROT_NONE, ANON);
	put_remap(1, A + 20 * PAGE, 4 * PAGE, MREMAP_MAYMOVE, A + 30 * PAGE, 2 * PAGE);
	run();
	check_live(0, 0);
	check_counts(0, 0, 0, 0);
	check_classes(0, 8 * PAGE, 2 * PAGE);
	build_map(ring, 2, A + 40 * PAGE, 4 * PAGE, RW, ANON);
	put_remap(3, A + 40 * PAGE, 4 * PAGE, MREMAP_MAYMOVE | MREMAP_DONTUNMAP, A + 50 * PAGE, 4 * PAGE);
	put_remap(3, A + 10 * PAGE, 0, MREMAP_MAYMOVE, A + 60 * PAGE, 3 * PAGE);
	run();
	check_live(8 * PAGE, 2);
	check_classes(8 * PAGE, 11 * PAGE, 2 * PAGE);
	ck_assert_uint_eq(fold->totals.unknown_frees, 0);
	put_remap(4, A + 90 * PAGE, PAGE, MREMAP_MAYMOVE, A + 91 * PAGE, PAGE); /* of what we never saw */
	run();
	check_live(9 * PAGE, 3);
	ck_assert_uint_eq(fold->totals.unknown_frees, 1);
}
END_TEST

/* The break moves by bytes, not pages. */
START_TEST(test_brk)
{
	build_event(ring,
		    &(struct ml_event){.record = ML_RECORD_MAP, .node = 1, .address = A + 8, .bytes = 100, .brk = 1});
	build_event(ring,
		    &(struct ml_event){.record = ML_RECORD_MAP, .node = 2, .address = A + 108, .bytes = 50, .brk = 1});
	build_event(ring,
		    &(struct ml_event){
			    .record = ML_RECORD_UNMAP_BEGIN, .node = 3, .address = A + 98, .bytes = 60, .brk = 1});
	put_end(ML_RECORD_UNMAP_END, ML_OUTCOME_DONE, 0, 0);
	run();
	check_live(90, 1);
	check_counts(150, 2, 60, 2);
	check_node(1, 100, 90, 1, 100);
	check_node(3, -60, 0, 0, 0);
}
END_TEST

/* Ranges at the end of the address space, of no bytes, and of more than there are. */
START_TEST(test_ranges)
{
	build_map(ring, 1, UINT64_MAX - PAGE + 1 - PAGE, PAGE, RW, ANON);
	build_map(ring, 1, A, 0, RW, ANON);
	build_map(ring, 1, A + 1, 0, RW, ANON);
	run();
	check_live(PAGE, 1);
	build_unmap(ring, 1, A, UINT64_MAX);
	run();
	check_live(0, 0);
}
END_TEST

START_TEST(test_arenas)
{
	build_event(ring, &(struct ml_event){.record = ML_RECORD_ARENA, .address = A, .bytes = 1 << 20});
	build_event(ring, &(struct ml_event){.record = ML_RECORD_ARENA, .address = A + (1 << 20), .bytes = 1 << 18});
	build_event(ring, &(struct ml_event){.record = ML_RECORD_ARENA, .address = A, .bytes = 1 << 20, .released = 1});
	build_event(ring,
		    &(struct ml_event){.record = ML_RECORD_ARENA, .address = 0x5000, .bytes = 1 << 20, .released = 1});
	run();
	ck_assert_uint_eq(fold->totals.allocator_bytes, 1 << 18);
	check_live(0, 0);
}
END_TEST

START_TEST(test_time_and_rss)
{
	build_meta(b, "page_bytes", "16384");
	build_time(ring, 1000, 3);
	build_time(ring, 2000, 9);
	build_time(ring, 3000, 0); /* not measured */
	build_time(ring, 4000, 5);
	build_alloc(ring, ML_DOMAIN_C, 1, 0x1000, 1);
	build_map(ring, 1, A, 1, RW, ANON);
	run();
	ck_assert_uint_eq(fold->totals.rss_max_bytes, 9 * 16384);
	ck_assert_uint_eq(fold->totals.rss_bytes, 5 * 16384);
	ck_assert_uint_eq(fold->totals.end_ns, 4000);
	check_live(1 + 16384, 2);
}
END_TEST

/* The end is the first FINALIZE, unless the very last event is asked for. */
START_TEST(test_finalize)
{
	build_alloc(ring, ML_DOMAIN_OBJ, 1, 0x1000, 100);
	put(ML_RECORD_REALLOC_BEGIN, 2, 0x1000, 0);
	build_finalize(ring);
	put_end(ML_RECORD_REALLOC_END, ML_OUTCOME_DONE, 0x2000, 200);
	build_free(ring, ML_DOMAIN_OBJ, 2, 0x2000);
	run();
	ck_assert(fold->totals.finalized);
	check_live(100, 1);
	ck_assert_uint_eq(fold->totals.events, 3);
	options.end_last = true;
	run();
	ck_assert(!fold->totals.finalized);
	check_live(0, 0);
	ck_assert_uint_eq(fold->totals.events, 5);
}
END_TEST

START_TEST(test_window)
{
	build_alloc(ring, ML_DOMAIN_C, 1, 0x1000, 100);
	build_alloc(ring, ML_DOMAIN_C, 1, 0x1010, 500);
	build_free(ring, ML_DOMAIN_C, 1, 0x1010);
	build_free(ring, ML_DOMAIN_C, 1, 0x9990); /* unknown, but before the window */
	build_time(ring, 1000, 0);
	build_alloc(ring, ML_DOMAIN_C, 2, 0x2000, 10);
	build_free(ring, ML_DOMAIN_C, 3, 0x1000);
	build_time(ring, 2000, 0);
	build_alloc(ring, ML_DOMAIN_C, 4, 0x3000, 1000);
	options.from_ns = 1000;
	options.to_ns = 2000;
	run();
	ck_assert_uint_eq(fold->totals.start_live_bytes, 100);
	check_live(10, 1);
	check_counts(10, 1, 100, 1);
	check_node(1, 0, 0, 0, 100);
	check_node(2, 10, 10, 1, 10);
	check_node(3, -100, 0, 0, 0);
	check_node(4, 0, 0, 0, 0);
	ck_assert_uint_eq(fold->totals.peak_bytes, 110);
	ck_assert_uint_eq(fold->totals.peak_ns, 1000);
	ck_assert_uint_eq(fold->totals.unknown_frees, 0);
	options.from_ns = 5000; /* behind the end */
	options.to_ns = UINT64_MAX;
	run();
	ck_assert_uint_eq(fold->totals.start_live_bytes, 1010);
	check_live(1010, 2);
	check_counts(0, 0, 0, 0);
	ck_assert_uint_eq(fold->totals.peak_bytes, 1010);
}
END_TEST

/* Only the thread's events count and only its blocks are owned; Mem usage is the whole process's. */
START_TEST(test_thread)
{
	struct build_ring *other = build_ring(b, 101);

	build_alloc(ring, ML_DOMAIN_C, 1, 0x1000, 100);
	build_alloc(other, ML_DOMAIN_C, 2, 0x2000, 30);
	build_alloc(other, ML_DOMAIN_C, 2, 0x3000, 7);
	build_free(ring, ML_DOMAIN_C, 3, 0x2000); /* the other's block */
	build_free(other, ML_DOMAIN_C, 4, 0x1000);
	options.tid = 101;
	run();
	check_live(7, 1);
	check_counts(37, 2, 100, 1);
	check_node(1, 0, 0, 0, 0);
	check_node(2, 37, 7, 1, 37);
	check_node(3, 0, 0, 0, 0);
	check_node(4, -100, 0, 0, 0);
	ck_assert_uint_eq(fold->totals.peak_bytes, 37);
	ck_assert_uint_eq(fold->nodes[2].last_live_bytes, 137);
	ck_assert_uint_eq(fold->nodes[3].last_sequence, 0);
}
END_TEST

static void put_ours(void)
{
	build_event(ring, &(struct ml_event){.record = ML_RECORD_OTHER, .other = ML_OTHER_OURS});
}

/* What the recorder makes the interpreter do: whoever frees it, no line has a part in it. */
START_TEST(test_ours)
{
	build_alloc(ring, ML_DOMAIN_OBJ, 1, 0x1000, 100);
	build_alloc(ring, ML_DOMAIN_MEM, 6, 0x2000, 40);
	build_alloc(ring, ML_DOMAIN_C, 7, 0x3000, 2);
	build_free(ring, ML_DOMAIN_MEM, 1, 0x2000);
	build_realloc(ring, ML_DOMAIN_C, 2, 0x3000, 0x3000, 5);
	run();
	check_live(105, 2);
	check_counts(147, 4, 42, 2);
	check_node(1, 100, 100, 1, 100);
	check_node(2, 5, 5, 1, 0);
	check_node(6, 0, 0, 0, 40);
	check_node(7, 0, 0, 0, 2);
}
END_TEST

/* A block that turns out to be the recorder's: it never was the line's, not at the peak either. */
START_TEST(test_turns_out_ours)
{
	build_alloc(ring, ML_DOMAIN_OBJ, 1, 0x1000, 100);
	build_alloc(ring, ML_DOMAIN_OBJ, 1, 0x2000, 32);
	put_ours();
	run();
	check_counts(132, 2, 0, 0);
	check_node(1, 100, 100, 1, 100);
	check_node(6, 32, 32, 1, 32);
	ck_assert_uint_eq(fold->nodes[1].allocations, 1);
	build_free(ring, ML_DOMAIN_OBJ, 1, 0x2000);
	build_alloc(ring, ML_DOMAIN_OBJ, 2, 0x2000, 8);
	run();
	check_node(1, 100, 100, 1, 100);
	check_node(6, 0, 0, 0, 32);
	check_node(2, 8, 8, 1, 0);
	ck_assert_uint_eq(fold->nodes[1].frees, 0);
}
END_TEST

/* Only what was made just before can be meant. */
START_TEST(test_not_ours)
{
	build_alloc(ring, ML_DOMAIN_OBJ, 1, 0x1000, 100);
	build_free(ring, ML_DOMAIN_OBJ, 1, 0x1000);
	put_ours();
	build_alloc(ring, ML_DOMAIN_OBJ, 1, 0x1000, 100);
	build_time(ring, 1000, 0);
	put_ours();
	put_ours();
	run();
	check_node(1, 100, 100, 1, 100);
	check_node(6, 0, 0, 0, 0);
}
END_TEST

/* Random traces, against the slow replay. */

static uint64_t seed;

static uint64_t random_below(uint64_t n)
{
	seed ^= seed << 13;
	seed ^= seed >> 7;
	seed ^= seed << 17;
	return seed % n;
}

static bool one_in(unsigned n)
{
	return random_below(n) == 0;
}

static uint64_t random_address(void)
{
	return 0x10000 + random_below(40) * 16 + (one_in(8) ? random_below(16) : 0);
}

/* A range within the pages that the replay knows; sometimes of a length that is no whole number of pages, or 0. */
static void random_range(struct ml_event *e)
{
	uint64_t page = random_below(REPLAY_PAGES - 1),
		 pages = random_below(REPLAY_PAGES - page < 12 ? REPLAY_PAGES - page : 12);

	e->address = REPLAY_BASE + page * PAGE;
	e->bytes = pages * PAGE;
	if (pages && one_in(4))
		e->bytes -= random_below(PAGE);
}

static struct ml_event random_event(bool honest)
{
	static const enum ml_record often[] = {ML_RECORD_ALLOC, ML_RECORD_ALLOC, ML_RECORD_FREE};
	static const uint64_t flags[] = {ANON, ANON, MAP_PRIVATE, MAP_SHARED | MAP_ANONYMOUS};
	static const uint64_t prots[] = {RW, RW, PROT_NONE, PROT_READ};
	struct ml_event e = {.record = (enum ml_record)(1 + random_below(11)), .node = (uint32_t)random_below(8)};

	if (one_in(2))
		e.record = often[random_below(3)];
	else if (one_in(10))
		e.record = ML_RECORD_TIME;
	if (!honest && one_in(20))
		e.node = 77; /* isn't in the trace */
	e.domain = (enum ml_domain)random_below(4);
	e.outcome = one_in(3) ? ML_OUTCOME_FAILED : ML_OUTCOME_DONE;
	if (e.record == ML_RECORD_REALLOC_END && one_in(6))
		e.outcome = ML_OUTCOME_FREED;
	e.address = random_address();
	e.bytes = random_below(2) ? random_below(64) : random_below(100000);
	if (e.record == ML_RECORD_REALLOC_BEGIN && one_in(8))
		e.address = 0;
	if ((e.record >= ML_RECORD_MAP && e.record <= ML_RECORD_PROTECT) && e.record != ML_RECORD_UNMAP_END)
		random_range(&e);
	e.prot = prots[random_below(4)];
	e.flags = flags[random_below(4)] | (one_in(3) ? MAP_FIXED : 0);
	if (e.record == ML_RECORD_REMAP_BEGIN)
		e.flags = MREMAP_MAYMOVE | (one_in(3) ? MREMAP_FIXED : 0) | (one_in(5) ? MREMAP_DONTUNMAP : 0);
	e.released = one_in(2);
	e.ns = random_below(1000);
	e.pages = random_below(3) * 100;
	return e;
}

/* In an honest trace each BEGIN is followed by its END before the thread does anything else. */
static enum ml_record begun[REPLAY_RINGS];

static struct ml_event next_event(uint32_t ring_number, bool honest)
{
	struct ml_event e;

	for (;;) {
		enum ml_record before = honest ? begun[ring_number] : 0;
		bool is_end;
		e = random_event(honest);
		is_end = e.record == ML_RECORD_REALLOC_END || e.record == ML_RECORD_UNMAP_END ||
			 e.record == ML_RECORD_REMAP_END;
		if (honest && is_end != (before != 0))
			continue;
		if (before && e.record != before + 1)
			continue;
		begun[ring_number] = e.record == ML_RECORD_REALLOC_BEGIN || e.record == ML_RECORD_UNMAP_BEGIN ||
						     e.record == ML_RECORD_REMAP_BEGIN
					     ? e.record
					     : 0;
		return e;
	}
}

static void check_totals(const struct ml_totals *got, const struct ml_totals *want)
{
#define SAME(field)                                                                                                    \
	ck_assert_msg(got->field == want->field, #field ": %" PRIu64 " but replayed %" PRIu64, (uint64_t)got->field,   \
		      (uint64_t)want->field)
	SAME(events);
	SAME(allocated_bytes);
	SAME(allocations);
	SAME(freed_bytes);
	SAME(frees);
	SAME(start_live_bytes);
	SAME(live_bytes);
	SAME(live_blocks);
	SAME(peak_bytes);
	SAME(peak_ns);
	SAME(unknown_frees);
	SAME(missed_frees);
	SAME(orphan_ends);
	SAME(allocator_bytes);
	SAME(anonymous_bytes);
	SAME(file_bytes);
	SAME(reserved_bytes);
	SAME(rss_bytes);
	SAME(rss_max_bytes);
	SAME(end_ns);
	SAME(finalized);
#undef SAME
}

static void check_tally(const struct ml_tally *got, const struct ml_tally *want)
{
	ck_assert_uint_eq(got->allocated_bytes, want->allocated_bytes);
	ck_assert_uint_eq(got->allocations, want->allocations);
	ck_assert_uint_eq(got->freed_bytes, want->freed_bytes);
	ck_assert_uint_eq(got->frees, want->frees);
	ck_assert_uint_eq(got->live_bytes, want->live_bytes);
	ck_assert_uint_eq(got->live_blocks, want->live_blocks);
	ck_assert_uint_eq(got->peak_bytes, want->peak_bytes);
	ck_assert_uint_eq(got->peak_blocks, want->peak_blocks);
	ck_assert_uint_eq(got->last_sequence, want->last_sequence);
	ck_assert_uint_eq(got->last_live_bytes, want->last_live_bytes);
}

static struct build_ring *rings[REPLAY_RINGS];
static uint32_t tids[REPLAY_RINGS];
static uint64_t ring_ns[REPLAY_RINGS];
static uint64_t now;
static uint64_t made; /* address of what the event before has allocated, in the same piece; or 0 */

/* The same event to the file and to the replay. */
static bool play_random(struct replay *r, uint32_t n, bool honest)
{
	struct ml_moment m = {.ring = n, .tid = tids[n]};

	if (made && one_in(3))
		m.event = (struct ml_event){
			.record = ML_RECORD_OTHER, .other = ML_OTHER_OURS, .address = made & ~(uint64_t)15};
	else
		m.event = next_event(n, honest);
	made = m.event.record == ML_RECORD_ALLOC ? m.event.address : 0;
	if (m.event.record == ML_RECORD_TIME) {
		ring_ns[n] += m.event.ns;
		m.rss = m.event.pages * PAGE;
	}
	if (ring_ns[n] > now)
		now = ring_ns[n];
	m.ns = now;
	build_event(rings[n], &m.event);
	if (m.event.node == 77)
		m.event.node = 0;
	return replay_event(r, &m);
}

static void random_trace(struct replay *r, bool honest)
{
	uint32_t rings_n = (uint32_t)(1 + random_below(REPLAY_RINGS)), events = (uint32_t)random_below(800);
	bool wanted = true;

	now = 0;
	for (uint32_t i = 0; i < rings_n; i++) {
		tids[i] = 100 + i;
		ring_ns[i] = 0;
		begun[i] = 0;
		rings[i] = i ? build_ring(b, tids[i]) : ring;
	}
	while (events-- && wanted) {
		uint32_t n = (uint32_t)random_below(rings_n);
		made = 0;
		for (uint64_t burst = random_below(20); burst && wanted; burst--)
			wanted = play_random(r, n, honest);
		if (one_in(30) && !begun[n])
			build_owner(rings[n], tids[n] += 10);
		if (one_in(30))
			build_flush(rings[n]);
	}
	if (wanted && one_in(2)) {
		struct ml_moment m = {
			.event = {.record = ML_RECORD_OTHER, .other = ML_OTHER_FINALIZE}, .ring = 0, .tid = tids[0]};
		m.ns = now;
		build_finalize(rings[0]);
		if (replay_event(r, &m))
			play_random(r, 0, honest);
		else
			build_alloc(rings[0], ML_DOMAIN_C, 1, 0x50000, 1);
	}
}

START_TEST(test_against_replay)
{
	bool honest = _i % 2, nodes[8];
	struct replay *r;
	struct ml_trace *t;

	seed = (uint64_t)_i * 0x9e3779b97f4a7c15u + 1;
	build_layout(b)->piece_bytes = 300 + random_below(2000);
	build_layout(b)->chunk_entries = (uint32_t)(2 + random_below(20));
	build_layout(b)->holes = (uint32_t)random_below(3);
	build_layout(b)->nodes_in_extent = (uint32_t)(1 + random_below(6));
	if (one_in(3))
		options.from_ns = random_below(20000);
	if (one_in(3))
		options.to_ns = options.from_ns + random_below(20000);
	if (one_in(4))
		options.tid = (uint32_t)(100 + random_below(3));
	if (one_in(4)) {
		for (size_t i = 0; i < sizeof nodes / sizeof *nodes; i++)
			nodes[i] = one_in(2);
		options.nodes = nodes;
	}
	options.end_last = one_in(2);
	r = replay_new(&options, 8);
	replay_ours(r, 6, 2);
	random_trace(r, honest);
	replay_finish(r);
	t = open_trace();
	fold = ml_fold_run(t, &options, NULL, NULL);
	if (honest)
		check_no_warning(t);
	ml_load_close(t);
	check_totals(&fold->totals, replay_totals(r));
	for (uint32_t i = 0; i < 8; i++)
		check_tally(&fold->nodes[i], &replay_nodes(r)[i]);
	if (honest)
		ck_assert_uint_eq(fold->totals.orphan_ends, 0);
	replay_free(r);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("fold");
	TCase *tests = tcase_create("fold");
	SRunner *runner = srunner_create(suite);
	int failed;

	tcase_add_checked_fixture(tests, setup, teardown);
	tcase_set_timeout(tests, 60);
	tcase_add_test(tests, test_nothing);
	tcase_add_test(tests, test_alloc_free);
	tcase_add_test(tests, test_zero_bytes);
	tcase_add_test(tests, test_realloc);
	tcase_add_test(tests, test_realloc_failed);
	tcase_add_test(tests, test_realloc_ends);
	tcase_add_test(tests, test_pending);
	tcase_add_test(tests, test_taken_since);
	tcase_add_test(tests, test_failed_is_cheap);
	tcase_add_test(tests, test_orphans);
	tcase_add_test(tests, test_unknown_and_missed);
	tcase_add_test(tests, test_addresses);
	tcase_add_test(tests, test_peak);
	tcase_add_loop_test(tests, test_munmap_arithmetic, 0, 8);
	tcase_add_test(tests, test_births);
	tcase_add_test(tests, test_clock);
	tcase_add_test(tests, test_munmap_several);
	tcase_add_test(tests, test_munmap_failed);
	tcase_add_test(tests, test_munmap_race);
	tcase_add_test(tests, test_map_fixed);
	tcase_add_test(tests, test_reservation);
	tcase_add_test(tests, test_mremap);
	tcase_add_test(tests, test_mremap_classes);
	tcase_add_test(tests, test_brk);
	tcase_add_test(tests, test_ranges);
	tcase_add_test(tests, test_arenas);
	tcase_add_test(tests, test_time_and_rss);
	tcase_add_test(tests, test_finalize);
	tcase_add_test(tests, test_window);
	tcase_add_test(tests, test_thread);
	tcase_add_test(tests, test_ours);
	tcase_add_test(tests, test_turns_out_ours);
	tcase_add_test(tests, test_not_ours);
	tcase_add_loop_test(tests, test_against_replay, 0, 1000);
	suite_add_tcase(suite, tests);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
