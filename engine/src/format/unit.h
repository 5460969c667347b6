// Commit units: what one group commit writes. Whole blocks, padded with zeros, never rewritten. A unit is
// believed whole or not at all, which is what makes a batch atomic.
#pragma once

#include <cstdint>
#include <optional>

#include "base/coding.h"
#include "format/layout.h"

namespace firn::format {

inline constexpr size_t kUnitHeaderBytes = 64;

struct UnitHeader {
  uint32_t blocks = 0;                             // length of the unit, header and padding included
  uint32_t payload_bytes = 0;                      // records, right after the header; zeros follow up to the unit's end
  uint64_t first_revision = 0, last_revision = 0;  // of the records within
  Position durable;     // the watermark: everything before it was known durable when this unit was closed
  int64_t time_ms = 0;  // the store's clock when it was closed; never decreases along the log
};

// Fills the header of the unit that starts at `unit` and lies at `offset` in its segment. The payload and the
// zero padding are in place already; the checksum covers all of the unit.
void SealUnit(const UnitHeader& header, const ChecksumSeed& seed, uint64_t offset, base::MutableBytes unit);

// Reads only the first kUnitHeaderBytes. Nothing unless magic, offset and lengths are plausible and the
// header's own checksum verifies: enough to know how many bytes to read.
std::optional<UnitHeader> PeekUnit(base::Bytes head, const ChecksumSeed& seed, uint64_t offset);

// Verifies the whole unit (`unit` is exactly blocks * kBlockBytes long), padding included.
std::optional<UnitHeader> VerifyUnit(base::Bytes unit, const ChecksumSeed& seed, uint64_t offset);

}  // namespace firn::format
