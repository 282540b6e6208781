#include "report/source.h"

#include <fcntl.h>
#include <limits.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "report/memory.h"

#define SOURCE_MAX ((off_t)64 << 20)

/* The name as the file system has it: U+DC80 to U+DCFF (ED B2 80 to ED B3 BF) are the bytes 80 to FF. */
static char *path_of(const char *file)
{
	char *path = ml_memory_text(file, strlen(file)), *to = path;
	const unsigned char *from = (const unsigned char *)file;

	while (*from) {
		if (from[0] == 0xed && (from[1] == 0xb2 || from[1] == 0xb3) && (from[2] & 0xc0) == 0x80) {
			*to++ = (char)((from[1] & 1) << 6 | 0x80 | (from[2] & 0x3f));
			from += 3;
		} else {
			*to++ = (char)*from++;
		}
	}
	*to = 0;
	return path;
}

static void index_lines(struct ml_source *s, size_t bytes)
{
	size_t room = 64, at = 0;

	s->starts = ml_memory_get(room, sizeof(*s->starts));
	while (at < bytes && s->lines < INT_MAX - 1) {
		const char *end = memchr(s->text + at, '\n', bytes - at);
		if ((size_t)s->lines + 2 > room)
			s->starts = ml_memory_resize(s->starts, room *= 2, sizeof(*s->starts));
		s->starts[s->lines++] = at;
		at = end ? (size_t)(end - s->text) + 1 : bytes;
	}
	s->starts[s->lines] = at;
}

static int read_file(struct ml_source *s, int fd)
{
	struct stat st;
	size_t bytes = 0;
	ssize_t n;

	if (fstat(fd, &st) || !S_ISREG(st.st_mode) || st.st_size > SOURCE_MAX)
		return -1;
	s->modified_ns = (int64_t)st.st_mtim.tv_sec * 1000000000 + st.st_mtim.tv_nsec;
	s->text = ml_memory_get((size_t)st.st_size + 1, 1);
	while (bytes < (size_t)st.st_size && (n = read(fd, s->text + bytes, (size_t)st.st_size - bytes)) > 0)
		bytes += (size_t)n;
	index_lines(s, bytes);
	return 0;
}

int ml_source_open(struct ml_source *s, const char *file)
{
	char *path = path_of(file);
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	int status;

	free(path);
	*s = (struct ml_source){0};
	if (fd < 0)
		return -1;
	status = read_file(s, fd);
	close(fd);
	return status;
}

void ml_source_set(struct ml_source *s, const char *text)
{
	ml_source_take(s, ml_memory_text(text, strlen(text)), strlen(text));
}

void ml_source_take(struct ml_source *s, char *text, size_t bytes)
{
	*s = (struct ml_source){.text = text};
	index_lines(s, bytes);
}

void ml_source_close(struct ml_source *s)
{
	free(s->text);
	free(s->starts);
	*s = (struct ml_source){0};
}

const char *ml_source_line(const struct ml_source *s, int line, size_t *bytes)
{
	const char *text;

	if (line < 1 || line > s->lines)
		return NULL;
	text = s->text + s->starts[line - 1];
	*bytes = s->starts[line] - s->starts[line - 1];
	if (*bytes && text[*bytes - 1] == '\n')
		--*bytes;
	if (*bytes && text[*bytes - 1] == '\r')
		--*bytes;
	return text;
}

/* Columns of white space before the text, a tab going on to the next multiple of eight, as CPython counts them. */
static int indentation(const char *text, size_t bytes, size_t *at)
{
	int column = 0;

	for (*at = 0; *at < bytes; ++*at) {
		if (text[*at] == ' ')
			column++;
		else if (text[*at] == '\t')
			column = (column / 8 + 1) * 8;
		else if (text[*at] == '\f')
			column = 0;
		else
			break;
	}
	return column;
}

/* How far a statement has been read: it goes on behind the line's end within brackets, a long string, or by '\'. */
struct statement {
	int brackets;
	char quote; /* of the string that the place is in, or 0 */
	bool triple;
	bool continued;
};

static bool is_triple(const char *text, size_t bytes, size_t at)
{
	return at + 2 < bytes && text[at + 1] == text[at] && text[at + 2] == text[at];
}

/* Takes one byte that is not in a string; returns how many it took. */
static size_t read_code(struct statement *s, const char *text, size_t bytes, size_t at)
{
	switch (text[at]) {
	case '#':
		return bytes - at;
	case '(':
	case '[':
	case '{':
		s->brackets++;
		return 1;
	case ')':
	case ']':
	case '}':
		s->brackets -= s->brackets > 0;
		return 1;
	case '"':
	case '\'':
		s->quote = text[at];
		s->triple = is_triple(text, bytes, at);
		return s->triple ? 3 : 1;
	case '\\':
		s->continued = at + 1 == bytes;
		return 1;
	}
	return 1;
}

/* Takes one byte or escape of a string. */
static size_t read_string(struct statement *s, const char *text, size_t bytes, size_t at)
{
	if (text[at] == '\\') {
		s->continued = at + 1 == bytes;
		return 2;
	}
	if (text[at] != s->quote || (s->triple && !is_triple(text, bytes, at)))
		return 1;
	s->quote = 0;
	return s->triple ? 3 : 1;
}

static void read_line(struct statement *s, const char *text, size_t bytes)
{
	size_t at = 0;

	s->continued = false;
	while (at < bytes)
		at += s->quote ? read_string(s, text, bytes, at) : read_code(s, text, bytes, at);
	if (s->quote && !s->triple && !s->continued)
		s->quote = 0; /* no string at all, or no Python */
}

static bool goes_on(const struct statement *s)
{
	return s->brackets || s->quote || s->continued;
}

int ml_source_block_end(const struct ml_source *s, int first_line)
{
	struct statement statement = {0};
	int line, column, outer = 0, last = first_line;
	bool head = true; /* before the line with "def" or "class": only decorators come before it */
	const char *text;
	size_t bytes, at;

	for (line = first_line; (text = ml_source_line(s, line, &bytes)); line++) {
		if (!goes_on(&statement)) {
			column = indentation(text, bytes, &at);
			if (line == first_line)
				outer = column;
			if (at == bytes || text[at] == '#')
				continue;
			if (!head && column <= outer)
				break;
			head = text[at] == '@';
		}
		read_line(&statement, text, bytes);
		last = line;
	}
	return last;
}
