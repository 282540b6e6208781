/* The trace of a process that runs, folded as it grows: each event is read once. */
#ifndef ML_REPORT_FOLLOW_H
#define ML_REPORT_FOLLOW_H

#include <stdbool.h>

#include "report/fold.h"
#include "report/process.h"
#include "report/site.h"

struct ml_follow {
	struct ml_trace *trace;
	struct ml_process process; /* as it was when the trace was opened */
	struct ml_fold *fold;
	bool ended;                 /* where reports end: nothing more will be added */
	struct ml_scope scope;      /* private, as all below */
	struct ml_sites sites;      /* of no use but to find the nodes, */
	struct ml_site_nodes nodes; /* of which only in_scope is asked for */
};

/* Opens a trace and folds what is there. Returns 0, or -1 with a sentence that the caller frees. */
int ml_follow_open(struct ml_follow *f, const char *path, char **error);

/* Folds what the process has added. False: that was nothing. */
bool ml_follow_on(struct ml_follow *f);

/* The lines as they are now, sorted. The caller frees them. */
void ml_follow_sites(struct ml_follow *f, struct ml_sites *sites);

void ml_follow_close(struct ml_follow *f);

#endif
