#include "report/place.h"

#include <limits.h>
#include <stdlib.h>

#include "report/memory.h"

void ml_places_begin(struct ml_places *p, const struct ml_trace *t)
{
	*p = (struct ml_places){(enum ml_line_table)ml_load_number(t, "line_table", ML_LINES_NONE), {0}, NULL};
}

void ml_places_end(struct ml_places *p)
{
	ml_pairs_free(&p->pairs);
	free(p->lines);
}

int ml_places_clamp(uint32_t line)
{
	return line < 1 ? 1 : line > INT_MAX ? INT_MAX : (int)line;
}

struct ml_lines ml_places_table(const struct ml_places *p, const struct ml_code *code)
{
	return (struct ml_lines){p->line_table, ml_places_clamp(code->first_line), code->table, code->table_bytes};
}

/* What is before the first instruction is -1. */
static int clamp_place(uint64_t place)
{
	int64_t offset = (int64_t)place;

	return offset < 0 ? -1 : offset > INT_MAX ? INT_MAX : (int)offset;
}

int ml_places_line(struct ml_places *p, const struct ml_code *code, uint64_t place)
{
	int offset = clamp_place(place);
	uint32_t n = p->pairs.n, number = ml_pairs_number(&p->pairs, code->id, (uint32_t)offset);
	struct ml_lines table;

	if (number == n) {
		table = ml_places_table(p, code);
		p->lines = ml_memory_grow(p->lines, n, sizeof(*p->lines));
		p->lines[n] = ml_lines_find(&table, offset);
	}
	return p->lines[number];
}
