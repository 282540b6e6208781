#include "preload/process.h"

#include <pthread.h>
#include <sys/auxv.h>
#include <time.h>

#include "preload/barriers.h"
#include "preload/file.h"
#include "preload/identity.h"
#include "preload/logger.h"
#include "preload/merged.h"
#include "preload/monitoring.h"
#include "preload/occurrences.h"
#include "preload/options.h"
#include "preload/pymem.h"
#include "preload/record.h"
#include "preload/ring.h"
#include "preload/symbols.h"
#include "preload/sys.h"
#include "preload/text.h"
#include "preload/tree.h"

/* Hooks between two looks at the loader, in a dormant process: 1, 2, 4 … of a thread, up to this. Asleep, malloc and
   free are not among them. */
#define DORMANT_PERIOD 16u

/* Hooks of a thread between two looks whether to go on, in a paused process. */
#define PAUSED_PERIOD 64u

struct ml_process ml_process;

__thread struct ml_thread ml_thread __attribute__((tls_model("initial-exec"))) = {.gate = ML_GATE_NONE, .countdown = 1};

/* Before there is a page that forks wipe: nothing is recorded. */
static struct ml_wiped never;
struct ml_wiped *ml_wiped = &never;

_Atomic bool ml_asleep;

static _Atomic bool asking_loader; /* held by the thread that walks the loader's list */
static _Atomic bool finalized;

static int state(void)
{
	return atomic_load_explicit(&ml_process.state, memory_order_acquire);
}

static void set_state(enum ml_state to)
{
	atomic_store_explicit(&ml_process.state, to, memory_order_release);
}

void ml_process_count(enum ml_counter counter, uint64_t n)
{
	__atomic_fetch_add(&ml_file_header()->counter[counter], n, __ATOMIC_RELAXED);
}

void ml_process_stop(enum ml_stop reason, int error)
{
	struct ml_header *h = ml_file_header();
	int was = atomic_exchange(&ml_process.state, ML_STOPPED);

	if (was == ML_STOPPED)
		return;
	h->stop = reason;
	h->stop_errno = error;
	atomic_store(&ml_wiped->gate, 0);
}

static bool is_to_pause(void)
{
	return __atomic_load_n(&ml_process.control->paused, __ATOMIC_RELAXED);
}

void ml_process_obey(void)
{
	int recording = ML_RECORDING;

	if (is_to_pause() && atomic_compare_exchange_strong(&ml_process.state, &recording, ML_PAUSED))
		atomic_store(&ml_wiped->gate, 0);
}

/* Opens the gate again, if that was asked for. */
static bool resume(void)
{
	int paused = ML_PAUSED;

	if (is_to_pause())
		return false;
	if (atomic_compare_exchange_strong(&ml_process.state, &paused, ML_RECORDING)) {
		ml_ring_doubt();
		atomic_store(&ml_wiped->gate, ml_process.generation);
	}
	if (state() == ML_STOPPED) /* meanwhile */
		atomic_store(&ml_wiped->gate, 0);
	return state() == ML_RECORDING;
}

void ml_process_wait(void)
{
	int early = ML_EARLY;

	atomic_compare_exchange_strong(&ml_process.state, &early, ML_WAITING);
}

/* There can be no trace. */
static void give_up(void)
{
	set_state(ML_INERT);
	atomic_store(&ml_wiped->gate, 0);
}

void ml_process_adopt(void)
{
	int was;
	bool made;

	ml_lock_take(&ml_process.early_lock);
	was = state();
	if ((was == ML_EARLY || was == ML_WAITING) && atomic_load(&ml_wiped->alive)) {
		ml_lock_take(&ml_process.lock);
		made = ml_file_create();
		ml_lock_drop(&ml_process.lock);
		if (made)
			set_state(ML_RECORDING);
		else if (atomic_load(&ml_wiped->alive)) /* else a child forked meanwhile: it will try for itself */
			give_up();
	}
	ml_lock_drop(&ml_process.early_lock);
}

uint64_t ml_process_resident_pages(void)
{
	return ml_identity_resident_pages();
}

