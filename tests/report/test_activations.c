#include "report/activations.h"

#include <check.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "report/fold.h"
#include "report/invocations.h"
#include "report/site.h"
#include "tests/report/build_trace.h"

#define FUNCTION 1u
#define COROUTINE 0x81u
#define GENERATOR 0x21u

#define BLOCK 0x1000000u   /* where blocks are, 4096 bytes apart */
#define OBJECT 0x10000000u /* where coroutines are */

static struct build *b;
static struct ml_trace *trace;
static struct ml_sites sites;
static struct ml_site_nodes nodes;
static struct ml_activations *activations;
static struct ml_fold *fold;
static struct ml_fold_options options;
static const struct ml_activations_entries *entries;

/* A program: somebody else's loop calls the user's functions; the module is the user's too. */
static uint32_t loop, module, handle, task, stream, helper;

static void setup(void)
{
	static const char user[] = "/srv/app.py", other[] = "/lib/loop.py";

	b = build_new();
	build_meta(b, "root", "/srv");
	loop = build_code(b, other, "loop", 1, NULL, 0);
	module = build_code(b, user, "<module>", 1, NULL, 0);
	build_code_flags(b, FUNCTION);
	handle = build_code(b, user, "handle", 10, NULL, 0);
	helper = build_code(b, user, "Tools.helper", 20, NULL, 0);
	build_code_flags(b, COROUTINE);
	task = build_code(b, user, "task", 30, NULL, 0);
	build_code_flags(b, GENERATOR);
	stream = build_code(b, user, "stream", 40, NULL, 0);
	options = (struct ml_fold_options){.to_ns = UINT64_MAX};
	entries = NULL;
	activations = NULL;
	fold = NULL;
	sites = (struct ml_sites){0};
}

static void teardown(void)
{
	if (fold) {
		ml_fold_free(fold);
		ml_activations_free(activations);
		ml_site_nodes_free(&nodes);
		ml_sites_free(&sites);
		ml_load_close(trace);
	}
	build_done(b);
}

static uint32_t frame(uint32_t parent, uint32_t code, int64_t place)
{
	return build_node(b, parent, ML_NODE_PYTHON, code, place);
}

static void fold_trace(void)
{
	static const struct ml_scope scope = {"auto", "/srv", "file:/srv/app.py"};
	char path[64], *error;

	snprintf(path, sizeof path, "/tmp/memline-test-activations-%d", (int)getpid());
	build_write(b, path);
	trace = ml_load_open(path, &error);
	unlink(path);
	if (!trace)
		ck_abort_msg("%s", error);
	ml_sites_resolve(&sites, trace, &scope, &nodes);
	options.activations = activations = ml_activations_new(&nodes, &scope, entries);
	fold = ml_fold_run(trace, &options, NULL, NULL);
}

static void alloc(struct build_ring *r, uint32_t node, unsigned block, uint64_t bytes)
{
	build_alloc(r, ML_DOMAIN_OBJ, node, BLOCK + block * 4096u, bytes);
}

static void release(struct build_ring *r, uint32_t node, unsigned block)
{
	build_free(r, ML_DOMAIN_OBJ, node, BLOCK + block * 4096u);
}

static const struct ml_entry_function *function(const char *name)
{
	for (uint32_t i = 0; i < activations->functions_n; i++)
		if (!strcmp(activations->functions[i].code->name, name))
			return &activations->functions[i];
	return NULL;
}

static uint64_t ended(const char *name)
{
	const struct ml_entry_function *f = function(name);

	return f ? f->ended : 0;
}

static uint32_t unfinished(void)
{
	uint32_t n = 0;

	for (uint32_t i = 1; i < activations->n; i++)
		n += activations->items[i].users && !activations->items[i].ended;
	return n;
}

/* The i-th last invocation that has ended. */
static const struct ml_activation *last(const char *name, unsigned i)
{
	const struct ml_entry_function *f = function(name);

	ck_assert_uint_gt(f->ended, i);
	return &activations->items[f->last[(f->ended - 1 - i) % ML_ACTIVATIONS_LAST]];
}

