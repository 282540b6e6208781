/* The line of source at a place in a code object's bytecode, found once for each place. */
#ifndef ML_REPORT_PLACE_H
#define ML_REPORT_PLACE_H

#include "report/intern.h"
#include "report/load.h"
#include "symbolize/python/lines.h"

struct ml_places {
	enum ml_line_table line_table; /* of every code object of the trace */
	struct ml_pairs pairs;         /* private, as the next: of code and place */
	int *lines;
};

void ml_places_begin(struct ml_places *p, const struct ml_trace *t);
void ml_places_end(struct ml_places *p);

/* place: as a node has it. */
int ml_places_line(struct ml_places *p, const struct ml_code *code, uint64_t place);

/* The code object's line table. */
struct ml_lines ml_places_table(const struct ml_places *p, const struct ml_code *code);

/* A line of a trace, which may be damaged, as one that can be. */
int ml_places_clamp(uint32_t line);

#endif
