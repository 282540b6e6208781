#include "report/check.h"

#include <inttypes.h>
#include <stdlib.h>

#include "report/blocks.h"
#include "report/control.h"
#include "report/fold.h"
#include "report/memory.h"

/* The realloc of a ring that has begun. */
struct reallocating {
	uint64_t address;
	bool was_gone; /* before it began */
};

struct replay {
	struct ml_fold_watch watch; /* first, so that it leads here */
	struct ml_check *check;
	struct ml_blocks gone;             /* addresses of blocks that were freed, and where none was allocated since */
	struct reallocating *reallocating; /* by ring */
};

static void found(struct ml_check *c, enum ml_check_kind kind, uint64_t address, uint64_t offset)
{
	struct ml_check_count *count = &c->counts[kind];

	if (!count->count++) {
		count->address = address;
		count->offset = offset;
	}
}

/* Returns whether the block was gone already. */
static bool goes(struct replay *r, uint64_t address)
{
	struct ml_block block = {.address = address}, old;

	return ml_blocks_put(&r->gone, &block, &old);
}

static void comes(struct replay *r, uint64_t address)
{
	struct ml_block old;

	ml_blocks_take(&r->gone, address, &old);
}

/* An unmapped range may be unmapped again; a block may not be freed again. */
static bool is_gone(struct replay *r, const struct ml_moment *m, uint64_t address)
{
	if (m->event.record == ML_RECORD_REALLOC_END)
		return r->reallocating[m->ring].was_gone;
	return m->event.record == ML_RECORD_FREE && goes(r, address);
}

static void odd(struct ml_fold_watch *watch, enum ml_fold_odd what, const struct ml_moment *m, uint64_t address)
{
	struct replay *r = (struct replay *)watch;
	enum ml_check_kind kind = ML_CHECK_UNSEEN;

	switch (what) {
	case ML_FOLD_MISSED_FREE:
		kind = ML_CHECK_LIVE;
		break;
	case ML_FOLD_ORPHAN_END:
		kind = ML_CHECK_ORPHAN_END;
		break;
	case ML_FOLD_UNKNOWN_FREE:
		if (is_gone(r, m, address))
			kind = ML_CHECK_GONE;
		break;
	}
	found(r->check, kind, address, m->offset);
}

/* Behind the event: which addresses are free now. */
static void follow(struct replay *r, const struct ml_moment *m)
{
	struct reallocating *re = &r->reallocating[m->ring];
	const struct ml_event *e = &m->event;

	switch (e->record) {
	case ML_RECORD_ALLOC:
		comes(r, e->address);
		break;
	case ML_RECORD_FREE:
		goes(r, e->address);
		break;
	case ML_RECORD_REALLOC_BEGIN:
		*re = (struct reallocating){e->address, goes(r, e->address)};
		break;
	case ML_RECORD_REALLOC_END:
		if (e->outcome == ML_OUTCOME_DONE)
			comes(r, e->address);
		else if (e->outcome == ML_OUTCOME_FAILED && !re->was_gone)
			comes(r, re->address);
		break;
	default:
		break;
	}
}

/* What has happened; a call that failed may have named anything. */
static bool makes_range(const struct ml_event *e)
{
	switch (e->record) {
	case ML_RECORD_ALLOC:
	case ML_RECORD_MAP:
	case ML_RECORD_PROTECT:
	case ML_RECORD_ARENA:
		return true;
	case ML_RECORD_REALLOC_END:
	case ML_RECORD_REMAP_END:
		return e->outcome == ML_OUTCOME_DONE;
	default:
		return false;
	}
}

static void check_range(struct ml_check *c, const struct ml_moment *m)
{
	const struct ml_event *e = &m->event;

	if (makes_range(e) && (!e->address || e->address + e->bytes < e->address))
		found(c, ML_CHECK_RANGE, e->address, m->offset);
}

static void check_nodes(struct ml_check *c, const struct ml_trace *t)
{
	for (uint32_t i = 1; i < t->nodes_n; i++) {
		uint32_t subject = t->nodes[i].subject, number = ML_SUBJECT_NUMBER(subject);
		if (!subject)
			continue;
		if (ML_SUBJECT_KIND(subject) == ML_NODE_PYTHON && !ml_load_code(t, number))
			found(c, ML_CHECK_CODE, i, 0);
		if (ML_SUBJECT_KIND(subject) == ML_NODE_NATIVE && number && !ml_load_module(t, number))
			found(c, ML_CHECK_MODULE, i, 0);
	}
}

