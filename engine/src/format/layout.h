// Sizes, magics and shared vocabulary of the files of a store. Bytes only, no I/O. The offset tables with a
// worked example stand in docs/format.md.
#pragma once

#include <array>
#include <cstdint>

#include "base/coding.h"
#include "base/hash.h"

namespace firn::format {

inline constexpr uint32_t kFormatVersion = 1;
inline constexpr uint64_t kBlockBytes = 4096;  // the unit of writing; every file position of a unit is a multiple

using SegmentId = uint32_t;  // 1.., never reused, ordered by creation
inline constexpr SegmentId kNoSegment = 0;

using Salt = std::array<std::byte, 16>;
using Uuid = std::array<std::byte, 16>;

// Where something is in the log. Ordered as the log is.
struct Position {
  SegmentId segment = kNoSegment;
  uint32_t offset = 0;

  auto operator<=>(const Position&) const = default;  // NOLINT(modernize-use-nullptr): clang-tidy 14 sees a null in it
};

// What seeds the checksums of one segment's units and records: the store's secret and the segment's salt.
// With the offset mixed in, stale bytes of a recycled file and misdirected writes never verify.
class ChecksumSeed {
 public:
  ChecksumSeed() = default;
  ChecksumSeed(uint64_t store_secret, const Salt& salt) : seed_(base::Hash64(salt, store_secret)), salt_(salt) {}
  uint64_t At(uint64_t offset) const { return seed_ + offset * 0x9E3779B97F4A7C15u; }
  const Salt& salt() const { return salt_; }

 private:
  uint64_t seed_ = 0;
  Salt salt_{};
};

// Namespace ids. Never reused.
inline constexpr uint32_t kSystemNamespace = 0;  // holds the store's own records, such as namespaces by name
inline constexpr uint32_t kDefaultNamespace = 1;
inline constexpr uint32_t kFirstUserNamespace = 2;

}  // namespace firn::format
