// Segments that come and go: their files, sealing those that were left, retiring those nobody needs.
#include <algorithm>
#include <cstring>
#include <optional>
#include <utility>

#include "base/check.h"
#include "log/segment_scan.h"
#include "log/unit.h"

namespace firn::log {
namespace {

constexpr size_t kSparesMax = 2;
constexpr uint64_t kFillChunkBytes = uint64_t{1} << 20;

// Writes zeros over [from, to), because small synced writes into written blocks cost far less than into fresh extents.
absl::Status FillWithZeros(io::File& file, uint64_t from, uint64_t to) {
  if (from >= to) return absl::OkStatus();
  base::AlignedBuffer zeros(std::min(kFillChunkBytes, to - from));
  std::memset(zeros.data(), 0, zeros.size());
  for (uint64_t at = from; at < to; at += zeros.size()) {
    const uint64_t size = std::min<uint64_t>(zeros.size(), to - at);
    FIRN_RETURN_IF_ERROR(file.Write(at, zeros.bytes().first(size), io::Flush::kNone));
  }
  return absl::OkStatus();
}

}  // namespace

uint64_t Log::TargetSegmentBytes() const {
  uint64_t live_bytes = 0;
  for (const auto& segment : segments_.All()) {
    live_bytes += static_cast<uint64_t>(std::max<int64_t>(0, segment->live_bytes.load(std::memory_order_relaxed)));
  }
  const uint64_t part = live_bytes / kSegmentsPerLiveBytes;
  return std::clamp(part - part % options_.segment_bytes_min, options_.segment_bytes_min, kSegmentBytesMax);
}

// Of the next segment for writes. Making and sealing one takes several flushes, whatever its size, and those are what a
// store that is being filled waits for. While next to nothing in it is dead its segments may be larger, as far as room
// is plenty: on a full disk a victim's live records have to fit into what is kept back for them.
uint64_t Log::FreshSegmentBytes() const {
  const uint64_t target_bytes = TargetSegmentBytes();
  if (last_fill_nanos_.load(std::memory_order_relaxed) > kFastFillNanos) return target_bytes;
  uint64_t live_bytes = 0, dead_bytes = 0;
  for (const auto& segment : segments_.All()) {
    if (!segment->sealed.load(std::memory_order_acquire)) continue;
    const auto live = static_cast<uint64_t>(std::max<int64_t>(0, segment->live_bytes.load(std::memory_order_relaxed)));
    live_bytes += live;
    dead_bytes += segment->record_bytes - std::min(segment->record_bytes, live);
  }
  if (dead_bytes > live_bytes / kGrowingDeadPart) return target_bytes;
  const uint64_t bytes = std::min(live_bytes / kGrowingSegmentsPerLiveBytes, room_.FreeBytes() / kGrowingFreePart);
  return std::clamp(bytes - bytes % options_.segment_bytes_min, target_bytes, kSegmentBytesMax);
}

// The smallest spare of at least `capacity_bytes`. If none is: the largest, unless it has to fit.
SpareFile Log::TakeSpare(uint64_t capacity_bytes, bool has_to_fit) {
  base::MutexLock lock(spares_mutex_);
  const auto better = [capacity_bytes](const SpareFile& a, const SpareFile& b) {
    const bool a_fits = a.size_bytes >= capacity_bytes, b_fits = b.size_bytes >= capacity_bytes;
    if (a_fits != b_fits) return a_fits;
    return a_fits ? a.size_bytes < b.size_bytes : a.size_bytes > b.size_bytes;
  };
  const auto best = std::min_element(spares_.begin(), spares_.end(), better);
  if (best == spares_.end() || (has_to_fit && best->size_bytes < capacity_bytes)) return {};
  SpareFile spare = std::move(*best);
  spares_.erase(best);
  return spare;
}

// False when there is none.
bool Log::RemoveSpare() {
  std::string name;
  {
    base::MutexLock lock(spares_mutex_);
    if (spares_.empty()) return false;
    name = std::move(spares_.back().name);
    spares_.pop_back();
  }
  static_cast<void>(disk_.Remove(name));  // else a spare at the next open
  return true;
}

void Log::RemoveSpares() {
  while (RemoveSpare()) {
  }
}

// A spare under the segment's name, or null.
absl::StatusOr<std::unique_ptr<io::File>> Log::OpenSpare(Segment& segment, uint64_t capacity_bytes, bool has_to_fit) {
  const std::string name = SegmentFileName(segment.id);
  while (true) {
    const SpareFile spare = TakeSpare(capacity_bytes, has_to_fit);
    segment.header.incarnation = spare.incarnation + 1;
    if (spare.name.empty()) return nullptr;
    // The new name is for people; a crash may undo it, and recovery believes the header only.
    FIRN_RETURN_IF_ERROR(disk_.Rename(spare.name, name));
    auto file = disk_.Open(name, io::OpenMode::kReadWrite);
    const absl::StatusOr<uint64_t> counted = file.ok() ? (*file)->Links() : file.status();
    if (!counted.ok()) {
      file = counted.status();
      static_cast<void>(disk_.Remove(name));  // or the name would be in the way of the next attempt
      return counted.status();
    }
    // Rule 6: a power cut may have brought back the name of a file that is shared.
    const uint64_t links = *counted;
    if (links == 1) return file;
    file->reset();
    FIRN_RETURN_IF_ERROR(disk_.Remove(name));
  }
}

// A file of at least `capacity_bytes` under the segment's name, which is durable.
absl::StatusOr<std::unique_ptr<io::File>> Log::ClaimFile(Segment& segment, uint64_t capacity_bytes,
                                                         io::Claimant claimant) {
  const bool fresh_log = segment.header.generation == 0;
  const std::string name = SegmentFileName(segment.id);
  uint64_t written_bytes = 0;
  FIRN_ASSIGN_OR_RETURN(std::unique_ptr<io::File> file, OpenSpare(segment, capacity_bytes, /*has_to_fit=*/!fresh_log));
  if (file == nullptr) {
    FIRN_ASSIGN_OR_RETURN(file, disk_.Open(name, io::OpenMode::kCreate));
  } else {
    written_bytes = base::RoundDown(file->size_bytes(), format::kBlockBytes);
  }
  const auto prepare = [&]() -> absl::Status {
    if (fresh_log && file->size_bytes() >= 2 * capacity_bytes) {
      FIRN_RETURN_IF_ERROR(file->Truncate(capacity_bytes));  // a segment grows to its file's size
    }
    // A spare as well, whatever its size: a crash may have left it with holes.
    const uint64_t bytes = std::max(capacity_bytes, base::RoundDown(file->size_bytes(), format::kBlockBytes));
    FIRN_RETURN_IF_ERROR(room_.Claim(*file, bytes, 0, claimant));
    const bool fill = small_synced_commits_.load(std::memory_order_relaxed) >= kSmallSyncedCommitsMin;
    if (fresh_log && fill && written_bytes < capacity_bytes) {
      FIRN_RETURN_IF_ERROR(FillWithZeros(*file, written_bytes, file->size_bytes()));
    }
    return disk_.SyncFolder(kLogFolder);
  };
  if (absl::Status status = base::OrOutOfMemory(prepare); !status.ok()) {
    file.reset();
    static_cast<void>(disk_.Remove(name));  // gives back what it had claimed; recovery would take it for a spare
    return status;
  }
  return file;
}

// A segment file of at least `capacity_bytes` with its header, ready to be appended to. The header is durable, but that
// of a relocation segment.
absl::StatusOr<std::shared_ptr<Segment>> Log::PrepareSegment(uint64_t capacity_bytes, uint32_t generation,
                                                             io::Claimant claimant) {
  auto segment = std::make_shared<Segment>();
  segment->id = next_segment_id_.fetch_add(1);
  segment->header.generation = generation;
  capacity_bytes = base::RoundUp(capacity_bytes, format::kBlockBytes);
  KeepBack();
  // Spares that do not serve are room.
  auto file = ClaimFile(*segment, capacity_bytes, claimant);
  while (absl::IsResourceExhausted(file.status()) && RemoveSpare()) {
    file = ClaimFile(*segment, capacity_bytes, claimant);
  }
  if (!file.ok()) return file.status();
  segment->file = *std::move(file);
  if (absl::Status status = base::OrOutOfMemory([&] { return WriteHeader(*segment); }); !status.ok()) {
    Recycle(std::move(segment), /*keep=*/false);  // or every further attempt would claim more of the disk
    return status;
  }
  return segment;
}

absl::Status Log::WriteHeader(Segment& segment) {
  segment.header.store_uuid = superblock_.uuid;
  segment.header.superblock = superblock_;
  segment.header.segment = segment.id;
  // Copies keep their revisions, which may be the first there are: of another store, whose place this one has taken.
  segment.header.first_revision = segment.header.generation > 0 ? 1 : published_.Get() + 1;
  segment.header.created_ms = options_.clock->NowMs();
  {
    base::MutexLock lock(spares_mutex_);  // whoever prepares segments; a source of chance need not be thread-safe
    base::StoreLe(segment.header.salt.data(), options_.random->Next());
    base::StoreLe(segment.header.salt.data() + 8, options_.random->Next());
  }
  segment.seed = format::ChecksumSeed(superblock_.secret, segment.header.salt);
  segment.revision_min.store(segment.header.first_revision, std::memory_order_relaxed);
  base::AlignedBuffer block(format::kBlockBytes);
  format::EncodeSegmentHeader(segment.header, superblock_.secret, block.bytes());
  // A relocation segment is no part of the store until the end of it has synced all of it.
  return segment.file->Write(0, block.bytes(), segment.header.generation > 0 ? io::Flush::kNone : io::Flush::kData);
}

// Seals what was left and is written. Run by firn-log, and by Close() when that has ended.
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
    const absl::Status status = base::OrOutOfMemory([&] { return Seal(*segment); });
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
  std::string footer = std::move(segment.recovered_footer);
  if (!footer.empty()) {
    // Rule 6: a file that was found here and is shared is not written to. Whoever needs its directory scans it.
    FIRN_ASSIGN_OR_RETURN(const uint64_t links, segment.file->Links());
    if (links != 1) {
      segment.sealed.store(true, std::memory_order_release);
      return absl::OkStatus();
    }
  }
  // What has expired by now stays expired after the next open, however the clock jumps.
  segment.time_ms_max = std::max(segment.time_ms_max, options_.clock->NowMs());
  if (footer.empty() && segment.directory == nullptr) FIRN_RETURN_IF_ERROR(RebuildDirectory(segment));
  if (footer.empty()) footer = FinishFooter(segment);
  FIRN_RETURN_IF_ERROR(WriteFooter(room_, segment, footer));
  segment.sealed.store(true, std::memory_order_release);
  Say(EventKind::kSegmentSealed,
      [&] { return segment.file->name() + " sealed: " + std::to_string(segment.file->size_bytes()) + " bytes"; });
  return absl::OkStatus();
}

