#include "scaling/cases.h"

#include <algorithm>
#include <cstdio>

#include "support/device.h"
#include "support/table.h"
#include "support/workplace.h"

namespace firn::bench {
namespace {

constexpr uint64_t kGiB = 1'024 * kMiB;
constexpr uint64_t kSmallBytes = 100, kLargeBytes = 4 * kKiB;
constexpr uint64_t kThreadsKeys = 4'000'000;

// Of memory, for each key: in the index, and with a cached value of 100 bytes on top. Both are generous.
constexpr uint64_t kIndexBytes = 64, kSmallCachedBytes = 192;
constexpr uint64_t kMemoryBase = 64 * kMiB;
// Beyond its budget a process takes a little, and what an open has for a time.
constexpr uint64_t kMemoryBeside = 512 * kMiB;

// Of the disk: beside key and value a record, its footer and the index image take this much; and what is left free.
constexpr uint64_t kBesideBytes = 128;
constexpr uint64_t kDiskBeside = 2 * kGiB;

// "0.25", "16".
std::string Number(double number) {
  char text[32];
  std::snprintf(text, sizeof(text), "%g", number);
  return text;
}

uint64_t LargeKeysFor(double gib) { return static_cast<uint64_t>(gib * static_cast<double>(kGiB / kLargeBytes)); }

Case Small(Series series, uint64_t keys) {
  return {.series = series,
          .size = Number(static_cast<double>(keys) / 1e6) + " M",
          .keys = keys,
          .value_bytes = kSmallBytes,
          .memory_budget_bytes = kMemoryBase + keys * (kIndexBytes + kSmallCachedBytes)};
}

}  // namespace

std::string_view TitleOf(Series series) {
  switch (series) {
    case Series::kSmallValues:
      return "values of 100 bytes, memory for all of them";
    case Series::kLargeValues:
      return "values of 4 KiB, from disk, the same memory for few and for many";
    case Series::kThreads:
      return "threads at once, values of 100 bytes, memory for all of them";
  }
  return "";
}

std::string Case::name() const {
  if (series == Series::kLargeValues) return size + " of 4 KiB";
  return size + " keys" + (series == Series::kThreads ? ", threads" : "");
}

std::vector<Case> CasesOf(const Config& config) {
  std::vector<Case> cases;
  uint64_t threads_keys = kThreadsKeys;
  for (const double millions : config.key_millions) {
    cases.push_back(Small(Series::kSmallValues, static_cast<uint64_t>(millions * 1e6)));
  }
  if (!cases.empty()) threads_keys = std::min(threads_keys, cases.back().keys);
  // The index of 16 GiB, which is the least that all of them are given, and then little for values.
  uint64_t budgeted_keys = LargeKeysFor(16);
  if (!config.value_gib.empty()) budgeted_keys = std::max(budgeted_keys, LargeKeysFor(config.value_gib.back()));
  for (const double gib : config.value_gib) {
    cases.push_back({.series = Series::kLargeValues,
                     .size = Number(gib) + " GiB",
                     .keys = LargeKeysFor(gib),
                     .value_bytes = kLargeBytes,
                     .memory_budget_bytes = kMemoryBase + budgeted_keys * kIndexBytes});
  }
  if (!config.threads.empty()) {
    cases.push_back(Small(Series::kThreads, threads_keys));
    // Each number of threads puts an eighth of the keys on top.
    cases.back().memory_budget_bytes += cases.back().memory_budget_bytes / 8 * config.threads.size();
  }
  return cases;
}

std::string WhyNoRoom(const Case& measured, const std::string& directory) {
  const auto lacks = [](uint64_t needed, uint64_t there, std::string_view what) {
    const double gib = static_cast<double>(kGiB);
    return "need " + Decimals(static_cast<double>(needed) / gib, 1) + " GiB of " + std::string(what) + ", and " +
           Decimals(static_cast<double>(there) / gib, 1) + " GiB are free";
  };
  const uint64_t memory = measured.memory_budget_bytes + kMemoryBeside, memory_there = AvailableMemoryBytes();
  if (memory > memory_there) return lacks(memory, memory_there, "memory");
  const uint64_t disk = measured.keys * (kKeyBytes + measured.value_bytes + kBesideBytes) + kDiskBeside;
  const uint64_t disk_there = FreeDiskBytes(directory);
  if (disk > disk_there) return lacks(disk, disk_there, "disk");
  return "";
}

}  // namespace firn::bench
