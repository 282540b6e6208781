#include "report/chart.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "report/table.h"

#define COLUMNS 64
#define ROWS 10

/* Of a column, in eighths of a row; the most that there was in its time. */
struct column {
	uint64_t live_bytes;
	uint64_t rss_bytes;
};

bool ml_chart_unicode(void)
{
	static const char *const names[] = {"LC_ALL", "LC_CTYPE", "LANG"};
	const char *value;
	size_t i;

	for (i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		if ((value = getenv(names[i])) && *value)
			return strcasestr(value, "UTF-8") || strcasestr(value, "utf8");
	return false;
}

/* A column in whose time no point falls has what the one before it had. */
static void fill_columns(const struct ml_timeline *t, struct column columns[COLUMNS])
{
	uint64_t end = t->points[t->n - 1].ns;
	size_t i, at = 0, column;

	for (column = 0; column < COLUMNS; column++) {
		columns[column] = column ? columns[column - 1] : (struct column){0, 0};
		for (i = 0; at < t->n && t->points[at].ns <= end / COLUMNS * (column + 1); at++, i++) {
			const struct ml_point *p = &t->points[at];
			if (!i || columns[column].live_bytes < p->live_bytes)
				columns[column].live_bytes = p->live_bytes;
			if (!i || columns[column].rss_bytes < p->rss_bytes)
				columns[column].rss_bytes = p->rss_bytes;
		}
	}
	columns[COLUMNS - 1] = (struct column){t->points[t->n - 1].live_bytes, t->points[t->n - 1].rss_bytes};
}

/* Eighths of rows that the bytes fill. */
static unsigned height(uint64_t bytes, uint64_t most)
{
	return (unsigned)((double)bytes / (double)most * ROWS * 8 + 0.5);
}

static void print_cell(FILE *out, unsigned live, unsigned rss, unsigned row, bool unicode)
{
	static const char *const bars[] = {" ", "▁", "▂", "▃", "▄", "▅", "▆", "▇", "█"};
	unsigned filled = live <= row * 8 ? 0 : live - row * 8 >= 8 ? 8 : live - row * 8;
	bool resident = rss && (rss - 1) / 8 == row;

	if (unicode)
		fputs(resident && filled < 8 ? "─" : bars[filled], out);
	else
		fputc(filled >= 4 ? '#' : resident ? '-' : ' ', out);
}

void ml_chart_print(FILE *out, const struct ml_timeline *t, bool unicode)
{
	struct column columns[COLUMNS];
	char size[ML_TABLE_SIZE_BYTES];
	uint64_t most = 0;
	unsigned row;
	size_t i;

	if (t->n < 2)
		return;
	fill_columns(t, columns);
	for (i = 0; i < COLUMNS; i++) {
		most = columns[i].live_bytes > most ? columns[i].live_bytes : most;
		most = columns[i].rss_bytes > most ? columns[i].rss_bytes : most;
	}
	if (!most)
		return;
	fprintf(out, "  live (%s) and resident (%s) over time\n", unicode ? "█" : "#", unicode ? "─" : "-");
	for (row = ROWS; row-- > 0;) {
		fprintf(out, "  %12s |", row == ROWS - 1 ? ml_table_size(most, size) : row ? "" : "0");
		for (i = 0; i < COLUMNS; i++)
			print_cell(out, height(columns[i].live_bytes, most), height(columns[i].rss_bytes, most), row,
				   unicode);
		fputc('\n', out);
	}
	fprintf(out, "  %12s +", "");
	for (i = 0; i < COLUMNS; i++)
		fputc('-', out);
	fprintf(out, "\n  %12s  0%*.3f s\n", "", COLUMNS - 3, (double)t->points[t->n - 1].ns / 1e9);
}
