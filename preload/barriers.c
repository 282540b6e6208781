#include "preload/barriers.h"

#include <errno.h>

#include "preload/monitoring.h"
#include "preload/occurrences.h"
#include "preload/options.h"
#include "preload/process.h"
#include "preload/ring.h"
#include "symbolize/python/code.h"

#define BARRIERS 64u

/* Returns of no interest after which no more of them are to be told. */
#define IDLE_MAX 2048u

static struct ml_barrier barriers[BARRIERS]; /* by version */

/* The one code object that the interpreter is to be asked about next. */
static struct {
	_Atomic uint32_t state;
	const void *code;
	uint32_t version;
} request;

enum { REQUEST_NONE, REQUEST_MADE, REQUEST_READY };

static _Atomic bool can_ask;
static _Atomic bool is_queued; /* obey_later() */

static struct ml_barrier *slot_of(uint32_t version)
{
	return &barriers[version % BARRIERS];
}

/* The interpreter's own code, which has no file, may be shared with other interpreters, whose returns are not told. */
static bool is_fit(const void *code)
{
	const struct ml_offsets *at = &ml_process.abi.is.at;
	const uint32_t flags = (uint32_t)ml_load_int(code, at->code_flags);

	return !(flags & (ML_CO_GENERATOR | ml_process.abi.is.init_shim)) &&
	       !ml_load_word((const void *)ml_load_word(code, at->code_exceptions), at->object_size) &&
	       !ml_code_is_text(&ml_process.abi, code);
}

/* False: a stack relies on it. */
static bool tell_no_more(struct ml_barrier *b)
{
	atomic_store(&b->told, false);
	if (atomic_load(&b->holders)) {
		atomic_store(&b->told, true);
		return false;
	}
	ml_monitoring_tell((void *)(uintptr_t)b->code, ML_PYTHON_RETURN, false);
	return true;
}

static void tell(const void *code, uint32_t version)
{
	struct ml_barrier *b = slot_of(version);

	if (atomic_load(&b->told) && !tell_no_more(b))
		return;
	b->code = code;
	b->version = version;
	b->idle = 0;
	atomic_store(&b->holders, 0);
	atomic_store(&b->told, ml_monitoring_tell((void *)(uintptr_t)code, ML_PYTHON_RETURN, true));
}

/*
 * A request that is ready is about a code object that is there: see ml_barriers_forget(). With several interpreters
 * nothing is asked: what one of them makes for a code object must not be freed by another.
 */
void ml_barriers_obey(void)
{
	uint32_t ready = REQUEST_READY;

	if (atomic_load(&request.state) == REQUEST_READY &&
	    atomic_compare_exchange_strong(&request.state, &ready, REQUEST_MADE)) {
		if (ml_abi_is_single(&ml_process.abi))
			tell(request.code, request.version);
		atomic_store(&request.state, REQUEST_NONE);
	}
}

static int obey_later(void *unused)
{
	(void)unused;
	atomic_store(&is_queued, false);
	ml_barriers_obey();
	return 0;
}

static void ask(const void *code, uint32_t version)
{
	uint32_t none = REQUEST_NONE;

	if (atomic_compare_exchange_strong(&request.state, &none, REQUEST_MADE)) {
		request.code = code;
		request.version = version;
		atomic_store(&request.state, REQUEST_READY);
		ml_occurrences_await_line();
	}
	/* The main thread may wait for others, and there may be no line that is counted any more: so both are asked. */
	if (!atomic_exchange(&is_queued, true) && !ml_monitoring_call_later(obey_later))
		atomic_store(&is_queued, false);
}

enum ml_barrier_state ml_barriers_of(const void *code, uint32_t version, struct ml_barrier **barrier)
{
	struct ml_barrier *b = slot_of(version);

	if (!atomic_load(&can_ask) || !version || !is_fit(code))
		return ML_BARRIER_UNFIT;
	if (b->code == code && b->version == version) {
		*barrier = b;
		return atomic_load(&b->told) ? ML_BARRIER_TOLD : ML_BARRIER_UNFIT;
	}
	if (!ml_abi_is_single(&ml_process.abi))
		return ML_BARRIER_UNFIT;
	ask(code, version);
	return ML_BARRIER_ASKED;
}

/* With tell_no_more(): either that finds the holder, or this finds that nothing is told. */
bool ml_barriers_hold(struct ml_barrier *b, uint32_t version)
{
	atomic_fetch_add(&b->holders, 1);
	if (atomic_load(&b->told) && b->version == version)
		return true;
	atomic_fetch_sub(&b->holders, 1);
	return false;
}

void ml_barriers_let_go(struct ml_barrier *b, uint32_t version)
{
	if (b->version == version && atomic_load(&b->holders))
		atomic_fetch_sub(&b->holders, 1);
}

void ml_barriers_reset(void)
{
	for (uint32_t i = 0; i < BARRIERS; i++)
		atomic_store(&barriers[i].holders, 0);
	atomic_store(&request.state, REQUEST_NONE);
	atomic_store(&is_queued, false);
}

void ml_barriers_begin(void)
{
	/* Tracebacks are objects: they are seen where objects are recorded. */
	atomic_store(&can_ask, ml_options.objects && ml_process.abi.is.at.thread_tracing);
}

void ml_barriers_end(void)
{
	atomic_store(&can_ask, false);
	for (uint32_t i = 0; i < BARRIERS; i++)
		atomic_store(&barriers[i].told, false);
	ml_ring_doubt();
}

void ml_barriers_forget(const void *code)
{
	struct ml_barrier *b = slot_of(ml_code_version(&ml_process.abi, code));
	uint32_t ready = REQUEST_READY;

	if (b->code == code) {
		atomic_store(&b->told, false);
		b->code = NULL;
		b->version = 0;
	}
	if (request.code == code)
		atomic_compare_exchange_strong(&request.state, &ready, REQUEST_NONE);
}

/* Whether the frame that returns is the thread's barrier. */
static bool is_awaited(const void *code)
{
	struct ml_ring *r = ml_thread.ring;
	uint32_t was = ml_monitoring_enter();
	bool awaited = r && ml_stack_returned(&r->stack, code);

	ml_monitoring_leave(was);
	return awaited;
}

void *ml_barriers_returned(void *self, void *const *arguments, intptr_t n)
{
	const void *code = arguments[0];
	struct ml_barrier *b = slot_of(ml_code_version(&ml_process.abi, code));
	int error = errno;

	(void)self;
	(void)n;
	ml_monitoring_disown(arguments[1]);
	if (!is_awaited(code) && b->code == code && ++b->idle > IDLE_MAX && atomic_load(&b->told)) {
		b->idle = 0;
		tell_no_more(b);
	}
	errno = error;
	return ml_monitoring.none;
}
