#include "symbolize/native/unwind.h"

#include <stdatomic.h>
#include <string.h>

#include "symbolize/readable.h"

/* DWARF's numbers of registers ("System V ABI, AMD64", figure 3.36; "DWARF for the Arm 64-bit Architecture", 4.1). */
#if defined(__x86_64__)
#define FP 6
#define SP 7
#define RA 16
#elif defined(__aarch64__)
#define FP 29
#define RA 30
#define SP 31
#else
#error "no unwinding for this machine"
#endif

/* Pages of a stack of unknown extent that are asked for. */
#define REACH_PAGES 2048u

enum how {
	FROM_SP = 1, /* CFA, the stack pointer of the caller: sp plus an offset */
	FROM_FP,
	FROM_MEMORY, /* what stands at fp plus an offset, where the function has aligned its stack */
	SIGNAL,      /* the return from a signal handler */
	END,
	LOST,
};

/* How to get from a frame to its caller, given pc. Fits a word, so that it can be kept. */
union rule {
	struct {
		uint64_t how : 3; /* enum how */
		int64_t cfa : 29; /* the offset in bytes */
		int64_t fp : 16;  /* where the caller's frame pointer is: words from CFA (FROM_MEMORY: from fp) */
		int64_t ra : 16;  /* the return address: words from CFA */
	} is;
	uint64_t word;
};

/* fp of a function that leaves the register as it is. No offset is. */
#define UNTOUCHED INT16_MIN

#define RULES 8192u

/*
 * Rules that were made, process-wide. A key holds the address, the epoch of the modules and the rule, so that halves of
 * two entries, which threads may have written at once, are never taken for one.
 */
static struct {
	_Atomic uint64_t key, rule;
} rules[RULES];

/* Bytes of a table. Behind the end everything is 0. */
struct reader {
	const uint8_t *at, *end;
};

static uint64_t get_bytes(struct reader *r, unsigned n)
{
	uint64_t value = 0;

	if ((size_t)(r->end - r->at) < n) {
		r->at = r->end;
		return 0;
	}
	memcpy(&value, r->at, n);
	r->at += n;
	return value;
}

static uint8_t get_byte(struct reader *r)
{
	return (uint8_t)get_bytes(r, 1);
}

static uint64_t get_leb(struct reader *r, bool is_signed)
{
	uint64_t value = 0;
	uint8_t byte;
	unsigned shift = 0;

	do {
		byte = get_byte(r);
		if (shift < 64)
			value |= (uint64_t)(byte & 0x7f) << shift;
		shift += 7;
	} while (byte & 0x80);
	if (is_signed && shift < 64 && byte & 0x40)
		value |= ~(uint64_t)0 << shift;
	return value;
}

static uint64_t get_uleb(struct reader *r)
{
	return get_leb(r, false);
}

static int64_t get_sleb(struct reader *r)
{
	return (int64_t)get_leb(r, true);
}

static void skip(struct reader *r, uint64_t bytes)
{
	r->at += bytes > (uint64_t)(r->end - r->at) ? (size_t)(r->end - r->at) : bytes;
}

/* DW_EH_PE_*: the low four bits are the format. */
#define POINTER_OMITTED 0xffu
#define POINTER_FORMAT 0x0fu
#define POINTER_RELATIVE 0x10u /* to where it stands */
#define TABLE_RELATIVE 0x30u   /* to the start of .eh_frame_hdr */

static uint64_t get_format(struct reader *r, uint8_t encoding)
{
	switch (encoding & POINTER_FORMAT) {
	case 0x1:
		return get_uleb(r);
	case 0x2:
		return get_bytes(r, 2);
	case 0x3:
		return get_bytes(r, 4);
	case 0x9:
		return (uint64_t)get_sleb(r);
	case 0xa:
		return (uint64_t)(int16_t)get_bytes(r, 2);
	case 0xb:
		return (uint64_t)(int32_t)get_bytes(r, 4);
	default:
		return get_bytes(r, 8);
	}
}

static uintptr_t get_pointer(struct reader *r, uint8_t encoding)
{
	uintptr_t here = (uintptr_t)r->at, value = get_format(r, encoding);

	return value && (encoding & 0x70u) == POINTER_RELATIVE ? value + here : value;
}

