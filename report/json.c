#include "report/json.h"

#include <stdlib.h>
#include <string.h>

#include "report/memory.h"

json_t *ml_json_number(uint64_t n)
{
	return json_integer((json_int_t)n);
}

/* Length of the UTF-8 sequence at the start, or 0 where there is none (RFC 3629). */
static size_t sequence_bytes(const unsigned char *p, size_t room)
{
	size_t bytes = p[0] < 0x80 ? 1 : p[0] < 0xc2 ? 0 : p[0] < 0xe0 ? 2 : p[0] < 0xf0 ? 3 : p[0] < 0xf5 ? 4 : 0;
	size_t i;

	if (bytes > room)
		return 0;
	for (i = 1; i < bytes; i++)
		if ((p[i] & 0xc0) != 0x80)
			return 0;
	if (bytes < 3)
		return bytes;
	if ((p[0] == 0xe0 && p[1] < 0xa0) || (p[0] == 0xed && p[1] > 0x9f) || (p[0] == 0xf0 && p[1] < 0x90) ||
	    (p[0] == 0xf4 && p[1] > 0x8f))
		return 0;
	return bytes;
}

char *ml_json_utf8(const char *text, size_t bytes, size_t *clean_bytes)
{
	static const char replacement[] = "\xef\xbf\xbd";
	char *clean = ml_memory_get(bytes + 1, sizeof(replacement) - 1), *to = clean;

	while (bytes) {
		size_t n = sequence_bytes((const unsigned char *)text, bytes);
		memcpy(to, n ? text : replacement, n ? n : sizeof(replacement) - 1);
		to += n ? n : sizeof(replacement) - 1;
		text += n ? n : 1;
		bytes -= n ? n : 1;
	}
	*clean_bytes = (size_t)(to - clean);
	return clean;
}

json_t *ml_json_bytes(const char *text, size_t bytes)
{
	size_t clean_bytes;
	char *clean = ml_json_utf8(text, bytes, &clean_bytes);
	json_t *value = json_stringn(clean, clean_bytes);

	free(clean);
	return value;
}

json_t *ml_json_text(const char *text)
{
	return text ? ml_json_bytes(text, strlen(text)) : json_null();
}

json_t *ml_json_command(const struct ml_trace *t)
{
	json_t *command = json_array();
	const char *word;
	unsigned i;

	for (i = 0; (word = ml_process_argument(t, i)); i++)
		json_array_append_new(command, ml_json_text(word));
	return command;
}

static json_t *warnings(const struct ml_warnings *w)
{
	json_t *array = json_array();
	size_t i;

	for (i = 0; i < w->n; i++)
		json_array_append_new(array, ml_json_text(w->texts[i]));
	return array;
}

json_t *ml_json_process(const struct ml_reading *r)
{
	char started[ML_PROCESS_TIME_BYTES];
	json_t *o = json_object(), *merged;
	size_t i;

	ml_process_time(r->process.started_ns, started);
	json_object_set_new(o, "pid", r->traces_n > 1 ? json_null() : ml_json_number(r->process.name.pid));
	if (r->traces_n > 1) {
		merged = json_array();
		for (i = 0; i < r->pids_n; i++)
			json_array_append_new(merged, ml_json_number(r->pids[i]));
		json_object_set_new(o, "merged", merged);
	}
	json_object_set_new(o, "ppid", ml_json_number(r->process.ppid));
	json_object_set_new(o, "command", ml_json_command(r->trace));
	json_object_set_new(o, "python", ml_json_text(r->process.python));
	json_object_set_new(o, "started", json_string(started));
	json_object_set_new(o, "seconds", json_real(ml_reading_seconds(r)));
	json_object_set_new(o, "end", json_string(ml_process_end_text(r->process.end)));
	json_object_set_new(o, "sample_bytes", ml_json_number(r->sample_bytes));
	json_object_set_new(o, "warnings", warnings(&r->warnings));
	return o;
}

