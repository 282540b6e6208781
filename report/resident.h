/*
 * Why so much memory of a process is resident at the end: what is live, what allocators hold around it, and the rest.
 *
 * A trace knows what was asked for, not which pages of it were ever touched; and the C library's own dealings with the
 * kernel are not in it. So memory that it keeps after a free is part of the rest, and what was never touched only shows
 * where more is live than resident.
 */
#ifndef ML_REPORT_RESIDENT_H
#define ML_REPORT_RESIDENT_H

#include <stdio.h>

#include <jansson.h>

#include "report/reading.h"

/* Nothing where resident memory was never measured, or not all that is live was asked for. */
void ml_resident_print(FILE *out, const struct ml_reading *r);

/* Null there. */
json_t *ml_resident_json(const struct ml_reading *r);

#endif
