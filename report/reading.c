#include "report/reading.h"

#include <stdlib.h>
#include <string.h>

#include "report/control.h"
#include "report/inherit.h"
#include "report/memory.h"
#include "report/progress.h"
#include "report/select.h"

static struct ml_fold *fold(struct ml_trace *t, const struct ml_fold_options *options)
{
	struct ml_progress progress;
	struct ml_fold *f;

	ml_progress_start(&progress, t->path);
	f = ml_fold_run(t, options, ml_progress_show, &progress);
	ml_progress_end(&progress);
	return f;
}

static void add_totals(struct ml_totals *to, const struct ml_totals *t)
{
	to->events += t->events;
	to->allocated_bytes += t->allocated_bytes;
	to->allocations += t->allocations;
	to->freed_bytes += t->freed_bytes;
	to->frees += t->frees;
	to->start_live_bytes += t->start_live_bytes;
	to->live_bytes += t->live_bytes;
	to->live_blocks += t->live_blocks;
	to->peak_bytes += t->peak_bytes;
	to->peak_ns = 0; /* each process has its own */
	to->unknown_frees += t->unknown_frees;
	to->missed_frees += t->missed_frees;
	to->orphan_ends += t->orphan_ends;
	to->allocator_bytes += t->allocator_bytes;
	to->anonymous_bytes += t->anonymous_bytes;
	to->file_bytes += t->file_bytes;
	to->reserved_bytes += t->reserved_bytes;
	to->rss_bytes += t->rss_bytes;
	to->rss_max_bytes += t->rss_max_bytes;
}

/* What is to be folded, with the moments that the trace's marks stand for. NULL, or what is wrong with it. */
static char *choose_window(const struct ml_trace *t, const struct ml_controls *c, const struct ml_options *options,
			   struct ml_fold_options *window)
{
	*window = options->fold;
	if (options->from_mark && !ml_controls_mark(c, options->from_mark, &window->from_ns))
		return ml_memory_print("%s: it has no mark '%s'", t->path, options->from_mark);
	if (options->to_mark && !ml_controls_mark(c, options->to_mark, &window->to_ns))
		return ml_memory_print("%s: it has no mark '%s'", t->path, options->to_mark);
	if (window->from_ns > window->to_ns)
		return ml_memory_print("%s: --from lies behind --to", t->path);
	return NULL;
}

/* Images of one process have one pid. */
static void add_pid(struct ml_reading *r, uint64_t pid)
{
	size_t i;

	for (i = 0; i < r->pids_n; i++)
		if (r->pids[i] == pid)
			return;
	r->pids = ml_memory_resize(r->pids, r->pids_n + 1, sizeof(*r->pids));
	r->pids[r->pids_n++] = pid;
}

static bool is_partial(const struct ml_trace *t)
{
	char text[512];

	return t->header.stop || ml_load_dropped(t) || ml_load_meta(t, "late") ||
	       ml_load_warning(t, 0, text, sizeof(text));
}

static void add_trace(struct ml_reading *r, struct ml_trace *t, const struct ml_process *p, const struct ml_fold *f)
{
	uint64_t ended_ns = p->started_ns + f->totals.end_ns;
	uint64_t sample_bytes = ml_load_number(t, "option.SAMPLE", 0);
	const char *objects = ml_load_meta(t, "option.OBJECTS"), *native = ml_load_meta(t, "option.NATIVE");

	if (!r->traces_n++)
		r->totals = f->totals;
	else
		add_totals(&r->totals, &f->totals);
	r->dropped_events += ml_load_dropped(t);
	r->baseline_rss += p->baseline_rss;
	r->partial |= is_partial(t);
	r->no_objects |= objects && !strcmp(objects, "off");
	r->no_native |= native && !strcmp(native, "off");
	if (r->sample_bytes < sample_bytes)
		r->sample_bytes = sample_bytes;
	if (r->ended_ns < ended_ns)
		r->ended_ns = ended_ns;
	if (r->process.started_ns > p->started_ns)
		r->process.started_ns = p->started_ns;
	add_pid(r, p->name.pid);
}

static void add_stacks(struct ml_reading *r, const struct ml_site_nodes *nodes, const struct ml_fold *f,
		       const struct ml_options *options, uint64_t from_ns)
{
	uint32_t *stacks = ml_stacks_add(&r->stacks, nodes->trace, f, &r->sites.natives.objects);

	if (options->hold != ML_HOLD_NONE)
		ml_holds_add(&r->holds, &r->stacks, stacks, nodes, f, options->hold, from_ns);
	if (options->owners && r->traces_n == 1)
		ml_timeline_link(&r->timeline, f, stacks, &r->holds);
	free(stacks);
}

