/* What MEMLINE_LOG takes. The recorder checks it, the process that writes the table lives by it. */
#ifndef ML_TRACE_PERIOD_H
#define ML_TRACE_PERIOD_H

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#define ML_PERIOD_MIN_MS 100u
#define ML_PERIOD_MAX_MS (24u * 60 * 60 * 1000)

/* Milliseconds of a unit of time; 0: there is no such unit. */
static inline uint32_t ml_period_unit(const char *text)
{
	static const struct {
		char text[3];
		uint32_t ms;
	} units[] = {{"s", 1000}, {"ms", 1}, {"m", 60 * 1000}, {"h", 60 * 60 * 1000}};

	for (unsigned i = 0; i < sizeof units / sizeof *units; i++)
		if (!strcmp(text, units[i].text))
			return units[i].ms;
	return 0;
}

/* "end": *ms is 0. Else a whole number with s, ms, m or h, from 100 ms to a day. */
static inline bool ml_period(const char *text, uint32_t *ms)
{
	const char *at = text;
	uint64_t number = 0, unit;

	*ms = 0;
	if (!strcmp(text, "end"))
		return true;
	for (; *at >= '0' && *at <= '9' && number <= ML_PERIOD_MAX_MS; at++)
		number = number * 10 + (uint64_t)(*at - '0');
	unit = ml_period_unit(at);
	if (at == text || number * unit < ML_PERIOD_MIN_MS || number * unit > ML_PERIOD_MAX_MS)
		return false;
	*ms = (uint32_t)(number * unit);
	return true;
}

#endif
