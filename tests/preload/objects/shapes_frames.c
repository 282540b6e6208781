/* The same with frame pointers. built with: -O1 -fno-omit-frame-pointer -Wno-missing-prototypes */
#include "tests/preload/objects/shapes.c"
