// The stores that are measured: how large they are, and whether there is room for them here.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "scaling/config.h"

namespace firn::bench {

enum class Series {
  kSmallValues,  // 100 bytes, memory for all of them
  kLargeValues,  // 4 KiB, from disk, the same memory for few and for many
  kThreads,      // small values, by several threads
};
std::string_view TitleOf(Series series);

struct Case {
  Series series = Series::kSmallValues;
  std::string size;  // "4 M", "16 GiB"
  uint64_t keys = 0;
  uint64_t value_bytes = 0;
  uint64_t memory_budget_bytes = 0;

  std::string name() const;  // "16 GiB of 4 KiB"
};
// Series by series, the smaller first.
std::vector<Case> CasesOf(const Config& config);

// "need 3.0 GiB of memory, ..."; empty: there is room for it, in memory now, and on the disk that has `directory`.
std::string WhyNoRoom(const Case& measured, const std::string& directory);

}  // namespace firn::bench
