/*
 * Any bytes as a trace, through the reader, the fold and the dump.
 *
 * With clang:  clang -g -fsanitize=fuzzer,address,undefined -std=c11 -D_GNU_SOURCE -I. -o fuzz_load tests/fuzz/fuzz_load.c \
 *                  tests/report/read_all.c report/{load,file,merge,memory,fold,blocks,mappings,dump}.c trace/{get,print}.c
 *              ./fuzz_load -max_len=8192 CORPUS tests/data
 * With gcc, which has no such driver: add tests/fuzz/main.c, and give the files to be read.
 */
#include "tests/fuzz/fuzz.h"

#include "tests/report/read_all.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	read_all(data, size);
	return 0;
}
