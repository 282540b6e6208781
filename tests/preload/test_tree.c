#include <check.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "preload/process.h"
#include "preload/tree.h"
#include "tests/preload/frames.h"
#include "tests/preload/session.h"
#include "tests/preload/trace_file.h"

#define NATIVE(module) ML_SUBJECT(ML_NODE_NATIVE, module)
#define PYTHON(code) ML_SUBJECT(ML_NODE_PYTHON, code)
#define MANY 150000u

static struct trace_file trace;

/* Makes the trace and reads it. */
static void read_back(void)
{
	session_initialize();
	ck_assert(session_alloc(0x1000, 1));
	ck_assert_int_eq(session_state(), ML_RECORDING);
	trace_open(&trace, session_trace());
}

static void check_node(uint32_t id, uint32_t parent, uint32_t subject, uint64_t place)
{
	if (id >= trace.node_count || trace.nodes[id].parent != parent || trace.nodes[id].subject != subject ||
	    trace.nodes[id].place != place)
		ck_abort_msg("node %u is another one", id);
}

START_TEST(gives_each_frame_one_node)
{
	uint32_t a, b, c, d, e;

	session_start(NULL);
	ck_assert_uint_eq(ml_tree_nodes(), 1);
	a = ml_tree_node(0, NATIVE(1), 0x40);
	b = ml_tree_node(a, NATIVE(1), 0x40);
	c = ml_tree_node(a, NATIVE(2), 0x40);
	d = ml_tree_node(a, PYTHON(2), 0x40);
	e = ml_tree_node(a, PYTHON(2), (uint64_t)-1);
	ck_assert_uint_eq(a, 1);
	ck_assert_uint_eq(b, 2);
	ck_assert_uint_eq(e, 5);
	ck_assert_uint_eq(ml_tree_nodes(), 6);
	ck_assert_uint_eq(ml_tree_node(a, NATIVE(2), 0x40), c);
	ck_assert_uint_eq(ml_tree_node(a, PYTHON(2), 0x40), d);
	ck_assert_uint_eq(ml_tree_nodes(), 6);
	read_back();
	check_node(a, 0, NATIVE(1), 0x40);
	check_node(b, a, NATIVE(1), 0x40);
	check_node(c, a, NATIVE(2), 0x40);
	check_node(d, a, PYTHON(2), 0x40);
	check_node(e, a, PYTHON(2), (uint64_t)-1);
}
END_TEST

/* The nth of many frames: a chain that now and then starts at the root again, with many children of some nodes. */
static uint32_t nth_node(uint32_t i, uint32_t before)
{
	return ml_tree_node(i % 97 ? before : 0, PYTHON(i % 1000), i * (uint64_t)0x9e3779b97f4a7c15u);
}

START_TEST(grows)
{
	static uint32_t ids[MANY];
	uint32_t before = 0;

	session_start(NULL);
	for (uint32_t i = 0; i < MANY; i++) {
		before = ids[i] = nth_node(i, before);
		if (before != i + 1)
			ck_abort_msg("frame %u has node %u", i, before);
	}
	read_back();
	before = 0;
	for (uint32_t i = 0; i < MANY; i++) {
		if (nth_node(i, before) != ids[i])
			ck_abort_msg("frame %u has lost its node", i);
		check_node(ids[i], i % 97 ? before : 0, PYTHON(i % 1000), i * (uint64_t)0x9e3779b97f4a7c15u);
		before = ids[i];
	}
	/* Those that come after the file was made are in it as well. */
	before = ml_tree_node(0, NATIVE(77), 77);
	for (uint32_t i = 0; i < 10000; i++)
		if (ml_tree_node(before, NATIVE(77), i) != before + 1 + i)
			ck_abort_msg("node %u", i);
	trace_open(&trace, session_trace());
	check_node(before, 0, NATIVE(77), 77);
	check_node(before + 10000, before, NATIVE(77), 9999);
}
END_TEST