START_TEST(tells_calls_apart)
{
	struct build_ring *r = build_ring(b, 100);
	uint32_t in_loop = frame(0, loop, 4), called = frame(in_loop, handle, 4), later = frame(in_loop, handle, 8);
	uint32_t deeper = frame(later, helper, 4), elsewhere = frame(frame(0, loop, 6), handle, 4);

	build_time(r, 1000000, 0);
	alloc(r, in_loop, 0, 10);
	alloc(r, called, 1, 100);
	build_time(r, 2000000, 0);
	alloc(r, deeper, 2, 1000);
	release(r, deeper, 1); /* the peak was 1100 */
	alloc(r, later, 3, 5);
	build_time(r, 3000000, 0);
	alloc(r, in_loop, 4, 10);
	alloc(r, called, 5, 50);
	alloc(r, elsewhere, 6, 60); /* called from another place, so another call */
	alloc(r, in_loop, 7, 10);
	release(r, in_loop, 3); /* whoever frees it */
	alloc(r, called, 8, 70);
	fold_trace();
	ck_assert_uint_eq(activations->functions_n, 1);
	ck_assert_uint_eq(ended("handle"), 3);
	ck_assert_uint_eq(unfinished(), 1);
	ck_assert_uint_eq(function("handle")->allocated_bytes, 1105 + 50 + 60);
	ck_assert_uint_eq(function("handle")->peak_bytes_max, 1100);
	ck_assert_uint_eq(function("handle")->peak_bytes, 1100 + 50 + 60);
	ck_assert_uint_eq(function("handle")->ns_max, 2000000);
	ck_assert_uint_eq(last("handle", 2)->live_bytes, 1000);
	ck_assert_uint_eq(last("handle", 2)->begin_ns, 1000000);
	ck_assert_uint_eq(last("handle", 2)->end_ns, 3000000);
	ck_assert_uint_eq(last("handle", 1)->live_bytes, 50);
	ck_assert_uint_eq(last("handle", 0)->live_bytes, 60);
}
END_TEST

/* Two calls with nothing between them are one; bodies of modules are no entry functions, and what they call is not. */
START_TEST(knows_what_an_entry_is)
{
	struct build_ring *r = build_ring(b, 100);
	uint32_t body = frame(0, module, 4), by_body = frame(body, handle, 4);
	uint32_t callback = frame(frame(by_body, loop, 4), helper, 4),
		 again = frame(frame(callback, loop, 4), helper, 4);
	uint32_t root = frame(0, helper, 4), cut = build_node(b, 0, ML_NODE_MARK, ML_MARK_TRUNCATED, 0);

	alloc(r, by_body, 0, 10);
	alloc(r, callback, 1, 100);
	alloc(r, callback, 2, 100);
	alloc(r, again, 3, 100);
	alloc(r, by_body, 4, 10);
	alloc(r, callback, 5, 50);
	alloc(r, root, 6, 1000); /* a thread that begins with it */
	alloc(r, frame(cut, handle, 4), 7, 10);
	fold_trace();
	ck_assert_uint_eq(activations->functions_n, 1);
	ck_assert_uint_eq(ended("Tools.helper"), 3);
	ck_assert_uint_eq(last("Tools.helper", 2)->live_bytes, 300);
	ck_assert_uint_eq(last("Tools.helper", 1)->live_bytes, 50);
	ck_assert_uint_eq(last("Tools.helper", 0)->live_bytes, 1000);
	ck_assert_uint_eq(unfinished(), 0);
}
END_TEST

/* A thread that takes over the ring of another is in no call of that one's, nor in its coroutine. */
START_TEST(tells_threads_apart)
{
	struct build_ring *r = build_ring(b, 100), *other = build_ring(b, 200);
	uint32_t in_loop = frame(0, loop, 4), called = frame(in_loop, handle, 4);

	alloc(r, called, 0, 1);
	alloc(other, called, 1, 10);
	alloc(r, called, 2, 1);
	alloc(other, called, 3, 10);
	build_owner(r, 300);
	alloc(r, called, 4, 100);
	alloc(other, in_loop, 5, 5);
	fold_trace();
	ck_assert_uint_eq(ended("handle"), 2);
	ck_assert_uint_eq(last("handle", 1)->live_bytes, 2);
	ck_assert_uint_eq(last("handle", 0)->live_bytes, 20);
	ck_assert_uint_eq(unfinished(), 1);
}
END_TEST

