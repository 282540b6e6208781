#include "report/control.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "report/file.h"
#include "report/memory.h"

#define ENTRIES (sizeof(((struct ml_control *)NULL)->entry) / sizeof(struct ml_control_entry))

static const struct ml_extent *find(const struct ml_trace *t)
{
	size_t i;

	for (i = 0; i < t->extents_n; i++)
		if (t->extents[i].kind == ML_EXTENT_CONTROL && t->extents[i].length >= sizeof(struct ml_control))
			return &t->extents[i];
	return NULL;
}

/* Reads it whole. False: the trace has none. */
static bool load(const struct ml_trace *t, struct ml_control *c)
{
	const struct ml_extent *extent = find(t);

	return extent && ml_file_pread(t, c, sizeof(*c), extent->offset) == (ssize_t)sizeof(*c);
}

static size_t count(const struct ml_control *c)
{
	size_t n = 0;

	while (n < ENTRIES && c->entry[n].request)
		n++;
	return n;
}

void ml_controls_read(struct ml_controls *c, const struct ml_trace *t)
{
	struct ml_control *read = ml_memory_get(1, sizeof(*read));
	size_t i, k;

	*c = (struct ml_controls){NULL, 0};
	if (load(t, read)) {
		c->n = count(read);
		c->entries = ml_memory_get(c->n, sizeof(*c->entries));
		memcpy(c->entries, read->entry, c->n * sizeof(*c->entries));
	}
	free(read);
	for (i = 0; i < c->n; i++) {
		char *name = c->entries[i].name;
		name[ML_CONTROL_NAME_MAX] = 0;
		for (k = 0; name[k]; k++)
			if ((unsigned char)name[k] < ' ' || name[k] == 127)
				name[k] = '?';
	}
}

void ml_controls_free(struct ml_controls *c)
{
	free(c->entries);
	*c = (struct ml_controls){NULL, 0};
}

bool ml_controls_mark(const struct ml_controls *c, const char *name, uint64_t *ns)
{
	size_t i;

	for (i = c->n; i-- > 0;) {
		if (c->entries[i].request != ML_REQUEST_MARK || strcmp(c->entries[i].name, name))
			continue;
		*ns = c->entries[i].ns;
		return true;
	}
	return false;
}

bool ml_controls_paused(const struct ml_controls *c)
{
	size_t i;

	for (i = 0; i < c->n; i++)
		if (c->entries[i].request == ML_REQUEST_PAUSE)
			return true;
	return false;
}

void ml_controls_warn(const struct ml_controls *c, struct ml_warnings *w)
{
	static const char meanwhile[] = "what was freed meanwhile still counts as live";
	const struct ml_control_entry *pause = NULL;
	size_t i;

	for (i = 0; i < c->n; i++) {
		const struct ml_control_entry *e = &c->entries[i];
		if (e->request == ML_REQUEST_PAUSE)
			pause = e;
		if (e->request != ML_REQUEST_RESUME || !pause)
			continue;
		ml_warnings_add(w, "recording was paused from %.3f s to %.3f s: %s", (double)pause->ns / 1e9,
				(double)e->ns / 1e9, meanwhile);
		pause = NULL;
	}
	if (pause)
		ml_warnings_add(w, "recording was paused from %.3f s on: %s", (double)pause->ns / 1e9, meanwhile);
}

static bool put(int fd, const void *bytes, size_t n, uint64_t offset)
{
	return pwrite(fd, bytes, n, (off_t)offset) == (ssize_t)n;
}

/* By the clock that the recorder reads. */
static uint64_t now(const struct ml_trace *t)
{
	struct timespec clock;
	uint64_t started = ml_load_number(t, "monotonic_ns", 0), ns;

	clock_gettime(CLOCK_MONOTONIC_COARSE, &clock);
	ns = (uint64_t)clock.tv_sec * 1000000000u + (uint64_t)clock.tv_nsec;
	return ns > started ? ns - started : 0;
}

/* Writes the entry, its request last, and then whether the process is paused. */
static bool write_request(int fd, uint64_t start, size_t at, const struct ml_control_entry *entry)
{
	const uint64_t place = start + offsetof(struct ml_control, entry) + at * sizeof(*entry);
	const uint32_t paused = entry->request == ML_REQUEST_PAUSE;
	struct ml_control_entry unfinished = *entry;

	unfinished.request = ML_REQUEST_NONE;
	if (!put(fd, &unfinished, sizeof(unfinished), place) ||
	    !put(fd, &entry->request, sizeof(entry->request), place + offsetof(struct ml_control_entry, request)))
		return false;
	return entry->request == ML_REQUEST_MARK ||
	       put(fd, &paused, sizeof(paused), start + offsetof(struct ml_control, paused));
}

/* The trace is open for writing, and nobody else asks anything. */
static char *ask(const struct ml_trace *t, int fd, struct ml_control *c, struct ml_control_entry *entry)
{
	const bool is_mark = entry->request == ML_REQUEST_MARK;
	size_t n;

	if (!load(t, c))
		return ml_memory_print("%s: its process takes no requests", t->path);
	if (!is_mark && (t->header.flags & ML_FLAG_UNMAPPED))
		return ml_memory_print("%s: its process cannot be paused: the trace is not mapped", t->path);
	if (!is_mark && (c->paused != 0) == (entry->request == ML_REQUEST_PAUSE))
		return NULL;
	n = count(c);
	if (n == ENTRIES)
		return ml_memory_print("%s: there is no room for more than %zu requests", t->path, ENTRIES);
	entry->ns = now(t);
	if (!write_request(fd, find(t)->offset, n, entry))
		return ml_memory_print("%s: cannot be written: %s", t->path, strerror(errno));
	return NULL;
}

void ml_control_attach(const struct ml_trace *t)
{
	const struct ml_extent *extent = find(t);
	const uint32_t pid = (uint32_t)getpid();
	int fd = extent ? open(t->path, O_WRONLY | O_CLOEXEC) : -1;

	if (fd < 0)
		return;
	put(fd, &pid, sizeof(pid), extent->offset + offsetof(struct ml_control, logger));
	close(fd);
}

bool ml_control_is_attached(const struct ml_trace *t)
{
	const struct ml_extent *extent = find(t);
	const off_t at = extent ? (off_t)(extent->offset + offsetof(struct ml_control, logger)) : 0;
	uint32_t pid;

	return extent && pread(t->fd, &pid, sizeof(pid), at) == (ssize_t)sizeof(pid) && pid;
}

/* A lock of the header alone, which the recorder does not take. */
static bool lock(int fd)
{
	struct flock header = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_len = sizeof(struct ml_header)};

	return !fcntl(fd, F_SETLKW, &header);
}

int ml_control_ask(const char *path, enum ml_request request, const char *name, char **error)
{
	struct ml_control_entry entry = {.request = request};
	struct ml_control *control;
	struct ml_trace *t = ml_load_open_meta(path, error);
	int fd;

	if (!t)
		return -1;
	if (name)
		strncpy(entry.name, name, sizeof(entry.name) - 1);
	control = ml_memory_get(1, sizeof(*control));
	fd = open(path, O_RDWR | O_CLOEXEC);
	if (fd < 0 || !lock(fd))
		*error = ml_memory_print("%s: cannot be written: %s", path, strerror(errno));
	else
		*error = ask(t, fd, control, &entry);
	if (fd >= 0)
		close(fd);
	free(control);
	ml_load_close(t);
	return *error ? -1 : 0;
}
