#include "symbolize/python/code.h"

#include <string.h>

#include "symbolize/python/walk.h"

/* PyTypeObject.tp_flags (Include/cpython/object.h) and its bits (Include/object.h), all versions. */
#define TYPE_FLAGS 168
#define BYTES_SUBCLASS (1u << 27)
#define UNICODE_SUBCLASS (1u << 28)

/* Bits of PyASCIIObject.state (Include/cpython/unicodeobject.h), the same in all builds with the GIL. */
#define STATE_KIND(state) ((state) >> 2 & 7u) /* bytes a character; 0: only wstr is filled */
#define STATE_COMPACT (1u << 5)
#define STATE_ASCII (1u << 6)

struct text {
	const void *data;
	size_t length; /* characters */
	unsigned kind; /* bytes a character */
	bool ascii;
};

static bool is_a(const struct ml_abi *abi, const void *object, uint32_t flag)
{
	const void *type;

	if (!object || (uintptr_t)object & 7)
		return false;
	type = (const void *)ml_load_word(object, abi->is.at.object_type);
	return type && !((uintptr_t)type & 7) && ((uint32_t)ml_load_word(type, TYPE_FLAGS) & flag);
}

/* Finds the characters of a str. */
static bool find_text(const struct ml_abi *abi, const void *string, struct text *text)
{
	const struct ml_offsets *at = &abi->is.at;
	uint32_t state;

	if (!is_a(abi, string, UNICODE_SUBCLASS))
		return false;
	state = (uint32_t)ml_load_int(string, at->unicode_state);
	text->length = ml_load_word(string, at->unicode_length);
	text->kind = STATE_KIND(state);
	text->ascii = (state & STATE_ASCII) != 0;
	if (text->kind == 0 && at->unicode_wstr) {
		text->data = (const void *)ml_load_word(string, at->unicode_wstr);
		text->length = ml_load_word(string, at->unicode_wstr_length);
		text->kind = sizeof(wchar_t);
	} else if (!(state & STATE_COMPACT)) {
		text->data = (const void *)ml_load_word(string, at->unicode_compact);
	} else {
		text->data = (const char *)string + (text->ascii ? at->unicode_ascii : at->unicode_compact);
	}
	return text->data && text->length <= INT32_MAX && (text->kind == 1 || text->kind == 2 || text->kind == 4);
}

static uint32_t character(const struct text *text, size_t i)
{
	switch (text->kind) {
	case 1:
		return ((const uint8_t *)text->data)[i];
	case 2:
		return ((const uint16_t *)text->data)[i];
	default:
		return ((const uint32_t *)text->data)[i];
	}
}

static size_t utf8_bytes(uint32_t c)
{
	return c < 0x80 ? 1 : c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;
}

static void put_utf8(char *to, uint32_t c, size_t bytes)
{
	static const uint8_t lead[] = {0, 0, 0xc0, 0xe0, 0xf0};

	for (size_t i = bytes - 1; i > 0; i--, c >>= 6)
		to[i] = (char)(0x80 | (c & 0x3f));
	to[0] = (char)(lead[bytes] | c);
}

/* Writes at most room bytes, whole characters, and says how many. What is no character at all becomes U+FFFD. */
static size_t encode(const struct text *text, char *to, size_t room)
{
	size_t used = 0;

	if (text->ascii) {
		used = text->length < room ? text->length : room;
		memcpy(to, text->data, used);
		return used;
	}
	for (size_t i = 0; i < text->length; i++) {
		uint32_t c = character(text, i);
		size_t bytes;
		if (c > 0x10ffff)
			c = 0xfffd;
		bytes = utf8_bytes(c);
		if (bytes > room - used)
			break;
		put_utf8(to + used, c, bytes);
		used += bytes;
	}
	return used;
}

int ml_code_describe(const struct ml_abi *abi, const void *code, char *buffer, size_t room, struct ml_code_text *out)
{
	const struct ml_offsets *at = &abi->is.at;
	const void *table = (const void *)ml_load_word(code, at->code_table);
	struct text file, name;
	size_t table_bytes;
	int32_t first_line;

	if (!find_text(abi, (const void *)ml_load_word(code, at->code_file), &file) ||
	    !find_text(abi, (const void *)ml_load_word(code, at->code_name), &name) ||
	    !is_a(abi, table, BYTES_SUBCLASS))
		return -1;
	table_bytes = ml_load_word(table, at->object_size);
	if (table_bytes > ML_DEF_MAX || room > UINT32_MAX)
		return -1;
	first_line = ml_load_int(code, at->code_first_line);

	out->file = buffer;
	out->file_bytes = (uint32_t)encode(&file, buffer, room / 4 * 3);
	out->name = buffer + out->file_bytes;
	out->name_bytes = (uint32_t)encode(&name, buffer + out->file_bytes, room - out->file_bytes);
	out->table = (const char *)table + at->bytes_data;
	out->table_bytes = (uint32_t)table_bytes;
	out->first_line = first_line > 0 ? (uint32_t)first_line : 0;
	out->flags = (uint32_t)ml_load_int(code, at->code_flags);
	return 0;
}

bool ml_code_is_text(const struct ml_abi *abi, const void *code)
{
	struct text file;

	return find_text(abi, (const void *)ml_load_word(code, abi->is.at.code_file), &file) && file.length &&
	       character(&file, 0) == '<';
}

static uint64_t mix(uint64_t sum, uint64_t word)
{
	sum = (sum ^ word) * 0x9e3779b97f4a7c15u;
	return sum ^ sum >> 29;
}

/* The last eight bytes of a str or bytes object's data, with its length: what its address alone doesn't tell. */
static uint64_t mix_tail(uint64_t sum, const void *data, size_t bytes)
{
	uint64_t word = 0;
	size_t last = bytes < sizeof(word) ? bytes : sizeof(word);

	memcpy(&word, (const char *)data + bytes - last, last);
	return mix(mix(sum, word), bytes);
}

/*
 * Until 3.11 nothing in a code object is new for each of them. Those of exec'd code, dropped and made again, find the
 * same addresses for their parts too, so that some of what these contain must be looked at.
 */
static uint64_t mix_parts(const struct ml_abi *abi, const void *code, uint64_t sum)
{
	const struct ml_offsets *at = &abi->is.at;
	const void *table = (const void *)ml_load_word(code, at->code_table);
	struct text text;

	sum = mix(sum, (uintptr_t)table);
	sum = mix(sum, ml_load_word(code, at->code_consts));
	if (is_a(abi, table, BYTES_SUBCLASS) && ml_load_word(table, at->object_size) <= ML_DEF_MAX)
		sum = mix_tail(sum, (const char *)table + at->bytes_data, ml_load_word(table, at->object_size));
	if (find_text(abi, (const void *)ml_load_word(code, at->code_file), &text))
		sum = mix_tail(sum, text.data, text.length * text.kind);
	if (find_text(abi, (const void *)ml_load_word(code, at->code_name), &text))
		sum = mix_tail(sum, text.data, text.length * text.kind);
	return sum;
}

uint64_t ml_code_fingerprint(const struct ml_abi *abi, const void *code)
{
	const struct ml_offsets *at = &abi->is.at;
	uint32_t version = at->code_version ? ml_code_version(abi, code) : 0;
	uint64_t sum = mix(version, (uint32_t)ml_load_int(code, at->code_first_line));

	sum = mix(sum, ml_load_word(code, at->code_file));
	sum = mix(sum, ml_load_word(code, at->code_name));
	if (!version) /* there is none, or they have run out */
		sum = mix_parts(abi, code, sum);
	return sum ? sum : 1;
}