void ml_check_run(struct ml_check *c, struct ml_trace *t, void (*progress)(void *context, double done), void *context)
{
	struct replay r = {.watch = {odd}, .check = c};
	struct ml_fold_options options = {.to_ns = UINT64_MAX, .end_last = true, .watch = &r.watch};
	struct ml_fold *f = ml_fold_new(t, &options);
	const struct ml_moment *moments;
	size_t n;

	*c = (struct ml_check){0};
	r.reallocating = ml_memory_get(t->rings_n, sizeof *r.reallocating);
	check_nodes(c, t);
	ml_load_rewind(t);
	while ((n = ml_load_next(t, &moments))) {
		for (size_t i = 0; i < n; i++) {
			check_range(c, &moments[i]);
			ml_fold_feed(f, &moments[i], 1);
			follow(&r, &moments[i]);
		}
		c->events += n;
		if (progress)
			progress(context, ml_load_progress(t));
	}
	ml_fold_free(f);
	ml_blocks_free(&r.gone);
	free(r.reallocating);
}

bool ml_check_sound(const struct ml_check *c, const struct ml_trace *t)
{
	for (unsigned i = 0; i < ML_CHECKS; i++)
		if (i != ML_CHECK_UNSEEN && c->counts[i].count)
			return false;
	for (unsigned i = 0; i < ML_DAMAGES; i++)
		if (t->damage[i].count)
			return false;
	return true;
}

/* The ring and the piece that the offset lies in, if it does in any. */
static void print_place(struct ml_trace *t, uint64_t offset, FILE *out)
{
	struct ml_load_piece piece;

	for (size_t i = 0; i < t->extents_n; i++) {
		const struct ml_extent *e = &t->extents[i];
		if ((e->kind != ML_EXTENT_RING && e->kind != ML_EXTENT_EVENTS) || offset < e->offset ||
		    offset - e->offset >= e->length || ml_load_piece(t, e, &piece))
			continue;
		fprintf(out, ", ring %" PRIu32 ", piece %" PRIu32, e->id, ML_PIECE_SEQUENCE(piece.head.state));
		free(piece.events);
	}
	fprintf(out, ", offset %" PRIu64 "\n", offset);
}

void ml_check_print(const struct ml_check *c, struct ml_trace *t, FILE *out)
{
	static const char *const checks[] = {
#define X(name, text) [ML_CHECK_##name] = (text),
		ML_CHECK_LIST(X)
#undef X
	};
	uint64_t lost = ml_load_dropped(t);
	struct ml_controls controls;

	for (unsigned i = 0; i < ML_CHECKS; i++) {
		const struct ml_check_count *count = &c->counts[i];
		if (!count->count)
			continue;
		fprintf(out, "%s: %" PRIu64 " %s; the first: ", t->path, count->count, checks[i]);
		if (i == ML_CHECK_CODE || i == ML_CHECK_MODULE) {
			fprintf(out, "node %" PRIu64 "\n", count->address);
			continue;
		}
		fprintf(out, "%#" PRIx64, count->address);
		print_place(t, count->offset, out);
	}
	for (unsigned i = 0; i < ML_DAMAGES; i++) {
		if (!t->damage[i].count)
			continue;
		fprintf(out, "%s: %" PRIu64 " %s; the first", t->path, t->damage[i].count, ml_load_damage_text(i));
		print_place(t, t->damage[i].offset, out);
	}
	if (ml_check_sound(c, t))
		fprintf(out, "%s: sound, %" PRIu64 " events\n", t->path, c->events);
	else if (lost)
		fprintf(out, "%s: %" PRIu64 " events were not recorded, which may be why\n", t->path, lost);
	ml_controls_read(&controls, t);
	if (ml_controls_paused(&controls) && !ml_check_sound(c, t))
		fprintf(out, "%s: recording was paused, which may be why\n", t->path);
	ml_controls_free(&controls);
}
