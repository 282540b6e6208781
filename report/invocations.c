#include "report/invocations.h"

#include <stdlib.h>

#include "report/memory.h"
#include "report/place.h"

/* One trace on its way into the sums. */
struct adding {
	struct ml_invocations *invocations;
	const struct ml_site_nodes *nodes;
	const struct ml_activations *activations;
	uint32_t *items; /* by function of the activations */
};

static uint32_t item_of(struct ml_invocations *v, const struct ml_trace *t, const struct ml_code *code)
{
	char *path = ml_site_file(ml_load_meta(t, "cwd"), code->file);
	uint32_t file = ml_texts_number(&v->texts, path), name = ml_texts_number(&v->texts, code->name);
	int first_line = ml_places_clamp(code->first_line);
	uint32_t names = ml_pairs_number(&v->names, file, name);
	uint32_t number = ml_pairs_number(&v->functions, names, (uint32_t)first_line);

	free(path);
	if (number == v->n) {
		v->items = ml_memory_grow(v->items, v->n++, sizeof(*v->items));
		v->items[number] = (struct ml_invocations_of){
			.file = v->texts.items[file], .name = v->texts.items[name], .first_line = first_line};
	}
	return number;
}

static void add_function(struct ml_invocations_of *to, const struct ml_activations *a,
			 const struct ml_entry_function *f)
{
	uint64_t last = f->ended < ML_ACTIVATIONS_LAST ? f->ended : ML_ACTIVATIONS_LAST, i;

	to->ended += f->ended;
	to->allocated_bytes += f->allocated_bytes;
	to->peak_bytes += f->peak_bytes;
	if (to->peak_bytes_max < f->peak_bytes_max)
		to->peak_bytes_max = f->peak_bytes_max;
	to->ns += f->ns;
	if (to->ns_max < f->ns_max)
		to->ns_max = f->ns_max;
	to->last += last;
	for (i = 0; i < last; i++)
		to->last_retained_bytes += a->items[f->last[i]].live_bytes;
}

static void take_live(void *context, const struct ml_live *live)
{
	struct adding *a = context;
	struct ml_invocations *v = a->invocations;
	const struct ml_activation *activation = &a->activations->items[live->activation];
	uint32_t item, number, old = v->lines.n;

	if (!live->activation || !activation->ended || !live->bytes)
		return;
	item = a->items[activation->function];
	number = ml_pairs_number(&v->lines, item, a->nodes->anchor[live->node]);
	if (number == old) {
		v->all = ml_memory_grow(v->all, old, sizeof(*v->all));
		v->all[number] = (struct ml_invocation_line){.number = a->nodes->anchor[live->node], .item = item};
	}
	v->all[number].bytes += live->bytes;
	v->all[number].blocks++;
	v->items[item].retained_bytes += live->bytes;
	v->items[item].retained_blocks++;
}

void ml_invocations_add(struct ml_invocations *v, const struct ml_site_nodes *nodes, const struct ml_activations *a,
			const struct ml_fold *fold)
{
	struct adding adding = {v, nodes, a, ml_memory_get(a->functions_n, sizeof(uint32_t))};
	uint32_t i;

	for (i = 0; i < a->functions_n; i++) {
		adding.items[i] = item_of(v, nodes->trace, a->functions[i].code);
		add_function(&v->items[adding.items[i]], a, &a->functions[i]);
	}
	for (i = 1; i < a->n; i++) {
		const struct ml_activation *activation = &a->items[i];
		struct ml_invocations_of *item = &v->items[adding.items[activation->function]];
		if (!activation->users || activation->ended)
			continue;
		item->unfinished++;
		item->unfinished_live_bytes += activation->live_bytes;
	}
	ml_fold_each_live(fold, take_live, &adding);
	free(adding.items);
}

static int compare_lines(const void *left, const void *right)
{
	const struct ml_invocation_line *a = left, *b = right;

	if (a->bytes != b->bytes)
		return a->bytes > b->bytes ? -1 : 1;
	return (a->number > b->number) - (a->number < b->number);
}

static int compare_items(const void *left, const void *right)
{
	const struct ml_invocations_of *a = left, *b = right;

	if (a->retained_bytes != b->retained_bytes)
		return a->retained_bytes > b->retained_bytes ? -1 : 1;
	if (a->allocated_bytes != b->allocated_bytes)
		return a->allocated_bytes > b->allocated_bytes ? -1 : 1;
	return (a > b) - (a < b);
}

void ml_invocations_finish(struct ml_invocations *v, const struct ml_sites *sites)
{
	struct ml_site_line *lines = ml_sites_lines(sites);
	uint32_t i;

	for (i = 0; i < v->lines.n; i++) {
		struct ml_invocations_of *item = &v->items[v->all[i].item];
		struct ml_invocation_line *line = &v->all[i];
		if (line->number < ML_OWNER_OUT_OF_SCOPE) {
			line->function = lines[line->number].function;
			line->line = lines[line->number].line;
		}
		item->lines = ml_memory_grow(item->lines, item->lines_n, sizeof(*item->lines));
		item->lines[item->lines_n++] = *line;
	}
	free(lines);
	for (i = 0; i < v->n; i++)
		if (v->items[i].lines_n)
			qsort(v->items[i].lines, v->items[i].lines_n, sizeof(*v->items[i].lines), compare_lines);
	if (v->n)
		qsort(v->items, v->n, sizeof(*v->items), compare_items);
}

void ml_invocations_free(struct ml_invocations *v)
{
	uint32_t i;

	for (i = 0; i < v->n; i++)
		free(v->items[i].lines);
	free(v->items);
	free(v->all);
	ml_texts_free(&v->texts);
	ml_pairs_free(&v->names);
	ml_pairs_free(&v->functions);
	ml_pairs_free(&v->lines);
	*v = (struct ml_invocations){0};
}
