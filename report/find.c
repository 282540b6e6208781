#include "report/find.h"

#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "report/memory.h"
#include "report/options.h"

char *ml_find_directory(void)
{
	const char *given = getenv("MEMLINE_DIR");

	if (given && *given)
		return ml_memory_text(given, strlen(given));
	return ml_memory_print("/tmp/memline-%u", (unsigned)getuid());
}

static void free_found(struct ml_found *item)
{
	free(item->path);
	free(item->error);
}

void ml_finds_free(struct ml_finds *f)
{
	size_t i;

	for (i = 0; i < f->n; i++)
		free_found(&f->items[i]);
	free(f->items);
	*f = (struct ml_finds){NULL, 0};
}

/* Takes over what the item holds. */
static void add_item(struct ml_finds *f, const struct ml_found *item)
{
	f->items = ml_memory_resize(f->items, f->n + 1, sizeof(*f->items));
	f->items[f->n++] = *item;
}

static struct ml_found look_at(const char *path)
{
	struct ml_found item = {.path = ml_memory_text(path, strlen(path))};
	struct ml_trace *t = ml_load_open_meta(path, &item.error);
	struct ml_process p;

	if (!t)
		return item;
	ml_process_read(t, &p);
	item.name = p.name;
	item.run_pid = p.run_pid;
	item.run_ticks = p.run_ticks;
	item.started_ns = p.started_ns;
	ml_load_close(t);
	return item;
}

static int compare_starts(const void *left, const void *right)
{
	const struct ml_found *a = left, *b = right;

	if (a->started_ns != b->started_ns)
		return a->started_ns < b->started_ns ? -1 : 1;
	if (a->name.pid != b->name.pid)
		return a->name.pid < b->name.pid ? -1 : 1;
	if (a->name.image != b->name.image)
		return a->name.image < b->name.image ? -1 : 1;
	return strcmp(a->path, b->path);
}

int ml_find_all(struct ml_finds *f, const char *directory)
{
	DIR *dir = opendir(directory);
	struct ml_process_name name;
	struct dirent *entry;

	if (!dir)
		return -1;
	while ((entry = readdir(dir))) {
		struct ml_found item;
		char *path;

		if (!ml_process_name(entry->d_name, &name))
			continue;
		path = ml_memory_print("%s/%s", directory, entry->d_name);
		item = look_at(path);
		add_item(f, &item);
		free(path);
	}
	closedir(dir);
	if (f->n)
		qsort(f->items, f->n, sizeof(*f->items), compare_starts);
	return 0;
}

bool ml_find_same_run(const struct ml_found *a, const struct ml_found *b)
{
	return !a->error && !b->error && a->run_pid == b->run_pid && a->run_ticks == b->run_ticks;
}

/* Items are in the order of their starts, so the first of each run is the one that started it. */
const struct ml_found *ml_find_newest(const struct ml_finds *f)
{
	size_t i, first;

	for (i = f->n; i-- > 0;) {
		if (f->items[i].error)
			continue;
		for (first = 0; first < i && !ml_find_same_run(&f->items[first], &f->items[i]); first++)
			continue;
		if (first == i)
			return &f->items[i];
	}
	return NULL;
}

/* Moves the items that `takes` says yes to out of `from`. */
static size_t move_items(struct ml_finds *f, struct ml_finds *from,
			 bool (*takes)(const struct ml_found *item, const void *context), const void *context)
{
	size_t i, n = 0;

	for (i = 0; i < from->n; i++) {
		if (from->items[i].error || !takes(&from->items[i], context))
			continue;
		add_item(f, &from->items[i]);
		from->items[i].path = NULL;
		n++;
	}
	return n;
}

static bool is_of_run(const struct ml_found *item, const void *context)
{
	return ml_find_same_run(item, context);
}

