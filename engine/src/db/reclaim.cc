// Keeping dead space under the ceiling: what the store takes, when segments are evacuated, and compacting on request.
#include <algorithm>
#include <limits>
#include <map>
#include <set>
#include <utility>

#include "db/relocator.h"
#include "db/store.h"
#include "reclaim/victims.h"

namespace firn {
namespace {

// Copied in one round, so that a round ends soon and its victims come back.
constexpr uint64_t kRoundCopyBytesMax = uint64_t{15} << 20;
// A relocation segment is twice as large as one of the fresh log where there is room, which halves what making one
// costs, but no larger than this: it bounds what is remembered of the moves.
constexpr uint64_t kCopySegmentBytesMax = uint64_t{16} << 20;
// What a record takes beside key, metadata and value, about; and in its segment's footer, until that is written.
constexpr uint64_t kRecordHeadBytes = 24;
constexpr uint64_t kDirectoryEntryBytes = 28;
constexpr int kRoundsMax = 16;
constexpr uint32_t kAny = std::numeric_limits<uint32_t>::max();  // segment, or value file
constexpr uint64_t kNoRoomRestNanos = 1'000'000'000;
constexpr uint64_t kRestNanos = 10'000'000'000, kTombstonesRestNanos = 60'000'000'000;
// SUPERBLOCK and TAIL.
constexpr uint64_t kFixedFilesBytes = format::kSuperblockFileBytes + log::kTailFileBytes;
// Compacting goes on while a segment has more garbage than this.
constexpr double kCompactLiveFractionMax = 0.97;
// The ceiling is kept by aiming a little below it: writers who were let go on while the disk stood still, or a round
// whose victims leave late, come on top for a moment.
constexpr double kCeilingMargin = 0.005;
// By Compact(), between two reports of progress.
constexpr uint64_t kFreeBytesAtOnce = uint64_t{64} << 20;

// Counts of what writers add and take may pass each other.
uint64_t AtLeastZero(const std::atomic<int64_t>& count) {
  return static_cast<uint64_t>(std::max<int64_t>(0, count.load(std::memory_order_relaxed)));
}

// The part of the footer that tells of live records.
uint64_t FooterBytesOfLive(const log::Segment& segment) {
  const uint64_t live_records = AtLeastZero(segment.live_records);
  if (!segment.sealed.load(std::memory_order_acquire)) return live_records * kDirectoryEntryBytes;
  const uint64_t file_bytes = segment.file->size_bytes();
  const uint64_t footer_bytes =
      file_bytes - std::min<uint64_t>(file_bytes, segment.units_end.load(std::memory_order_relaxed));
  return footer_bytes * live_records / std::max<uint64_t>(1, segment.records);
}

}  // namespace

// Of the extents that nothing but kept versions names, each once.
uint64_t Store::PinnedValueBytes() {
  base::EpochGuard guard(epochs_);  // a slot stays its extent's
  uint64_t bytes = 0;
  for (const auto& [slot, times] : versions_->KeptExtents()) {
    if (values_->references(slot) <= times) bytes += values_->length(slot);
  }
  return bytes;
}

reclaim::Space Store::MeasureSpace() {
  reclaim::Space space;
  uint64_t records = 0, record_bytes = 0, footer_bytes = 0;
  for (const auto& segment : log_->segments().All()) {
    records += AtLeastZero(segment->live_records);
    record_bytes += AtLeastZero(segment->live_bytes);
    footer_bytes += FooterBytesOfLive(*segment);
  }
  const log::LogStats log = log_->GetStats();
  const values::ValueStats values = values_->GetStats();
  // Kept versions are pinned, not live, but for what a live key has in common with them.
  const uint64_t pinned_value_bytes = std::min(PinnedValueBytes(), values.live_bytes);
  records -= std::min(versions_->kept_records(), records);
  record_bytes -= std::min(versions_->kept_bytes(), record_bytes);
  space.pinned_bytes = versions_->kept_own_bytes() + pinned_value_bytes;
  space.user_bytes =
      record_bytes - std::min(record_bytes, records * kRecordHeadBytes) + values.live_bytes - pinned_value_bytes;
  const uint64_t fixed_bytes = kFixedFilesBytes + room_->reserve_bytes() + image_bytes_.load();
  space.disk_bytes = log.log_bytes + log.spare_bytes + values.allocated_bytes + fixed_bytes;
  // Beside the records: what is being filled, what is ready to follow, and the copies of a round.
  const uint64_t open_bytes = 4 * log.target_segment_bytes + fixed_bytes;
  space.step_bytes = values.ahead_bytes_max - values.ahead_bytes;
  const uint64_t value_bytes = values.live_bytes + values.slack_bytes + values.ahead_bytes_max;
  space.needed_bytes = record_bytes + footer_bytes + open_bytes + (value_bytes - pinned_value_bytes);
  space.ahead_bytes = log.unwritten_bytes + log.spare_bytes;
  side_memory_bytes_.store(log.filter_bytes + values.memory_bytes, std::memory_order_relaxed);
  return space;
}

reclaim::Goal Store::GoalFor(const reclaim::Space& space) const {
  const double amplification = options_.max_space_amplification - kCeilingMargin;
  return reclaim::GoalFor(space, amplification, segment_bytes_min_, ceiling_floor_segments_);
}

uint64_t Store::CopySegmentBytes() const {
  const uint64_t target_bytes = log_->GetStats().target_segment_bytes;
  const uint64_t bytes = std::min(2 * target_bytes, kCopySegmentBytesMax);
  return room_->FreeBytesFor(io::Claimant::kReclaim) >= 4 * bytes ? bytes : std::min(target_bytes, bytes);
}

// Whether what has to be copied of a segment surely fits into `room_bytes`. An evacuation that gets stuck has taken
// room and freed none.
bool Store::FitsRoom(const log::Segment& segment, uint64_t one_bytes, uint64_t room_bytes) const {
  constexpr uint64_t kFixedBytes = 8 * format::kBlockBytes, kTombstoneBytes = 128;
  const uint64_t copy_bytes = AtLeastZero(segment.live_bytes) + 2 * FooterBytesOfLive(segment) +
                              kTombstoneBytes * AtLeastZero(segment.tombstones) + kFixedBytes;
  // What does not fit into one segment may leave that much of the last one empty, until it is finished.
  return copy_bytes + (copy_bytes > one_bytes ? one_bytes : 0) <= room_bytes;
}

// Segments up to `last` that may be evacuated now.
std::vector<reclaim::Candidate> Store::Candidates(log::SegmentId last) const {
  std::vector<reclaim::Candidate> candidates;
  const uint64_t published = log_->published().Get(), now = raw_clock_.MonotonicNanos();
  const uint64_t room_bytes = room_->FreeBytesFor(io::Claimant::kReclaim), copy_segment_bytes = CopySegmentBytes();
  for (const auto& segment : log_->segments().All()) {
    // The index must know of every record: else one whose writer is still on its way would pass for garbage.
    if (!segment->sealed.load(std::memory_order_acquire) || segment->last_revision > published) continue;
    if (segment->id > last) continue;
    if (Rests(*segment, now)) continue;
    if (!FitsRoom(*segment, copy_segment_bytes, room_bytes)) continue;
    const uint64_t bytes = segment->file->size_bytes();
    const uint64_t live_bytes = AtLeastZero(segment->live_bytes);
    // Moving a relocation segment again would make one just like it, but for what has died since.
    const uint64_t copy_bytes =
        segment->header.generation == 0
            ? live_bytes + FooterBytesOfLive(*segment)
            : static_cast<uint64_t>(static_cast<double>(bytes) * static_cast<double>(live_bytes) /
                                    static_cast<double>(std::max<uint64_t>(1, segment->record_bytes)));
    candidates.push_back({.segment = segment->id,
                          .bytes = bytes,
                          .live_bytes = copy_bytes,
                          .age = log_->WritesSince(segment->last_revision),
                          .generation = segment->header.generation});
  }
  return candidates;
}

// One round of evacuation, if there is anything worth it. False when there is not.
absl::StatusOr<bool> Store::ReclaimRound(log::SegmentId last, double live_fraction_max,
                                         const std::function<bool()>& keep_going) {
  // Where room is short, what is copied into segments that were begun before must leave room for another one, and
  // deletes may take a segment meanwhile.
  const uint64_t room_bytes = room_->FreeBytesFor(io::Claimant::kReclaim);
  const uint64_t copy_room_bytes = (room_bytes - std::min(room_bytes, 2 * CopySegmentBytes())) / 5 * 4;
  const uint64_t copy_bytes_max =
      std::min({reclaim::RoundCopyBytes(log_->GetStats().target_segment_bytes, pacer_.debt()), kRoundCopyBytesMax,
                copy_room_bytes});
  const reclaim::VictimLimits limits{.copy_bytes_max = copy_bytes_max,
                                     .copy_segment_bytes = CopySegmentBytes(),
                                     .live_fraction_max = live_fraction_max};
  std::vector<reclaim::Candidate> candidates = Candidates(last);
  const auto victims_among = [&](const std::vector<log::SegmentId>& segments) {
    std::vector<reclaim::Candidate> among;
    for (const reclaim::Candidate& each : candidates) {
      if (std::find(segments.begin(), segments.end(), each.segment) != segments.end()) among.push_back(each);
    }
    return reclaim::ChooseVictims(among, limits);
  };
  auto victims = victims_among(read_ahead_.segments());
  if (victims.empty()) victims = reclaim::ChooseVictims(candidates, limits);
  if (victims.empty()) return false;
  std::vector<log::SegmentId> next;
  if (pacer_.busy()) {
    std::erase_if(candidates, [&](const reclaim::Candidate& each) {
      // Reading all of it would take longer, or too much memory.
      const bool unfit = each.live_bytes < each.bytes / 4 || each.bytes > ReadAhead::kBytesMax;
      return unfit || std::find(victims.begin(), victims.end(), each.segment) != victims.end();
    });
    next = reclaim::ChooseVictims(candidates, limits);
  }
  FIRN_RETURN_IF_ERROR(Relocate(victims, keep_going, std::nullopt, std::move(next)).status());
  return true;
}

// False if nothing was retired.
absl::StatusOr<bool> Store::Relocate(const std::vector<log::SegmentId>& victims,
                                     const std::function<bool()>& keep_going, std::optional<uint32_t> value_file,
                                     std::vector<log::SegmentId> next) {
  Relocator relocator(*this, victims, keep_going, value_file, std::move(next));
  const auto result = relocator.Run();
  if (!result.ok()) {
    const uint64_t now = raw_clock_.MonotonicNanos();
    if (relocator.found_damage()) {
      // What cannot be read stays where it is, and is not tried again before the next open.
      RestSegment(relocator.last_victim(), {.until_nanos = UINT64_MAX});
      Emit(EventKind::kDamageFound, std::string(result.status().message()));
    } else if (absl::IsResourceExhausted(result.status())) {
      for (const log::SegmentId id : victims) RestSegment(id, {.until_nanos = now + kNoRoomRestNanos});
    } else if (!value_file) {
      // Others may fare better meanwhile. A value that has rotted is its file's business.
      RestSegment(relocator.last_victim(), {.until_nanos = now + kRestNanos});
    }
    return result.status();
  }
  relocated_records_.fetch_add(result->records, std::memory_order_relaxed);
  relocated_bytes_.fetch_add(result->bytes, std::memory_order_relaxed);
  read_ahead_bytes_.fetch_add(result->read_ahead_bytes, std::memory_order_relaxed);
  reclaimed_bytes_.fetch_add(result->freed_bytes, std::memory_order_relaxed);
  if (result->retired == 0) {
    // Something still holds one of them, and what was copied was copied for nothing: not at once again.
    for (const log::SegmentId id : victims) {
      RestSegment(id, {.until_nanos = raw_clock_.MonotonicNanos() + kRestNanos});
    }
  } else {
    rounds_.fetch_add(1, std::memory_order_relaxed);
    for (const log::SegmentId id : victims) resting_segments_.erase(id);
    if (result->freed_bytes < result->copies_bytes + reclaim::kGainBytesMin) {
      // The copies are tombstones, mostly, which look like garbage and have to stay for as long as older segments do:
      // without a rest they would be moved again and again.
      base::EpochGuard guard(epochs_);
      for (const log::SegmentId id : result->copies) {
        const log::Segment* const copies = log_->segments().Find(id);
        const uint64_t live_bytes = copies == nullptr ? 0 : AtLeastZero(copies->live_bytes);
        RestSegment(id, {.until_nanos = raw_clock_.MonotonicNanos() + kTombstonesRestNanos,
                         .for_tombstones = true,
                         .live_bytes_min = live_bytes - std::min(live_bytes, reclaim::kGainBytesMin)});
      }
    } else {
      std::erase_if(resting_segments_, [](const auto& rest) { return rest.second.for_tombstones; });
    }
  }
  return result->retired != 0;
}

bool Store::Rests(const log::Segment& segment, uint64_t now_nanos) const {
  const auto rest = resting_segments_.find(segment.id);
  if (rest == resting_segments_.end() || now_nanos >= rest->second.until_nanos) return false;
  return !rest->second.for_tombstones || AtLeastZero(segment.live_bytes) >= rest->second.live_bytes_min;
}

void Store::RestSegment(log::SegmentId segment, const Rest& rest) {
  Rest& known = resting_segments_[segment];
  if (rest.until_nanos > known.until_nanos) known = rest;
}

// Where holes cannot be punched: what lives in the value file that is dead for the largest part is copied elsewhere, by
// rounds over the segments that name it. Files after `last` are left. False if there is no other such file, or nothing
// came of it.
absl::StatusOr<bool> Store::EvacuateValues(uint32_t last, const std::function<bool()>& keep_going) {
  if (raw_clock_.MonotonicNanos() < next_evacuation_nanos_) return false;
  const std::vector<uint32_t> files = values_->FilesToEvacuate(last);
  if (files.empty()) return false;
  std::map<uint32_t, std::set<log::SegmentId>> naming;  // by file
  index::Tree::Page page;
  std::string from(1, '\0');
  for (bool more = true; more;) {
    tree_->ReadLeaf(from, page);
    for (size_t i = 0; i < page.size(); ++i) {
      const index::Entry entry = page.entry(i);
      // An extent that was dropped since is still there: extents are freed under reclaim_mutex_ only.
      if (IsSeparated(entry)) naming[values_->FileOf(entry.size)].insert(entry.segment);
    }
    more = page.has_high();
    from = page.high();
  }
  versions_->ForEach([&](const Version& version) {
    if (IsSeparated(version.entry)) naming[values_->FileOf(version.entry.size)].insert(version.entry.segment);
  });
  // A file that nothing names goes once the changes that dropped its extents are durable.
  const auto file = std::find_if(files.begin(), files.end(), [&](uint32_t each) { return naming.contains(each); });
  if (file == files.end()) return false;
  if (const absl::Status left = values_->Leave(*file); !left.ok()) {
    next_evacuation_nanos_ = raw_clock_.MonotonicNanos() + kRestNanos;
    return absl::IsResourceExhausted(left) ? absl::StatusOr<bool>(false) : left;
  }
  const auto sealed = [&](const std::shared_ptr<log::Segment>& segment) {
    return segment->sealed.load(std::memory_order_acquire);
  };
  auto segments = log_->segments().All();
  std::erase_if(segments, [&](const auto& segment) { return !naming[*file].contains(segment->id); });
  if (!std::all_of(segments.begin(), segments.end(), sealed)) FIRN_RETURN_IF_ERROR(log_->SealActive());
  std::vector<log::SegmentId> victims;
  uint64_t copy_bytes = 0;
  for (const auto& segment : segments) {
    if (!sealed(segment) || segment->last_revision > log_->published().Get()) continue;
    copy_bytes += AtLeastZero(segment->live_bytes);
    if (!victims.empty() && copy_bytes > kRoundCopyBytesMax) break;
    victims.push_back(segment->id);
  }
  const absl::StatusOr<bool> retired =
      victims.empty() ? absl::StatusOr<bool>(false) : Relocate(victims, keep_going, *file);
  if (!retired.ok() || !*retired) next_evacuation_nanos_ = raw_clock_.MonotonicNanos() + kRestNanos;
  // Without room for the copies, or with a value that has rotted, what is left is to reclaim segments.
  if (absl::IsResourceExhausted(retired.status()) || absl::IsDataLoss(retired.status())) return false;
  return retired;
}

std::vector<SegmentReport> Store::GcReport() const {
  std::vector<SegmentReport> reports;
  if (!CheckUsable().ok()) return reports;
  for (const auto& segment : log_->segments().All()) {
    SegmentReport report{.segment = segment->id,
                         .file_bytes = segment->file->size_bytes(),
                         .live_bytes = AtLeastZero(segment->live_bytes),
                         .live_records = AtLeastZero(segment->live_records),
                         .tombstones = AtLeastZero(segment->tombstones),
                         .generation = segment->header.generation,
                         .sealed = segment->sealed.load(std::memory_order_acquire)};
    report.live_fraction = static_cast<double>(report.live_bytes) / static_cast<double>(report.file_bytes);
    if (report.sealed) report.age_revisions = log_->WritesSince(segment->last_revision);
    reports.push_back(report);
  }
  return reports;
}

// Gives back extents that nothing names any more, once the changes that say so are durable. Buffered ones are made so
// for this, when enough is waiting. A part at a time, so that what writers do meanwhile is seen. False if there is
// nothing worth that.
bool Store::FreeValues(const reclaim::Space& space, const reclaim::Goal& goal) {
  constexpr uint64_t kWaitingBytesMin = uint64_t{4} << 20, kWaitingBytesMax = uint64_t{64} << 20;
  constexpr uint64_t kWaitingPart = 32;  // of what lives
  constexpr uint64_t kBytesAtOnce = uint64_t{8} << 20;
  // Punching holds up whoever writes beside it, and the longer it can wait the fewer and the larger the holes are.
  if (space.counted_bytes() <= goal.start_bytes && HolesMayWait()) return false;
  const values::ValueStats stats = values_->GetStats();
  const uint64_t waiting_bytes_min = std::clamp(stats.live_bytes / kWaitingPart, kWaitingBytesMin, kWaitingBytesMax);
  if (stats.waiting_bytes < (room_->full() ? 1 : waiting_bytes_min)) return false;
  const auto free = [this] {
    base::MutexLock lock(reclaim_mutex_);
    return values_->FreeDropped(log_->durable_revision(), kBytesAtOnce, values::ValueStore::ActiveFile::kLast) > 0;
  };
  const bool freed = free() || (log_->WaitDurable(log_->LastReserved()).ok() && free());
  if (freed) rounds_.fetch_add(1, std::memory_order_relaxed);
  return freed;
}

// Not where others may be in want of the room.
bool Store::HolesMayWait() const {
  constexpr uint64_t kFreeBytesMin = uint64_t{64} << 20;
  return room_->whole() && !room_->full() && room_->FreeBytes() >= kFreeBytesMin;
}

// What reads have taken since the last call. Writes tell nothing: they wait for the pacer itself.
reclaim::Pacer::Foreground Store::ForegroundSince() {
  const reclaim::Pacer::Foreground before = std::exchange(foreground_, {gets_.timed(), gets_.timed_nanos()});
  return {foreground_.operations - before.operations, foreground_.nanos - before.nanos};
}

// Tells the listener when what is pinned comes to be more than the ceiling allows, and when it is no longer.
void Store::NotePinned(const reclaim::Space& space) {
  reclaim::Space with_margin = space;  // near the limit it is said once, not each time
  if (pinned_over_ceiling_) with_margin.pinned_bytes += space.pinned_bytes / 16;
  const reclaim::Goal goal = GoalFor(with_margin);
  if (reclaim::IsPinnedOver(with_margin, goal) == pinned_over_ceiling_) return;
  pinned_over_ceiling_ = !pinned_over_ceiling_;
  const std::string bytes = std::to_string(space.pinned_bytes);
  if (pinned_over_ceiling_) {
    Emit(EventKind::kPinnedOverCeiling,
         std::string(disk_->path()) + ": snapshots and iterators pin " + bytes + " bytes; with the " +
             std::to_string(space.needed_bytes) + " that are needed without them this is above the ceiling of " +
             std::to_string(goal.ceiling_bytes - space.pinned_bytes) + ", and stays so until they end");
  } else {
    Emit(EventKind::kPinnedBelowCeiling, std::string(disk_->path()) + ": the " + bytes +
                                             " bytes that snapshots and iterators pin fit under the ceiling again");
  }
}

void Store::DropReadAhead() {
  base::MutexLock lock(reclaim_mutex_);
  read_ahead_.Drop();
}

// Works until space is back below where reclaim starts. Run by the upkeep thread.
void Store::ReclaimTurn() {
  const auto keep_going = [this] {
    base::MutexLock lock(upkeep_mutex_);
    return !upkeep_stop_;
  };
  // Entries that expire and namespaces that are dropped have their turn in between.
  for (int round = 0; round < kRoundsMax && keep_going() && log_->health().ok(); ++round) {
    const reclaim::Space space = MeasureSpace();
    NotePinned(space);
    const uint64_t capacity_bytes = space.disk_bytes + std::min(room_->FreeBytes(), UINT64_MAX - space.disk_bytes);
    const reclaim::Goal goal = reclaim::Within(GoalFor(space), space, capacity_bytes);
    pacer_.Update(space, goal);
    if (FreeValues(space, goal)) continue;
    // On a full disk all garbage that is worth the work is wanted.
    if (space.counted_bytes() <= goal.start_bytes && !room_->full()) {
      DropReadAhead();
      // What is written until the next turn goes to what is claimed already, first.
      pacer_.Relax(space.ahead_bytes);
      return;
    }
    static_cast<void>(log_->Shrink());  // a failure is in the log's health
    pacer_.NoteRest(ForegroundSince());
    const uint64_t began = raw_clock_.MonotonicNanos();
    absl::StatusOr<bool> progress = false;
    {
      base::MutexLock lock(reclaim_mutex_);
      progress = EvacuateValues(kAny, keep_going);
      if (progress.ok() && !*progress) {
        progress = ReclaimRound(kAny, reclaim::VictimLimits{}.live_fraction_max, keep_going);
      }
    }
    pacer_.NoteWork(ForegroundSince());
    if (!progress.ok() || !*progress) {
      DropReadAhead();
      // What there is of garbage cannot be had now: holding writers back would gain nothing.
      pacer_.Relax();
      return;
    }
    if (room_->full() || !room_->whole()) {
      if (room_->full()) MakeRoom();
      ServeRoom(RoomRequests(), true);
      continue;  // somebody waits, or soon will
    }
    const uint64_t rest = pacer_.RestNanos(raw_clock_.MonotonicNanos() - began);
    if (rest == 0) continue;
    base::MutexLock lock(upkeep_mutex_);
    if (!upkeep_stop_) upkeep_wake_.WaitFor(upkeep_mutex_, rest);
  }
}

absl::Status Store::Compact(const ProgressCallback& progress) {
  FIRN_RETURN_IF_ERROR(CheckWritable());
  // Without room for another segment the rest can be compacted all the same.
  if (const absl::Status sealed = log_->SealActive(); !absl::IsResourceExhausted(sealed)) FIRN_RETURN_IF_ERROR(sealed);
  // What writers leave meanwhile, and what is moved, is no part of this: it would have no end.
  const uint32_t last_file = values_->NewestFileId();
  log::SegmentId last = 0;
  {
    base::MutexLock lock(reclaim_mutex_);  // copies that a round is making may have died in part by now
    for (const auto& segment : log_->segments().All()) {
      if (segment->sealed.load(std::memory_order_acquire)) last = std::max(last, segment->id);
    }
  }
  bool cancelled = false;
  const auto keep_going = [&] { return !cancelled; };
  const auto garbage = [&] {
    base::MutexLock lock(reclaim_mutex_);
    uint64_t bytes = 0;
    for (const reclaim::Candidate& each : Candidates(last)) bytes += each.bytes - std::min(each.bytes, each.live_bytes);
    return bytes;
  };
  const uint64_t total = garbage();
  uint64_t left = total;
  for (bool more = true; more;) {
    left = std::min(left, garbage());
    cancelled = progress && !progress(total - left, total);
    if (cancelled) {
      return base::MakeStatus(absl::StatusCode::kCancelled, "compacting was cancelled with " + std::to_string(left) +
                                                                " bytes of garbage left; what was moved stays moved");
    }
    base::MutexLock lock(reclaim_mutex_);
    SweepExpired();
    FIRN_RETURN_IF_ERROR(log_->RetireDead());
    FIRN_RETURN_IF_ERROR(log_->WaitDurable(log_->LastReserved()));
    if (values_->FreeDropped(log_->durable_revision(), kFreeBytesAtOnce) >= kFreeBytesAtOnce) continue;
    FIRN_ASSIGN_OR_RETURN(more, ReclaimRound(last, kCompactLiveFractionMax, keep_going));
    if (more) continue;
    FIRN_ASSIGN_OR_RETURN(more, EvacuateValues(last_file, keep_going));
  }
  if (const absl::Status shrunk = log_->Shrink(); !absl::IsResourceExhausted(shrunk)) FIRN_RETURN_IF_ERROR(shrunk);
  if (room_->full()) MakeRoom();
  if (progress) static_cast<void>(progress(total, total));
  return absl::OkStatus();
}

}  // namespace firn
