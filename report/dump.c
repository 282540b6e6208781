#include "report/dump.h"

#include <inttypes.h>
#include <stdlib.h>

#include "report/control.h"
#include "trace/print.h"

/* Text from the trace, so that it stays on its line and harms no terminal. */
static void print_text(FILE *out, const char *text)
{
	for (; *text; text++) {
		unsigned char c = (unsigned char)*text;
		if (c < 0x20 || c == 0x7f || c == '\\')
			fprintf(out, "\\x%02x", c);
		else
			fputc(c, out);
	}
}

static void dump_header(const struct ml_trace *t, FILE *out)
{
	static const char *const counter[] = {
#define X(name, text) [ML_COUNTER_##name] = (text),
		ML_COUNTER_LIST(X)
#undef X
	};
	static const char *const stop[] = {
#define X(name, text) [ML_STOP_##name] = (text),
		ML_STOP_LIST(X)
#undef X
	};
	const struct ml_header *h = &t->header;

	fprintf(out, "header version %" PRIu32 " flags %#" PRIx32 "\n", h->version, h->flags);
	fprintf(out, "  end %s", h->end == ML_END_EXIT ? "exit" : "none");
	if (h->end == ML_END_EXIT && h->exit_status >= 0)
		fprintf(out, " status %" PRId32, h->exit_status);
	fputc('\n', out);
	if (h->stop)
		fprintf(out, "  stop %" PRIu32 ": %s (errno %" PRId32 ")\n", h->stop,
			h->stop < ML_STOPS ? stop[h->stop] : "?", h->stop_errno);
	for (unsigned i = 0; i < ML_COUNTERS; i++)
		if (h->counter[i])
			fprintf(out, "  %" PRIu64 " %s\n", h->counter[i], counter[i]);
}

static void dump_meta(const struct ml_trace *t, FILE *out)
{
	for (size_t i = 0; i < t->meta_n; i++) {
		fputs("meta ", out);
		print_text(out, t->meta[i].key);
		fputs(" = ", out);
		print_text(out, t->meta[i].value);
		fputc('\n', out);
	}
}

static void dump_codes(const struct ml_trace *t, FILE *out)
{
	for (size_t i = 0; i < t->codes_n; i++) {
		const struct ml_code *c = &t->codes[i];
		fprintf(out, "code %" PRIu32 " ", c->id);
		print_text(out, c->file);
		fprintf(out, ":%" PRIu32 " ", c->first_line);
		print_text(out, c->name);
		fprintf(out, " flags %#" PRIx32 " table %" PRIu32 " bytes\n", c->flags, c->table_bytes);
	}
}

static void dump_modules(const struct ml_trace *t, FILE *out)
{
	for (size_t i = 0; i < t->modules_n; i++) {
		const struct ml_module *m = &t->modules[i];
		fprintf(out,
			"module %" PRIu32 " epoch %" PRIu32 " base %#" PRIx64 " from %#" PRIx64 " to %#" PRIx64 " ",
			m->id, m->epoch, m->base, m->start, m->end);
		print_text(out, m->path);
		if (m->build_id_bytes)
			fputs(" build-id ", out);
		for (uint32_t k = 0; k < m->build_id_bytes; k++)
			fprintf(out, "%02x", m->build_id[k]);
		fputc('\n', out);
	}
}

static void dump_counts(const struct ml_trace *t, FILE *out)
{
	for (size_t i = 0; i < t->counts_n; i++) {
		const struct ml_count *c = &t->counts[i];
		fprintf(out, "count code %" PRIu32 " line %" PRIu32 " ran %s%" PRIu64 " times", c->code, c->line,
			c->count > ML_COUNT_MAX ? "more than " : "",
			c->count > ML_COUNT_MAX ? (uint64_t)ML_COUNT_MAX : c->count);
		if (c->ring != ML_COUNT_NO_RING)
			fprintf(out, ", the last behind ring %" PRIu32 " piece %" PRIu32 " bytes %" PRIu32, c->ring,
				ML_PIECE_SEQUENCE(c->state), ML_PIECE_USED(c->state));
		fputc('\n', out);
	}
}

/* Functions at the place, innermost first, each with its line where that is known. */
static void dump_frames(const struct ml_node *n, struct ml_objects *objects, FILE *out)
{
	struct ml_dwarf_frame frames[ML_OBJECTS_FRAMES];
	size_t frames_n = 0, i;
	uint64_t address;
	uint32_t object;

	if (objects) {
		object = ml_objects_of(objects, n, &address);
		frames_n = ml_objects_find(objects, object, address, frames, ML_OBJECTS_FRAMES);
	}
	for (i = 0; i < frames_n; i++) {
		fputs(i ? " in " : " ", out);
		print_text(out, frames[i].function ? frames[i].function : "?");
		if (!frames[i].file)
			continue;
		fputc(' ', out);
		print_text(out, frames[i].file);
		fprintf(out, ":%" PRIu32, frames[i].line);
	}
	fputc('\n', out);
}

