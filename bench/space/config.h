// What a run of the benchmark is asked to do.
#pragma once

#include <algorithm>
#include <cstdint>
#include <string>
#include <vector>

#include "support/workplace.h"

namespace firn::bench {

struct Config {
  std::string directory;  // fresh; every engine gets a directory of its own below it
  std::vector<std::string> workloads = {"a", "b", "c", "d", "e", "f", "g"};
  std::vector<std::string> engines = {"firn", "rocksdb", "rocksdb-blob"};
  std::vector<uint64_t> value_bytes;  // empty: each workload's own
  double scale = 1;
  double minutes = 1;        // workload d
  double idle_seconds = 75;  // workload e
  int runs = 1;
  bool json = false;

  uint64_t live_bytes() const { return static_cast<uint64_t>(scale * static_cast<double>(256 * kMiB)); }
  // How many keys make that much live data; a few hundred at least, for shares of one key to be small.
  uint64_t KeysFor(uint64_t bytes_of_value) const {
    return std::max<uint64_t>(live_bytes() / (kKeyBytes + bytes_of_value), 256);
  }
  // An eighth of the live data, or what an index in memory needs for so many keys.
  uint64_t MemoryBudgetFor(uint64_t keys) const {
    return std::max({live_bytes() / 8, 16 * kMiB, 16 * kMiB + keys * 48});
  }
};

}  // namespace firn::bench