static bool is_of_process(const struct ml_found *item, const void *context)
{
	const struct ml_found *newest = context;

	return item->name.pid == newest->name.pid && item->name.start_ticks == newest->name.start_ticks;
}

/* The newest trace of the process, or NULL. */
static const struct ml_found *newest_of(const struct ml_finds *f, uint64_t pid)
{
	size_t i;

	for (i = f->n; i-- > 0;)
		if (!f->items[i].error && f->items[i].name.pid == pid)
			return &f->items[i];
	return NULL;
}

/* pid: 0 for any. */
static int find_in(struct ml_finds *f, const char *directory, uint64_t pid, char **error)
{
	struct ml_finds all = {NULL, 0};
	const struct ml_found *newest;
	struct ml_found key;

	if (ml_find_all(&all, directory)) {
		*error = ml_memory_print("%s: cannot be listed: %s; record a program, or set MEMLINE_DIR", directory,
					 strerror(errno));
		return -1;
	}
	newest = pid ? newest_of(&all, pid) : ml_find_newest(&all);
	if (newest) {
		key = *newest;
		move_items(f, &all, pid ? is_of_process : is_of_run, &key);
	} else if (pid) {
		*error = ml_memory_print("%s: there is no trace of process %" PRIu64 "; see memline list", directory,
					 pid);
	} else if (all.n) {
		*error = ml_memory_print("%s: no trace can be read: %s", directory, all.items[0].error);
	} else {
		*error = ml_memory_print("%s: there is no trace; record a program, or set MEMLINE_DIR", directory);
	}
	ml_finds_free(&all);
	return *error ? -1 : 0;
}

static int add_trace(struct ml_finds *f, const char *path, char **error)
{
	struct ml_found item = look_at(path);

	*error = item.error;
	item.error = NULL;
	if (*error)
		free_found(&item);
	else
		add_item(f, &item);
	return *error ? -1 : 0;
}

/* The traces that a pack was made for. Closes it. */
static int add_pack(struct ml_finds *f, const char *path, struct ml_pack *pack, char **error)
{
	size_t i;

	for (i = 0; i < pack->n && !*error; i++) {
		char *name;
		if (pack->items[i].kind != ML_PACK_TRACE)
			continue;
		name = ml_memory_print("%s/%s", path, pack->items[i].name);
		add_trace(f, name, error);
		free(name);
	}
	ml_pack_close(pack);
	return *error ? -1 : 0;
}

int ml_find(struct ml_finds *f, const char *what, char **error)
{
	struct ml_pack *pack;
	char *directory;
	uint64_t pid = 0;
	struct stat st;
	int status;

	*error = NULL;
	if (what && !stat(what, &st)) {
		if (S_ISDIR(st.st_mode))
			return find_in(f, what, 0, error);
		if ((pack = ml_pack_open(what, error)))
			return add_pack(f, what, pack, error);
		return *error ? -1 : add_trace(f, what, error);
	}
	if (what && errno == ENOTDIR) /* a trace in a pack? */
		return add_trace(f, what, error);
	if (what && !ml_options_number(what, &pid)) {
		*error =
			ml_memory_print("%s: %s; give a trace, a directory of traces, or a pid", what, strerror(errno));
		return -1;
	}
	directory = ml_find_directory();
	status = find_in(f, directory, pid, error);
	free(directory);
	return status;
}

struct run {
	uint64_t pid;
	uint64_t since_ns;
};

static bool is_of_new_run(const struct ml_found *item, const void *context)
{
	const struct run *run = context;

	return (item->run_pid == run->pid || item->name.pid == run->pid) && item->started_ns >= run->since_ns;
}

void ml_find_run(struct ml_finds *f, const char *directory, uint64_t run_pid, uint64_t since_ns)
{
	struct run run = {run_pid, since_ns};
	struct ml_finds all = {NULL, 0};

	if (!ml_find_all(&all, directory))
		move_items(f, &all, is_of_new_run, &run);
	ml_finds_free(&all);
}
