// The superblock: two identical copies, one block each, written once when the store is made.
#pragma once

#include <cstdint>

#include "base/coding.h"
#include "base/status.h"
#include "format/layout.h"

namespace firn::format {

inline constexpr uint64_t kSuperblockFileBytes = 2 * kBlockBytes;
inline constexpr size_t kSuperblockFieldsBytes = 88;  // the rest of the block is zeros

struct Superblock {
  Uuid uuid{};
  uint32_t format_version = kFormatVersion;
  uint32_t block_bytes = kBlockBytes;
  uint64_t secret = 0;          // seeds every checksum below it
  uint64_t features = 0;        // bits a reader must understand; none yet
  uint64_t revision_floor = 0;  // revisions start above this
  int64_t created_ms = 0;
  Salt salt{};  // drawn anew for every write of the superblock

  bool operator==(const Superblock&) const = default;
};

// `block` is kBlockBytes long and is filled whole.
void EncodeSuperblock(const Superblock& superblock, base::MutableBytes block);
// DataLoss when the block does not verify; FailedPrecondition for a newer format version, another block size
// or an unknown feature (checked after the checksum, which all versions share: magic, version and checksum
// never move).
absl::StatusOr<Superblock> DecodeSuperblock(base::Bytes block);

}  // namespace firn::format
