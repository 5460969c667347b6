// XXH3 behind one seam, so that no header of ours names an xxHash type.
// Source: https://github.com/Cyan4973/xxHash, XXH3 as of version 0.8.
#pragma once

#include <cstdint>

#include "base/coding.h"

namespace firn::base {

uint64_t Hash64(Bytes bytes, uint64_t seed = 0);

}  // namespace firn::base
