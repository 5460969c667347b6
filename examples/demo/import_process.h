// An import in a process of its own, so that it can be killed for real.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include <absl/status/statusor.h>

#include "support/tree_walk.h"

namespace firn::tools {

struct KilledImport {
  // Entries below this were acknowledged as durable, or left out, before the process died.
  size_t committed_end = 0;
  uint64_t committed_bytes = 0;
  uint64_t commits = 0;
  std::vector<size_t> left_out;  // vanished or unreadable; ascending
  double seconds = 0;
};

// Starts a process that creates a store at `store_path` and imports `entries` into it with synced batches,
// kills it with SIGKILL once `kill_after_bytes` are acknowledged, and reports what it had acknowledged by
// then. The process never gets to the last entry: it waits for the kill in front of it. Call it while this
// process has one thread.
absl::StatusOr<KilledImport> ImportUntilKilled(const std::string& store_path, const std::vector<TreeEntry>& entries,
                                               uint64_t batch_bytes, uint64_t kill_after_bytes);

}  // namespace firn::tools
