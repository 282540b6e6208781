/*
 * Runs a program for which some system calls fail, as they do on other kernels and file systems:
 * refuse CALL… -- PROGRAM ARGUMENT…
 *
 * It uses a seccomp filter. Exit status 125: filters are not to be had here.
 */
#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

/* argument: which one is compared, -1: none. */
static const struct refusal {
	const char *name;
	long call;
	int argument;
	unsigned value;
	int error;
} refusals[] = {
	{"fallocate", SYS_fallocate, -1, 0, EOPNOTSUPP},
	{"wipe-on-fork", SYS_madvise, 2, 18 /* MADV_WIPEONFORK */, EINVAL},
};

#define REFUSALS (sizeof refusals / sizeof *refusals)

static struct sock_filter code[8 * REFUSALS + 2];
static unsigned short length;

static void add(unsigned short what, unsigned value, unsigned char if_true, unsigned char if_false)
{
	code[length++] = (struct sock_filter)BPF_JUMP(what, value, if_true, if_false);
}

/* Arguments are 64 bits wide; their low halves come first. */
static void refuse(const struct refusal *r)
{
	add(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr), 0, 0);
	add(BPF_JMP | BPF_JEQ | BPF_K, (unsigned)r->call, 0, r->argument < 0 ? 1 : 3);
	if (r->argument >= 0) {
		add(BPF_LD | BPF_W | BPF_ABS, (unsigned)(offsetof(struct seccomp_data, args) + 8 * (size_t)r->argument),
		    0, 0);
		add(BPF_JMP | BPF_JEQ | BPF_K, r->value, 0, 1);
	}
	add(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | (unsigned)r->error, 0, 0);
}

int main(int argc, char **argv)
{
	struct sock_fprog program = {0, code};
	int at = 1;

	for (; at < argc && strcmp(argv[at], "--"); at++) {
		size_t i = 0;
		while (i < REFUSALS && strcmp(argv[at], refusals[i].name))
			i++;
		if (i == REFUSALS)
			return 2;
		refuse(&refusals[i]);
	}
	if (at + 1 >= argc)
		return 2;
	add(BPF_RET | BPF_K, SECCOMP_RET_ALLOW, 0, 0);
	program.len = length;
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) || prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program)) {
		perror("refuse");
		return 125;
	}
	execvp(argv[at + 1], argv + at + 1);
	perror(argv[at + 1]);
	return 127;
}
