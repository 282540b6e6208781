#include "report/inherit.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "report/fold.h"
#include "report/memory.h"
#include "report/merge.h"
#include "report/process.h"

/* Forks of forks. A trace that names itself, or one that names it, would have no end. */
#define GENERATIONS_MAX 64

char *ml_inherit_path(const struct ml_trace *t)
{
	const char *name = ml_load_meta(t, "parent_file"), *slash = strrchr(t->path, '/');
	struct ml_process_name taken_apart;

	if (!name || strchr(name, '/') || !ml_process_name(name, &taken_apart))
		return NULL;
	return ml_memory_print("%.*s%s", slash ? (int)(slash + 1 - t->path) : 0, t->path, name);
}

/* What a running process adds is not seen in a trace that was opened before. */
static bool is_running(const struct ml_trace *t)
{
	struct ml_process_name name;

	return ml_process_name(t->path, &name) && ml_process_runs(name.pid, name.start_ticks);
}

/* A parent's trace, as it was at the last of its forks that was asked for. */
struct ml_ancestor {
	struct ml_trace *trace;
	struct ml_fold *fold;
	struct ml_merge_position *ends; /* by ring, how far it has been read */
	size_t ends_n;
	unsigned users; /* traces that inherit from it, and `latest` */
};

/* Children of one parent come one after another, by the time of their forks: the next one goes on from there. */
static struct ml_ancestor *latest;

static void drop_ancestor(struct ml_ancestor *a)
{
	if (!a || --a->users)
		return;
	ml_fold_free(a->fold);
	ml_load_close(a->trace);
	free(a->ends);
	free(a);
}

/* How far each of the parent's rings had come at the fork. The caller frees it. */
static struct ml_merge_position *read_ends(const struct ml_trace *child, size_t *n)
{
	struct ml_merge_position *ends = ml_memory_get(child->meta_n, sizeof(*ends));
	size_t i;

	*n = 0;
	for (i = 0; i < child->meta_n; i++)
		if (!strcmp(child->meta[i].key, "parent_ring") &&
		    sscanf(child->meta[i].value, "%" SCNu32 " %" SCNu32 " %" SCNu32, &ends[*n].ring, &ends[*n].sequence,
			   &ends[*n].bytes) == 3)
			++*n;
	return ends;
}

/* Whether the fork with those ends came after what has been read. Rings keep their order, and new ones come behind. */
static bool is_further(const struct ml_ancestor *a, const struct ml_merge_position *ends, size_t n)
{
	size_t i;

	if (n < a->ends_n)
		return false;
	for (i = 0; i < a->ends_n; i++)
		if (a->ends[i].ring != ends[i].ring || a->ends[i].sequence > ends[i].sequence ||
		    (a->ends[i].sequence == ends[i].sequence && a->ends[i].bytes > ends[i].bytes))
			return false;
	return true;
}

static bool is_of_run(const struct ml_trace *a, const struct ml_trace *b)
{
	return ml_load_number(a, "run_pid", 0) == ml_load_number(b, "run_pid", 0) &&
	       ml_load_number(a, "run_ticks", 0) == ml_load_number(b, "run_ticks", 0);
}

static bool inherit(struct ml_trace *t, int generation);

/* The parent at its beginning. NULL: its trace is not there. */
static struct ml_ancestor *open_ancestor(const struct ml_trace *child, const char *path, int generation)
{
	const struct ml_fold_options everything = {.to_ns = UINT64_MAX, .end_last = true};
	char *error;
	struct ml_trace *trace = ml_load_open(path, &error);
	struct ml_ancestor *a;

	if (!trace) {
		free(error);
		return NULL;
	}
	if (!is_of_run(child, trace)) {
		ml_load_close(trace);
		return NULL;
	}
	inherit(trace, generation + 1);
	a = ml_memory_get(1, sizeof(*a));
	*a = (struct ml_ancestor){.trace = trace, .fold = ml_fold_new(trace, &everything), .users = 1};
	ml_load_rewind(trace);
	return a;
}

/* The parent for a fork with those ends: that of the child before, or read anew. It has a user more. */
static struct ml_ancestor *find_ancestor(const struct ml_trace *child, const struct ml_merge_position *ends, size_t n,
					 int generation)
{
	char *path = n ? ml_inherit_path(child) : NULL;
	struct ml_ancestor *a = NULL;

	if (path && latest && !strcmp(latest->trace->path, path) && !is_running(latest->trace) &&
	    is_further(latest, ends, n)) {
		a = latest;
		a->users++;
	} else if (path) {
		a = open_ancestor(child, path, generation);
	}
	free(path);
	return a;
}

