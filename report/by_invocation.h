/* `memline report --by invocation`: what invocations retain, as text and as JSON. */
#ifndef ML_REPORT_BY_INVOCATION_H
#define ML_REPORT_BY_INVOCATION_H

#include <stdio.h>

#include <jansson.h>

#include "report/reading.h"

/* options choose among the entry functions; the reading itself was made without such a choice. */
void ml_by_invocation_print(FILE *out, const struct ml_reading *r, const struct ml_options *options);

/* An entry of "processes". */
json_t *ml_by_invocation_json(const struct ml_reading *r, const struct ml_options *options);

#endif
