// Block 0 of every value file.
#pragma once

#include <cstdint>

#include "base/coding.h"
#include "base/status.h"
#include "format/layout.h"

namespace firn::format {

struct ValueHeader {
  uint32_t format_version = kFormatVersion;
  uint32_t file = 0;  // 1..
  Uuid store_uuid{};
  Salt salt{};
  uint32_t alignment_bytes = kBlockBytes;  // extents begin at multiples of this; a power of two
  int64_t created_ms = 0;

  bool operator==(const ValueHeader&) const = default;
};

inline constexpr uint32_t kValueAlignmentBytesMin = kBlockBytes;
inline constexpr uint32_t kValueAlignmentBytesMax = 128 << 10;
bool IsValueAlignment(uint64_t bytes);

void EncodeValueHeader(const ValueHeader& header, uint64_t store_secret, base::MutableBytes block);
// NotFound for a block of zeros (a file that was never begun); DataLoss when it does not verify or belongs to another
// store; FailedPrecondition for a newer format version.
absl::StatusOr<ValueHeader> DecodeValueHeader(base::Bytes block, uint64_t store_secret, const Uuid& store_uuid);

}  // namespace firn::format
