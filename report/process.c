#include "report/process.h"

#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "report/memory.h"

const char *ml_process_end_text(enum ml_process_end end)
{
	switch (end) {
	case ML_PROCESS_EXIT:
		return "exit";
	case ML_PROCESS_RUNNING:
		return "running";
	case ML_PROCESS_EXEC:
		return "exec";
	case ML_PROCESS_KILLED:
		break;
	}
	return "killed";
}

const char *ml_process_argument(const struct ml_trace *t, unsigned i)
{
	size_t pair;

	for (pair = 0; pair < t->meta_n; pair++)
		if (!strcmp(t->meta[pair].key, "arg") && !i--)
			return t->meta[pair].value;
	return NULL;
}

/* The argument behind the first one that ends a cluster of letters with c. */
const char *ml_process_text(const struct ml_trace *t)
{
	const char *word, *c;
	unsigned i;

	for (i = 1; (word = ml_process_argument(t, i)); i++) {
		if (word[0] != '-' || word[1] == '-')
			continue;
		c = strchr(word, 'c');
		if (c)
			return c[1] ? c + 1 : ml_process_argument(t, i + 1);
	}
	return NULL;
}

/* Does a shell take the word as it is? */
static bool is_plain(const char *word)
{
	static const char special[] = " \"'`$&|;<>()*?[]{}~#!\\";
	const char *p;

	for (p = word; *p; p++)
		if ((unsigned char)*p < ' ' || *p == 127 || strchr(special, *p))
			return false;
	return *word;
}

static void print_word(FILE *out, const char *word)
{
	const char *p;

	if (is_plain(word)) {
		fputs(word, out);
		return;
	}
	fputc('\'', out);
	for (p = word; *p; p++)
		if (*p == '\'')
			fputs("'\\''", out);
		else
			fputc((unsigned char)*p < ' ' || *p == 127 ? ' ' : *p, out);
	fputc('\'', out);
}

char *ml_process_command(const struct ml_trace *t)
{
	char *text = NULL;
	size_t bytes;
	FILE *out = ml_memory_stream(&text, &bytes);
	const char *word;
	unsigned i;

	if (!out)
		return ml_memory_text("", 0);
	for (i = 0; (word = ml_process_argument(t, i)); i++) {
		if (i)
			fputc(' ', out);
		print_word(out, word);
	}
	fclose(out);
	return text ? text : ml_memory_text("", 0);
}

/* A decimal number without a sign, up to and with the byte `stop`. */
static const char *take_number(const char *text, char stop, uint64_t *value)
{
	const char *p = text;

	for (*value = 0; *p >= '0' && *p <= '9'; p++)
		if (__builtin_mul_overflow(*value, (uint64_t)10, value) ||
		    __builtin_add_overflow(*value, (uint64_t)(*p - '0'), value))
			return NULL;
	return p > text && *p == stop ? p + 1 : NULL;
}

bool ml_process_name(const char *path, struct ml_process_name *name)
{
	const char *p = strrchr(path, '/');

	p = p ? p + 1 : path;
	return (p = take_number(p, '-', &name->pid)) && (p = take_number(p, '-', &name->start_ticks)) &&
	       (p = take_number(p, '.', &name->image)) && !strcmp(p, "memline");
}

/* /proc/PID/stat: the name in parentheses may hold anything, so fields count from its last parenthesis (proc(5)). */
bool ml_process_runs(uint64_t pid, uint64_t start_ticks)
{
	char path[48], text[1024], *p, state = 0;
	unsigned long long ticks = 0;
	ssize_t bytes;
	int fd;

	snprintf(path, sizeof(path), "/proc/%" PRIu64 "/stat", pid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return false;
	bytes = read(fd, text, sizeof(text) - 1);
	close(fd);
	if (bytes <= 0)
		return false;
	text[bytes] = 0;
	p = strrchr(text, ')');
	if (!p || sscanf(p + 1, " %c %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %llu",
			 &state, &ticks) != 2)
		return false;
	return ticks == start_ticks && state != 'Z' && state != 'X';
}

/* Is there a trace of the next image of the same process beside this one? */
static bool has_successor(const char *path, const struct ml_process_name *name)
{
	const char *slash = strrchr(path, '/');
	char *next =
		ml_memory_print("%.*s%" PRIu64 "-%" PRIu64 "-%" PRIu64 ".memline", slash ? (int)(slash - path) + 1 : 0,
				path, name->pid, name->start_ticks, name->image + 1);
	bool found = !access(next, F_OK);

	free(next);
	return found;
}

static enum ml_process_end find_end(const struct ml_trace *t, const struct ml_process *p)
{
	if (t->pack)
		return (enum ml_process_end)t->packed->detail;
	if (t->header.end == ML_END_EXIT)
		return ML_PROCESS_EXIT;
	if (has_successor(t->path, &p->name))
		return ML_PROCESS_EXEC;
	return ml_process_runs(p->name.pid, p->name.start_ticks) ? ML_PROCESS_RUNNING : ML_PROCESS_KILLED;
}

void ml_process_read(const struct ml_trace *t, struct ml_process *p)
{
	struct ml_process_name *name = &p->name, in_path;

	/* Where the description of the process is cut off, its file's name may still tell who it was. */
	if (!ml_process_name(t->path, &in_path))
		in_path = (struct ml_process_name){0};
	name->pid = ml_load_number(t, "pid", in_path.pid);
	name->start_ticks = ml_load_number(t, "start_ticks", in_path.start_ticks);
	name->image = ml_load_number(t, "image", in_path.image);
	p->ppid = ml_load_number(t, "ppid", 0);
	p->run_pid = ml_load_number(t, "run_pid", name->pid);
	p->run_ticks = ml_load_number(t, "run_ticks", name->start_ticks);
	p->started_ns = ml_load_number(t, "started_ns", 0);
	p->baseline_rss = ml_load_number(t, "baseline_rss", 0);
	p->python = ml_load_meta(t, "python");
	p->cwd = ml_load_meta(t, "cwd");
	p->root = ml_load_meta(t, "root");
	p->program = ml_load_meta(t, "program");
	p->scope = ml_load_meta(t, "option.SCOPE");
	p->end = find_end(t, p);
}

void ml_process_time(uint64_t ns, char text[ML_PROCESS_TIME_BYTES])
{
	time_t seconds = (time_t)(ns / 1000000000);
	char day[24];
	struct tm tm;

	if (!gmtime_r(&seconds, &tm) || !strftime(day, sizeof(day), "%Y-%m-%dT%H:%M:%S", &tm))
		strcpy(day, "1970-01-01T00:00:00");
	snprintf(text, ML_PROCESS_TIME_BYTES, "%s.%06u+00:00", day, (unsigned)(ns % 1000000000 / 1000));
}
