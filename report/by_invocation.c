#include "report/by_invocation.h"

#include <inttypes.h>

#include "report/json.h"
#include "report/table.h"

/* Lines of a function in a text, unless all are asked for. */
#define LINES 20

/* Numbers of invocations are small: sums of bytes and nanoseconds divided by them are exact enough. */
static double mean(uint64_t sum, uint64_t n)
{
	return n ? (double)sum / (double)n : 0;
}

static bool is_asked_for(const struct ml_options *o, const struct ml_invocations_of *item)
{
	return (item->ended || item->unfinished) && ml_options_takes(o, item->name) &&
	       item->retained_bytes >= o->min_bytes;
}

/* Text. */

static const char *size_of(double bytes, char text[ML_TABLE_SIZE_BYTES])
{
	return ml_table_size((uint64_t)(bytes + 0.5), text);
}

static void print_time(FILE *out, double ns)
{
	if (ns < 1e9)
		fprintf(out, "%.0f ms", ns / 1e6);
	else
		fprintf(out, "%.3f s", ns / 1e9);
}

static void print_sums(FILE *out, const struct ml_invocations_of *item)
{
	char size[ML_TABLE_SIZE_BYTES];

	fprintf(out, "  retained   %s each", size_of(mean(item->retained_bytes, item->ended), size));
	if (item->last < item->ended)
		fprintf(out, ", the last %" PRIu64 " %s each", item->last,
			size_of(mean(item->last_retained_bytes, item->last), size));
	fprintf(out, "\n  allocated  %s each", size_of(mean(item->allocated_bytes, item->ended), size));
	fprintf(out, "\n  peak       %s on average", size_of(mean(item->peak_bytes, item->ended), size));
	fprintf(out, ", %s at most\n  time       ", ml_table_size(item->peak_bytes_max, size));
	print_time(out, mean(item->ns, item->ended));
	fputs(" on average, ", out);
	print_time(out, (double)item->ns_max);
	fputs(" at most\n", out);
}

static void print_line(FILE *out, const struct ml_invocations_of *item, const struct ml_invocation_line *line)
{
	const char *source = NULL;
	char size[ML_TABLE_SIZE_BYTES];
	size_t bytes = 0;

	fprintf(out, "  %12s %10.1f  ", size_of(mean(line->bytes, item->ended), size), mean(line->blocks, item->ended));
	if (!line->line) {
		fputs(line->number == ML_OWNER_NATIVE ? "<native>\n" : "<out of scope>\n", out);
		return;
	}
	ml_table_text(out, line->function->file);
	fprintf(out, ":%d ", line->line->line);
	if (line->function->source)
		source = ml_source_line(line->function->source, line->line->line, &bytes);
	for (; bytes && (*source == ' ' || *source == '\t'); source++)
		bytes--;
	fputc(' ', out);
	fwrite(source ? source : "", 1, bytes, out);
	fputc('\n', out);
}

static void print_item(FILE *out, const struct ml_invocations_of *item, const struct ml_options *o)
{
	char size[ML_TABLE_SIZE_BYTES];
	uint32_t i;

	fputc('\n', out);
	ml_table_text(out, item->name);
	fputs(" (", out);
	ml_table_text(out, item->file);
	fprintf(out, ":%d): %" PRIu64 " invocation%s", item->first_line, item->ended, item->ended == 1 ? "" : "s");
	if (item->unfinished)
		fprintf(out, ", and %" PRIu64 " unfinished with %s live", item->unfinished,
			ml_table_size(item->unfinished_live_bytes, size));
	fputc('\n', out);
	if (!item->ended)
		return;
	print_sums(out, item);
	if (item->lines_n)
		fprintf(out, "  %12s %10s  %s\n", "Retained", "Blocks", "By, in each invocation");
	for (i = 0; i < item->lines_n && (o->all || i < LINES); i++)
		print_line(out, item, &item->lines[i]);
	if (i < item->lines_n)
		fprintf(out, "  and %" PRIu32 " more: --all shows them\n", item->lines_n - i);
}

