/*
 * A small recorder for test_walk.py: it walks the Python stack inside malloc and hands out what it has found.
 * Preloaded; its functions are called by ctypes. WALKER=every in the environment makes it walk at every event, else it
 * does at allocations of MAGIC bytes and more alone.
 *
 * The log is text, one item a line: "C id first_line flags file name table" (the last three in hexadecimal), then for
 * each walk "S result frame frame …" with the innermost frame first and id:place for each.
 */
#include <dlfcn.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "symbolize/python/code.h"
#include "symbolize/python/walk.h"

#define MAGIC 7654321u
#define DEPTH 20000
#define EXPORT __attribute__((visibility("default")))

extern void *__libc_malloc(size_t size);
extern void *__libc_calloc(size_t count, size_t size);
extern void *__libc_realloc(void *block, size_t size);
extern void __libc_free(void *block);

void *malloc(size_t size);
void *calloc(size_t count, size_t size);
void *realloc(void *block, size_t size);
void free(void *block);
const char *walker_refusal(void);
const char *walker_version(void);
int walker_finalizing(void);
int walker_careful(void);
const char *walker_take(void);
void walker_now(void);
void walker_native_thread(void);
void walker_allocate_until_exit(void);
long walker_walks(void);
long walker_frames(void);
long walker_empty(void);
long walker_bad(void);

struct known {
	const void *code;
	uint64_t fingerprint;
};

static struct ml_abi abi;
static const char *refusal = "not started";
static int every;

static __thread __attribute__((tls_model("initial-exec"))) int guard;
/* This thread goes on after the interpreter's end; how often it has allocated since. */
static __thread __attribute__((tls_model("initial-exec"))) int outliving;
static volatile long outlived;
static volatile int is_outlived;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

/* Everything below belongs to the lock. A code object's id is its place in the table. */
static struct known known[1 << 16];
static char text[64 << 20];
static size_t used;
static long walks, frames, empty, bad, stale;

static void *lookup(void *context, const char *symbol)
{
	(void)context;
	return dlsym(RTLD_DEFAULT, symbol);
}

static void say(const char *format, ...)
{
	va_list arguments;
	int wrote;

	va_start(arguments, format);
	wrote = vsnprintf(text + used, sizeof(text) - used, format, arguments);
	va_end(arguments);
	used += (size_t)wrote;
	if (used >= sizeof(text))
		abort();
}

static void say_hex(const void *data, size_t bytes)
{
	static const char digits[] = "0123456789abcdef";

	if (used + 2 * bytes + 2 > sizeof(text))
		abort();
	text[used++] = ' ';
	for (size_t i = 0; i < bytes; i++) {
		text[used++] = digits[((const uint8_t *)data)[i] >> 4];
		text[used++] = digits[((const uint8_t *)data)[i] & 15];
	}
}

static void describe(unsigned id, const void *code)
{
	char buffer[4096];
	struct ml_code_text about;

	if (ml_code_describe(&abi, code, buffer, sizeof(buffer), &about)) {
		bad++;
		return;
	}
	ml_abi_saw_file(&abi, about.file, about.file_bytes);
	if (every)
		return;
	say("C %u %u %u", id, about.first_line, about.flags);
	say_hex(about.file, about.file_bytes);
	say_hex(about.name, about.name_bytes);
	say_hex(about.table, about.table_bytes);
	say("\n");
}

static unsigned identify(const void *code)
{
	const unsigned slots = sizeof(known) / sizeof(known[0]);
	uint64_t fingerprint = ml_code_fingerprint(&abi, code);
	unsigned id = (unsigned)((uintptr_t)code >> 4 ^ fingerprint) % slots;

	for (unsigned tries = 0; tries < slots; tries++, id = (id + 1) % slots) {
		if (known[id].code == code && known[id].fingerprint == fingerprint)
			return id;
		if (!known[id].code) {
			known[id] = (struct known){code, fingerprint};
			describe(id, code);
			return id;
		}
	}
	memset(known, 0, sizeof(known)); /* full: only where nothing is said about them */
	return 0;
}

static void walk(uintptr_t stack_pointer)
{
	static __thread struct ml_walker walker;
	static struct {
		unsigned id;
		int64_t place;
	} found[DEPTH];
	unsigned n = 0;
	int end = 0, over = ml_abi_finalizing(&abi);

	pthread_mutex_lock(&lock);
	const void *frame = ml_walk_top(&abi, &walker, stack_pointer);
	for (; frame && n < DEPTH; frame = ml_frame_previous(&abi, frame)) {
		const void *code = ml_frame_code(&abi, frame);
		enum ml_frame_kind kind = ml_frame_kind(&abi, frame, code);
		if (kind == ML_FRAME_BAD) {
			end = 1;
			break;
		}
		if (kind == ML_FRAME_SHIM)
			continue;
		found[n].id = identify(code);
		found[n++].place = ml_frame_place(&abi, code, ml_frame_instr(&abi, frame));
	}
	walks++;
	frames += n;
	empty += n == 0;
	bad += end;
	stale += over && n && outliving;
	if (!every && !outliving) {
		say("S %d", end);
		for (unsigned i = 0; i < n; i++)
			say(" %u:%lld", found[i].id, (long long)found[i].place);
		say("\n");
	}
	pthread_mutex_unlock(&lock);
}

