/*
 * From nodes of the tree of stacks to functions and lines of source: who gets which bytes.
 *
 * A node's *anchor* is the innermost frame on its stack whose file is in scope. Own numbers go to the anchor alone, so
 * that they add up; inclusive ones go to every line on the stack, once however often the line is on it.
 *
 * Code that has no name of its own (lambdas, comprehensions, generator expressions, lists of type parameters) is folded
 * into the function around it.
 */
#ifndef ML_REPORT_SITE_H
#define ML_REPORT_SITE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "report/fold.h"
#include "report/intern.h"
#include "report/native.h"
#include "report/source.h"
#include "trace/scope.h"

struct ml_line {
	int line;
	uint32_t function; /* private to site.c */
	uint32_t number;   /* as an owner of native allocations */
	uint64_t events;   /* allocations and frees while the line was running */
	bool counted;
	bool at_least; /* it ran more often than it was counted */
	uint64_t occurrences;
	int64_t increment_bytes;
	/* Tracked bytes when it last finished an event or, where it was counted, began to run, plus the baseline; 0:
	   neither. */
	uint64_t mem_bytes;
	uint64_t inclusive_live_bytes;
	uint64_t inclusive_peak_bytes;
	/* Own: */
	int64_t own_increment_bytes;
	uint64_t live_bytes;
	uint64_t live_blocks;
	uint64_t allocated_bytes;
	uint64_t allocations;
	uint64_t peak_bytes;
};

struct ml_function {
	char *file; /* absolute, links not resolved, or a name in angle brackets */
	char *name;
	int first_line;
	int last_line;                  /* as far as the code objects tell */
	bool is_body;                   /* of a module or class: other functions may lie in it */
	bool hidden;                    /* not asked for: set by ml_reading_finish(), as the next */
	const struct ml_source *source; /* NULL where hidden */
	int64_t increment_bytes;        /* of its lines together */
	struct ml_line *lines;          /* those with an event, a count or live bytes, by number */
	size_t lines_n;
};

/* Of one trace or several. All zero: empty. */
struct ml_sites {
	struct ml_function *functions; /* after ml_sites_sort(): the largest absolute increment first */
	size_t functions_n;
	struct ml_amount out_of_scope; /* of no line: Python frames on the stack, none of them in scope; */
	struct ml_amount native;       /* or no Python frame */
	struct ml_natives natives;     /* who asked the C library for memory */
	struct ml_line *lines;         /* private, as all below */
	size_t lines_n;
	struct ml_texts texts;          /* of files and names, */
	struct ml_pairs names;          /* pairs of them, */
	struct ml_pairs function_index; /* and of these and the first line: its number is the function's */
	struct ml_pairs line_index;     /* of function and line */
};

/* Where the stacks of a trace are, as far as lines are concerned. */
struct ml_site_nodes {
	const struct ml_trace *trace;
	uint32_t n;
	uint32_t *line;    /* by node: the number of its own line, or ML_NO_LINE */
	uint32_t *anchor;  /* by node: the number of its anchor, or one of ML_OWNER_ */
	bool *in_scope;    /* by node: the anchor is a line */
	uint32_t *counted; /* by place in the trace's counts: the number of the line, or ML_NO_LINE */
};

#define ML_NO_LINE UINT32_MAX

/* Finds the lines of all nodes of a trace, whose events need not be folded yet. Not after ml_sites_sort(). */
void ml_sites_resolve(struct ml_sites *s, const struct ml_trace *t, const struct ml_scope *scope,
		      struct ml_site_nodes *nodes);

/* The same for nodes that have come since, when the trace was followed. A place may keep the function that it was found
   in although there now is one that lies closer around it. */
void ml_sites_resolve_more(struct ml_sites *s, const struct ml_scope *scope, struct ml_site_nodes *nodes);
void ml_site_nodes_free(struct ml_site_nodes *nodes);

/* Adds what happened in the trace, whose nodes were resolved last. baseline_rss is added to each line's mem_bytes. */
void ml_sites_add(struct ml_sites *s, const struct ml_site_nodes *nodes, const struct ml_fold *fold,
		  uint64_t baseline_rss);

/* Puts functions and lines in the order of the report and drops those where nothing happened. */
void ml_sites_sort(struct ml_sites *s);

/* A line with its function. */
struct ml_site_line {
	const struct ml_function *function; /* NULL: nothing happened there */
	const struct ml_line *line;
};

/* After ml_sites_sort(): lines by number. The caller frees the array. */
struct ml_site_line *ml_sites_lines(const struct ml_sites *s);

/* Who allocated the bytes that belong to a line: modules, the largest first, which the caller frees. */
struct ml_line_modules {
	struct ml_amount python; /* what CPython's allocators were asked for */
	struct ml_module_amount *modules;
	size_t n;
};

/* After ml_sites_sort() and ml_natives_finish(). */
void ml_site_modules(const struct ml_sites *s, const struct ml_line *line, struct ml_line_modules *modules);

void ml_sites_free(struct ml_sites *s);

/* An absolute path without "." and ".." for a co_filename; names in angle brackets stay. The caller frees it. */
char *ml_site_file(const char *cwd, const char *file);

#endif
