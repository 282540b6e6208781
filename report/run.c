/* memline run: records a program, then prints the report of its run. */
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <limits.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "report/commands.h"
#include "report/memory.h"

/* As shells have it. */
#define STATUS_NOT_EXECUTABLE 126
#define STATUS_NOT_FOUND 127
#define STATUS_SIGNAL 128

/* A process's clock for its start may be coarser than ours. */
#define CLOCK_SLACK_NS 1000000000u

#define KEY_FIRST 512

/* Each MEMLINE_ variable is an option. What it takes is said by memline(1). */
static const struct variable {
	const char *option;
	const char *variable;
	const char *value; /* NULL: none is taken, and "1" is set */
	const char *help;
} variables[] = {
	{"dir", "MEMLINE_DIR", "DIR", "Where the traces go"},
	{"objects", "MEMLINE_OBJECTS", "on|off", "Record Python's small objects too (on)"},
	{"native", "MEMLINE_NATIVE", "off|caller|full", "Native frames to record (caller)"},
	{"sample", "MEMLINE_SAMPLE", "0", "Record every allocation; this version takes no other value"},
	{"occurrences", "MEMLINE_OCCURRENCES", "auto|on|off", "Count how often lines run (auto: from CPython 3.12 on)"},
	{"log", "MEMLINE_LOG", "off|end|T", "Write the table to the program's stderr: at the end, or each T (60s)"},
	{"log-top", "MEMLINE_LOG_TOP", "N", "Rows of that table (20)"},
	{"max-bytes", "MEMLINE_MAX_BYTES", "SIZE", "Size of a trace at which recording stops (4G)"},
	{"keep-free", "MEMLINE_KEEP_FREE", "SIZE", "Free space that recording leaves (auto)"},
	{"max-nodes", "MEMLINE_MAX_NODES", "N", "Distinct stacks to keep apart (1M)"},
	{"off", "MEMLINE_OFF", NULL, "Record nothing"},
};

#define VARIABLES (sizeof(variables) / sizeof(variables[0]))

struct arguments {
	struct ml_options options;
	const char *output; /* NULL: stderr */
	char **program;
};

static error_t parse(int key, char *text, struct argp_state *state)
{
	struct arguments *a = state->input;

	if (key >= KEY_FIRST && key < KEY_FIRST + (int)VARIABLES) {
		setenv(variables[key - KEY_FIRST].variable, text ? text : "1", 1);
		return 0;
	}
	switch (key) {
	case 'o':
		a->output = text;
		return 0;
	case ARGP_KEY_INIT:
		state->child_inputs[0] = state->child_inputs[1] = &a->options;
		state->child_inputs[2] = state->child_inputs[3] = state->child_inputs[4] = &a->options;
		return 0;
	case ARGP_KEY_ARG:
		a->program = state->argv + state->next - 1;
		state->next = state->argc;
		return 0;
	case ARGP_KEY_NO_ARGS:
		argp_error(state, "the program to run is missing");
		return 0;
	}
	return ARGP_ERR_UNKNOWN;
}

static const struct argp_child children[] = {
	{&ml_options_select_argp, 0, NULL, 0}, {&ml_options_json_argp, 0, NULL, 0},
	{&ml_options_merge_argp, 0, NULL, 0},  {&ml_options_wide_argp, 0, NULL, 0},
	{&ml_options_native_argp, 0, NULL, 0}, {0},
};

static void parse_arguments(struct arguments *a, int argc, char **argv)
{
	struct argp_option options[VARIABLES + 2] = {
		{"output", 'o', "FILE", 0, "Write the report there, not to stderr", 2},
	};
	const struct argp argp = {
		.options = options,
		.parser = parse,
		.args_doc = "[--] PROGRAM [ARGUMENT...]",
		.doc = "Records a program and prints the report of its run when it has ended. Its exit status and "
		       "signals are passed through.",
		.children = children,
	};
	size_t i;

	for (i = 0; i < VARIABLES; i++)
		options[i + 1] = (struct argp_option){
			variables[i].option, KEY_FIRST + (int)i, variables[i].value, 0, variables[i].help, 2};
	argp_parse(&argp, argc, argv, ARGP_IN_ORDER, NULL, a);
	if (a->options.scope)
		setenv("MEMLINE_SCOPE", a->options.scope, 1);
}

