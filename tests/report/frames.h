/*
 * Traces and readings for tests of the reports: code objects in which the instruction at byte 2 * k is on the k-th
 * line, and everything in a folder of its own.
 */
#ifndef ML_TESTS_REPORT_FRAMES_H
#define ML_TESTS_REPORT_FRAMES_H

#include "report/reading.h"
#include "tests/report/build_trace.h"

/* A new folder under /tmp; it goes, with what is in it, at exit. To be called first by main(), since check forks. */
const char *frames_folder(void);

/* "FOLDER/NAME". Lives as long as the folder. */
const char *frames_path(const char *name);

/* Writes a file of the folder, last changed so many seconds after the recording began (negative: before). */
void frames_write(const char *name, const char *text, long seconds);

/* When tracking began: 2026-01-02T03:04:05.678901234 UTC. */
#define FRAMES_START_NS UINT64_C(1767323045678901234)

/* A builder with the META that a report asks for: pid 100, a baseline of 1 MiB, root and cwd the folder, and a Python
   of which code objects have that kind of line table. */
struct build *frames_new(enum ml_line_table kind);

/* A code object of so many lines (at most 100); file is a path, absolute or not. */
uint32_t frames_code(struct build *b, const char *file, const char *name, uint32_t first_line, uint32_t lines);

/* A frame of a code object whose first line is given, at a line. */
uint32_t frames_node(struct build *b, uint32_t parent, uint32_t code, uint32_t first_line, uint32_t line);

/* A native frame. */
uint32_t frames_native(struct build *b, uint32_t parent);

/* Writes the trace to the folder as NAME, frees the builder and adds it to the reading. */
void frames_read(struct ml_reading *r, struct build *b, const char *name, const struct ml_options *options);

/* The function of that name; fails the test where there is none. */
const struct ml_function *frames_function(const struct ml_reading *r, const char *name);

/* Its line of that number; NULL where nothing happened. */
const struct ml_line *frames_line(const struct ml_reading *r, const char *name, int line);

/* Own increments of all lines and of what is outside of them. */
int64_t frames_sum(const struct ml_reading *r);

#endif
