// Everything one seed does: a store that lives, dies and is opened again, on a simulated machine.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "sim/report.h"

namespace firn::test {

// What a seed is kept from, so that a failure of its shows in a shorter story.
struct Simpler {
  bool one_client = false;
  bool few_keys = false;
  bool small_values = false;
  bool in_log = false;  // no value is separated
  bool no_faults = false;
  bool no_latency = false;
  bool no_quota = false;
  bool few_switches = false;
  uint64_t calls_max = UINT64_MAX;  // in each life

  bool operator==(const Simpler&) const = default;
  // As the command line has it: "one-client,in-log", without calls_max.
  std::string Names() const;
  // False for a name that is none.
  bool Set(std::string_view name);
};
struct SimplerName {
  const char* name;
  bool Simpler::*member;
};
extern const std::vector<SimplerName> kSimplerNames;

struct SeedOptions {
  uint64_t seed = 1;
  Simpler simpler;
  bool verbose = false;     // says on stderr what happens
  bool trace_disk = false;  // and every disk operation
};

// Throws Violation when the store broke its contract, or got stuck.
SeedReport RunSeed(const SeedOptions& options);

}  // namespace firn::test