/* The description of a function (FDE) and what it has in common with others (CIE). */
struct function {
	struct ml_unwind_range range;
	struct reader common; /* instructions that come first */
	struct reader own;
	uint64_t code_align;
	int64_t data_align;
	bool signal;
};

/* A record of .eh_frame behind its length; empty where it doesn't lie in the module. */
static struct reader open_record(const struct ml_module *m, uintptr_t at)
{
	struct reader r = {NULL, NULL};
	uint32_t length;

	if (at < m->start || at > m->end - 4)
		return r;
	memcpy(&length, (const void *)at, 4);
	if (length > m->end - at - 4) /* also one of 64 bits, which nobody writes */
		return r;
	r.at = (const uint8_t *)at + 4;
	r.end = r.at + length;
	return r;
}

/* What stands in a CIE. False: it is of no known kind. */
static bool read_common(const struct ml_module *m, uintptr_t at, struct function *f, uint8_t *encoding)
{
	struct reader r = open_record(m, at), data;
	const char *augmentation;
	uint8_t version;
	uint64_t length;

	if (get_bytes(&r, 4) || ((version = get_byte(&r)) != 1 && version != 3))
		return false;
	augmentation = (const char *)r.at;
	while (get_byte(&r))
		;
	f->code_align = get_uleb(&r);
	f->data_align = get_sleb(&r);
	if ((version == 1 ? get_byte(&r) : get_uleb(&r)) != RA || *augmentation++ != 'z')
		return false;
	length = get_uleb(&r);
	data = (struct reader){r.at, r.at};
	skip(&r, length);
	data.end = r.at;
	for (*encoding = 0; *augmentation; augmentation++) {
		if (*augmentation == 'R')
			*encoding = get_byte(&data);
		else if (*augmentation == 'P')
			get_pointer(&data, get_byte(&data));
		else if (*augmentation == 'L')
			get_byte(&data);
		else if (*augmentation == 'S')
			f->signal = true;
	}
	f->common = r;
	return true;
}

static bool read_function(const struct ml_module *m, uintptr_t at, struct function *f)
{
	struct reader r = open_record(m, at);
	uintptr_t here = (uintptr_t)r.at;
	uint32_t distance = (uint32_t)get_bytes(&r, 4);
	uint8_t encoding;

	*f = (struct function){.signal = false};
	if (!distance || !read_common(m, here - distance, f, &encoding))
		return false;
	f->range.start = get_pointer(&r, encoding);
	f->range.end = f->range.start + get_format(&r, encoding & POINTER_FORMAT);
	skip(&r, get_uleb(&r));
	f->own = r;
	return f->range.end > f->range.start;
}

/* .eh_frame_hdr's table, ordered by address. Both are relative to the start of .eh_frame_hdr. */
struct table_entry {
	int32_t function;
	int32_t description;
};

#define TABLE_ENCODING (TABLE_RELATIVE | 0xbu)

/* The description of the function around an address. False: there is none. */
static bool find_function(const struct ml_module *m, uintptr_t address, struct function *f)
{
	struct reader r = {(const uint8_t *)m->unwind_table, (const uint8_t *)m->end};
	const struct table_entry *entries;
	uint64_t count, low = 0;
	uint8_t pointer, counted;

	/* The module may be gone, and the address be no return address. */
	if (!m->unwind_table || !ml_is_readable(r.at, 12) || get_byte(&r) != 1)
		return false;
	pointer = get_byte(&r);
	counted = get_byte(&r);
	if (get_byte(&r) != TABLE_ENCODING || counted == POINTER_OMITTED)
		return false;
	get_pointer(&r, pointer);
	count = get_format(&r, counted);
	entries = (const struct table_entry *)r.at;
	if (count > (size_t)(r.end - r.at) / sizeof *entries)
		return false;
	for (uint64_t high = count; low < high;) {
		uint64_t middle = low + (high - low) / 2;
		if (m->unwind_table + (uintptr_t)(intptr_t)entries[middle].function <= address)
			low = middle + 1;
		else
			high = middle;
	}
	return low && read_function(m, m->unwind_table + (uintptr_t)(intptr_t)entries[low - 1].description, f) &&
	       address >= f->range.start && address < f->range.end;
}

/* Where a register of the caller is. */
struct place {
	enum { SAME, AT_CFA, AT_FP, NOWHERE, ELSEWHERE } how;
	int64_t offset; /* in bytes */
};

