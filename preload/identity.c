#include "preload/identity.h"

#include <sys/auxv.h>

#include "preload/file.h"
#include "preload/monitoring.h"
#include "preload/options.h"
#include "preload/process.h"
#include "preload/ring.h"
#include "preload/sys.h"
#include "preload/text.h"
#include "trace/scope.h"

#define SCRATCH_BYTES (4u << 20)
#define ARGUMENTS_MAX (1u << 20)
#define ANCESTORS_MAX 64

/* Reads a file of /proc whole, up to room - 1 bytes, and ends it with NUL. Its length, or -1. */
static long read_file(const char *path, char *buffer, size_t room)
{
	int fd = ml_sys_open(path, O_RDONLY | O_CLOEXEC, 0);
	long used = 0, n;

	if (fd < 0)
		return -1;
	while ((size_t)used < room - 1 && (n = ml_sys_read(fd, buffer + used, room - 1 - (size_t)used)) > 0)
		used += n;
	ml_sys_close(fd);
	buffer[used] = 0;
	return used;
}

static void proc_path(struct ml_text *path, char *buffer, size_t room, int pid, const char *name)
{
	ml_text_init(path, buffer, room);
	ml_text_add(path, "/proc/");
	ml_text_add_number(path, (uint64_t)pid);
	ml_text_add(path, name);
}

bool ml_identity_of(int pid, uint64_t *start_ticks, int *parent)
{
	char name[64], stat[1024];
	struct ml_text path;
	uint64_t ppid;
	const char *at;

	proc_path(&path, name, sizeof name, pid, "/stat");
	if (read_file(name, stat, sizeof stat) <= 0)
		return false;
	at = strrchr(stat, ')'); /* the command before it may hold anything */
	if (!at || strlen(at) < 5)
		return false;
	at += 4; /* ") S " */
	if (!ml_text_number(&at, &ppid))
		return false;
	*parent = (int)ppid;
	for (int field = 4; field < 22; field++) {
		at = strchr(at, ' ');
		if (!at)
			return false;
		at++;
	}
	return ml_text_number(&at, start_ticks);
}

uint64_t ml_identity_resident_pages(void)
{
	char statm[128];
	const char *at;
	uint64_t pages = 0;

	if (read_file("/proc/self/statm", statm, sizeof statm) <= 0)
		return 0;
	at = strchr(statm, ' ');
	if (!at)
		return 0;
	at++;
	return ml_text_number(&at, &pages) ? pages : 0;
}

/* Whether a process was started with a preload of ours. Not readable, or cut off: no. */
static bool preloads_us(int pid, char *scratch, size_t room)
{
	char name[64];
	struct ml_text path;
	long bytes;

	proc_path(&path, name, sizeof name, pid, "/environ");
	bytes = read_file(name, scratch, room);
	for (const char *at = scratch; bytes > 0 && at < scratch + bytes; at += strlen(at) + 1)
		if (!strncmp(at, "LD_PRELOAD=", 11) && strstr(at, "memline"))
			return true;
	return false;
}

/* The topmost ancestor that preloads us, from the parent on, or this process. */
static void find_run(int parent, int *run_pid, uint64_t *run_ticks, char *scratch, size_t room)
{
	uint64_t ticks;

	*run_pid = ml_process.pid;
	*run_ticks = ml_process.start_ticks;
	for (int i = 0; i < ANCESTORS_MAX && parent > 0; i++) {
		int pid = parent;
		if (!ml_identity_of(pid, &ticks, &parent))
			break;
		if (preloads_us(pid, scratch, room)) {
			*run_pid = pid;
			*run_ticks = ticks;
		}
	}
}

const char *ml_identity_program(void)
{
	static char path[4096];
	long n = ml_sys_readlink("/proc/self/exe", path, sizeof path - 1);

	path[n > 0 ? n : 0] = 0;
	return path;
}

/* META under construction. */
static struct ml_text meta;

/* By what META says whether a file is in scope. */
static struct {
	char program[8192];
	char root[8192];
	char cwd[4096];
	_Atomic bool known;
} judged_by;

static void put_bytes(const char *key, const char *value, size_t bytes)
{
	ml_text_add(&meta, key);
	ml_text_add_bytes(&meta, "", 1);
	ml_text_add_bytes(&meta, value, bytes);
	ml_text_add_bytes(&meta, "", 1);
}

static void put(void *unused, const char *key, const char *value)
{
	(void)unused;
	put_bytes(key, value, strlen(value));
}

static void put_number(const char *key, uint64_t number)
{
	char digits[32];
	struct ml_text text;

	ml_text_init(&text, digits, sizeof digits);
	ml_text_add_number(&text, number);
	put(NULL, key, digits);
}

/* argv, as a sequence of strings: where the next one begins. */
static const char *next_argument(const char *at, const char *end)
{
	at += strlen(at) + 1;
	return at < end ? at : NULL;
}

