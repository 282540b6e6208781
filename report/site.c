#include "report/site.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "report/memory.h"
#include "report/place.h"

#define NONE ML_NO_LINE

/* Index of the function, which is made if it isn't there. */
static uint32_t intern_function(struct ml_sites *s, const char *file, const char *name, int first_line)
{
	uint32_t names = ml_pairs_number(&s->names, ml_texts_number(&s->texts, file), ml_texts_number(&s->texts, name));
	uint32_t number = ml_pairs_number(&s->function_index, names, (uint32_t)first_line);

	if (number < s->functions_n)
		return number;
	s->functions = ml_memory_grow(s->functions, s->functions_n, sizeof(*s->functions));
	s->functions[s->functions_n++] = (struct ml_function){
		.file = ml_memory_text(file, strlen(file)),
		.name = ml_memory_text(name, strlen(name)),
		.first_line = first_line,
		.last_line = first_line,
	};
	return number;
}

static uint32_t intern_line(struct ml_sites *s, uint32_t function, int line)
{
	uint32_t number = ml_pairs_number(&s->line_index, function, (uint32_t)line);

	if (number < s->lines_n)
		return number;
	s->lines = ml_memory_grow(s->lines, s->lines_n, sizeof(*s->lines));
	s->lines[s->lines_n++] = (struct ml_line){.line = line, .function = function, .number = number};
	return number;
}

/* File names. */

/* Takes the path's components one by one onto the end of `to`, which is kept free of "." and "..". */
static void append_path(char *to, const char *path)
{
	size_t used = strlen(to), bytes;

	for (; *path; path += bytes) {
		path += strspn(path, "/");
		bytes = strcspn(path, "/");
		if (!bytes || (bytes == 1 && path[0] == '.'))
			continue;
		if (bytes == 2 && path[0] == '.' && path[1] == '.') {
			while (used && to[--used] != '/')
				continue;
		} else {
			to[used++] = '/';
			memcpy(to + used, path, bytes);
			used += bytes;
		}
		to[used] = 0;
	}
}

char *ml_site_file(const char *cwd, const char *file)
{
	char *path;

	if (cwd && strlen(cwd) > PATH_MAX)
		cwd = NULL;
	if (file[0] == '<' || (file[0] != '/' && !cwd))
		return ml_memory_text(file, strlen(file));
	path = ml_memory_get(strlen(file) + (cwd ? strlen(cwd) : 0) + 3, 1);
	if (file[0] != '/')
		append_path(path, cwd);
	append_path(path, file);
	return path;
}

/* Folding. */

