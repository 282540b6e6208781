#include "report/suppress.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "report/memory.h"

#define NONE UINT32_MAX

/* A piece of a pattern without a star, at the start of the text. */
static bool starts_with(const char *text, const char *piece, size_t bytes)
{
	return !strncmp(text, piece, bytes);
}

/* The text from where the piece first is in it, or NULL. */
static const char *seek(const char *text, const char *piece, size_t bytes)
{
	for (; !starts_with(text, piece, bytes); text++)
		if (!*text)
			return NULL;
	return text;
}

/* Pieces are sought from left to right, each as early as it comes; the last one of those that end with $ as late. */
bool ml_suppress_matches(const char *pattern, const char *text)
{
	size_t bytes = strlen(pattern), rest;
	bool anchored = pattern[0] == '^', to_end;

	pattern += anchored;
	bytes -= anchored;
	to_end = bytes && pattern[bytes - 1] == '$';
	bytes -= to_end;
	for (;;) {
		const char *star = memchr(pattern, '*', bytes);
		size_t piece = star ? (size_t)(star - pattern) : bytes;

		if (!star && to_end) {
			rest = strlen(text);
			return anchored ? rest == piece && starts_with(text, pattern, piece)
					: rest >= piece && starts_with(text + rest - piece, pattern, piece);
		}
		text = anchored ? (starts_with(text, pattern, piece) ? text : NULL) : seek(text, pattern, piece);
		if (!text || !star)
			return text != NULL;
		text += piece;
		bytes -= piece + 1;
		pattern = star + 1;
		anchored = false;
	}
}

static void add(struct ml_suppressions *s, const char *pattern)
{
	s->items = ml_memory_grow(s->items, s->n, sizeof(*s->items));
	s->items[s->n++] = (struct ml_suppression){.pattern = ml_memory_text(pattern, strlen(pattern))};
}

static FILE *open_file(const char *path)
{
	FILE *file = fopen(path, "re");
	char program[PATH_MAX], *slash, *shared;
	ssize_t bytes;

	if (file || errno != ENOENT || strchr(path, '/'))
		return file;
	bytes = readlink("/proc/self/exe", program, sizeof(program) - 1);
	program[bytes < 0 ? 0 : bytes] = 0;
	slash = strrchr(program, '/');
	if (!slash)
		return NULL;
	*slash = 0;
	shared = ml_memory_print("%s/../share/memline/%s", program, path);
	file = fopen(shared, "re");
	free(shared);
	return file;
}

int ml_suppress_read(struct ml_suppressions *s, const char *path, char **error)
{
	static const char kind[] = "leak:";
	FILE *file = open_file(path);
	char *line = NULL, *start;
	size_t room = 0, number = 0;

	if (!file) {
		*error = ml_memory_print("%s: %s", path, strerror(errno));
		return -1;
	}
	*error = NULL;
	while (!*error && getline(&line, &room, file) >= 0) {
		number++;
		start = line + strspn(line, " \t");
		start[strcspn(start, "\r\n")] = 0;
		if (!*start || *start == '#')
			continue;
		if (strncmp(start, kind, sizeof(kind) - 1) || !start[sizeof(kind) - 1])
			*error = ml_memory_print("%s: line %zu is no suppression: leak:PATTERN", path, number);
		else
			add(s, start + sizeof(kind) - 1);
	}
	if (!*error && ferror(file))
		*error = ml_memory_print("%s: %s", path, strerror(errno));
	free(line);
	fclose(file);
	return *error ? -1 : 0;
}

void ml_suppress_free(struct ml_suppressions *s)
{
	size_t i;

	for (i = 0; i < s->n; i++)
		free(s->items[i].pattern);
	free(s->items);
	*s = (struct ml_suppressions){0};
}

static bool matches_call(const char *pattern, const struct ml_call *call, const char *module)
{
	return ml_suppress_matches(pattern, call->function) ||
	       (call->file && ml_suppress_matches(pattern, call->file)) ||
	       (module && ml_suppress_matches(pattern, module));
}

/* The first suppression that matches one of the frame's calls, or NONE. */
static uint32_t find(const struct ml_suppressions *s, const struct ml_stacks *stacks, const struct ml_frame *frame,
		     const struct ml_objects *objects)
{
	const char *module = frame->kind == ML_NODE_NATIVE ? objects->objects[frame->object].path : NULL;
	uint32_t i, call;

	for (i = 0; i < s->n; i++)
		for (call = 0; call < frame->calls_n; call++)
			if (matches_call(s->items[i].pattern, &stacks->calls[frame->first_call + call], module))
				return i;
	return NONE;
}

static void add_held(struct ml_suppression *s, const struct ml_hold *hold)
{
	int phase;

	for (phase = 0; phase < ML_HOLD_PHASES; phase++) {
		s->held.bytes += hold->held[phase].bytes;
		s->held.blocks += hold->held[phase].blocks;
	}
}

bool *ml_suppress_find(struct ml_suppressions *s, const struct ml_holds *h, const struct ml_stacks *stacks,
		       const struct ml_objects *objects)
{
	uint32_t *by_frame = ml_memory_get(stacks->frames_n, sizeof(*by_frame));
	uint32_t *by_stack = ml_memory_get(stacks->n, sizeof(*by_stack)), i;
	bool *suppressed = ml_memory_get(stacks->n, sizeof(*suppressed));

	for (i = 0; i < s->n; i++)
		s->items[i].held = (struct ml_held){0};
	for (i = 0; i < stacks->frames_n; i++)
		by_frame[i] = find(s, stacks, &stacks->frames[i], objects);
	by_stack[0] = NONE;
	for (i = 1; i < stacks->n; i++) {
		by_stack[i] = by_frame[stacks->items[i].frame];
		if (by_stack[i] == NONE)
			by_stack[i] = by_stack[stacks->items[i].parent];
		suppressed[i] = by_stack[i] != NONE;
		if (suppressed[i])
			add_held(&s->items[by_stack[i]], &h->items[i]);
	}
	free(by_frame);
	free(by_stack);
	return suppressed;
}
