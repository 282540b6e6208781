#include "report/select.h"

#include <stdlib.h>
#include <string.h>

#include "report/intern.h"
#include "report/memory.h"
#include "report/site.h"
#include "trace/scope.h"

/* A trace whose nodes are looked at one by one, and which frames were found to be those that a stack has to have. */
struct selecting {
	const struct ml_options *options;
	const struct ml_trace *trace;
	struct ml_objects *objects;
	enum { UNKNOWN, NO, YES } * codes; /* by place in trace->codes */
	struct ml_pairs highs;             /* of object and upper half of the address, */
	struct ml_pairs places;            /* of these and the lower half */
	bool *natives;                     /* by number of a place */
};

static const char *last_part(const char *text, char separator)
{
	const char *last = strrchr(text, separator);

	return last ? last + 1 : text;
}

/* A name, or its last part. */
static bool takes(const char *glob, const char *text, char separator)
{
	return ml_scope_match(glob, text) || ml_scope_match(glob, last_part(text, separator));
}

static bool takes_code(const struct selecting *s, const struct ml_code *code)
{
	const char *glob = s->options->stack_contains;
	char *file = ml_site_file(ml_load_meta(s->trace, "cwd"), code->file);
	bool found = takes(glob, code->name, '.') || takes(glob, file, '/');

	free(file);
	return found;
}

static bool takes_native(const struct selecting *s, uint32_t object, uint64_t address)
{
	const char *glob = s->options->stack_contains, *function;
	struct ml_dwarf_frame frames[ML_OBJECTS_FRAMES];
	size_t n, i;

	if (takes(glob, s->objects->objects[object].name, '/'))
		return true;
	n = ml_objects_find(s->objects, object, address, frames, ML_OBJECTS_FRAMES);
	for (i = 0; i < n; i++)
		if ((function = frames[i].function) && ml_scope_match(glob, function))
			return true;
	return false;
}

static bool contains_native(struct selecting *s, const struct ml_node *node)
{
	uint64_t address;
	uint32_t object = ml_objects_of(s->objects, node, &address), n = s->places.n, place;

	place = ml_pairs_number(&s->highs, object, (uint32_t)(address >> 32));
	place = ml_pairs_number(&s->places, place, (uint32_t)address);
	if (place == n) {
		s->natives = ml_memory_grow(s->natives, n, sizeof(*s->natives));
		s->natives[place] = takes_native(s, object, address);
	}
	return s->natives[place];
}

static bool contains_code(struct selecting *s, const struct ml_node *node)
{
	const struct ml_code *code = ml_load_code(s->trace, ML_SUBJECT_NUMBER(node->subject));
	size_t i = code ? (size_t)(code - s->trace->codes) : 0;

	if (code && s->codes[i] == UNKNOWN)
		s->codes[i] = takes_code(s, code) ? YES : NO;
	return code && s->codes[i] == YES;
}

/* Whether the node's own frame is asked for. */
static bool contains(struct selecting *s, const struct ml_node *node)
{
	switch (ML_SUBJECT_KIND(node->subject)) {
	case ML_NODE_PYTHON:
		return contains_code(s, node);
	case ML_NODE_NATIVE:
		return contains_native(s, node);
	default:
		return false;
	}
}

/* Whose code asked for memory: CPython's own allocators have no native frame on top. */
static bool is_by_module(struct selecting *s, const struct ml_node *node)
{
	uint64_t address;
	uint32_t object;

	if (ML_SUBJECT_KIND(node->subject) != ML_NODE_NATIVE)
		return ml_scope_match(s->options->module, "python");
	object = ml_objects_of(s->objects, node, &address);
	return takes(s->options->module, s->objects->objects[object].name, '/');
}

bool *ml_select_nodes(const struct ml_options *o, const struct ml_trace *t, struct ml_objects *objects)
{
	struct selecting s = {.options = o, .trace = t, .objects = objects};
	bool *on_stack, *nodes;
	uint32_t n;

	if (!o->module && !o->stack_contains)
		return NULL;
	nodes = ml_memory_get(t->nodes_n, sizeof(*nodes));
	on_stack = ml_memory_get(t->nodes_n, sizeof(*on_stack));
	s.codes = ml_memory_get(t->codes_n, sizeof(*s.codes));
	for (n = 0; n < t->nodes_n; n++) {
		const struct ml_node *node = &t->nodes[n];
		on_stack[n] = !o->stack_contains || (n && (on_stack[node->parent] || contains(&s, node)));
		nodes[n] = on_stack[n] && (!o->module || is_by_module(&s, node));
	}
	free(on_stack);
	free(s.codes);
	free(s.natives);
	ml_pairs_free(&s.highs);
	ml_pairs_free(&s.places);
	return nodes;
}
