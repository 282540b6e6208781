/*
 * The file is text: a head line; for each address a line "@HEX", and for each of its frames, innermost first, a line
 * "LINE TAB FUNCTION TAB FILE"; and "end" as the last line, without which the file is not whole. In names, control
 * characters and backslashes are "\HH". What is not known is empty, or line 0.
 */
#include "symbolize/native/cache.h"

#include <dirent.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define HEAD "memline symbols 1\n"
#define END "end\n"
#define NONE UINT32_MAX

/* Of one file. */
#define ADDRESSES_MAX (1u << 20)
#define FILE_MAX (64u << 20)

struct known {
	uint64_t address;
	uint32_t frame; /* the first one */
	uint32_t frames_n;
};

struct ml_cache {
	char *path;
	char *text; /* of the file */
	struct known *known;
	uint32_t known_n;
	struct ml_dwarf_frame *frames;
	uint32_t frames_n;
	uint32_t *index; /* hash of known by address: number + 1, or 0 */
	uint32_t slots;  /* a power of two */
	bool changed;
};

/* Arrays grow when n is a power of two. */
static bool grow(void *array, uint32_t n, size_t size)
{
	void **at = array, *larger;

	if (n & (n - 1))
		return true;
	larger = realloc(*at, (n ? (size_t)n * 2 : 1) * size);
	if (larger)
		*at = larger;
	return larger != NULL;
}

/* Where the address is or would be. */
static uint32_t slot_of(const struct ml_cache *c, uint64_t address)
{
	uint32_t slot = (uint32_t)(address * 0x9e3779b97f4a7c15u >> 32) & (c->slots - 1);

	while (c->index[slot] && c->known[c->index[slot] - 1].address != address)
		slot = (slot + 1) & (c->slots - 1);
	return slot;
}

static bool grow_index(struct ml_cache *c)
{
	uint32_t slots = c->slots ? c->slots * 2 : 1024, i;
	uint32_t *index = calloc(slots, sizeof(*index));

	if (!index)
		return false;
	free(c->index);
	c->index = index;
	c->slots = slots;
	for (i = 0; i < c->known_n; i++)
		c->index[slot_of(c, c->known[i].address)] = i + 1;
	return true;
}

/* An address without frames yet; false where it cannot be taken. */
static bool add_address(struct ml_cache *c, uint64_t address)
{
	if (c->known_n == ADDRESSES_MAX || (c->known_n * 2 >= c->slots && !grow_index(c)) ||
	    c->index[slot_of(c, address)] || !grow(&c->known, c->known_n, sizeof(*c->known)))
		return false;
	c->known[c->known_n++] = (struct known){address, c->frames_n, 0};
	c->index[slot_of(c, address)] = c->known_n;
	return true;
}

/* The next frame of the address that was the last to get one. */
static bool add_frame(struct ml_cache *c, struct known *known, const struct ml_dwarf_frame *frame)
{
	if (!grow(&c->frames, c->frames_n, sizeof(*c->frames)))
		return false;
	c->frames[c->frames_n++] = *frame;
	known->frames_n++;
	return true;
}

/* Reading. */

/* Makes the bytes of an escaped name; NULL for an empty one. */
static const char *take_name(char *name)
{
	char *from = name, *to = name;
	unsigned byte;

	while (*from) {
		if (*from == '\\' && strspn(from + 1, "0123456789abcdef") >= 2 && sscanf(from + 1, "%2x", &byte) == 1) {
			*to++ = (char)byte;
			from += 3;
		} else {
			*to++ = *from++;
		}
	}
	*to = 0;
	return *name ? name : NULL;
}

/* Takes a line without its end; false where it makes no sense. */
static bool take_line(struct ml_cache *c, char *line)
{
	struct ml_dwarf_frame frame;
	char *function, *file, *end;
	unsigned long number;

	if (*line == '@')
		return add_address(c, strtoull(line + 1, NULL, 16));
	number = strtoul(line, &end, 10);
	function = *end == '\t' ? end + 1 : NULL;
	file = function ? strchr(function, '\t') : NULL;
	if (!file || number > INT32_MAX || !c->known_n)
		return false;
	*file++ = 0;
	frame.function = take_name(function);
	frame.file = take_name(file);
	frame.line = frame.file ? (uint32_t)number : 0;
	return add_frame(c, &c->known[c->known_n - 1], &frame);
}