/* A row of the table that the instructions make. */
struct row {
	enum how how; /* of CFA; 0: in a way that isn't known */
	int64_t cfa;
	struct place fp, ra;
};

#define ROWS_KEPT 16

struct machine {
	const struct function *function;
	struct row row, first; /* first: as the instructions of the CIE leave it */
	struct row kept[ROWS_KEPT];
	unsigned kept_n;
	uintptr_t location;
};

static void set_place(struct machine *m, uint64_t reg, struct place place)
{
	if (reg == FP)
		m->row.fp = place;
	else if (reg == RA)
		m->row.ra = place;
}

static void restore_place(struct machine *m, uint64_t reg)
{
	set_place(m, reg, reg == FP ? m->first.fp : m->first.ra);
}

static void set_cfa(struct machine *m, uint64_t reg, int64_t offset)
{
	m->row.how = reg == SP ? FROM_SP : reg == FP ? FROM_FP : 0;
	m->row.cfa = offset;
}

#define OP_DEREF 0x06u
#define OP_BREG_FP (0x70u + FP)

/* Takes an expression that is fp plus an offset, and with that the word there (deref). */
static bool get_expression(struct reader *r, bool deref, int64_t *offset)
{
	uint64_t length = get_uleb(r);
	struct reader e = {r->at, r->at};
	bool is_one;

	skip(r, length);
	e.end = r->at;
	is_one = get_byte(&e) == OP_BREG_FP;
	*offset = get_sleb(&e);
	return is_one && (!deref || get_byte(&e) == OP_DEREF) && e.at == e.end;
}

static void set_expression(struct machine *m, struct reader *r)
{
	uint64_t reg = get_uleb(r);
	int64_t offset;

	if (get_expression(r, false, &offset))
		set_place(m, reg, (struct place){AT_FP, offset});
	else
		set_place(m, reg, (struct place){ELSEWHERE, 0});
}

static void set_offset(struct machine *m, uint64_t reg, int64_t factored)
{
	set_place(m, reg, (struct place){AT_CFA, factored * m->function->data_align});
}

static void push_row(struct machine *m)
{
	if (m->kept_n < ROWS_KEPT)
		m->kept[m->kept_n] = m->row;
	m->kept_n++;
}

static void pop_row(struct machine *m)
{
	if (!m->kept_n)
		return;
	m->kept_n--;
	m->row = m->kept_n < ROWS_KEPT ? m->kept[m->kept_n] : (struct row){.how = 0};
}

/* One of the instructions whose number is a whole byte, DW_CFA_*: about the rule for a register. False: it isn't. */
static bool run_register(struct machine *m, uint8_t code, struct reader *r)
{
	uint64_t reg;

	switch (code) {
	case 0x05: /* offset_extended */
		reg = get_uleb(r);
		set_offset(m, reg, (int64_t)get_uleb(r));
		return true;
	case 0x06: /* restore_extended */
		restore_place(m, get_uleb(r));
		return true;
	case 0x07: /* undefined */
		set_place(m, get_uleb(r), (struct place){NOWHERE, 0});
		return true;
	case 0x08: /* same_value */
		set_place(m, get_uleb(r), (struct place){SAME, 0});
		return true;
	case 0x09: /* register, val_offset */
	case 0x14:
		set_place(m, get_uleb(r), (struct place){ELSEWHERE, 0});
		get_uleb(r);
		return true;
	case 0x10: /* expression */
		set_expression(m, r);
		return true;
	case 0x11: /* offset_extended_sf */
		reg = get_uleb(r);
		set_offset(m, reg, get_sleb(r));
		return true;
	case 0x16: /* val_expression */
		set_place(m, get_uleb(r), (struct place){ELSEWHERE, 0});
		skip(r, get_uleb(r));
		return true;
	default:
		return false;
	}
}

