// Everything one seed does: a store that lives, dies and is opened again, on a simulated machine.
#pragma once

#include <cstdint>

#include "sim/report.h"

namespace firn::test {

struct SeedOptions {
  uint64_t seed = 1;
  bool verbose = false;     // says on stderr what happens
  bool trace_disk = false;  // and every disk operation
};

// Throws Violation when the store broke its contract, or got stuck.
SeedReport RunSeed(const SeedOptions& options);

}  // namespace firn::test
