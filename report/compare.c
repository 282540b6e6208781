#include "report/compare.h"

#include <stdlib.h>
#include <string.h>

#include "report/memory.h"

/* Separates the parts of a key. */
#define PART "\n"

/* The file's path below the app root, else as it is. */
static const char *below_root(const struct ml_reading *r, const char *file)
{
	const char *root = r->process.root;
	size_t bytes = root ? strlen(root) : 0;

	if (!bytes || strncmp(file, root, bytes) != 0)
		return file;
	if (root[bytes - 1] == '/')
		return file + bytes;
	return file[bytes] == '/' ? file + bytes + 1 : file;
}

/* Is what ran known of a file below the root, or of another one? */
static bool has_text(struct ml_reading *r, const char *below)
{
	const char *root = r->process.root;
	char *file = *below == '/' || *below == '<' || !root ? ml_memory_text(below, strlen(below))
							     : ml_memory_print("%s/%s", root, below);
	const struct ml_source *s = ml_reading_source(r, file);
	bool known = s->text && !ml_reading_changed(r, s);

	free(file);
	return known;
}

static bool texts_known(struct ml_comparison *c, const char *below)
{
	uint32_t n = c->files.n, number = ml_texts_number(&c->files, below);

	if (number == n) {
		c->texts_known = ml_memory_grow(c->texts_known, n, sizeof(*c->texts_known));
		c->texts_known[n] = has_text(&c->sides[0], below) && has_text(&c->sides[1], below);
	}
	return c->texts_known[number];
}

/* The line without the white space around it; NULL: there is none. */
static const char *trimmed(const struct ml_source *s, int line, size_t *bytes)
{
	const char *text = ml_source_line(s, line, bytes);

	for (; text && *bytes && strchr(" \t\f", *text); text++)
		--*bytes;
	while (text && *bytes && strchr(" \t\f", text[*bytes - 1]))
		--*bytes;
	return text;
}

/* What tells a line from the others of its function. The caller frees it. */
static char *line_key(struct ml_reading *r, const char *file, int first_line, int line)
{
	const struct ml_source *s = ml_reading_source(r, file);
	size_t bytes = 0, other_bytes;
	const char *text = trimmed(s, line, &bytes), *other;
	int before, same = 0;

	if (!text)
		return NULL;
	for (before = first_line; before < line; before++) {
		other = trimmed(s, before, &other_bytes);
		same += other && other_bytes == bytes && !memcmp(other, text, bytes);
	}
	return ml_memory_print("%d" PART "%.*s", same, (int)bytes, text);
}

/* The number of a place's key. */
static uint32_t place_key(struct ml_comparison *c, int side, const struct ml_call *call)
{
	const char *below = call->file ? below_root(&c->sides[side], call->file) : "";
	char *line = call->file && texts_known(c, below)
			     ? line_key(&c->sides[side], call->file, call->first_line, call->line)
			     : NULL;
	char *key;
	uint32_t number;

	if (!line)
		line = ml_memory_print("+%d", call->line - call->first_line);
	key = ml_memory_print("%s" PART "%s" PART "%s", below, call->function, line);
	number = ml_texts_number(&c->keys, key);
	free(line);
	free(key);
	return number;
}

/* The item of that number, which is made if it isn't there. */
static struct ml_compared *item_at(struct ml_comparison *c, uint32_t number)
{
	if (number == c->n) {
		c->items = ml_memory_grow(c->items, c->n, sizeof(*c->items));
		c->items[c->n++] = (struct ml_compared){.seen = {false}};
	}
	return &c->items[number];
}

static void take_amount(struct ml_compared *item, int side, const struct ml_amount *amount)
{
	item->seen[side] = true;
	ml_amount_add(&item->amount[side], amount);
}

