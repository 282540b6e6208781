/*
 * speedscope's file format (https://www.speedscope.app/file-format-schema.json): a sampled profile for each process, in
 * which a stack is a sample and its size the weight. speedscope takes no negative weights, so where an increment has
 * some, what grew and what shrank are profiles of their own.
 */
#include <inttypes.h>
#include <stdlib.h>

#include "report/export.h"
#include "report/json.h"
#include "report/memory.h"

struct state {
	FILE *frames; /* frames of all profiles, as they will stand behind them */
	char *text;
	size_t bytes;
	uint32_t frames_n;
	size_t profiles;
};

static void print_string(FILE *out, const char *text)
{
	json_t *value = ml_json_text(text);

	json_dumpf(value, out, JSON_ENCODE_ANY);
	json_decref(value);
}

static void begin(struct ml_export *e)
{
	struct state *s = ml_memory_get(1, sizeof(*s));

	s->frames = ml_memory_stream(&s->text, &s->bytes);
	e->state = s;
	fputs("{\"$schema\": \"https://www.speedscope.app/file-format-schema.json\",\n\"exporter\": ", e->out);
	print_string(e->out, "memline " ML_VERSION_TEXT);
	fputs(",\n\"profiles\": [", e->out);
}

/* The number of the first call of each frame; the outermost of those that were inlined comes first. */
static uint32_t *add_frames(struct state *s, const struct ml_stacks *stacks)
{
	uint32_t *first = ml_memory_get(stacks->frames_n, sizeof(*first)), i, call;

	for (i = 0; i < stacks->frames_n; i++) {
		const struct ml_frame *frame = &stacks->frames[i];
		first[i] = s->frames_n;
		for (call = frame->calls_n; call-- > 0;) {
			const struct ml_call *c = &stacks->calls[frame->first_call + call];
			fputs(s->frames_n++ ? ",\n{\"name\": " : "\n{\"name\": ", s->frames);
			print_string(s->frames, c->function);
			if (c->file) {
				fputs(", \"file\": ", s->frames);
				print_string(s->frames, c->file);
			}
			if (c->line)
				fprintf(s->frames, ", \"line\": %d", c->line);
			putc('}', s->frames);
		}
	}
	return first;
}

static void print_sample(struct ml_export *e, const struct ml_stacks *s, uint32_t stack, const uint32_t *first,
			 uint32_t *path)
{
	const char *comma = "";
	uint32_t i, call;

	ml_stacks_path(s, stack, path);
	putc('[', e->out);
	for (i = 0; i < s->items[stack].depth; i++)
		for (call = 0; call < s->frames[path[i]].calls_n; call++) {
			fprintf(e->out, "%s%" PRIu32, comma, first[path[i]] + call);
			comma = ",";
		}
	putc(']', e->out);
}

/* The stacks whose values have that sign. */
static void add_profile(struct ml_export *e, const struct ml_reading *r, const bool *takes, const uint32_t *first,
			int sign, const char *name)
{
	const struct ml_stacks *s = &r->stacks;
	struct state *state = e->state;
	uint32_t *path = ml_memory_get(s->depth, sizeof(*path)), *chosen = ml_memory_get(s->n, sizeof(*chosen)), n = 0;
	uint64_t sum = 0;
	uint32_t i;

	for (i = 1; i < s->n; i++)
		if (takes[i] && sign * ml_metric_value(&s->items[i].amount, e->metric) > 0)
			chosen[n++] = i;
	fputs(state->profiles++ ? ",\n{\"type\": \"sampled\", \"name\": " : "\n{\"type\": \"sampled\", \"name\": ",
	      e->out);
	print_string(e->out, name);
	fprintf(e->out, ", \"unit\": \"%s\",\n\"samples\": [",
		e->metric == ML_METRIC_ALLOCATIONS ? "none" : ml_metric_unit(e->metric));
	for (i = 0; i < n; i++) {
		fputs(i ? ",\n" : "\n", e->out);
		print_sample(e, s, chosen[i], first, path);
	}
	fputs("],\n\"weights\": [", e->out);
	for (i = 0; i < n; i++) {
		int64_t value = sign * ml_metric_value(&s->items[chosen[i]].amount, e->metric);
		fprintf(e->out, "%s%" PRId64, i ? "," : "", value);
		sum += (uint64_t)value;
	}
	fprintf(e->out, "],\n\"startValue\": 0, \"endValue\": %" PRIu64 "}", sum);
	free(path);
	free(chosen);
}

static bool has_negative(const struct ml_export *e, const struct ml_stacks *s, const bool *takes)
{
	uint32_t i;

	for (i = 1; i < s->n; i++)
		if (takes[i] && ml_metric_value(&s->items[i].amount, e->metric) < 0)
			return true;
	return false;
}

static void add(struct ml_export *e, const struct ml_reading *r)
{
	char *process = ml_export_process(r), *name;
	uint32_t *first = add_frames(e->state, &r->stacks);
	bool *takes = ml_reading_takes(r, e->options), negative = has_negative(e, &r->stacks, takes);

	name = ml_memory_print("%s: %s", process, negative ? "grew" : ml_metric_name(e->metric));
	add_profile(e, r, takes, first, 1, name);
	free(name);
	if (negative) {
		name = ml_memory_print("%s: shrank", process);
		add_profile(e, r, takes, first, -1, name);
		free(name);
	}
	free(process);
	free(first);
	free(takes);
}

static void end(struct ml_export *e)
{
	struct state *s = e->state;

	fclose(s->frames);
	fputs("],\n\"activeProfileIndex\": 0,\n\"shared\": {\"frames\": [", e->out);
	fwrite(s->text, 1, s->bytes, e->out);
	fputs("]}}\n", e->out);
	free(s->text);
	free(s);
}

const struct ml_export_format ml_export_speedscope = {
	.name = "speedscope", .stacks = true, .begin = begin, .add = add, .end = end};
