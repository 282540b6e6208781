#include "preload/occurrences.h"

#include <errno.h>
#include <string.h>

#include "preload/barriers.h"
#include "preload/file.h"
#include "preload/identity.h"
#include "preload/monitoring.h"
#include "preload/process.h"
#include "preload/ring.h"
#include "preload/sys.h"
#include "preload/tree.h"
#include "symbolize/python/code.h"

/* A counter that was found lately. A code object is known by its version: addresses are used again. */
struct near {
	const void *code;
	uint32_t version; /* 0: nothing here */
	uint32_t line;
	struct ml_count *count;
};

#define NEARS 1024u /* a power of two */
#define GATE_NONE UINT32_MAX
#define SLOTS_MIN 1024u
#define FIRST_BYTES 16384u
#define MORE_BYTES 65536u

static struct {
	/* Of the trace that is being recorded, as the counters are ready for it. GATE_NONE: of none, or somebody waits
	   for a line. */
	_Atomic uint32_t gate;
	struct near near[NEARS];
	struct ml_count **slots; /* by code and line: open addressing, at most half full */
	uint32_t mask;
	uint32_t used;
	struct ml_count *next; /* the counters that are free in the newest extent */
	uint32_t left;
	bool has_extent;
} counting = {.gate = GATE_NONE};

static int state(void)
{
	return atomic_load_explicit(&ml_process.state, memory_order_acquire);
}

/* Counters. */

static bool map_counters(void)
{
	uint32_t bytes = counting.has_extent ? MORE_BYTES : FIRST_BYTES;

	ml_lock_take(&ml_process.lock);
	counting.next = ml_file_map(ML_EXTENT_COUNTS, 0, bytes);
	ml_lock_drop(&ml_process.lock);
	counting.left = counting.next ? bytes / sizeof *counting.next : 0;
	counting.has_extent |= counting.next != NULL;
	return counting.next != NULL;
}

static uint64_t slot_hash(uint32_t code, uint32_t line)
{
	uint64_t h = ((uint64_t)code << 32 | line) * 0x9e3779b97f4a7c15u;

	return h ^ h >> 32;
}

/* The slot of a counter, or the free one where it would be. */
static struct ml_count **slot_of(uint32_t code, uint32_t line)
{
	uint64_t i = slot_hash(code, line);

	for (;; i++) {
		struct ml_count **slot = &counting.slots[i & counting.mask];
		if (!*slot || ((*slot)->code == code && (*slot)->line == line))
			return slot;
	}
}

static bool grow_slots(void)
{
	struct ml_count **old = counting.slots;
	uint32_t slots = old ? counting.mask + 1 : 0, more = slots ? slots * 2 : SLOTS_MIN;
	struct ml_count **larger;

	if (counting.used * 2 < slots)
		return true;
	larger = ml_sys_pages(more * sizeof *larger);
	if (!larger)
		return false;
	counting.slots = larger;
	counting.mask = more - 1;
	for (uint32_t i = 0; i < slots; i++)
		if (old[i])
			*slot_of(old[i]->code, old[i]->line) = old[i];
	if (old)
		ml_sys_munmap(old, slots * sizeof *old);
	return true;
}

/* NULL: there is no room, or no such line, or the code object can't be described. */
static struct ml_count *count_of(const void *code, uint32_t line)
{
	uint32_t id = line - 1 < INT32_MAX ? ml_tree_code(code) : UINT32_MAX;
	struct ml_count **slot;

	if (id == UINT32_MAX || !grow_slots())
		return NULL;
	slot = slot_of(id, line);
	if (*slot)
		return *slot;
	if (!counting.left && !map_counters())
		return NULL;
	counting.left--;
	counting.used++;
	counting.next->code = id;
	counting.next->line = line;
	return *slot = counting.next++;
}

static inline struct near *near_of(const void *code, uint32_t line)
{
	return &counting.near[((uint32_t)((uintptr_t)code >> 5) * 31 + line) % NEARS];
}

static struct ml_count *find_count(const void *code, uint32_t line)
{
	struct near *near = near_of(code, line);
	uint32_t was;

	if (near->code != code || near->line != line || !near->version ||
	    near->version != ml_code_version(&ml_process.abi, code)) {
		was = ml_monitoring_enter();
		*near = (struct near){code, ml_code_version(&ml_process.abi, code), line, count_of(code, line)};
		ml_monitoring_leave(was);
		near->version = near->count ? near->version : 0;
	}
	return near->count;
}

void ml_occurrences_await_line(void)
{
	atomic_store_explicit(&counting.gate, GATE_NONE, memory_order_relaxed);
}

void ml_occurrences_reset(void)
{
	if (counting.slots)
		ml_sys_munmap(counting.slots, (counting.mask + (size_t)1) * sizeof *counting.slots);
	if (counting.has_extent) /* else it was not touched */
		memset(&counting, 0, sizeof counting);
	counting.gate = GATE_NONE;
}

/* Where the gate is another one than before: in a forked child, after a pause, or where somebody waits. */
__attribute__((noinline)) bool ml_occurrences_can_count(void)
{
	bool stopped = state() == ML_STOPPED || state() == ML_INERT;
	struct ml_thread *t;
	uint32_t was, gate;

	if (stopped && atomic_load(&ml_wiped->alive))
		return false;
	t = ml_enter(NULL); /* a child finds out that it is one */
	if (t)
		ml_leave(t);
	was = ml_monitoring_enter();
	if (state() == ML_EARLY || state() == ML_WAITING)
		ml_process_adopt();
	gate = atomic_load(&ml_wiped->gate);
	if (gate && state() == ML_RECORDING && (counting.has_extent || map_counters()))
		counting.gate = gate;
	ml_monitoring_leave(was);
	return gate && counting.gate == gate;
}

