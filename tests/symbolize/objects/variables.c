/* Thread-local variables of a library that came late: the loader makes them for each thread that asks for them.
   built with: -Wno-missing-prototypes */

static __thread const void *variables[4];

const void **variables_of_thread(void)
{
	return variables;
}
