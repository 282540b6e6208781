/* link: -Wl,--build-id=none */
#include "twin.h"
