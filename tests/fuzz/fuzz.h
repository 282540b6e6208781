/* What a fuzzer calls. */
#ifndef ML_TESTS_FUZZ_FUZZ_H
#define ML_TESTS_FUZZ_FUZZ_H

#include <stddef.h>
#include <stdint.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#endif
