#include "trace/print.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>

struct line {
	char *at;
	size_t room;
};

__attribute__((format(printf, 2, 3))) static void add(struct line *l, const char *format, ...)
{
	va_list list;
	int length;

	va_start(list, format);
	length = vsnprintf(l->at, l->room, format, list);
	va_end(list);
	if (length < 0)
		return;
	if ((size_t)length >= l->room)
		length = (int)l->room - 1;
	l->at += length;
	l->room -= (size_t)length;
}

static void add_block(struct line *l, const struct ml_event *e)
{
	static const char *const domain[] = {
		[ML_DOMAIN_C] = "c", [ML_DOMAIN_RAW] = "raw", [ML_DOMAIN_MEM] = "mem", [ML_DOMAIN_OBJ] = "obj"};

	add(l, " %s node %" PRIu32 " at %#" PRIx64, domain[e->domain & 3], e->node, e->address);
}

static void add_range(struct line *l, const struct ml_event *e)
{
	add(l, " node %" PRIu32 " at %#" PRIx64 " bytes %" PRIu64, e->node, e->address, e->bytes);
}

/* The outcome; and where it is DONE and the record says so, what there is now. */
static void add_outcome(struct line *l, const struct ml_event *e, int result)
{
	static const char *const outcome[] = {
		[ML_OUTCOME_DONE] = "done", [ML_OUTCOME_FAILED] = "failed", [ML_OUTCOME_FREED] = "freed", "?"};

	add(l, " %s", outcome[e->outcome & 3]);
	if (result && e->outcome == ML_OUTCOME_DONE)
		add(l, " at %#" PRIx64 " bytes %" PRIu64, e->address, e->bytes);
}

static void add_other(struct line *l, const struct ml_event *e)
{
	if (e->other == ML_OTHER_OURS)
		add(l, " ours at %#" PRIx64, e->address);
	else if (e->other == ML_OTHER_GENERATOR)
		add(l, " generator at %#" PRIx64, e->address);
	else
		add(l, " %s", e->other == ML_OTHER_FINALIZE ? "finalize" : "?");
}

static void add_fields(struct line *l, const struct ml_event *e)
{
	switch (e->record) {
	case ML_RECORD_ALLOC:
		add_block(l, e);
		add(l, " bytes %" PRIu64, e->bytes);
		break;
	case ML_RECORD_FREE:
	case ML_RECORD_REALLOC_BEGIN:
		add_block(l, e);
		break;
	case ML_RECORD_REALLOC_END:
	case ML_RECORD_REMAP_END:
		add_outcome(l, e, 1);
		break;
	case ML_RECORD_UNMAP_END:
		add_outcome(l, e, 0);
		break;
	case ML_RECORD_MAP:
		add_range(l, e);
		add(l, " prot %#" PRIx32 " flags %#" PRIx32 "%s", e->prot, e->flags, e->brk ? " brk" : "");
		break;
	case ML_RECORD_UNMAP_BEGIN:
		add_range(l, e);
		add(l, "%s", e->brk ? " brk" : "");
		break;
	case ML_RECORD_REMAP_BEGIN:
		add_range(l, e);
		add(l, " flags %#" PRIx32, e->flags);
		break;
	case ML_RECORD_PROTECT:
		add_range(l, e);
		add(l, " prot %#" PRIx32, e->prot);
		break;
	case ML_RECORD_ARENA:
		add(l, " at %#" PRIx64 " bytes %" PRIu64 "%s", e->address, e->bytes, e->released ? " released" : "");
		break;
	case ML_RECORD_TURN:
		add(l, " +%" PRIu64, e->turn);
		break;
	case ML_RECORD_TIME:
		add(l, " +%" PRIu64 " ns, %" PRIu64 " pages", e->ns, e->pages);
		break;
	case ML_RECORD_BASE:
		add(l, " turn %" PRIu64 " at %" PRIu64 " ns, thread %" PRIu32, e->turn, e->ns, e->tid);
		break;
	case ML_RECORD_OTHER:
		add_other(l, e);
		break;
	}
}

int ml_print_event(char line[ML_PRINT_MAX], const struct ml_event *e)
{
	struct line l = {line, ML_PRINT_MAX};

	add(&l, "%s", ml_record_name(e->record));
	add_fields(&l, e);
	return (int)(l.at - line);
}
