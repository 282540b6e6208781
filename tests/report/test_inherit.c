#include "report/inherit.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "report/fold.h"
#include "tests/report/build_trace.h"

#define PARENT "100-7-0.memline"
#define CHILD "200-9-0.memline"
#define A 0x7f0000000000u

/* A process that forks, and its child. Each has a line of its own and one that both have. */
static struct build *parent, *child;
static struct build_ring *main_ring, *other_ring, *child_ring;
static uint32_t parent_only, parent_shared, child_only, child_shared;
static struct ml_trace *trace;
static char folder[64], parent_path[128], child_path[128];

static struct build *family_member(void)
{
	struct build *b = build_new();

	build_meta(b, "run_pid", "100");
	build_meta(b, "run_ticks", "7");
	return b;
}

static void setup(void)
{
	static const char template[] = "/tmp/memline-test-inherit-XXXXXX";
	uint32_t code;

	memcpy(folder, template, sizeof template);
	ck_assert_ptr_nonnull(mkdtemp(folder));
	snprintf(parent_path, sizeof parent_path, "%s/" PARENT, folder);
	snprintf(child_path, sizeof child_path, "%s/" CHILD, folder);
	parent = family_member();
	child = family_member();
	build_layout(parent)->piece_bytes = 4 * ML_RECORD_MAX;
	code = build_code(parent, "/srv/app.py", "shared", 1, NULL, 0);
	parent_shared = build_node(parent, 0, ML_NODE_PYTHON, code, 2);
	parent_only = build_node(parent, parent_shared, ML_NODE_NATIVE, build_module(parent, "/lib/a.so", A, 4096), 16);
	build_code(child, "/srv/app.py", "unused", 1, NULL, 0);
	code = build_code(child, "/srv/app.py", "shared", 1, NULL, 0);
	child_only = build_node(child, 0, ML_NODE_MARK, ML_MARK_DEEPER, 0);
	child_shared = build_node(child, child_only, ML_NODE_PYTHON, code, 2);
	main_ring = build_ring(parent, 100);
	other_ring = build_ring(parent, 101);
	child_ring = build_ring(child, 200);
	trace = NULL;
}

static void teardown(void)
{
	ml_load_close(trace);
	build_done(parent);
	build_done(child);
	unlink(parent_path);
	unlink(child_path);
	rmdir(folder);
}

/* Notes in the child that it was forked here, after the parent's last event so far. */
static void note_fork(void)
{
	size_t bytes;
	char *error, text[64];
	const uint8_t *file = build_bytes(parent, &bytes);

	build_save(parent_path, file, bytes);
	trace = ml_load_open(parent_path, &error);
	ck_assert_ptr_nonnull(trace);
	for (size_t i = 0; i < trace->extents_n; i++) {
		struct ml_load_piece piece;
		if (trace->extents[i].kind != ML_EXTENT_RING || ml_load_piece(trace, &trace->extents[i], &piece))
			continue;
		snprintf(text, sizeof text, "%u %u %u", (unsigned)trace->extents[i].id,
			 (unsigned)ML_PIECE_SEQUENCE(piece.head.state), (unsigned)ML_PIECE_USED(piece.head.state));
		build_meta(child, "parent_ring", text);
		free(piece.events);
	}
	build_meta(child, "fork", "1");
	build_meta(child, "parent_file", PARENT);
	ml_load_close(trace);
	trace = NULL;
}

static void open_child(void)
{
	char *error;

	build_write(parent, parent_path);
	build_write(child, child_path);
	trace = ml_load_open(child_path, &error);
	ck_assert_ptr_nonnull(trace);
}

static struct ml_fold *fold(uint64_t from_ns)
{
	const struct ml_fold_options options = {.from_ns = from_ns, .to_ns = UINT64_MAX};

	return ml_fold_run(trace, &options, NULL, NULL);
}

