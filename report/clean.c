/* memline clean: removes old traces. */
#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "report/commands.h"
#include "report/memory.h"
#include "report/table.h"
#include "trace/format.h"

struct arguments {
	uint64_t older; /* seconds; UINT64_MAX: of any age */
	uint64_t keep;  /* newest runs; 0: none */
	bool older_given;
	bool keep_given;
	bool dry_run;
	char *directory;
};

struct cleaning {
	const struct arguments *arguments;
	time_t now;
	uint64_t files;
	uint64_t bytes;
	int status;
};

/* Removes a file if it may go. Never while its process runs, whatever the trace's name says of it in another boot. */
static void consider(struct cleaning *c, const char *path, const char *trace)
{
	struct ml_process_name name;
	struct stat st;

	if (!ml_process_name(trace, &name) || lstat(path, &st) || !S_ISREG(st.st_mode))
		return;
	if (c->arguments->older_given &&
	    (st.st_mtime > c->now || (uint64_t)(c->now - st.st_mtime) < c->arguments->older))
		return;
	if (ml_process_runs(name.pid, name.start_ticks))
		return;
	if (!c->arguments->dry_run && unlink(path)) {
		c->status = ml_command_error(ml_memory_print("%s: cannot be removed: %s", path, strerror(errno)));
		return;
	}
	if (c->arguments->dry_run)
		puts(path);
	c->files++;
	c->bytes += (uint64_t)st.st_blocks * 512;
}

/* Files in which a trace was to be made belong to no run. */
static void consider_unfinished(struct cleaning *c, const char *directory)
{
	const size_t suffix = sizeof(ML_UNFINISHED) - 1;
	DIR *dir = opendir(directory);
	struct dirent *entry;

	while (dir && (entry = readdir(dir))) {
		size_t length = strlen(entry->d_name);
		char *path, *trace;

		if (length < suffix || strcmp(entry->d_name + length - suffix, ML_UNFINISHED))
			continue;
		path = ml_memory_print("%s/%s", directory, entry->d_name);
		trace = ml_memory_text(path, strlen(path) - suffix);
		consider(c, path, trace);
		free(trace);
		free(path);
	}
	if (dir)
		closedir(dir);
}

/* Marks the newest runs by taking their items' paths away. */
static void keep_newest(struct ml_finds *all, uint64_t runs)
{
	const struct ml_found *newest;
	struct ml_found key;
	size_t i;

	for (; runs && (newest = ml_find_newest(all)); runs--) {
		key = *newest;
		for (i = 0; i < all->n; i++) {
			if (!ml_find_same_run(&all->items[i], &key))
				continue;
			all->items[i].error = all->items[i].path; /* no longer found, and freed once */
			all->items[i].path = NULL;
		}
	}
}

static int clean(const struct arguments *a)
{
	struct cleaning c = {.arguments = a, .now = time(NULL)};
	struct ml_finds all = {NULL, 0};
	char size[ML_TABLE_SIZE_BYTES];
	size_t i;

	if (ml_find_all(&all, a->directory))
		return ml_command_error(ml_memory_print("%s: cannot be listed: %s", a->directory, strerror(errno)));
	keep_newest(&all, a->keep);
	for (i = 0; i < all.n; i++)
		if (all.items[i].path)
			consider(&c, all.items[i].path, all.items[i].path);
	ml_finds_free(&all);
	consider_unfinished(&c, a->directory);
	printf("%" PRIu64 " trace%s%s removed, %s\n", c.files, c.files == 1 ? "" : "s", a->dry_run ? " would be" : "",
	       ml_table_size(c.bytes, size));
	return c.status;
}

/* A number of seconds, or of s, m, h, d or w. */
static bool take_age(const char *text, uint64_t *seconds)
{
	static const struct {
		char letter;
		uint64_t seconds;
	} units[] = {{'s', 1}, {'m', 60}, {'h', 3600}, {'d', 86400}, {'w', 604800}};
	size_t length = strlen(text), i;
	char *digits;
	bool taken = false;

	if (ml_options_number(text, seconds))
		return true;
	for (i = 0; length && i < sizeof(units) / sizeof(units[0]); i++) {
		if (text[length - 1] != units[i].letter)
			continue;
		digits = ml_memory_text(text, length - 1);
		taken = ml_options_number(digits, seconds) &&
			!__builtin_mul_overflow(*seconds, units[i].seconds, seconds);
		free(digits);
	}
	return taken;
}

static error_t parse(int key, char *text, struct argp_state *state)
{
	struct arguments *a = state->input;

	switch (key) {
	case 'o':
		if (!take_age(text, &a->older))
			argp_error(state, "--older: '%s' is no age such as 7d, 12h, 30m or 45s", text);
		a->older_given = true;
		return 0;
	case 'k':
		if (!ml_options_number(text, &a->keep))
			argp_error(state, "--keep: '%s' is no number", text);
		a->keep_given = true;
		return 0;
	case 'n':
		a->dry_run = true;
		return 0;
	case ARGP_KEY_ARG:
		if (a->directory)
			argp_error(state, "one directory at a time");
		a->directory = text;
		return 0;
	case ARGP_KEY_END:
		if (!a->older_given && !a->keep_given)
			argp_error(state, "say what to remove: --older T, --keep N or both");
		return 0;
	}
	return ARGP_ERR_UNKNOWN;
}

static const struct argp_option options[] = {
	{"older", 'o', "T", 0, "Only traces last written to longer ago than T: seconds, or with s, m, h, d, w", 0},
	{"keep", 'k', "N", 0, "Never the newest N runs", 0},
	{"dry-run", 'n', NULL, 0, "Print what would be removed", 0},
	{0},
};

static const struct argp argp = {
	.options = options,
	.parser = parse,
	.args_doc = "[DIRECTORY]",
	.doc = "Removes old traces from a directory (MEMLINE_DIR). A trace of a process that still runs always stays.",
};

int ml_command_clean(int argc, char **argv)
{
	struct arguments a = {0};
	char *standard = NULL;
	int status;

	argp_parse(&argp, argc, argv, 0, NULL, &a);
	if (!a.directory)
		a.directory = standard = ml_find_directory();
	status = ml_command_written(stdout, clean(&a));
	free(standard);
	return status;
}
