// A segment in use: its open file, what verifies it, and how much of it is still needed.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/aligned_buffer.h"
#include "base/epoch.h"
#include "base/sync.h"
#include "format/footer.h"
#include "format/layout.h"
#include "format/record.h"
#include "format/segment_header.h"
#include "io/disk.h"

namespace firn::log {

using format::Position;
using format::SegmentId;

inline constexpr std::string_view kLogFolder = "log";
inline constexpr uint32_t kFirstUnitOffset = format::kBlockBytes;  // block 0 is the header

std::string SegmentFileName(SegmentId id);  // "log/0000000001.seg"

struct Segment {
  SegmentId id = format::kNoSegment;
  std::unique_ptr<io::File> file;
  format::SegmentHeader header;
  format::ChecksumSeed seed;

  // What the index and kept versions name, and tombstones that must not go yet. A segment with nothing of either can
  // be retired.
  std::atomic<int64_t> live_records{0};
  std::atomic<int64_t> live_bytes{0};
  std::atomic<int64_t> tombstones{0};

  std::atomic<uint32_t> units_end{kFirstUnitOffset};  // reserved so far; final once the segment is left
  std::atomic<bool> sealed{false};
  std::atomic<bool> retiring{false};  // a retire record names it: left out of live ids from then on

  std::atomic<bool> has_unsynced_writes{false};
  // The rest belongs to whoever holds the flusher's role; once written_end has reached units_end of a segment that was
  // left, to the sealer.
  std::atomic<uint32_t> written_end{kFirstUnitOffset};
  uint64_t last_revision = 0;
  int64_t time_ms_max = 0;
  format::LiveIds live_ids;
  std::vector<SegmentId> retired;
  std::vector<Position> cuts;
  std::unique_ptr<format::FooterBuilder> directory = std::make_unique<format::FooterBuilder>();
  std::string recovered_footer;  // of a segment that recovery had to scan: what sealing will write

  // Units a read-only open found in the tail buffers only. Immutable once the store is open.
  struct Overlay {
    uint32_t offset;
    base::AlignedBuffer bytes;
    uint64_t size;
  };
  std::vector<Overlay> overlays;
};

// Takes what a unit's payload says into the segment's directory and manifest fields. The payload has been verified, or
// was just written by this process.
void NoteUnit(Segment& segment, base::Bytes payload, uint32_t payload_offset);

// The footer of what was noted. To be called once: the directory is gone then.
std::string FinishFooter(Segment& segment);

// Reads bytes of a segment wherever they are on disk (or in an overlay), any alignment.
absl::Status ReadSegmentBytes(const Segment& segment, uint64_t offset, base::MutableBytes out);

// The segments a store consists of, by id. Readers hold an EpochGuard and take no lock; changes replace the whole map.
class SegmentTable {
 public:
  explicit SegmentTable(base::EpochDomain& epochs) : epochs_(epochs), map_(new Map) {}
  ~SegmentTable() { delete map_.load(std::memory_order_relaxed); }
  SegmentTable(const SegmentTable&) = delete;

  // Null when there is none. The pointer lives as long as the caller's guard.
  Segment* Find(SegmentId id) const;

  void Insert(std::shared_ptr<Segment> segment);
  // The segment leaves the table; readers that found it may still be using it.
  std::shared_ptr<Segment> Remove(SegmentId id);
  // Ascending ids.
  std::vector<std::shared_ptr<Segment>> All() const;
  size_t size() const;

 private:
  using Map = std::vector<std::shared_ptr<Segment>>;  // sorted by id

  void Replace(std::unique_ptr<Map> fresh) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  base::EpochDomain& epochs_;
  mutable base::Mutex mutex_;  // writers
  std::atomic<Map*> map_;
};

}  // namespace firn::log
