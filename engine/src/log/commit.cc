// Group commit: one flusher at a time writes what has been appended; everybody else waits for its group or the next.
#include <algorithm>
#include <cstring>
#include <utility>

#include "base/check.h"
#include "format/unit.h"
#include "log/unit.h"

namespace firn::log {

absl::Status Log::WaitDurable(uint64_t revision) {
  if (durable_revision() >= revision) return absl::OkStatus();
  base::MutexLock lock(flush_mutex_);
  uint64_t counted_in = 0;
  while (durable_revision() < revision) {
    if (!poison_.ok()) return poison_;
    // A flush under way that has not said yet what it takes will take this revision too.
    const bool next_group = !flushing_ || revision > flush_takes_up_to_.load(std::memory_order_acquire);
    const uint64_t group = flush_group_ + (next_group ? 1 : 0);
    if (std::exchange(counted_in, group) != group) {
      if (++group_waiters_[group % 2] >= expected_waiters_) gathered_.NotifyOne();
    }
    if (!flushing_) {
      LeadFlush(Extent::kDurable);
    } else {
      group_done_[group % 2].Wait(flush_mutex_);
    }
  }
  return absl::OkStatus();
}

// Who has just been told that a write is durable is likely to come with another. A flush that does not wait for them
// takes only those who came during the one before, and each half of the writers waits for the other's flush. So it
// waits a little, as long as that has helped: for a part of what a flush takes.
void Log::Gather() {
  constexpr uint64_t kFlushPart = 4, kNanosMax = 200'000;
  constexpr uint32_t kLeftOutMax = 64;
  const uint32_t& waiters = group_waiters_[flush_group_ % 2];
  if (waiters >= expected_waiters_) return;
  if (gathers_left_out_ < gathers_to_leave_out_) {
    ++gathers_left_out_;
    return;
  }
  const uint64_t until = options_.monotonic_clock->MonotonicNanos() + std::min(flush_nanos_ / kFlushPart, kNanosMax);
  for (uint64_t now; waiters < expected_waiters_ && (now = options_.monotonic_clock->MonotonicNanos()) < until;) {
    gathered_.WaitFor(flush_mutex_, until - now);
  }
  gathers_left_out_ = 0;
  gathers_to_leave_out_ = waiters >= expected_waiters_ ? 0 : std::min(2 * gathers_to_leave_out_ + 1, kLeftOutMax);
}

void Log::AddWaiter(DurableWaiter& waiter) {
  base::MutexLock lock(flush_mutex_);
  waiters_.push_back(&waiter);
}

void Log::RemoveWaiter(DurableWaiter& waiter) {
  base::MutexLock lock(flush_mutex_);
  std::erase(waiters_, &waiter);
}

bool Log::AwaitDurable(DurableWaiter& waiter, uint64_t first, uint64_t last) {
  {
    base::MutexLock lock(flush_mutex_);
    if (!poison_.ok() || durable_revision() >= first) return false;
    waiter.awaited_revision_ = first;
    if (asked_revision_.load(std::memory_order_relaxed) >= last) return true;  // firn-flush was kicked
    asked_revision_.store(last, std::memory_order_relaxed);
  }
  flushing_full_.Kick();
  return true;
}

void Log::TellWaiters() {
  for (DurableWaiter* const waiter : waiters_) {
    if (poison_.ok() && waiter->awaited_revision_ > durable_revision()) continue;
    if (std::exchange(waiter->awaited_revision_, DurableWaiter::kNothing) != DurableWaiter::kNothing) {
      waiter->NoteDurable();
    }
  }
}

absl::Status Log::WaitWritten(uint64_t revision) {
  base::MutexLock lock(flush_mutex_);
  while (written_revision_.load(std::memory_order_acquire) < revision) {
    if (!poison_.ok()) return poison_;
    if (flushing_) {
      flush_done_.Wait(flush_mutex_);
    } else {
      LeadFlush(Extent::kEverything);
    }
  }
  return absl::OkStatus();
}

// Returns once a flush has ended that began, or was under way, when all buffers were taken.
absl::Status Log::WaitForBuffer() {
  base::MutexLock lock(flush_mutex_);
  if (!poison_.ok()) return poison_;
  if (flushing_) {
    flush_done_.Wait(flush_mutex_);
  } else {
    LeadFlush(Extent::kFullBuffers);
  }
  return poison_;
}

// Writes what nobody who waits for it has written by now: what waiters asked for, full buffers, and all of it once the
// interval has passed. Returns when that will be.
uint64_t Log::FlushTurn() {
  static_cast<void>(WaitDurable(asked_revision_.load(std::memory_order_relaxed)));  // a failure is kept in health()
  const auto full_buffers = [this] {
    base::MutexLock lock(append_mutex_);
    return closed_ != nullptr;
  };
  const auto now_nanos = [this] { return options_.monotonic_clock->MonotonicNanos(); };
  // However fast buffers fill meanwhile, writes become durable in time.
  while (now_nanos() < next_sync_nanos_ && full_buffers()) {
    base::MutexLock lock(flush_mutex_);
    if (!poison_.ok()) break;
    if (flushing_) {
      flush_done_.Wait(flush_mutex_);
    } else {
      LeadFlush(Extent::kFullBuffers);
    }
  }
  if (const uint64_t now = now_nanos(); now >= next_sync_nanos_) {
    next_sync_nanos_ = now + FlushIntervalNanos();
    static_cast<void>(WaitDurable(LastReserved()));  // a failure is kept in health()
  }
  return next_sync_nanos_;
}

void Log::LeadFlush(Extent extent) {
  flushing_ = true;
  const uint64_t group = ++flush_group_;
  flush_takes_up_to_.store(UINT64_MAX, std::memory_order_release);
  if (extent == Extent::kDurable) Gather();
  const uint64_t began_nanos = options_.monotonic_clock->MonotonicNanos();
  flush_mutex_.Unlock();
  const absl::Status status = poisoned_.load(std::memory_order_relaxed) ? absl::OkStatus() : FlushUnits(extent);
  if (!status.ok()) Poison(status);
  const uint64_t ended_nanos = options_.monotonic_clock->MonotonicNanos();
  flush_mutex_.Lock();
  flushing_ = false;
  if (extent == Extent::kDurable) flush_nanos_ = ended_nanos - began_nanos;
  constexpr uint32_t kEnough = 16;  // of more waiters a half keeps processor and device busy
  const uint32_t waiters = std::exchange(group_waiters_[group % 2], 0) + group_waiters_[(group + 1) % 2];
  expected_waiters_ = std::min(waiters, kEnough);
  TellWaiters();
  flush_done_.NotifyAll();
  group_done_[group % 2].NotifyAll();
  // Of the next group one is enough: it becomes the flusher. Unless this flush left its own group waiting as well.
  if (extent == Extent::kDurable && status.ok()) {
    group_done_[(group + 1) % 2].NotifyOne();
  } else {
    group_done_[(group + 1) % 2].NotifyAll();
  }
}

absl::Status Log::FlushUnits(Extent extent) noexcept {
  std::unique_ptr<Unit> units;
  uint64_t last_revision = written_revision_.load(std::memory_order_relaxed);
  {
    base::MutexLock lock(append_mutex_);
    if (extent != Extent::kFullBuffers) CloseUnit();
    units = std::move(closed_);
    if (units != nullptr) last_revision = last_closed_->last_revision;
  }
  const bool sync = extent == Extent::kDurable;
  flush_takes_up_to_.store(last_revision, std::memory_order_release);
  const absl::Status status = base::OrOutOfMemory([&]() -> absl::Status {
    if (units != nullptr && options_.before_write) FIRN_RETURN_IF_ERROR(options_.before_write());
    return WriteUnits(units.get(), sync);
  });
  if (!status.ok()) {
    // Writers may still be encoding into units that were not reached, and will say so to them.
    for (const Unit* unit = units.get(); unit != nullptr; unit = unit->next.get()) AwaitWriters(*unit);
  }
  return status;
}

absl::Status Log::WriteUnits(Unit* first, bool sync) {
  for (Unit* unit = first; unit != nullptr; unit = unit->next.get()) {
    // A segment's first unit vouches for every segment before it: they are durable before it is written.
    if (last_written_ != nullptr && last_written_ != unit->segment) FIRN_RETURN_IF_ERROR(SyncSegment(*last_written_));
    const bool last_of_segment = unit->next == nullptr || unit->next->segment != unit->segment;
    const bool durable = sync && last_of_segment;
    FIRN_RETURN_IF_ERROR(WriteUnit(*unit, durable ? io::Flush::kData : io::Flush::kBehind));
    FinishUnit(*unit, durable);
  }
  if (sync && last_written_ != nullptr) FIRN_RETURN_IF_ERROR(SyncSegment(*last_written_));
  return absl::OkStatus();
}

void Log::AwaitWriters(const Unit& unit) {
  for (int turn = 0; unit.writers.load(std::memory_order_acquire) != 0; ++turn) base::SpinPause(turn);
}

absl::Status Log::WriteUnit(Unit& unit, io::Flush flush) {
  AwaitWriters(unit);
  const uint64_t size = unit.end() - unit.offset;
  const uint64_t used = format::kUnitHeaderBytes + unit.payload_bytes;
  std::memset(unit.memory + used, 0, size - used);
  const uint64_t durable = durable_position_.load(std::memory_order_relaxed);
  written_time_ms_ = options_.clock->NowMs();
  format::SealUnit({.blocks = static_cast<uint32_t>(size / format::kBlockBytes),
                    .payload_bytes = static_cast<uint32_t>(unit.payload_bytes),
                    .first_revision = unit.first_revision,
                    .last_revision = unit.last_revision,
                    .durable = {static_cast<SegmentId>(durable >> 32), static_cast<uint32_t>(durable)},
                    .time_ms = written_time_ms_},
                   unit.segment->seed, unit.offset, {unit.memory, size});
  FIRN_RETURN_IF_ERROR(TailStatus());  // what is in the unit may be another's bytes
  FIRN_RETURN_IF_ERROR(unit.segment->file->Write(unit.offset, {unit.memory, size}, flush));
  return TailStatus();
}

void Log::FinishUnit(Unit& unit, bool durable) {
  Segment& segment = *unit.segment;
  const base::Bytes payload{unit.memory + format::kUnitHeaderBytes, unit.payload_bytes};
  const auto payload_offset = unit.offset + static_cast<uint32_t>(format::kUnitHeaderBytes);
  // The unit is on disk, whatever there is no memory for: sealing will read the directory from there.
  if (!base::IfMemoryPermits([&] { NoteUnit(segment, payload, payload_offset); })) segment.directory = nullptr;
  segment.last_revision = std::max(segment.last_revision, unit.last_revision);
  segment.time_ms_max = written_time_ms_;
  commits_.fetch_add(1, std::memory_order_relaxed);
  commit_writes_.fetch_add(unit.operations, std::memory_order_relaxed);
  const uint64_t size = unit.end() - unit.offset;
  commit_bytes_.fetch_add(size, std::memory_order_relaxed);
  group_sizes_.Add(unit.operations);
  constexpr uint64_t kSmallCommitBytes = uint64_t{64} << 10;
  // A small unit that is synced with a later one, as the last of a segment is, says nothing either way.
  if (size > kSmallCommitBytes) {
    small_synced_commits_.store(0, std::memory_order_relaxed);
  } else if (durable) {
    small_synced_commits_.fetch_add(1, std::memory_order_relaxed);
  }

  written_revision_.store(unit.last_revision, std::memory_order_release);
  last_written_ = unit.segment;
  segment.has_unsynced_writes.store(!durable, std::memory_order_relaxed);
  const uint64_t end = unit.end();
  if (durable) {
    NoteDurable(segment, end);
  }
  segment.written_end.store(static_cast<uint32_t>(end), std::memory_order_release);
  bool to_be_sealed;
  {
    base::MutexLock lock(append_mutex_);
    if (unit.buffer != kTailBuffers) --unwritten_units_[unit.buffer];
    NoteRunway();
    to_be_sealed = unit.segment != active_ && end == segment.units_end.load(std::memory_order_relaxed);
  }
  if (to_be_sealed) preparing_.Kick();
}

// Everything written to `segment` becomes durable, and with it all that was written before.
absl::Status Log::SyncSegment(Segment& segment) {
  if (!segment.has_unsynced_writes.load(std::memory_order_relaxed)) return absl::OkStatus();
  FIRN_RETURN_IF_ERROR(segment.file->Sync());
  segment.has_unsynced_writes.store(false, std::memory_order_relaxed);
  NoteDurable(segment, segment.written_end.load(std::memory_order_relaxed));
  return absl::OkStatus();
}

// All that was written is durable; `segment` was written last, up to `end`.
void Log::NoteDurable(const Segment& segment, uint64_t end) {
  durable_position_.store((uint64_t{segment.id} << 32) | end, std::memory_order_relaxed);
  recorded_time_ms_.store(written_time_ms_, std::memory_order_release);
  durable_revision_.store(written_revision_.load(std::memory_order_relaxed), std::memory_order_release);
}

absl::Status Log::RecordTime(int64_t time_ms) {
  if (recorded_time_ms() >= time_ms) return absl::OkStatus();
  // Each unit carries the time; a retire record that names nothing carries nothing else.
  const std::string body = format::EncodeRetireList({});
  FIRN_ASSIGN_OR_RETURN(const Written written,
                        AppendControl({.type = format::RecordType::kRetire, .value = base::AsBytes(body)},
                                      Role::kControl, nullptr, io::Claimant::kDelete));
  return WaitDurable(written.revision);
}

absl::Status Log::TailStatus() const {
  if (!tail_->detached()) return absl::OkStatus();
  return base::Unavailable(std::string(kTailFile) +
                           ": the file system refused a store into the mapping, or could not read it back");
}

absl::Status Log::CheckTail(uint64_t revision) {
  const absl::Status status = TailStatus();
  if (status.ok() || durable_revision() >= revision) return absl::OkStatus();
  Poison(status);
  return health();
}

// A failed write or flush is final. What the kernel did with the data is unknown, so nothing is tried again.
void Log::Poison(const absl::Status& why) noexcept {
  absl::Status poison = out_of_memory_poison_;
  if (!base::IsOutOfMemory(why)) {
    base::IfMemoryPermits([&] {
      poison = base::Unavailable("the store accepts no more writes, because one failed: " + std::string(why.message()) +
                                 ". What was acknowledged as durable is safe; close the store, mend the disk, open it "
                                 "again");
    });
  }
  {
    base::MutexLock lock(flush_mutex_);
    if (!poison_.ok()) return;
    poison_ = poison;
    poisoned_.store(true, std::memory_order_release);
    TellWaiters();
    group_done_[0].NotifyAll();
    group_done_[1].NotifyAll();
    flush_done_.NotifyAll();
  }
  {
    base::MutexLock lock(append_mutex_);
    segment_prepared_.NotifyAll();
    segment_sealed_.NotifyAll();
    runway_longer_.NotifyAll();
  }
  Say(EventKind::kPoisoned, [&] { return std::string(poison.message()); });
}

absl::Status Log::health() const {
  if (!poisoned_.load(std::memory_order_acquire)) return absl::OkStatus();
  base::MutexLock lock(flush_mutex_);
  return poison_;
}

}  // namespace firn::log
