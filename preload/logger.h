/*
 * MEMLINE_LOG: starts the process that writes the table of this one to its standard error (memline log). It reads the
 * trace, and no code of it runs in here.
 *
 * The program must not notice it: it is nobody's child whom the program could wait for, it sends no SIGCHLD, it holds
 * nothing but a copy of the standard error, and it is no member of the program's session.
 */
#ifndef ML_PRELOAD_LOGGER_H
#define ML_PRELOAD_LOGGER_H

/* Finds out what there is to be started. Once, while the current folder is that of the start; the modules are known. */
void ml_logger_prepare(void);

/*
 * To be called now and then while a trace is being recorded, with no lock held: starts the logger of this trace, if one
 * is wanted and has not been started. Where it can't be, the trace says why.
 */
void ml_logger_attend(void);

#endif