json_t *ml_json_totals(const struct ml_reading *r)
{
	const struct ml_totals *t = &r->totals;
	json_t *o = json_object(), *mappings = json_object();

	json_object_set_new(o, "allocated_bytes", ml_json_number(t->allocated_bytes));
	json_object_set_new(o, "allocations", ml_json_number(t->allocations));
	json_object_set_new(o, "freed_bytes", ml_json_number(t->freed_bytes));
	json_object_set_new(o, "frees", ml_json_number(t->frees));
	json_object_set_new(o, "live_bytes", ml_json_number(t->live_bytes));
	json_object_set_new(o, "live_blocks", ml_json_number(t->live_blocks));
	json_object_set_new(o, "peak_bytes", ml_json_number(t->peak_bytes));
	json_object_set_new(o, "peak_seconds", r->traces_n > 1 ? json_null() : json_real((double)t->peak_ns / 1e9));
	json_object_set_new(o, "start_live_bytes", ml_json_number(t->start_live_bytes));
	json_object_set_new(o, "unknown_frees", ml_json_number(t->unknown_frees));
	json_object_set_new(o, "missed_frees", ml_json_number(t->missed_frees));
	json_object_set_new(o, "dropped_events", ml_json_number(r->dropped_events));
	json_object_set_new(o, "baseline_rss_bytes", ml_json_number(r->baseline_rss));
	json_object_set_new(o, "allocator_bytes", ml_json_number(t->allocator_bytes));
	json_object_set_new(mappings, "anonymous_bytes", ml_json_number(t->anonymous_bytes));
	json_object_set_new(mappings, "file_bytes", ml_json_number(t->file_bytes));
	json_object_set_new(mappings, "reserved_bytes", ml_json_number(t->reserved_bytes));
	json_object_set_new(o, "mappings", mappings);
	return o;
}

json_t *ml_json_heap(const struct ml_reading *r)
{
	const struct ml_heap *h = &r->heap;
	json_t *o = json_object();

	json_object_set_new(o, "arena_bytes", ml_json_number(r->totals.allocator_bytes));
	json_object_set_new(o, "small_blocks", ml_json_number(h->small.blocks));
	json_object_set_new(o, "small_bytes", ml_json_number(h->small.bytes));
	json_object_set_new(o, "small_taken_bytes", ml_json_number(h->small.taken_bytes));
	json_object_set_new(o, "malloc_blocks", ml_json_number(h->malloc.blocks));
	json_object_set_new(o, "malloc_bytes", ml_json_number(h->malloc.bytes));
	json_object_set_new(o, "malloc_taken_bytes", ml_json_number(h->malloc.taken_bytes));
	json_object_set_new(o, "mapped_bytes", ml_json_number(h->mapped_bytes));
	return o;
}

static json_t *caller(const struct ml_natives *natives, const struct ml_native *item)
{
	const struct ml_object *object = &natives->objects.objects[item->object];
	char *function = ml_native_function(natives, item);
	json_t *o = json_object();

	json_object_set_new(o, "module", ml_json_text(object->name));
	json_object_set_new(o, "path", *object->path ? ml_json_text(object->path) : json_null());
	json_object_set_new(o, "function", ml_json_text(function));
	json_object_set_new(o, "file", ml_json_text(item->file));
	json_object_set_new(o, "line", item->file ? ml_json_number(item->line) : json_null());
	json_object_set_new(o, "increment_bytes", ml_json_number(item->amount.increment_bytes));
	json_object_set_new(o, "live_bytes", ml_json_number(item->amount.live_bytes));
	json_object_set_new(o, "live_blocks", ml_json_number(item->amount.live_blocks));
	json_object_set_new(o, "peak_bytes", ml_json_number(item->amount.peak_bytes));
	json_object_set_new(o, "allocated_bytes", ml_json_number(item->amount.allocated_bytes));
	json_object_set_new(o, "allocations", ml_json_number(item->amount.allocations));
	free(function);
	return o;
}

static json_t *callers(const struct ml_natives *natives, uint32_t owner)
{
	json_t *array = json_array();
	const struct ml_native *items;
	size_t n, i;

	items = ml_natives_of(natives, owner, &n);
	for (i = 0; i < n; i++)
		json_array_append_new(array, caller(natives, &items[i]));
	return array;
}

static json_t *outside(const struct ml_amount *out, const struct ml_natives *natives, uint32_t owner)
{
	json_t *o = json_object();

	json_object_set_new(o, "increment_bytes", ml_json_number(out->increment_bytes));
	json_object_set_new(o, "live_bytes", ml_json_number(out->live_bytes));
	json_object_set_new(o, "callers", callers(natives, owner));
	return o;
}

