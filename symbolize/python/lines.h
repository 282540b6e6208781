/*
 * From an instruction to its source line, by the line table that CPython keeps in every code object. Pure functions
 * over bytes that may be damaged: every read is bounded.
 */
#ifndef ML_SYMBOLIZE_PYTHON_LINES_H
#define ML_SYMBOLIZE_PYTHON_LINES_H

#include <stddef.h>
#include <stdint.h>

#include "trace/format.h"

/* The table of one code object. Does not own the bytes. */
struct ml_lines {
	enum ml_line_table kind;
	int first_line; /* co_firstlineno; of a decorated function, the line of its first decorator */
	const uint8_t *table;
	size_t bytes;
};

/*
 * Line of the instruction that starts `place` bytes into the bytecode (struct ml_node.place). First line of the code
 * object for an instruction that has no line of its own, that lies outside of the table, or before the bytecode.
 */
int ml_lines_find(const struct ml_lines *lines, int64_t place);

/*
 * The largest line that the table mentions, and at least the first one: where the function ends, as far as that is
 * known (CPython 3.11 and later also say where an expression ends that goes over several lines).
 */
int ml_lines_last(const struct ml_lines *lines);

#endif
