/* Command-line options that several commands share. */
#ifndef ML_REPORT_OPTIONS_H
#define ML_REPORT_OPTIONS_H

#include <argp.h>
#include <stdbool.h>
#include <stddef.h>

#include "report/fold.h"
#include "report/holders.h"
#include "report/native.h"

struct ml_options {
	char *scope;      /* globs of all --scope, as MEMLINE_SCOPE has them; NULL: as recorded */
	char **functions; /* of --function */
	size_t functions_n;
	const char *module;         /* only what its code asked for; a glob, or NULL, as the next */
	const char *stack_contains; /* only what was asked for below it */
	struct ml_fold_options fold;
	const char *from_mark; /* not NULL: fold.from_ns is where the trace has this mark */
	const char *to_mark;
	uint64_t min_bytes; /* what is smaller is not shown */
	size_t top;         /* 0: not given */
	char **entries;     /* of --invocations: names of entry functions; none: those called from out of scope */
	size_t entries_n;
	bool all;
	int precision;
	bool json;
	bool merge;
	bool wide;
	struct ml_objects_options objects;
	bool stacks;                  /* not an option, as the next: the command needs whole stacks, */
	enum ml_hold_moment hold;     /* and what they hold; */
	bool invocations;             /* what was done in each invocation: --invocations sets it too; */
	size_t points;                /* moments at which it looks at what is live; 0: none */
	bool owners;                  /* also line by line */
	enum ml_native_detail native; /* what the command shows of native callers */
};

void ml_options_init(struct ml_options *o);
void ml_options_free(struct ml_options *o);

/* Children for a command's struct argp; the input is a struct ml_options. ml_options_select_argp: what is looked at and
   how much of it is shown. ml_options_json_argp: --json alone, and so ml_options_merge_argp and
   ml_options_wide_argp. ml_options_native_argp: where names of native functions come from. */
extern const struct argp ml_options_select_argp;
extern const struct argp ml_options_json_argp;
extern const struct argp ml_options_merge_argp;
extern const struct argp ml_options_wide_argp;
extern const struct argp ml_options_native_argp;

/* --invocations alone. */
extern const struct argp ml_options_invocations_argp;

/* Is the function asked for? By its name or the last part of it. */
bool ml_options_takes(const struct ml_options *o, const char *function);

/* Is it one of --invocations? */
bool ml_options_is_entry(const struct ml_options *o, const char *function);

/* Whether the text can be the name of a mark: no number, and nothing that looks like an option. */
bool ml_options_mark(const char *text);

/* Takes the value of an option of this name that is a moment: seconds from the start, also with a fraction, or the name
   of a mark. */
void ml_options_moment(const struct argp_state *state, const char *name, const char *text, uint64_t *ns,
		       const char **mark);

/* The value of an option of this name that is a number from least to most. */
uint64_t ml_options_count(const struct argp_state *state, const char *name, const char *text, uint64_t least,
			  uint64_t most);

/* A whole number without a sign; false where the text is something else. */
bool ml_options_number(const char *text, uint64_t *value);

#endif
