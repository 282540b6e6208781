/* Numbers for texts and for pairs of numbers: the same for the same, from 0 in the order in which they came. */
#ifndef ML_REPORT_INTERN_H
#define ML_REPORT_INTERN_H

#include <stddef.h>
#include <stdint.h>

/* All zero: empty, as the next. */
struct ml_pairs {
	uint32_t n;
	uint64_t *keys; /* private, as all below: by number */
	uint32_t *slots;
	size_t slots_n; /* a power of two, or 0 */
};

struct ml_texts {
	char **items; /* by number; a text stays where it is */
	uint32_t n;
	uint32_t *slots; /* private, as the next */
	size_t slots_n;
};

/* The pair's number, which is the old n where it is new. */
uint32_t ml_pairs_number(struct ml_pairs *p, uint32_t a, uint32_t b);
void ml_pairs_free(struct ml_pairs *p);

/* The same for a text, which is copied. */
uint32_t ml_texts_number(struct ml_texts *t, const char *text);
void ml_texts_free(struct ml_texts *t);

#endif
