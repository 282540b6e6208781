/*
 * Who this process is: the META extent of its trace.
 */
#ifndef ML_PRELOAD_IDENTITY_H
#define ML_PRELOAD_IDENTITY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Start of a process in clock ticks since boot, field 22 of /proc/PID/stat (proc_pid_stat(5)), and its parent; false:
   it can't be read. */
bool ml_identity_of(int pid, uint64_t *start_ticks, int *parent);

/* Resident set in pages, from /proc/self/statm; 0: it can't be read. */
uint64_t ml_identity_resident_pages(void);

/* Path of the executable; "" if it can't be told. Stays where it is. */
const char *ml_identity_program(void);

/* Writes META, with ml_process.lock held, when the file has its name. False: there is no room for it. */
bool ml_identity_write(void);

/* Adds a pair to a META that is written, with ml_process.lock held. False: there is no room. */
bool ml_identity_add(const char *key, const char *value);

/* A longer name of a source file is in no scope. */
#define ML_IDENTITY_FILE_MAX 8192u

/* Whether META has been written, in this process or in the one that forked it. */
bool ml_identity_knows_scope(void);

/* Whether a source file, as code objects name it, is in scope by what META says. One thread at a time. */
bool ml_identity_has(const char *file, size_t bytes);

#endif
