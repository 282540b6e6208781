/* Who gets which bytes: anchors, scope, recursion, folding; and every number against a walk of each event's stack. */
#include "report/site.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/report/frames.h"

static struct ml_options options;

static void set_up(void)
{
	ml_options_init(&options);
}

static struct ml_reading read_one(struct build *b)
{
	struct ml_reading r = {0};

	frames_read(&r, b, "trace", &options);
	ml_reading_finish(&r, &options);
	ck_assert_int_eq(frames_sum(&r), (int64_t)(r.totals.live_bytes - r.totals.start_live_bytes));
	return r;
}

#define line_is(r, name, number, increment, own)                                                                       \
	do {                                                                                                           \
		const struct ml_line *l_ = frames_line(r, name, number);                                               \
		ck_assert_msg(l_ != NULL, "%s has no line %d", name, number);                                          \
		ck_assert_int_eq(l_->increment_bytes, increment);                                                      \
		ck_assert_int_eq(l_->own_increment_bytes, own);                                                        \
	} while (0)

START_TEST(test_own_and_inclusive)
{
	struct build *b = frames_new(ML_LINES_LINETABLE);
	uint32_t main_code = frames_code(b, frames_path("app.py"), "main", 10, 9);
	uint32_t f_code = frames_code(b, frames_path("app.py"), "f", 20, 9);
	uint32_t call = frames_node(b, 0, main_code, 10, 12);
	uint32_t in_f = frames_node(b, call, f_code, 20, 21);
	uint32_t native = frames_native(b, in_f);
	struct build_ring *ring = build_ring(b, 1);
	struct ml_reading r;

	build_alloc(ring, ML_DOMAIN_OBJ, in_f, 0x1000, 100);
	build_alloc(ring, ML_DOMAIN_C, native, 0x2000, 1000);
	build_alloc(ring, ML_DOMAIN_OBJ, call, 0x3000, 7);
	build_free(ring, ML_DOMAIN_OBJ, call, 0x1000);
	r = read_one(b);
	line_is(&r, "main", 12, 1007, -93);
	line_is(&r, "f", 21, 1100, 1100);
	ck_assert_ptr_null(frames_line(&r, "f", 20));
	ck_assert_uint_eq(frames_line(&r, "f", 21)->live_bytes, 1000);
	ck_assert_uint_eq(frames_line(&r, "f", 21)->live_blocks, 1);
	ck_assert_uint_eq(frames_line(&r, "f", 21)->allocations, 2);
	ck_assert_uint_eq(frames_line(&r, "f", 21)->allocated_bytes, 1100);
	ck_assert_uint_eq(frames_line(&r, "f", 21)->peak_bytes, 1100);
	ck_assert_uint_eq(frames_line(&r, "main", 12)->live_bytes, 7);
	ck_assert_uint_eq(frames_line(&r, "main", 12)->inclusive_live_bytes, 1007);
	/* what was in use when the line last finished an event, and 1 MiB of baseline */
	ck_assert_uint_eq(frames_line(&r, "f", 21)->mem_bytes, (1 << 20) + 1100);
	ck_assert_uint_eq(frames_line(&r, "main", 12)->mem_bytes, (1 << 20) + 1007);
	ck_assert_str_eq(r.sites.functions[0].name, "f");
	ml_reading_close(&r);
}
END_TEST

START_TEST(test_recursion_counts_once)
{
	struct build *b = frames_new(ML_LINES_LINETABLE);
	uint32_t f = frames_code(b, frames_path("app.py"), "f", 1, 9),
		 g = frames_code(b, frames_path("app.py"), "g", 11, 9);
	uint32_t f1 = frames_node(b, 0, f, 1, 3), g1 = frames_node(b, f1, g, 11, 12), f2 = frames_node(b, g1, f, 1, 3);
	uint32_t other = frames_node(b, f2, f, 1, 4);
	struct build_ring *ring = build_ring(b, 1);
	struct ml_reading r;

	build_alloc(ring, ML_DOMAIN_OBJ, f2, 0x1000, 100);
	build_alloc(ring, ML_DOMAIN_OBJ, other, 0x2000, 10);
	build_alloc(ring, ML_DOMAIN_OBJ, f1, 0x3000, 1);
	r = read_one(b);
	line_is(&r, "f", 3, 111, 101);
	line_is(&r, "f", 4, 10, 10);
	line_is(&r, "g", 12, 110, 0);
	ml_reading_close(&r);
}
END_TEST