bool ml_process_finalizes(void)
{
	if (!ml_process.python || atomic_load_explicit(&finalized, memory_order_relaxed) ||
	    !ml_abi_finalizing(&ml_process.abi))
		return false;
	return !atomic_exchange(&finalized, true);
}

bool ml_process_may_walk(void)
{
	bool asks = !ml_process.abi.is.bound_is_variable || atomic_load(&ml_pymem_settled);

	if (ml_process.python && asks && ml_process.abi.is_initialized())
		atomic_store(&ml_process.walks, true);
	return ml_process.walks;
}

bool ml_process_new_modules(void)
{
	if (atomic_exchange(&asking_loader, true))
		return false;
	ml_modules_refresh(&ml_process.modules, ml_tree_module, NULL);
	atomic_store(&asking_loader, false);
	return true;
}

bool ml_process_new_module_at(uintptr_t address)
{
	static _Atomic uintptr_t asked[64];
	uintptr_t page = address >> 12, question = page ^ (uintptr_t)ml_modules_epoch(&ml_process.modules) << 40;

	if (atomic_exchange_explicit(&asked[page % 64], question, memory_order_relaxed) == question)
		return false;
	return ml_process_new_modules();
}

/* A forked child does not poll: another thread of its parent may have held the loader's lock. Where something new was
   loaded or unloaded in the child that lock was free, and ml_process_new_modules() is called for that very reason. */
void ml_process_poll_modules(void)
{
	if (ml_process.forked || atomic_exchange(&asking_loader, true))
		return;
	if (ml_symbols_changed(&ml_process.loader_seen))
		ml_modules_refresh(&ml_process.modules, ml_tree_module, NULL);
	atomic_store(&asking_loader, false);
}

