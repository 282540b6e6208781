/* Exceptions under the eyes of the warden (warden.c). built with: -O2 -fomit-frame-pointer */
#include <cstddef>
#include <cstdint>
#include <cstdlib>

extern "C" void warden_close();
extern "C" void warden_open();
extern "C" void warden_expect(const char *name, std::size_t bytes);

namespace thrown
{

// Allocates n bytes while an exception passes by.
struct Passed {
	std::size_t n;
	~Passed()
	{
		warden_expect("malloc", n);
		void *block = std::malloc(n);
		asm volatile("" : "+r"(block));
		warden_expect("free", 0);
		std::free(block);
	}
};

static __attribute__((noinline)) void throw_from(int depth, int number, std::size_t n)
{
	Passed passed{n};
	if (!depth) {
		warden_expect("malloc", SIZE_MAX);
		throw number;
	}
	throw_from(depth - 1, number, n);
	asm volatile("");
}

// Whether the exception is the one that was thrown.
static bool catches(int number, std::size_t n)
{
	try {
		throw_from(4, number, n);
	} catch (int caught) {
		warden_expect("free", 0);
		return caught == number;
	}
	return false;
}

} // namespace thrown

// Throws so many times over five frames. Returns how many exceptions were caught. What a thread's first one takes is
// there before.
extern "C" int thrown_throw(int times, std::size_t n)
{
	int caught = 0;

	thrown::catches(0, n);
	warden_close();
	for (int i = 0; i < times; i++)
		caught += thrown::catches(i, n);
	warden_open();
	return caught;
}
