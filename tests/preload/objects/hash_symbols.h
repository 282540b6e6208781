/* What the objects hash_*.c define: enough symbols that hash chains and the Bloom filter have something to do. */
#define ONE(n)                                                                                                         \
	int numbered_##n(void);                                                                                        \
	int numbered_##n(void)                                                                                         \
	{                                                                                                              \
		return n;                                                                                              \
	}
#define TEN(n) ONE(n##0) ONE(n##1) ONE(n##2) ONE(n##3) ONE(n##4) ONE(n##5) ONE(n##6) ONE(n##7) ONE(n##8) ONE(n##9)

TEN(1)
TEN(2) TEN(3) TEN(4) TEN(5) TEN(6) TEN(7) TEN(8) TEN(9)

	int data_symbol = 41;
_Thread_local int thread_symbol = 42, second_thread_symbol = 42;

int weak_function(void);
__attribute__((weak)) int weak_function(void)
{
	return 43;
}

int hidden_function(void);
__attribute__((visibility("hidden"))) int hidden_function(void)
{
	return 44;
}

/* In the dynamic symbol table, but not defined here. */
int missing_function(void) __attribute__((weak));
int asks_for_missing(void);
int asks_for_missing(void)
{
	return missing_function ? missing_function() : hidden_function();
}