static uint64_t clock_ns(clockid_t clock)
{
	struct timespec t;

	clock_gettime(clock, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* An empty trace of this process, from now on. False: no memory. */
static bool start_trace(void)
{
	int parent;

	ml_process.pid = ml_sys_getpid();
	ml_identity_of(ml_process.pid, &ml_process.start_ticks, &parent);
	ml_process.started_ns = clock_ns(CLOCK_REALTIME);
	ml_process.monotonic_ns = clock_ns(CLOCK_MONOTONIC_COARSE);
	ml_process.baseline_rss = ml_identity_resident_pages() * getauxval(AT_PAGESZ);
	atomic_store(&finalized, false);
	ml_ring_reset();
	ml_occurrences_reset();
	ml_barriers_reset();
	if (!ml_file_start() || !ml_tree_reset())
		return false;
	ml_process.control = ml_file_map(ML_EXTENT_CONTROL, 0, sizeof *ml_process.control);
	return ml_process.control != NULL;
}

/* From here on hooks record. */
static void open_gate(void)
{
	if (ml_process.generation < ML_GATE_NONE)
		ml_process.generation = ML_GATE_NONE;
	atomic_store(&ml_wiped->alive, 1); /* before the state is one in which a thread would take itself for a child */
	set_state(ML_EARLY);
	atomic_store(&ml_asleep, false);
	atomic_store(&ml_wiped->gate, ++ml_process.generation);
}

static bool make_wiped_page(void)
{
	struct ml_wiped *page = ml_sys_pages(4096);

	if (!page)
		return false;
	/* Where the kernel refuses, after_fork() does what can be done. */
	ml_sys_madvise(page, 4096, 18 /* MADV_WIPEONFORK, Linux 4.14 */);
	ml_wiped = page;
	return true;
}

/* In a forked child, within fork(): whatever it interrupted can no longer write to the parent's file. */
static void after_fork(void)
{
	if (state() < ML_EARLY || ml_process.pid == ml_sys_getpid())
		return; /* nothing to do, or an earlier handler has allocated and so done it */
	ml_file_detach();
	/* Held by a thread that is gone, or by this one, which then drops them once more. */
	ml_lock_reset(&ml_process.lock);
	ml_lock_reset(&ml_process.early_lock);
	atomic_store(&asking_loader, false);
	atomic_store(&ml_wiped->gate, 0);
	atomic_store(&ml_wiped->alive, 0);
	ml_thread.countdown = 1; /* the child's first event is to find out, also where the parent had paused */
}

static void *lookup(void *object, const char *symbol)
{
	return ml_symbols_in(object, symbol);
}

/* The interpreter in object is there to stay. The guard is held. */
static void start_tracking(struct ml_object *object, bool late)
{
	const char *why = NULL;

	ml_process.python = !ml_abi_init(&ml_process.abi, lookup, object, &why);
	ml_process.refused = ml_process.python ? NULL : why;
	ml_process.abi.tls_module = object->tls_module;
	ml_process.abi.tls_bytes = object->tls_bytes;
	/* The loader frees the block of an object that came late when the thread ends, and frees others behind it. */
	ml_process.abi.tls_stays = !late;
	*(void **)&ml_process.is_initialized = ml_symbols_in(object, "Py_IsInitialized");
	ml_process.python_start = object->start;
	ml_process.python_end = object->end;
	ml_process.late = late;
	ml_monitoring_find(object);
	atomic_store(&ml_process.walks, ml_process.python && !late);
	ml_symbols_changed(&ml_process.loader_seen);
	if (!make_wiped_page() || !start_trace()) {
		set_state(ML_INERT);
		return;
	}
	ml_modules_init(&ml_process.modules, ml_sys_pages, ml_identity_program());
	ml_modules_refresh(&ml_process.modules, ml_tree_module, NULL);
	ml_logger_prepare();
	if (ml_options.native == ML_NATIVE_FULL)
		ml_merged_start(ml_symbols_in(object, "_PyEval_EvalFrameDefault"));
	pthread_atfork(NULL, NULL, after_fork);
	open_gate();
	if (ml_process.python)
		ml_pymem_start(!late);
}

/* A forked child's first event. No other thread is here yet, and none of the parent's data is in use. */
static void become_child(void)
{
	struct ml_text parent;

	ml_lock_reset(&ml_process.lock);
	ml_lock_reset(&ml_process.early_lock);
	atomic_store(&asking_loader, false);
	set_state(ML_UNSTARTED); /* that the parent has stopped says nothing of the child */
	ml_process.forked = true;
	ml_process.late = false;
	ml_text_init(&parent, ml_process.parent_file, sizeof ml_process.parent_file);
	ml_text_add(&parent, ml_file_name());
	ml_ring_remember();
	ml_file_forget();
	if (!start_trace()) {
		set_state(ML_INERT);
		return;
	}
	open_gate();
	for (uint32_t id = 1; id <= ml_modules_count(&ml_process.modules); id++)
		ml_tree_module(NULL, ml_modules_get(&ml_process.modules, id));
}

/* Looks whether CPython has come. Not before it is relocated: none of its functions can be called until then.
   asking_loader is held, so that one thread alone starts the tracking. */
static void look_for_python(struct ml_thread *t)
{
	struct ml_object object;

	if (ml_symbols_object_with("PyGILState_GetThisThreadState", &object))
		return;
	if (!ml_symbols_relocated(&object)) {
		ml_process.loader_seen = 0;
		t->period = 1;
	} else if (state() == ML_DORMANT) { /* nobody came first */
		start_tracking(&object, true);
	}
}

static void poll_dormant(struct ml_thread *t)
{
	t->period = t->period ? t->period * 2 : 1;
	if (t->period > DORMANT_PERIOD)
		t->period = DORMANT_PERIOD;
	if (!atomic_exchange(&asking_loader, true)) {
		if (ml_symbols_changed(&ml_process.loader_seen))
			look_for_python(t);
		/* Not while CPython is being loaded. */
		atomic_store(&ml_asleep, state() == ML_DORMANT && ml_process.loader_seen);
		atomic_store(&asking_loader, false);
	}
	t->countdown = t->period;
}

/* A thread's first event: it gets a ring. */
static struct ml_thread *attach(struct ml_thread *t)
{
	uint32_t gate = atomic_load(&ml_wiped->gate);
	bool early = state() == ML_EARLY || state() == ML_WAITING;

	if (!gate)
		return NULL; /* stopped meanwhile, or just forked by a signal handler */
	if (early)
		ml_lock_take(&ml_process.early_lock);
	/* In a child of vfork the memory is the parent's, whose thread must not be taken for one with the child's
	   number. */
	t->ring = ml_process.pid == ml_sys_getpid() ? ml_ring_open(ml_sys_gettid()) : NULL;
	if (early)
		ml_lock_drop(&ml_process.early_lock);
	if (!t->ring) {
		ml_process_count(ML_COUNTER_DROPPED_NO_RING, 1);
		return NULL;
	}
	t->gate = gate;
	return t;
}

static bool is_loader(const void *address)
{
	const struct ml_module *module = ml_modules_at(&ml_process.modules, (uintptr_t)address);

	return module && module->base == getauxval(AT_BASE);
}

/* The loader allocates the thread-local variables of a CPython that came late when we first read them in a thread. */
void ml_enter_nested(struct ml_thread *t, const void *caller)
{
	if (t->busy == ML_IN_RECORD && !is_loader(caller))
		ml_process_count(ML_COUNTER_DROPPED_SIGNAL, 1);
}

/* Where recording is off or the thread is new: NULL, or the thread with its ring. The guard is held. */
static struct ml_thread *enter_new(struct ml_thread *t)
{
	if (state() > ML_DORMANT && !atomic_load(&ml_wiped->alive))
		become_child();
	switch (state()) {
	case ML_INERT:
		atomic_store(&ml_asleep, true);
		t->countdown = UINT32_MAX;
		return NULL;
	case ML_DORMANT:
		poll_dormant(t);
		return NULL;
	case ML_EARLY:
	case ML_WAITING:
	case ML_RECORDING:
		return attach(t);
	case ML_PAUSED:
		if (resume())
			return t->gate == ml_process.generation ? t : attach(t);
		t->countdown = PAUSED_PERIOD;
		return NULL;
	case ML_STOPPED:
		ml_process_count(ML_COUNTER_DROPPED_STOPPED, 1);
		return NULL;
	}
	return NULL;
}

struct ml_thread *ml_enter_slow(struct ml_thread *t, const void *caller)
{
	struct ml_thread *entered;

	(void)caller;
	t->countdown = 1;
	if (t->busy != ML_IDLE)
		return NULL;
	t->busy = ML_IN_RECORD;
	atomic_signal_fence(memory_order_seq_cst);
	entered = enter_new(t);
	atomic_signal_fence(memory_order_seq_cst);
	t->busy = entered ? ML_IN_CALL : ML_IDLE;
	return entered;
}

void ml_process_end(int status)
{
	struct ml_thread *t = state() == ML_STOPPED ? NULL : ml_enter(NULL); /* which would count an event */
	struct ml_header *h = ml_file_header();

	if (t)
		t->busy = ML_IN_RECORD;
	if (t && state() == ML_RECORDING)
		ml_ring_attend(t->ring, true);
	/* A child of vfork that could not exec ends here too, in its parent's memory. */
	if (state() >= ML_RECORDING && atomic_load(&ml_wiped->alive) && ml_process.pid == ml_sys_getpid()) {
		h->exit_status = status;
		__atomic_store_n(&h->end, ML_END_EXIT, __ATOMIC_RELEASE);
		ml_file_sync(NULL);
	}
	if (t)
		ml_leave(t);
}

__attribute__((constructor)) static void start(int argc, char **argv, char **environment)
{
	struct ml_object object;

	(void)argc;
	(void)argv;
	ml_options_read(environment);
	if (getauxval(AT_SECURE) || ml_options.off) {
		set_state(ML_INERT);
		return;
	}
	ml_thread.busy = ML_IN_RECORD;
	ml_symbols_changed(&ml_process.loader_seen);
	if (!ml_symbols_object_with("PyGILState_GetThisThreadState", &object))
		start_tracking(&object, false);
	else
		set_state(ML_DORMANT);
	ml_thread.busy = ML_IDLE;
}

__attribute__((destructor)) static void stop(void)
{
	ml_process_end(-1);
}
