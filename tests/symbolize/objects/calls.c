/*
 * Functions that call back with the lines that they are at, innermost first, 0 at the end. Where the call came from is
 * then to be found from its return address.
 * built with: -O2 -g -Wl,--build-id=sha1 -fno-optimize-sibling-calls */

typedef void probe(const int lines[4]);

void calls_direct(probe *p);
void calls_outer(probe *p);
void calls_static(probe *p);
void calls_cplusplus(probe *p) __asm__("_ZN5shape6Circle4areaEPKcj");
void calls_rust(probe *p) __asm__("_ZN7mycrate6module8function17h0123456789abcdefE");
void calls_rust_new(probe *p) __asm__("_RNvNtCs1234_7mycrate6module8function");

/* What comes behind the call, in each function another thing: so that it is not folded into another one. */
static volatile int after;

void calls_direct(probe *p)
{
	p((const int[4]){__LINE__});
	after += 1;
}

static inline __attribute__((always_inline)) void inner(probe *p, int middle_line, int outer_line)
{
	p((const int[4]){__LINE__, middle_line, outer_line});
	after += 2;
}

static inline __attribute__((always_inline)) void middle(probe *p, int outer_line)
{
	inner(p, __LINE__, outer_line);
	after += 3;
}

void calls_outer(probe *p)
{
	middle(p, __LINE__);
	after += 4;
}

static __attribute__((noinline)) void hidden(probe *p)
{
	p((const int[4]){__LINE__});
	after += 5;
}

void calls_static(probe *p)
{
	hidden(p);
	after += 6;
}

void calls_cplusplus(probe *p)
{
	p((const int[4]){__LINE__});
	after += 7;
}

void calls_rust(probe *p)
{
	p((const int[4]){__LINE__});
	after += 8;
}

void calls_rust_new(probe *p)
{
	p((const int[4]){__LINE__});
	after += 9;
}
