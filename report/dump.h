/* The raw contents of a trace file as text, for people who work on memline. */
#ifndef ML_REPORT_DUMP_H
#define ML_REPORT_DUMP_H

#include <stdio.h>

#include "report/load.h"
#include "report/objects.h"

#define ML_DUMP_DEFS 1u   /* code objects and modules */
#define ML_DUMP_NODES 2u  /* the tree of stacks */
#define ML_DUMP_EVENTS 4u /* every record of every piece, with its offset in the file */

/*
 * Header, META and directory, and the parts that are asked for. Native frames are named where their objects can be had;
 * objects NULL: they are not. Returns 0, or -1 if out could not be written to.
 */
int ml_dump(struct ml_trace *t, unsigned parts, struct ml_objects *objects, FILE *out);

#endif