START_TEST(keeps_the_leaf_when_it_is_full)
{
	uint32_t mark, last, leaf, native, on_leaf;
	const struct ml_header *h;

	session_start("MEMLINE_MAX_NODES=8", NULL);
	for (uint32_t i = 1; i <= 8; i++)
		ck_assert_uint_eq(last = ml_tree_node(i - 1, PYTHON(i), i), i);
	leaf = ml_tree_node(last, PYTHON(50), 1);
	ck_assert_uint_eq(leaf, 10);
	mark = 9;
	ck_assert_uint_eq(ml_tree_node(3, PYTHON(50), 1), leaf);
	on_leaf = ml_tree_node(leaf, NATIVE(1), 2);
	native = ml_tree_node(last, NATIVE(1), 2);
	ck_assert_uint_eq(on_leaf, 11);
	ck_assert_uint_eq(native, 12);
	/* 8 / 4 + 2 more, and the mark: that's all. */
	ck_assert_uint_eq(ml_tree_node(last, PYTHON(51), 1), mark);
	ck_assert_uint_eq(ml_tree_node(last, NATIVE(3), 2), last);
	ck_assert_uint_eq(ml_tree_node(0, NATIVE(3), 2), mark);
	ck_assert_uint_eq(ml_tree_nodes(), 13);
	/* What is known is found as before. */
	ck_assert_uint_eq(ml_tree_node(7, PYTHON(8), 8), 8);
	ck_assert_uint_eq(ml_tree_node(leaf, NATIVE(1), 2), on_leaf);
	read_back();
	check_node(mark, 0, ML_SUBJECT(ML_NODE_MARK, ML_MARK_TRUNCATED), 0);
	check_node(leaf, mark, PYTHON(50), 1);
	check_node(on_leaf, leaf, NATIVE(1), 2);
	check_node(native, last, NATIVE(1), 2);
	h = trace.header;
	ck_assert_uint_ge(h->counter[ML_COUNTER_TRUNCATED_STACKS], 6);
}
END_TEST

static void check_code(uint32_t id, const char *file, const char *name, uint32_t first_line)
{
	const struct ml_def_code *d = trace_code(&trace, id);
	const char *texts = (const char *)(d + 1);

	ck_assert_ptr_nonnull(d);
	ck_assert_uint_eq(d->file_bytes, strlen(file));
	ck_assert_uint_eq(d->name_bytes, strlen(name));
	ck_assert_mem_eq(texts, file, d->file_bytes);
	ck_assert_mem_eq(texts + d->file_bytes, name, d->name_bytes);
	ck_assert_uint_eq(d->table_bytes, strlen(name));
	ck_assert_mem_eq(texts + d->file_bytes + d->name_bytes, name, d->table_bytes);
	ck_assert_uint_eq(d->first_line, first_line);
}

START_TEST(describes_code_at_first_sight)
{
	struct code *a, *b;
	uint32_t id_a, id_b;

	session_start(NULL);
	frames_start(FRAMES_VERSIONS);
	a = frames_code("/app/a.py", "f", 10);
	b = frames_code("/app/a.py", "C.method", 20);
	id_a = ml_tree_code(a);
	id_b = ml_tree_code(b);
	ck_assert_uint_eq(id_a, 0);
	ck_assert_uint_eq(id_b, 1);
	ck_assert_uint_eq(ml_tree_code(a), id_a);
	read_back();
	check_code(id_a, "/app/a.py", "f", 10);
	check_code(id_b, "/app/a.py", "C.method", 20);
	ck_assert_uint_eq(trace_count_defs(&trace, ML_DEF_CODE), 2);
}
END_TEST

/* _i: without numbers for code objects, with them, and without but with their frees. */
START_TEST(tells_code_at_a_reused_address)
{
	struct code *c;
	char name[16], file[32];
	const unsigned rounds = 5000;

	session_start(NULL);
	frames_start(_i == 1 ? FRAMES_VERSIONS : 0);
	if (_i == 2)
		ml_tree_sees_frees();
	c = frames_code("/app/0.py", "f0", 1);
	for (unsigned i = 0; i < rounds; i++) {
		snprintf(file, sizeof file, "/app/%u.py", i);
		snprintf(name, sizeof name, "f%u", i);
		ml_tree_object_freed(c, true);
		frames_make_code(c, file, name, 1);
		if (ml_tree_code(c) != i || ml_tree_code(c) != i)
			ck_abort_msg("code %u has another number", i);
	}
	read_back();
	ck_assert_uint_eq(trace_count_defs(&trace, ML_DEF_CODE), rounds);
	check_code(0, "/app/0.py", "f0", 1);
	check_code(rounds - 1, file, name, 1);
}
END_TEST