/* The same about anything else. */
static bool run_other(struct machine *m, uint8_t code, struct reader *r)
{
	uint64_t reg;

	switch (code) {
	case 0x00: /* nop */
	case 0x2d: /* AARCH64_negate_ra_state: return addresses are stripped of a signature in any case */
		return true;
	case 0x02: /* advance_loc1, 2, 4 */
	case 0x03:
	case 0x04:
		m->location += get_bytes(r, 1u << (code - 2)) * m->function->code_align;
		return true;
	case 0x0a: /* remember_state */
		push_row(m);
		return true;
	case 0x0b: /* restore_state */
		pop_row(m);
		return true;
	case 0x0c: /* def_cfa */
		reg = get_uleb(r);
		set_cfa(m, reg, (int64_t)get_uleb(r));
		return true;
	case 0x0d: /* def_cfa_register */
		set_cfa(m, get_uleb(r), m->row.cfa);
		return true;
	case 0x0e: /* def_cfa_offset */
		m->row.cfa = (int64_t)get_uleb(r);
		return true;
	case 0x0f: /* def_cfa_expression */
		m->row.how = get_expression(r, true, &m->row.cfa) ? FROM_MEMORY : 0;
		return true;
	case 0x12: /* def_cfa_sf */
		reg = get_uleb(r);
		set_cfa(m, reg, get_sleb(r) * m->function->data_align);
		return true;
	case 0x13: /* def_cfa_offset_sf */
		m->row.cfa = get_sleb(r) * m->function->data_align;
		return true;
	case 0x2e: /* GNU_args_size */
		get_uleb(r);
		return true;
	default:
		return false;
	}
}

/* Runs instructions as far as they are about what comes before the address. False: one is not known. */
static bool run(struct machine *m, struct reader r, uintptr_t address)
{
	while (r.at < r.end) {
		uint8_t code = get_byte(&r), low = code & 0x3f;
		switch (code >> 6) {
		case 1: /* advance_loc */
			m->location += low * m->function->code_align;
			break;
		case 2: /* offset */
			set_offset(m, low, (int64_t)get_uleb(&r));
			break;
		case 3: /* restore */
			restore_place(m, low);
			break;
		default:
			if (!run_register(m, code, &r) && !run_other(m, code, &r))
				return false;
		}
		if (m->location > address)
			break;
	}
	return true;
}

/* An offset in words that a rule has room for. */
static bool in_words(const struct place *p, int64_t *words)
{
	*words = p->offset / 8;
	return !(p->offset & 7) && *words > UNTOUCHED && *words <= INT16_MAX;
}

static union rule rule_of_row(const struct row *row)
{
	union rule rule = {.is = {.how = row->how, .fp = UNTOUCHED}};
	int64_t words;

	if (row->ra.how == NOWHERE)
		return (union rule){.is = {.how = END}};
	if (!row->how || row->ra.how != AT_CFA || !in_words(&row->ra, &words) || row->cfa >= 1 << 28 ||
	    row->cfa < -(1 << 28))
		return (union rule){.is = {.how = LOST}};
	rule.is.cfa = row->cfa;
	rule.is.ra = words;
	if (row->fp.how == SAME)
		return rule;
	if (row->fp.how != (row->how == FROM_MEMORY ? AT_FP : AT_CFA) || !in_words(&row->fp, &words))
		return (union rule){.is = {.how = LOST}};
	rule.is.fp = words;
	return rule;
}

/* address: where the call is. No call returns to the start of a function behind a gap: who made a stack by hand has put
   that address there (makecontext does). */
static union rule make_rule(const struct ml_module *module, uintptr_t address)
{
	struct function f;
	struct machine m = {.function = &f};

	if (!find_function(module, address, &f)) {
		bool is_start = find_function(module, address + 1, &f) && f.range.start == address + 1;
		return (union rule){.is = {.how = is_start ? END : LOST}};
	}
	if (f.signal)
		return (union rule){.is = {.how = SIGNAL}};
	m.location = f.range.start;
	if (!run(&m, f.common, UINTPTR_MAX))
		return (union rule){.is = {.how = LOST}};
	m.first = m.row;
	if (!run(&m, f.own, address))
		return (union rule){.is = {.how = LOST}};
	return rule_of_row(&m.row);
}

/* 0: the address is in no module. */
static __attribute__((noinline)) union rule ask_rule(const struct ml_modules *modules, uintptr_t pc, uint64_t place)
{
	const struct ml_module *module = ml_modules_at(modules, pc - 1);
	union rule rule = {.word = 0};

	if (!module)
		return rule;
	rule = make_rule(module, pc - 1);
	atomic_store_explicit(&rules[pc % RULES].rule, rule.word, memory_order_relaxed);
	atomic_store_explicit(&rules[pc % RULES].key, place ^ rule.word, memory_order_relaxed);
	return rule;
}

