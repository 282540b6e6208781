/*
 * pprof's profile.proto, compressed by gzip. A message's repeated fields are those of all its parts, one behind the
 * other, so the profile is written piece by piece and never held as a whole.
 */
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#include "report/export.h"
#include "report/json.h"
#include "report/memory.h"
#include "report/profile.pb-c.h"

/* zlib's manual: 15 bits of window, 16 more for a gzip header. */
#define GZIP_WINDOW (15 + 16)

struct state {
	FILE *out;
	z_stream z;
	uint8_t *packed;
	size_t room;
	struct ml_texts strings;   /* the string table; 0 is empty */
	struct ml_pairs names;     /* of function and file, */
	struct ml_pairs functions; /* of these and the first line: its number is the function's id - 1 */
	uint64_t locations;        /* those written */
	uint64_t mappings;
	uint64_t started_ns;
	uint64_t ended_ns;
	uint64_t *ids; /* the locations of a sample */
};

static voidpf zlib_get(voidpf context, uInt items, uInt size)
{
	(void)context;
	return ml_memory_get(items, size);
}

static void zlib_free(voidpf context, voidpf memory)
{
	(void)context;
	free(memory);
}

static void compress_bytes(struct state *s, const uint8_t *bytes, size_t n, int flush)
{
	uint8_t block[65536];

	s->z.next_in = (uint8_t *)bytes;
	s->z.avail_in = (uInt)n;
	do {
		s->z.next_out = block;
		s->z.avail_out = sizeof(block);
		deflate(&s->z, flush);
		fwrite(block, 1, sizeof(block) - s->z.avail_out, s->out);
	} while (!s->z.avail_out);
}

static void write_part(struct state *s, const Memline__Profile *part)
{
	size_t bytes = memline__profile__get_packed_size(part);

	if (bytes > s->room)
		s->packed = ml_memory_resize(s->packed, s->room = bytes * 2, 1);
	compress_bytes(s, s->packed, memline__profile__pack(part, s->packed), Z_NO_FLUSH);
}

/* The text's number in the string table. */
static int64_t string_of(struct state *s, const char *text)
{
	size_t bytes;
	char *clean = ml_json_utf8(text, strlen(text), &bytes);
	uint32_t before = s->strings.n, number = ml_texts_number(&s->strings, clean);
	Memline__Profile part = MEMLINE__PROFILE__INIT;

	free(clean);
	if (number == before) {
		part.n_string_table = 1;
		part.string_table = &s->strings.items[number];
		write_part(s, &part);
	}
	return number;
}

static void begin(struct ml_export *e)
{
	struct state *s = ml_memory_get(1, sizeof(*s));
	Memline__ValueType types[ML_METRICS], *list[ML_METRICS];
	Memline__Profile part = MEMLINE__PROFILE__INIT;
	enum ml_metric metric;

	s->out = e->out;
	s->z.zalloc = zlib_get;
	s->z.zfree = zlib_free;
	s->started_ns = UINT64_MAX;
	deflateInit2(&s->z, Z_DEFAULT_COMPRESSION, Z_DEFLATED, GZIP_WINDOW, 8, Z_DEFAULT_STRATEGY);
	string_of(s, "");
	for (metric = 0; metric < ML_METRICS; metric++) {
		types[metric] = (Memline__ValueType)MEMLINE__VALUE_TYPE__INIT;
		types[metric].type = string_of(s, ml_metric_name(metric));
		types[metric].unit = string_of(s, ml_metric_unit(metric));
		list[metric] = &types[metric];
	}
	part.n_sample_type = ML_METRICS;
	part.sample_type = list;
	part.default_sample_type = types[e->metric].type;
	write_part(s, &part);
	e->state = s;
}

static uint64_t function_of(struct state *s, const struct ml_call *call)
{
	Memline__Function function = MEMLINE__FUNCTION__INIT, *list = &function;
	Memline__Profile part = MEMLINE__PROFILE__INIT;
	uint32_t before = s->functions.n, names;

	/* With a system_name that is the same pprof would take "<module>" for arguments of a template and cut it. */
	function.name = string_of(s, call->function);
	function.filename = call->file ? string_of(s, call->file) : 0;
	function.start_line = call->first_line;
	names = ml_pairs_number(&s->names, (uint32_t)function.name, (uint32_t)function.filename);
	function.id = ml_pairs_number(&s->functions, names, (uint32_t)call->first_line) + 1;
	if (function.id > before) {
		part.n_function = 1;
		part.function = &list;
		write_part(s, &part);
	}
	return function.id;
}

static void write_location(struct state *s, const struct ml_stacks *stacks, const struct ml_frame *frame, uint64_t id)
{
	Memline__Location location = MEMLINE__LOCATION__INIT, *list = &location;
	Memline__Line lines[ML_OBJECTS_FRAMES], *line_list[ML_OBJECTS_FRAMES];
	Memline__Profile part = MEMLINE__PROFILE__INIT;
	uint32_t i;

	for (i = 0; i < frame->calls_n; i++) {
		const struct ml_call *call = &stacks->calls[frame->first_call + i];
		lines[i] = (Memline__Line)MEMLINE__LINE__INIT;
		lines[i].function_id = function_of(s, call);
		lines[i].line = call->line;
		line_list[i] = &lines[i];
	}
	location.id = id;
	location.mapping_id = frame->object ? s->mappings + frame->object : 0;
	location.address = frame->address;
	location.n_line = frame->calls_n;
	location.line = line_list;
	part.n_location = 1;
	part.location = &list;
	write_part(s, &part);
}