/* Reads the parent's events up to the fork. */
static void read_until(struct ml_ancestor *a, struct ml_merge_position *ends, size_t n)
{
	const struct ml_moment *moments;
	size_t got;

	ml_merge_until(a->trace, ends, n);
	while ((got = ml_load_next(a->trace, &moments)))
		ml_fold_feed(a->fold, moments, got);
	free(a->ends);
	a->ends = ends;
	a->ends_n = n;
}

/* The numbers by which the parent's are told from the child's: behind them. */
struct shift {
	uint32_t codes;
	uint32_t modules;
	uint32_t nodes;
};

static struct ml_node shifted(const struct ml_node *node, const struct shift *by)
{
	enum ml_node_kind kind = ML_SUBJECT_KIND(node->subject);
	uint32_t number = ML_SUBJECT_NUMBER(node->subject);
	struct ml_node moved = *node;

	if (kind == ML_NODE_PYTHON)
		number += by->codes;
	if (kind == ML_NODE_NATIVE && number)
		number += by->modules;
	if (node->subject)
		moved.subject = ML_SUBJECT(kind, number);
	if (node->parent)
		moved.parent += by->nodes;
	return moved;
}

/* Their texts stay the parent's. */
static void take_definitions(struct ml_trace *t, const struct ml_trace *parent, const struct shift *by)
{
	size_t i;

	t->codes = ml_memory_resize(t->codes, t->codes_n + parent->codes_n, sizeof(*t->codes));
	for (i = 0; i < parent->codes_n; i++) {
		t->codes[t->codes_n] = parent->codes[i];
		t->codes[t->codes_n++].id += by->codes;
	}
	t->modules = ml_memory_resize(t->modules, t->modules_n + parent->modules_n, sizeof(*t->modules));
	for (i = 0; i < parent->modules_n; i++) {
		t->modules[t->modules_n] = parent->modules[i];
		t->modules[t->modules_n++].id += by->modules;
	}
}

/* False: so many numbers there are not. */
static bool take_names(struct ml_trace *t, const struct ml_trace *parent)
{
	const struct shift by = {t->codes_n ? t->codes[t->codes_n - 1].id + 1 : 0,
				 t->modules_n ? t->modules[t->modules_n - 1].id : 0, t->nodes_n - 1};
	uint64_t codes = by.codes + (parent->codes_n ? (uint64_t)parent->codes[parent->codes_n - 1].id : 0);
	uint64_t modules = by.modules + (parent->modules_n ? (uint64_t)parent->modules[parent->modules_n - 1].id : 0);
	uint32_t i;

	if (codes >= ML_SUBJECT_NUMBERS || modules >= ML_SUBJECT_NUMBERS ||
	    (uint64_t)t->nodes_n + parent->nodes_n > UINT32_MAX)
		return false;
	take_definitions(t, parent, &by);
	t->nodes = ml_memory_resize(t->nodes, (size_t)t->nodes_n + parent->nodes_n, sizeof(*t->nodes));
	for (i = 1; i < parent->nodes_n; i++)
		t->nodes[t->nodes_n++] = shifted(&parent->nodes[i], &by);
	return true;
}

static void take_blocks(struct ml_trace *t, const struct ml_fold *parent)
{
	size_t i;

	t->inherited = ml_fold_snapshot(parent, &t->inherited_n);
	for (i = 0; i < t->inherited_n; i++) {
		t->inherited[i].inherited = true;
		if (t->inherited[i].event.node)
			t->inherited[i].event.node += t->own_nodes_n - 1;
	}
}

static bool inherit(struct ml_trace *t, int generation)
{
	struct ml_merge_position *ends;
	struct ml_ancestor *a;
	size_t n;

	if (generation == GENERATIONS_MAX)
		return false;
	ends = read_ends(t, &n);
	a = find_ancestor(t, ends, n, generation);
	if (!a || !take_names(t, a->trace)) {
		free(ends);
		drop_ancestor(a);
		return false;
	}
	read_until(a, ends, n);
	take_blocks(t, a->fold);
	t->parent = a->trace;
	t->ancestor = a;
	a->users++;
	drop_ancestor(latest);
	latest = a;
	return true;
}

bool ml_inherit(struct ml_trace *t)
{
	return inherit(t, 0);
}

void ml_inherit_drop(struct ml_trace *t)
{
	free(t->inherited);
	drop_ancestor(t->ancestor);
}

const struct ml_trace *ml_inherit_root(const struct ml_trace *t)
{
	while (t->parent)
		t = t->parent;
	return t;
}
