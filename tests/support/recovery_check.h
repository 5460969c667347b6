// Judges what a store holds after a crash: a prefix of revision order that contains everything promised, batches whole,
// unanswered calls present whole or not at all.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>

#include "support/model.h"

namespace firn::test {

// All that a reopened store shows.
struct Found {
  std::map<std::string, uint32_t> spaces;                       // name -> id; without the default one
  std::map<std::string, std::map<std::string, Entry>> entries;  // space name ("" is the default one) -> key -> entry
  Window window;                                                // of looking
};

enum class Promise {
  kEverything,  // closed, or the process was killed: every acknowledged write is there
  kDurable,     // the power was cut: what was durable is there
  kNoLies,      // the medium itself was damaged: what is there was once written, and no more is known
};

// What the next life begins with.
struct Recovered {
  std::map<KeyId, Entry> base;
  Revision base_revision = 0;
  std::vector<Space> spaces;
  uint64_t lost_writes = 0;       // acknowledged, not promised, and gone
  uint64_t unanswered_found = 0;  // unanswered calls that had happened
};

// What was ever asked to be put anywhere, whatever came of it: Remember() of every put of every life.
using EverPut = std::set<std::string>;
std::string Remember(const std::string& space_name, const std::string& key, const std::string& value,
                     const std::string& metadata);

// Throws Violation. `ever_put` is for Promise::kNoLies.
Recovered CheckRecovered(const Model& model, const Found& found, Promise promise, const EverPut& ever_put);

}  // namespace firn::test
