// What a run of the comparison is asked to do.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "support/workplace.h"

namespace firn::bench {

struct Config {
  std::string directory;  // fresh; every case gets a directory of its own below it
  std::vector<std::string> groups = {"100B",   "batch",  "killed", "1KiB", "4KiB", "32KiB",
                                     "128KiB", "synced", "ycsb",   "disk", "mixed"};
  std::vector<std::string> engines;  // empty: all
  uint64_t keys = 1'000'000;         // of 100 bytes; of larger values as many as fit data_bytes_max
  uint64_t data_bytes_max = 2'048 * kMiB;
  double seconds = 2;          // of each figure that is measured for a time
  double mixed_seconds = 600;  // of the mixed load
  int runs = 3;
  bool json = false;

  uint64_t KeysFor(uint64_t value_bytes) const {
    const uint64_t fit = data_bytes_max / (kKeyBytes + value_bytes);
    return keys < fit ? keys : fit;
  }
};

}  // namespace firn::bench
