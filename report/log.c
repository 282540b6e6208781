/* memline log: the table of a process that runs, as lines of a log. What MEMLINE_LOG starts beside it. */
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "report/commands.h"
#include "report/control.h"
#include "report/follow.h"
#include "report/logged.h"
#include "report/memory.h"
#include "report/outlet.h"
#include "trace/period.h"

/* Milliseconds between two looks at the trace: where it grows so fast that a look takes longer than that, as long as it
   grows, and at most. What comes between the last look and the end has to be read within 200. */
#define WAIT_BUSY_MS 10u
#define WAIT_MS 100u
#define WAIT_MAX_MS 250u

#define DEFAULT_TOP 20

struct arguments {
	char *every; /* NULL: as recorded */
	size_t top;  /* 0: the same */
	int fd;      /* -1: standard output, for people */
};

struct logger {
	struct ml_follow follow;
	struct ml_outlet outlet;
	size_t top;
	uint32_t period_ms; /* 0: only at the end */
	int process;        /* pidfd, or -1 */
	bool detached;
	char *last; /* table that was written */
};

/* The process. */

static uint64_t pid_of(const struct logger *l)
{
	return l->follow.process.name.pid;
}

static bool is_running(const struct logger *l)
{
	return ml_process_runs(pid_of(l), l->follow.process.name.start_ticks);
}

/* From Linux 5.3 on. The number may have become another process's meanwhile. */
static int open_process(const struct logger *l)
{
	int fd = (int)syscall(434 /* pidfd_open */, (pid_t)pid_of(l), 0);

	if (fd >= 0 && !is_running(l)) {
		close(fd);
		return -1;
	}
	return fd;
}

/* Waits for the end of the process, which is said by true, but not longer than that. */
static bool wait_for_end(const struct logger *l, uint32_t ms)
{
	struct pollfd p[2] = {{.fd = l->process, .events = POLLIN}, {.fd = l->outlet.fd}};

	if (l->process < 0 && ms > WAIT_MS)
		ms = WAIT_MS;
	poll(p, 2, (int)ms);
	return l->process < 0 ? !is_running(l) : p[0].revents != 0;
}

/* Whether the process runs another program by now; where that can't be told, no. */
static bool runs_another(const struct logger *l)
{
	const char *exe = ml_load_meta(l->follow.trace, "exe");
	char link[48], path[PATH_MAX];
	ssize_t n;

	snprintf(link, sizeof(link), "/proc/%" PRIu64 "/exe", pid_of(l));
	n = readlink(link, path, sizeof(path));
	/* Behind the path of a file that was removed meanwhile is " (deleted)". */
	return exe && *exe && n > 0 && ((size_t)n < strlen(exe) || memcmp(path, exe, strlen(exe)));
}

/* Whether another image runs in the process's place. */
static bool is_replaced(const struct logger *l)
{
	struct ml_process now;

	ml_process_read(l->follow.trace, &now);
	return now.end == ML_PROCESS_EXEC || runs_another(l);
}

/* Whether the standard error of the process is still the file that it was. */
static bool has_outlet(const struct logger *l)
{
	struct stat ours, theirs;
	char path[48];

	snprintf(path, sizeof(path), "/proc/%" PRIu64 "/fd/2", pid_of(l));
	return fstat(l->outlet.fd, &ours) ||
	       (!stat(path, &theirs) && ours.st_dev == theirs.st_dev && ours.st_ino == theirs.st_ino);
}

/* The same, of a process that may be about to end: its descriptors go first. */
static bool has_left_outlet(const struct logger *l, bool *ended)
{
	if (!l->detached || *ended || has_outlet(l))
		return false;
	*ended = wait_for_end(l, WAIT_MS);
	return !*ended;
}

/* The table. */

static bool add_line(void *context, const char *line, size_t bytes)
{
	return fwrite(line, 1, bytes, context) == bytes;
}

static char *table_text(struct logger *l)
{
	char *text = NULL;
	size_t bytes;
	FILE *out = open_memstream(&text, &bytes);
	struct ml_sites sites;

	if (!out)
		return NULL;
	ml_follow_sites(&l->follow, &sites);
	ml_logged_table(&sites, l->follow.trace, l->top, add_line, out);
	ml_sites_free(&sites);
	fclose(out);
	return text;
}

/* Line by line, each in one piece. What has been said already is said again only at the end. */
static void write_table(struct logger *l, bool last)
{
	char *text = table_text(l);

	if (text && (last || !l->last || strcmp(text, l->last)))
		for (const char *at = text, *end; *at; at = end) {
			end = strchr(at, '\n') + 1;
			if (!ml_outlet_put(&l->outlet, at, (size_t)(end - at)))
				break;
		}
	free(l->last);
	l->last = text;
}

/* Reads what has been added, and says how long to wait for more. */
static uint32_t look(struct logger *l, uint32_t waited)
{
	const uint64_t start = ml_outlet_now();
	const bool grew = ml_follow_on(&l->follow);

	if (ml_outlet_now() - start > WAIT_BUSY_MS)
		return WAIT_BUSY_MS;
	if (grew || waited < WAIT_MS)
		return WAIT_MS;
	return waited * 2 < WAIT_MAX_MS ? waited * 2 : WAIT_MAX_MS;
}