/* libmemline.so beside this program's own file, or in the library folder of its prefix; NULL: in neither. */
static char *find_library(void)
{
	static const char *const places[] = {"libmemline.so", "../lib/libmemline.so", "../lib64/libmemline.so"};
	char self[PATH_MAX];
	ssize_t bytes = readlink("/proc/self/exe", self, sizeof(self) - 1);
	size_t i;

	if (bytes < 0)
		return NULL;
	self[bytes] = 0;
	*(strrchr(self, '/') + 1) = 0;
	for (i = 0; i < sizeof(places) / sizeof(places[0]); i++) {
		char *path = ml_memory_print("%s%s", self, places[i]);
		char *whole = realpath(path, NULL);
		free(path);
		if (whole)
			return whole;
	}
	return NULL;
}

/* Puts the library in front of what is preloaded already. Returns 0 or an exit status. */
static int preload(void)
{
	const char *others = getenv("LD_PRELOAD");
	char *library = find_library(), *list;

	if (!library)
		return ml_command_error(ml_memory_print("libmemline.so is neither beside memline nor in its ../lib; "
							"build or install both"));
	if (strpbrk(library, " :"))
		return ml_command_error(
			ml_memory_print("%s: a path with a space or colon can't be preloaded (ld.so(8)); "
					"install memline elsewhere",
					library));
	list = others && *others ? ml_memory_print("%s:%s", library, others) : ml_memory_print("%s", library);
	setenv("LD_PRELOAD", list, 1);
	free(list);
	free(library);
	return 0;
}

/* Signals. All that could end or stop us are held back and taken one by one while the program runs. */

static const int forwarded[] = {SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGUSR1, SIGUSR2, SIGTSTP, SIGCONT};

struct signals {
	sigset_t held;
	sigset_t before;
	struct sigaction child_before; /* of SIGCHLD */
};

static void hold_signals(struct signals *s)
{
	const struct sigaction standard = {.sa_handler = SIG_DFL};
	size_t i;

	sigemptyset(&s->held);
	sigaddset(&s->held, SIGCHLD);
	for (i = 0; i < sizeof(forwarded) / sizeof(forwarded[0]); i++)
		sigaddset(&s->held, forwarded[i]);
	sigaction(SIGCHLD, &standard, &s->child_before);
	sigprocmask(SIG_BLOCK, &s->held, &s->before);
}

static void restore_signals(const struct signals *s)
{
	sigaction(SIGCHLD, &s->child_before, NULL);
	sigprocmask(SIG_SETMASK, &s->before, NULL);
}

/* What the terminal sends goes to its whole foreground process group, the program included; a kill goes to us alone. */
static void forward(pid_t program, const siginfo_t *signal)
{
	if (signal->si_code <= 0)
		kill(program, signal->si_signo);
	if (signal->si_signo == SIGTSTP)
		kill(getpid(), SIGSTOP);
}

/* Waits for the program's end and returns its wait status. */
static int wait_for(pid_t program, const struct signals *s)
{
	siginfo_t signal;
	int status;

	for (;;) {
		if (sigwaitinfo(&s->held, &signal) < 0)
			continue;
		if (signal.si_signo != SIGCHLD)
			forward(program, &signal);
		else if (waitpid(program, &status, WNOHANG) == program)
			return status;
	}
}

/* The program's half after fork: tells the error through the pipe if there is no program. */
static void execute(char **program, const struct signals *s, int pipe_end)
{
	int error;
	ssize_t written;

	restore_signals(s);
	execvp(program[0], program);
	error = errno;
	written = write(pipe_end, &error, sizeof(error));
	_exit(written == sizeof(error) ? STATUS_NOT_FOUND : STATUS_NOT_EXECUTABLE);
}

