/* The same, with its DWARF in a file of its own.
 * built with: -O2 -gdwarf-5 -gsplit-dwarf -Wl,--build-id=sha1 -fno-optimize-sibling-calls */
#include "calls.c"
