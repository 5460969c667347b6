// Reading a segment's units and footer for recovery.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <utility>
#include <vector>

#include "base/aligned_buffer.h"
#include "format/footer.h"
#include "format/unit.h"
#include "log/segment.h"
#include "log/tail.h"

namespace firn::log {

// Tail units by where they belong.
using TailUnits = std::map<Position, const TailUnit*>;

class SegmentScanner {
 public:
  static constexpr uint64_t kReadAheadBytes = uint64_t{1} << 20;
  explicit SegmentScanner(const Segment& segment, uint64_t read_ahead_bytes = kReadAheadBytes)
      : segment_(segment), read_ahead_bytes_(read_ahead_bytes) {}

  struct FoundUnit {
    format::UnitHeader header;
    base::Bytes payload;  // valid until the next call
  };
  // The unit at `offset` if all of it verifies and holds operations. A read error counts as "does not verify" and is
  // kept in read_error().
  std::optional<FoundUnit> UnitAt(uint64_t offset);
  // The first block at or after `offset` and before `limit` where a whole unit verifies.
  std::optional<uint64_t> FindUnit(uint64_t offset, uint64_t limit);
  // True when a unit's header verifies there though the unit may not: something was torn.
  bool HasUnitHead(uint64_t offset);

  const absl::Status& read_error() const { return read_error_; }

 private:
  // The bytes [offset, offset + size), read ahead; empty past the end of the file or when they cannot be read.
  base::Bytes Window(uint64_t offset, uint64_t size);

  const Segment& segment_;
  const uint64_t read_ahead_bytes_;
  base::AlignedBuffer window_;
  uint64_t window_offset_ = 0, window_size_ = 0;
  absl::Status read_error_;
};

// The segment's footer, found from the end of its file; nothing if it has none that verifies.
std::optional<format::FooterReader> LoadFooter(const Segment& segment,
                                               const format::FooterReader::Visitor& visit = nullptr);

// The directory of a sealed segment whose footer does not verify, from its units. DataLoss if one of them does not
// either.
absl::StatusOr<format::FooterReader> ScanDirectory(const Segment& segment);

// Records by the offsets they lie at.
using SalvagedRecords = std::vector<std::pair<uint32_t, base::Bytes>>;

// Records of a damaged stretch [from, to) that still verify by themselves, for salvage. A unit begins at `from`, and
// any number of damaged and whole ones may follow it. Parts of a batch are given only together. The bytes live in
// `memory`.
SalvagedRecords SalvageRecords(const Segment& segment, uint64_t from, uint64_t to, base::AlignedBuffer& memory);

}  // namespace firn::log
