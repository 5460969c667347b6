// What a store is opened with on a simulated machine.
#pragma once

#include <cstdint>

#include "db/open.h"
#include "support/sim_disk.h"

namespace firn::test {

// A new process of the machine. All of them outlive the store.
inline Environment SimEnvironment(SimMachine& machine, base::Clock& clock, base::Random& random,
                                  uint64_t segment_bytes_min) {
  Environment environment;
  environment.cache_bytes_max = 0;  // reads are to meet the disk
  environment.disk = machine.Attach();
  environment.clock = &clock;
  environment.random = &random;
  environment.replayable = true;
  environment.segment_bytes_min_for_test = segment_bytes_min;
  return environment;
}

}  // namespace firn::test
