/*
 * Any bytes as a trace, through the reader, the fold and the dump.
 *
 * `make fuzz` builds it with clang's driver and runs it. With gcc, which has no such driver, link tests/fuzz/main.c
 * instead, and give the files to be read.
 */
#include "tests/fuzz/fuzz.h"

#include "tests/report/read_all.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	read_all(data, size);
	return 0;
}