/* Starts the program. Returns 0 or an exit status. */
static int start(char **program, const struct signals *s, pid_t *pid)
{
	int ends[2], error = 0;
	ssize_t bytes;

	if (pipe2(ends, O_CLOEXEC) || (*pid = fork()) < 0)
		return ml_command_error(ml_memory_print("%s: cannot be started: %s", program[0], strerror(errno)));
	if (!*pid) {
		close(ends[0]);
		execute(program, s, ends[1]);
	}
	close(ends[1]);
	do
		bytes = read(ends[0], &error, sizeof(error));
	while (bytes < 0 && errno == EINTR);
	close(ends[0]);
	if (bytes != sizeof(error))
		return 0;
	waitpid(*pid, NULL, 0);
	ml_command_error(ml_memory_print("%s: %s", program[0], strerror(error)));
	return error == ENOENT ? STATUS_NOT_FOUND : STATUS_NOT_EXECUTABLE;
}

/* Why libmemline.so makes no trace in the directory; NULL where it does, which may make the directory first. */
static const char *refusal(const char *directory)
{
	const char *given = getenv("MEMLINE_DIR"), *reason = NULL;
	char *copy = ml_memory_text(directory, strlen(directory));
	struct stat st;

	if (getenv("MEMLINE_OFF"))
		reason = "MEMLINE_OFF is set";
	else if (given && *given ? stat(directory, &st) : lstat(directory, &st))
		reason = errno != ENOENT || access(dirname(copy), W_OK | X_OK) ? strerror(errno) : NULL;
	else if (!S_ISDIR(st.st_mode))
		reason = strerror(ENOTDIR);
	else if (!(given && *given) && (st.st_uid != getuid() || st.st_mode & 077))
		reason = "it is not yours alone (mode 0700)";
	else if (access(directory, W_OK | X_OK))
		reason = strerror(errno);
	free(copy);
	return reason;
}

/* Says so before hours of work, where nothing will be recorded though it is wanted. */
static void warn_of_refusal(void)
{
	char *directory = ml_find_directory();
	const char *reason = getenv("MEMLINE_OFF") ? NULL : refusal(directory);

	if (reason)
		fprintf(stderr, "memline: nothing will be recorded in %s: %s\n", directory, reason);
	free(directory);
}

static void print_report(FILE *out, const struct arguments *a, pid_t pid, uint64_t since_ns)
{
	struct ml_finds finds = {NULL, 0};
	char *directory = ml_find_directory();
	const char *reason = refusal(directory);

	ml_find_run(&finds, directory, (uint64_t)pid, since_ns);
	if (finds.n) {
		ml_report_print(out, &finds, &a->options);
		ml_command_written(out, 0);
	} else {
		fprintf(stderr, "memline: no trace was made in %s: %s\n", directory,
			reason ? reason : "no Python code ran that could be recorded");
	}
	ml_finds_free(&finds);
	free(directory);
}

/* Ends as the program has ended; without a second core file. */
static int end_like(int status)
{
	const struct rlimit none = {0, 0};
	sigset_t set;

	if (!WIFSIGNALED(status))
		return WEXITSTATUS(status);
	setrlimit(RLIMIT_CORE, &none);
	signal(WTERMSIG(status), SIG_DFL);
	sigemptyset(&set);
	sigaddset(&set, WTERMSIG(status));
	sigprocmask(SIG_UNBLOCK, &set, NULL);
	raise(WTERMSIG(status));
	return STATUS_SIGNAL + WTERMSIG(status);
}

/* Runs the program, prints the report to out, and returns the exit status if there is one. */
static int run(const struct arguments *a, FILE *out)
{
	struct timespec now;
	struct signals signals;
	uint64_t since_ns;
	pid_t pid = 0;
	int status;

	clock_gettime(CLOCK_REALTIME, &now);
	since_ns = (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec - CLOCK_SLACK_NS;
	warn_of_refusal();
	hold_signals(&signals);
	status = start(a->program, &signals, &pid);
	if (status)
		return status;
	status = wait_for(pid, &signals);
	restore_signals(&signals);
	print_report(out, a, pid, since_ns);
	return end_like(status);
}

int ml_command_run(int argc, char **argv)
{
	struct arguments a = {0};
	FILE *out;
	int status;

	ml_options_init(&a.options);
	parse_arguments(&a, argc, argv);
	status = preload();
	if (status)
		return status;
	out = ml_command_open(a.output, stderr);
	if (!out)
		return EXIT_FAILURE;
	status = run(&a, out);
	if (out != stderr)
		fclose(out);
	ml_options_free(&a.options);
	return status;
}
