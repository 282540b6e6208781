/*
 * An object with the build id that build_module() gives out, so that made-up traces lead into it.
 * built with: -O0 -g -Wl,--build-id=0xcafebabe -Wno-missing-prototypes */

/* Each is longer than one instruction. */
int native_first(int n)
{
	return n * 3 + 1;
}

int native_second(int n)
{
	return n * 5 + 2;
}
