#include "report/inherit.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "report/memory.h"
#include "report/merge.h"
#include "report/process.h"

/* Forks of forks. A trace that names itself, or one that names it, would have no end. */
#define GENERATIONS_MAX 64

/* The trace beside this one that is called so. NULL: there is none that can be read. */
static struct ml_trace *open_beside(const struct ml_trace *t, const char *name)
{
	const char *slash = strrchr(t->path, '/');
	int folder = slash ? (int)(slash + 1 - t->path) : 0;
	struct ml_process_name taken_apart;
	struct ml_trace *found;
	char *path, *error;

	if (strchr(name, '/') || !ml_process_name(name, &taken_apart))
		return NULL;
	path = ml_memory_print("%.*s%s", folder, t->path, name);
	found = ml_load_open(path, &error);
	if (!found)
		free(error);
	free(path);
	return found;
}

static bool same_number(const struct ml_trace *a, const struct ml_trace *b, const char *key)
{
	return ml_load_number(a, key, 0) == ml_load_number(b, key, 0);
}

/* Lets the parent's trace end at the fork. False: the child does not say where that was. */
static bool end_at_fork(const struct ml_trace *child, struct ml_trace *parent)
{
	struct ml_merge_position *ends = ml_memory_get(child->meta_n, sizeof(*ends));
	size_t n = 0, i;

	for (i = 0; i < child->meta_n; i++)
		if (!strcmp(child->meta[i].key, "parent_ring") &&
		    sscanf(child->meta[i].value, "%" SCNu32 " %" SCNu32 " %" SCNu32, &ends[n].ring, &ends[n].sequence,
			   &ends[n].bytes) == 3)
			n++;
	if (n)
		ml_merge_until(parent, ends, n);
	free(ends);
	return n > 0;
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

/* The texts now belong to the child. */
static void take_definitions(struct ml_trace *t, struct ml_trace *parent, const struct shift *by)
{
	size_t i;

	t->codes = ml_memory_resize(t->codes, t->codes_n + parent->codes_n, sizeof(*t->codes));
	for (i = 0; i < parent->codes_n; i++) {
		parent->codes[i].id += by->codes;
		t->codes[t->codes_n++] = parent->codes[i];
	}
	parent->codes_n = 0;
	t->modules = ml_memory_resize(t->modules, t->modules_n + parent->modules_n, sizeof(*t->modules));
	for (i = 0; i < parent->modules_n; i++) {
		parent->modules[i].id += by->modules;
		t->modules[t->modules_n++] = parent->modules[i];
	}
	parent->modules_n = 0;
}

/* False: so many numbers there are not. */
static bool take_over(struct ml_trace *t, struct ml_trace *parent)
{
	const struct shift by = {t->codes_n ? t->codes[t->codes_n - 1].id + 1 : 0,
				 t->modules_n ? t->modules[t->modules_n - 1].id : 0, t->nodes_n - 1};
	const uint64_t codes = parent->codes_n ? (uint64_t)parent->codes[parent->codes_n - 1].id + by.codes : 0;
	const uint64_t modules =
		parent->modules_n ? (uint64_t)parent->modules[parent->modules_n - 1].id + by.modules : 0;
	uint32_t i;

	if (codes >= ML_SUBJECT_NUMBERS || modules >= ML_SUBJECT_NUMBERS ||
	    (uint64_t)t->nodes_n + parent->nodes_n > UINT32_MAX)
		return false;
	take_definitions(t, parent, &by);
	t->nodes = ml_memory_resize(t->nodes, (size_t)t->nodes_n + parent->nodes_n, sizeof(*t->nodes));
	for (i = 1; i < parent->nodes_n; i++)
		t->nodes[t->nodes_n++] = shifted(&parent->nodes[i], &by);
	t->parent = parent;
	ml_load_rewind(t);
	return true;
}

static bool inherit(struct ml_trace *t, int generation)
{
	const char *name = ml_load_meta(t, "parent_file");
	struct ml_trace *parent = name && generation < GENERATIONS_MAX ? open_beside(t, name) : NULL;

	if (!parent)
		return false;
	if (same_number(t, parent, "run_pid") && same_number(t, parent, "run_ticks") && end_at_fork(t, parent)) {
		inherit(parent, generation + 1);
		if (take_over(t, parent))
			return true;
	}
	ml_load_close(parent);
	return false;
}

bool ml_inherit(struct ml_trace *t)
{
	return inherit(t, 0);
}

const struct ml_trace *ml_inherit_root(const struct ml_trace *t)
{
	while (t->parent)
		t = t->parent;
	return t;
}