/* Goes along with the process to its end. */
static void go_along(struct logger *l)
{
	uint64_t due = ml_outlet_now() + l->period_ms, now;
	uint32_t wait = WAIT_MS;
	bool ended = false, replaced = false;

	while (!ended && !l->follow.ended && !(replaced = is_replaced(l))) {
		now = ml_outlet_now();
		if (l->period_ms && due < now + wait)
			wait = due > now ? (uint32_t)(due - now) : 0;
		ended = wait_for_end(l, wait);
		if (ml_outlet_is_dead(&l->outlet) || has_left_outlet(l, &ended))
			return;
		wait = look(l, wait);
		now = ml_outlet_now();
		if (ended || !l->period_ms || now < due)
			continue;
		write_table(l, false);
		due = now + l->period_ms;
	}
	/* A child that was forked to execute something else has nothing to tell. */
	if (replaced && !l->last && ml_load_meta(l->follow.trace, "fork"))
		return;
	ml_outlet_hurry(&l->outlet, ML_OUTLET_LAST_MS);
	ml_follow_on(&l->follow);
	write_table(l, true);
}

/* Starting. */

/* Closes all descriptors from that one on: of an older kernel, those that a process may have without being asked. */
static void close_from(int fd)
{
	const long most = sysconf(_SC_OPEN_MAX);

	if (syscall(436 /* close_range, Linux 5.9 */, fd, UINT32_MAX, 0))
		for (; fd < most && fd < 65536; fd++)
			close(fd);
}

/* Nothing of the process that has started us stays but the descriptor, which becomes standard error; the stream of this
   name goes nowhere, since messages of ours have no place in another program's. */
static void detach(int fd)
{
	sigset_t none;

	for (int i = 1; i < NSIG; i++)
		signal(i, SIG_DFL);
	/* Our end is the process's, and whoever ends a group of processes wants to see its last table. */
	signal(SIGHUP, SIG_IGN);
	signal(SIGINT, SIG_IGN);
	signal(SIGTERM, SIG_IGN);
	signal(SIGPIPE, SIG_IGN);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	setpriority(PRIO_PROCESS, 0, 10);
	dup2(fd, STDERR_FILENO);
	close_from(STDERR_FILENO + 1);
	close(STDIN_FILENO);
	if (open("/dev/null", O_RDWR) == STDIN_FILENO)
		dup2(STDIN_FILENO, STDOUT_FILENO);
	stderr = fopen("/dev/null", "we");
}

static error_t parse(int key, char *text, struct argp_state *state)
{
	struct arguments *a = state->input;
	uint64_t number;
	uint32_t ms;

	switch (key) {
	case 'e':
		a->every = text;
		if (!ml_period(text, &ms))
			argp_error(state, "--every: '%s' is neither a time from 100ms to 24h nor 'end'", text);
		return 0;
	case 'n':
		if (!ml_options_number(text, &number) || !number || number > UINT32_MAX)
			argp_error(state, "--top: '%s' is no number from 1 on", text);
		a->top = (size_t)number;
		return 0;
	case 'f':
		if (!ml_options_number(text, &number) || number > 65535)
			argp_error(state, "--fd: '%s' is no descriptor", text);
		a->fd = (int)number;
		return 0;
	}
	return ARGP_ERR_UNKNOWN;
}

static const struct argp_option argp_options[] = {
	{"every", 'e', "T", 0, "Write a table each T (60s, 5m), or at the 'end' alone (as MEMLINE_LOG was)", 1},
	{"top", 'n', "N", 0, "Rows of a table (as MEMLINE_LOG_TOP was, or 20)", 1},
	{"fd", 'f', "N", 0, "Write to this descriptor, and let go of all else that was inherited", 1},
	{0},
};

static const struct argp argp = {
	.options = argp_options,
	.parser = parse,
	.args_doc = "TRACE",
	.doc = "Goes along with a process that is being recorded and writes its table as lines of a log. "
	       "libmemline.so starts it where MEMLINE_LOG is set.\vTRACE is a file, or a pid with one trace.",
};

static void set_up(struct logger *l, const struct arguments *a)
{
	const struct ml_trace *t = l->follow.trace;
	const char *every = a->every ? a->every : ml_load_meta(t, "option.LOG");

	if (!every || !ml_period(every, &l->period_ms))
		l->period_ms = 0;
	l->top = a->top ? a->top : (size_t)ml_load_number(t, "option.LOG_TOP", DEFAULT_TOP);
	l->detached = a->fd >= 0;
	l->process = open_process(l);
	if (l->detached)
		ml_control_attach(t);
	ml_outlet_open(&l->outlet, l->detached ? STDERR_FILENO : STDOUT_FILENO, l->process);
}

static int run(const struct arguments *a, const struct ml_finds *finds)
{
	struct logger l = {0};
	char *error;

	if (finds->n != 1)
		return ml_command_error(ml_memory_print("there are %zu traces: give the path of one", finds->n));
	if (ml_follow_open(&l.follow, finds->items[0].path, &error))
		return ml_command_error(error);
	set_up(&l, a);
	go_along(&l);
	ml_follow_close(&l.follow);
	free(l.last);
	return EXIT_SUCCESS;
}

int ml_command_log(int argc, char **argv)
{
	struct arguments a = {.fd = -1};
	struct ml_finds finds = {NULL, 0};
	int status = ml_command_find(&finds, &argp, argc, argv, &a);

	if (a.fd >= 0)
		detach(a.fd);
	if (!status)
		status = run(&a, &finds);
	ml_finds_free(&finds);
	return status;
}
