// What the superblock and the segment header share: one block that starts with magic, checksum and version.
// These three stand at the same place in every version to come, so that any reader can tell a newer file from
// a damaged one.
//
//   magic u64 | checksum u64, over everything after it | version u32 | fields | zeros up to the block's end
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

#include "base/coding.h"
#include "base/status.h"
#include "format/layout.h"

namespace firn::format {

// Eight readable characters as the integer that StoreLe writes in their order.
constexpr uint64_t Magic(const char (&text)[9]) {
  uint64_t magic = 0;
  for (int i = 7; i >= 0; --i) magic = magic << 8 | static_cast<unsigned char>(text[i]);
  return magic;
}

inline constexpr size_t kMagicAt = 0;
inline constexpr size_t kChecksumAt = 8;
inline constexpr size_t kVersionAt = 16;

bool IsZero(base::Bytes bytes);

// Writes magic and checksum; version, fields and zeros are in place.
void SealBlock(uint64_t magic, uint64_t seed, base::MutableBytes block);
// DataLoss when magic or checksum do not verify, FailedPrecondition for a newer version. `name` opens the
// messages.
absl::Status CheckBlock(uint64_t magic, uint64_t seed, base::Bytes block, std::string_view name);

}  // namespace firn::format
