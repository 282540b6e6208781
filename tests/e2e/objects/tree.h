// Calls three levels deep, one of them inlined. To be included in the namespace that it is to be in, behind <cstddef>.
#ifndef ML_TEST_TREE_H
#define ML_TEST_TREE_H

typedef void *leaf_function(std::size_t n, void (*python)());

class Tree
{
      public:
	explicit Tree(leaf_function *leaf) : leaf(leaf)
	{
	}
	void *branch(std::size_t n, void (*python)());

      private:
	leaf_function *leaf;

	inline __attribute__((always_inline)) void *twig(std::size_t n, void (*python)())
	{
		void *block = leaf(n, python);
		asm volatile("" : "+r"(block));
		return block;
	}
};

__attribute__((noinline)) void *Tree::branch(std::size_t n, void (*python)())
{
	void *block = twig(n, python);
	asm volatile("" : "+r"(block));
	return block;
}

#endif
