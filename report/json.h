/* What the reports' JSON has in common. */
#ifndef ML_REPORT_JSON_H
#define ML_REPORT_JSON_H

#include <stdio.h>

#include <jansson.h>

#include "report/reading.h"

/* A copy in which each byte that isn't part of UTF-8 has become U+FFFD. The caller frees it. */
char *ml_json_utf8(const char *text, size_t bytes, size_t *clean_bytes);

/* A JSON string of bytes that may not be UTF-8: what isn't becomes U+FFFD. NULL becomes null. */
json_t *ml_json_text(const char *text);
json_t *ml_json_bytes(const char *text, size_t bytes);

/* A JSON integer, of a signed number too. */
json_t *ml_json_number(uint64_t n);

/* An array of argv. */
json_t *ml_json_command(const struct ml_trace *t);

/* One entry of "processes": see docs/interface.md. */
json_t *ml_json_reading(const struct ml_reading *r);

/* Keys that every entry of "processes" begins with. */
json_t *ml_json_process(const struct ml_reading *r);

json_t *ml_json_totals(const struct ml_reading *r);

/* What allocators hold for what is live. */
json_t *ml_json_heap(const struct ml_reading *r);

/* Writes the value and a newline, and frees it. */
void ml_json_print(FILE *out, json_t *value);

/* The same for what commands write: the version and an entry for each process. */
void ml_json_print_processes(FILE *out, json_t *processes);

#endif