static void dump_nodes(const struct ml_trace *t, struct ml_objects *objects, FILE *out)
{
	static const char *const mark[] = {
#define X(name, number, text) [number] = (text),
		ML_MARK_LIST(X)
#undef X
	};
	const uint32_t marks = sizeof(mark) / sizeof(mark[0]);

	if (objects)
		ml_objects_take(objects, t);
	for (uint32_t i = 1; i < t->nodes_n; i++) {
		const struct ml_node *n = &t->nodes[i];
		uint32_t number = ML_SUBJECT_NUMBER(n->subject);
		if (!n->subject)
			continue;
		fprintf(out, "node %" PRIu32 " parent %" PRIu32, i, n->parent);
		switch (ML_SUBJECT_KIND(n->subject)) {
		case ML_NODE_PYTHON:
			fprintf(out, " code %" PRIu32 " at %" PRId64 "\n", number, (int64_t)n->place);
			break;
		case ML_NODE_NATIVE:
			fprintf(out, " module %" PRIu32 " at %#" PRIx64, number, n->place);
			dump_frames(n, objects, out);
			break;
		case ML_NODE_MARK:
			fprintf(out, " mark %s\n", number < marks && mark[number] ? mark[number] : "?");
			break;
		}
	}
}

static void dump_control(const struct ml_trace *t, FILE *out)
{
	static const char *const request[] = {
		[ML_REQUEST_MARK] = "mark", [ML_REQUEST_PAUSE] = "pause", [ML_REQUEST_RESUME] = "resume"};
	struct ml_controls controls;

	ml_controls_read(&controls, t);
	for (size_t i = 0; i < controls.n; i++) {
		const struct ml_control_entry *e = &controls.entries[i];
		fprintf(out, "control %s at %" PRIu64 " ns ",
			e->request < sizeof(request) / sizeof(request[0]) ? request[e->request] : "?", e->ns);
		print_text(out, e->name);
		fputc('\n', out);
	}
	ml_controls_free(&controls);
}

static void dump_extent(const struct ml_extent *e, FILE *out)
{
	static const char *const kind[] = {
		[ML_EXTENT_NONE] = "none",     [ML_EXTENT_DIRECTORY] = "directory", [ML_EXTENT_META] = "meta",
		[ML_EXTENT_DEFS] = "defs",     [ML_EXTENT_NODES] = "nodes",         [ML_EXTENT_RING] = "ring",
		[ML_EXTENT_EVENTS] = "events", [ML_EXTENT_CONTROL] = "control",     [ML_EXTENT_COUNTS] = "counts"};

	fprintf(out, "extent %s at %" PRIu64 " length %" PRIu64 " id %" PRIu32 " sequence %" PRIu64 "\n",
		e->kind < sizeof(kind) / sizeof(kind[0]) ? kind[e->kind] : "?", e->offset, e->length, e->id,
		e->sequence);
}

static void dump_records(const struct ml_load_piece *piece, uint64_t offset, FILE *out)
{
	struct ml_cursor c;
	struct ml_event e;
	char line[ML_PRINT_MAX];
	int got;

	ml_cursor_init(&c, piece->events, piece->bytes);
	for (;;) {
		uint64_t at = offset + (uint64_t)(c.at - piece->events);
		got = ml_get(&c, &e);
		if (got <= 0) {
			if (got < 0)
				fprintf(out, "    %" PRIu64 " damaged: %td bytes are left out\n", at, c.end - c.at);
			return;
		}
		ml_print_event(line, &e);
		fprintf(out, "    %" PRIu64 " %s\n", at, line);
	}
}

static void dump_piece(struct ml_trace *t, const struct ml_extent *e, FILE *out)
{
	struct ml_load_piece piece;

	if (ml_load_piece(t, e, &piece) < 0) {
		fputs("  nothing there\n", out);
		return;
	}
	fprintf(out, "  piece %" PRIu32 " of ring %" PRIu32 " bytes %" PRIu32 "%s\n",
		ML_PIECE_SEQUENCE(piece.head.state), piece.head.ring, ML_PIECE_USED(piece.head.state),
		piece.intact ? "" : " damaged");
	if (e->kind == ML_EXTENT_EVENTS)
		fprintf(out,
			"  turns %" PRIu64 " to %" PRIu64 ", %" PRIu64 " to %" PRIu64 " ns, thread %" PRIu32
			", checksum %#" PRIx64 "\n",
			piece.head.first_turn, piece.head.last_turn, piece.head.first_ns, piece.head.last_ns,
			piece.head.tid, piece.head.checksum);
	dump_records(&piece, e->offset + sizeof piece.head, out);
	free(piece.events);
}

int ml_dump(struct ml_trace *t, unsigned parts, struct ml_objects *objects, FILE *out)
{
	char warning[256];

	dump_header(t, out);
	dump_meta(t, out);
	dump_control(t, out);
	if (parts & ML_DUMP_DEFS) {
		dump_codes(t, out);
		dump_modules(t, out);
		dump_counts(t, out);
	}
	if (parts & ML_DUMP_NODES)
		dump_nodes(t, objects, out);
	for (size_t i = 0; i < t->extents_n; i++) {
		const struct ml_extent *e = &t->extents[i];
		dump_extent(e, out);
		if (parts & ML_DUMP_EVENTS && (e->kind == ML_EXTENT_RING || e->kind == ML_EXTENT_EVENTS))
			dump_piece(t, e, out);
	}
	for (unsigned i = 0; ml_load_warning(t, i, warning, sizeof warning); i++)
		fprintf(out, "warning: %s\n", warning);
	return ferror(out) ? -1 : 0;
}
