/*
 * System calls of the recorder that fail on demand. The recorder is the one that is shipped: a seccomp filter stops the
 * calls that it makes (they stand in the program's own text, those of libc don't), and a signal handler answers for the
 * kernel (seccomp(2), SECCOMP_RET_TRAP).
 */
#ifndef ML_TEST_FAULTS_H
#define ML_TEST_FAULTS_H

#include <stdbool.h>

/* Stops these system calls (up to 8, then -1) from here to the end of the process. Nothing fails yet. */
void faults_install(int number, ...);

/* Lets the nth call from now on of this number, from 1, fail with the error (a positive errno); nth 0: each of them. */
void faults_set(int number, unsigned nth, int error);

/* Only calls whose argument, from 0, has one of the bits count for faults_set(). */
void faults_only_with(unsigned argument, long bits);

/* Nothing fails from here on. */
void faults_clear(void);

/* Before anything else of this number is done, the function may answer itself: *result as from the kernel, and true. */
void faults_answer(int number, bool (*answer)(const long arguments[6], long *result));

/* Calls that were stopped so far. */
unsigned faults_seen(void);

/* Calls that were made to fail. */
unsigned faults_made(void);

#endif
