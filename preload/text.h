/*
 * A bounded text under construction, in memory that the caller owns: what snprintf would be for, without stdio and
 * locale. What does not fit is cut off and noted.
 */
#ifndef ML_PRELOAD_TEXT_H
#define ML_PRELOAD_TEXT_H

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

struct ml_text {
	char *data;  /* always ends with NUL */
	size_t room; /* bytes of data, at least 1 */
	size_t used; /* without the NUL */
	bool cut;
};

static inline void ml_text_init(struct ml_text *t, char *data, size_t room)
{
	t->data = data;
	t->room = room;
	t->used = 0;
	t->cut = false;
	data[0] = 0;
}

static inline void ml_text_add_bytes(struct ml_text *t, const char *bytes, size_t n)
{
	if (n > t->room - 1 - t->used) {
		n = t->room - 1 - t->used;
		t->cut = true;
	}
	memcpy(t->data + t->used, bytes, n);
	t->used += n;
	t->data[t->used] = 0;
}

static inline void ml_text_add(struct ml_text *t, const char *s)
{
	ml_text_add_bytes(t, s, strlen(s));
}

static inline void ml_text_add_number(struct ml_text *t, uint64_t number)
{
	char digits[20];
	size_t at = sizeof digits;

	do
		digits[--at] = (char)('0' + number % 10);
	while (number /= 10);
	ml_text_add_bytes(t, digits + at, sizeof digits - at);
}

/* Reads decimal digits at *s and moves *s behind them. False where there are none or they do not fit. */
static inline bool ml_text_number(const char **s, uint64_t *number)
{
	uint64_t sum = 0;
	const char *at = *s;

	for (; *at >= '0' && *at <= '9'; at++)
		if (__builtin_mul_overflow(sum, 10, &sum) || __builtin_add_overflow(sum, (uint64_t)(*at - '0'), &sum))
			return false;
	if (at == *s)
		return false;
	*s = at;
	*number = sum;
	return true;
}

#endif
