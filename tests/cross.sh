#!/bin/sh
# The preloaded object and the trace format compile for aarch64 without a warning.
cd "$(dirname "$0")/.." || exit 2
build=${BUILD:-build}/aarch64
cc=aarch64-linux-gnu-gcc

if ! echo '#include <stdlib.h>' | $cc -E -x c - >/dev/null 2>&1; then
	echo "$cc or its C library is not installed"
	exit 77
fi
exec "${MAKE:-make}" --no-print-directory BUILD="$build" CC=$cc CFLAGS='-O2 -g -Werror' "$build/libmemline.so" \
	in-process-offline
