#include "log/log.h"

#include <algorithm>
#include <utility>

#include "base/check.h"
#include "log/unit.h"

namespace firn::log {
namespace {

// After a crash revisions go on this far above everything seen: some may have been handed out for writes that reached
// no disk, and no revision is ever given twice.
constexpr uint64_t kRevisionGapAfterCrash = uint64_t{1} << 24;

}  // namespace

Log::Log(io::Disk& disk, const format::Superblock& superblock, base::EpochDomain& epochs, LogOptions options)
    : disk_(disk),
      superblock_(superblock),
      epochs_(epochs),
      options_(std::move(options)),
      own_room_(options_.room == nullptr ? std::make_unique<io::Room>(disk, io::RoomOptions{}) : nullptr),
      room_(options_.room == nullptr ? *own_room_ : *options_.room),
      segments_(epochs),
      out_of_memory_poison_(base::Unavailable(
          "the store accepts no more writes, because one failed: out of memory while it was written. What was "
          "acknowledged as durable is safe; close the store and open it again")) {}

Log::~Log() { Stop(); }

void Log::Stop() {
  {
    base::MutexLock lock(append_mutex_);
    appending_stopped_ = true;
    segment_prepared_.NotifyAll();
    runway_longer_.NotifyAll();
  }
  preparing_.Stop();
  flushing_full_.Stop();
}

absl::StatusOr<std::unique_ptr<Log>> Log::Start(io::Disk& disk, const format::Superblock& superblock,
                                                base::EpochDomain& epochs, LogOptions options, RecoveredLog recovered) {
  std::unique_ptr<Log> log(new Log(disk, superblock, epochs, std::move(options)));
  FIRN_RETURN_IF_ERROR(log->Begin(std::move(recovered)));
  return log;
}

std::unique_ptr<Log> Log::StartReadOnly(io::Disk& disk, const format::Superblock& superblock, base::EpochDomain& epochs,
                                        LogOptions options, RecoveredLog recovered) {
  std::unique_ptr<Log> log(new Log(disk, superblock, epochs, std::move(options)));
  log->TakeOver(recovered);
  log->closed_for_good_.store(true);
  base::MutexLock lock(log->append_mutex_);
  log->appending_stopped_ = true;
  return log;
}

void Log::TakeOver(RecoveredLog& recovered) {
  for (RecoveredSegment& each : recovered.segments) segments_.Insert(each.segment);
  next_segment_id_.store(recovered.last_segment + 1);
  next_namespace_id.store(recovered.next_namespace_id);
  options_.clock->Advance(recovered.time_ms);
  const uint64_t last = recovered.last_revision + (recovered.clean ? 0 : kRevisionGapAfterCrash);
  FindSkips(recovered.segments, last);
  published_.Reset(last);
  written_revision_.store(last);
  durable_revision_.store(last);
  {
    base::MutexLock lock(spares_mutex_);
    spares_ = std::move(recovered.spares);
  }
  base::MutexLock lock(append_mutex_);
  next_revision_ = last + 1;
}

// Where revisions go on that far above those of the segment before, a crash lies between.
void Log::FindSkips(const std::vector<RecoveredSegment>& segments, uint64_t last_revision) {
  uint64_t before = 0;
  const auto note = [&](uint64_t first_revision) {
    if (before != 0 && first_revision > before + kRevisionGapAfterCrash) skipped_after_.push_back(before);
  };
  for (const RecoveredSegment& each : segments) {
    if (each.segment->header.generation > 0) continue;  // copies keep the revisions of their originals
    note(each.segment->header.first_revision);
    before = std::max(before, each.segment->last_revision);
  }
  note(last_revision + 1);
}

uint64_t Log::WritesSince(uint64_t revision) const {
  const uint64_t published = published_.Get();
  if (published <= revision) return 0;
  const auto skips = skipped_after_.end() - std::lower_bound(skipped_after_.begin(), skipped_after_.end(), revision);
  return published - revision - std::min(published - revision, static_cast<uint64_t>(skips) * kRevisionGapAfterCrash);
}

absl::Status Log::Begin(RecoveredLog recovered) {
  TakeOver(recovered);
  tail_ = std::make_unique<TailBuffers>(std::move(recovered.tail), superblock_.secret);
  FIRN_ASSIGN_OR_RETURN(std::shared_ptr<Segment> first, PrepareFirst(IsYoung()));
  {
    base::MutexLock lock(append_mutex_);
    Activate(std::move(first), Beginning(segments_, LiveIdsBody()));
  }
  // Rule 3: what was cut off is never believed, so the cuts are durable before anything new can be acknowledged.
  if (!recovered.cuts.empty()) {
    const std::string body = format::EncodeCutList(recovered.cuts);
    FIRN_RETURN_IF_ERROR(AppendControl({.type = format::RecordType::kCut, .value = base::AsBytes(body)}, Role::kControl,
                                       nullptr, io::Claimant::kControl)
                             .status());
  }
  FIRN_RETURN_IF_ERROR(WaitDurable(LastReserved()));
  small_synced_commits_.store(0, std::memory_order_relaxed);
  {
    base::MutexLock lock(append_mutex_);
    active_operations_ = 0;
    for (const RecoveredSegment& each : recovered.segments) {
      if (!each.segment->sealed.load()) left_.push_back(each.segment);
    }
  }
  next_sync_nanos_ = options_.monotonic_clock->MonotonicNanos() + FlushIntervalNanos();
  flushing_full_.Start("firn-flush", *options_.monotonic_clock, [this] { return FlushTurn(); });
  flushing_full_.Kick();
  preparing_.Start("firn-log", *options_.monotonic_clock, [this] {
    if (!poisoned_.load(std::memory_order_relaxed)) {
      PrepareNext();
      if (options_.prepare) options_.prepare();
    }
    SealLeft();
    return base::Worker::kUntilKicked;
  });
  preparing_.Kick();
  return absl::OkStatus();
}

absl::Status Log::Close() {
  if (closed_for_good_.exchange(true)) return absl::OkStatus();
  {
    base::MutexLock lock(append_mutex_);
    appending_stopped_ = true;
    segment_prepared_.NotifyAll();
    runway_longer_.NotifyAll();
  }
  absl::Status status = health();
  if (status.ok()) status = WaitDurable(LastReserved());
  Stop();
  if (status.ok()) status = health();  // the last turn in the background may have failed
  FIRN_RETURN_IF_ERROR(status);
  std::string unused;
  {
    base::MutexLock lock(append_mutex_);
    left_.push_back(active_);
    if (prepared_ != nullptr) unused = prepared_->file->name();
    prepared_.reset();
  }
  // A segment newer than the last sealed one is what tells a crash from a close. If this removal gets lost, the next
  // open merely thinks of a crash.
  if (!unused.empty()) static_cast<void>(disk_.Remove(unused));
  SealLeft();
  FIRN_RETURN_IF_ERROR(health());
  {
    base::MutexLock lock(append_mutex_);
    tail_->Close({{active_->id, active_->units_end.load(std::memory_order_relaxed)}, next_revision_ - 1});
  }
  FIRN_RETURN_IF_ERROR(TailStatus());
  FIRN_ASSIGN_OR_RETURN(const std::unique_ptr<io::File> tail, disk_.Open(kTailFile, io::OpenMode::kReadWrite));
  return tail->Sync();
}

absl::Status Log::Read(SegmentId segment, uint32_t offset, base::MutableBytes out) {
  if (ReadResident(segment, offset, out)) return absl::OkStatus();
  const Segment* found = segments_.Find(segment);
  if (found == nullptr) return base::NotFound("segment " + std::to_string(segment) + " is not part of the store");
  return ReadSegmentBytes(*found, offset, out);
}

LogStats Log::GetStats() {
  LogStats stats;
  for (const auto& segment : segments_.All()) {
    ++stats.segments;
    ++(segment->header.generation > 0 ? stats.relocation_segments : stats.fresh_segments);
    if (segment->sealed.load(std::memory_order_acquire) && segment->filter != nullptr) {
      stats.filter_bytes += segment->filter->memory_bytes();
    }
    stats.sealed_segments += segment->sealed.load(std::memory_order_relaxed) ? 1 : 0;
    stats.log_bytes += segment->file->size_bytes();
    const uint64_t units_end = segment->units_end.load(std::memory_order_relaxed);
    const uint64_t beyond_units = segment->file->size_bytes() - std::min(segment->file->size_bytes(), units_end);
    if (segment->sealed.load(std::memory_order_acquire)) {
      stats.footer_bytes += beyond_units;
      stats.padding_bytes += units_end - std::min(units_end, segment->record_bytes);
    } else {
      stats.unwritten_bytes += beyond_units;
    }
    const int64_t live = segment->live_bytes.load(std::memory_order_relaxed);
    stats.live_bytes += live > 0 ? static_cast<uint64_t>(live) : 0;
  }
  {
    base::MutexLock lock(spares_mutex_);
    stats.spare_segments = spares_.size();
    for (const SpareFile& spare : spares_) stats.spare_bytes += spare.size_bytes;
  }
  {
    base::MutexLock lock(append_mutex_);
    if (prepared_ != nullptr) {
      ++stats.spare_segments;
      stats.spare_bytes += prepared_->file->size_bytes();
    }
  }
  stats.target_segment_bytes = TargetSegmentBytes();
  stats.commits = commits_.load(std::memory_order_relaxed);
  stats.commit_writes = commit_writes_.load(std::memory_order_relaxed);
  stats.commit_bytes = commit_bytes_.load(std::memory_order_relaxed);
  stats.group_size_p50 = group_sizes_.Percentile(0.5);
  stats.group_size_max = group_sizes_.max();
  return stats;
}

}  // namespace firn::log