/*
 * The letter of an option of the interpreter that says how to go on: 'c' or 'm', which end the options, or 'W' or 'X'
 * where the next argument is its value; 0 if there is none. Letters may be joined (-Ic); behind one that takes a value
 * that value may stand (-Wc).
 */
static char deciding_letter(const char *option)
{
	if (option[1] == '-')
		return strcmp(option, "--check-hash-based-pycs") ? 0 : 'X';
	for (const char *at = option + 1; *at; at++) {
		if (*at == 'c' || *at == 'm')
			return *at;
		if (*at == 'W' || *at == 'X')
			return at[1] ? 0 : *at;
	}
	return 0;
}

/* What an interpreter's command line runs, as META's "program"; the script's path or NULL. */
static const char *put_program(const char *arguments, const char *end)
{
	const char *at = arguments < end ? next_argument(arguments, end) : NULL, *script = NULL;
	struct ml_text text;
	char letter;

	ml_text_init(&text, judged_by.program, sizeof judged_by.program);
	for (; at && at[0] == '-' && at[1]; at = at ? next_argument(at, end) : NULL) {
		letter = deciding_letter(at);
		if (letter == 'c') {
			ml_text_add(&text, "command");
			break;
		}
		if (letter == 'm') {
			const char *name = strchr(at, 'm') + 1;
			if (!*name)
				name = next_argument(at, end);
			ml_text_add(&text, "module:");
			ml_text_add(&text, name ? name : "");
			break;
		}
		if (letter)
			at = next_argument(at, end);
	}
	if (!text.used && at && strcmp(at, "-")) {
		script = at;
		ml_text_add(&text, "file:");
		ml_text_add(&text, script);
	}
	if (!text.used)
		ml_text_add(&text, "stdin");
	put(NULL, "program", judged_by.program);
	return script;
}

/* A worker of the Azure Functions host runs user code from its working directory. */
static bool is_functions_worker(const char *arguments, const char *end)
{
	static const char *const marks[] = {"--functions-worker-id", "--workerId", "--grpcMaxMessageLength"};

	for (const char *at = arguments; at && at < end; at = next_argument(at, end))
		for (size_t i = 0; i < sizeof marks / sizeof *marks; i++)
			if (!strcmp(at, marks[i]))
				return true;
	return false;
}

/* Whether two paths lie in the same directory, after links: a console script lies beside the interpreter. */
static bool beside(const char *a, const char *b)
{
	const char *a_end = strrchr(a, '/'), *b_end = strrchr(b, '/');

	return a_end && b_end && a_end - a == b_end - b && !memcmp(a, b, (size_t)(a_end - a));
}

/* Takes ".", ".." and doubled slashes out of an absolute path, in place: the names that code objects have are judged
   so. */
static void tidy(char *path)
{
	const char *at = path;
	char *to = path;

	while (*(at += strspn(at, "/"))) {
		size_t n = strcspn(at, "/");
		if (n == 2 && at[0] == '.' && at[1] == '.') {
			while (to > path && *--to != '/')
				;
		} else if (n > 1 || at[0] != '.') {
			*to++ = '/';
			memmove(to, at, n);
			to += n;
		}
		at += n;
	}
	if (to == path)
		*to++ = '/';
	*to = 0;
}

static bool is_directory(const char *path)
{
	int fd = ml_sys_open(path, O_PATH | O_DIRECTORY | O_CLOEXEC, 0);

	if (fd >= 0)
		ml_sys_close(fd);
	return fd >= 0;
}

/* The folder of user code by default: see interface "MEMLINE_SCOPE". */
static void put_root(const char *arguments, const char *end, const char *script)
{
	const char *cwd = judged_by.cwd;
	char *root = judged_by.root;
	struct ml_text text;

	ml_text_init(&text, root, sizeof judged_by.root);
	if (ml_options.app_root[0]) {
		ml_text_add(&text, ml_options.app_root);
	} else if (is_functions_worker(arguments, end) || !script || (beside(script, arguments) && script[0] == '/')) {
		ml_text_add(&text, cwd);
	} else {
		if (script[0] != '/') {
			ml_text_add(&text, cwd);
			ml_text_add(&text, "/");
		}
		ml_text_add(&text, script);
		if (!is_directory(script)) /* else __main__.py lies in it */
			*strrchr(root, '/') = 0;
	}
	if (root[0] == '/' || !root[0])
		tidy(root);
	put(NULL, "root", root);
}

