#include "report/growth.h"

#include <stdlib.h>

#include "report/memory.h"

/* Sums up the rows of the owners that one holder is made of: a row for each holder. */
static uint64_t *sum_rows(const struct ml_timeline *t, const struct ml_holders *found)
{
	uint64_t *rows = ml_memory_get((size_t)found->n * t->n, sizeof(*rows)), *row;
	uint32_t owner, number;
	size_t i;

	for (owner = 0; owner < t->owners_n; owner++) {
		if (!t->rows[owner] || !t->stack[owner])
			continue;
		number = found->of[ML_HOLD_RUN][t->stack[owner]];
		if (number == ML_NO_LINE)
			continue;
		row = rows + (size_t)number * t->n;
		for (i = 0; i < t->n; i++)
			row[i] += t->rows[owner][i];
	}
	return rows;
}

static bool changes(const uint64_t *row, size_t n)
{
	size_t i;

	for (i = 1; i < n; i++)
		if (row[i] != row[0])
			return true;
	return false;
}

static void find_level(const struct ml_timeline *t, struct ml_growing *g)
{
	size_t i = 0;

	for (i = 0; i < t->n; i++)
		if (g->most < g->bytes[i])
			g->most = g->bytes[i];
	for (i = 0; g->bytes[i] < g->most - g->most / 20; i++)
		continue;
	g->level_ns = t->points[i].ns;
}

static int compare_growing(const void *left, const void *right)
{
	const struct ml_growing *a = left, *b = right;

	if (a->small != b->small)
		return a->small ? 1 : -1;
	if (a->trend.verdict != b->trend.verdict)
		return a->trend.verdict == ML_TREND_GROWS ? -1 : 1;
	if (a->trend.verdict == ML_TREND_GROWS &&
	    (a->trend.slope_low > b->trend.slope_low || a->trend.slope_low < b->trend.slope_low))
		return a->trend.slope_low > b->trend.slope_low ? -1 : 1;
	return (a->holder > b->holder) - (a->holder < b->holder); /* the largest is first there */
}

void ml_growth_find(struct ml_growth *g, const struct ml_timeline *t, const struct ml_holders *found)
{
	double *places = ml_memory_get(t->n, sizeof(*places)), unit = t->by_invocation ? 1 : 1e9;
	uint32_t number;
	size_t i;

	*g = (struct ml_growth){.rows = sum_rows(t, found), .items = ml_memory_get(found->n, sizeof(*g->items))};
	for (i = 0; i < t->n; i++)
		places[i] = (double)t->points[i].place / unit;
	for (number = 0; number < found->n; number++)
		g->tested += changes(g->rows + (size_t)number * t->n, t->n);
	for (number = 0; number < found->n; number++) {
		const uint64_t *row = g->rows + (size_t)number * t->n;
		struct ml_growing *growing = &g->items[g->n];
		*growing = (struct ml_growing){.holder = &found->items[number], .bytes = row};
		if (!t->n || !changes(row, t->n))
			continue;
		ml_trend_judge(&growing->trend, places, row, t->n, ML_GROWTH_ALPHA / (double)g->tested);
		find_level(t, growing);
		growing->small = growing->trend.verdict == ML_TREND_GROWS && growing->most - row[0] < ML_GROWTH_LEAST;
		g->n += growing->trend.verdict != ML_TREND_NONE;
	}
	qsort(g->items, g->n, sizeof(*g->items), compare_growing);
	free(places);
}

void ml_growth_free(struct ml_growth *g)
{
	free(g->rows);
	free(g->items);
	*g = (struct ml_growth){0};
}