// Of a segment that was left, and is written and durable, when there was no memory for what its units held.
absl::Status Log::RebuildDirectory(Segment& segment) {
  auto directory = std::make_unique<format::FooterBuilder>();
  segment.directory = std::move(directory);
  segment.record_bytes = 0;
  segment.live_ids = {};
  segment.retired.clear();
  segment.cuts.clear();
  segment.adopted.clear();
  SegmentScanner scanner(segment);
  for (uint64_t at = kFirstUnitOffset; at < segment.units_end.load(std::memory_order_relaxed);) {
    const auto unit = scanner.UnitAt(at);
    if (!unit) {
      if (!scanner.read_error().ok()) return scanner.read_error();
      return base::DataLoss(segment.file->name() + " at offset " + std::to_string(at) + ": this unit does not verify");
    }
    NoteUnit(segment, unit->payload, static_cast<uint32_t>(at + format::kUnitHeaderBytes));
    at += uint64_t{unit->header.blocks} * format::kBlockBytes;
  }
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
        // Nothing but its live ids and control records: what was left before may be about to be sealed.
        leaving = left_.empty() ? nullptr : left_.back();
      } else if (next_revision_ + 1 - published_.Get() >= PublishedRevisions::kWindow) {
        need = Need::kPublishing;
      } else {
        need = Rotate(0, 0, io::Claimant::kDelete);
      }
    }
    if (need == Need::kNothing) break;
    if (need == Need::kPublishing) base::SpinPause(0);
    if (need == Need::kBuffer) FIRN_RETURN_IF_ERROR(WaitForBuffer());
    if (need == Need::kSegment) FIRN_RETURN_IF_ERROR(WaitForSegment(0, io::Claimant::kDelete));
    FIRN_RETURN_IF_ERROR(health());
  }
  FIRN_RETURN_IF_ERROR(WaitDurable(LastReserved()));
  preparing_.Kick();
  base::MutexLock lock(append_mutex_);
  while (std::find(left_.begin(), left_.end(), leaving) != left_.end()) {
    if (poisoned_.load(std::memory_order_relaxed)) break;
    segment_sealed_.Wait(append_mutex_);
  }
  if (leaving == nullptr || leaving->sealed.load(std::memory_order_acquire)) return absl::OkStatus();
  if (poisoned_.load(std::memory_order_relaxed)) return base::Unavailable("the segment was not sealed: writing failed");
  return base::ResourceExhausted("no room for the segment's footer: everything is durable, but opening will scan it");
}

