#include "report/native.h"

#include <stdlib.h>
#include <string.h>

#include "report/memory.h"

struct ml_amount ml_amount_of(const struct ml_tally *t)
{
	return (struct ml_amount){(uint64_t)ml_tally_increment(t),
				  t->live_bytes,
				  t->live_blocks,
				  t->peak_bytes,
				  t->allocated_bytes,
				  t->allocations};
}

void ml_amount_add(struct ml_amount *to, const struct ml_amount *a)
{
	to->increment_bytes += a->increment_bytes;
	to->live_bytes += a->live_bytes;
	to->live_blocks += a->live_blocks;
	to->peak_bytes += a->peak_bytes;
	to->allocated_bytes += a->allocated_bytes;
	to->allocations += a->allocations;
}

bool ml_amount_is_nothing(const struct ml_amount *a)
{
	return !a->increment_bytes && !a->live_bytes && !a->live_blocks && !a->peak_bytes && !a->allocated_bytes &&
	       !a->allocations;
}

/* Larger ones first: by what is live, then by what was live at the peak, then by what was allocated. */
static int compare_amounts(const struct ml_amount *a, const struct ml_amount *b)
{
	if (a->live_bytes != b->live_bytes)
		return a->live_bytes > b->live_bytes ? -1 : 1;
	if (a->peak_bytes != b->peak_bytes)
		return a->peak_bytes > b->peak_bytes ? -1 : 1;
	if (a->allocated_bytes != b->allocated_bytes)
		return a->allocated_bytes > b->allocated_bytes ? -1 : 1;
	return 0;
}

static void add_item(struct ml_natives *s, uint32_t owner, uint32_t object, uint64_t address,
		     const struct ml_amount *amount)
{
	s->items = ml_memory_grow(s->items, s->n, sizeof(*s->items));
	s->items[s->n++] = (struct ml_native){.owner = owner, .object = object, .address = address, .amount = *amount};
}

void ml_natives_add(struct ml_natives *s, const struct ml_trace *t, const struct ml_fold *fold, const uint32_t *owners)
{
	uint32_t n, object;
	uint64_t address;

	ml_objects_take(&s->objects, t);
	for (n = 0; n < fold->nodes_n; n++) {
		const struct ml_node *node = &t->nodes[n];
		const struct ml_amount amount = ml_amount_of(&fold->nodes[n]);

		if (ml_amount_is_nothing(&amount))
			continue;
		if (ML_SUBJECT_KIND(node->subject) != ML_NODE_NATIVE) {
			ml_amount_add(&s->python, &amount);
			continue;
		}
		object = ml_objects_of(&s->objects, node, &address);
		add_item(s, owners[n], object, address, &amount);
	}
}

static int compare_texts(const char *a, const char *b)
{
	return a && b ? strcmp(a, b) : (a != NULL) - (b != NULL);
}

static int compare_numbers(uint64_t a, uint64_t b)
{
	return (a > b) - (a < b);
}

static int compare_places(const void *left, const void *right)
{
	const struct ml_native *a = left, *b = right;
	int order = compare_numbers(a->owner, b->owner);

	if (!order)
		order = compare_numbers(a->object, b->object);
	return order ? order : compare_numbers(a->address, b->address);
}

/* Where the function is known its addresses make no difference. */
static int compare_callers(const void *left, const void *right)
{
	const struct ml_native *a = left, *b = right;
	int order = compare_numbers(a->owner, b->owner);

	if (!order)
		order = compare_numbers(a->object, b->object);
	if (!order)
		order = compare_texts(a->function, b->function);
	if (!order)
		order = compare_texts(a->file, b->file);
	if (!order)
		order = compare_numbers(a->line, b->line);
	return order || a->function || a->file ? order : compare_numbers(a->address, b->address);
}

static int compare_sizes(const void *left, const void *right)
{
	const struct ml_native *a = left, *b = right;
	int order = compare_numbers(a->owner, b->owner);

	if (!order)
		order = compare_amounts(&a->amount, &b->amount);
	if (!order)
		order = compare_callers(a, b);
	return order ? order : compare_numbers(a->address, b->address);
}