START_TEST(test_blocks_of_the_parent)
{
	struct ml_fold *f;
	uint32_t inherited_shared, inherited_only;

	for (unsigned i = 0; i < 500; i++) { /* pieces enough of either ring */
		build_alloc(main_ring, ML_DOMAIN_OBJ, parent_shared, A + 16 * i, 10);
		build_alloc(other_ring, ML_DOMAIN_C, parent_only, A + 0x100000 + 16 * i, 100);
	}
	build_free(other_ring, ML_DOMAIN_OBJ, parent_only, A);
	build_time(main_ring, 5000000000, 1);
	build_finalize(other_ring);
	note_fork();
	for (unsigned i = 1; i < 500; i++) /* what the parent does later is nothing to the child */
		build_free(main_ring, ML_DOMAIN_OBJ, parent_shared, A + 16 * i);
	build_alloc(build_ring(parent, 102), ML_DOMAIN_OBJ, parent_only, A, 1 << 20);
	build_free(child_ring, ML_DOMAIN_OBJ, child_shared, A + 16);
	build_time(child_ring, 1000000000, 0);
	build_free(child_ring, ML_DOMAIN_OBJ, child_shared, A + 32);
	build_alloc(child_ring, ML_DOMAIN_OBJ, child_only, A + 16, 7);
	build_free(child_ring, ML_DOMAIN_OBJ, child_only, A); /* was freed before the fork */
	open_child();
	ck_assert(ml_inherit(trace));
	ck_assert_ptr_ne(ml_inherit_root(trace), trace);
	ck_assert_str_eq(ml_inherit_root(trace)->path, parent_path);
	inherited_shared = trace->own_nodes_n - 1 + parent_shared;
	inherited_only = trace->own_nodes_n - 1 + parent_only;
	for (uint64_t from = 0; from <= 1000000000; from += 1000000000) {
		f = fold(from);
		ck_assert_uint_eq(f->totals.unknown_frees, 1);
		ck_assert_uint_eq(f->totals.start_live_bytes, 499 * 10 + 500 * 100 - (from ? 10 : 0));
		ck_assert_uint_eq(f->totals.live_bytes, 497 * 10 + 500 * 100 + 7);
		ck_assert_uint_eq(f->totals.peak_bytes, f->totals.start_live_bytes);
		ck_assert_uint_eq(f->totals.frees, from ? 1 : 2);
		ck_assert_uint_eq(f->totals.end_ns, 1000000000);
		ck_assert_uint_eq(f->totals.rss_max_bytes, 0);
		ck_assert(!f->totals.finalized);
		ck_assert_uint_eq(f->nodes[inherited_shared].live_bytes, 497 * 10);
		ck_assert_uint_eq(f->nodes[inherited_shared].allocated_bytes, 0);
		ck_assert_uint_eq(f->nodes[inherited_only].live_bytes, 500 * 100);
		ck_assert_uint_eq(f->nodes[child_only].live_bytes, 7);
		ck_assert_uint_eq(f->nodes[child_shared].freed_bytes, from ? 10 : 20);
		ml_fold_free(f);
	}
}
END_TEST

START_TEST(test_definitions_of_the_parent)
{
	const struct ml_node *shared, *only;
	const struct ml_code *code;

	build_alloc(main_ring, ML_DOMAIN_OBJ, parent_only, A, 10);
	note_fork();
	open_child();
	ck_assert(ml_inherit(trace));
	shared = &trace->nodes[trace->own_nodes_n - 1 + parent_shared];
	only = &trace->nodes[trace->own_nodes_n - 1 + parent_only];
	ck_assert_uint_eq(shared->parent, 0);
	ck_assert_uint_eq(only->parent, trace->own_nodes_n - 1 + parent_shared);
	code = ml_load_code(trace, ML_SUBJECT_NUMBER(shared->subject));
	ck_assert_str_eq(code->name, "shared");
	ck_assert_ptr_ne(code, ml_load_code(trace, ML_SUBJECT_NUMBER(trace->nodes[child_shared].subject)));
	ck_assert_str_eq(ml_load_module(trace, ML_SUBJECT_NUMBER(only->subject))->path, "/lib/a.so");
	ck_assert_uint_eq(only->place, 16);
}
END_TEST

