#include "trace/scope.h"

#include <stddef.h>
#include <string.h>

/* A stretch of text that isn't terminated. */
struct span {
	const char *at;
	const char *end;
};

static struct span span_of(const char *text)
{
	return (struct span){text, text + strlen(text)};
}

static bool span_is(struct span s, const char *text)
{
	size_t bytes = strlen(text);

	return (size_t)(s.end - s.at) == bytes && !memcmp(s.at, text, bytes);
}

/*
 * One byte against a set; *set stands behind its '['. Returns 1 or 0 and moves *set behind its ']', or -1 where there
 * is no ']': then the '[' stands for itself. A ']' that comes first is an element.
 */
static int match_set(struct span *set, unsigned char byte)
{
	const char *p = set->at;
	bool negated = p < set->end && (*p == '!' || *p == '^');
	bool found = false, first = true;

	for (p += negated; p < set->end && (*p != ']' || first); first = false) {
		unsigned char low, high;

		if (*p == '\\' && set->end - p > 1)
			p++;
		low = high = (unsigned char)*p++;
		if (set->end - p > 1 && p[0] == '-' && p[1] != ']') {
			high = (unsigned char)p[1];
			p += 2;
		}
		found |= low <= byte && byte <= high;
	}
	if (p >= set->end)
		return -1;
	set->at = p + 1;
	return found != negated;
}

/* One byte of the text against the pattern's next element, which is no '*'. Moves the pattern on where it matches. */
static bool match_one(struct span *glob, char byte)
{
	struct span rest = {glob->at + 1, glob->end};
	char wanted = *glob->at;

	if (wanted == '[') {
		int found = match_set(&rest, (unsigned char)byte);
		if (found < 0)
			found = byte == '[';
		if (found)
			*glob = rest;
		return found;
	}
	if (wanted == '\\' && rest.at < rest.end)
		wanted = *rest.at++;
	else if (wanted == '?')
		wanted = byte;
	if (wanted != byte)
		return false;
	*glob = rest;
	return true;
}

/*
 * The whole text, or with `folders` a leading part of it that ends before a slash. Goes back to the last '*' only: what
 * an earlier one took needs no second look, since the last can take any text. So the time is at most the product of the
 * lengths.
 */
static bool match(struct span glob, struct span text, bool folders)
{
	struct span star_glob = {NULL, NULL}, star_text = {NULL, NULL};

	for (;;) {
		if (glob.at < glob.end && *glob.at == '*') {
			glob.at++;
			star_glob = glob;
			star_text = text;
			continue;
		}
		if (glob.at == glob.end && (text.at == text.end || (folders && *text.at == '/')))
			return true;
		if (glob.at < glob.end && text.at < text.end && match_one(&glob, *text.at)) {
			text.at++;
			continue;
		}
		if (!star_glob.at || star_text.at == star_text.end)
			return false;
		star_text.at++;
		text = star_text;
		glob = star_glob;
	}
}

bool ml_scope_match(const char *glob, const char *text)
{
	return match(span_of(glob), span_of(text), false);
}

/* The path below root, or a span with at == NULL. */
static struct span below(const char *root, struct span file)
{
	size_t bytes = strlen(root);

	while (bytes && root[bytes - 1] == '/')
		bytes--;
	if ((size_t)(file.end - file.at) <= bytes || memcmp(file.at, root, bytes) || file.at[bytes] != '/')
		return (struct span){NULL, NULL};
	return (struct span){file.at + bytes + 1, file.end};
}

/* Takes the text up to the next `separator` off the list; false at its end. */
static bool next_part(struct span *list, char separator, struct span *part)
{
	const char *p;

	if (!list->at)
		return false;
	for (p = list->at; p < list->end && *p != separator; p++)
		if (*p == '\\' && separator == ':' && list->end - p > 1)
			p++;
	*part = (struct span){list->at, p};
	list->at = p < list->end ? p + 1 : NULL;
	return true;
}

/* Folders into which installers put other people's code. */
static bool is_foreign_folder(struct span folder)
{
	return span_is(folder, "site-packages") || span_is(folder, "dist-packages") || span_is(folder, ".venv") ||
	       span_is(folder, ".python_packages");
}

static bool in_foreign_folder(struct span path)
{
	struct span folder;

	while (next_part(&path, '/', &folder))
		if (path.at && is_foreign_folder(folder))
			return true;
	return false;
}

static const char *skip_digits(const char *p, const char *end)
{
	while (p < end && *p >= '0' && *p <= '9')
		p++;
	return p;
}

/* "python3.11", "python3.13t" (free-threaded) or "python311.zip". */
static bool is_library_name(struct span name)
{
	static const char start[] = "python3";
	size_t bytes = sizeof(start) - 1;
	const char *p;

	if ((size_t)(name.end - name.at) <= bytes || memcmp(name.at, start, bytes))
		return false;
	if (name.at[bytes] == '.') {
		p = skip_digits(name.at + bytes + 1, name.end);
		return p > name.at + bytes + 1 && (p == name.end || span_is((struct span){p, name.end}, "t"));
	}
	p = skip_digits(name.at + bytes, name.end);
	return p > name.at + bytes && span_is((struct span){p, name.end}, ".zip");
}

/* CPython's own library: PREFIX/lib/python3.N/… or PREFIX/lib64/python3.N/… */
static bool in_standard_library(struct span path)
{
	struct span folder, before = {path.at, path.at};

	for (; next_part(&path, '/', &folder); before = folder)
		if (path.at && (span_is(before, "lib") || span_is(before, "lib64")) && is_library_name(folder))
			return true;
	return false;
}

static bool is_own(const struct ml_scope *scope, struct span file)
{
	struct span rest = scope->root ? below(scope->root, file) : file;

	return rest.at && !in_foreign_folder(rest) && !in_standard_library(file);
}

static struct span last_part(struct span path)
{
	const char *p = path.end;

	while (p > path.at && p[-1] != '/')
		p--;
	return (struct span){p, path.end};
}

static bool takes(const struct ml_scope *scope, struct span glob, struct span file)
{
	struct span rest;

	if (glob.at == glob.end)
		return false;
	if (*glob.at == '/' || *glob.at == '*')
		return match(glob, file, true);
	rest = scope->root ? below(scope->root, file) : (struct span){NULL, NULL};
	if (rest.at && match(glob, rest, true))
		return true;
	return !memchr(glob.at, '/', (size_t)(glob.end - glob.at)) && match(glob, last_part(file), false);
}

/* Code that comes from no file is judged by whether it is the program. */
static bool is_program(const struct ml_scope *scope, const char *name)
{
	const char *program = scope->program ? scope->program : "";

	return (!strcmp(name, "<string>") && !strcmp(program, "command")) ||
	       (!strcmp(name, "<stdin>") && !strcmp(program, "stdin"));
}

bool ml_scope_has(const struct ml_scope *scope, const char *name)
{
	struct span globs = span_of(scope->globs && *scope->globs ? scope->globs : "auto");
	struct span file = span_of(name), glob;
	bool unnamed = *name == '<';

	if (unnamed && !is_program(scope, name))
		return false;
	while (next_part(&globs, ':', &glob))
		if (span_is(glob, "auto") ? unnamed || is_own(scope, file) : takes(scope, glob, file))
			return true;
	return false;
}