/* What is freed elsewhere changes nothing. One free that cannot be noted, and contents are looked at as before. */
START_TEST(heeds_the_frees_of_code)
{
	struct code *c, *other;
	uint32_t before;

	session_start(NULL);
	frames_start(0);
	ml_tree_sees_frees();
	c = frames_code("/app/a.py", "f", 1);
	other = frames_code("/app/a.py", "g", 2);
	before = ml_tree_epoch;
	ck_assert_uint_ne(before, 0);
	ck_assert_uint_eq(ml_tree_code(c), 0);
	ml_tree_object_freed(other, true);
	for (uintptr_t at = 16; at < 1u << 24; at += 16) {
		ml_tree_object_freed((const void *)at, true);
		ml_tree_object_freed((const void *)at, false);
	}
	ck_assert_uint_eq(ml_tree_epoch, before);
	ml_tree_object_freed(c, true);
	ck_assert_uint_eq(ml_tree_epoch, before + 1);
	frames_make_code(c, "/app/a.py", "h", 3);
	ck_assert_uint_eq(ml_tree_code(c), 1);
	ml_tree_object_freed(c, false);
	ck_assert_uint_eq(ml_tree_epoch, 0);
	frames_make_code(c, "/app/a.py", "i", 4);
	ck_assert_uint_eq(ml_tree_code(c), 2);
	frames_make_code(c, "/app/a.py", "j", 5);
	ck_assert_uint_eq(ml_tree_code(c), 3);
}
END_TEST

START_TEST(defines_equal_code_once)
{
	session_start(NULL);
	frames_start(FRAMES_VERSIONS);
	for (unsigned i = 0; i < 5000; i++)
		if (ml_tree_code(frames_code("<string>", "<module>", 1)) != 0)
			ck_abort_msg("the same code again has another number");
	ck_assert_uint_eq(ml_tree_code(frames_code("<string>", "<module>", 2)), 1);
	ck_assert_uint_eq(ml_tree_code(frames_code("<string>", "f", 1)), 2);
	ck_assert_uint_eq(ml_tree_code(frames_code("<strin>", "g<module>", 1)), 3);
	read_back();
	ck_assert_uint_eq(trace_count_defs(&trace, ML_DEF_CODE), 4);
	check_code(0, "<string>", "<module>", 1);
}
END_TEST

START_TEST(counts_code_that_makes_no_sense)
{
	struct code *c;

	session_start(NULL);
	frames_start(FRAMES_VERSIONS);
	c = frames_code("/app/a.py", "f", 1);
	c->file = c->table; /* bytes, no str */
	ck_assert_uint_eq(ml_tree_code(c), UINT32_MAX);
	c = frames_code("/app/a.py", "f", 1);
	c->table = NULL;
	ck_assert_uint_eq(ml_tree_code(c), UINT32_MAX);
	ck_assert_uint_eq(ml_tree_code(frames_code("/app/a.py", "f", 1)), 0);
	read_back();
	ck_assert_uint_eq(trace.header->counter[ML_COUNTER_LOST_DEFINITIONS], 2);
}
END_TEST

START_TEST(defines_modules)
{
	static const uint8_t build_id[3] = {1, 2, 3};
	struct ml_module m = {.id = 5000,
			      .epoch = 3,
			      .base = 0x1000,
			      .start = 0x2000,
			      .end = 0x3000,
			      .path = "/lib/liba.so",
			      .build_id = build_id,
			      .path_bytes = 12,
			      .build_id_bytes = 3};
	const struct ml_def_module *d;

	session_start(NULL);
	ml_tree_module(NULL, &m);
	read_back();
	d = trace_module(&trace, 5000);
	ck_assert_ptr_nonnull(d);
	ck_assert_uint_eq(d->epoch, 3);
	ck_assert_uint_eq(d->base, 0x1000);
	ck_assert_uint_eq(d->start, 0x2000);
	ck_assert_uint_eq(d->end, 0x3000);
	ck_assert_uint_eq(d->path_bytes, 12);
	ck_assert_uint_eq(d->build_id_bytes, 3);
	ck_assert_mem_eq(d + 1, "/lib/liba.so\1\2\3", 15);
	/* The modules of this very process are there, too. */
	ck_assert_uint_gt(trace_count_defs(&trace, ML_DEF_MODULE), 3);
}
END_TEST

#define THREADS 4
#define SHARED 30000u

static uint32_t found[THREADS][SHARED];
static struct code *codes[64];
static _Atomic uint32_t code_ids[64];
static pthread_barrier_t together;