static void put_command(char *scratch, size_t room)
{
	long bytes = read_file("/proc/self/cmdline", scratch, room < ARGUMENTS_MAX ? room : ARGUMENTS_MAX);
	const char *end = scratch + (bytes > 0 ? bytes : 0), *script;
	char *cwd = judged_by.cwd;

	for (const char *at = scratch; bytes > 0 && at; at = next_argument(at, end))
		put(NULL, "arg", at);
	if (ml_sys_getcwd(cwd, sizeof judged_by.cwd) <= 0)
		cwd[0] = 0;
	put(NULL, "cwd", cwd);
	script = put_program(scratch, end);
	put_root(scratch, end, script);
	atomic_store(&judged_by.known, true);
}

bool ml_identity_knows_scope(void)
{
	return atomic_load_explicit(&judged_by.known, memory_order_relaxed);
}

bool ml_identity_has(const char *file, size_t bytes)
{
	const struct ml_scope scope = {ml_options.scope, judged_by.root, judged_by.program};
	static char path[sizeof judged_by.cwd + ML_IDENTITY_FILE_MAX + 2];
	struct ml_text text;

	if (!bytes || bytes > ML_IDENTITY_FILE_MAX || memchr(file, 0, bytes))
		return false;
	ml_text_init(&text, path, sizeof path);
	if (file[0] != '/' && file[0] != '<') {
		if (judged_by.cwd[0] != '/')
			return false;
		ml_text_add(&text, judged_by.cwd);
		ml_text_add(&text, "/");
	}
	ml_text_add_bytes(&text, file, bytes);
	if (path[0] == '/')
		tidy(path);
	return ml_scope_has(&scope, path);
}

static void put_python(void)
{
	if (ml_process.refused)
		put(NULL, "python_refused", ml_process.refused);
	if (ml_process.python) {
		put(NULL, "python", ml_process.abi.version);
		put_number("line_table", ml_process.abi.is.lines);
	}
	if (ml_process.late)
		put(NULL, "late", "1");
	if (ml_monitoring_refused())
		put(NULL, ML_OCCURRENCES_REFUSED, ml_monitoring_refused());
}

bool ml_identity_add(const char *key, const char *value)
{
	size_t bytes = strlen(key) + strlen(value) + 3;
	char *extent = ml_file_map(ML_EXTENT_META, 0, bytes);

	if (!extent)
		return false;
	/* A key that is empty ends the text: it comes last. */
	memcpy(extent + strlen(key) + 1, value, strlen(value));
	memcpy(extent + 1, key + 1, strlen(key) - 1);
	__atomic_store_n(extent, key[0], __ATOMIC_RELEASE);
	return true;
}

static void put_parent_rings(void)
{
	uint64_t state;

	for (uint32_t id = 0; ml_ring_at_fork(id, &state); id++) {
		char value[64];
		struct ml_text text;
		ml_text_init(&text, value, sizeof value);
		ml_text_add_number(&text, id);
		ml_text_add(&text, " ");
		ml_text_add_number(&text, ML_PIECE_SEQUENCE(state));
		ml_text_add(&text, " ");
		ml_text_add_number(&text, ML_PIECE_USED(state));
		put(NULL, "parent_ring", value);
	}
}

static void put_family(char *scratch, size_t room)
{
	int run_pid, parent = 0;
	uint64_t run_ticks, ticks;

	ml_identity_of(ml_process.pid, &ticks, &parent);
	put_number("ppid", (uint64_t)parent);
	find_run(parent, &run_pid, &run_ticks, scratch, room);
	put_number("run_pid", (uint64_t)run_pid);
	put_number("run_ticks", run_ticks);
	if (ml_process.forked) {
		put(NULL, "fork", "1");
		put(NULL, "parent_file", ml_process.parent_file);
		put_parent_rings();
	}
}

bool ml_identity_write(void)
{
	char *scratch = ml_sys_pages(SCRATCH_BYTES), *buffer;
	size_t half = SCRATCH_BYTES / 2;
	void *extent;

	if (!scratch)
		return false;
	buffer = scratch + half;
	ml_text_init(&meta, buffer, half);
	put_number("pid", (uint64_t)ml_process.pid);
	put_number("uid", ml_sys_getuid());
	put_number("start_ticks", ml_process.start_ticks);
	put_number("image", ml_file_image());
	put_number("started_ns", ml_process.started_ns);
	put_number("monotonic_ns", ml_process.monotonic_ns);
	put_number("page_bytes", getauxval(AT_PAGESZ));
	put_number("baseline_rss", ml_process.baseline_rss);
	put(NULL, "exe", ml_identity_program());
	put_python();
	ml_options_each(put, NULL);
	put_command(scratch, half);
	put_family(scratch, half); /* the last: nobody knows how many rings the parent had */
	ml_text_add_bytes(&meta, "", 1);
	extent = ml_file_map(ML_EXTENT_META, 0, meta.used);
	if (extent)
		memcpy(extent, buffer, meta.used);
	ml_sys_munmap(scratch, SCRATCH_BYTES);
	return extent != NULL;
}
