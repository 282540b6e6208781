#include "report/stack.h"

#include <stdlib.h>
#include <string.h>

#include "report/memory.h"
#include "report/place.h"
#include "report/site.h"

/* What the frames of a code object have in common. */
struct function {
	uint32_t number;     /* among the stacks' functions */
	struct ml_call call; /* its function is NULL where nobody has asked yet */
};

/* One trace on its way into the stacks. */
struct adding {
	struct ml_stacks *stacks;
	const struct ml_trace *trace;
	struct ml_objects *objects;
	struct ml_places places;
	struct function *functions; /* by place in trace->codes */
};

static void add_call(struct ml_stacks *s, const struct ml_call *call)
{
	s->calls = ml_memory_grow(s->calls, s->calls_n, sizeof(*s->calls));
	s->calls[s->calls_n++] = *call;
}

/* The frame's number; place: among those of its kind; call: its only one, or NULL. */
static uint32_t intern_frame(struct ml_stacks *s, const struct ml_frame *frame, uint32_t place,
			     const struct ml_call *call)
{
	uint32_t number = ml_pairs_number(&s->frame_index, frame->kind, place);

	if (number < s->frames_n)
		return number;
	s->frames = ml_memory_grow(s->frames, s->frames_n, sizeof(*s->frames));
	s->frames[s->frames_n] = *frame;
	s->frames[s->frames_n].first_call = s->calls_n;
	s->frames[s->frames_n++].calls_n = call != NULL;
	if (call)
		add_call(s, call);
	return number;
}

static const struct function *function_of(struct adding *a, const struct ml_code *code)
{
	struct function *f = &a->functions[code - a->trace->codes];
	struct ml_stacks *s = a->stacks;
	uint32_t name, path;
	char *file;

	if (f->call.function)
		return f;
	file = ml_site_file(ml_load_meta(a->trace, "cwd"), code->file);
	path = ml_texts_number(&s->texts, file);
	name = ml_texts_number(&s->texts, code->name);
	free(file);
	f->call = (struct ml_call){.function = s->texts.items[name],
				   .file = s->texts.items[path],
				   .first_line = ml_places_clamp(code->first_line)};
	f->number = ml_pairs_number(&s->functions, ml_pairs_number(&s->names, path, name), code->first_line);
	return f;
}

static uint32_t python_frame(struct adding *a, const struct ml_node *node)
{
	const struct ml_frame frame = {.kind = ML_NODE_PYTHON};
	const struct ml_code *code = ml_load_code(a->trace, ML_SUBJECT_NUMBER(node->subject));
	const struct function *f;
	struct ml_call call;

	if (!code)
		return intern_frame(a->stacks, &frame, UINT32_MAX, &(struct ml_call){.function = "[unknown]"});
	f = function_of(a, code);
	call = f->call;
	call.line = ml_places_line(&a->places, code, node->place);
	return intern_frame(a->stacks, &frame, ml_pairs_number(&a->stacks->lines, f->number, (uint32_t)call.line),
			    &call);
}

static uint32_t native_frame(struct adding *a, const struct ml_node *node)
{
	struct ml_frame frame = {.kind = ML_NODE_NATIVE};
	uint32_t high;

	frame.object = ml_objects_of(a->objects, node, &frame.address);
	high = ml_pairs_number(&a->stacks->highs, frame.object, (uint32_t)(frame.address >> 32));
	return intern_frame(a->stacks, &frame, ml_pairs_number(&a->stacks->addresses, high, (uint32_t)frame.address),
			    NULL);
}

static uint32_t mark_frame(struct adding *a, const struct ml_node *node)
{
	static const char *const names[] = {
#define X(name, number, text) [number] = "<" text ">",
		ML_MARK_LIST(X)
#undef X
	};
	uint32_t mark = ML_SUBJECT_NUMBER(node->subject);
	const bool known = mark < sizeof(names) / sizeof(names[0]) && names[mark];
	const struct ml_call call = {.function = known ? names[mark] : "<unknown>"};

	return intern_frame(a->stacks, &(struct ml_frame){.kind = ML_NODE_MARK}, mark, &call);
}

/* In place of the empty stack. */
static uint32_t no_frame(struct adding *a)
{
	const struct ml_call call = {.function = "<native>"};

	return intern_frame(a->stacks, &(struct ml_frame){.kind = ML_NODE_MARK}, 0, &call);
}

static uint32_t frame_of(struct adding *a, const struct ml_node *node)
{
	switch (ML_SUBJECT_KIND(node->subject)) {
	case ML_NODE_PYTHON:
		return python_frame(a, node);
	case ML_NODE_NATIVE:
		return native_frame(a, node);
	default:
		return mark_frame(a, node);
	}
}

