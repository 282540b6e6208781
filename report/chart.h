/* What was live and what was resident over the time of a run, drawn with characters. */
#ifndef ML_REPORT_CHART_H
#define ML_REPORT_CHART_H

#include <stdio.h>

#include "report/timeline.h"

/* Nothing where there is nothing to draw. unicode: bars in eighths of a character, else of # and -. */
void ml_chart_print(FILE *out, const struct ml_timeline *t, bool unicode);

/* Whether the locale in the environment has UTF-8. */
bool ml_chart_unicode(void);

#endif
