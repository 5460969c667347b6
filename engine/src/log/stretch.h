// Damaged stretches of a segment, for salvage: every record in them that verifies, wherever it begins.
#pragma once

#include <cstdint>
#include <functional>
#include <utility>
#include <vector>

#include "base/aligned_buffer.h"
#include "format/record.h"
#include "log/segment.h"

namespace firn::log {

struct FoundRecord {
  uint32_t offset = 0;  // in the segment
  base::Bytes bytes;
};

struct Stretch {
  std::vector<FoundRecord> records;                 // by offset; the bytes live in `memory`
  std::vector<std::pair<uint64_t, uint64_t>> gaps;  // what may have held others: neither records, heads nor padding
  std::vector<uint64_t> incomplete_batches;         // revisions of batches of which only a part is among the records
  uint64_t records_end = 0;                         // of the last one; 0: there is none
  bool has_head = false;                            // a unit's header verifies, so something was written here
  base::AlignedBuffer memory;
};

// [from, to) are whole blocks in which a unit begins at `from`, and no unit verifies. Units' headers that do verify
// bound where records may lie; elsewhere one is looked for at each byte.
Stretch ReadStretch(const Segment& segment, uint64_t from, uint64_t to);

// All records of [from, to), in units that verify and in stretches that do not, as far as they verify themselves.
void ForEachFoundRecord(const Segment& segment, uint64_t from, uint64_t to,
                        const std::function<void(const format::Record&)>& visit);

// What of a segment's file its offsets reach, in whole blocks.
uint64_t AddressableBytes(const io::File& file);
// Where what can be read of the segment ends: its file, or what the tail buffers hold. Of the zeros at a file's end, as
// of one that a repair made huge, only so many count: a last record's value may end in them.
uint64_t EndOf(const Segment& segment);
inline constexpr uint64_t kZerosKeptBytes = uint64_t{64} << 20;

// Fills `out`; blocks that cannot be read become zeros.
void ReadPast(io::File& file, uint64_t offset, base::MutableBytes out);
// From the second block on.
bool IsEmptyBehindHeader(io::File& file);

}  // namespace firn::log