static inline union rule find_rule(const struct ml_modules *modules, uintptr_t pc)
{
	uint64_t place = pc ^ (uint64_t)ml_modules_epoch(modules) << 48;
	union rule rule = {.word = atomic_load_explicit(&rules[pc % RULES].rule, memory_order_relaxed)};

	if (__builtin_expect((atomic_load_explicit(&rules[pc % RULES].key, memory_order_relaxed) ^ rule.word) == place,
			     1))
		return rule;
	return ask_rule(modules, pc, place);
}

static uintptr_t page_of(uintptr_t address)
{
	return address & ~(uintptr_t)(ML_PAGE_BYTES - 1);
}

void ml_unwind_stack_at(struct ml_unwind_stack *stack, uintptr_t sp)
{
	*stack = (struct ml_unwind_stack){page_of(sp), page_of(sp), true};
}

static __attribute__((noinline)) bool reach(struct ml_unwind_stack *stack, uintptr_t address)
{
	if (!stack->grows || address < stack->start || address - stack->start >= REACH_PAGES * ML_PAGE_BYTES)
		return false;
	for (; stack->end <= address; stack->end += ML_PAGE_BYTES)
		if (!ml_is_readable((const void *)stack->end, 1))
			return false;
	return true;
}

/* The word at an address of the stack; NULL: it cannot be read. */
static inline const uintptr_t *word_at(struct ml_unwind_stack *stack, uintptr_t address)
{
	if (__builtin_expect((address & 7) != 0, 0))
		return NULL;
	if (__builtin_expect(address - stack->start >= stack->end - stack->start, 0) && !reach(stack, address))
		return NULL;
	return (const uintptr_t *)address;
}

/* Without the signature that the machine may have put into it. */
static inline uintptr_t strip(uintptr_t return_address)
{
#if defined(__aarch64__)
	register uintptr_t x30 __asm__("x30") = return_address;
	__asm__("hint 7" : "+r"(x30)); /* xpaclri */
	return x30;
#else
	return return_address;
#endif
}

/*
 * Registers as they were when a signal came, which the kernel leaves in a ucontext_t: on x86-64 where the stack pointer
 * is when the handler has returned, on aarch64 behind a siginfo_t (struct rt_sigframe, arch/.../kernel/signal.c).
 */
#if defined(__x86_64__)
#define SAVED_REGISTERS 40 /* uc_mcontext */
#define SAVED_FP (SAVED_REGISTERS + 8 * 10)
#define SAVED_SP (SAVED_REGISTERS + 8 * 15)
#define SAVED_PC (SAVED_REGISTERS + 8 * 16)
#else
#define SAVED_REGISTERS (128 + 176 + 8) /* uc_mcontext.regs */
#define SAVED_FP (SAVED_REGISTERS + 8 * 29)
#define SAVED_SP (SAVED_REGISTERS + 8 * 31)
#define SAVED_PC (SAVED_REGISTERS + 8 * 32)
#endif

static __attribute__((noinline)) enum ml_unwind step_over_signal(struct ml_unwind_stack *stack, uintptr_t sp,
								 struct ml_unwind_step *step)
{
	const uintptr_t *fp = word_at(stack, sp + SAVED_FP), *to = word_at(stack, sp + SAVED_SP),
			*pc = word_at(stack, sp + SAVED_PC);

	if (!fp || !to || !pc)
		return ML_UNWIND_LOST;
	*step = (struct ml_unwind_step){.caller = {*pc + 1, *to, *fp}, .signal = true};
	return ML_UNWIND_CALLER;
}

