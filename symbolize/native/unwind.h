/*
 * The native frames of the calling thread, innermost first, by the tables that compilers make for C++ exceptions:
 * .eh_frame and .eh_frame_hdr ("Linux Standard Base Core Specification" 5.0, 10.6; "DWARF Debugging Information Format"
 * 5, 6.4).
 *
 * In process: allocates nothing, takes no lock, leaves errno alone, and asks neither the loader nor a library of
 * unwinding: one that came into the process with us could take the place of the one that the program's exceptions use.
 * Any memory may lie on the stack; what isn't known to be readable is asked for before it is read.
 *
 *	struct ml_unwind_frame frame = ml_unwind_here();
 *	ml_unwind_stack_at(&stack, frame.sp);
 *	while (ml_unwind_step(modules, &stack, &frame, &step) == ML_UNWIND_CALLER)
 *		frame = step.caller;
 */
#ifndef ML_SYMBOLIZE_NATIVE_UNWIND_H
#define ML_SYMBOLIZE_NATIVE_UNWIND_H

#include <stdbool.h>
#include <stdint.h>

#include "symbolize/native/modules.h"

/* A function that has called another one. */
struct ml_unwind_frame {
	uintptr_t pc; /* where the call returns to; where a signal has interrupted it, the next instruction + 1 */
	uintptr_t sp; /* stack pointer, when it has returned */
	uintptr_t fp; /* frame pointer (rbp, x29), which may hold anything, then */
};

/*
 * How a caller was found. It is the same again for the same frame as long as these words stand where they stood; which
 * of the frame's registers that takes is said here too, since the frame pointer mostly is a register as any other.
 */
struct ml_unwind_step {
	struct ml_unwind_frame caller;
	const uintptr_t *pc_slot;
	uintptr_t pc_word;        /* there */
	const uintptr_t *fp_slot; /* where the caller's frame pointer is; NULL: it is the frame's */
	bool by_fp;               /* the caller was found by the frame pointer, */
	bool unsteady;            /* and by a further word: it has to be found anew each time */
	bool signal; /* the frame is that of the return from a signal handler: the caller may be on another stack */
};

enum ml_unwind {
	ML_UNWIND_CALLER,  /* there is one */
	ML_UNWIND_END,     /* nobody has called it: the first function of a thread */
	ML_UNWIND_LOST,    /* what called it cannot be told */
	ML_UNWIND_UNKNOWN, /* the same, as pc is in none of the modules */
};

/* A part of memory that can be read. */
struct ml_unwind_stack {
	uintptr_t start, end; /* page aligned */
	bool grows;           /* it may be longer: ask for what is behind the end */
};

/* The pages from an address of a stack of which nothing is known. */
void ml_unwind_stack_at(struct ml_unwind_stack *stack, uintptr_t sp);

/* The function that calls this one. */
struct ml_unwind_frame ml_unwind_here(void);

/* May be called with frames of another thread or of none: then it gives any result. */
enum ml_unwind ml_unwind_step(const struct ml_modules *modules, struct ml_unwind_stack *stack,
			      const struct ml_unwind_frame *frame, struct ml_unwind_step *step);

/* Code between two addresses. */
struct ml_unwind_range {
	uintptr_t start, end;
};

/* The function around an address, or the part of it that the compiler left in one piece. All 0: not known. */
struct ml_unwind_range ml_unwind_function(const struct ml_modules *modules, uintptr_t address);

/*
 * The piece into which the compiler has put what the function does seldom (GCC calls it NAME.cold), which symbols for
 * the loader don't tell: code that the function jumps to although no function starts there. All 0: there is none.
 */
struct ml_unwind_range ml_unwind_cold(const struct ml_modules *modules, struct ml_unwind_range function);

#endif