absl::StatusOr<format::FooterReader> Log::LoadDirectory(SegmentId id) {
  base::EpochGuard guard(epochs_);  // its file is not reused meanwhile
  const Segment* const segment = segments_.Find(id);
  if (segment == nullptr) return base::NotFound("segment " + std::to_string(id) + " is not part of the store");
  if (!segment->sealed.load(std::memory_order_acquire)) {
    return base::FailedPrecondition(segment->file->name() + " is not sealed: it has no directory yet");
  }
  const uint32_t end = segment->units_end.load(std::memory_order_relaxed);
  if (auto footer = LoadFooter(*segment); footer && footer->summary().units_end == end) return *std::move(footer);
  Say(EventKind::kFooterFallback,
      [&] { return segment->file->name() + " has no footer that verifies and was scanned"; });
  return ScanDirectory(*segment);
}

// Sealed segments that the index does not name. One with tombstones only if nothing stays that they may hide: a
// tombstone hides what is older. The fresh log is in the order of its ids, relocated records are in none.
std::vector<SegmentId> Log::DeadSegments() const {
  std::vector<std::shared_ptr<Segment>> dead, staying;
  for (auto& segment : segments_.All()) {
    const bool may_go = segment->sealed.load(std::memory_order_acquire) &&
                        segment->settled.load(std::memory_order_acquire) &&
                        segment->live_records.load(std::memory_order_acquire) == 0;
    (may_go ? dead : staying).push_back(std::move(segment));
  }
  const auto may_hide = [](const Segment& tombstones, const Segment& other) {
    const bool both_fresh = tombstones.header.generation == 0 && other.header.generation == 0;
    if (both_fresh && other.id > tombstones.id) return false;
    return other.revision_min.load(std::memory_order_relaxed) < tombstones.last_revision;
  };
  const auto has_to_stay = [&](const std::shared_ptr<Segment>& segment) {
    return segment->tombstones.load(std::memory_order_acquire) != 0 &&
           std::any_of(staying.begin(), staying.end(), [&](const auto& other) { return may_hide(*segment, *other); });
  };
  // What stays may be what another one's tombstones hide.
  const auto next = [&] { return std::find_if(dead.begin(), dead.end(), has_to_stay); };
  for (auto at = next(); at != dead.end(); at = next()) {
    staying.push_back(std::move(*at));
    dead.erase(at);
  }
  std::vector<SegmentId> ids;
  ids.reserve(dead.size());
  for (const auto& segment : dead) ids.push_back(segment->id);
  return ids;
}