/* A fork in the middle of a realloc of another thread's: it has not happened. */
START_TEST(test_what_another_thread_had_begun)
{
	struct ml_fold *f;

	build_alloc(main_ring, ML_DOMAIN_OBJ, parent_shared, A, 10);
	build_event(other_ring,
		    &(struct ml_event){.record = ML_RECORD_REALLOC_BEGIN, .node = parent_only, .address = A});
	note_fork();
	build_event(other_ring, &(struct ml_event){.record = ML_RECORD_REALLOC_END, .address = A + 64, .bytes = 99});
	build_alloc(child_ring, ML_DOMAIN_OBJ, child_only, A + 64, 1);
	open_child();
	ck_assert(ml_inherit(trace));
	f = fold(0);
	ck_assert_uint_eq(f->totals.live_bytes, 11);
	ck_assert_uint_eq(f->totals.orphan_ends + f->totals.missed_frees + f->totals.unknown_frees, 0);
	ml_fold_free(f);
}
END_TEST

START_TEST(test_a_node_that_is_the_parents_alone)
{
	struct ml_fold *f;

	note_fork();
	build_alloc(child_ring, ML_DOMAIN_OBJ, child_shared + 1, A, 10); /* the child has no such node */
	open_child();
	ck_assert(ml_inherit(trace));
	f = fold(0);
	ck_assert_uint_eq(f->nodes[0].live_bytes, 10);
	ck_assert_uint_eq(trace->damage[ML_DAMAGE_UNKNOWN_NODE].count, 1);
	ml_fold_free(f);
}
END_TEST

/* Forks one after another, at any places of the parent's pieces; their children are looked at in any order. */
START_TEST(test_several_children)
{
	enum { CHILDREN = 12 };
	uint64_t live[CHILDREN], events = 0;
	struct build *children[CHILDREN];

	for (unsigned i = 0; i < CHILDREN; i++) {
		build_done(child);
		child = family_member();
		for (unsigned k = 0; k < 7 * i; k++, events++) {
			build_alloc(events % 3 ? main_ring : other_ring, ML_DOMAIN_OBJ, parent_shared, A + 16 * events,
				    10);
			if (events % 5 == 4)
				build_free(main_ring, ML_DOMAIN_OBJ, parent_shared, A + 16 * (events - 2));
		}
		live[i] = 10 * (events - events / 5);
		if (i == CHILDREN / 2)
			build_alloc(build_ring(parent, 102), ML_DOMAIN_OBJ, parent_shared, A - 16, 1000);
		if (i >= CHILDREN / 2)
			live[i] += 1000;
		note_fork();
		children[i] = child;
		child = family_member();
	}
	for (unsigned i = 0; i < 3 * CHILDREN; i++) { /* in order, from the last one on, and up and down */
		unsigned which = i < CHILDREN ? i : i < 2 * CHILDREN ? 2 * CHILDREN - 1 - i : i * 5 % CHILDREN;
		struct ml_fold *f;
		build_done(child);
		child = NULL;
		build_write(parent, parent_path);
		build_write(children[which], child_path);
		ml_load_close(trace);
		trace = ml_load_open(child_path, &(char *){NULL});
		ck_assert(ml_inherit(trace));
		f = fold(0);
		ck_assert_uint_eq(f->totals.start_live_bytes, live[which]);
		ck_assert_uint_eq(f->totals.live_bytes, live[which]);
		ml_fold_free(f);
		child = family_member();
	}
	for (unsigned i = 0; i < CHILDREN; i++)
		build_done(children[i]);
}
END_TEST

