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

struct VerifyReport {
  uint64_t segments = 0;
  uint64_t records = 0;
  uint64_t bytes = 0;
  std::vector<std::string> damages;  // one sentence each: file, offset, what; empty when all is well
};

// Called now and then during long work with bytes done and bytes in all. Return false to cancel.
using ProgressCallback = std::function<bool(uint64_t done_bytes, uint64_t total_bytes)>;

// Writes a segment (or SUPERBLOCK) file in words, one line per unit, record and footer entry, to `line`. Damaged parts
// are described, not skipped. `store_path` is the directory the file belongs to: its SUPERBLOCK holds the hash secret
// without which no checksum can be told right from wrong.
absl::Status DumpFile(std::string_view store_path, std::string_view file_path,
                      const std::function<void(std::string_view line)>& line);

}  // namespace firn
