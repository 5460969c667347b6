// A commit unit on its way from the tail buffer to its segment.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>

#include "base/aligned_buffer.h"
#include "format/unit.h"
#include "log/log.h"

namespace firn::log {

struct Log::Unit {
  std::shared_ptr<Segment> segment;
  uint32_t offset = 0;           // in the segment
  std::byte* memory = nullptr;   // of the unit's first byte
  uint64_t room_bytes = 0;       // from there to the end of the buffer
  size_t buffer = kTailBuffers;  // kTailBuffers: its own memory, for one operation larger than a buffer
  base::AlignedBuffer own_memory;
  uint64_t payload_bytes = 0;
  uint32_t operations = 0;
  uint64_t first_revision = 0, last_revision = 0;
  std::atomic<uint32_t> writers{0};  // slots not yet completed
  std::unique_ptr<Unit> next;        // closed after this one

  uint64_t end() const { return base::RoundUp(offset + format::kUnitHeaderBytes + payload_bytes, format::kBlockBytes); }
};

// What beginning a segment needs of memory, so that it does not fail half-way.
struct Log::Beginning {
  Beginning(const SegmentTable& segments, std::string live_ids_body)
      : live_ids(std::move(live_ids_body)),
        unit(NewUnit(format::kRecordHeadBytesMax + live_ids.size())),
        room(segments, 0) {}

  std::string live_ids;
  std::unique_ptr<Unit> unit;
  SegmentTable::Room room;
};

}  // namespace firn::log
