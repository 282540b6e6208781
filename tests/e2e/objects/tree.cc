/*
 * Calls three levels deep, one of them inlined, into another library and back into Python; and exceptions.
 * built with: -O2 -fomit-frame-pointer -ldl */
#include <cstddef>
#include <cstdio>
#include <cstdlib>
#include <dlfcn.h>

namespace tree
{

#include "tree.h"

struct Counted {
	long &count;
	~Counted()
	{
		count++;
	}
};

struct Thrown {
	int number;
};

static __attribute__((noinline)) void throw_from(int depth, int number, long &destroyed)
{
	Counted counted{destroyed};
	if (!depth)
		throw Thrown{number};
	throw_from(depth - 1, number, destroyed);
	asm volatile("");
}

} // namespace tree

extern "C" void *tree_grow(std::size_t n, tree::leaf_function *leaf, void (*python)())
{
	void *block = tree::Tree(leaf).branch(n, python);
	asm volatile("" : "+r"(block));
	return block;
}

// Throws so many times over five frames. Returns how many objects were destroyed on the way, plus 1,000 for each
// exception that was not the one that was thrown.
extern "C" long tree_throw(int times)
{
	long destroyed = 0;
	for (int i = 0; i < times; i++) {
		try {
			tree::throw_from(4, i, destroyed);
		} catch (const tree::Thrown &thrown) {
			destroyed += thrown.number == i ? 0 : 1000;
		}
	}
	return destroyed;
}

extern "C" void tree_raise(int number)
{
	throw tree::Thrown{number};
}

// Gives the number of the exception that passes over Python, or -1.
extern "C" int tree_pass(void (*python)())
{
	try {
		python();
	} catch (const tree::Thrown &thrown) {
		return thrown.number;
	}
	return -1;
}

// Writes over what was on the stack, so many frames deep, and allocates in each.
extern "C" __attribute__((noinline)) int tree_overwrite(int depth)
{
	volatile char text[512];
	for (char volatile &each : text)
		each = 0x5a;
	void *block = std::malloc(77);
	asm volatile("" : "+r"(block));
	std::free(block);
	return text[depth] + (depth ? tree_overwrite(depth - 1) : 0);
}

// The object that has the function that throws.
extern "C" const char *tree_unwinder()
{
	Dl_info info;
	void *function = dlsym(RTLD_DEFAULT, "_Unwind_RaiseException");
	return function && dladdr(function, &info) ? info.dli_fname : "";
}
