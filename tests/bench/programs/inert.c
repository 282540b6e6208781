/*
 * A program without Python in it: inert SCALE THREADS DEPTH. A scale of 0 makes no pair, and so shows what a start
 * costs.
 * built with: -pthread -fno-builtin tests/bench/objects/pairs.c */
#include "tests/bench/pairs.h"

#include <stdio.h>
#include <stdlib.h>

#define PAIRS 4000000

int main(int argc, char **argv)
{
	double ns;
	long pairs;

	if (argc != 4) {
		fprintf(stderr, "usage: %s SCALE THREADS DEPTH\n", argv[0]);
		return 2;
	}
	pairs = (long)(atof(argv[1]) * PAIRS);
	ns = bench_pairs(atoi(argv[2]), atoi(argv[3]), pairs);
	printf("checksum %ld\nns/pair %.2f\n", pairs, ns);
	return ns < 0;
}
