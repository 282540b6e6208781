/* The per-line table as text, in the form of memory_profiler 0.61 (show_results); all other lines start with "# ". */
#ifndef ML_REPORT_TABLE_H
#define ML_REPORT_TABLE_H

#include <stdio.h>

#include "report/reading.h"

void ml_table_print(FILE *out, const struct ml_reading *r, const struct ml_options *options);

/* A blank line and some about the process, for reports that are no table. */
void ml_table_process(FILE *out, const struct ml_reading *r);

/* Text from a trace: bytes that would end the line or steer a terminal become spaces. */
void ml_table_text(FILE *out, const char *text);

/* Bytes as "1.2 KiB", "3.4 MiB", for people. */
#define ML_TABLE_SIZE_BYTES 32
const char *ml_table_size(uint64_t bytes, char text[ML_TABLE_SIZE_BYTES]);

#endif
