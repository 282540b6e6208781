/*
 * Calls three levels deep, one of them inlined, into another library and back into Python; and exceptions.
 * built with: -O2 -fomit-frame-pointer -ldl */
#include <csetjmp>
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

static jmp_buf landing;

extern "C" void tree_jump(int number)
{
	std::longjmp(landing, number);
}

// Gives the number of the jump that passes over Python, or -1.
extern "C" int tree_land(void (*python)())
{
	const int number = setjmp(landing);
	if (number)
		return number;
	python();
	return -1;
}

// Writes the word over what was on the stack, so many frames deep, and allocates in each.
extern "C" __attribute__((noinline)) std::size_t tree_overwrite(int depth, std::size_t word)
{
	volatile std::size_t words[64];
	for (volatile std::size_t &each : words)
		each = word;
	void *block = std::malloc(77);
	asm volatile("" : "+r"(block));
	std::free(block);
	return words[depth] + (depth ? tree_overwrite(depth - 1, word) : 0);
}

// The object that has the function that throws.
extern "C" const char *tree_unwinder()
{
	Dl_info info;
	void *function = dlsym(RTLD_DEFAULT, "_Unwind_RaiseException");
	return function && dladdr(function, &info) ? info.dli_fname : "";
}
