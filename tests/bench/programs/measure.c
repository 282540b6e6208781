/*
 * Runs a command and says what it cost:
 *
 *   measure [-e NAME=VALUE]... [-n TIMES] [-o OUTPUT] [-t SECONDS] COMMAND [ARGUMENT...]
 *
 * Each run gets a line: wall time of the command in ns, processor time in us and largest resident size in KiB of it and
 * all its descendants, its wait status, and 1 if it was killed after SECONDS. The environment is the command's alone.
 *
 * This is a program of its own because it is small: Linux lets a child's largest resident size start with what its
 * parent has at the fork (exec_mmap() in fs/exec.c).
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define SECOND 1000000000LL

/* What descendants get to end in when they were killed, or when the command is gone at the limit. */
#define GRACE (5 * SECOND)

struct options {
	const char *output;
	long long limit; /* ns */
	long times;
	char **command;
};

struct cost {
	long long wall; /* ns */
	long long cpu;  /* us */
	long resident;  /* KiB */
	int status, late;
};

static long long now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * SECOND + t.tv_nsec;
}

static long long microseconds(struct timeval t)
{
	return t.tv_sec * 1000000LL + t.tv_usec;
}

static void become(const struct options *o, const sigset_t *mask)
{
	int null = open("/dev/null", O_RDWR), output = null;

	if (o->output)
		output = open(o->output, O_WRONLY | O_CREAT | O_APPEND, 0600);
	if (null < 0 || output < 0 || setsid() < 0)
		_exit(126);
	dup2(null, 0);
	dup2(output, 1);
	dup2(output, 2);
	sigprocmask(SIG_SETMASK, mask, NULL);
	execvp(o->command[0], o->command);
	_exit(127);
}

/* Waits for the command and for every process that it leaves behind. */
static void collect(pid_t command, long long began, long long limit, const sigset_t *child, struct cost *c)
{
	struct rusage usage;
	pid_t pid;
	int status;

	for (;;) {
		pid = wait4(-1, &status, WNOHANG, &usage);
		if (pid < 0)
			return;
		if (pid) {
			c->cpu += microseconds(usage.ru_utime) + microseconds(usage.ru_stime);
			c->resident = usage.ru_maxrss > c->resident ? usage.ru_maxrss : c->resident;
			if (pid == command) {
				c->wall = now() - began;
				c->status = status;
			}
			continue;
		}
		long long left = began + limit + (c->late ? GRACE : 0) - now();
		if (left > 0) {
			struct timespec t = {left / SECOND, left % SECOND};
			sigtimedwait(child, NULL, &t);
		} else if (c->late) {
			return;
		} else {
			c->late = 1;
			kill(-command, SIGKILL);
		}
	}
}

static int measure(const struct options *o)
{
	sigset_t child, before;
	struct cost c = {0};
	long long began;
	pid_t pid;

	sigemptyset(&child);
	sigaddset(&child, SIGCHLD);
	sigprocmask(SIG_BLOCK, &child, &before);
	began = now();
	pid = fork();
	if (pid < 0)
		return -errno;
	if (!pid)
		become(o, &before);
	collect(pid, began, o->limit, &child, &c);
	printf("%lld %lld %ld %d %d\n", c.wall, c.cpu, c.resident, c.status, c.late);
	return fflush(stdout) ? -errno : 0;
}

static int parse(int argc, char **argv, struct options *o)
{
	int option;

	while ((option = getopt(argc, argv, "+e:n:o:t:")) != -1) {
		switch (option) {
		case 'e':
			if (putenv(optarg))
				return -1;
			break;
		case 'n':
			o->times = atol(optarg);
			break;
		case 'o':
			o->output = optarg;
			break;
		case 't':
			o->limit = (long long)(atof(optarg) * (double)SECOND);
			break;
		default:
			return -1;
		}
	}
	o->command = argv + optind;
	return optind < argc ? 0 : -1;
}

int main(int argc, char **argv)
{
	struct options o = {.limit = 3600 * SECOND, .times = 1};

	if (parse(argc, argv, &o) < 0) {
		fprintf(stderr, "usage: %s [-e NAME=VALUE]... [-n TIMES] [-o OUTPUT] [-t SECONDS] COMMAND...\n",
			argv[0]);
		return 2;
	}
	if (prctl(PR_SET_CHILD_SUBREAPER, 1) < 0) {
		perror("PR_SET_CHILD_SUBREAPER");
		return 1;
	}
	for (long i = 0; i < o.times; i++) {
		int error = measure(&o);
		if (error) {
			fprintf(stderr, "%s: %d\n", argv[0], error);
			return 1;
		}
	}
	return 0;
}
