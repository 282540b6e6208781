/* The last of the calls that tree.cc makes, in a library of its own. built with: -O2 -fomit-frame-pointer */
#include <cstddef>
#include <cstdlib>
#include <execinfo.h>

extern "C" __attribute__((noinline)) void *leaf(std::size_t n, void (*python)())
{
	if (python)
		python();
	void *block = std::malloc(n);
	asm volatile("" : "+r"(block)); // no tail call
	return block;
}

// Where the compiler's own unwinder says that the calls return to, innermost first.
static void *seen[1000];
static int seen_n;

// The same, and notes who has called it.
extern "C" __attribute__((noinline)) void *leaf_seen(std::size_t n, void (*python)())
{
	if (python)
		python();
	seen_n = backtrace(seen, 1000);
	void *block = std::malloc(n);
	asm volatile("" : "+r"(block));
	return block;
}

extern "C" int leaf_callers(void ***callers)
{
	*callers = seen;
	return seen_n;
}
