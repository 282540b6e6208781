/* Lines or stacks and what they hold, as text and as JSON. */
#ifndef ML_REPORT_LISTING_H
#define ML_REPORT_LISTING_H

#include <argp.h>
#include <stdio.h>

#include <jansson.h>

#include "report/holders.h"
#include "report/reading.h"

struct ml_listing {
	struct ml_options options;
	json_t *processes; /* NULL: text */
	enum ml_holders_by by;
	bool inclusive; /* tell also what was allocated while a line was running, and not since when */
	bool startup;   /* text: start-up too */
};

/* By line, as text. */
void ml_listing_init(struct ml_listing *l, enum ml_hold_moment moment);

/* A child for a command's struct argp: --by, --merge, and what is looked at. The input is a struct ml_listing. */
extern const struct argp ml_listing_argp;

/*
 * A command: parses its arguments into input, which begins with the listing, and gives show() the readings and input.
 * show() appends to the listing's processes, or prints. Frees the listing. Returns the exit status.
 */
int ml_listing_run(struct ml_listing *l, const struct argp *argp, int argc, char **argv, void *input,
		   void (*show)(void *input, const struct ml_reading *r));

/* The columns and a row for each holder that is asked for, with its stack below it. */
void ml_listing_print(FILE *out, const struct ml_listing *l, const struct ml_reading *r,
		      const struct ml_holders *found);

/* Whether the options ask for the holder, and how many of them a text is to have. */
bool ml_listing_takes(const struct ml_listing *l, const struct ml_holder *holder);
size_t ml_listing_top(const struct ml_listing *l);

/* Below a holder's row, the stack that holds the most of it: a line for each call, innermost first. */
void ml_listing_print_stack(FILE *out, const struct ml_listing *l, const struct ml_reading *r,
			    const struct ml_holder *holder);

/* A line for each call of a stack, innermost first; what is not the first begins at that column. */
void ml_listing_print_calls(FILE *out, const struct ml_listing *l, const struct ml_reading *r, uint32_t stack,
			    int column);

/* An array of them. */
json_t *ml_listing_json_calls(const struct ml_reading *r, uint32_t stack);

/* "function (file:line)" of a holder. */
void ml_listing_print_place(FILE *out, const struct ml_holder *holder);

/* "sites", as docs/interface.md has them. */
json_t *ml_listing_json(const struct ml_listing *l, const struct ml_reading *r, const struct ml_holders *found);

/* The keys of a site that say where it is, its stack among them. */
json_t *ml_listing_json_place(const struct ml_reading *r, const struct ml_holder *holder);

#endif
