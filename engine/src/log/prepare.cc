// The next segment: for whom it is, and what is kept back for those who make room.
#include <algorithm>
#include <utility>

#include "log/unit.h"

namespace firn::log {

// Lets writes into segments that were taken from the reserve, if it is whole again; and prepares the next segment: for
// writes, or else for whoever waits for one and may take it from the reserve.
void Log::PrepareNext() {
  if (base::IfMemoryPermits([this] { TryPrepareNext(); })) return;
  // Whoever waits has to hear of it: what was wished for may have been taken note of already.
  base::MutexLock lock(append_mutex_);
  for (size_t i = 0; i < attempts_.size(); ++i) NoteAttempt(static_cast<io::Claimant>(i), base::OutOfMemory());
  NotePrepared();
}

void Log::TryPrepareNext() {
  using io::Claimant;
  bool prepare = false, restore = false;
  std::array<bool, io::kClaimants> wanted;
  std::array<uint64_t, io::kClaimants> wanted_bytes;
  {
    base::MutexLock lock(append_mutex_);
    prepare = prepared_ == nullptr || prepared_->file->size_bytes() < WantedBytes(Claimant::kWrite);
    for (size_t i = 0; i < wanted.size(); ++i) {
      wanted[i] = std::exchange(attempts_[i].wanted, false);
      wanted_bytes[i] = WantedBytes(static_cast<Claimant>(i));
    }
    if (!prepare) prepare_failed_ = false;
    const Claimant strictest = prepared_ == nullptr ? active_for_ : std::max(active_for_, prepared_for_);
    restore = strictest != Claimant::kWrite && wanted[0];
  }
  const bool young = !wanted[0] && IsYoung();
  if (restore) {
    absl::Status status = room_.Restore();
    while (absl::IsResourceExhausted(status) && RemoveSpare()) status = room_.Restore();
    if (absl::IsResourceExhausted(status)) status = room_.Refuse(status);
    base::MutexLock lock(append_mutex_);
    if (status.ok()) active_for_ = prepared_for_ = Claimant::kWrite;
    NoteAttempt(Claimant::kWrite, status);
  }
  if (!prepare) return;

  Claimant claimant = young ? Claimant::kDelete : Claimant::kWrite;
  absl::StatusOr<std::shared_ptr<Segment>> fresh = base::ResourceExhausted("not tried");
  for (;; claimant = claimant == Claimant::kWrite ? Claimant::kDelete : Claimant::kControl) {
    const bool first_try = claimant == Claimant::kWrite || young;
    const bool somebody_waits = wanted[static_cast<size_t>(claimant)] || wanted[io::kClaimants - 1];
    if (first_try || somebody_waits) {
      const uint64_t bytes = first_try ? FreshSegmentBytes() : SmallSegmentBytes();
      fresh = PrepareSegment(std::max(wanted_bytes[static_cast<size_t>(claimant)], bytes), 0, claimant);
      if (!absl::IsResourceExhausted(fresh.status())) break;
    }
    base::MutexLock lock(append_mutex_);
    if (first_try || somebody_waits) NoteAttempt(claimant, fresh.status());
    if (claimant == Claimant::kControl) {
      NotePrepared();
      return;
    }
  }
  const absl::Status status = fresh.status();
  std::shared_ptr<Segment> too_small;
  {
    base::MutexLock lock(append_mutex_);
    if (status.ok()) {
      too_small = std::move(prepared_);
      prepared_ = *std::move(fresh);
      prepared_for_ = std::min(claimant, Claimant::kDelete);
      if (claimant == Claimant::kWrite) active_for_ = Claimant::kWrite;  // the reserve was whole
    }
    for (size_t i = static_cast<size_t>(claimant); i < attempts_.size(); ++i) {
      NoteAttempt(static_cast<Claimant>(i), status);
    }
    NotePrepared();
  }
  if (too_small != nullptr) Recycle(std::move(too_small));
}

void Log::NotePrepared() {
  prepare_failed_ = prepared_ == nullptr;
  NoteRunway();
}

// For this claimant and those that come after it.
uint64_t Log::WantedBytes(io::Claimant claimant) const {
  uint64_t bytes = 0;
  for (size_t i = static_cast<size_t>(claimant); i < attempts_.size(); ++i) {
    bytes = std::max(bytes, attempts_[i].capacity_bytes);
  }
  return bytes;
}

void Log::NoteAttempt(io::Claimant claimant, const absl::Status& status) {
  Attempt& attempt = attempts_[static_cast<size_t>(claimant)];
  ++attempt.count;
  attempt.status = status;
  if (!status.ok()) attempt.capacity_bytes = 0;  // whoever still waits says so again
  segment_prepared_.NotifyAll();
}

// Of a segment that is taken from the reserve.
uint64_t Log::SmallSegmentBytes() const {
  constexpr uint64_t kLeastBytes = uint64_t{64} << 10;
  return std::max(options_.segment_bytes_min / 2, kLeastBytes);
}

// Deletes get two segments: while one is being filled, the other is reclaimed. A round of reclaim gets what copying a
// segment takes, and the log's own records one more segment, to begin with after the next open or to go on in.
void Log::KeepBack() {
  if (own_room_ != nullptr) return;
  const uint64_t small_bytes = SmallSegmentBytes(), target_bytes = TargetSegmentBytes();
  const uint64_t copy_bytes = target_bytes + target_bytes / 4;
  room_.KeepBack({.deletes_bytes = 2 * (small_bytes + io::kClaimSlackBytes),
                  .reclaim_bytes = copy_bytes + 2 * io::kClaimSlackBytes,
                  .control_bytes = small_bytes + io::kClaimSlackBytes});
}

// A store that has next to nothing keeps nothing back yet: that begins when a write claims more than this takes.
bool Log::IsYoung() const { return HoldsLittle() && room_.reserve_bytes() == 0; }

bool Log::HoldsLittle() const {
  uint64_t bytes = 0;
  for (const auto& segment : segments_.All()) {
    if (segment->sealed.load(std::memory_order_acquire)) bytes += segment->file->size_bytes();
  }
  return bytes < options_.segment_bytes_min / 2;
}

bool Log::BecomeYoung() {
  if (!HoldsLittle()) return false;
  RemoveSpares();
  room_.GiveUpReserve();
  return true;
}

// The segment that the log begins with, wherever it can be had. Deletes may always go there.
absl::StatusOr<std::shared_ptr<Segment>> Log::PrepareFirst(bool young) {
  using io::Claimant;
  const uint64_t least_bytes = std::max(SmallSegmentBytes(), CapacityFor(0, 0) + 4 * format::kBlockBytes);
  absl::StatusOr<std::shared_ptr<Segment>> first = base::ResourceExhausted("not tried");
  Claimant claimant = young ? Claimant::kDelete : Claimant::kWrite;
  for (;; claimant = claimant == Claimant::kWrite ? Claimant::kDelete : Claimant::kControl) {
    const bool first_try = claimant == Claimant::kWrite || young;
    first = PrepareSegment(first_try ? options_.segment_bytes_min : least_bytes, 0, claimant);
    if (!absl::IsResourceExhausted(first.status())) break;
    if (claimant == Claimant::kControl) {
      room_.Overdraw(least_bytes);
      first = PrepareSegment(least_bytes, 0, claimant);
      break;
    }
    young = false;
  }
  base::MutexLock lock(append_mutex_);
  active_for_ = young ? Claimant::kWrite : std::min(claimant, Claimant::kDelete);
  return first;
}

}  // namespace firn::log