/* All threads look the same frames up, in orders of their own, half of them new to all. */
static void *look_up(void *of_thread)
{
	uint32_t *mine = of_thread;
	uint32_t start = (uint32_t)((uint32_t(*)[SHARED])mine - found) * (SHARED / THREADS);

	pthread_barrier_wait(&together);
	for (uint32_t n = 0; n < SHARED; n++) {
		uint32_t i = (start + n) % SHARED, code = ml_tree_code(codes[i % 64]);
		uint32_t parent = ml_tree_node(0, PYTHON(i % 64), i / 64), expected = UINT32_MAX;
		if (!parent)
			ck_abort_msg("no node");
		mine[i] = ml_tree_node(parent, PYTHON(i % 64), i);
		if (!atomic_compare_exchange_strong(&code_ids[i % 64], &expected, code) && expected != code)
			ck_abort_msg("code %u has two numbers", i % 64);
	}
	return NULL;
}

START_TEST(gives_all_threads_the_same_numbers)
{
	pthread_t threads[THREADS];

	session_start(NULL);
	frames_start(FRAMES_VERSIONS);
	for (unsigned i = 0; i < 64; i++) {
		char name[16];
		snprintf(name, sizeof name, "f%u", i);
		codes[i] = frames_code("/app/a.py", name, 1);
		atomic_store(&code_ids[i], UINT32_MAX);
	}
	pthread_barrier_init(&together, NULL, THREADS);
	for (unsigned i = 0; i < THREADS; i++)
		ck_assert_int_eq(pthread_create(&threads[i], NULL, look_up, found[i]), 0);
	for (unsigned i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	for (unsigned i = 1; i < THREADS; i++)
		ck_assert_mem_eq(found[i], found[0], sizeof found[0]);
	ck_assert_uint_eq(ml_tree_nodes(), 1 + 2 * SHARED);
	read_back();
	for (uint32_t i = 0; i < SHARED; i++)
		check_node(found[0][i], trace.nodes[found[0][i]].parent, PYTHON(i % 64), i);
	ck_assert_uint_eq(trace_count_defs(&trace, ML_DEF_CODE), 64);
}
END_TEST

static _Atomic int stop_replacing;

/* Looks the code up at an address at which another thread, as the GIL's holder, makes one after the other. */
static void *look_at_others(void *code)
{
	while (!atomic_load(&stop_replacing))
		ml_tree_code(code);
	return NULL;
}

/* Entries of the table change in place while others read them: those never get what isn't whole. */
START_TEST(replaces_code_under_readers)
{
	enum { COUNT = 64, ROUNDS = 300 };
	static struct code *c[COUNT];
	pthread_t reader;
	struct code *still;
	uint32_t still_id;

	session_start(NULL);
	frames_start(FRAMES_VERSIONS);
	still = frames_code("/app/still.py", "still", 1);
	still_id = ml_tree_code(still);
	ck_assert_int_eq(pthread_create(&reader, NULL, look_at_others, still), 0);
	for (unsigned round = 0; round < ROUNDS; round++) {
		for (unsigned i = 0; i < COUNT; i++) {
			char name[32];
			snprintf(name, sizeof name, "f%u.%u", round, i);
			if (!c[i])
				c[i] = frames_code("/app/a.py", name, 1);
			else
				frames_make_code(c[i], "/app/a.py", name, 1);
			if (ml_tree_code(c[i]) != 1 + round * COUNT + i)
				ck_abort_msg("%s has another number", name);
		}
		ck_assert_uint_eq(ml_tree_code(still), still_id);
	}
	atomic_store(&stop_replacing, 1);
	pthread_join(reader, NULL);
	read_back();
	ck_assert_uint_eq(trace_count_defs(&trace, ML_DEF_CODE), 1 + ROUNDS * COUNT);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("tree");
	TCase *c = tcase_create("tree");
	SRunner *r = srunner_create(s);
	int failed;

	suite_add_tcase(s, c);
	tcase_add_checked_fixture(c, session_begin, session_end);
	tcase_set_timeout(c, 60);
	tcase_add_test(c, gives_each_frame_one_node);
	tcase_add_test(c, grows);
	tcase_add_test(c, keeps_the_leaf_when_it_is_full);
	tcase_add_test(c, describes_code_at_first_sight);
	tcase_add_loop_test(c, tells_code_at_a_reused_address, 0, 3);
	tcase_add_test(c, heeds_the_frees_of_code);
	tcase_add_test(c, defines_equal_code_once);
	tcase_add_test(c, counts_code_that_makes_no_sense);
	tcase_add_test(c, defines_modules);
	tcase_add_test(c, gives_all_threads_the_same_numbers);
	tcase_add_test(c, replaces_code_under_readers);
	srunner_run_all(r, CK_NORMAL);
	failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
