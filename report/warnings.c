#include "report/warnings.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "report/control.h"
#include "report/memory.h"

/* More would not be read. The one behind the last says that there were more. */
#define WARNINGS_MAX 100

void ml_warnings_add(struct ml_warnings *w, const char *format, ...)
{
	char text[4096 + 256]; /* a longer path is cut */
	va_list list;
	size_t i;

	if (w->n > WARNINGS_MAX)
		return;
	va_start(list, format);
	vsnprintf(text, sizeof(text), w->n < WARNINGS_MAX ? format : "more warnings were left out", list);
	va_end(list);
	for (i = 0; i < w->n; i++)
		if (!strcmp(w->texts[i], text))
			return;
	w->texts = ml_memory_resize(w->texts, w->n + 1, sizeof(*w->texts));
	w->texts[w->n++] = ml_memory_text(text, strlen(text));
}

void ml_warnings_free(struct ml_warnings *w)
{
	size_t i;

	for (i = 0; i < w->n; i++)
		free(w->texts[i]);
	free(w->texts);
	*w = (struct ml_warnings){NULL, 0};
}

static const char *const counter_texts[] = {
#define X(name, text) text,
	ML_COUNTER_LIST(X)
#undef X
};

static const char *const stop_texts[] = {
#define X(name, text) text,
	ML_STOP_LIST(X)
#undef X
};

/* The events of stacks that the mark stands in. The recorder notes it only when it makes such a stack, not at each
   event that has one. */
static uint64_t count_cut(const struct ml_trace *t, const struct ml_fold *fold, enum ml_mark mark)
{
	bool *cut = ml_memory_get(fold->nodes_n, sizeof(*cut));
	uint64_t events = 0;
	uint32_t i;

	/* Callers come before what they call. */
	for (i = 1; i < fold->nodes_n; i++) {
		cut[i] = cut[t->nodes[i].parent] || t->nodes[i].subject == ML_SUBJECT(ML_NODE_MARK, mark);
		if (cut[i])
			events += fold->nodes[i].allocations + fold->nodes[i].frees;
	}
	free(cut);
	return events;
}

static uint64_t counted(const struct ml_trace *t, const struct ml_fold *fold, uint32_t counter)
{
	uint64_t noted = t->header.counter[counter], found = 0;

	if (noted && counter == ML_COUNTER_DEEP_STACKS)
		found = count_cut(t, fold, ML_MARK_DEEPER);
	if (noted && counter == ML_COUNTER_TRUNCATED_STACKS)
		found = count_cut(t, fold, ML_MARK_TRUNCATED);
	return found > noted ? found : noted;
}

static void collect_header(struct ml_warnings *w, const struct ml_trace *t, const struct ml_fold *fold)
{
	const struct ml_header *h = &t->header;
	uint32_t i;

	if (h->stop && h->stop < ML_STOPS && h->stop_errno > 0)
		ml_warnings_add(w, "recording stopped: %s (%s)", stop_texts[h->stop], strerror(h->stop_errno));
	else if (h->stop && h->stop < ML_STOPS)
		ml_warnings_add(w, "recording stopped: %s", stop_texts[h->stop]);
	else if (h->stop)
		ml_warnings_add(w, "recording stopped for a reason that this version doesn't know (%" PRIu32 ")",
				h->stop);
	for (i = 0; i < ML_COUNTERS && i < h->counters; i++)
		if (h->counter[i])
			ml_warnings_add(w, "%" PRIu64 " %s", counted(t, fold, i), counter_texts[i]);
	if (h->flags & ML_FLAG_UNMAPPED)
		ml_warnings_add(w, "the trace's file system gave no shared mapping: "
				   "a kill may have lost the last events of each thread");
}

static void collect_meta(struct ml_warnings *w, const struct ml_trace *t)
{
	static const char ignored[] = "ignored.";
	const char *refused = ml_load_meta(t, "python_refused");
	size_t i;

	if (refused)
		ml_warnings_add(w, "no Python frames were recorded: %s", refused);
	else if (!ml_load_meta(t, "python") && ml_load_meta(t, "pid"))
		ml_warnings_add(w, "no Python frames were recorded: no usable CPython was found");
	if (ml_load_meta(t, "occurrences_refused"))
		ml_warnings_add(w, "%s: %s",
				t->counts_lines ? "lines were not counted until the end" : "lines were not counted",
				ml_load_meta(t, "occurrences_refused"));
	if (ml_load_meta(t, "log_refused"))
		ml_warnings_add(w, "no table was logged: %s", ml_load_meta(t, "log_refused"));
	else if ((t->header.flags & ML_FLAG_LOGGER) && !ml_control_is_attached(t))
		ml_warnings_add(w, "no table was logged: the process that was to write it did not come up; "
				   "see what memline log says");
	if (ml_load_meta(t, "late"))
		ml_warnings_add(w, "CPython was loaded after the process had started: what came before was not seen");
	for (i = 0; i < t->meta_n; i++)
		if (!strncmp(t->meta[i].key, ignored, sizeof(ignored) - 1))
			ml_warnings_add(w, "MEMLINE_%s was ignored: it does not take '%s'",
					t->meta[i].key + sizeof(ignored) - 1, t->meta[i].value);
}

static void collect_events(struct ml_warnings *w, const struct ml_trace *t, const struct ml_fold *fold)
{
	char text[512];
	unsigned i;

	for (i = 0; ml_load_warning(t, i, text, sizeof(text)); i++)
		ml_warnings_add(w, "%s", text);
	if (fold->totals.missed_frees)
		ml_warnings_add(w, "%" PRIu64 " blocks were allocated where one was live: its free was not seen",
				fold->totals.missed_frees);
	if (fold->totals.orphan_ends)
		ml_warnings_add(w, "%" PRIu64 " ends of a call have no beginning", fold->totals.orphan_ends);
}

void ml_warnings_collect(struct ml_warnings *w, const struct ml_trace *t, const struct ml_fold *fold)
{
	collect_header(w, t, fold);
	collect_meta(w, t);
	collect_events(w, t, fold);
}