absl::Status Log::RetireDead() { return Retire(DeadSegments()); }

absl::Status Log::Retire(const std::vector<SegmentId>& ids) {
  std::vector<std::shared_ptr<Segment>> going;
  for (const SegmentId id : ids) {
    std::shared_ptr<Segment> segment = segments_.Get(id);
    if (segment == nullptr) continue;
    FIRN_CHECK(segment->sealed.load(std::memory_order_acquire));
    going.push_back(std::move(segment));
  }
  // All at once for whoever writes down the live ids: without a tombstone what it hides must not be there either.
  const auto set_retiring = [&](bool retiring) {
    base::MutexLock lock(append_mutex_);
    if (retiring) std::erase_if(going, [](const auto& segment) { return segment->retiring.load(); });
    for (const auto& segment : going) segment->retiring.store(retiring);
  };
  set_retiring(true);
  if (going.empty()) return absl::OkStatus();
  // Rule 1: the retire record is durable, and readers have left, before a file is reused.
  std::vector<SegmentId> listed;
  std::optional<SegmentTable::Room> room;
  const absl::Status durable = base::OrOutOfMemory([&]() -> absl::Status {
    constexpr size_t kInsertionsMax = 64;  // while this waits; should there be more, memory is wanted once again
    room.emplace(segments_, kInsertionsMax);
    listed.reserve(going.size());
    for (const auto& segment : going) listed.push_back(segment->id);
    const std::string body = format::EncodeRetireList(listed);
    FIRN_ASSIGN_OR_RETURN(const Written written,
                          AppendControl({.type = format::RecordType::kRetire, .value = base::AsBytes(body)},
                                        Role::kControl, nullptr, io::Claimant::kControl));
    return WaitDurable(written.revision);
  });
  if (!durable.ok()) {
    set_retiring(false);
    return durable;
  }
  // Readers that were sent to these segments by the index before it changed still have to find them.
  epochs_.Synchronize();
  segments_.Remove(listed, *std::move(room));
  epochs_.Synchronize();
  for (auto& segment : going) {
    Say(EventKind::kSegmentRetired, [&] { return segment->file->name() + " retired: nothing in it is needed"; });
    Recycle(std::move(segment));
  }
  // Before anybody else takes what was given back.
  if (room_.full() || room_.reserve_bytes() != 0) {
    base::IfMemoryPermits([&] { static_cast<void>(room_.Restore()); });
  }
  return absl::OkStatus();
}

