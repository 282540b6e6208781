/*
 * By libiberty, linked statically: it knows both codings of Rust besides the one of C++, which the C++ runtime's
 * __cxa_demangle does not, and a report does not depend on what can be opened where it is made.
 */
#include "symbolize/native/demangle.h"

#include <stdlib.h>
#include <string.h>

#include <libiberty/demangle.h>

bool ml_demangle_can(const char *name)
{
	return name[0] == '_' && (name[1] == 'Z' || name[1] == 'R');
}

char *ml_demangle(const char *name)
{
	char *text = NULL;

	/* Rust first: its older names are valid C++ ones, too, with the hash as the last part. */
	if (ml_demangle_can(name)) {
		text = rust_demangle(name, 0);
		if (!text)
			text = cplus_demangle_v3(name, DMGL_PARAMS | DMGL_ANSI);
	}
	return text ? text : strdup(name);
}