/* --invocations. */
struct entries {
	struct ml_activations_entries entries;
	const struct ml_options *options;
};

static bool is_entry(const struct ml_activations_entries *entries, const char *function)
{
	return ml_options_is_entry(((const struct entries *)entries)->options, function);
}

static struct ml_activations *new_activations(const struct ml_site_nodes *nodes, const struct ml_process *p,
					      const struct ml_options *options)
{
	const struct entries entries = {{is_entry}, options};
	const struct ml_scope recorded = {p->scope, p->root, p->program};

	return ml_activations_new(nodes, &recorded, options->entries_n ? &entries.entries : NULL);
}

/* Folds the events, and looks at what is live on the way if that is wanted: of several traces at the first. */
static struct ml_fold *fold_trace(struct ml_reading *r, struct ml_trace *t, const struct ml_process *p,
				  const struct ml_site_nodes *nodes, struct ml_fold_options *window,
				  const struct ml_options *options)
{
	bool timeline = options->points && !r->traces_n, *selected;
	struct ml_fold *f;

	r->sites.natives.objects.options = options->objects;
	ml_objects_take(&r->sites.natives.objects, t);
	window->nodes = selected = ml_select_nodes(options, t, &r->sites.natives.objects);
	r->selected |= selected || window->tid;
	if (options->invocations)
		window->activations = new_activations(nodes, p, options);
	window->in_scope = nodes->in_scope;
	window->births = options->hold == ML_HOLD_END;
	if (timeline) {
		ml_timeline_begin(&r->timeline, options->points, window->from_ns, options->invocations,
				  options->owners ? nodes : NULL);
		window->clock = &r->timeline.clock;
		if (window->activations)
			window->activations->watch = &r->timeline.watch;
	}
	f = fold(t, window);
	if (timeline)
		ml_timeline_end(&r->timeline, f);
	free(selected);
	if (options->invocations)
		ml_invocations_add(&r->invocations, nodes, window->activations, f);
	ml_activations_free(window->activations);
	return f;
}

int ml_reading_add(struct ml_reading *r, const char *path, const struct ml_options *options, char **error)
{
	struct ml_trace *t = ml_load_open(path, error);
	struct ml_fold_options window;
	struct ml_controls controls;
	struct ml_process process;
	struct ml_site_nodes nodes;
	struct ml_scope scope;
	struct ml_fold *f;

	if (!t)
		return -1;
	ml_controls_read(&controls, t);
	ml_controls_warn(&controls, &r->warnings);
	*error = choose_window(t, &controls, options, &window);
	ml_controls_free(&controls);
	if (*error) {
		ml_load_close(t);
		return -1;
	}
	if (!options->merge) /* there the parent's own trace says it */
		ml_inherit(t);
	ml_process_read(t, &process);
	process.baseline_rss = ml_load_number(ml_inherit_root(t), "baseline_rss", 0);
	scope = (struct ml_scope){options->scope ? options->scope : process.scope, process.root, process.program};
	ml_sites_resolve(&r->sites, t, &scope, &nodes);
	f = fold_trace(r, t, &process, &nodes, &window, options);
	ml_warnings_collect(&r->warnings, t, f);
	if (!r->trace)
		r->process = process;
	add_trace(r, t, &process, f);
	ml_sites_add(&r->sites, &nodes, f, process.baseline_rss);
	ml_heap_add(&r->heap, f);
	if (options->stacks)
		add_stacks(r, &nodes, f, options, window.from_ns);
	ml_fold_free(f);
	ml_site_nodes_free(&nodes);
	if (r->trace)
		ml_load_close(t);
	else
		r->trace = t;
	return 0;
}

static void open_packed_source(struct ml_pack *pack, struct ml_source *s, const char *file)
{
	const struct ml_packed *item = ml_pack_find(pack, ML_PACK_SOURCE, file);
	char *text = item ? ml_pack_text(pack, item) : NULL;

	if (!text)
		return;
	ml_source_take(s, text, (size_t)item->bytes);
	s->modified_ns = item->modified_ns;
}

static void open_source(const struct ml_reading *r, struct ml_source *s, const char *file)
{
	const char *text;

	if (file[0] != '<') {
		if (r->trace->pack)
			open_packed_source(r->trace->pack, s, file);
		else
			ml_source_open(s, file);
		return;
	}
	text = strcmp(file, "<string>") || r->traces_n > 1 ? NULL : ml_process_text(r->trace);
	if (text)
		ml_source_set(s, text);
}

