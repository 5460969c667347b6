// Block 0 of every segment file.
#pragma once

#include <cstdint>
#include <optional>

#include "base/coding.h"
#include "base/status.h"
#include "format/layout.h"
#include "format/superblock.h"

namespace firn::format {

// All that is not zero lies in one sector, which a device writes whole or not at all: a power cut tears no header.
inline constexpr size_t kSectorBytes = 512;
inline constexpr size_t kSuperblockCopyAt = 256;

struct SegmentHeader {
  uint32_t format_version = kFormatVersion;
  Uuid store_uuid{};
  SegmentId segment = kNoSegment;
  uint64_t incarnation = 0;  // how often this file has been a segment, 1..
  Salt salt{};
  uint64_t first_revision = 0;  // no record in the segment has a lower one
  int64_t created_ms = 0;
  // 0: of the fresh log. g > 0: a relocation segment, whose records have been moved g times at least.
  uint32_t generation = 0;
  // What the store's SUPERBLOCK says, so that a store whose SUPERBLOCK is lost can be salvaged: nothing in it verifies
  // without the secret.
  std::optional<Superblock> superblock;

  bool operator==(const SegmentHeader&) const = default;
};

void EncodeSegmentHeader(const SegmentHeader& header, uint64_t store_secret, base::MutableBytes block);
// NotFound for a block of zeros (a file that never became a segment); DataLoss when it does not verify or
// belongs to another store; FailedPrecondition for a newer format version.
absl::StatusOr<SegmentHeader> DecodeSegmentHeader(base::Bytes block, uint64_t store_secret, const Uuid& store_uuid);

// The superblock's copy in a header, if that verifies by itself: the rest of the header need not.
std::optional<Superblock> SuperblockInHeader(base::Bytes block);

// For people, who want to see what is left of a damaged one: the fields as they stand. `block` is kBlockBytes long.
SegmentHeader UncheckedSegmentHeader(base::Bytes block);
bool HasSegmentMagic(base::Bytes block);

}  // namespace firn::format
