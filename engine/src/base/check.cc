#include "base/check.h"

#include <cstdio>
#include <cstdlib>

namespace firn::base {

void CheckFailed(const char* file, int line, const char* expression) {
  std::fprintf(stderr, "firn: internal error at %s:%d: %s does not hold\n", file, line, expression);
  std::abort();
}

}  // namespace firn::base