static bool is_folded_name(const char *name, size_t bytes)
{
	static const char *const names[] = {"<lambda>", "<listcomp>", "<dictcomp>", "<setcomp>", "<genexpr>"};
	/* From 3.12: the scope of a def f[T] or class C[T]. */
	static const char parameters[] = "<generic parameters of ";
	size_t i;

	if (bytes > sizeof(parameters) && !memcmp(name, parameters, sizeof(parameters) - 1))
		return true;
	for (i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		if (bytes == strlen(names[i]) && !memcmp(name, names[i], bytes))
			return true;
	return false;
}

/* Where the last component of a qualified name begins. */
static size_t last_component(const char *name, size_t bytes)
{
	while (bytes && name[bytes - 1] != '.')
		bytes--;
	return bytes;
}

/* Length of what is left of a qualified name without the folded code at its end; 0: that is in the module itself. */
static size_t host_name_bytes(const char *name)
{
	static const char locals[] = ".<locals>";
	const size_t locals_bytes = sizeof(locals) - 1;
	size_t bytes = strlen(name);

	while (bytes) {
		size_t at = last_component(name, bytes);
		if (!is_folded_name(name + at, bytes - at))
			break;
		bytes = at ? at - 1 : 0;
		if (bytes > locals_bytes && !memcmp(name + bytes - locals_bytes, locals, locals_bytes))
			bytes -= locals_bytes;
	}
	return bytes;
}

static bool is_folded(const struct ml_code *code)
{
	return host_name_bytes(code->name) != strlen(code->name);
}

/* One trace whose nodes are on their way to lines. */
struct resolving {
	struct ml_sites *sites;
	const struct ml_trace *trace;
	const struct ml_scope *scope;
	uint32_t *functions; /* by place in trace->codes: index, or NONE where the code is out of scope */
	struct ml_places places;
	struct ml_site_nodes *nodes;
};

/* How deep functions can lie in one another: CPython has a limit of 100 levels of indentation (Parser/tokenizer.h). */
#define NESTED_MAX 100

/* The code objects of one file, those that begin on one line with the folded ones last. */
struct file_codes {
	const char *path;
	const struct ml_code **codes;
	size_t n;
	/* The functions around the place that was reached, innermost last; some may have ended before it. */
	struct {
		const struct ml_code *code;
		int last_line;
	} around[NESTED_MAX];
	size_t around_n;
};

static void push_around(struct file_codes *file, const struct ml_code *code, int last_line)
{
	while (file->around_n && file->around[file->around_n - 1].last_line < ml_places_clamp(code->first_line))
		file->around_n--;
	if (is_folded(code) || !strcmp(code->name, "<module>"))
		return;
	if (file->around_n) {
		const struct ml_code *top = file->around[file->around_n - 1].code;
		if (top->first_line == code->first_line && !strcmp(top->name, code->name))
			return;
	}
	if (file->around_n < NESTED_MAX) {
		file->around[file->around_n].code = code;
		file->around[file->around_n++].last_line = last_line;
	}
}

/* The innermost function around a folded code object. From 3.11 the name says which one it is. */
static const struct ml_code *find_host(const struct resolving *a, const struct file_codes *file,
				       const struct ml_code *code, size_t name_bytes)
{
	bool named = a->places.line_table == ML_LINES_LOCATIONS;
	size_t i;

	for (i = file->around_n; i-- > 0;) {
		const char *name = file->around[i].code->name;
		if (file->around[i].last_line < ml_places_clamp(code->first_line))
			continue;
		if (!named || (strlen(name) == name_bytes && !memcmp(name, code->name, name_bytes)))
			return file->around[i].code;
	}
	return NULL;
}

static uint32_t function_of(struct resolving *a, const struct file_codes *file, const struct ml_code *code)
{
	size_t name_bytes = host_name_bytes(code->name);
	const struct ml_code *host = code;
	uint32_t function;
	char *name;

	if (is_folded(code)) {
		host = find_host(a, file, code, name_bytes);
		if (!host && (a->places.line_table != ML_LINES_LOCATIONS || !name_bytes)) {
			function = intern_function(a->sites, file->path, "<module>", 1);
			a->sites->functions[function].is_body = true;
			return function;
		}
	}
	if (host) {
		function = intern_function(a->sites, file->path, host->name, ml_places_clamp(host->first_line));
		a->sites->functions[function].is_body |= !(host->flags & ML_CO_FUNCTION);
		return function;
	}
	name = ml_memory_text(code->name, name_bytes);
	function = intern_function(a->sites, file->path, name, ml_places_clamp(code->first_line));
	free(name);
	return function;
}

static void add_file(struct resolving *a, struct file_codes *file)
{
	size_t i;

	for (i = 0; i < file->n; i++) {
		const struct ml_code *code = file->codes[i];
		struct ml_lines lines = ml_places_table(&a->places, code);
		int last = ml_lines_last(&lines);
		uint32_t function;

		push_around(file, code, last);
		function = function_of(a, file, code);
		a->functions[code - a->trace->codes] = function;
		if (a->sites->functions[function].last_line < last)
			a->sites->functions[function].last_line = last;
	}
}

static int compare_codes(const void *left, const void *right)
{
	const struct ml_code *a = *(const struct ml_code *const *)left, *b = *(const struct ml_code *const *)right;
	int order = strcmp(a->file, b->file);

	if (!order)
		order = (a->first_line > b->first_line) - (a->first_line < b->first_line);
	if (!order)
		order = is_folded(a) - is_folded(b);
	return order ? order : (a->id > b->id) - (a->id < b->id);
}

/* Gives each code object in scope its function. */
static void add_codes(struct resolving *a)
{
	size_t n = a->trace->codes_n, from, to, i;
	const struct ml_code **codes = ml_memory_get(n, sizeof(*codes));
	char *path;

	a->functions = ml_memory_get(n, sizeof(*a->functions));
	for (i = 0; i < n; i++) {
		codes[i] = &a->trace->codes[i];
		a->functions[i] = NONE;
	}
	qsort(codes, n, sizeof(*codes), compare_codes);
	for (from = 0; from < n; from = to) {
		for (to = from + 1; to < n && !strcmp(codes[from]->file, codes[to]->file); to++)
			continue;
		path = ml_site_file(ml_load_meta(a->trace, "cwd"), codes[from]->file);
		if (ml_scope_has(a->scope, path))
			add_file(a, &(struct file_codes){.path = path, .codes = codes + from, .n = to - from});
		free(path);
	}
	free(codes);
}

/* Index of the line that the frame is at; NONE where its file is out of scope. */
static uint32_t line_of(struct resolving *a, const struct ml_code *code, uint64_t place)
{
	uint32_t function = a->functions[code - a->trace->codes];

	return function == NONE ? NONE : intern_line(a->sites, function, ml_places_line(&a->places, code, place));
}

/* True of the body of a text that Python code runs by exec(), as site.py does with .pth files: a program's own text is
   run by no Python code. */
static bool is_executed_text(const struct ml_code *code, bool by_python)
{
	return by_python && code->file[0] == '<' && !strcmp(code->name, "<module>");
}

/* Nodes are numbered parent before child, so one pass does. */
static void resolve_nodes(struct resolving *a, uint32_t from)
{
	uint32_t *line = a->nodes->line, *anchor = a->nodes->anchor, n;

	line[0] = NONE;
	anchor[0] = ML_OWNER_NATIVE;
	for (n = from; n < a->nodes->n; n++) {
		const struct ml_node *node = &a->trace->nodes[n];
		const struct ml_code *code = ml_load_node_code(a->trace, node);

		line[n] = NONE;
		anchor[n] = anchor[node->parent];
		if (code && !is_executed_text(code, anchor[n] != ML_OWNER_NATIVE))
			line[n] = line_of(a, code, node->place);
		if (line[n] != NONE)
			anchor[n] = line[n];
		else if (anchor[n] == ML_OWNER_NATIVE && ML_SUBJECT_KIND(node->subject) == ML_NODE_PYTHON)
			anchor[n] = ML_OWNER_OUT_OF_SCOPE;
		a->nodes->in_scope[n] = anchor[n] < ML_OWNER_OUT_OF_SCOPE;
	}
}

/* A count is of a code object's line: where that is folded, the function around it has it. */
static void resolve_counts(struct resolving *a)
{
	size_t i;

	free(a->nodes->counted);
	a->nodes->counted = ml_memory_get(a->trace->counts_n, sizeof(*a->nodes->counted));
	for (i = 0; i < a->trace->counts_n; i++) {
		const struct ml_count *c = &a->trace->counts[i];
		uint32_t function = a->functions[ml_load_code(a->trace, c->code) - a->trace->codes];
		a->nodes->counted[i] = function == NONE ? NONE : intern_line(a->sites, function, (int)c->line);
	}
}

void ml_sites_resolve(struct ml_sites *s, const struct ml_trace *t, const struct ml_scope *scope,
		      struct ml_site_nodes *nodes)
{
	*nodes = (struct ml_site_nodes){.trace = t};
	ml_sites_resolve_more(s, scope, nodes);
}

void ml_sites_resolve_more(struct ml_sites *s, const struct ml_scope *scope, struct ml_site_nodes *nodes)
{
	const struct ml_trace *t = nodes->trace;
	struct resolving a = {.sites = s, .trace = t, .scope = scope, .nodes = nodes};
	const uint32_t from = nodes->n;

	nodes->line = ml_memory_more(nodes->line, from, t->nodes_n, sizeof(*nodes->line));
	nodes->anchor = ml_memory_more(nodes->anchor, from, t->nodes_n, sizeof(*nodes->anchor));
	nodes->in_scope = ml_memory_more(nodes->in_scope, from, t->nodes_n, sizeof(*nodes->in_scope));
	nodes->n = t->nodes_n;
	ml_places_begin(&a.places, t);
	add_codes(&a);
	resolve_nodes(&a, from ? from : 1);
	resolve_counts(&a);
	free(a.functions);
	ml_places_end(&a.places);
}

void ml_site_nodes_free(struct ml_site_nodes *nodes)
{
	free(nodes->line);
	free(nodes->anchor);
	free(nodes->in_scope);
	free(nodes->counted);
}

/* One trace on its way into the sites. */
struct adding {
	struct ml_sites *sites;
	const struct ml_trace *trace;
	const struct ml_site_nodes *nodes;
	const struct ml_fold *fold;
};

/* Increments of a damaged trace may be anything: they wrap around. */
static void add_increment(int64_t *to, uint64_t increment)
{
	*to = (int64_t)((uint64_t)*to + increment);
}

static void add_own(struct adding *a)
{
	struct ml_sites *s = a->sites;
	uint32_t n;

	for (n = 0; n < a->fold->nodes_n; n++) {
		const struct ml_tally *t = &a->fold->nodes[n];
		struct ml_line *line;

		if (a->nodes->anchor[n] >= ML_OWNER_OUT_OF_SCOPE) {
			const struct ml_amount amount = ml_amount_of(t);
			ml_amount_add(a->nodes->anchor[n] == ML_OWNER_NATIVE ? &s->native : &s->out_of_scope, &amount);
			continue;
		}
		line = &s->lines[a->nodes->anchor[n]];
		add_increment(&line->own_increment_bytes, (uint64_t)ml_tally_increment(t));
		line->live_bytes += t->live_bytes;
		line->live_blocks += t->live_blocks;
		line->allocated_bytes += t->allocated_bytes;
		line->allocations += t->allocations;
		line->peak_bytes += t->peak_bytes;
	}
}

/* Sums over all that happened with a node on the stack. */
struct subtree {
	uint64_t events;
	uint64_t increment; /* as two's complement */
	uint64_t live;
	uint64_t peak;
	uint64_t last_sequence;
	uint64_t last_live;
};

static void take_last(struct subtree *to, const struct subtree *from)
{
	if (from->last_sequence > to->last_sequence) {
		to->last_sequence = from->last_sequence;
		to->last_live = from->last_live;
	}
}

static struct subtree *sum_subtrees(const struct adding *a)
{
	struct subtree *sums = ml_memory_get(a->fold->nodes_n, sizeof(*sums));
	uint32_t n;

	for (n = a->fold->nodes_n; n-- > 0;) {
		const struct ml_tally *t = &a->fold->nodes[n];
		struct subtree own = {.last_sequence = t->last_sequence, .last_live = t->last_live_bytes}, *parent;

		sums[n].events += t->allocations + t->frees;
		sums[n].increment += t->allocated_bytes - t->freed_bytes;
		sums[n].live += t->live_bytes;
		sums[n].peak += t->peak_bytes;
		take_last(&sums[n], &own);
		if (!n)
			break;
		parent = &sums[a->trace->nodes[n].parent];
		parent->events += sums[n].events;
		parent->increment += sums[n].increment;
		parent->live += sums[n].live;
		parent->peak += sums[n].peak;
		take_last(parent, &sums[n]);
	}
	return sums;
}

/* The tree from parents to children. 0 ends a list. */
struct children {
	uint32_t *first;
	uint32_t *next;
};

static struct children find_children(const struct adding *a)
{
	struct children c = {
		ml_memory_get(a->fold->nodes_n, sizeof(uint32_t)),
		ml_memory_get(a->fold->nodes_n, sizeof(uint32_t)),
	};
	uint32_t n;

	for (n = a->fold->nodes_n; n-- > 1;) {
		uint32_t parent = a->trace->nodes[n].parent;
		c.next[n] = c.first[parent];
		c.first[parent] = n;
	}
	return c;
}

/*
 * Walks the tree with a count of how often each line is on the way from the root, and adds a node's subtree to its line
 * where the line isn't there yet: so every event counts once for each line on its stack.
 */
static void add_inclusive(struct adding *a, struct subtree *lasts)
{
	struct children c = find_children(a);
	struct subtree *sums = sum_subtrees(a);
	uint32_t *on_path = ml_memory_get(a->sites->lines_n, sizeof(*on_path));
	uint32_t n = 0;

	for (;;) {
		if (c.first[n]) {
			n = c.first[n];
		} else {
			for (; n && !c.next[n]; n = a->trace->nodes[n].parent)
				if (a->nodes->line[n] != NONE)
					on_path[a->nodes->line[n]]--;
			if (!n)
				break;
			if (a->nodes->line[n] != NONE)
				on_path[a->nodes->line[n]]--;
			n = c.next[n];
		}
		if (a->nodes->line[n] != NONE && !on_path[a->nodes->line[n]]++) {
			struct ml_line *line = &a->sites->lines[a->nodes->line[n]];
			line->events += sums[n].events;
			add_increment(&line->increment_bytes, sums[n].increment);
			line->inclusive_live_bytes += sums[n].live;
			line->inclusive_peak_bytes += sums[n].peak;
			take_last(&lasts[a->nodes->line[n]], &sums[n]);
		}
	}
	free(on_path);
	free(sums);
	free(c.first);
	free(c.next);
}

/* How often lines ran; and that may be behind their last event. */
static void add_counts(struct adding *a, struct subtree *lasts)
{
	const struct ml_runs *runs = &a->fold->runs;
	size_t i;

	for (i = 0; i < runs->n; i++) {
		const struct subtree last = {.last_sequence = runs->runs[i].sequence,
					     .last_live = runs->runs[i].live_bytes};
		bool more = a->trace->counts[i].count > ML_COUNT_MAX;
		uint32_t n = a->nodes->counted[i];
		struct ml_line *line;

		if (n == NONE)
			continue;
		line = &a->sites->lines[n];
		line->counted = true;
		line->at_least |= more;
		line->occurrences += more ? ML_COUNT_MAX : a->trace->counts[i].count;
		if (!more)
			take_last(&lasts[n], &last);
	}
}

void ml_sites_add(struct ml_sites *s, const struct ml_site_nodes *nodes, const struct ml_fold *fold,
		  uint64_t baseline_rss)
{
	struct adding a = {.sites = s, .trace = nodes->trace, .nodes = nodes, .fold = fold};
	struct subtree *lasts = ml_memory_get(s->lines_n, sizeof(*lasts));
	size_t i;

	add_own(&a);
	ml_natives_add(&s->natives, nodes->trace, fold, nodes->anchor);
	add_inclusive(&a, lasts);
	add_counts(&a, lasts);
	for (i = 0; i < s->lines_n; i++)
		if (lasts[i].last_sequence)
			s->lines[i].mem_bytes += lasts[i].last_live + baseline_rss;
	free(lasts);
}

static bool is_empty(const struct ml_line *line)
{
	return !line->events && !line->counted && !line->inclusive_live_bytes && !line->inclusive_peak_bytes &&
	       !line->mem_bytes;
}

static int compare_lines(const void *left, const void *right)
{
	const struct ml_line *a = left, *b = right;

	if (a->function != b->function)
		return a->function < b->function ? -1 : 1;
	return (a->line > b->line) - (a->line < b->line);
}

static int compare_functions(const void *left, const void *right)
{
	const struct ml_function *a = left, *b = right;
	uint64_t a_size = ml_magnitude(a->increment_bytes), b_size = ml_magnitude(b->increment_bytes);
	int order;

	if (a_size != b_size)
		return a_size > b_size ? -1 : 1;
	order = strcmp(a->file, b->file);
	if (!order)
		order = (a->first_line > b->first_line) - (a->first_line < b->first_line);
	return order ? order : strcmp(a->name, b->name);
}

void ml_sites_sort(struct ml_sites *s)
{
	size_t from, to = 0, kept = 0;

	for (from = 0; from < s->lines_n; from++)
		if (!is_empty(&s->lines[from]))
			s->lines[to++] = s->lines[from];
	s->lines_n = to;
	if (s->lines_n)
		qsort(s->lines, s->lines_n, sizeof(*s->lines), compare_lines);
	for (from = 0; from < s->lines_n; from++) {
		struct ml_function *f = &s->functions[s->lines[from].function];
		if (!f->lines_n++)
			f->lines = &s->lines[from];
		add_increment(&f->increment_bytes, (uint64_t)s->lines[from].increment_bytes);
	}
	for (from = 0; from < s->functions_n; from++) {
		if (s->functions[from].lines_n) {
			s->functions[kept++] = s->functions[from];
			continue;
		}
		free(s->functions[from].file);
		free(s->functions[from].name);
	}
	s->functions_n = kept;
	if (s->functions_n)
		qsort(s->functions, s->functions_n, sizeof(*s->functions), compare_functions);
}

struct ml_site_line *ml_sites_lines(const struct ml_sites *s)
{
	struct ml_site_line *lines = ml_memory_get(s->line_index.n, sizeof(*lines));
	size_t i, k;

	for (i = 0; i < s->functions_n; i++)
		for (k = 0; k < s->functions[i].lines_n; k++)
			lines[s->functions[i].lines[k].number] =
				(struct ml_site_line){&s->functions[i], &s->functions[i].lines[k]};
	return lines;
}

void ml_site_modules(const struct ml_sites *s, const struct ml_line *line, struct ml_line_modules *modules)
{
	struct ml_amount *python = &modules->python;
	const struct ml_native *items;
	size_t n, i;

	items = ml_natives_of(&s->natives, line->number, &n);
	*python = (struct ml_amount){(uint64_t)line->own_increment_bytes,
				     line->live_bytes,
				     line->live_blocks,
				     line->peak_bytes,
				     line->allocated_bytes,
				     line->allocations};
	for (i = 0; i < n; i++) {
		python->increment_bytes -= items[i].amount.increment_bytes;
		python->live_bytes -= items[i].amount.live_bytes;
		python->live_blocks -= items[i].amount.live_blocks;
		python->peak_bytes -= items[i].amount.peak_bytes;
		python->allocated_bytes -= items[i].amount.allocated_bytes;
		python->allocations -= items[i].amount.allocations;
	}
	modules->modules = ml_natives_by_module(&s->natives, items, n, python, &modules->n);
}

void ml_sites_free(struct ml_sites *s)
{
	size_t i;

	for (i = 0; i < s->functions_n; i++) {
		free(s->functions[i].file);
		free(s->functions[i].name);
	}
	ml_texts_free(&s->texts);
	ml_pairs_free(&s->names);
	ml_pairs_free(&s->function_index);
	ml_pairs_free(&s->line_index);
	free(s->functions);
	free(s->lines);
	ml_natives_free(&s->natives);
	*s = (struct ml_sites){0};
}
