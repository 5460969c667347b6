// Segments that come and go: preparing the next one, sealing those that were left, retiring those nobody needs.
#include <algorithm>
#include <cstring>

#include "base/check.h"
#include "log/unit.h"

namespace firn::log {
namespace {

constexpr size_t kSparesMax = 2;
constexpr uint64_t kFillChunkBytes = uint64_t{1} << 20;

// Writes zeros over [from, to), because small synced writes into written blocks cost far less than into fresh extents.
absl::Status FillWithZeros(io::File& file, uint64_t from, uint64_t to) {
  base::AlignedBuffer zeros(std::min(kFillChunkBytes, to - from));
  std::memset(zeros.data(), 0, zeros.size());
  for (uint64_t at = from; at < to; at += zeros.size()) {
    const uint64_t size = std::min<uint64_t>(zeros.size(), to - at);
    FIRN_RETURN_IF_ERROR(file.Write(at, zeros.bytes().first(size), io::Flush::kNone));
  }
  return absl::OkStatus();
}

}  // namespace

void Log::Kick() {
  base::MutexLock lock(background_mutex_);
  kicked_ = true;
  background_wake_.NotifyOne();
}

void Log::RunBackground() {
  const uint64_t interval_nanos = uint64_t{options_.flush_interval_ms} * 1'000'000;
  uint64_t next_sync_nanos = options_.monotonic_clock->MonotonicNanos() + interval_nanos;
  for (;;) {
    bool interval_passed = false;
    {
      base::MutexLock lock(background_mutex_);
      while (!kicked_ && !stop_ && !interval_passed) {
        const uint64_t now_nanos = options_.monotonic_clock->MonotonicNanos();
        interval_passed = now_nanos >= next_sync_nanos;
        if (!interval_passed) background_wake_.WaitFor(background_mutex_, next_sync_nanos - now_nanos);
      }
      if (stop_) return;
      kicked_ = false;
    }
    BackgroundTurn();
    // Being kicked all the time must not keep buffered writes from becoming durable.
    const uint64_t now_nanos = options_.monotonic_clock->MonotonicNanos();
    if (now_nanos < next_sync_nanos) continue;
    static_cast<void>(WaitDurable(LastReserved()));  // a failure is kept in health()
    next_sync_nanos = now_nanos + interval_nanos;
  }
}

void Log::BackgroundTurn() {
  uint64_t capacity = 0;
  bool full_buffers = false;
  {
    base::MutexLock lock(append_mutex_);
    if (prepared_ == nullptr || prepared_->file->size_bytes() < wanted_capacity_bytes_) {
      capacity = std::max<uint64_t>(1, wanted_capacity_bytes_);
    }
    full_buffers = !closed_.empty();
  }
  if (capacity != 0 && !poisoned_.load(std::memory_order_relaxed)) {
    auto fresh = PrepareSegment(std::max(capacity, TargetSegmentBytes()));
    std::shared_ptr<Segment> too_small;
    bool newly_full = false;
    {
      base::MutexLock lock(append_mutex_);
      ++prepare_attempts_;
      newly_full = absl::IsResourceExhausted(fresh.status()) && prepare_status_.ok();
      prepare_status_ = fresh.status();
      if (fresh.ok()) {
        too_small = std::move(prepared_);
        prepared_ = *std::move(fresh);
      }
      segment_prepared_.NotifyAll();
    }
    if (newly_full) options_.on_event(EventKind::kDiskFull, std::string(fresh.status().message()));
    if (too_small != nullptr) Recycle(std::move(too_small));
  }
  if (full_buffers) {
    base::MutexLock lock(flush_mutex_);
    if (!flushing_ && poison_.ok()) LeadFlush(Extent::kFullBuffers);
  }
  SealLeft();
}

uint64_t Log::TargetSegmentBytes() const {
  // Of the log, not of what lives in it: until dead segments come back by relocation, a store of small synced writes
  // would else hold thousands of files (docs/decisions/0001-segment-size.md).
  uint64_t log_bytes = 0;
  for (const auto& segment : segments_.All()) log_bytes += segment->file->size_bytes();
  const uint64_t part = log_bytes / kSegmentsPerLogBytes;
  return std::clamp(base::RoundDown(part, kSegmentBytesMin), options_.segment_bytes_min, kSegmentBytesMax);
}

absl::StatusOr<std::unique_ptr<io::File>> Log::ClaimFile(SegmentId id, uint64_t capacity_bytes, uint64_t* incarnation) {
  const std::string name = SegmentFileName(id);
  SpareFile spare;
  {
    base::MutexLock lock(spares_mutex_);
    if (!spares_.empty()) {
      spare = spares_.back();
      spares_.pop_back();
    }
  }
  *incarnation = spare.incarnation + 1;
  std::unique_ptr<io::File> file;
  uint64_t written_bytes = 0;
  if (spare.name.empty()) {
    FIRN_ASSIGN_OR_RETURN(file, disk_.Open(name, io::OpenMode::kCreate));
  } else {
    // The new name is for people; a crash may undo it, and recovery believes the header only.
    FIRN_RETURN_IF_ERROR(disk_.Rename(spare.name, name));
    FIRN_ASSIGN_OR_RETURN(file, disk_.Open(name, io::OpenMode::kReadWrite));
    written_bytes = base::RoundDown(file->size_bytes(), format::kBlockBytes);
  }
  const auto prepare = [&]() -> absl::Status {
    if (file->size_bytes() < capacity_bytes) FIRN_RETURN_IF_ERROR(file->Allocate(capacity_bytes));
    const bool fill = capacity_bytes <= kSegmentBytesMin || small_synced_commits_.load(std::memory_order_relaxed);
    if (fill && written_bytes < capacity_bytes) {
      FIRN_RETURN_IF_ERROR(FillWithZeros(*file, written_bytes, file->size_bytes()));
    }
    return disk_.SyncFolder(kLogFolder);
  };
  if (absl::Status status = prepare(); !status.ok()) {
    file.reset();
    static_cast<void>(disk_.Remove(name));  // gives back what it had claimed; recovery would take it for a spare
    return status;
  }
  return file;
}

// A segment file of at least `capacity_bytes` whose header is durable, ready to be appended to.
absl::StatusOr<std::shared_ptr<Segment>> Log::PrepareSegment(uint64_t capacity_bytes) {
  auto segment = std::make_shared<Segment>();
  segment->id = next_segment_id_.fetch_add(1);
  capacity_bytes = base::RoundUp(capacity_bytes, format::kBlockBytes);
  FIRN_ASSIGN_OR_RETURN(segment->file, ClaimFile(segment->id, capacity_bytes, &segment->header.incarnation));
  segment->header.store_uuid = superblock_.uuid;
  segment->header.segment = segment->id;
  segment->header.first_revision = published_.Get() + 1;
  segment->header.created_ms = options_.clock->NowMs();
  base::StoreLe(segment->header.salt.data(), options_.random->Next());
  base::StoreLe(segment->header.salt.data() + 8, options_.random->Next());
  segment->seed = format::ChecksumSeed(superblock_.secret, segment->header.salt);
  base::AlignedBuffer block(format::kBlockBytes);
  format::EncodeSegmentHeader(segment->header, superblock_.secret, block.bytes());
  if (absl::Status status = segment->file->Write(0, block.bytes(), io::Flush::kData); !status.ok()) {
    const std::string name = segment->file->name();
    segment->file.reset();
    static_cast<void>(disk_.Remove(name));  // or every further attempt would claim more of the disk
    return status;
  }
  return segment;
}

// Seals what was left and is written. Run by the background thread, and by Close() when that has ended.
void Log::SealLeft() {
  for (;;) {
    std::shared_ptr<Segment> segment;
    {
      base::MutexLock lock(append_mutex_);
      if (left_.empty() || poisoned_.load(std::memory_order_relaxed)) return;
      segment = left_.front();
    }
    if (segment->written_end.load(std::memory_order_acquire) != segment->units_end.load(std::memory_order_relaxed))
      return;
    const absl::Status status = Seal(*segment);
    if (!status.ok() && status.code() != absl::StatusCode::kResourceExhausted) {
      Poison(status);
      return;
    }
    base::MutexLock lock(append_mutex_);
    left_.pop_front();
    segment_sealed_.NotifyAll();
  }
}

absl::Status Log::Seal(Segment& segment) {
  // Its units first, by the flusher: an fsync error is reported once, and the flusher must be the one to see it.
  FIRN_RETURN_IF_ERROR(WaitDurable(segment.last_revision));
  const uint32_t units_end = segment.units_end.load(std::memory_order_relaxed);
  std::string footer = std::move(segment.recovered_footer);
  // What has expired by now stays expired after the next open, however the clock jumps.
  segment.time_ms_max = std::max(segment.time_ms_max, options_.clock->NowMs());
  if (footer.empty()) footer = FinishFooter(segment);
  const uint64_t file_bytes = units_end + footer.size();
  // Beyond what was claimed only if the segment was recovered: without room it stays unsealed and is scanned at open.
  if (segment.file->size_bytes() < file_bytes) FIRN_RETURN_IF_ERROR(segment.file->Allocate(file_bytes));
  base::AlignedBuffer aligned(footer.size());
  std::memcpy(aligned.data(), footer.data(), footer.size());
  FIRN_RETURN_IF_ERROR(segment.file->Write(units_end, aligned.bytes().first(footer.size()), io::Flush::kNone));
  if (segment.file->size_bytes() > file_bytes) FIRN_RETURN_IF_ERROR(segment.file->Truncate(file_bytes));
  FIRN_RETURN_IF_ERROR(segment.file->Sync());
  segment.sealed.store(true, std::memory_order_release);
  options_.on_event(EventKind::kSegmentSealed,
                    segment.file->name() + " sealed: " + std::to_string(file_bytes) + " bytes");
  return absl::OkStatus();
}

absl::Status Log::SealActive() {
  FIRN_RETURN_IF_ERROR(health());
  std::shared_ptr<Segment> leaving;
  for (;;) {
    Need need = Need::kNothing;
    {
      base::MutexLock lock(append_mutex_);
      if (appending_stopped_)
        return base::FailedPrecondition("the store is closed or read-only: nothing can be sealed");
      leaving = active_;
      if (active_operations_ == 0) {
        leaving = nullptr;  // nothing but its live ids
      } else if (next_revision_ + 1 - published_.Get() >= PublishedRevisions::kWindow) {
        need = Need::kPublishing;
      } else {
        need = Rotate(0, 0);
      }
    }
    if (need == Need::kNothing) break;
    if (need == Need::kPublishing) base::SpinPause(0);
    if (need == Need::kBuffer) FIRN_RETURN_IF_ERROR(WaitForBuffer());
    if (need == Need::kSegment) FIRN_RETURN_IF_ERROR(WaitForSegment(0));
    FIRN_RETURN_IF_ERROR(health());
  }
  FIRN_RETURN_IF_ERROR(WaitDurable(LastReserved()));
  Kick();
  base::MutexLock lock(append_mutex_);
  while (std::find(left_.begin(), left_.end(), leaving) != left_.end()) {
    if (poisoned_.load(std::memory_order_relaxed)) break;
    segment_sealed_.Wait(append_mutex_);
  }
  if (leaving == nullptr || leaving->sealed.load(std::memory_order_acquire)) return absl::OkStatus();
  if (poisoned_.load(std::memory_order_relaxed)) return base::Unavailable("the segment was not sealed: writing failed");
  return base::ResourceExhausted("no room for the segment's footer: everything is durable, but opening will scan it");
}

bool Log::NothingNeeds(const Segment& segment, bool is_oldest) const {
  if (!segment.sealed.load(std::memory_order_acquire)) return false;
  if (segment.live_records.load(std::memory_order_acquire) != 0) return false;
  // A tombstone hides what older segments may still hold.
  return is_oldest || segment.tombstones.load(std::memory_order_acquire) == 0;
}

absl::Status Log::RetireDead() {
  std::vector<SegmentId> ids;
  bool is_oldest = true;
  for (const auto& segment : segments_.All()) {
    if (NothingNeeds(*segment, is_oldest)) {
      segment->retiring.store(true, std::memory_order_relaxed);
      ids.push_back(segment->id);
    } else {
      is_oldest = false;
    }
  }
  if (ids.empty()) return absl::OkStatus();
  // Rule 1: the retire record is durable, and readers have left, before a file is reused.
  const std::string body = format::EncodeRetireList(ids);
  const auto written = AppendControl({.type = format::RecordType::kRetire, .value = base::AsBytes(body)});
  const absl::Status durable = written.ok() ? WaitDurable(written->revision) : written.status();
  // Readers that were sent to these segments by the index before it changed still have to find them.
  if (durable.ok()) epochs_.Synchronize();
  std::vector<std::shared_ptr<Segment>> retired;
  for (SegmentId id : ids) {
    if (durable.ok()) {
      retired.push_back(segments_.Remove(id));
    } else {
      segments_.Find(id)->retiring.store(false, std::memory_order_relaxed);
    }
  }
  FIRN_RETURN_IF_ERROR(durable);
  epochs_.Synchronize();
  for (auto& segment : retired) {
    options_.on_event(EventKind::kSegmentRetired, segment->file->name() + " retired: nothing in it is needed");
    Recycle(std::move(segment));
  }
  return absl::OkStatus();
}

// The file of a segment that is no longer part of the store.
void Log::Recycle(std::shared_ptr<Segment> segment) {
  const std::string name = segment->file->name();
  const uint64_t incarnation = segment->header.incarnation;
  const auto links = segment->file->Links();
  const bool ours_alone = links.ok() && *links == 1;
  const bool fits = segment->file->size_bytes() >= options_.segment_bytes_min / 2;
  segment.reset();
  {
    base::MutexLock lock(spares_mutex_);
    if (ours_alone && fits && spares_.size() < kSparesMax) {
      spares_.push_back({name, incarnation});
      return;
    }
  }
  static_cast<void>(disk_.Remove(name));  // what stays behind is a spare at the next open
}

}  // namespace firn::log
