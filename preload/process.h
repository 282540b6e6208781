/*
 * The life of the process: what state recording is in and what moves it.
 *
 *   UNSTARTED ──constructor──► INERT    off, setuid, or no place for a trace: for good
 *                          ├─► DORMANT  no CPython yet; polls the loader now and then
 *                          └─► EARLY    CPython is there, no Python frame was seen yet: events wait in private memory.
 *                               │ │     Also where a DORMANT process gets when CPython has come, and a forked child
 *         memory is used up ◄───┘ │     of any process in a later state than DORMANT.
 *              ▼                  ▼
 *           WAITING ──frame──► RECORDING ──bound or failure──► STOPPED
 *                               ▲ │                              ▲
 *                        resume │ ▼ pause                        │
 *                              PAUSED ───────────────────────────┘
 */
#ifndef ML_PRELOAD_PROCESS_H
#define ML_PRELOAD_PROCESS_H

#include <stdatomic.h>
#include <stdbool.h>

#include "preload/guard.h"
#include "preload/lock.h"
#include "symbolize/native/modules.h"
#include "symbolize/python/abi.h"
#include "trace/format.h"

enum ml_state {
	ML_UNSTARTED = 0,
	ML_INERT,
	ML_DORMANT,
	ML_EARLY,
	ML_WAITING,
	ML_RECORDING,
	ML_PAUSED,
	ML_STOPPED,
};

struct ml_process {
	_Atomic int state; /* enum ml_state */
	uint32_t generation;
	struct ml_lock lock;       /* over the file, the tree and the table of rings */
	struct ml_lock early_lock; /* held while a record is written in EARLY; taken before lock */
	int pid;
	uint64_t start_ticks;
	uint64_t started_ns;   /* wall clock when tracking began */
	uint64_t monotonic_ns; /* CLOCK_MONOTONIC_COARSE at that moment */
	uint64_t baseline_rss; /* bytes */
	bool late;             /* CPython came after the process had started */
	bool forked;
	char parent_file[64]; /* of a forked child: the parent's trace */
	uint64_t loader_seen; /* for ml_symbols_changed() */
	bool python;          /* abi can be used: frames can be walked, */
	_Atomic bool walks;   /* and are. A CPython that comes late may still be in dlopen(), without its thread-local
				variables, which from 3.12 on lead to the frames: there it waits for the interpreter */
	const char *refused;  /* why not, where there is a CPython; events then have native stacks only, */
	int (*is_initialized)(void); /* and the file is made when this says that the interpreter is up */
	struct ml_abi abi;
	uintptr_t python_start; /* the object that holds CPython: its lowest and one past its highest address */
	uintptr_t python_end;
	struct ml_modules modules;
	const struct ml_control *control; /* of the trace */
};

extern struct ml_process ml_process ML_HIDDEN;

/* Ends the recording; what was recorded stays readable. The first reason counts. error: a positive errno or 0. */
void ml_process_stop(enum ml_stop reason, int error);

/* Pauses the recording if that was asked for. To be called now and then. */
void ml_process_obey(void);

/* EARLY or WAITING: a Python frame was seen, so there is to be a file. Takes early_lock. Afterwards the state is
   another. */
void ml_process_adopt(void);

/* EARLY: the memory for waiting events is used up. early_lock is held. */
void ml_process_wait(void);

/* Adds to a counter of the trace's header. */
void ml_process_count(enum ml_counter counter, uint64_t n);

/* Resident pages of the process; 0: can't be told. */
uint64_t ml_process_resident_pages(void);

/* True once for a trace: at the first call after the interpreter has begun to finalize. */
bool ml_process_finalizes(void);

/* Whether to ask so: the same at a glance, but true also when it was said. */
static inline bool ml_process_may_finalize(void)
{
	return ml_process.python && ml_abi_finalizing(&ml_process.abi);
}

/* Whether frames are walked, where walks doesn't say so: looks if the interpreter is up. Where no other thread could be
   asked for its state (bound_is_variable), the one that has started it is the first to walk. */
bool ml_process_may_walk(void);

/* Asks the loader for modules that have come, and defines them. False if nothing was asked: another thread does so, or
   the loader's lock may never be free in this forked child. No lock may be held. */
bool ml_process_new_modules(void);

/* The same for the sake of an address that is in no known module; false also where the loader was asked about its page
   in this epoch, as it would be again and again for code that a JIT has made. */
bool ml_process_new_module_at(uintptr_t address);

/* The same where some time has passed, but only if the loader's counters have changed. */
void ml_process_poll_modules(void);

/* The process is about to end: exit handlers run (status -1), or _exit(status) was called. */
void ml_process_end(int status);

#endif
