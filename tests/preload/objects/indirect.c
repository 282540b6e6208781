/* An indirect function whose resolver tells the test that it runs, so that the loader relocates a caller of it. */
int forty_five(void);
int forty_five(void)
{
	return 45;
}

void (*on_resolve)(void);

__attribute__((used)) static int (*resolve(void))(void)
{
	if (on_resolve)
		on_resolve();
	return forty_five;
}

int indirect_function(void) __attribute__((ifunc("resolve")));