static void forget(struct ml_cache *c)
{
	c->known_n = c->frames_n = 0;
	if (c->slots)
		memset(c->index, 0, c->slots * sizeof(*c->index));
}

static void take_text(struct ml_cache *c, char *text, size_t bytes)
{
	const size_t head = sizeof(HEAD) - 1, tail = sizeof(END) - 1;
	char *line, *end;

	if (bytes < head + tail || memcmp(text, HEAD, head) || memcmp(text + bytes - tail, END, tail) ||
	    memchr(text, 0, bytes))
		return;
	text[bytes - tail] = 0;
	for (line = text + head; *line; line = end + 1) {
		end = strchr(line, '\n');
		if (!end)
			break;
		*end = 0;
		if (!take_line(c, line))
			break;
	}
	if (*line)
		forget(c);
}

static void read_file(struct ml_cache *c)
{
	int fd = open(c->path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	size_t bytes = 0;
	struct stat st;
	ssize_t n;

	if (fd < 0)
		return;
	if (!fstat(fd, &st) && S_ISREG(st.st_mode) && st.st_size <= FILE_MAX &&
	    (c->text = malloc((size_t)st.st_size + 1))) {
		while (bytes < (size_t)st.st_size && (n = read(fd, c->text + bytes, (size_t)st.st_size - bytes)) > 0)
			bytes += (size_t)n;
		take_text(c, c->text, bytes);
		futimens(fd, NULL); /* it is in use: the oldest go first */
	}
	close(fd);
}

struct ml_cache *ml_cache_open(const char *directory, const void *build_id, size_t build_id_bytes)
{
	struct ml_cache *c = calloc(1, sizeof(*c));
	char *to;
	size_t i;

	if (!c)
		return NULL;
	c->path = malloc(strlen(directory) + 2 * build_id_bytes + sizeof("/.symbols"));
	if (!c->path || !grow_index(c)) {
		free(c->path);
		free(c);
		return NULL;
	}
	to = c->path + sprintf(c->path, "%s/", directory);
	for (i = 0; i < build_id_bytes; i++)
		to += sprintf(to, "%02x", ((const unsigned char *)build_id)[i]);
	strcpy(to, ".symbols");
	read_file(c);
	return c;
}

struct ml_cache *ml_cache_of(char *text, size_t bytes)
{
	struct ml_cache *c = calloc(1, sizeof(*c));

	if (!c || !grow_index(c)) {
		free(c);
		return NULL;
	}
	if (text)
		take_text(c, text, bytes);
	return c;
}

size_t ml_cache_get(const struct ml_cache *c, uint64_t address, struct ml_dwarf_frame *frames, size_t room)
{
	uint32_t number = c->index[slot_of(c, address)];
	const struct known *known;
	size_t n;

	if (!number)
		return 0;
	known = &c->known[number - 1];
	n = known->frames_n < room ? known->frames_n : room;
	memcpy(frames, c->frames + known->frame, n * sizeof(*frames));
	return n;
}

void ml_cache_put(struct ml_cache *c, uint64_t address, const struct ml_dwarf_frame *frames, size_t n)
{
	uint32_t number = c->index[slot_of(c, address)];
	struct known *known;
	size_t i;

	if (!n || (number && (c->frames[c->known[number - 1].frame].file || !frames[0].file)) ||
	    (!number && !add_address(c, address)))
		return;
	known = &c->known[number ? number - 1 : c->known_n - 1];
	*known = (struct known){address, c->frames_n, 0};
	for (i = 0; i < n && add_frame(c, known, &frames[i]); i++)
		continue;
	c->changed = true;
}

/* Writing. */

static void write_name(FILE *out, const char *name)
{
	for (; name && *name; name++) {
		unsigned char byte = (unsigned char)*name;
		if (byte < ' ' || byte == 127 || byte == '\\')
			fprintf(out, "\\%02x", byte);
		else
			fputc(byte, out);
	}
}

static int compare_known(const void *left, const void *right)
{
	const struct known *a = left, *b = right;

	return (a->address > b->address) - (a->address < b->address);
}

void ml_cache_write(struct ml_cache *c, FILE *out)
{
	uint32_t i, k;

	if (c->known_n)
		qsort(c->known, c->known_n, sizeof(*c->known), compare_known);
	fputs(HEAD, out);
	for (i = 0; i < c->known_n; i++) {
		fprintf(out, "@%" PRIx64 "\n", c->known[i].address);
		for (k = 0; k < c->known[i].frames_n; k++) {
			const struct ml_dwarf_frame *frame = &c->frames[c->known[i].frame + k];
			fprintf(out, "%" PRIu32 "\t", frame->line);
			write_name(out, frame->function);
			fputc('\t', out);
			write_name(out, frame->file);
			fputc('\n', out);
		}
	}
	fputs(END, out);
}

/* Under another name first, so that a reader, or what is left after a crash, never sees half a file. */
static void write_file(struct ml_cache *c)
{
	char *path = malloc(strlen(c->path) + sizeof(".XXXXXX"));
	int fd = path ? mkostemp(strcat(strcpy(path, c->path), ".XXXXXX"), O_CLOEXEC) : -1;
	FILE *out = fd < 0 ? NULL : fdopen(fd, "w");
	bool failed;

	if (out) {
		ml_cache_write(c, out);
		failed = ferror(out) || ftell(out) > FILE_MAX;
		failed |= fclose(out) != 0;
		if (failed || rename(path, c->path))
			unlink(path);
	} else if (fd >= 0) {
		close(fd);
		unlink(path);
	}
	free(path);
}

/* The folder's files by age. */

struct aged {
	char *path;
	struct timespec used;
	uint64_t bytes;
};

static int compare_ages(const void *left, const void *right)
{
	const struct aged *a = left, *b = right;

	if (a->used.tv_sec != b->used.tv_sec)
		return a->used.tv_sec < b->used.tv_sec ? -1 : 1;
	if (a->used.tv_nsec != b->used.tv_nsec)
		return a->used.tv_nsec < b->used.tv_nsec ? -1 : 1;
	return strcmp(a->path, b->path);
}

static uint32_t list_files(const char *directory, struct aged **files, uint64_t *bytes)
{
	DIR *folder = opendir(directory);
	struct dirent *entry;
	struct stat st;
	uint32_t n = 0;
	char *path;

	while (folder && (entry = readdir(folder)) && grow(files, n, sizeof(**files))) {
		if (!strstr(entry->d_name, ".symbols"))
			continue;
		path = malloc(strlen(directory) + strlen(entry->d_name) + 2);
		if (!path)
			break;
		sprintf(path, "%s/%s", directory, entry->d_name);
		if (lstat(path, &st) || !S_ISREG(st.st_mode)) {
			free(path);
			continue;
		}
		(*files)[n++] = (struct aged){path, st.st_mtim, (uint64_t)st.st_size};
		*bytes += (uint64_t)st.st_size;
	}
	if (folder)
		closedir(folder);
	return n;
}

static void remove_oldest(const char *path, uint64_t most)
{
	char *directory = strndup(path, (size_t)(strrchr(path, '/') - path));
	struct aged *files = NULL;
	uint64_t bytes = 0;
	uint32_t n = directory ? list_files(directory, &files, &bytes) : 0, i;

	if (n)
		qsort(files, n, sizeof(*files), compare_ages);
	for (i = 0; i < n; i++) {
		if (bytes > most && !unlink(files[i].path))
			bytes -= files[i].bytes;
		free(files[i].path);
	}
	free(files);
	free(directory);
}

void ml_cache_close(struct ml_cache *c, uint64_t bytes)
{
	if (!c)
		return;
	if (c->changed && c->path) {
		write_file(c);
		remove_oldest(c->path, bytes);
	}
	free(c->path);
	free(c->text);
	free(c->known);
	free(c->frames);
	free(c->index);
	free(c);
}

char *ml_cache_directory(void)
{
	const char *cache = getenv("XDG_CACHE_HOME"), *home = getenv("HOME");
	char *path = NULL;

	/* "All paths set in these environment variables must be absolute" (XDG Base Directory Specification 0.8). */
	if (cache && *cache == '/') {
		if (asprintf(&path, "%s/memline", cache) < 0)
			return NULL;
	} else if (home && *home == '/') {
		if (asprintf(&path, "%s/.cache/memline", home) < 0)
			return NULL;
	} else {
		return NULL;
	}
	*strrchr(path, '/') = 0;
	mkdir(path, 0700);
	path[strlen(path)] = '/';
	mkdir(path, 0700);
	if (access(path, R_OK | W_OK | X_OK)) {
		free(path);
		return NULL;
	}
	return path;
}