static uint32_t intern_stack(struct ml_stacks *s, uint32_t parent, uint32_t frame)
{
	uint32_t number = ml_pairs_number(&s->stack_index, parent, frame) + 1;

	if (number < s->n)
		return number;
	s->items = ml_memory_grow(s->items, s->n, sizeof(*s->items));
	s->items[s->n] = (struct ml_stack){.parent = parent, .frame = frame, .depth = s->items[parent].depth + 1};
	if (s->depth < s->items[s->n].depth)
		s->depth = s->items[s->n].depth;
	s->n++;
	return number;
}

/* For each node: is it, or is it below, one with which something happened? */
static bool *find_needed(const struct ml_trace *t, const struct ml_fold *fold)
{
	bool *needed = ml_memory_get(fold->nodes_n, sizeof(*needed));
	uint32_t n;

	for (n = fold->nodes_n; n-- > 0;) {
		const struct ml_amount amount = ml_amount_of(&fold->nodes[n]);
		needed[n] |= !ml_amount_is_nothing(&amount);
		if (t->nodes[n].parent)
			needed[t->nodes[n].parent] |= needed[n];
	}
	return needed;
}

uint32_t *ml_stacks_add(struct ml_stacks *s, const struct ml_trace *t, const struct ml_fold *fold,
			struct ml_objects *objects)
{
	struct adding a = {.stacks = s, .trace = t, .objects = objects};
	bool *needed = find_needed(t, fold);
	uint32_t *stacks = ml_memory_get(fold->nodes_n, sizeof(*stacks)), n;

	a.functions = ml_memory_get(t->codes_n, sizeof(*a.functions));
	ml_places_begin(&a.places, t);
	if (!s->n) {
		s->items = ml_memory_grow(s->items, s->n, sizeof(*s->items));
		s->items[s->n++] = (struct ml_stack){0};
	}
	for (n = 0; n < fold->nodes_n; n++) {
		const struct ml_amount amount = ml_amount_of(&fold->nodes[n]);
		uint32_t parent = t->nodes[n].parent;

		if (!needed[n])
			continue;
		stacks[n] = intern_stack(s, parent ? stacks[parent] : 0, n ? frame_of(&a, &t->nodes[n]) : no_frame(&a));
		ml_amount_add(&s->items[stacks[n]].amount, &amount);
	}
	ml_places_end(&a.places);
	free(a.functions);
	free(needed);
	return stacks;
}

void ml_stacks_path(const struct ml_stacks *s, uint32_t stack, uint32_t *frames)
{
	uint32_t at = s->items[stack].depth;

	for (; stack; stack = s->items[stack].parent)
		frames[--at] = s->items[stack].frame;
}

char *ml_stacks_text(const struct ml_stacks *s, const struct ml_objects *objects, const struct ml_frame *frame,
		     uint32_t call)
{
	const struct ml_call *c = &s->calls[frame->first_call + call];

	if (c->file && c->line)
		return ml_memory_print("%s (%s:%d)", c->function, c->file, c->line);
	if (frame->kind == ML_NODE_NATIVE)
		return ml_memory_print("%s (%s)", c->function, objects->objects[frame->object].name);
	return ml_memory_text(c->function, strlen(c->function));
}

static void name_frame(struct ml_stacks *s, struct ml_objects *objects, struct ml_frame *frame)
{
	struct ml_dwarf_frame found[ML_OBJECTS_FRAMES];
	size_t n = ml_objects_find(objects, frame->object, frame->address, found, ML_OBJECTS_FRAMES), i;
	char *place = ml_objects_place(objects, frame->object, frame->address);
	uint32_t text = ml_texts_number(&s->texts, place);
	const char *unnamed = s->texts.items[text];

	free(place);
	frame->first_call = s->calls_n;
	frame->calls_n = n ? (uint32_t)n : 1;
	if (!n)
		add_call(s, &(struct ml_call){.function = unnamed});
	for (i = 0; i < n; i++)
		add_call(s, &(struct ml_call){.function = found[i].function ? found[i].function : unnamed,
					      .file = found[i].file,
					      .line = found[i].file ? ml_places_clamp(found[i].line) : 0});
}

void ml_stacks_finish(struct ml_stacks *s, struct ml_objects *objects)
{
	uint32_t i;

	for (i = 0; i < s->frames_n; i++)
		if (s->frames[i].kind == ML_NODE_NATIVE)
			name_frame(s, objects, &s->frames[i]);
}

bool ml_stack_imports(const char *file)
{
	static const char importing[] = "<frozen importlib._bootstrap";

	return !strncmp(file, importing, sizeof(importing) - 1);
}

void ml_stacks_free(struct ml_stacks *s)
{
	free(s->items);
	free(s->frames);
	free(s->calls);
	ml_texts_free(&s->texts);
	ml_pairs_free(&s->names);
	ml_pairs_free(&s->functions);
	ml_pairs_free(&s->lines);
	ml_pairs_free(&s->highs);
	ml_pairs_free(&s->addresses);
	ml_pairs_free(&s->frame_index);
	ml_pairs_free(&s->stack_index);
	*s = (struct ml_stacks){0};
}
