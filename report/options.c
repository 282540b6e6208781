#include "report/options.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "report/memory.h"
#include "trace/scope.h"

enum {
	OPTION_SCOPE = 256,
	OPTION_FUNCTION,
	OPTION_THREAD,
	OPTION_FROM,
	OPTION_TO,
	OPTION_END,
	OPTION_MODULE,
	OPTION_STACK_CONTAINS,
	OPTION_MIN_BYTES,
	OPTION_TOP,
	OPTION_ALL,
	OPTION_PRECISION,
	OPTION_JSON,
	OPTION_MERGE,
	OPTION_WIDE,
	OPTION_SYSROOT,
	OPTION_DEBUG_DIR,
	OPTION_NO_CACHE,
	OPTION_INVOCATIONS,
};

#define PRECISION_MAX 20

void ml_options_init(struct ml_options *o)
{
	*o = (struct ml_options){.fold = {.to_ns = UINT64_MAX}, .precision = 1, .objects = {.cache = true}};
}

void ml_options_free(struct ml_options *o)
{
	free(o->scope);
	free(o->functions);
	free(o->entries);
	*o = (struct ml_options){0};
}

bool ml_options_number(const char *text, uint64_t *value)
{
	char *end;

	if (*text < '0' || *text > '9')
		return false;
	errno = 0;
	*value = strtoull(text, &end, 10);
	return !*end && !errno;
}

bool ml_options_mark(const char *text)
{
	char *end;

	strtod(text, &end);
	return *text && *text != '-' && (end == text || *end);
}

void ml_options_moment(const struct argp_state *state, const char *name, const char *text, uint64_t *ns,
		       const char **mark)
{
	char *end;
	double seconds = strtod(text, &end);

	*mark = ml_options_mark(text) ? text : NULL;
	if (!*mark && (end == text || !(seconds >= 0) || seconds > 1e9))
		argp_error(state, "--%s: '%s' is neither a number of seconds nor a mark", name, text);
	*ns = *mark ? *ns : (uint64_t)(seconds * 1e9 + 0.5);
}

uint64_t ml_options_count(const struct argp_state *state, const char *name, const char *text, uint64_t least,
			  uint64_t most)
{
	uint64_t value = 0;

	if (!ml_options_number(text, &value) || value < least || value > most)
		argp_error(state, "--%s: '%s' is no number from %llu to %llu", name, text, (unsigned long long)least,
			   (unsigned long long)most);
	return value;
}

static void add_scope(struct ml_options *o, const char *glob)
{
	char *scope = o->scope ? ml_memory_print("%s:%s", o->scope, glob) : ml_memory_text(glob, strlen(glob));

	free(o->scope);
	o->scope = scope;
}

static error_t parse_select(int key, char *text, struct argp_state *state)
{
	struct ml_options *o = state->input;

	switch (key) {
	case OPTION_SCOPE:
		add_scope(o, text);
		return 0;
	case OPTION_FUNCTION:
		o->functions = ml_memory_resize(o->functions, o->functions_n + 1, sizeof(*o->functions));
		o->functions[o->functions_n++] = text;
		return 0;
	case OPTION_THREAD:
		o->fold.tid = (uint32_t)ml_options_count(state, "thread", text, 1, UINT32_MAX);
		return 0;
	case OPTION_FROM:
		ml_options_moment(state, "from", text, &o->fold.from_ns, &o->from_mark);
		return 0;
	case OPTION_TO:
		ml_options_moment(state, "to", text, &o->fold.to_ns, &o->to_mark);
		return 0;
	case OPTION_END:
		if (strcmp(text, "last") && strcmp(text, "finalize"))
			argp_error(state, "--end: '%s' is neither 'last' nor 'finalize'", text);
		o->fold.end_last = !strcmp(text, "last");
		return 0;
	case OPTION_MODULE:
		o->module = text;
		return 0;
	case OPTION_STACK_CONTAINS:
		o->stack_contains = text;
		return 0;
	case OPTION_MIN_BYTES:
		o->min_bytes = ml_options_count(state, "min-bytes", text, 0, UINT64_MAX);
		return 0;
	case OPTION_TOP:
		o->top = (size_t)ml_options_count(state, "top", text, 1, UINT32_MAX);
		return 0;
	case OPTION_ALL:
		o->all = true;
		return 0;
	case OPTION_PRECISION:
		o->precision = (int)ml_options_count(state, "precision", text, 0, PRECISION_MAX);
		return 0;
	case ARGP_KEY_SUCCESS: /* END does not come where there are TRACEs */
		if (!o->from_mark && !o->to_mark && o->fold.from_ns > o->fold.to_ns)
			argp_error(state, "--from lies behind --to");
		return 0;
	}
	return ARGP_ERR_UNKNOWN;
}

static error_t parse_json(int key, char *text, struct argp_state *state)
{
	struct ml_options *o = state->input;

	(void)text;
	if (key != OPTION_JSON)
		return ARGP_ERR_UNKNOWN;
	o->json = true;
	return 0;
}