START_TEST(test_scope_and_outside)
{
	struct build *b = frames_new(ML_LINES_LINETABLE);
	uint32_t own = frames_code(b, "pkg/../app.py", "main", 1, 9); /* relative, as __main__ was before 3.9 */
	uint32_t library = frames_code(b, "/usr/lib/python3.10/json/decoder.py", "decode", 1, 9);
	uint32_t dynamic = frames_code(b, "<string>", "<module>", 1, 9);
	uint32_t alone = frames_node(b, 0, library, 1, 2);
	uint32_t main_line = frames_node(b, 0, own, 1, 5), in_library = frames_node(b, main_line, library, 1, 3);
	uint32_t executed = frames_node(b, main_line, dynamic, 1, 7);
	uint32_t bare = frames_native(b, 0);
	struct build_ring *ring = build_ring(b, 1);
	struct ml_reading r;

	build_alloc(ring, ML_DOMAIN_OBJ, alone, 0x1000, 1);
	build_alloc(ring, ML_DOMAIN_OBJ, in_library, 0x2000, 10);
	build_alloc(ring, ML_DOMAIN_OBJ, executed, 0x3000, 100);
	build_alloc(ring, ML_DOMAIN_C, bare, 0x4000, 1000);
	build_alloc(ring, ML_DOMAIN_C, 0, 0x5000, 10000);
	r = read_one(b);
	ck_assert_uint_eq(r.sites.functions_n, 1);
	ck_assert_str_eq(r.sites.functions[0].file, frames_path("app.py"));
	line_is(&r, "main", 5, 110, 110);
	ck_assert_int_eq(r.sites.out_of_scope.increment_bytes, 1);
	ck_assert_uint_eq(r.sites.out_of_scope.live_bytes, 1);
	ck_assert_int_eq(r.sites.native.increment_bytes, 11000);
	ml_reading_close(&r);
}
END_TEST

START_TEST(test_scope_by_option)
{
	struct build *b = frames_new(ML_LINES_LINETABLE);
	uint32_t own = frames_code(b, frames_path("app.py"), "main", 1, 9);
	uint32_t library = frames_code(b, "/usr/lib/python3.10/json/decoder.py", "decode", 1, 9);
	uint32_t in_library = frames_node(b, frames_node(b, 0, own, 1, 5), library, 1, 3);
	struct ml_reading r;

	build_meta(b, "option.SCOPE", "nowhere/*");
	build_alloc(build_ring(b, 1), ML_DOMAIN_OBJ, in_library, 0x2000, 10);
	options.scope = strdup("*/json");
	r = read_one(b);
	ck_assert_uint_eq(r.sites.functions_n, 1);
	line_is(&r, "decode", 3, 10, 10);
	ml_reading_close(&r);
	ml_options_free(&options);
	ml_options_init(&options);
	/* the recorded scope */
	frames_read(&r, frames_new(ML_LINES_LINETABLE), "empty", &options);
	ml_reading_close(&r);
}
END_TEST

