/*
 * A descriptor that belongs to another process, written to without ever being held up for good or changing how it works
 * for its owner: whether it blocks is a property of the open file, which both share.
 */
#ifndef ML_REPORT_OUTLET_H
#define ML_REPORT_OUTLET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct ml_outlet {
	int fd;
	int owner;      /* pidfd of the process that it belongs to, or -1 */
	uint64_t until; /* ms, as ml_outlet_now() tells them: nothing is waited for behind it. 0: the owner runs */
	bool broken;    /* nobody reads any more, or nothing can be written: from then on nothing is */
};

/* Takes over fd, of which nothing but its number stays where it can be opened anew. */
void ml_outlet_open(struct ml_outlet *o, int fd, int owner);

/* Says that the owner is gone: from now on writing waits for this long altogether. */
void ml_outlet_hurry(struct ml_outlet *o, uint64_t ms);

/* Writes at most PIPE_BUF bytes, waiting for room as long as the owner runs. False: they were not, or not all, written.
   Where the owner ends meanwhile, ML_OUTLET_LAST_MS more are waited. */
#define ML_OUTLET_LAST_MS 150u
bool ml_outlet_put(struct ml_outlet *o, const char *bytes, size_t n);

/* Whether nobody reads any more. */
bool ml_outlet_is_dead(const struct ml_outlet *o);

/* Milliseconds since some moment. */
uint64_t ml_outlet_now(void);

#endif