/* Their object's free ends them, in any block that begins up to 32 bytes before it. */
START_TEST(tells_coroutines_apart)
{
	struct build_ring *r = build_ring(b, 100), *other = build_ring(b, 200);
	uint32_t in_loop = frame(0, loop, 4), runs = frame(in_loop, task, 4), inside = frame(runs, helper, 4);
	uint32_t made = frame(in_loop, task, -1);

	build_alloc(r, ML_DOMAIN_OBJ, made, OBJECT, 200); /* by the loop */
	build_alloc(r, ML_DOMAIN_OBJ, made, OBJECT + 0x200, 200);
	build_alloc(r, ML_DOMAIN_OBJ, made, OBJECT + 0x400, 24); /* not long enough to be one */
	build_generator(r, OBJECT + 16);
	alloc(r, runs, 0, 1);
	alloc(r, in_loop, 1, 1000);
	build_generator(r, OBJECT + 0x220);
	alloc(r, inside, 2, 10);
	build_generator(r, OBJECT + 16);
	alloc(r, inside, 3, 2);
	build_generator(r, OBJECT + 0x220);
	alloc(r, runs, 4, 20);
	alloc(r, in_loop, 5, 1000);
	build_free(other, ML_DOMAIN_OBJ, in_loop, OBJECT); /* by any thread */
	build_free(r, ML_DOMAIN_OBJ, in_loop, OBJECT + 0x400);
	build_alloc(r, ML_DOMAIN_OBJ, made, OBJECT, 200); /* another one, at the same place */
	build_generator(r, OBJECT + 16);
	alloc(r, runs, 6, 100);
	build_generator(r, OBJECT + 0x420);
	alloc(r, runs, 7, 5000);
	build_free(r, ML_DOMAIN_OBJ, in_loop, OBJECT);
	build_alloc(r, ML_DOMAIN_OBJ, made, OBJECT + 0x400, 32); /* a free of this one was missed */
	build_alloc(r, ML_DOMAIN_OBJ, made, OBJECT + 0x400, 64);
	build_free(r, ML_DOMAIN_OBJ, in_loop, OBJECT + 0x200); /* two headers long */
	fold_trace();
	ck_assert_uint_eq(activations->functions_n, 1);
	ck_assert_uint_eq(ended("task"), 3);
	ck_assert_uint_eq(last("task", 2)->live_bytes, 3);
	ck_assert_uint_eq(last("task", 1)->live_bytes, 100);
	ck_assert_uint_eq(last("task", 0)->live_bytes, 30);
	ck_assert_uint_eq(unfinished(), 1);
}
END_TEST

/* The same object goes on although it was named before, or the record of it came before the other one's end. */
START_TEST(survives_names_that_come_early)
{
	struct build_ring *r = build_ring(b, 100), *other = build_ring(b, 200);
	uint32_t in_loop = frame(0, loop, 4), runs = frame(in_loop, task, 4);

	build_alloc(r, ML_DOMAIN_OBJ, in_loop, OBJECT, 200);
	build_generator(r, OBJECT + 16);
	alloc(r, runs, 0, 1);
	build_free(other, ML_DOMAIN_OBJ, in_loop, OBJECT);
	build_alloc(other, ML_DOMAIN_OBJ, in_loop, OBJECT, 200);
	alloc(r, runs, 1, 10); /* the recorder has not named it again: it is where the first was */
	alloc(r, in_loop, 2, 1);
	build_free(other, ML_DOMAIN_OBJ, in_loop, OBJECT);
	fold_trace();
	ck_assert_uint_eq(ended("task"), 2);
	ck_assert_uint_eq(last("task", 1)->live_bytes, 1);
	ck_assert_uint_eq(last("task", 0)->live_bytes, 10);
	ck_assert_uint_eq(unfinished(), 0);
}
END_TEST

