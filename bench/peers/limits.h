// What the machine can do at most, measured in the same run as the engines, without one.
#pragma once

#include <string>

#include <absl/status/statusor.h>

#include "support/figures.h"

namespace firn::bench {

// In a file of its own in `directory`, past the page cache:
//   read_4k_dN           random 4 KiB reads a second, N in flight: 1, 8, 64, 128
//   sequential_read      bytes a second, 1 MiB at a time, four in flight
//   sequential_write     the same of writes into fresh preallocated space, the final flush in the time
//   synced_write_4k      4 KiB writes a second, each with fdatasync, one after the other
//   memory_copy          bytes a second, of a copy larger than any cache
absl::StatusOr<Figures> MeasureLimits(const std::string& directory, double seconds);

}  // namespace firn::bench
