/* Pairs of malloc and free, far down in native code: objects/pairs.c, as a library and in programs/pairs.c. */
#ifndef BENCH_PAIRS_H
#define BENCH_PAIRS_H

/*
 * Each of threads makes so many pairs below depth calls, all at once and each on a processor of its own as long as
 * there are any. Returns the processor time of one pair in ns, which the wall clock agrees with where every thread has
 * one; negative where so many threads cannot be made.
 */
double bench_pairs(int threads, int depth, long pairs);

#endif