/* A plain entry function that goes over a generator, or runs a loop of its own, is one call. */
START_TEST(keeps_what_is_called_in_a_call)
{
	struct build_ring *r = build_ring(b, 100);
	uint32_t in_loop = frame(0, loop, 4), called = frame(in_loop, handle, 4), going = frame(called, stream, 4);
	uint32_t nested = frame(frame(called, loop, 4), task, 4);

	alloc(r, called, 0, 1);
	build_generator(r, OBJECT);
	alloc(r, going, 1, 10);
	alloc(r, called, 2, 1);
	build_generator(r, OBJECT + 0x100);
	alloc(r, nested, 3, 100);
	build_generator(r, OBJECT);
	alloc(r, going, 4, 1000);
	alloc(r, in_loop, 5, 1);
	fold_trace();
	ck_assert_uint_eq(activations->functions_n, 1);
	ck_assert_uint_eq(ended("handle"), 1);
	ck_assert_uint_eq(last("handle", 0)->live_bytes, 1112);
}
END_TEST

static bool is_helper(const struct ml_activations_entries *e, const char *name)
{
	(void)e;
	return !strcmp(name, "Tools.helper");
}

/* Named functions inside two coroutines that take turns: a suspension does not end them. */
START_TEST(tells_calls_in_coroutines_apart)
{
	static const struct ml_activations_entries named = {is_helper};
	struct build_ring *r = build_ring(b, 100);
	uint32_t runs = frame(frame(0, loop, 4), task, 4), inside = frame(runs, helper, 4);

	entries = &named;
	build_generator(r, OBJECT);
	alloc(r, inside, 0, 1);
	build_generator(r, OBJECT + 0x100);
	alloc(r, inside, 1, 10);
	build_generator(r, OBJECT);
	alloc(r, inside, 2, 1);
	alloc(r, runs, 3, 1000);
	alloc(r, inside, 4, 100);
	build_generator(r, OBJECT + 0x100);
	alloc(r, inside, 5, 10);
	alloc(r, runs, 6, 1000);
	build_generator(r, OBJECT);
	alloc(r, runs, 7, 1000);
	fold_trace();
	ck_assert_uint_eq(activations->functions_n, 1);
	ck_assert_uint_eq(ended("Tools.helper"), 3);
	ck_assert_uint_eq(last("Tools.helper", 2)->live_bytes, 2);
	ck_assert_uint_eq(last("Tools.helper", 1)->live_bytes, 20);
	ck_assert_uint_eq(last("Tools.helper", 0)->live_bytes, 100);
}
END_TEST

/* A realloc belongs to the call in which it was begun; in a window only what begins in it counts. */
START_TEST(counts_a_window)
{
	struct build_ring *r = build_ring(b, 100);
	uint32_t in_loop = frame(0, loop, 4), called = frame(in_loop, handle, 4);

	alloc(r, called, 0, 1);
	build_time(r, 5000000, 0);
	alloc(r, called, 1, 10);
	alloc(r, in_loop, 2, 1);
	alloc(r, called, 3, 100);
	build_realloc(r, ML_DOMAIN_OBJ, called, BLOCK, BLOCK + 4 * 4096u, 300);
	release(r, in_loop, 1);
	options.from_ns = 5000000;
	fold_trace();
	ck_assert_uint_eq(ended("handle"), 1);
	ck_assert_uint_eq(last("handle", 0)->live_bytes, 400);
	ck_assert_uint_eq(unfinished(), 0);
}
END_TEST

/* What has nothing live and is none of the last takes no memory. */
START_TEST(is_bounded)
{
	struct build_ring *r = build_ring(b, 100);
	uint32_t in_loop = frame(0, loop, 4), called = frame(in_loop, handle, 4), runs = frame(in_loop, task, 4);

	for (unsigned i = 0; i < 5000; i++) {
		alloc(r, called, i % 50, i % 500 ? 100 : 1);
		alloc(r, in_loop, 100, 1);
		release(r, in_loop, 100);
		build_alloc(r, ML_DOMAIN_OBJ, in_loop, OBJECT + i % 7 * 0x100, 200);
		build_generator(r, OBJECT + i % 7 * 0x100);
		alloc(r, runs, 100, 10);
		release(r, in_loop, 100);
		build_free(r, ML_DOMAIN_OBJ, in_loop, OBJECT + i % 7 * 0x100);
		if (i % 50 == 49)
			for (unsigned k = 0; k < 50; k++)
				release(r, in_loop, k);
	}
	fold_trace();
	ck_assert_uint_eq(ended("handle"), 5000);
	ck_assert_uint_eq(ended("task"), 5000);
	ck_assert_uint_eq(function("task")->peak_bytes, 50000);
	ck_assert_uint_lt(activations->n, 150);
	ck_assert_uint_eq(fold->totals.live_bytes, 0);
}
END_TEST

