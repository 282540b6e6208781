#include "preload/logger.h"

#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#include "preload/file.h"
#include "preload/identity.h"
#include "preload/options.h"
#include "preload/process.h"
#include "preload/sys.h"
#include "preload/text.h"

#define STACK_BYTES 16384u

/* The descriptor that becomes the logger's output. Its own standard error is closed while it is loaded, so that no
   message of the loader's gets into the program's. */
#define OUTPUT 3
#define OUTPUT_TEXT "3"

/* Where memline may be: beside this library, or where "make install" has put it. */
static char paths[2][4096];

/* The generation whose logger was started, or was refused. */
static _Atomic uint32_t started;

/*
 * What the two processes on the way to the logger work with. They share our memory and we wait for them, as after
 * vfork(2): however large the program is, nothing of it is copied, and a failure comes back as a number.
 */
struct launch {
	const char *arguments[6];
	const char *environment[1]; /* none: the program's may change under our hands, and would preload us again */
	long error;                 /* negative errno, or 0 */
	uint8_t *stacks;
};

/*
 * A new process that shares this one's memory, on a stack of its own: calls body(launch), which must not return. The
 * caller waits until it has called execve or exit. Its pid, or a negative errno.
 */
static long spawn(long exit_signal, uint8_t *stack, void (*body)(struct launch *l), struct launch *l)
{
	const long flags = CLONE_VM | CLONE_VFORK | exit_signal;
#if defined(__x86_64__)
	register long r10 __asm__("r10") = 0;
	register long r8 __asm__("r8") = 0;
	register void (*r12)(struct launch *) __asm__("r12") = body;
	register struct launch *r13 __asm__("r13") = l;
	long result;

	__asm__ volatile("syscall\n\t"
			 "test %%rax, %%rax\n\t"
			 "jnz 1f\n\t"
			 "xor %%ebp, %%ebp\n\t"
			 "mov %%r13, %%rdi\n\t"
			 "call *%%r12\n\t"
			 "ud2\n"
			 "1:"
			 : "=a"(result)
			 : "a"(SYS_clone), "D"(flags), "S"(stack), "d"(0), "r"(r10), "r"(r8), "r"(r12), "r"(r13)
			 : "rcx", "r11", "memory", "cc");
	return result;
#else
	register long x8 __asm__("x8") = SYS_clone;
	register long x0 __asm__("x0") = flags;
	register long x1 __asm__("x1") = (long)stack;
	register long x2 __asm__("x2") = 0;
	register long x3 __asm__("x3") = 0;
	register long x4 __asm__("x4") = 0;
	register void (*x20)(struct launch *) __asm__("x20") = body;
	register struct launch *x21 __asm__("x21") = l;

	__asm__ volatile("svc 0\n\t"
			 "cbnz x0, 1f\n\t"
			 "mov x29, xzr\n\t"
			 "mov x0, x21\n\t"
			 "blr x20\n\t"
			 "brk 0\n"
			 "1:"
			 : "+r"(x0)
			 : "r"(x8), "r"(x1), "r"(x2), "r"(x3), "r"(x4), "r"(x20), "r"(x21)
			 : "memory", "cc");
	return x0;
#endif
}

static void leave(void)
{
	for (;;)
		ml_syscall(SYS_exit_group, 0, 0, 0, 0, 0, 0);
}

/* The second process: nothing but the standard error goes with it. */
static void become_logger(struct launch *l)
{
	long error = -ENOENT;

	ml_syscall(SYS_dup3, 2, OUTPUT, 0, 0, 0, 0);
	/* From Linux 5.9 on; the logger closes what is left. */
	ml_syscall(436 /* close_range */, OUTPUT + 1, UINT32_MAX, 0, 0, 0, 0);
	for (int fd = 0; fd < OUTPUT; fd++)
		ml_sys_close(fd);
	ml_syscall(SYS_chdir, (long)"/", 0, 0, 0, 0, 0);
	for (unsigned i = 0; i < 2 && error == -ENOENT; i++)
		error = ml_syscall(SYS_execve, (long)paths[i], (long)l->arguments, (long)l->environment, 0, 0, 0);
	l->error = error; /* what comes here has failed */
	leave();
}

