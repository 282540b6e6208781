/* Native functions of many kinds that call one another at random, for the tests of whole stacks. */
#ifndef ML_TEST_SHAPES_H
#define ML_TEST_SHAPES_H

struct shapes {
	unsigned (*any)(unsigned below);
	void (*event)(void);
	/* As the interpreter enters itself: room is in the C frame, where a shim may lie. */
	void (*enter)(void *room);
	void (*leave)(void);
};

#define SHAPES_ROOM 128

/* Calls event() all the time, at most so many frames deep. */
void shapes_run(const struct shapes *s, unsigned depth);

/* The function that calls enter() and leave(). */
void shapes_eval(const struct shapes *s, unsigned depth);

#endif