enum ml_unwind ml_unwind_step(const struct ml_modules *modules, struct ml_unwind_stack *stack,
			      const struct ml_unwind_frame *frame, struct ml_unwind_step *step)
{
	const union rule rule = find_rule(modules, frame->pc);
	const uintptr_t *memory;
	uintptr_t cfa;

	step->by_fp = step->unsteady = step->signal = false;
	switch (rule.is.how) {
	case FROM_SP:
		cfa = frame->sp + (uintptr_t)(int64_t)rule.is.cfa;
		break;
	case FROM_FP:
		cfa = frame->fp + (uintptr_t)(int64_t)rule.is.cfa;
		step->by_fp = true;
		break;
	case FROM_MEMORY:
		memory = word_at(stack, frame->fp + (uintptr_t)(int64_t)rule.is.cfa);
		cfa = memory ? *memory : 0;
		step->by_fp = step->unsteady = true;
		break;
	case SIGNAL:
		return step_over_signal(stack, frame->sp, step);
	case END:
		return ML_UNWIND_END;
	case LOST:
		return ML_UNWIND_LOST;
	default:
		return ML_UNWIND_UNKNOWN;
	}
	step->pc_slot = word_at(stack, cfa + (uintptr_t)(int64_t)rule.is.ra * 8);
	if (__builtin_expect(cfa <= frame->sp || !step->pc_slot, 0))
		return ML_UNWIND_LOST;
	step->pc_word = *step->pc_slot;
	step->caller = (struct ml_unwind_frame){strip(step->pc_word), cfa, frame->fp};
	step->fp_slot = NULL;
	if (rule.is.fp != UNTOUCHED) {
		step->fp_slot = word_at(stack, (step->unsteady ? frame->fp : cfa) + (uintptr_t)(int64_t)rule.is.fp * 8);
		if (__builtin_expect(!step->fp_slot, 0))
			return ML_UNWIND_LOST;
		step->caller.fp = *step->fp_slot;
	}
	return step->caller.pc ? ML_UNWIND_CALLER : ML_UNWIND_END;
}

__attribute__((noinline)) struct ml_unwind_frame ml_unwind_here(void)
{
	const uintptr_t *saved = __builtin_frame_address(0);

	return (struct ml_unwind_frame){(uintptr_t)__builtin_return_address(0), (uintptr_t)__builtin_dwarf_cfa(),
					*saved};
}

struct ml_unwind_range ml_unwind_function(const struct ml_modules *modules, uintptr_t address)
{
	const struct ml_module *module = ml_modules_at(modules, address);
	struct function f;

	if (!module || !find_function(module, address, &f))
		return (struct ml_unwind_range){0, 0};
	return f.range;
}

/* Where the instruction at this address jumps to; 0: it is no jump. What is read on x86-64 may be the middle of an
   instruction. */
static uintptr_t target_of(uintptr_t at)
{
	int32_t distance;
#if defined(__x86_64__)
	const uint8_t *code = (const uint8_t *)at;
	unsigned opcode = code[0] == 0x0f && (code[1] & 0xf0) == 0x80 ? 2 : code[0] == 0xe9 ? 1 : 0;

	if (!opcode)
		return 0;
	memcpy(&distance, code + opcode, 4);
	return at + opcode + 4 + (uintptr_t)(intptr_t)distance;
#else
	uint32_t code;

	memcpy(&code, (const void *)at, 4);
	if ((code & 0xfc000000u) == 0x14000000u) /* b */
		distance = (int32_t)(code << 6) >> 4;
	else if ((code & 0xff000010u) == 0x54000000u || (code & 0x7e000000u) == 0x34000000u) /* b.cond, cbz, cbnz */
		distance = (int32_t)(code << 8) >> 11 & ~3;
	else
		return 0;
	return at + (uintptr_t)(intptr_t)distance;
#endif
}

#if defined(__x86_64__)
#define CODE_UNIT 1u
#define LONGEST_JUMP 6u
#else
#define CODE_UNIT 4u
#define LONGEST_JUMP 4u
#endif

/* Bytes that look like a jump without being one seldom lead into code, and never twice into one function. */
#define JUMPS_NEEDED 2

struct ml_unwind_range ml_unwind_cold(const struct ml_modules *modules, struct ml_unwind_range function)
{
	struct ml_unwind_range seen[8], to;
	unsigned times[8], n = 0, i;

	for (uintptr_t at = function.start; at + LONGEST_JUMP <= function.end; at += CODE_UNIT) {
		uintptr_t target = target_of(at);
		if (!target || (target >= function.start && target < function.end))
			continue;
		to = ml_unwind_function(modules, target);
		if (!to.start || to.start == target)
			continue;
		for (i = 0; i < n && seen[i].start != to.start; i++)
			;
		if (i == sizeof(seen) / sizeof(seen[0]))
			continue;
		if (i == n) {
			seen[n] = to;
			times[n++] = 0;
		}
		if (++times[i] == JUMPS_NEEDED)
			return to;
	}
	return (struct ml_unwind_range){0, 0};
}