/* Random turns against a model that knows who runs. */

#define THREADS 3
#define TASKS 8
#define BLOCKS 200
#define STEPS 20000
#define CALLS_MAX (STEPS + 1)

struct call {
	uint64_t allocated, live, peak;
	bool coroutine, ended;
};

struct model {
	struct call calls[CALLS_MAX];
	uint32_t n;
	uint32_t running[THREADS]; /* the plain call, 0: none */
	uint32_t coroutine[TASKS]; /* its call; 0: it has not run yet, or isn't there */
	bool there[TASKS];
	uint32_t named[THREADS]; /* task plus 1 */
	uint32_t owner[BLOCKS];
	uint64_t bytes[BLOCKS];
};

static uint32_t any(uint32_t below)
{
	static uint64_t state = 88172645463325252u;

	state ^= state << 13;
	state ^= state >> 7;
	state ^= state << 17;
	return (uint32_t)(state % below);
}

static void end_call(struct model *m, uint32_t *call)
{
	if (*call)
		m->calls[*call].ended = true;
	*call = 0;
}

static uint32_t call_of(struct model *m, uint32_t *running, bool coroutine)
{
	if (!*running) {
		*running = ++m->n;
		m->calls[m->n].coroutine = coroutine;
	}
	return *running;
}

static void act(struct model *m, struct build_ring *r, uint32_t node, uint32_t call)
{
	uint32_t block = any(BLOCKS);
	struct call *owner = &m->calls[m->owner[block]];

	if (m->bytes[block]) {
		release(r, node, block);
		owner->live -= m->bytes[block];
		m->bytes[block] = 0;
		return;
	}
	m->bytes[block] = 1 + any(1000);
	m->owner[block] = call;
	owner = &m->calls[call];
	alloc(r, node, block, m->bytes[block]);
	owner->allocated += m->bytes[block];
	owner->live += m->bytes[block];
	if (owner->peak < owner->live)
		owner->peak = owner->live;
}

static void step(struct model *m, struct build_ring **rings, const uint32_t *at)
{
	enum { IN_LOOP, CALLED, CALLED_DEEPER, RUNS, RUNS_DEEPER };
	uint32_t thread = any(THREADS), t = any(TASKS), deeper = any(2);
	struct build_ring *r = rings[thread];

	switch (any(4)) {
	case 0:
		end_call(m, &m->running[thread]);
		act(m, r, at[IN_LOOP], 0);
		break;
	case 1:
		act(m, r, at[CALLED + deeper], call_of(m, &m->running[thread], false));
		break;
	case 2:
		end_call(m, &m->running[thread]);
		if (!m->there[t]) {
			build_alloc(r, ML_DOMAIN_OBJ, at[IN_LOOP], OBJECT + t * 0x100, 200);
			m->there[t] = true;
		}
		if (m->named[thread] != t + 1)
			build_generator(r, OBJECT + t * 0x100 + 16);
		m->named[thread] = t + 1;
		act(m, r, at[RUNS + deeper], call_of(m, &m->coroutine[t], true));
		break;
	case 3:
		if (!m->there[t])
			break;
		end_call(m, &m->running[thread]);
		build_free(r, ML_DOMAIN_OBJ, at[IN_LOOP], OBJECT + t * 0x100);
		end_call(m, &m->coroutine[t]);
		m->there[t] = false;
		break;
	}
}