/* Sorts, and makes one of those that are the same. */
static void merge(struct ml_natives *s, int (*compare)(const void *, const void *))
{
	size_t from, to = 0;

	if (s->n)
		qsort(s->items, s->n, sizeof(*s->items), compare);
	for (from = 0; from < s->n; from++) {
		if (to && !compare(&s->items[to - 1], &s->items[from]))
			ml_amount_add(&s->items[to - 1].amount, &s->items[from].amount);
		else
			s->items[to++] = s->items[from];
	}
	s->n = to;
}

static void find_name(struct ml_natives *s, struct ml_native *item)
{
	struct ml_dwarf_frame frame;

	if (!ml_objects_find(&s->objects, item->object, item->address, &frame, 1))
		return;
	item->function = frame.function;
	item->file = frame.file;
	item->line = frame.line;
}

void ml_natives_finish(struct ml_natives *s, enum ml_native_detail detail)
{
	size_t i;

	for (i = 0; i < s->n; i++)
		if (detail == ML_NATIVE_MODULES ||
		    (detail == ML_NATIVE_OUTSIDE && s->items[i].owner != ML_OWNER_NATIVE))
			s->items[i].address = 0;
	merge(s, compare_places);
	for (i = 0; i < s->n; i++)
		if (s->items[i].address)
			find_name(s, &s->items[i]);
	merge(s, compare_callers);
	if (s->n)
		qsort(s->items, s->n, sizeof(*s->items), compare_sizes);
}

void ml_natives_free(struct ml_natives *s)
{
	struct ml_objects_options options = s->objects.options;

	ml_objects_free(&s->objects);
	free(s->items);
	*s = (struct ml_natives){.objects = {.options = options}};
}

const struct ml_native *ml_natives_of(const struct ml_natives *s, uint32_t owner, size_t *n)
{
	size_t low = 0, high = s->n, first;

	while (low < high) {
		size_t middle = low + (high - low) / 2;
		if (s->items[middle].owner < owner)
			low = middle + 1;
		else
			high = middle;
	}
	for (first = low; low < s->n && s->items[low].owner == owner; low++)
		continue;
	*n = low - first;
	return s->items + first;
}

/* At the end or at the peak: what is live of a line that made temporaries says little of it. */
static uint64_t held(const struct ml_amount *a)
{
	return a->live_bytes > a->peak_bytes ? a->live_bytes : a->peak_bytes;
}

static int compare_modules(const void *left, const void *right)
{
	const struct ml_module_amount *a = left, *b = right;
	int order = compare_numbers(held(&b->amount), held(&a->amount));

	if (!order)
		order = compare_numbers(b->amount.allocated_bytes, a->amount.allocated_bytes);
	return order ? order : strcmp(a->name, b->name);
}

static int compare_names(const void *left, const void *right)
{
	const struct ml_module_amount *a = left, *b = right;

	return strcmp(a->name, b->name);
}

static bool allocated_nothing(const struct ml_amount *a)
{
	return !a->live_bytes && !a->live_blocks && !a->peak_bytes && !a->allocated_bytes && !a->allocations;
}

struct ml_module_amount *ml_natives_by_module(const struct ml_natives *s, const struct ml_native *items, size_t n,
					      const struct ml_amount *python, size_t *modules_n)
{
	struct ml_module_amount *modules = ml_memory_get(n + 1, sizeof(*modules));
	size_t i, from, to = 0;

	modules[n] = (struct ml_module_amount){"python", *python};
	for (i = 0; i < n; i++)
		modules[i] = (struct ml_module_amount){s->objects.objects[items[i].object].name, items[i].amount};
	qsort(modules, n + 1, sizeof(*modules), compare_names);
	for (from = 0; from <= n; from++) {
		if (allocated_nothing(&modules[from].amount))
			continue;
		if (to && !strcmp(modules[to - 1].name, modules[from].name))
			ml_amount_add(&modules[to - 1].amount, &modules[from].amount);
		else
			modules[to++] = modules[from];
	}
	qsort(modules, to, sizeof(*modules), compare_modules);
	*modules_n = to;
	return modules;
}

char *ml_native_function(const struct ml_natives *s, const struct ml_native *item)
{
	if (item->function)
		return ml_memory_text(item->function, strlen(item->function));
	return ml_objects_place(&s->objects, item->object, item->address);
}
