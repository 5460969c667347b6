// Compares what a store holds with the files it was made from.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include <firn/db.h>

#include "support/tree_walk.h"

namespace firn::tools {

struct ProofResult {
  uint64_t same = 0;  // byte for byte
  uint64_t same_bytes = 0;
  uint64_t moved_on = 0;              // the file changed or vanished since it was imported, so nothing can be said
  std::vector<std::string> failures;  // one sentence each; at most kFailuresMax
  uint64_t failed = 0;

  static constexpr size_t kFailuresMax = 5;
};

// Every entry but those in `left_out` (ascending) must be in the store, with the bytes that its file has now.
ProofResult CompareWithFiles(const DB& db, std::span<const TreeEntry> entries, std::span<const size_t> left_out);

}  // namespace firn::tools
