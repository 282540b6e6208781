/* Pairs of malloc and free, far down in native code: objects/pairs.c, as a library and in programs/pairs.c. */
#ifndef BENCH_PAIRS_H
#define BENCH_PAIRS_H

/*
 * Each of threads makes so many pairs below depth calls. Returns the processor time of one pair in ns, which the wall
 * clock agrees with where every thread has a core; negative where the threads could not be made.
 */
double bench_pairs(int threads, int depth, long pairs);

#endif
