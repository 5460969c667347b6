// Moving what lives out of segments that are mostly dead, so that these can be used again.
//
// One round: the victims' directories tell what they hold, the index what of it lives. Live records of all victims are
// copied, in key order, into relocation segments; these are made durable and adopted by the store; only then does the
// index follow, key by key; then the victims are retired. A crash anywhere finds each live record in the victim, in the
// copy, or in both under the same revision, which is the same to recovery.
//
// What decides over a record:
// - The index, a kept version or an expiry change names it: it lives, and moves.
// - It is a tombstone (a delete, an expired put or expiry change, the drop of a namespace) and an older segment may
//   hold its key: its place is taken by a delete at its revision (rule 2).
// - Anything else is garbage.
//
// A round may evacuate a value file, too: the victims then are the segments that name it, and each live record's extent
// in it is copied elsewhere, the record's copy naming the new one. Recovery takes the younger of two segments with the
// same revision of a record, which is the copy: from its adoption on nobody needs the old extent.
//
// Victims are sealed and everything in them is published, so the index knows of each of their records. Memory: the
// directory of one victim; a batch of at most 16 MiB, or one record, in at most 65,536 records, within which the order
// of keys holds, and 2 MiB, or one record, to read it; and for each record of one relocation segment its key and
// places.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <unordered_set>
#include <vector>

#include "base/aligned_buffer.h"
#include "db/keys.h"
#include "format/footer.h"
#include "log/log.h"
#include "log/relocation.h"
#include "values/extent_table.h"

namespace firn {

class Store;

class Relocator {
 public:
  // `keep_going` is asked between batches; once it says no the round ends: what has been copied is adopted all the
  // same, and the victims stay.
  // `value_file`: the slot of one to be evacuated.
  // `next`: victims of the next round, to be read ahead when this one has read its own.
  Relocator(Store& store, std::vector<log::SegmentId> victims, std::function<bool()> keep_going,
            std::optional<uint32_t> value_file, std::vector<log::SegmentId> next);
  ~Relocator();

  struct Result {
    uint64_t records = 0, bytes = 0;  // moved
    uint64_t read_ahead_bytes = 0;    // of these
    uint64_t retired = 0;             // segments
    uint64_t freed_bytes = 0;         // of their files
    std::vector<log::SegmentId> copies;
    uint64_t copies_bytes = 0;  // of the copies' files
  };
  absl::StatusOr<Result> Run();
  // Whether Run() failed because a record does not verify, rather than because the disk did.
  bool found_damage() const { return found_damage_; }
  // The victim that was being evacuated when Run() ended.
  log::SegmentId last_victim() const { return last_victim_; }

 private:
  enum class Fate { kGarbage, kMove, kTombstone };
  // A record on its way.
  struct Item {
    std::string key;  // index key
    format::RecordType type;
    format::Position place;
    uint32_t size;
    uint64_t revision;
    Fate fate;
    values::Slot extent = values::kNoSlot;  // to be copied as well
    size_t at = 0;                          // in the batch's bytes
  };
  struct Move {
    uint32_t key_at, key_size;  // in move_keys_
    format::RecordType type;
    format::Position from, to;
    uint32_t from_size, size;
    uint64_t revision;
    values::Slot old_extent, new_extent;  // or kNoSlot
  };

  absl::Status Evacuate(log::SegmentId victim);
  Fate FateOf(log::SegmentId victim, const format::DirectoryEntry& entry, std::string_view index_key);
  absl::Status Unreadable(log::SegmentId victim, const absl::Status& status);
  const log::Segment& Victim(log::SegmentId id) const;
  absl::Status CopyBatch(bool last);
  // Items whose records are read in one piece.
  struct Span {
    std::span<Item* const> items;
    log::SegmentId victim;
    uint64_t begin, size;
  };
  absl::Status ReadBatch();
  static Span NextSpan(std::span<Item* const> by_place);
  absl::Status ReadSpans(std::span<const Span> spans);
  void CopyItems(const Span& span, base::Bytes from);
  void BeginNext();
  void ReleaseExtent(values::Slot slot, uint64_t revision);
  values::Slot ExtentToMove(const Item& item) const;
  absl::Status CopyRecord(const Item& item);
  absl::Status AdoptCopies();
  void MoveReferences(log::Segment& copies) noexcept;

  Store& store_;
  log::Log& log_;
  const std::vector<log::SegmentId> victims_;
  const std::function<bool()> keep_going_;
  const std::optional<uint32_t> value_file_;
  const std::vector<log::SegmentId> next_;
  uint32_t generation_ = 1;  // of the copies
  uint64_t segment_bytes_ = 0;
  bool stopped_ = false;
  std::vector<Item> batch_;
  size_t batch_bytes_ = 0;
  std::string bytes_;  // of the batch's live records
  base::AlignedBuffer read_buffer_;
  std::unique_ptr<log::RelocationWriter> writer_;
  std::vector<Move> moves_;
  std::string move_keys_;
  values::Slot unplaced_extent_ = values::kNoSlot;  // copied, and in no move yet
  std::unordered_set<uint64_t> kept_copies_;  // hashes of keys of which a version was copied that only a view needs
  bool found_damage_ = false;
  log::SegmentId last_victim_ = format::kNoSegment;
  Result result_;
};

}  // namespace firn