/* Mappings keep their classes, and arenas are no blocks. */
START_TEST(test_mappings_of_the_parent)
{
	const int private = 0x22; /* MAP_PRIVATE | MAP_ANONYMOUS */
	struct ml_fold *f;

	build_map(main_ring, parent_only, 0x10000, 8192, 3, private);
	build_map(main_ring, parent_only, 0x20000, 4096, 0, private);
	build_map(main_ring, parent_only, 0x30000, 4096, 3, 2);
	build_event(
		main_ring,
		&(struct ml_event){
			.record = ML_RECORD_MAP, .node = parent_only, .address = 0x40000, .bytes = 100, .brk = true});
	build_event(main_ring, &(struct ml_event){.record = ML_RECORD_ARENA, .address = 0x50000, .bytes = 4096});
	build_event(other_ring,
		    &(struct ml_event){
			    .record = ML_RECORD_UNMAP_BEGIN, .node = parent_only, .address = 0x10000, .bytes = 4096});
	note_fork();
	open_child();
	ck_assert(ml_inherit(trace));
	f = fold(0);
	ck_assert_uint_eq(f->totals.live_bytes, 8192 + 100);
	ck_assert_uint_eq(f->totals.anonymous_bytes, 8192 + 100);
	ck_assert_uint_eq(f->totals.reserved_bytes, 4096);
	ck_assert_uint_eq(f->totals.file_bytes, 4096);
	ck_assert_uint_eq(f->totals.allocator_bytes, 4096);
	ml_fold_free(f);
}
END_TEST

/* What the child's META may say, and nothing comes of it. */
static const struct {
	const char *file, *ring, *run_pid;
} in_vain[] = {
	{NULL, "0 0 9", "100"},              /* no child */
	{"", "0 0 9", "100"},                /* forked before the parent had a file */
	{"300-7-0.memline", "0 0 9", "100"}, /* no longer there */
	{"../x/" PARENT, "0 0 9", "100"},    /* elsewhere */
	{"/etc/passwd", "0 0 9", "100"},     /* no trace */
	{PARENT, NULL, "100"},               /* nothing said of its rings */
	{PARENT, "some rings", "100"},
	{PARENT, "0 0 9", "101"}, /* another run's */
};

START_TEST(test_in_vain)
{
	build_done(child);
	child = build_new();
	if (in_vain[_i].file)
		build_meta(child, "parent_file", in_vain[_i].file);
	if (in_vain[_i].ring)
		build_meta(child, "parent_ring", in_vain[_i].ring);
	build_meta(child, "run_pid", in_vain[_i].run_pid);
	build_meta(child, "run_ticks", "7");
	open_child();
	ck_assert(!ml_inherit(trace));
	ck_assert_ptr_eq(ml_inherit_root(trace), trace);
}
END_TEST

/* A trace that calls itself its parent has no end of ancestors. */
START_TEST(test_its_own_parent)
{
	struct ml_fold *f;

	build_meta(parent, "parent_file", PARENT);
	build_meta(parent, "parent_ring", "0 0 1000");
	build_alloc(main_ring, ML_DOMAIN_OBJ, parent_shared, A, 10);
	note_fork();
	open_child();
	ck_assert(ml_inherit(trace));
	f = fold(0);
	ck_assert_uint_eq(f->totals.live_bytes, 10);
	ml_fold_free(f);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("inherit");
	TCase *tests = tcase_create("inherit");
	SRunner *runner = srunner_create(suite);
	int failed;

	tcase_add_checked_fixture(tests, setup, teardown);
	tcase_add_test(tests, test_blocks_of_the_parent);
	tcase_add_test(tests, test_definitions_of_the_parent);
	tcase_add_test(tests, test_what_another_thread_had_begun);
	tcase_add_test(tests, test_a_node_that_is_the_parents_alone);
	tcase_add_test(tests, test_several_children);
	tcase_add_test(tests, test_mappings_of_the_parent);
	tcase_add_loop_test(tests, test_in_vain, 0, (int)(sizeof in_vain / sizeof *in_vain));
	tcase_add_test(tests, test_its_own_parent);
	suite_add_tcase(suite, tests);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed != 0;
}
