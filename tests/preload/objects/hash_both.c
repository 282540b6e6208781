/* built with: -Wl,--hash-style=both -Wl,--defsym=absolute_symbol=0x1234 */
#include "hash_symbols.h"
