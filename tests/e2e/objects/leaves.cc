/* The last of the calls that tree.cc makes, in a library of its own. built with: -O2 -fomit-frame-pointer */
#include <cstddef>
#include <cstdlib>

extern "C" __attribute__((noinline)) void *leaf(std::size_t n, void (*python)())
{
	if (python)
		python();
	void *block = std::malloc(n);
	asm volatile("" : "+r"(block)); // no tail call
	return block;
}