static void add_line(struct ml_comparison *c, int side, const struct ml_function *f, const struct ml_line *l)
{
	const struct ml_call call = {f->name, f->file, l->line, f->first_line};
	struct ml_compared *item = item_at(c, place_key(c, side, &call));
	const struct ml_amount amount = {(uint64_t)l->increment_bytes, l->live_bytes, l->live_blocks, l->peak_bytes,
					 l->allocated_bytes,           l->allocations};

	if (!item->seen[side]) {
		item->file[side] = f->file;
		item->function[side] = f->name;
		item->line[side] = l->line;
	}
	item->own_increment_bytes[side] += (uint64_t)l->own_increment_bytes;
	take_amount(item, side, &amount);
}

static void add_outside(struct ml_comparison *c, int side, const char *name, const struct ml_amount *amount)
{
	struct ml_compared *item = item_at(c, ml_texts_number(&c->keys, name));

	item->function[side] = name;
	item->own_increment_bytes[side] = amount->increment_bytes;
	take_amount(item, side, amount);
}

static void begin(struct ml_comparison *c, struct ml_reading *sides)
{
	*c = (struct ml_comparison){.sides = sides};
}

void ml_compare_lines(struct ml_comparison *c, struct ml_reading *sides)
{
	size_t i, k;
	int side;

	begin(c, sides);
	for (side = 0; side < ML_COMPARE_SIDES; side++) {
		const struct ml_sites *s = &sides[side].sites;
		for (i = 0; i < s->functions_n; i++)
			for (k = 0; !s->functions[i].hidden && k < s->functions[i].lines_n; k++)
				add_line(c, side, &s->functions[i], &s->functions[i].lines[k]);
		add_outside(c, side, "<out of scope>", &s->out_of_scope);
		add_outside(c, side, "<native>", &s->native);
	}
}

/* Calls of native code are told apart by their functions, not by lines or addresses: those are another build's. */
static uint32_t native_key(struct ml_comparison *c, int side, const struct ml_frame *frame)
{
	const struct ml_reading *r = &c->sides[side];
	const char *module = r->sites.natives.objects.objects[frame->object].name;
	char *key = ml_memory_print(PART "%s", module), *longer; /* no file is called that */
	uint32_t call, number;

	for (call = 0; call < frame->calls_n; call++) {
		longer = ml_memory_print("%s" PART "%s", key, r->stacks.calls[frame->first_call + call].function);
		free(key);
		key = longer;
	}
	number = ml_texts_number(&c->keys, key);
	free(key);
	return number;
}

static void add_stacks(struct ml_comparison *c, int side, const struct ml_options *options)
{
	const struct ml_stacks *s = &c->sides[side].stacks;
	uint32_t *keys = ml_memory_get(s->frames_n, sizeof(*keys)), *numbers = ml_memory_get(s->n, sizeof(*numbers)), i;
	bool *takes = ml_reading_takes(&c->sides[side], options);

	for (i = 0; i < s->frames_n; i++)
		keys[i] = s->frames[i].kind == ML_NODE_NATIVE ? native_key(c, side, &s->frames[i])
							      : place_key(c, side, &s->calls[s->frames[i].first_call]);
	for (i = 1; i < s->n; i++) {
		const struct ml_stack *stack = &s->items[i];
		struct ml_compared *item;

		numbers[i] = ml_pairs_number(&c->stacks, numbers[stack->parent], keys[stack->frame]) + 1;
		item = item_at(c, numbers[i] - 1);
		if (!takes[i] || ml_amount_is_nothing(&stack->amount))
			continue;
		if (!item->seen[side])
			item->stack[side] = i;
		take_amount(item, side, &stack->amount);
	}
	free(keys);
	free(numbers);
	free(takes);
}

void ml_compare_stacks(struct ml_comparison *c, struct ml_reading *sides, const struct ml_options *options)
{
	int side;

	begin(c, sides);
	for (side = 0; side < ML_COMPARE_SIDES; side++)
		add_stacks(c, side, options);
}

void ml_comparison_free(struct ml_comparison *c)
{
	free(c->items);
	free(c->texts_known);
	ml_texts_free(&c->keys);
	ml_texts_free(&c->files);
	ml_pairs_free(&c->stacks);
}
