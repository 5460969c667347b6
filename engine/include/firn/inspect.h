// For tools: reading a store's files without opening it, and checking every byte of one that is open.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include <absl/status/statusor.h>
#include <firn/options.h>

namespace firn {

// What DB::Verify() has read and checked: the units and records of every segment, the footers of those that are sealed,
// and each separated value that a key has now. Not values that only snapshots and iterators still see, nor what is
// written, or moved by reclaim, on the way.
struct VerifyReport {
  uint64_t segments = 0;
  uint64_t records = 0;
  uint64_t values = 0;  // separated ones, each once
  uint64_t bytes = 0;
  std::vector<std::string> damages;  // one sentence each: file, offset, what; empty when all is well
};

// One segment as reclaim sees it.
struct SegmentReport {
  uint32_t segment = 0;
  uint64_t file_bytes = 0;
  uint64_t live_bytes = 0, live_records = 0;  // records that reads, snapshots and expiries still name
  uint64_t tombstones = 0;                    // deletes in it that may still hide older records
  double live_fraction = 0;                   // live bytes / file bytes
  uint64_t age_revisions = 0;                 // writes to the store since its newest record
  uint32_t generation = 0;  // temperature: 0 as written; n: its records have outlived n rounds of reclaim
  bool sealed = false;
};

// Called now and then during long work with bytes done and bytes in all. Return false to cancel. No lock is held.
using ProgressCallback = std::function<bool(uint64_t done_bytes, uint64_t total_bytes)>;

// Writes a segment (or SUPERBLOCK) file in words, one line per unit, record and footer entry, to `line`. Damaged parts
// are described, not skipped. `store_path` is the directory a segment belongs to: its SUPERBLOCK holds the hash secret
// without which no checksum can be told right from wrong. InvalidArgument for a file that is neither; DataLoss, after
// everything that still verifies was described, when a segment's header or a copy of the superblock does not verify.
absl::Status DumpFile(std::string_view store_path, std::string_view file_path,
                      const std::function<void(std::string_view line)>& line);

}  // namespace firn