/* Callbacks. */

static void *disable(void)
{
	ml_monitoring.increase(ml_monitoring.disable);
	return ml_monitoring.disable;
}

/* One more run. False: it is the one that ends the counting. The position is known before the run counts. */
static bool count_run(struct ml_count *count, uint32_t ring, uint64_t position)
{
	if (__builtin_expect(count->count >= ML_COUNT_MAX, 0)) {
		count->count = ML_COUNT_MAX + 1;
		return false;
	}
	count->ring = ring;
	count->state = position;
	__atomic_store_n(&count->count, count->count + 1, __ATOMIC_RELEASE);
	return true;
}

/* What ml_occurrences_line_ran() does, whatever is unusual. */
static __attribute__((noinline)) void *line_ran_unusually(const void *code, uint32_t line, const void *number)
{
	struct ml_count *count;
	uint64_t position = 0;
	uint32_t ring;

	if (atomic_load(&ml_wiped->gate) != counting.gate && !ml_occurrences_can_count())
		return state() == ML_STOPPED ? disable() : ml_monitoring.none;
	ml_monitoring_disown(number);
	ml_barriers_obey();
	count = find_count(code, line);
	if (!count)
		return ml_monitoring.none;
	ring = ml_ring_newest(&position);
	return count_run(count, ring, position) ? ml_monitoring.none : disable();
}

void *ml_occurrences_line_ran(void *self, void *const *arguments, intptr_t n)
{
	const void *code = arguments[0], *number = arguments[1];
	uint32_t line = (uint32_t)ml_monitoring.number_of(arguments[1]);
	const struct near *near = near_of(code, line);
	const struct ml_thread *t = &ml_thread;
	const struct ml_ring *r = t->ring;
	const uint32_t gate = atomic_load_explicit(&counting.gate, memory_order_relaxed);

	(void)self;
	(void)n;
	if (__builtin_expect(atomic_load_explicit(&ml_wiped->gate, memory_order_relaxed) == gate, 1) &&
	    __builtin_expect(t->gate == gate && near->code == code && near->line == line, 1) &&
	    __builtin_expect(near->version && near->version == ml_code_version(&ml_process.abi, code), 1) &&
	    __builtin_expect(ml_ring_has_turn(r) && !ml_ring_is_newest(r, number), 1))
		return count_run(near->count, r->id, r->piece->state) ? ml_monitoring.none : disable();
	return line_ran_unusually(code, line, number);
}

/* Code objects. */

/* No longer than that are the names of files and functions that are looked at. */
static char names[2 * ML_IDENTITY_FILE_MAX];

/* The calling thread's innermost frame, or NULL. */
static const void *top_frame(void)
{
	struct ml_walker walker = {.self = 0};
	uint32_t was = ml_monitoring_enter();
	const void *frame = ml_walk_top(&ml_process.abi, &walker, (uintptr_t)__builtin_frame_address(0));

	ml_monitoring_leave(was);
	return frame;
}

/* The next frame from this one on that runs code of the program; NULL: there is none. */
static const void *running(const void *frame)
{
	const struct ml_abi *abi = &ml_process.abi;

	while (frame && ml_frame_kind(abi, frame, ml_frame_code(abi, frame)) == ML_FRAME_SHIM)
		frame = ml_frame_previous(abi, frame);
	return frame;
}

static bool has_file_in_scope(const void *code)
{
	struct ml_code_text name;
	uint32_t was;
	bool has;

	if (ml_code_describe(&ml_process.abi, code, names, sizeof names, &name))
		return false;
	was = ml_monitoring_enter();
	ml_lock_take(&ml_process.lock);
	has = ml_identity_has(name.file, name.file_bytes);
	ml_lock_drop(&ml_process.lock);
	ml_monitoring_leave(was);
	return has;
}

/* A text that Python code compiles is not the program, even where the program is a text of the same name. */
static bool is_in_scope(const void *code)
{
	return has_file_in_scope(code) && !(ml_code_is_text(&ml_process.abi, code) && running(top_frame()));
}

void ml_occurrences_made(void *code)
{
	if (is_in_scope(code))
		ml_monitoring_tell(code, ML_PYTHON_LINE, true);
}

/* The code and all that is defined in it. */
static void switch_on_all(void *code)
{
	const struct ml_offsets *at = &ml_process.abi.is.at;
	const char *constants = (const char *)ml_load_word(code, at->code_consts);
	size_t n = ml_load_word(constants, at->object_size);
	void *const *items = (void *const *)(constants + at->object_size + sizeof(uintptr_t)); /* PyTupleObject */

	ml_monitoring_tell(code, ML_PYTHON_LINE, true);
	for (size_t i = 0; i < n; i++)
		if (ml_code_is_one(&ml_process.abi, items[i]))
			switch_on_all(items[i]);
}

/* Of the code that was there before us only a program is counted that has just been started: no line of it ran. It
   stands at its RESUME, where pending calls are made, or behind it. */
void ml_occurrences_begin(void)
{
	const struct ml_abi *abi = &ml_process.abi;
	const void *frame = running(top_frame());
	void *code = frame ? (void *)ml_frame_code(abi, frame) : NULL;

	if (!frame || ml_frame_kind(abi, frame, code) != ML_FRAME_PYTHON || running(ml_frame_previous(abi, frame)))
		return;
	if ((uint32_t)ml_load_int(code, abi->is.at.code_flags) & ML_CO_FUNCTION ||
	    ml_frame_place(abi, code, ml_frame_instr(abi, frame)) >
		    2 * (ml_load_int(code, abi->is.at.code_first_traceable) + 1))
		return;
	if (has_file_in_scope(code))
		switch_on_all(code);
}