START_TEST(agrees_with_a_model)
{
	struct build_ring *rings[THREADS] = {build_ring(b, 1), build_ring(b, 2), build_ring(b, 3)};
	struct model *m = calloc(1, sizeof *m);
	uint32_t at[5], open = 0;
	uint64_t sums[2][4] = {{0}}, live = 0;

	at[0] = frame(0, loop, 4);
	at[1] = frame(at[0], handle, 4);
	at[2] = frame(at[1], helper, 4);
	at[3] = frame(at[0], task, 4);
	at[4] = frame(at[3], helper, 4);
	for (int i = 0; i < STEPS; i++)
		step(m, rings, at);
	fold_trace();
	for (uint32_t i = 1; i <= m->n; i++) {
		const struct call *c = &m->calls[i];
		open += !c->ended;
		live += c->live;
		if (!c->ended)
			continue;
		sums[c->coroutine][0]++;
		sums[c->coroutine][1] += c->allocated;
		sums[c->coroutine][2] += c->peak;
		if (sums[c->coroutine][3] < c->peak)
			sums[c->coroutine][3] = c->peak;
	}
	for (int i = 0; i < 2; i++) {
		const struct ml_entry_function *f = function(i ? "task" : "handle");
		ck_assert_uint_gt(f->ended, 1000);
		ck_assert_uint_eq(f->ended, sums[i][0]);
		ck_assert_uint_eq(f->allocated_bytes, sums[i][1]);
		ck_assert_uint_eq(f->peak_bytes, sums[i][2]);
		ck_assert_uint_eq(f->peak_bytes_max, sums[i][3]);
	}
	ck_assert_uint_eq(unfinished(), open);
	for (uint32_t i = 1; i < activations->n; i++)
		live -= activations->items[i].live_bytes;
	ck_assert_uint_eq(live, 0);
	free(m);
}
END_TEST

/* Of two traces, which together have six calls: sums, the last of each, and lines. */
START_TEST(sums_up)
{
	struct ml_invocations sum = {0};
	struct build_ring *r = build_ring(b, 100);
	uint32_t in_loop = frame(0, loop, 4), called = frame(in_loop, handle, 4), deeper = frame(called, helper, 4);

	for (unsigned i = 0; i < 3; i++) {
		alloc(r, called, 10 * i, 100);
		alloc(r, deeper, 10 * i + 1, 1000);
		alloc(r, deeper, 10 * i + 2, 7);
		alloc(r, in_loop, 10 * i + 3, 1);
		release(r, in_loop, 10 * i + 2);
	}
	alloc(r, called, 50, 5);
	fold_trace();
	ml_sites_add(&sites, &nodes, fold, 0);
	ml_invocations_add(&sum, &nodes, activations, fold);
	ml_invocations_add(&sum, &nodes, activations, fold);
	ml_sites_sort(&sites);
	ml_invocations_finish(&sum, &sites);
	ck_assert_uint_eq(sum.n, 1);
	ck_assert_str_eq(sum.items->name, "handle");
	ck_assert_str_eq(sum.items->file, "/srv/app.py");
	ck_assert_uint_eq(sum.items->ended, 6);
	ck_assert_uint_eq(sum.items->unfinished, 2);
	ck_assert_uint_eq(sum.items->unfinished_live_bytes, 10);
	ck_assert_uint_eq(sum.items->allocated_bytes, 6 * 1107);
	ck_assert_uint_eq(sum.items->retained_bytes, 6 * 1100);
	ck_assert_uint_eq(sum.items->retained_blocks, 12);
	ck_assert_uint_eq(sum.items->last, 6);
	ck_assert_uint_eq(sum.items->last_retained_bytes, 6 * 1100);
	ck_assert_uint_eq(sum.items->lines_n, 2);
	ck_assert_uint_eq(sum.items->lines[0].bytes, 6000);
	ck_assert_str_eq(sum.items->lines[0].function->name, "Tools.helper");
	ck_assert_uint_eq(sum.items->lines[1].bytes, 600);
	ck_assert_uint_eq(sum.items->lines[1].blocks, 6);
	ml_invocations_free(&sum);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("activations");
	TCase *c = tcase_create("activations");
	SRunner *r = srunner_create(s);
	int failed;

	suite_add_tcase(s, c);
	tcase_add_checked_fixture(c, setup, teardown);
	tcase_add_test(c, tells_calls_apart);
	tcase_add_test(c, knows_what_an_entry_is);
	tcase_add_test(c, tells_threads_apart);
	tcase_add_test(c, tells_coroutines_apart);
	tcase_add_test(c, survives_names_that_come_early);
	tcase_add_test(c, keeps_what_is_called_in_a_call);
	tcase_add_test(c, tells_calls_in_coroutines_apart);
	tcase_add_test(c, counts_a_window);
	tcase_add_test(c, is_bounded);
	tcase_add_test(c, agrees_with_a_model);
	tcase_add_test(c, sums_up);
	srunner_run_all(r, CK_NORMAL);
	failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