static error_t parse_merge(int key, char *text, struct argp_state *state)
{
	struct ml_options *o = state->input;

	(void)text;
	if (key != OPTION_MERGE)
		return ARGP_ERR_UNKNOWN;
	o->merge = true;
	return 0;
}

static error_t parse_wide(int key, char *text, struct argp_state *state)
{
	struct ml_options *o = state->input;

	(void)text;
	if (key != OPTION_WIDE)
		return ARGP_ERR_UNKNOWN;
	o->wide = true;
	return 0;
}

static error_t parse_invocations(int key, char *text, struct argp_state *state)
{
	struct ml_options *o = state->input;

	if (key != OPTION_INVOCATIONS)
		return ARGP_ERR_UNKNOWN;
	o->entries = ml_memory_resize(o->entries, o->entries_n + 1, sizeof(*o->entries));
	o->entries[o->entries_n++] = text;
	o->invocations = true;
	return 0;
}

static error_t parse_native(int key, char *text, struct argp_state *state)
{
	struct ml_options *o = state->input;

	switch (key) {
	case OPTION_SYSROOT:
		o->objects.sysroot = text;
		return 0;
	case OPTION_DEBUG_DIR:
		o->objects.debug_directory = text;
		return 0;
	case OPTION_NO_CACHE:
		o->objects.cache = false;
		return 0;
	}
	return ARGP_ERR_UNKNOWN;
}

static const struct argp_option select_options[] = {
	{"scope", OPTION_SCOPE, "GLOB", 0, "Source files that are user code (as MEMLINE_SCOPE); may be repeated", 1},
	{"function", OPTION_FUNCTION, "GLOB", 0, "Only functions of this name; may be repeated", 1},
	{"module", OPTION_MODULE, "GLOB", 0, "Only what this module's code allocated (python, or a library's name)", 1},
	{"stack-contains", OPTION_STACK_CONTAINS, "GLOB", 0,
	 "Only what was allocated with this function, file or library on the stack", 1},
	{"thread", OPTION_THREAD, "TID", 0, "Only what this thread did", 1},
	{"from", OPTION_FROM, "T", 0, "From this second on, counted from the start, or from this mark", 1},
	{"to", OPTION_TO, "T", 0, "Up to this second or mark", 1},
	{"end", OPTION_END, "WHEN", 0, "'last': the very last event (else: when Python began to finalize)", 1},
	{"min-bytes", OPTION_MIN_BYTES, "N", 0, "Only what is N bytes or more", 1},
	{"top", OPTION_TOP, "N", 0, "Show the first N", 1},
	{"all", OPTION_ALL, NULL, 0, "Show all of them, and all their lines", 1},
	{"precision", OPTION_PRECISION, "N", 0, "Digits behind the point (1)", 1},
	{0},
};

static const struct argp_option json_options[] = {
	{"json", OPTION_JSON, NULL, 0, "Write JSON", 1},
	{0},
};

static const struct argp_option merge_options[] = {
	{"merge", OPTION_MERGE, NULL, 0, "All processes as one", 1},
	{0},
};

static const struct argp_option wide_options[] = {
	{"wide", OPTION_WIDE, NULL, 0,
	 "Add the columns Own, Live, Peak, Allocated, Allocs, Python, Native and Module, and the callers of <native>",
	 1},
	{0},
};

static const struct argp_option native_options[] = {
	{"sysroot", OPTION_SYSROOT, "DIR", 0, "Libraries of the program are below DIR, or else where they were", 1},
	{"debug-dir", OPTION_DEBUG_DIR, "DIR", 0, "Debug files are in DIR (/usr/lib/debug)", 1},
	{"no-cache", OPTION_NO_CACHE, NULL, 0, "Look all native functions up anew", 1},
	{0},
};

static const struct argp_option invocations_options[] = {
	{"invocations", OPTION_INVOCATIONS, "GLOB", 0,
	 "Invocations are those of functions of this name (else: of those that are called from out of scope); may be "
	 "repeated",
	 1},
	{0},
};

const struct argp ml_options_select_argp = {.options = select_options, .parser = parse_select};
const struct argp ml_options_json_argp = {.options = json_options, .parser = parse_json};
const struct argp ml_options_merge_argp = {.options = merge_options, .parser = parse_merge};
const struct argp ml_options_wide_argp = {.options = wide_options, .parser = parse_wide};
const struct argp ml_options_native_argp = {.options = native_options, .parser = parse_native};
const struct argp ml_options_invocations_argp = {.options = invocations_options, .parser = parse_invocations};

static bool takes(char **globs, size_t n, const char *function)
{
	const char *dot = strrchr(function, '.');
	size_t i;

	for (i = 0; i < n; i++)
		if (ml_scope_match(globs[i], function) || (dot && ml_scope_match(globs[i], dot + 1)))
			return true;
	return false;
}

bool ml_options_takes(const struct ml_options *o, const char *function)
{
	return !o->functions_n || takes(o->functions, o->functions_n, function);
}

bool ml_options_is_entry(const struct ml_options *o, const char *function)
{
	return takes(o->entries, o->entries_n, function);
}