absl::Status Log::Shrink() {
  const uint64_t target = TargetSegmentBytes();
  const auto too_large = [target](uint64_t bytes) { return bytes > 2 * target; };
  std::vector<std::string> names;
  {
    base::MutexLock lock(spares_mutex_);
    for (const SpareFile& spare : spares_) {
      if (too_large(spare.size_bytes)) names.push_back(spare.name);
    }
    std::erase_if(spares_, [&](const SpareFile& spare) { return too_large(spare.size_bytes); });
  }
  for (const std::string& name : names) static_cast<void>(disk_.Remove(name));  // else a spare at the next open
  std::shared_ptr<Segment> prepared;
  bool active_too_large;
  {
    base::MutexLock lock(append_mutex_);
    active_too_large = too_large(active_->file->size_bytes());
    if (prepared_ != nullptr && WantedBytes(io::Claimant::kWrite) == 0 && too_large(prepared_->file->size_bytes())) {
      prepared = std::move(prepared_);
    }
  }
  if (prepared != nullptr) {
    Recycle(std::move(prepared), /*keep=*/false);
    preparing_.Kick();
  }
  return active_too_large ? SealActive() : absl::OkStatus();
}

// The file of a segment that is no part of the store, or no longer: a spare, or nothing.
void Log::Recycle(std::shared_ptr<Segment> segment, bool keep) noexcept {
  // What stays behind is a spare at the next open.
  base::IfMemoryPermits([&] {
    const SpareFile spare{segment->file->name(), segment->header.incarnation, segment->file->size_bytes()};
    const auto links = segment->file->Links();
    const bool ours_alone = links.ok() && *links == 1;
    const bool fits = spare.size_bytes >= options_.segment_bytes_min / 2;
    segment.reset();
    {
      base::MutexLock lock(spares_mutex_);
      if (keep && ours_alone && fits && room_.whole() && spares_.size() < kSparesMax) {
        spares_.push_back(spare);
        return;
      }
    }
    static_cast<void>(disk_.Remove(spare.name));
  });
}

}  // namespace firn::log