static void event(size_t size)
{
	if (guard || refusal || !(every || size >= MAGIC))
		return;
	guard = 1;
	walk((uintptr_t)__builtin_frame_address(0));
	guard = 0;
}

EXPORT void *malloc(size_t size)
{
	void *block = __libc_malloc(size);
	event(size);
	return block;
}

EXPORT void *calloc(size_t count, size_t size)
{
	void *block = __libc_calloc(count, size);
	event(0);
	return block;
}

EXPORT void *realloc(void *block, size_t size)
{
	block = __libc_realloc(block, size);
	event(0);
	return block;
}

EXPORT void free(void *block)
{
	event(0);
	__libc_free(block);
}

/* The allocators of the MEM and OBJ domains, as they were. */
static struct ml_py_allocator before[3];

static void *hook_malloc(void *context, size_t size)
{
	const struct ml_py_allocator *to = context;
	void *block = to->malloc(to->context, size);
	event(0);
	return block;
}

static void *hook_calloc(void *context, size_t count, size_t size)
{
	const struct ml_py_allocator *to = context;
	void *block = to->calloc(to->context, count, size);
	event(0);
	return block;
}

static void *hook_realloc(void *context, void *block, size_t size)
{
	const struct ml_py_allocator *to = context;
	block = to->realloc(to->context, block, size);
	event(0);
	return block;
}

static void hook_free(void *context, void *block)
{
	const struct ml_py_allocator *to = context;
	event(0);
	to->free(to->context, block);
}

__attribute__((constructor)) static void start(void)
{
	const char *wish = getenv("WALKER");

	guard = 1;
	if (ml_abi_init(&abi, lookup, NULL, &refusal) == 0)
		refusal = NULL;
	every = wish && !strcmp(wish, "every");
	for (int domain = 1; every && !refusal && domain <= 2; domain++) {
		struct ml_py_allocator ours = {&before[domain], hook_malloc, hook_calloc, hook_realloc, hook_free};
		abi.get_allocator(domain, &before[domain]);
		abi.set_allocator(domain, &ours);
	}
	guard = 0;
}

EXPORT const char *walker_refusal(void)
{
	return refusal ? refusal : "";
}

EXPORT const char *walker_version(void)
{
	return abi.version;
}

EXPORT int walker_finalizing(void)
{
	return ml_abi_finalizing(&abi);
}

EXPORT int walker_careful(void)
{
	return abi.careful;
}

/* What was logged since the last call; good until the next walk. */
EXPORT const char *walker_take(void)
{
	pthread_mutex_lock(&lock);
	text[used] = '\0';
	used = 0;
	pthread_mutex_unlock(&lock);
	return text;
}

EXPORT void walker_now(void)
{
	event(MAGIC);
}

static void *allocate(void *argument)
{
	__libc_free(malloc(MAGIC));
	return argument;
}

/* Allocates in a thread that Python knows nothing about. */
EXPORT void walker_native_thread(void)
{
	pthread_t thread;

	if (pthread_create(&thread, NULL, allocate, NULL) == 0)
		pthread_join(thread, NULL);
}

/* For a daemon thread, which calls it without the GIL. */
EXPORT void walker_allocate_until_exit(void)
{
	const struct timespec moment = {0, 200000};

	outliving = is_outlived = 1;
	for (;;) {
		int over = ml_abi_finalizing(&abi);
		__libc_free(malloc(MAGIC));
		outlived += over;
		nanosleep(&moment, NULL);
	}
}

/* The interpreter is gone; the daemon thread still goes on for a while. */
__attribute__((destructor)) static void end(void)
{
	const struct timespec while_ = {0, 50000000};

	if (!is_outlived)
		return;
	guard = 1;
	nanosleep(&while_, NULL);
	printf("%s\n", outlived < 10 ? "FAILED daemon_thread: it did not outlive the interpreter"
		       : stale       ? "FAILED daemon_thread: frames after the interpreter's end"
				     : "ok daemon_thread");
	fflush(stdout);
	_exit(0);
}

EXPORT long walker_walks(void)
{
	return walks;
}

EXPORT long walker_frames(void)
{
	return frames;
}

EXPORT long walker_empty(void)
{
	return empty;
}

EXPORT long walker_bad(void)
{
	return bad;
}
