// CHECK: for our own bugs only, always on. Bytes from disk, options and the kernel get a status instead.
#pragma once

namespace firn::base {
[[noreturn]] void CheckFailed(const char* file, int line, const char* expression);
}  // namespace firn::base

#define FIRN_CHECK(expression)                                \
  (__builtin_expect(!!(expression), 1) ? static_cast<void>(0) \
                                       : ::firn::base::CheckFailed(__FILE__, __LINE__, #expression))