/* `python -c TEXT` is a program; what code executes by exec() is not, whatever its name. */
START_TEST(test_program_text)
{
	struct build *b = frames_new(ML_LINES_LINETABLE);
	uint32_t text = frames_code(b, "<string>", "<module>", 1, 9), f = frames_code(b, "<string>", "f", 2, 3);
	uint32_t line = frames_node(b, 0, text, 1, 4), in_f = frames_node(b, line, f, 2, 3);
	uint32_t executed = frames_node(b, line, text, 1, 9);
	struct build_ring *ring = build_ring(b, 1);
	struct ml_reading r;

	build_meta(b, "program", "command");
	build_meta(b, "arg", "python");
	build_meta(b, "arg", "-Ic");
	build_meta(b, "arg", "one\ntwo\nthree\nfour");
	build_alloc(ring, ML_DOMAIN_OBJ, line, 0x1000, 1);
	build_alloc(ring, ML_DOMAIN_OBJ, in_f, 0x2000, 10);
	build_alloc(ring, ML_DOMAIN_OBJ, executed, 0x3000, 100);
	r = read_one(b);
	line_is(&r, "<module>", 4, 111, 101);
	line_is(&r, "f", 3, 10, 10);
	ck_assert_ptr_null(frames_line(&r, "<module>", 9));
	ck_assert_int_eq(frames_function(&r, "f")->source->lines, 4);
	ml_reading_close(&r);
}
END_TEST

/* Names are bare: the innermost function around the first line takes the code. */
START_TEST(test_folding_by_lines)
{
	struct build *b = frames_new(ML_LINES_LINETABLE);
	const char *file = frames_path("app.py");
	uint32_t codes[] = {
		frames_code(b, file, "<setcomp>", 12, 1),
		frames_code(b, file, "<module>", 1, 90),
		frames_code(b, file, "outer", 10, 20),
		frames_code(b, file, "inner", 12, 5),
		frames_code(b, file, "<lambda>", 25, 1),
		frames_code(b, file, "<genexpr>", 50, 2),
		frames_code(b, frames_path("other.py"), "<dictcomp>", 13, 1),
		frames_code(b, file, "<listcomp>", 13, 2),
	};
	const uint32_t first[] = {12, 1, 10, 12, 25, 50, 13, 13};
	struct build_ring *ring = build_ring(b, 1);
	struct ml_reading r;
	uint64_t size = 1;
	size_t i;

	for (i = 0; i < sizeof(codes) / sizeof(codes[0]); i++, size *= 10)
		build_alloc(ring, ML_DOMAIN_OBJ, frames_node(b, 0, codes[i], first[i], first[i]), 0x1000 * size, size);
	r = read_one(b);
	line_is(&r, "inner", 13, 10000000, 10000000);
	line_is(&r, "inner", 12, 1001, 1001); /* on the line of the def, and seen before it */
	line_is(&r, "outer", 25, 10000, 10000);
	line_is(&r, "outer", 10, 100, 100);
	ck_assert_int_eq(frames_function(&r, "outer")->first_line, 10);
	ck_assert_uint_eq(r.sites.functions_n, 4);
	for (i = 0; i < r.sites.functions_n; i++) {
		const struct ml_function *f = &r.sites.functions[i];
		if (strcmp(f->name, "<module>"))
			continue;
		ck_assert_int_eq(f->first_line, 1);
		ck_assert_int_eq(f->increment_bytes, strcmp(f->file, file) ? 1000000 : 100010);
	}
	ml_reading_close(&r);
}
END_TEST