/* The first process, which ends at once: the second one then is no child of the program. */
static void become_parent(struct launch *l)
{
	long pid;

	ml_syscall(SYS_setsid, 0, 0, 0, 0, 0, 0);
	pid = spawn(SIGCHLD, l->stacks + STACK_BYTES, become_logger, l);
	if (pid < 0)
		l->error = pid;
	leave();
}

/* Signals wait meanwhile: a handler of the program's would run in the new process. Without an exit signal a child is
   none that wait() and its kin see. */
static long launch(struct launch *l)
{
	const uint64_t all = UINT64_MAX;
	uint64_t mask;
	long pid;

	ml_syscall(SYS_rt_sigprocmask, SIG_SETMASK, (long)&all, (long)&mask, sizeof mask, 0, 0);
	pid = spawn(0, l->stacks + 2 * STACK_BYTES, become_parent, l);
	if (pid > 0)
		ml_syscall(SYS_wait4, pid, 0, __WCLONE, 0, 0, 0);
	ml_syscall(SYS_rt_sigprocmask, SIG_SETMASK, (long)&mask, 0, sizeof mask, 0, 0);
	return pid < 0 ? pid : l->error;
}

/* Orphans become children of the nearest subreaper, or of pid 1: of a program that is one, it would be a child. */
static bool adopts_orphans(void)
{
	int subreaper = 0;

	ml_syscall(SYS_prctl, PR_GET_CHILD_SUBREAPER, (long)&subreaper, 0, 0, 0, 0);
	return subreaper || ml_process.pid == 1;
}

static void refuse(const char *why, long error)
{
	char reason[256];
	struct ml_text text;

	ml_text_init(&text, reason, sizeof reason);
	ml_text_add(&text, why);
	if (error) {
		ml_text_add(&text, " (error ");
		ml_text_add_number(&text, (uint64_t)-error);
		ml_text_add(&text, ")");
	}
	ml_lock_take(&ml_process.lock);
	ml_identity_add("log_refused", reason); /* if there is room */
	ml_lock_drop(&ml_process.lock);
}

static void start(void)
{
	struct launch l = {.arguments = {"memline", "log", "--fd", OUTPUT_TEXT, ml_file_path(), NULL}};
	long error;

	if (ml_sys_fcntl(2, F_GETFD, 0) < 0) {
		refuse("the process had no standard error", 0);
		return;
	}
	if (adopts_orphans()) {
		refuse("the process is pid 1 or a subreaper: what writes the table would become its child", 0);
		return;
	}
	l.stacks = ml_sys_pages(2 * STACK_BYTES);
	error = l.stacks ? launch(&l) : -ENOMEM;
	if (error == -ENOENT)
		refuse("memline is neither beside libmemline.so nor in ../bin", 0);
	else if (error < 0)
		refuse("memline could not be started", error);
	else
		__atomic_fetch_or(&ml_file_header()->flags, ML_FLAG_LOGGER, __ATOMIC_RELAXED);
	if (l.stacks)
		ml_sys_munmap(l.stacks, 2 * STACK_BYTES);
}

void ml_logger_attend(void)
{
	const uint32_t generation = ml_process.generation;

	/* A child of vfork acts in its parent's memory, but what it starts would be its own. */
	if (!ml_options.log || atomic_load_explicit(&started, memory_order_relaxed) == generation ||
	    atomic_load(&ml_process.state) != ML_RECORDING || ml_sys_getpid() != ml_process.pid)
		return;
	if (atomic_exchange(&started, generation) != generation)
		start();
}

/* Puts a file beside the library, or in a folder beside it. */
static void set_path(char *path, const char *library, const char *file)
{
	const char *slash = strrchr(library, '/');
	struct ml_text text;

	ml_text_init(&text, path, sizeof paths[0]);
	if (library[0] != '/') {
		char here[4096];
		if (ml_sys_getcwd(here, sizeof here) <= 0 || here[0] != '/')
			return;
		ml_text_add(&text, here);
		ml_text_add(&text, "/");
	}
	if (slash)
		ml_text_add_bytes(&text, library, (size_t)(slash + 1 - library));
	ml_text_add(&text, file);
	if (text.cut)
		path[0] = 0;
}

void ml_logger_prepare(void)
{
	const struct ml_module *here;

	if (!ml_options.log)
		return;
	here = ml_modules_at(&ml_process.modules, (uintptr_t)ml_logger_prepare);
	if (!here)
		return;
	set_path(paths[0], here->path, "memline");
	set_path(paths[1], here->path, "../bin/memline");
}
