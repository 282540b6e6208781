/*
 * Is this file the user's own code? The recorder asks when it chooses which lines to count, the reader when it draws
 * tables, and both get the same answer. Pure: no memory, no locale, nothing of libc but mem* and str*.
 */
#ifndef ML_TRACE_SCOPE_H
#define ML_TRACE_SCOPE_H

#include <stdbool.h>

/*
 * What the question is judged by. Does not own the texts.
 *
 * globs is a list as MEMLINE_SCOPE has it, separated by colons; a file is in scope where any element takes it. The
 * element "auto" (and an empty or missing list) takes what lies below root and in no folder that is made for other
 * people's code: site-packages, dist-packages, .venv, .python_packages, the standard library.
 *
 * Any other element is a glob: `*` stands for any text, slashes too, `?` for one byte, `[a-z]` and `[!a-z]` for one
 * out of a set, a backslash takes the next byte as it is. A glob that starts with `/` or `*` is held against the whole
 * path, another one against the path below root and, if it has no slash, against the file's own name. One that takes a
 * folder takes everything in it.
 */
struct ml_scope {
	const char *globs;
	const char *root;    /* META "root", or NULL */
	const char *program; /* META "program", or NULL */
};

/*
 * True where `file` (a path that is absolute and has no "." and ".." in it, or a name in angle brackets) is in scope.
 * `<string>` and `<stdin>` can only be where they are the program itself, other names in angle brackets never are.
 */
bool ml_scope_has(const struct ml_scope *scope, const char *file);

/* True where the glob takes the whole of the text. */
bool ml_scope_match(const char *glob, const char *text);

#endif