/* Names are qualified: they say whose code it is, also where two functions have one name. */
START_TEST(test_folding_by_names)
{
	struct build *b = frames_new(ML_LINES_LOCATIONS);
	const char *file = frames_path("app.py");
	static const struct {
		const char *name;
		uint32_t first_line, lines;
		const char *host;
		int host_line;
	} codes[] = {
		{"C.x", 10, 5, "C.x", 10},
		{"C.x", 20, 5, "C.x", 20},
		{"C.x.<locals>.<lambda>", 22, 1, "C.x", 20},
		{"C.x.<locals>.<listcomp>.<locals>.<genexpr>", 12, 1, "C.x", 10},
		{"<lambda>", 11, 1, "<module>", 1}, /* in a decorator, say */
		{"C.<lambda>", 30, 1, "C", 30},     /* the class body was not seen */
		{"gone.<locals>.<setcomp>", 40, 1, "gone", 40},
		{"f.<locals>.g", 50, 9, "f.<locals>.g", 50},
		{"f.<locals>.g.<locals>.<dictcomp>", 51, 1, "f.<locals>.g", 50},
		{"<lambda>.<locals>.<lambda>", 60, 1, "<module>", 1},
		{"f.<locals>.<generic parameters of g>", 50, 1, "f", 50}, /* what is around it was not seen */
		{"<generic parameters of C>", 70, 1, "<module>", 1},
		{"f.<locals>.g.<locals>.<generic parameters of h>", 52, 1, "f.<locals>.g", 50},
	};
	struct build_ring *ring = build_ring(b, 1);
	struct ml_reading r;
	uint64_t size = 1;
	size_t i, k;

	for (i = 0; i < sizeof(codes) / sizeof(codes[0]); i++, size *= 10) {
		uint32_t code = frames_code(b, file, codes[i].name, codes[i].first_line, codes[i].lines);
		uint32_t node = frames_node(b, 0, code, codes[i].first_line, codes[i].first_line);
		build_alloc(ring, ML_DOMAIN_OBJ, node, 0x10000 * (i + 1), size);
	}
	r = read_one(b);
	for (i = 0, size = 1; i < sizeof(codes) / sizeof(codes[0]); i++, size *= 10) {
		int found = 0;
		for (k = 0; k < r.sites.functions_n; k++) {
			const struct ml_function *f = &r.sites.functions[k];
			size_t line;
			if (strcmp(f->name, codes[i].host) || f->first_line != codes[i].host_line)
				continue;
			for (line = 0; line < f->lines_n; line++)
				found += f->lines[line].line == (int)codes[i].first_line &&
					 f->lines[line].increment_bytes == (int64_t)size;
		}
		ck_assert_msg(found == 1, "%s is not in %s of line %d", codes[i].name, codes[i].host,
			      codes[i].host_line);
	}
	ml_reading_close(&r);
}
END_TEST

START_TEST(test_damaged_line_numbers)
{
	struct build *b = frames_new(ML_LINES_LINETABLE);
	uint32_t zero = frames_code(b, frames_path("app.py"), "zero", 0, 2);
	uint32_t large = frames_code(b, frames_path("app.py"), "large", UINT32_MAX, 2);
	struct build_ring *ring = build_ring(b, 1);
	struct ml_reading r;

	build_alloc(ring, ML_DOMAIN_OBJ, build_node(b, 0, ML_NODE_PYTHON, zero, INT64_MIN), 0x1000, 1);
	build_alloc(ring, ML_DOMAIN_OBJ, build_node(b, 0, ML_NODE_PYTHON, large, INT64_MAX), 0x2000, 2);
	build_alloc(ring, ML_DOMAIN_OBJ, build_node(b, 0, ML_NODE_PYTHON, 4711, 0), 0x3000, 4);
	r = read_one(b);
	line_is(&r, "zero", 1, 1, 1);
	line_is(&r, "large", INT32_MAX, 2, 2);
	ck_assert_int_eq(r.sites.out_of_scope.increment_bytes, 4);
	ml_reading_close(&r);
}
END_TEST

START_TEST(test_several_traces)
{
	struct ml_reading r = {0};
	int i;

	for (i = 0; i < 3; i++) {
		struct build *b = frames_new(ML_LINES_LINETABLE);
		/* numbered otherwise in each process */
		uint32_t unused = i ? frames_code(b, frames_path("app.py"), "g", 30, 3) : 0;
		uint32_t f = frames_code(b, frames_path("app.py"), "f", 10, 5);
		uint32_t node = frames_node(b, 0, f, 10, 12 + (i == 2));
		(void)unused;
		build_alloc(build_ring(b, 1), ML_DOMAIN_OBJ, node, 0x1000, 100);
		frames_read(&r, b, "trace", &options);
	}
	ml_reading_finish(&r, &options);
	ck_assert_uint_eq(r.sites.functions_n, 1);
	line_is(&r, "f", 12, 200, 200);
	line_is(&r, "f", 13, 100, 100);
	ck_assert_uint_eq(frames_line(&r, "f", 12)->mem_bytes, 2 * ((1 << 20) + 100));
	ck_assert_uint_eq(r.totals.live_bytes, 300);
	ck_assert_uint_eq(r.baseline_rss, 3 << 20);
	ck_assert_uint_eq(r.pids_n, 1); /* one pid, three times */
	ml_reading_close(&r);
}
END_TEST

