/* Everything that a reader does with a file, for tests with files that make no sense. */
#ifndef ML_TESTS_REPORT_READ_ALL_H
#define ML_TESTS_REPORT_READ_ALL_H

#include <stddef.h>
#include <stdint.h>

struct read_all {
	int opened;
	unsigned warnings;
	uint64_t live_bytes;
	uint64_t events;
};

/* Opens, folds in two ways and dumps the bytes as a trace. Aborts if the fold's sums don't add up. */
struct read_all read_all(const uint8_t *bytes, size_t length);

#endif
