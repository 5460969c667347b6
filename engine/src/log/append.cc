// Appending: reserving revisions and places, and moving from unit to unit, buffer to buffer, segment to segment.
#include <algorithm>
#include <optional>
#include <utility>

#include "base/check.h"
#include "log/unit.h"

namespace firn::log {

namespace {

// While the log lives on the reserve, the end of the active segment is for its own records: retiring a segment takes
// little, and gives much.
constexpr uint64_t kControlBytes = 2 * format::kBlockBytes;

}  // namespace

absl::StatusOr<Log::Slot> Log::Reserve(uint64_t bytes, uint32_t records, uint64_t directory_bytes,
                                       io::Claimant claimant, const std::shared_ptr<Segment>& joins) {
  const uint64_t directory = directory_bytes + records * kDirectoryEntryBytesMax;
  Slot slot;
  for (int turn = 0;; ++turn) {
    Need need;
    {
      base::MutexLock lock(append_mutex_);
      if (poisoned_.load(std::memory_order_relaxed) || appending_stopped_) break;
      // Once there is a slot nothing may fail. A rotation may come in between.
      std::optional<SegmentTable::Room> room;
      if (joins != nullptr) room.emplace(segments_, 1);
      need = TryReserve(bytes, directory, claimant, slot);
      if (need == Need::kNothing) {
        ++active_operations_;
        if (joins != nullptr) segments_.Insert(joins, *std::move(room));
      }
    }
    switch (need) {
      case Need::kNothing:
        return slot;
      case Need::kPublishing:
        base::SpinPause(turn);
        break;
      case Need::kBuffer:
        FIRN_RETURN_IF_ERROR(WaitForBuffer());
        break;
      case Need::kSegment:
        FIRN_RETURN_IF_ERROR(WaitForSegment(kFirstUnitOffset + bytes + directory, claimant));
        break;
    }
  }
  return CheckAppending();
}

absl::Status Log::CheckAppending() {
  FIRN_RETURN_IF_ERROR(health());
  base::MutexLock lock(append_mutex_);
  if (!appending_stopped_) return absl::OkStatus();
  return base::FailedPrecondition("the store is closed or read-only: nothing can be written");
}

Log::Need Log::TryReserve(uint64_t bytes, uint64_t directory_bytes, io::Claimant claimant, Slot& slot) {
  // A rotation draws one revision more.
  if (next_revision_ + 1 - published_.Get() >= PublishedRevisions::kWindow) return Need::kPublishing;
  if (claimant < active_for_) return Need::kSegment;
  if (open_ != nullptr && open_->buffer != kTailBuffers &&
      format::kUnitHeaderBytes + open_->payload_bytes + bytes <= open_->room_bytes &&
      FitsActive(open_->end() + base::RoundUp(bytes, format::kBlockBytes), directory_bytes, claimant)) {
    Take(bytes, directory_bytes, slot);
    return Need::kNothing;
  }
  const uint64_t start = open_ != nullptr ? open_->end() : active_->units_end.load(std::memory_order_relaxed);
  const uint64_t unit_bytes = base::RoundUp(format::kUnitHeaderBytes + bytes, format::kBlockBytes);
  if (!FitsActive(start + unit_bytes, directory_bytes, claimant)) {
    const Need need = Rotate(bytes, directory_bytes, claimant);
    if (need != Need::kNothing) return need;
  }
  const Need need = OpenUnit(bytes);
  if (need == Need::kNothing) Take(bytes, directory_bytes, slot);
  return need;
}

bool Log::FitsActive(uint64_t unit_end, uint64_t directory_bytes, io::Claimant claimant) const {
  const bool on_reserve = active_for_ != io::Claimant::kWrite;
  if (on_reserve && claimant != io::Claimant::kControl) unit_end += kControlBytes;
  return unit_end + base::RoundUp(directory_bytes_ + directory_bytes, format::kBlockBytes) <=
         active_->file->size_bytes();
}

// A unit to be opened for `bytes`, with memory of its own if they are more than a buffer holds.
std::unique_ptr<Log::Unit> Log::NewUnit(uint64_t bytes) {
  auto unit = std::make_unique<Unit>();
  const uint64_t wanted = format::kUnitHeaderBytes + bytes;
  if (wanted > kTailBufferBytes) unit->own_memory = base::AlignedBuffer(wanted);
  return unit;
}

// Makes `open_` a unit with room for `bytes` in the active segment, which has the space. With a `unit` made for it, and
// a buffer free, it does not fail.
Log::Need Log::OpenUnit(uint64_t bytes, std::unique_ptr<Unit> unit) {
  CloseUnit();
  const uint32_t start = active_->units_end.load(std::memory_order_relaxed);
  const uint64_t wanted = format::kUnitHeaderBytes + bytes;
  const bool own_memory = wanted > kTailBufferBytes;
  const bool goes_on = buffer_ != kTailBuffers && start + wanted <= uint64_t{buffer_base_} + kTailBufferBytes;
  if (!own_memory && !goes_on && unwritten_units_[next_buffer_] != 0) return Need::kBuffer;
  if (unit == nullptr) unit = NewUnit(bytes);
  open_ = std::move(unit);
  if (own_memory) {
    if (buffer_ != kTailBuffers) tail_->Leave(buffer_, start);
    buffer_ = kTailBuffers;
    open_->memory = open_->own_memory.data();
    open_->room_bytes = open_->own_memory.size();
  } else {
    if (!goes_on) {
      if (buffer_ != kTailBuffers) {
        tail_->Leave(buffer_, start);
        flushing_full_.Kick();  // the buffer just left can be written
      }
      buffer_ = next_buffer_;
      buffer_base_ = start;
      next_buffer_ = (next_buffer_ + 1) % kTailBuffers;
      tail_->Assign(buffer_, *active_, start);
    }
    open_->buffer = buffer_;
    open_->memory = tail_->memory(buffer_) + (start - buffer_base_);
    open_->room_bytes = buffer_base_ + kTailBufferBytes - start;
    ++unwritten_units_[buffer_];
  }
  open_->segment = active_;
  open_->offset = start;
  return Need::kNothing;
}

void Log::CloseUnit() {
  if (open_ == nullptr) return;
  active_->units_end.store(static_cast<uint32_t>(open_->end()), std::memory_order_relaxed);
  Unit* const unit = open_.get();
  (closed_ == nullptr ? closed_ : last_closed_->next) = std::move(open_);
  last_closed_ = unit;
}

void Log::Take(uint64_t bytes, uint64_t directory_bytes, Slot& slot) {
  const uint64_t at = format::kUnitHeaderBytes + open_->payload_bytes;
  slot.revision = next_revision_++;
  slot.segment = active_->id;
  slot.offset = static_cast<uint32_t>(open_->offset + at);
  slot.memory = open_->memory + at;
  slot.seed = &active_->seed;
  slot.owner = active_.get();
  slot.publish_after_write = open_->buffer == kTailBuffers;
  slot.unit = open_.get();
  if (open_->first_revision == 0) open_->first_revision = slot.revision;
  open_->last_revision = slot.revision;
  open_->payload_bytes += bytes;
  open_->operations += 1;
  open_->writers.fetch_add(1, std::memory_order_relaxed);
  directory_bytes_ += directory_bytes;
  NoteRunway();
}

void Log::Complete(const Slot& slot) { slot.unit->writers.fetch_sub(1, std::memory_order_release); }

// In the last free buffer; or near the end of a segment while the next one is being made.
bool Log::RunwayIsShort() const {
  if (unwritten_units_[next_buffer_] != 0) return true;
  if (prepared_ != nullptr || prepare_failed_) return false;
  const uint64_t file_bytes = active_->file->size_bytes();
  const uint64_t end = open_ != nullptr ? open_->end() : active_->units_end.load(std::memory_order_relaxed);
  return end + directory_bytes_ + std::min<uint64_t>(kTailBufferBytes, file_bytes / 4) > file_bytes;
}

void Log::NoteRunway() {
  const bool is_short = RunwayIsShort();
  if (runway_short_.load(std::memory_order_relaxed) == is_short) return;
  runway_short_.store(is_short, std::memory_order_relaxed);
  if (!is_short) runway_longer_.NotifyAll();
}

uint64_t Log::AwaitRunway() {
  if (!runway_short_.load(std::memory_order_relaxed)) return 0;
  const uint64_t began_nanos = options_.monotonic_clock->MonotonicNanos();
  uint64_t waited_nanos = 0;
  base::MutexLock lock(append_mutex_);
  while (runway_short_.load(std::memory_order_relaxed) && waited_nanos < kRunwayWaitNanosMax) {
    if (poisoned_.load(std::memory_order_relaxed) || appending_stopped_) break;
    runway_longer_.WaitFor(append_mutex_, kRunwayWaitNanosMax - waited_nanos);
    waited_nanos = options_.monotonic_clock->MonotonicNanos() - began_nanos;
  }
  return waited_nanos;
}

// Of a segment that begins with an operation of this size.
uint64_t Log::CapacityFor(uint64_t bytes, uint64_t directory_bytes) const {
  const uint64_t live_ids_bytes = format::kRecordHeadBytesMax + 64 + 16 * segments_.size();
  return kFirstUnitOffset + kControlBytes +
         base::RoundUp(format::kUnitHeaderBytes + live_ids_bytes, format::kBlockBytes) +
         base::RoundUp(format::kUnitHeaderBytes + bytes, format::kBlockBytes) +
         base::RoundUp(kFooterBytesMin + live_ids_bytes + directory_bytes, format::kBlockBytes);
}

// Leaves the active segment for the prepared one.
Log::Need Log::Rotate(uint64_t bytes, uint64_t directory_bytes, io::Claimant claimant) {
  CloseUnit();
  const uint64_t needed = CapacityFor(bytes, directory_bytes);
  if (prepared_ == nullptr || prepared_->file->size_bytes() < needed || claimant < prepared_for_) {
    uint64_t& wanted_bytes = attempts_[static_cast<size_t>(claimant)].capacity_bytes;
    wanted_bytes = std::max(wanted_bytes, needed);
    return Need::kSegment;
  }
  if (unwritten_units_[next_buffer_] != 0) return Need::kBuffer;
  Beginning beginning(segments_, LiveIdsBody());
  left_.push_back(active_);
  if (buffer_ != kTailBuffers) {
    tail_->Leave(buffer_, active_->units_end.load(std::memory_order_relaxed));
    buffer_ = kTailBuffers;
  }
  active_for_ = prepared_for_;
  prepare_failed_ = false;
  Activate(std::move(prepared_), std::move(beginning));
  flushing_full_.Kick();
  preparing_.Kick();
  return Need::kNothing;
}

// The segment's first record lists the live ones. A buffer is free.
void Log::Activate(std::shared_ptr<Segment> segment, Beginning beginning) {
  const uint64_t now = options_.monotonic_clock->MonotonicNanos();
  last_fill_nanos_.store(active_ == nullptr ? UINT64_MAX : now - active_since_nanos_, std::memory_order_relaxed);
  active_since_nanos_ = now;
  active_ = std::move(segment);
  for (Attempt& attempt : attempts_) attempt.capacity_bytes = 0;
  segments_.Insert(active_, std::move(beginning.room));
  directory_bytes_ = kFooterBytesMin + 2 * beginning.live_ids.size();
  active_operations_ = 0;

  format::Record record{.type = format::RecordType::kLiveIds, .value = base::AsBytes(beginning.live_ids)};
  FIRN_CHECK(OpenUnit(format::RecordSize(record), std::move(beginning.unit)) == Need::kNothing);
  Slot slot;
  Take(format::RecordSize(record), 0, slot);
  active_->revision_min.store(slot.revision, std::memory_order_relaxed);  // all that follow are higher
  record.revision = slot.revision;
  format::EncodeRecord(record, *slot.seed, slot.offset, slot.memory);
  Complete(slot);
  published_.Publish(slot.revision);
}

// Of the segments that live beside one that is about to begin.
std::string Log::LiveIdsBody() const {
  format::LiveIds live{.next_namespace_id = next_namespace_id.load(std::memory_order_relaxed)};
  for (const auto& segment : segments_.All()) {
    if (segment->retiring.load(std::memory_order_relaxed)) continue;
    live.segments.push_back({segment->id, segment->units_end.load(std::memory_order_relaxed)});
  }
  return format::EncodeLiveIds(live);
}

// Or, where the claimant may not append to the active segment, until it may.
absl::Status Log::WaitForSegment(uint64_t capacity_bytes, io::Claimant claimant) {
  base::MutexLock lock(append_mutex_);
  Attempt& attempt = attempts_[static_cast<size_t>(claimant)];
  const uint64_t attempts = attempt.count;
  const bool kept_out = claimant < active_for_;
  // What Rotate() asked for is more; a failed attempt forgets it, this call does not.
  capacity_bytes = std::max(capacity_bytes, attempt.capacity_bytes);
  const auto ready = [&]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(append_mutex_) {
    if (kept_out) return claimant >= active_for_;
    return prepared_ != nullptr && claimant >= prepared_for_ && prepared_->file->size_bytes() >= capacity_bytes;
  };
  while (!ready()) {
    if (poisoned_.load(std::memory_order_relaxed) || appending_stopped_) return absl::OkStatus();  // Reserve() says why
    if (attempt.count != attempts && !attempt.status.ok()) return attempt.status;
    // Again each time: another writer that rotated meanwhile has taken the segment, and cleared the wish for its size.
    if (!kept_out) attempt.capacity_bytes = std::max(attempt.capacity_bytes, capacity_bytes);
    attempt.wanted = true;
    preparing_.Kick();
    segment_prepared_.Wait(append_mutex_);
  }
  return absl::OkStatus();
}

uint64_t Log::LastReserved() {
  base::MutexLock lock(append_mutex_);
  return next_revision_ - 1;
}

absl::StatusOr<Log::Written> Log::AppendControl(const format::Record& record, Role role,
                                                const std::function<void(const Written&)>& apply, io::Claimant claimant,
                                                const std::shared_ptr<Segment>& joins) {
  const uint64_t bytes = format::RecordSize(record);
  FIRN_ASSIGN_OR_RETURN(const Slot slot, Reserve(bytes, 1, record.key.size() + record.value.size(), claimant, joins));
  format::Record stamped = record;
  stamped.revision = slot.revision;
  format::EncodeRecord(stamped, *slot.seed, slot.offset, slot.memory);
  if (role == Role::kLive) {
    slot.owner->live_records.fetch_add(1, std::memory_order_relaxed);
    slot.owner->live_bytes.fetch_add(static_cast<int64_t>(bytes), std::memory_order_relaxed);
  } else if (role == Role::kTombstone) {
    slot.owner->tombstones.fetch_add(1, std::memory_order_relaxed);
  }
  Complete(slot);
  const Written written{slot.revision, slot.segment, slot.offset, static_cast<uint32_t>(bytes)};
  if (apply) apply(written);
  published_.Publish(slot.revision);
  return written;
}

}  // namespace firn::log