/* Random trees and events; every line's numbers added up by walking the stack of each event. */

enum { FUNCTIONS = 4, LINES = 3, NODES = 60, EVENTS = 300 };

struct model {
	int64_t increment[FUNCTIONS][LINES];
	int64_t own[FUNCTIONS][LINES];
	int64_t out_of_scope, native;
	uint64_t last_live[FUNCTIONS][LINES];
	uint32_t parent[NODES], function[NODES], line[NODES]; /* function FUNCTIONS: out of scope; + 1: native */
};

static bool is_in_scope(const struct model *m, uint32_t node)
{
	for (; node; node = m->parent[node])
		if (m->function[node] < FUNCTIONS)
			return true;
	return false;
}

/* A free of what no line in scope had allocated is none of a line's doing. */
static uint32_t doer(const struct model *m, uint32_t node, uint32_t owner)
{
	return is_in_scope(m, node) && !is_in_scope(m, owner) ? owner : node;
}

static void count_last(struct model *m, uint32_t node, uint64_t live)
{
	for (; node; node = m->parent[node])
		if (m->function[node] < FUNCTIONS)
			m->last_live[m->function[node]][m->line[node]] = live;
}

static void count_event(struct model *m, uint32_t node, int64_t bytes)
{
	bool seen[FUNCTIONS][LINES] = {{false}};
	bool anchored = false, python = false;

	for (; node; node = m->parent[node]) {
		uint32_t f = m->function[node], l = m->line[node];
		python |= f <= FUNCTIONS;
		if (f >= FUNCTIONS)
			continue;
		if (!anchored)
			m->own[f][l] += bytes;
		anchored = true;
		if (!seen[f][l])
			m->increment[f][l] += bytes;
		seen[f][l] = true;
	}
	if (!anchored && python)
		m->out_of_scope += bytes;
	else if (!anchored)
		m->native += bytes;
}

static uint32_t state;

static uint32_t below(uint32_t n)
{
	state = state * 1664525 + 1013904223;
	return (uint32_t)((uint64_t)state * n >> 32);
}

static void make_tree(struct model *m, struct build *b)
{
	uint32_t codes[FUNCTIONS + 1], n, i;
	char name[8];

	for (i = 0; i <= FUNCTIONS; i++) {
		snprintf(name, sizeof(name), "f%u", i);
		codes[i] = frames_code(b, i < FUNCTIONS ? frames_path("app.py") : "/elsewhere/x.py", name, 10 * i + 1,
				       LINES);
	}
	for (n = 1; n < NODES; n++) {
		m->parent[n] = below(n);
		m->function[n] = below(FUNCTIONS + 2);
		m->line[n] = below(LINES);
		if (m->function[n] <= FUNCTIONS)
			frames_node(b, m->parent[n], codes[m->function[n]], 10 * m->function[n] + 1,
				    10 * m->function[n] + 1 + m->line[n]);
		else
			frames_native(b, m->parent[n]);
	}
}

static void make_events(struct model *m, struct build *b)
{
	struct build_ring *rings[2] = {build_ring(b, 1), build_ring(b, 2)};
	uint64_t sizes[16] = {0}, live = 0;
	uint32_t owners[16];
	int i;

	for (i = 0; i < EVENTS; i++) {
		uint32_t node = below(NODES), block = below(16), size = below(1000);
		struct build_ring *ring = rings[below(2)];
		int64_t bytes;

		if (sizes[block]) {
			bytes = -(int64_t)sizes[block];
			build_free(ring, ML_DOMAIN_OBJ, node, 0x1000 * (block + 1));
			sizes[block] = 0;
			count_event(m, doer(m, node, owners[block]), bytes);
		} else {
			bytes = (int64_t)(sizes[block] = size + 1);
			build_alloc(ring, ML_DOMAIN_OBJ, node, 0x1000 * (block + 1), size + 1);
			owners[block] = node;
			count_event(m, node, bytes);
		}
		live += (uint64_t)bytes;
		count_last(m, node, live);
	}
}

