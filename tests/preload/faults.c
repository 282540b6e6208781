#include "tests/preload/faults.h"

#include <check.h>
#include <errno.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <ucontext.h>
#include <unistd.h>

#define NUMBERS_MAX 8

/* The program's text, as the linker has laid it out. */
extern const char __executable_start[], etext[];

static int failing = -1, error_wanted;
static unsigned nth_wanted, counted; /* of that number; 0: each */
static unsigned seen, made;
static unsigned argument_wanted;
static long bits_wanted;
static int answered = -1;
static bool (*answer_of)(const long arguments[6], long *result);

/* The arguments of the stopped call, and where its result goes. */
static long *arguments_of(ucontext_t *u, long arguments[6])
{
#if defined(__x86_64__)
	static const int at[6] = {REG_RDI, REG_RSI, REG_RDX, REG_R10, REG_R8, REG_R9};

	for (unsigned i = 0; i < 6; i++)
		arguments[i] = (long)u->uc_mcontext.gregs[at[i]];
	return (long *)&u->uc_mcontext.gregs[REG_RAX];
#elif defined(__aarch64__)
	for (unsigned i = 0; i < 6; i++)
		arguments[i] = (long)u->uc_mcontext.regs[i];
	return (long *)&u->uc_mcontext.regs[0];
#endif
}

static bool is_to_fail(int number, const long arguments[6])
{
	seen++;
	if (number != failing || (bits_wanted && !(arguments[argument_wanted] & bits_wanted)))
		return false;
	if (nth_wanted && ++counted != nth_wanted)
		return false;
	made++;
	return true;
}

static void on_call(int signal, siginfo_t *info, void *context)
{
	long a[6], *result = arguments_of(context, a);
	int saved = errno;

	(void)signal;
	if (info->si_syscall == answered && answer_of(a, result)) {
		seen++;
	} else if (is_to_fail(info->si_syscall, a)) {
		*result = -error_wanted;
	} else {
		long got = syscall(info->si_syscall, a[0], a[1], a[2], a[3], a[4], a[5]);
		*result = got == -1 ? -errno : got;
	}
	errno = saved;
}

#define LOAD(field) BPF_STMT(BPF_LD | BPF_W | BPF_ABS, (unsigned)offsetof(struct seccomp_data, field))
#define ALLOW BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW)

/* Calls from outside the program's text are let through, and all but the listed ones. */
static void add_filter(const int *numbers, unsigned count)
{
	uint64_t start = (uintptr_t)__executable_start, end = (uintptr_t)etext;
	struct sock_filter code[16 + 2 * NUMBERS_MAX] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, (unsigned)offsetof(struct seccomp_data, instruction_pointer) + 4),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)(start >> 32), 1, 0),
		ALLOW,
		LOAD(instruction_pointer),
		BPF_JUMP(BPF_JMP | BPF_JGE | BPF_K, (uint32_t)start, 1, 0),
		ALLOW,
		BPF_JUMP(BPF_JMP | BPF_JGE | BPF_K, (uint32_t)end, 0, 1),
		ALLOW,
		LOAD(nr),
	};
	struct sock_fprog program = {9, code};

	ck_assert_uint_eq(start >> 32, end >> 32);
	for (unsigned i = 0; i < count; i++) {
		code[program.len++] =
			(struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)numbers[i], 0, 1);
		code[program.len++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_TRAP);
	}
	code[program.len++] = (struct sock_filter)ALLOW;
	ck_assert_int_eq(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), 0);
	ck_assert_int_eq(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program, 0, 0), 0);
}

void faults_install(int number, ...)
{
	struct sigaction action;
	int numbers[NUMBERS_MAX];
	unsigned count = 0;
	va_list list;

	memset(&action, 0, sizeof action);
	action.sa_sigaction = on_call;
	action.sa_flags = SA_SIGINFO | SA_NODEFER;
	ck_assert_int_eq(sigaction(SIGSYS, &action, NULL), 0);
	va_start(list, number);
	for (; number >= 0; number = va_arg(list, int)) {
		ck_assert_uint_lt(count, NUMBERS_MAX);
		numbers[count++] = number;
	}
	va_end(list);
	add_filter(numbers, count);
}

void faults_set(int number, unsigned nth, int error)
{
	failing = number;
	nth_wanted = nth;
	counted = 0;
	error_wanted = error;
	made = 0;
	bits_wanted = 0;
}

void faults_only_with(unsigned argument, long bits)
{
	argument_wanted = argument;
	bits_wanted = bits;
}

void faults_answer(int number, bool (*answer)(const long arguments[6], long *result))
{
	answer_of = answer;
	answered = number;
}

void faults_clear(void)
{
	failing = -1;
}

unsigned faults_seen(void)
{
	return seen;
}

unsigned faults_made(void)
{
	return made;
}