const struct ml_source *ml_reading_source(struct ml_reading *r, const char *file)
{
	uint32_t n = r->files.n, number = ml_texts_number(&r->files, file);

	if (number < n)
		return r->sources[number];
	r->sources = ml_memory_grow(r->sources, n, sizeof(*r->sources));
	r->sources[n] = ml_memory_get(1, sizeof(**r->sources));
	open_source(r, r->sources[n], file);
	return r->sources[n];
}

bool ml_reading_changed(const struct ml_reading *r, const struct ml_source *s)
{
	return s->modified_ns > 0 && (uint64_t)s->modified_ns > r->process.started_ns;
}

static void warn_of_source(struct ml_reading *r, const struct ml_source *s, const char *file)
{
	if (file[0] == '<')
		return;
	if (!s->text)
		ml_warnings_add(&r->warnings, "source not found: %s", file);
	else if (ml_reading_changed(r, s))
		ml_warnings_add(&r->warnings, "source changed since the recording: %s", file);
}

static int compare_files(const void *left, const void *right)
{
	const struct ml_function *const *a = left, *const *b = right;

	return strcmp((*a)->file, (*b)->file);
}

/* Warnings come in the order of the files. */
static void open_sources(struct ml_reading *r)
{
	struct ml_function **shown = ml_memory_get(r->sites.functions_n, sizeof(*shown));
	size_t n = 0, i;

	for (i = 0; i < r->sites.functions_n; i++)
		if (!r->sites.functions[i].hidden)
			shown[n++] = &r->sites.functions[i];
	qsort(shown, n, sizeof(*shown), compare_files);
	for (i = 0; i < n; i++) {
		shown[i]->source = ml_reading_source(r, shown[i]->file);
		if (!i || strcmp(shown[i]->file, shown[i - 1]->file))
			warn_of_source(r, shown[i]->source, shown[i]->file);
	}
	free(shown);
}

void ml_reading_finish(struct ml_reading *r, const struct ml_options *options)
{
	size_t i, shown = 0;

	ml_sites_sort(&r->sites);
	for (i = 0; i < r->sites.functions_n; i++) {
		struct ml_function *f = &r->sites.functions[i];
		f->hidden = !ml_options_takes(options, f->name) || (options->top && shown >= options->top) ||
			    ml_magnitude(f->increment_bytes) < options->min_bytes;
		shown += !f->hidden;
	}
	open_sources(r);
	ml_natives_finish(&r->sites.natives, options->native);
	ml_invocations_finish(&r->invocations, &r->sites);
	ml_stacks_finish(&r->stacks, &r->sites.natives.objects);
	ml_objects_warn(&r->sites.natives.objects, &r->warnings);
}

void ml_reading_close(struct ml_reading *r)
{
	uint32_t i;

	for (i = 0; i < r->files.n; i++) {
		ml_source_close(r->sources[i]);
		free(r->sources[i]);
	}
	free(r->sources);
	ml_texts_free(&r->files);
	free(r->pids);
	ml_stacks_free(&r->stacks);
	ml_holds_free(&r->holds);
	ml_timeline_free(&r->timeline);
	ml_invocations_free(&r->invocations);
	ml_sites_free(&r->sites);
	ml_warnings_free(&r->warnings);
	if (r->trace)
		ml_load_close(r->trace);
	*r = (struct ml_reading){0};
}

bool *ml_reading_takes(const struct ml_reading *r, const struct ml_options *options)
{
	const struct ml_stacks *s = &r->stacks;
	bool *frames = ml_memory_get(s->frames_n, sizeof(*frames)), *stacks = ml_memory_get(s->n, sizeof(*stacks));
	uint32_t i, k;

	for (i = 0; i < s->frames_n; i++)
		for (k = 0; k < s->frames[i].calls_n; k++)
			frames[i] |= ml_options_takes(options, s->calls[s->frames[i].first_call + k].function);
	for (i = 1; i < s->n; i++)
		stacks[i] = stacks[s->items[i].parent] || frames[s->items[i].frame];
	free(frames);
	return stacks;
}

double ml_reading_seconds(const struct ml_reading *r)
{
	return r->ended_ns > r->process.started_ns ? (double)(r->ended_ns - r->process.started_ns) / 1e9 : 0;
}