START_TEST(test_random_trees)
{
	struct build *b = frames_new(ML_LINES_LINETABLE);
	static struct model m;
	struct ml_reading r;
	uint32_t f, l;

	state = (uint32_t)_i + 1;
	m = (struct model){.out_of_scope = 0};
	make_tree(&m, b);
	make_events(&m, b);
	r = read_one(b);
	ck_assert_int_eq(r.sites.out_of_scope.increment_bytes, m.out_of_scope);
	ck_assert_int_eq(r.sites.native.increment_bytes, m.native);
	for (f = 0; f < FUNCTIONS; f++) {
		for (l = 0; l < LINES; l++) {
			char name[8];
			const struct ml_line *line;
			if (!m.last_live[f][l])
				continue;
			snprintf(name, sizeof(name), "f%u", f);
			line = frames_line(&r, name, (int)(10 * f + 1 + l));
			ck_assert_ptr_nonnull(line);
			ck_assert_int_eq(line->increment_bytes, m.increment[f][l]);
			ck_assert_int_eq(line->own_increment_bytes, m.own[f][l]);
			ck_assert_uint_eq(line->mem_bytes, (1 << 20) + m.last_live[f][l]);
		}
	}
	ml_reading_close(&r);
}
END_TEST

START_TEST(test_file_names)
{
	static const struct {
		const char *cwd, *file, *path;
	} cases[] = {
		{"/srv", "/a/b.py", "/a/b.py"},
		{"/srv", "b.py", "/srv/b.py"},
		{"/srv/", "./b.py", "/srv/b.py"},
		{"/srv/x", "../b.py", "/srv/b.py"},
		{"/srv", "../../../b.py", "/b.py"},
		{"/", "b.py", "/b.py"},
		{"/srv", "/a//./c/../b.py", "/a/b.py"},
		{"/srv", "<string>", "<string>"},
		{NULL, "b.py", "b.py"},
		{NULL, "/a/../b.py", "/b.py"},
		{"/srv", "...", "/srv/..."},
	};
	size_t i;

	for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		char *path = ml_site_file(cases[i].cwd, cases[i].file);
		ck_assert_str_eq(path, cases[i].path);
		free(path);
	}
}
END_TEST

#define ran(r, name, number, times, more)                                                                              \
	do {                                                                                                           \
		const struct ml_line *l_ = frames_line(r, name, number);                                               \
		ck_assert_msg(l_ && l_->counted, "%s has no count of line %d", name, number);                          \
		ck_assert_uint_eq(l_->occurrences, times);                                                             \
		ck_assert_int_eq(l_->at_least, more);                                                                  \
	} while (0)

