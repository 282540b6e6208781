/* built with: -Wl,--build-id=0xa1a2a3a4a5a6a7a8 */
#include "twin.h"
