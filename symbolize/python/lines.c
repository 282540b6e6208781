#include "symbolize/python/lines.h"

#include <limits.h>
#include <stdbool.h>

/* A stretch of bytecode with one line, as the tables list them one after the other. */
struct range {
	int64_t end;  /* in bytes, exclusive; INT64_MAX: all that is left */
	int64_t line; /* where has_line */
	int64_t last; /* largest line of the source text behind it */
	bool has_line;
};

struct cursor {
	const uint8_t *at;
	const uint8_t *stop;
	int64_t end;  /* of the ranges that were read */
	int64_t line; /* the running line, to which the next entry adds */
	bool done;
};

/*
 * CPython 3.8 and 3.9, Objects/lnotab_notes.txt: pairs (bytes of bytecode, lines as a signed byte). The lines of a pair
 * count from the byte at which its own stretch ends; pairs without bytecode only add up. What follows the last pair
 * belongs to the last line.
 */
static bool next_lnotab(struct cursor *c, struct range *r)
{
	if (c->done)
		return false;
	r->has_line = true;
	for (; c->stop - c->at >= 2; c->at += 2) {
		r->line = r->last = c->line;
		c->end += c->at[0];
		c->line += (int8_t)c->at[1];
		if (c->at[0]) {
			c->at += 2;
			r->end = c->end;
			return true;
		}
	}
	c->done = true;
	r->line = r->last = c->line;
	r->end = INT64_MAX;
	return true;
}

/* CPython 3.10, Objects/lnotab_notes.txt: pairs (bytes of bytecode, lines as a signed byte, -128: no line). */
static bool next_linetable(struct cursor *c, struct range *r)
{
	int8_t lines;

	if (c->stop - c->at < 2)
		return false;
	c->end += c->at[0];
	lines = (int8_t)c->at[1];
	c->at += 2;
	r->end = c->end;
	r->has_line = lines != INT8_MIN;
	if (r->has_line)
		c->line += lines;
	r->line = r->last = c->line;
	return true;
}

/* Six bits a byte, least significant first; bit 6 says that more follow. False where the bytes end too early. */
static bool get_varint(struct cursor *c, uint32_t *value)
{
	unsigned shift = 0;

	*value = 0;
	while (c->at < c->stop && shift < 32) {
		uint8_t byte = *c->at++;
		*value |= (uint32_t)(byte & 63) << shift;
		if (!(byte & 64))
			return true;
		shift += 6;
	}
	return false;
}

static bool get_signed(struct cursor *c, int64_t *value)
{
	uint32_t bits;

	if (!get_varint(c, &bits))
		return false;
	*value = bits & 1 ? -(int64_t)(bits >> 1) : (int64_t)(bits >> 1);
	return true;
}

static bool skip(struct cursor *c, ptrdiff_t bytes)
{
	if (c->stop - c->at < bytes)
		return false;
	c->at += bytes;
	return true;
}

/* Kinds of an entry of a location table (3.11 and later). */
enum {
	LOCATION_SAME_LINE_LAST = 9, /* 0 to 9: columns in one more byte */
	LOCATION_ONE_LINE = 10,      /* 10 to 12: 0 to 2 lines on, columns in two more bytes */
	LOCATION_NO_COLUMNS = 13,    /* lines on */
	LOCATION_LONG = 14,          /* lines on, lines to the end of the expression, both columns */
	LOCATION_NONE = 15,
};

/* CPython 3.11 and later, Objects/locations.md (InternalDocs/code_objects.md): code units of two bytes. */
static bool next_location(struct cursor *c, struct range *r)
{
	int64_t lines = 0;
	uint32_t more = 0, column;
	unsigned kind, head;

	if (c->at >= c->stop)
		return false;
	head = *c->at++;
	kind = head >> 3 & 15;
	c->end += 2 * ((head & 7) + 1);
	if (kind <= LOCATION_SAME_LINE_LAST) {
		if (!skip(c, 1))
			return false;
	} else if (kind < LOCATION_NO_COLUMNS) {
		if (!skip(c, 2))
			return false;
		lines = kind - LOCATION_ONE_LINE;
	} else if (kind != LOCATION_NONE) {
		if (!get_signed(c, &lines))
			return false;
		if (kind == LOCATION_LONG &&
		    (!get_varint(c, &more) || !get_varint(c, &column) || !get_varint(c, &column)))
			return false;
	}
	c->line += lines;
	r->end = c->end;
	r->has_line = kind != LOCATION_NONE;
	r->line = c->line;
	r->last = c->line + more;
	return true;
}

static bool next(enum ml_line_table kind, struct cursor *c, struct range *r)
{
	switch (kind) {
	case ML_LINES_LNOTAB:
		return next_lnotab(c, r);
	case ML_LINES_LINETABLE:
		return next_linetable(c, r);
	case ML_LINES_LOCATIONS:
		return next_location(c, r);
	case ML_LINES_NONE:
		break;
	}
	return false;
}

static struct cursor start(const struct ml_lines *lines)
{
	return (struct cursor){
		.at = lines->table,
		.stop = lines->bytes ? lines->table + lines->bytes : lines->table,
		.line = lines->first_line,
	};
}

/* Compilers mark made-up code with line 0 (a module's first instruction, from 3.11). */
static bool is_line(int64_t line)
{
	return line > 0 && line <= INT_MAX;
}

int ml_lines_find(const struct ml_lines *lines, int64_t place)
{
	struct cursor c = start(lines);
	struct range r;

	if (place < 0)
		return lines->first_line;
	while (next(lines->kind, &c, &r))
		if (place < r.end)
			return r.has_line && is_line(r.line) ? (int)r.line : lines->first_line;
	return lines->first_line;
}

int ml_lines_last(const struct ml_lines *lines)
{
	struct cursor c = start(lines);
	int64_t begin = 0, last = lines->first_line;
	struct range r;

	while (next(lines->kind, &c, &r)) {
		if (r.end > begin && r.has_line && is_line(r.last) && r.last > last)
			last = r.last;
		begin = r.end;
	}
	return (int)last;
}