/* Each code object has counts of its own; where one is folded, the function around it has them. */
START_TEST(test_counts)
{
	struct build *b = frames_new(ML_LINES_LOCATIONS);
	uint32_t f = frames_code(b, frames_path("app.py"), "f", 1, 9);
	uint32_t lambda = frames_code(b, frames_path("app.py"), "f.<locals>.<lambda>", 3, 2);
	uint32_t library = frames_code(b, "/usr/lib/python3.12/json/decoder.py", "decode", 1, 9);
	struct build_ring *ring = build_ring(b, 1);
	struct ml_reading r;

	build_count_never(b, f, 2, 1);
	build_alloc(ring, ML_DOMAIN_OBJ, frames_node(b, 0, f, 1, 5), 0x1000, 100);
	build_count(b, f, 3, 1);
	build_count(b, lambda, 3, 20);
	build_count(b, library, 2, 7);
	build_alloc(ring, ML_DOMAIN_OBJ, 0, 0x2000, 1000);
	build_count(b, f, 4, ML_COUNT_MAX);
	build_count(b, f, 6, ML_COUNT_MAX + 1);
	build_count(b, f, 5, 2);
	r = read_one(b);
	ck_assert_uint_eq(r.sites.functions_n, 1);
	ran(&r, "f", 2, 1, false);
	ran(&r, "f", 3, 21, false);
	ran(&r, "f", 4, ML_COUNT_MAX, false);
	ran(&r, "f", 6, ML_COUNT_MAX, true);
	/* When line 5 last ran there was more than behind its event; of line 6 it isn't known. */
	ck_assert_uint_eq(frames_line(&r, "f", 3)->mem_bytes, (1 << 20) + 100);
	ck_assert_uint_eq(frames_line(&r, "f", 5)->mem_bytes, (1 << 20) + 1100);
	ck_assert_uint_eq(frames_line(&r, "f", 6)->mem_bytes, 0);
	ck_assert_ptr_null(frames_line(&r, "f", 7));
	ml_reading_close(&r);
}
END_TEST

/* An event behind the last run's beginning is the line's last. */
START_TEST(test_memory_of_counted_lines)
{
	struct build *b = frames_new(ML_LINES_LOCATIONS);
	uint32_t f = frames_code(b, frames_path("app.py"), "f", 1, 9);
	struct build_ring *ring = build_ring(b, 1);
	struct ml_reading r;

	build_alloc(ring, ML_DOMAIN_OBJ, 0, 0x1000, 100);
	build_count(b, f, 2, 1);
	build_alloc(ring, ML_DOMAIN_OBJ, frames_node(b, 0, f, 1, 2), 0x2000, 1000);
	build_alloc(ring, ML_DOMAIN_OBJ, 0, 0x3000, 10000);
	r = read_one(b);
	ck_assert_uint_eq(frames_line(&r, "f", 2)->mem_bytes, (1 << 20) + 1100);
	ml_reading_close(&r);
}
END_TEST

START_TEST(test_merged_counts)
{
	struct ml_reading r = {0};

	options.merge = true;
	for (uint64_t times = 1; times <= 2; times++) {
		struct build *b = frames_new(ML_LINES_LOCATIONS);
		uint32_t f = frames_code(b, frames_path("app.py"), "f", 1, 9);
		build_count_never(b, f, 2, times * 10);
		build_count_never(b, f, 3, times == 1 ? 5 : ML_COUNT_MAX + 1);
		frames_read(&r, b, times == 1 ? "first" : "second", &options);
	}
	ml_reading_finish(&r, &options);
	ran(&r, "f", 2, 30, false);
	ran(&r, "f", 3, ML_COUNT_MAX + 5, true);
	ml_reading_close(&r);
	options.merge = false;
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("site");
	TCase *tests = tcase_create("site");
	SRunner *runner = srunner_create(suite);
	int failed;

	frames_folder();
	tcase_add_checked_fixture(tests, set_up, NULL);
	tcase_add_test(tests, test_own_and_inclusive);
	tcase_add_test(tests, test_recursion_counts_once);
	tcase_add_test(tests, test_scope_and_outside);
	tcase_add_test(tests, test_scope_by_option);
	tcase_add_test(tests, test_program_text);
	tcase_add_test(tests, test_folding_by_lines);
	tcase_add_test(tests, test_folding_by_names);
	tcase_add_test(tests, test_damaged_line_numbers);
	tcase_add_test(tests, test_several_traces);
	tcase_add_loop_test(tests, test_random_trees, 0, 200);
	tcase_add_test(tests, test_counts);
	tcase_add_test(tests, test_memory_of_counted_lines);
	tcase_add_test(tests, test_merged_counts);
	tcase_add_test(tests, test_file_names);
	suite_add_tcase(suite, tests);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
