/* built with: -Wl,--build-id=none */
#include "twin.h"
