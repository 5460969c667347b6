// What the tests of separated values share.
#pragma once

#include "unit/db/testing.h"

namespace firn::testing {

inline constexpr uint64_t kSegmentBytes = 64 * 1024;
inline constexpr uint64_t kThreshold = 4'096;

inline Options Separating() {
  Options options;
  options.value_separation_threshold_bytes = kThreshold;
  return options;
}

// Differs from every other in its first bytes.
inline std::string ValueOf(size_t number, size_t size_bytes) {
  std::string value = std::to_string(number) + ".";
  value.resize(std::max(value.size(), size_bytes), static_cast<char>('a' + number % 26));
  return value;
}

}  // namespace firn::testing
