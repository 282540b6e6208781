/*
 * Data of the library that its other files use on the hot path. Without this the compiler takes an extern variable for
 * one that may be in another object, and looks its address up at each use, whatever the definition says.
 */
#ifndef ML_PRELOAD_HIDDEN_H
#define ML_PRELOAD_HIDDEN_H

#define ML_HIDDEN __attribute__((visibility("hidden")))

#endif
