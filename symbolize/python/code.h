/*
 * What a code object says about itself, copied when it is first seen. Reads the interpreter's objects under the rules
 * of abi.h; code must have been found to be a code object (ML_FRAME_PYTHON).
 */
#ifndef ML_SYMBOLIZE_PYTHON_CODE_H
#define ML_SYMBOLIZE_PYTHON_CODE_H

#include "symbolize/python/abi.h"

/* file and name lie in the caller's buffer, the table in the code object. */
struct ml_code_text {
	const char *file; /* co_filename, as UTF-8, lone surrogates as three bytes each, no NUL at the end */
	const char *name; /* co_qualname, or co_name where there is none */
	const void *table;
	uint32_t file_bytes;
	uint32_t name_bytes;
	uint32_t table_bytes;
	uint32_t first_line; /* 0: it has none */
	uint32_t flags;      /* co_flags */
};

/*
 * A number that tells the code object from another one that is made later at the same address. Two that say the same
 * about their lines may have the same number. Never 0.
 */
uint64_t ml_code_fingerprint(const struct ml_abi *abi, const void *code);

/*
 * Fills *out. Where room is short the texts are cut, between characters: the file name gets up to three quarters of
 * the buffer, the name the rest. Returns 0, or -1 if the object makes no sense.
 */
int ml_code_describe(const struct ml_abi *abi, const void *code, char *buffer, size_t room, struct ml_code_text *out);

/* Whether the file of the code object is none but a text, such as <string> or <frozen os>. */
bool ml_code_is_text(const struct ml_abi *abi, const void *code);

#endif
