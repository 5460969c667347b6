// A segment in use: its open file, what verifies it, and how much of it is still needed.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/aligned_buffer.h"
#include "base/epoch.h"
#include "base/key_filter.h"
#include "base/sync.h"
#include "format/footer.h"
#include "format/layout.h"
#include "format/record.h"
#include "format/segment_header.h"
#include "io/disk.h"
#include "io/room.h"

namespace firn::log {

using format::Position;
using format::SegmentId;

inline constexpr std::string_view kLogFolder = "log";
inline constexpr uint32_t kFirstUnitOffset = format::kBlockBytes;  // block 0 is the header

// Bounds, for leaving room: more than a footer entry takes beside its key and value pointer, and more than a footer
// takes beside its entries and live ids.
inline constexpr uint64_t kDirectoryEntryBytesMax = 56;
inline constexpr uint64_t kFooterBytesMin = 2 * format::kBlockBytes;

std::string SegmentFileName(SegmentId id);  // "log/0000000001.seg"

// What key filters are asked: the hash of the key as the index has it, namespace id (big-endian) first.
uint64_t KeyHash(uint32_t namespace_id, std::string_view key);

// Owned by shared pointers: whoever holds one keeps the file open, though after a retirement it may be another's.
struct Segment : std::enable_shared_from_this<Segment> {
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
  std::atomic<bool> retiring{
      false};                       // a retire record names it: left out of live ids; set under the log's append mutex
  std::atomic<bool> settled{true};  // false: relocated records that the index does not name yet; not to be retired

  // No record in the directory has a lower one. A bound until the segment is sealed, exact from then on.
  std::atomic<uint64_t> revision_min{0};
  // The keys of the directory. Immutable once published by the release store of `sealed` or, filled while opening, by
  // the insertion into the table. Null: unknown.
  std::unique_ptr<base::KeyFilter> filter;
  bool MayHold(uint64_t key_hash) const {
    return !sealed.load(std::memory_order_acquire) || filter == nullptr || filter->MayHold(key_hash);
  }

  std::atomic<bool> has_unsynced_writes{false};
  // The rest belongs to whoever holds the flusher's role; once written_end has reached units_end of a segment that was
  // left, to the sealer.
  std::atomic<uint32_t> written_end{kFirstUnitOffset};
  uint64_t last_revision = 0;
  uint64_t records = 0, record_bytes = 0;  // in the directory; known once sealed, and opened
  int64_t time_ms_max = 0;
  format::LiveIds live_ids;
  std::vector<SegmentId> retired;
  std::vector<Position> cuts;
  std::vector<Position> adopted;
  // Null: it was made a footer of, or there was no memory for all of it.
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

// Whether a segment's units can end there.
inline bool CanEndUnits(uint32_t offset) { return offset >= kFirstUnitOffset && offset % format::kBlockBytes == 0; }

// Whether a payload is whole records that make whole operations. Checksums cannot tell: whoever forges bytes, or writes
// records of a kind to come, makes them fit.
bool HoldsOperations(base::Bytes payload);

// Takes what a unit's payload says into the segment's directory, if it has one, and manifest fields. The payload has
// been verified and holds operations, or was just written by this process.
void NoteUnit(Segment& segment, base::Bytes payload, uint32_t payload_offset);

// The footer of what was noted. To be called once: the directory is gone then. Makes the key filter.
std::string FinishFooter(Segment& segment);
// Writes the footer behind the units, gives back what the file has beyond, and syncs. ResourceExhausted if the file has
// no room for it and gets none.
absl::Status WriteFooter(io::Room& room, Segment& segment, std::string_view footer);

// Reads bytes of a segment wherever they are on disk (or in an overlay), any alignment.
absl::Status ReadSegmentBytes(const Segment& segment, uint64_t offset, base::MutableBytes out);

// The segments a store consists of, by id. Readers hold an EpochGuard and take no lock; changes replace the whole map.
class SegmentTable {
  using Map = std::vector<std::shared_ptr<Segment>>;  // sorted by id

 public:
  explicit SegmentTable(base::EpochDomain& epochs) : epochs_(epochs), map_(new Map) {}
  ~SegmentTable() { delete map_.load(std::memory_order_relaxed); }
  SegmentTable(const SegmentTable&) = delete;

  // Null when there is none. The pointer lives as long as the caller's guard.
  Segment* Find(SegmentId id) const;
  std::shared_ptr<Segment> Get(SegmentId id) const;
  // Whether any segment but `except` may hold the key in a record below `revision`: then a tombstone of that revision
  // has to stay. The caller is inside an epoch guard.
  bool MayHoldOlder(uint64_t key_hash, uint64_t revision, std::span<const SegmentId> except) const;

  // Each change, and what it needs of memory, which can be had before: then the change does not fail.
  class Room {
   public:
    // For this many changes by others in between, all of them insertions.
    Room(const SegmentTable& table, size_t insertions_between);

   private:
    friend class SegmentTable;
    std::unique_ptr<Map> map_;
    base::EpochDomain::Promise promise_;
  };
  void Insert(std::shared_ptr<Segment> segment) { Insert(std::move(segment), Room(*this, 0)); }
  void Insert(std::shared_ptr<Segment> segment, Room room);
  // The segments leave the table; readers that found them may still be using them.
  void Remove(std::span<const SegmentId> ids, Room room);
  // Ascending ids.
  std::vector<std::shared_ptr<Segment>> All() const;
  size_t size() const;

 private:
  // `change` gets a copy of the map.
  template <typename Change>
  void Replace(Room& room, size_t size_max, const Change& change) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  base::EpochDomain& epochs_;
  mutable base::Mutex mutex_;  // writers
  std::atomic<Map*> map_;
};

}  // namespace firn::log
