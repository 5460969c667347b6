// Opening a store on any disk: what DB::Open does with the machine's, and tests with a simulated one.
#pragma once

#include <memory>

#include <firn/db.h>

#include "base/clock.h"
#include "io/disk.h"

namespace firn {

struct Environment {
  std::unique_ptr<io::Disk> disk;
  base::Clock* clock = &base::Clock::System();
  base::Random* random = &base::Random::System();
  // Smaller segments than any real store has, so that a short test seals some. 0: as in production.
  uint64_t segment_bytes_min_for_test = 0;
};

absl::StatusOr<std::unique_ptr<DB>> OpenOn(const Options& options, Environment environment);

}  // namespace firn
