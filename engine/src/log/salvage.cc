#include "log/salvage.h"

#include <algorithm>
#include <map>

#include "base/check.h"
#include "format/unit.h"
#include "log/salvage_steps.h"
#include "log/segment_scan.h"
#include "log/stretch.h"

namespace firn::log {
namespace {

constexpr uint64_t kBlock = format::kBlockBytes;
// How far apart, at most, the end of copying and the record that adopts the copy may be, by the store's clock.
constexpr int64_t kAdoptionMs = 60'000;

}  // namespace

void LogSalvage::Lose(std::string file, uint64_t offset, uint64_t bytes, std::string what, uint64_t revision_max) {
  result_.lost.push_back({std::move(file), offset, bytes, std::move(what)});
  result_.lost_revision_max = std::max(result_.lost_revision_max, revision_max);
}

// No record of the fresh log before that segment's end has a revision above it.
uint64_t LogSalvage::RevisionMaxBefore(SegmentId segment) const {
  for (const Candidate& other : candidates_) {
    if (other.segment->id <= segment || other.segment->header.generation > 0) continue;
    if (other.segment->header.first_revision > 1) return other.segment->header.first_revision - 1;
  }
  return UINT64_MAX;
}

// Takes segments in their order, the newest list of live ones deciding.
void LogSalvage::ChooseLive() {
  const bool ends_sealed = EndsSealed();
  const Candidate* newest = nullptr;
  for (const Candidate& candidate : candidates_) {
    if (candidate.segment->header.generation == 0 && candidate.says.has_live_ids) newest = &candidate;
  }
  std::map<SegmentId, uint32_t> ends;
  std::set<SegmentId> retired;
  const SegmentId newest_id = newest == nullptr ? 0 : newest->segment->id;
  if (newest != nullptr) {
    result_.next_namespace_id = newest->says.live_ids.next_namespace_id;
    for (const auto& listed : newest->says.live_ids.segments) ends[listed.id] = listed.end;
  } else if (!candidates_.empty()) {
    Note("no list of live segments is left: every segment that verifies was taken");
  }
  for (const Candidate& candidate : candidates_) {
    if (candidate.segment->id < newest_id) continue;
    for (const Position& adopted : candidate.says.adopted) ends[adopted.segment] = adopted.offset;
    retired.insert(candidate.says.retired.begin(), candidate.says.retired.end());
  }
  for (const SegmentId id : retired) ends.erase(id);

  size_t losses_before_newest = 0;
  for (Candidate& candidate : candidates_) {
    const SegmentId id = candidate.segment->id;
    const auto listed = ends.find(id);
    if (listed != ends.end()) {
      live_.insert(id);
      Take(candidate, listed->second);
      continue;
    }
    if (candidate.segment->header.generation > 0 || retired.contains(id) || !candidate.has_units) continue;
    if (id < newest_id) continue;  // retired before that list was made
    if (id == newest_id) losses_before_newest = result_.lost.size();
    live_.insert(id);
    Take(candidate, std::nullopt);
  }
  for (const std::string& name : unreadable_) {
    const SegmentId id = IdOfSegmentFile(name);
    const bool is_old = id != format::kNoSegment && (id < newest_id || retired.contains(id));
    if (live_.contains(id) || (!ends.contains(id) && is_old)) continue;
    // A file that was made ahead of its use: nothing was written yet behind its header, and no list names it. Without
    // any list it may as well be one that was wiped.
    const auto file = disk_.Open(name, io::OpenMode::kRead);
    const bool listed = ends.contains(id);
    if (newest != nullptr && !listed && file.ok() && IsEmptyBehindHeader(**file)) continue;
    live_.insert(id);
    Lose(name, 0, file.ok() ? (*file)->size_bytes() : 0,
         "neither the segment's header nor a trailer is left: nothing in it can be verified", RevisionMaxBefore(id));
  }
  for (const auto& [id, end] : ends) {
    if (live_.contains(id)) continue;
    result_.missing_segments.push_back(id);
    result_.lost_revision_max = std::max(result_.lost_revision_max, RevisionMaxBefore(id));
  }
  const bool end_vouched_for = CheckEnd(newest_id);
  const bool lost_at_end = result_.lost.size() > losses_before_newest ||
                           std::any_of(result_.missing_segments.begin(), result_.missing_segments.end(),
                                       [&](SegmentId id) { return id >= newest_id; });
  if (newest != nullptr && (lost_at_end || !end_vouched_for)) DecideDoubtful(*newest, lost_at_end);
  JudgeTail(end_vouched_for || ends_sealed);
}

// A close seals the newest segment, and removes the one that was prepared to follow it: a log that ends otherwise was
// not closed.
bool LogSalvage::EndsSealed() const {
  const auto last = std::find_if(candidates_.rbegin(), candidates_.rend(),
                                 [](const Candidate& c) { return c.segment->header.generation == 0; });
  return last != candidates_.rend() && last->footer.has_value();
}

// Only after a close there was nothing in TAIL that is nowhere else.
void LogSalvage::JudgeTail(bool log_was_closed) {
  if (tail_damage_.empty()) return;
  if (log_was_closed) {
    Note("TAIL: " + tail_damage_ + "; the store was closed, so nothing is lost by that");
    return;
  }
  Lose(std::string(kTailFile), 0, tail_bytes_,
       tail_damage_ + ", and the store was not closed: if its last process was killed, buffered writes are lost",
       UINT64_MAX);
}

// Holds what is left against the mark of a clean close. True if the log reaches up to it.
bool LogSalvage::CheckEnd(SegmentId newest_id) {
  // A later segment has outdated the mark.
  if (!close_mark_ || newest_id > close_mark_->end.segment) return false;
  const Position end = close_mark_->end;
  const auto marked = std::find_if(candidates_.begin(), candidates_.end(),
                                   [&](const Candidate& c) { return c.segment->id == end.segment && c.has_units; });
  if (marked == candidates_.end()) {
    if (live_.contains(end.segment)) return false;
    result_.missing_segments.push_back(end.segment);
    result_.lost_revision_max = std::max(result_.lost_revision_max, close_mark_->last_revision);
    return false;
  }
  const uint64_t from = marked->segment->units_end.load();
  if (from >= end.offset) return true;
  Lose(marked->segment->file->name(), from, end.offset - from, "the end of the log, as it was closed, is gone",
       close_mark_->last_revision);
  return false;
}

// Copies that reclaim made, and that nothing left names. Where the log is known to be whole they were never part of the
// store, or are no longer. Else the record that adopted them may be what is lost, with that which retired the
// originals. One that was made before the newest list of live segments, and is not on it, counts only if something is
// known to be lost, and if it was not there long before: reclaim may have retired it since.
void LogSalvage::DecideDoubtful(const Candidate& newest, bool lost_at_end) {
  std::set<SegmentId> retired;
  for (const Candidate& candidate : candidates_) {
    retired.insert(candidate.says.retired.begin(), candidate.says.retired.end());
  }
  for (Candidate& candidate : candidates_) {
    const SegmentId id = candidate.segment->id;
    if (candidate.segment->header.generation == 0 || live_.contains(id) || retired.contains(id)) continue;
    // Copies are whole, footer included, before they are adopted.
    if (!candidate.footer) continue;
    const bool made_later = id > newest.segment->id;
    const bool finished_about_then = candidate.footer->summary().time_ms_max + kAdoptionMs >= newest.says.first_time_ms;
    if (!made_later && !(lost_at_end && finished_about_then)) continue;
    live_.insert(id);
    result_.segments_in_doubt.push_back(id);
    Take(candidate, std::nullopt);
  }
}

// `end`: where its units end, as another segment says; none: as far as they go.
void LogSalvage::Take(Candidate& candidate, std::optional<uint32_t> end) {
  const std::shared_ptr<Segment>& segment = candidate.segment;
  if (end && (*end % kBlock != 0 || *end < kFirstUnitOffset)) end.reset();  // no units end there
  if (candidate.footer && (!end || candidate.footer->summary().units_end == *end)) {
    segment->units_end.store(candidate.footer->summary().units_end);
    result_.time_ms = std::max(result_.time_ms, candidate.footer->summary().time_ms_max);
    result_.segments.push_back({segment, *std::move(candidate.footer)});
    return;
  }
  Scan(*segment, end ? *end : EndOf(*segment), end.has_value());
  result_.segments.push_back({segment, DirectoryOf(*segment)});
}

void LogSalvage::Scan(Segment& segment, uint64_t end, bool end_is_known) {
  SegmentScanner scanner(segment);
  uint64_t last_end = kFirstUnitOffset;  // of what verifies
  for (uint64_t at = kFirstUnitOffset; at < end;) {
    if (const auto unit = scanner.UnitAt(at)) {
      NoteUnit(segment, unit->payload, static_cast<uint32_t>(at + format::kUnitHeaderBytes));
      segment.time_ms_max = std::max(segment.time_ms_max, unit->header.time_ms);
      at += uint64_t{unit->header.blocks} * kBlock;
      last_end = at;
      continue;
    }
    const auto found = scanner.FindUnit(at + kBlock, end);
    const uint64_t next = found.value_or(end);
    Stretch stretch = ReadStretch(segment, at, next);
    for (const FoundRecord& record : stretch.records) NoteUnit(segment, record.bytes, record.offset);
    const bool acknowledged = end_is_known || found.has_value();
    // Behind the last unit of a segment that was being written there may be anything. What was torn there, and what
    // was damaged, look alike.
    if (acknowledged || !stretch.records.empty() || stretch.has_head) {
      uint64_t revision_max = RevisionMaxBefore(segment.id);
      if (found && segment.header.generation == 0) {
        if (const auto unit = scanner.UnitAt(next)) revision_max = unit->header.first_revision - 1;
      }
      for (const auto& [from, to] : stretch.gaps) {
        if (!acknowledged && !stretch.records.empty() && from >= stretch.records_end) continue;
        Lose(
            segment.file->name(), from, to - from,
            acknowledged ? "does not verify" : "does not verify, at the end of the log: damaged, or never acknowledged",
            revision_max);
      }
      result_.incomplete_batches.insert(result_.incomplete_batches.end(), stretch.incomplete_batches.begin(),
                                        stretch.incomplete_batches.end());
      last_end = acknowledged ? next : std::max(last_end, base::RoundUp(stretch.records_end, kBlock));
    }
    at = next;
  }
  if (end_is_known) {
    Note(segment.file->name() + " has no footer that verifies and was scanned");
  }
  segment.units_end.store(static_cast<uint32_t>(std::min<uint64_t>(last_end, UINT32_MAX - kBlock)));
  Saw(segment.last_revision);
  result_.time_ms = std::max(result_.time_ms, segment.time_ms_max);
}

// The footer that sealing would have written, read back.
format::FooterReader LogSalvage::DirectoryOf(Segment& segment) {
  segment.header.first_revision = std::min(segment.header.first_revision, segment.directory->revision_min());
  const uint32_t units_end = segment.units_end.load();
  std::string footer = FinishFooter(segment);
  segment.filter.reset();
  const auto footer_bytes = static_cast<uint32_t>(footer.size());
  auto directory = format::FooterReader::Open(
      std::move(footer), {units_end, footer_bytes, uint64_t{units_end} + footer_bytes}, segment.seed, segment.id);
  FIRN_CHECK(directory.has_value());
  return *std::move(directory);
}

absl::StatusOr<SalvagedLog> LogSalvage::Run() {
  Saw(superblock_.revision_floor);
  FIRN_RETURN_IF_ERROR(LoadTail());
  FIRN_ASSIGN_OR_RETURN(const std::vector<std::string> files, SegmentFilesIn(disk_));
  result_.files = files.size();
  for (const std::string& name : files) FIRN_RETURN_IF_ERROR(OpenFile(name));
  AddFilelessSegments();
  std::stable_sort(candidates_.begin(), candidates_.end(),
                   [](const Candidate& a, const Candidate& b) { return a.segment->id < b.segment->id; });
  for (Candidate& candidate : candidates_) Listen(candidate);
  ChooseLive();
  std::stable_sort(result_.segments.begin(), result_.segments.end(),
                   [](const auto& a, const auto& b) { return a.segment->id < b.segment->id; });
  return std::move(result_);
}

absl::StatusOr<SalvagedLog> SalvageLog(io::Disk& disk, const format::Superblock& superblock) {
  return LogSalvage(disk, superblock).Run();
}

}  // namespace firn::log