void ml_by_invocation_print(FILE *out, const struct ml_reading *r, const struct ml_options *options)
{
	size_t shown = 0;
	uint32_t i;

	ml_table_process(out, r);
	for (i = 0; i < r->invocations.n; i++) {
		const struct ml_invocations_of *item = &r->invocations.items[i];
		if (is_asked_for(options, item) && (!options->top || shown++ < options->top))
			print_item(out, item, options);
	}
	for (i = 0; i < r->invocations.n && !is_asked_for(options, &r->invocations.items[i]); i++)
		continue;
	if (i == r->invocations.n)
		fputs("  No function in scope was called from out of scope: --invocations GLOB names functions whose "
		      "calls are invocations.\n",
		      out);
}

/* JSON. */

static json_t *json_mean(uint64_t sum, uint64_t n)
{
	return n ? json_real(mean(sum, n)) : json_null();
}

static json_t *json_line(const struct ml_invocations_of *item, const struct ml_invocation_line *line)
{
	json_t *o = json_object(), *source = json_null();
	const char *text;
	size_t bytes;

	if (line->line && line->function->source &&
	    (text = ml_source_line(line->function->source, line->line->line, &bytes)))
		source = ml_json_bytes(text, bytes);
	json_object_set_new(o, "file", ml_json_text(line->line ? line->function->file : NULL));
	json_object_set_new(o, "line", line->line ? json_integer(line->line->line) : json_null());
	json_object_set_new(o, "function", ml_json_text(line->line ? line->function->name : NULL));
	json_object_set_new(o, "source", source);
	json_object_set_new(o, "retained_bytes", ml_json_number(line->bytes));
	json_object_set_new(o, "retained_blocks", ml_json_number(line->blocks));
	json_object_set_new(o, "retained_bytes_mean", json_mean(line->bytes, item->ended));
	return o;
}

static json_t *json_item(const struct ml_invocations_of *item)
{
	json_t *o = json_object(), *last = json_object(), *lines = json_array();
	uint32_t i;

	json_object_set_new(o, "file", ml_json_text(item->file));
	json_object_set_new(o, "name", ml_json_text(item->name));
	json_object_set_new(o, "first_line", json_integer(item->first_line));
	json_object_set_new(o, "invocations", ml_json_number(item->ended));
	json_object_set_new(o, "unfinished", ml_json_number(item->unfinished));
	json_object_set_new(o, "unfinished_live_bytes", ml_json_number(item->unfinished_live_bytes));
	json_object_set_new(o, "retained_bytes", ml_json_number(item->retained_bytes));
	json_object_set_new(o, "retained_blocks", ml_json_number(item->retained_blocks));
	json_object_set_new(o, "retained_bytes_mean", json_mean(item->retained_bytes, item->ended));
	json_object_set_new(last, "invocations", ml_json_number(item->last));
	json_object_set_new(last, "retained_bytes", ml_json_number(item->last_retained_bytes));
	json_object_set_new(last, "retained_bytes_mean", json_mean(item->last_retained_bytes, item->last));
	json_object_set_new(o, "last", last);
	json_object_set_new(o, "allocated_bytes", ml_json_number(item->allocated_bytes));
	json_object_set_new(o, "allocated_bytes_mean", json_mean(item->allocated_bytes, item->ended));
	json_object_set_new(o, "peak_bytes_mean", json_mean(item->peak_bytes, item->ended));
	json_object_set_new(o, "peak_bytes_max", ml_json_number(item->peak_bytes_max));
	json_object_set_new(o, "seconds_mean",
			    item->ended ? json_real(mean(item->ns, item->ended) / 1e9) : json_null());
	json_object_set_new(o, "seconds_max", json_real((double)item->ns_max / 1e9));
	for (i = 0; i < item->lines_n; i++)
		json_array_append_new(lines, json_line(item, &item->lines[i]));
	json_object_set_new(o, "lines", lines);
	return o;
}

json_t *ml_by_invocation_json(const struct ml_reading *r, const struct ml_options *options)
{
	json_t *o = ml_json_process(r), *items = json_array();
	uint32_t i;

	json_object_set_new(o, "totals", ml_json_totals(r));
	for (i = 0; i < r->invocations.n; i++)
		if (is_asked_for(options, &r->invocations.items[i]) &&
		    (!options->top || json_array_size(items) < options->top))
			json_array_append_new(items, json_item(&r->invocations.items[i]));
	json_object_set_new(o, "invocations", items);
	return o;
}
