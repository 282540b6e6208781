/* built with: -Wl,--build-id=0xb1b2b3b4b5b6b7b8 */
#include "twin.h"