/* Addresses in it are those in the file, as if it had been loaded there. */
static void write_mapping(struct state *s, const struct ml_object *object, uint64_t id)
{
	Memline__Mapping mapping = MEMLINE__MAPPING__INIT, *list = &mapping;
	Memline__Profile part = MEMLINE__PROFILE__INIT;
	char *build_id = ml_memory_hex(object->build_id, object->build_id_bytes);

	mapping.id = id;
	mapping.memory_limit = object->end;
	mapping.filename = string_of(s, object->path);
	mapping.build_id = string_of(s, build_id);
	mapping.has_functions = mapping.has_filenames = mapping.has_line_numbers = mapping.has_inline_frames = true;
	part.n_mapping = 1;
	part.mapping = &list;
	write_part(s, &part);
	free(build_id);
}

static void write_sample(struct ml_export *e, const struct ml_reading *r, uint32_t stack, uint32_t *path,
			 Memline__Label *label)
{
	const struct ml_stack *item = &r->stacks.items[stack];
	Memline__Sample sample = MEMLINE__SAMPLE__INIT, *list = &sample;
	Memline__Profile part = MEMLINE__PROFILE__INIT;
	struct state *s = e->state;
	int64_t values[ML_METRICS];
	enum ml_metric metric;
	uint32_t i;

	for (metric = 0; metric < ML_METRICS; metric++)
		values[metric] = ml_metric_value(&item->amount, metric);
	ml_stacks_path(&r->stacks, stack, path);
	for (i = 0; i < item->depth; i++)
		s->ids[item->depth - 1 - i] = s->locations + path[i] + 1;
	sample.n_location_id = item->depth;
	sample.location_id = s->ids;
	sample.n_value = ML_METRICS;
	sample.value = values;
	sample.n_label = label != NULL;
	sample.label = &label;
	part.n_sample = 1;
	part.sample = &list;
	write_part(s, &part);
}

static void write_samples(struct ml_export *e, const struct ml_reading *r)
{
	const struct ml_stacks *stacks = &r->stacks;
	uint32_t *path = ml_memory_get(stacks->depth, sizeof(*path)), i;
	Memline__Label label = MEMLINE__LABEL__INIT;
	bool *takes = ml_reading_takes(r, e->options);
	struct state *s = e->state;
	char pid[32];

	s->ids = ml_memory_get(stacks->depth, sizeof(*s->ids));
	snprintf(pid, sizeof(pid), "%llu", (unsigned long long)r->process.name.pid);
	if (e->several) {
		label.key = string_of(s, "pid");
		label.str = string_of(s, pid);
	}
	for (i = 1; i < stacks->n; i++)
		if (takes[i] && !ml_amount_is_nothing(&stacks->items[i].amount))
			write_sample(e, r, i, path, e->several ? &label : NULL);
	free(s->ids);
	free(takes);
	free(path);
}

static void write_comment(struct state *s, const char *text)
{
	Memline__Profile part = MEMLINE__PROFILE__INIT;
	int64_t comment = string_of(s, text);

	part.n_comment = 1;
	part.comment = &comment;
	write_part(s, &part);
}

static void add(struct ml_export *e, const struct ml_reading *r)
{
	struct state *s = e->state;
	char *process = ml_export_process(r);
	uint32_t i;

	write_comment(s, process);
	for (i = 0; i < r->warnings.n; i++)
		write_comment(s, r->warnings.texts[i]);
	for (i = 1; i < r->sites.natives.objects.n; i++)
		write_mapping(s, &r->sites.natives.objects.objects[i], s->mappings + i);
	for (i = 0; i < r->stacks.frames_n; i++)
		write_location(s, &r->stacks, &r->stacks.frames[i], s->locations + i + 1);
	write_samples(e, r);
	s->locations += r->stacks.frames_n;
	s->mappings += r->sites.natives.objects.n;
	if (s->started_ns > r->process.started_ns)
		s->started_ns = r->process.started_ns;
	if (s->ended_ns < r->ended_ns)
		s->ended_ns = r->ended_ns;
	free(process);
}

static void end(struct ml_export *e)
{
	Memline__Profile part = MEMLINE__PROFILE__INIT;
	struct state *s = e->state;

	if (s->started_ns <= s->ended_ns) {
		part.time_nanos = (int64_t)s->started_ns;
		part.duration_nanos = (int64_t)(s->ended_ns - s->started_ns);
		write_part(s, &part);
	}
	compress_bytes(s, NULL, 0, Z_FINISH);
	deflateEnd(&s->z);
	ml_texts_free(&s->strings);
	ml_pairs_free(&s->names);
	ml_pairs_free(&s->functions);
	free(s->packed);
	free(s);
}

const struct ml_export_format ml_export_pprof = {
	.name = "pprof", .stacks = true, .binary = true, .begin = begin, .add = add, .end = end};
