#include "tests/report/frames.h"

#include <check.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "report/memory.h"

static char folder[64];
static pid_t owner;

/* check runs each test in a fork of this process: only the one that made the folder removes it. */
static void remove_folder(void)
{
	char *command;

	if (getpid() != owner)
		return;
	command = ml_memory_print("rm -rf %s", folder);
	if (system(command))
		fprintf(stderr, "%s failed\n", command);
	free(command);
}

const char *frames_folder(void)
{
	if (!*folder) {
		strcpy(folder, "/tmp/memline-test-XXXXXX");
		if (!mkdtemp(folder)) {
			perror(folder);
			exit(2);
		}
		owner = getpid();
		atexit(remove_folder);
	}
	return folder;
}

const char *frames_path(const char *name)
{
	static char paths[16][128];
	static unsigned next;
	char *path = paths[next++ % 16];

	snprintf(path, sizeof(paths[0]), "%s/%s", frames_folder(), name);
	return path;
}

void frames_write(const char *name, const char *text, long seconds)
{
	const struct timespec time = {FRAMES_START_NS / 1000000000 + seconds, FRAMES_START_NS % 1000000000};
	const struct timespec times[2] = {time, time};
	const char *path = frames_path(name);

	build_save(path, text, strlen(text));
	ck_assert_int_eq(utimensat(AT_FDCWD, path, times, 0), 0);
}

static void add_number(struct build *b, const char *key, uint64_t number)
{
	char text[32];

	snprintf(text, sizeof(text), "%" PRIu64, number);
	build_meta(b, key, text);
}

/* Of the code objects to come. */
static enum ml_line_table line_table;

struct build *frames_new(enum ml_line_table kind)
{
	struct build *b = build_new();

	line_table = kind;
	add_number(b, "pid", 100);
	add_number(b, "ppid", 1);
	add_number(b, "start_ticks", 5);
	add_number(b, "image", 0);
	add_number(b, "started_ns", FRAMES_START_NS);
	add_number(b, "page_bytes", 4096);
	add_number(b, "line_table", kind);
	add_number(b, "baseline_rss", 1 << 20);
	build_meta(b, "python", kind == ML_LINES_LOCATIONS ? "3.11.0" : "3.10.0");
	build_meta(b, "cwd", frames_folder());
	build_meta(b, "root", frames_folder());
	return b;
}

uint32_t frames_code(struct build *b, const char *file, const char *name, uint32_t first_line, uint32_t lines)
{
	uint8_t table[200];
	uint32_t i;

	ck_assert_uint_le(lines, 100);
	for (i = 0; i < lines; i++) {
		bool locations = line_table == ML_LINES_LOCATIONS;
		/* one code unit, no columns, and the lines as a signed varint; or two bytes and the lines */
		table[2 * i] = locations ? 0x80 | 13 << 3 : 2;
		table[2 * i + 1] = (i > 0) << locations;
	}
	return build_code(b, file, name, first_line, table, 2 * lines);
}

uint32_t frames_node(struct build *b, uint32_t parent, uint32_t code, uint32_t first_line, uint32_t line)
{
	return build_node(b, parent, ML_NODE_PYTHON, code, 2 * (int64_t)(line - first_line));
}

uint32_t frames_native(struct build *b, uint32_t parent)
{
	return build_node(b, parent, ML_NODE_NATIVE, 0, 0x1234);
}

void frames_read(struct ml_reading *r, struct build *b, const char *name, const struct ml_options *options)
{
	const char *path = frames_path(name);
	char *error;

	build_write(b, path);
	build_done(b);
	ck_assert_int_eq(ml_reading_add(r, path, options, &error), 0);
}

const struct ml_function *frames_function(const struct ml_reading *r, const char *name)
{
	size_t i;

	for (i = 0; i < r->sites.functions_n; i++)
		if (!strcmp(r->sites.functions[i].name, name))
			return &r->sites.functions[i];
	ck_abort_msg("there is no function %s", name);
	return NULL;
}

const struct ml_line *frames_line(const struct ml_reading *r, const char *name, int line)
{
	const struct ml_function *f = frames_function(r, name);
	size_t i;

	for (i = 0; i < f->lines_n; i++)
		if (f->lines[i].line == line)
			return &f->lines[i];
	return NULL;
}

int64_t frames_sum(const struct ml_reading *r)
{
	int64_t sum = r->sites.out_of_scope.increment_bytes + r->sites.native.increment_bytes;
	size_t i, line;

	for (i = 0; i < r->sites.functions_n; i++)
		for (line = 0; line < r->sites.functions[i].lines_n; line++)
			sum += r->sites.functions[i].lines[line].own_increment_bytes;
	return sum;
}