static void set_modules(json_t *o, const struct ml_reading *r, const struct ml_line *l)
{
	struct ml_line_modules m = {.n = 0};

	if (!r->no_native)
		ml_site_modules(&r->sites, l, &m);
	json_object_set_new(o, "module", m.n ? ml_json_text(m.modules[0].name) : json_null());
	json_object_set_new(o, "python_live_bytes", r->no_native ? json_null() : ml_json_number(m.python.live_bytes));
	json_object_set_new(o, "native_live_bytes",
			    r->no_native ? json_null() : ml_json_number(l->live_bytes - m.python.live_bytes));
	json_object_set_new(o, "callers", callers(&r->sites.natives, l->number));
	free(m.modules);
}

static json_t *line(const struct ml_reading *r, const struct ml_line *l, const struct ml_source *source)
{
	json_t *o = json_object();
	size_t bytes;
	const char *text = ml_source_line(source, l->line, &bytes);

	json_object_set_new(o, "line", json_integer(l->line));
	json_object_set_new(o, "source", text ? ml_json_bytes(text, bytes) : json_null());
	json_object_set_new(o, "occurrences", l->counted ? ml_json_number(l->occurrences) : json_null());
	if (l->at_least)
		json_object_set_new(o, "occurrences_at_least", json_true());
	json_object_set_new(o, "mem_bytes", ml_json_number(l->mem_bytes));
	json_object_set_new(o, "increment_bytes", json_integer(l->increment_bytes));
	json_object_set_new(o, "own_increment_bytes", json_integer(l->own_increment_bytes));
	json_object_set_new(o, "live_bytes", ml_json_number(l->live_bytes));
	json_object_set_new(o, "live_blocks", ml_json_number(l->live_blocks));
	json_object_set_new(o, "allocated_bytes", ml_json_number(l->allocated_bytes));
	json_object_set_new(o, "allocations", ml_json_number(l->allocations));
	json_object_set_new(o, "peak_bytes", ml_json_number(l->peak_bytes));
	json_object_set_new(o, "inclusive_live_bytes", ml_json_number(l->inclusive_live_bytes));
	set_modules(o, r, l);
	return o;
}

static json_t *function(const struct ml_reading *r, const struct ml_function *f)
{
	json_t *o = json_object(), *lines = json_array();
	size_t i;

	json_object_set_new(o, "file", ml_json_text(f->file));
	json_object_set_new(o, "name", ml_json_text(f->name));
	json_object_set_new(o, "first_line", json_integer(f->first_line));
	for (i = 0; i < f->lines_n; i++)
		json_array_append_new(lines, line(r, &f->lines[i], f->source));
	json_object_set_new(o, "lines", lines);
	return o;
}

json_t *ml_json_reading(const struct ml_reading *r)
{
	json_t *o = ml_json_process(r), *functions = json_array();
	size_t i;

	json_object_set_new(o, "totals", ml_json_totals(r));
	json_object_set_new(o, "out_of_scope",
			    outside(&r->sites.out_of_scope, &r->sites.natives, ML_OWNER_OUT_OF_SCOPE));
	json_object_set_new(o, "native", outside(&r->sites.native, &r->sites.natives, ML_OWNER_NATIVE));
	for (i = 0; i < r->sites.functions_n; i++)
		if (!r->sites.functions[i].hidden)
			json_array_append_new(functions, function(r, &r->sites.functions[i]));
	json_object_set_new(o, "functions", functions);
	return o;
}

/* 15 digits: a double holds them all, so nanoseconds come out as they went in. */
void ml_json_print(FILE *out, json_t *value)
{
	json_dumpf(value, out, JSON_INDENT(1) | JSON_PRESERVE_ORDER | JSON_REAL_PRECISION(15));
	fputc('\n', out);
	json_decref(value);
}

void ml_json_print_processes(FILE *out, json_t *processes)
{
	json_t *top = json_object();

	json_object_set_new(top, "memline", json_string(ML_VERSION_TEXT));
	json_object_set_new(top, "processes", processes);
	ml_json_print(out, top);
}
