// Loading what lives, once the log's end is found.
#include <algorithm>
#include <atomic>
#include <map>

#include "base/check.h"
#include "base/memory.h"
#include "base/sync.h"
#include "log/recovery_steps.h"

namespace firn::log {
namespace {

constexpr size_t kThreads = 2;

}  // namespace

// A segment that has no usable footer, though all of it up to `end` was durable.
absl::Status Recovery::ScanSealed(Segment& segment, uint64_t end) {
  Say(EventKind::kFooterFallback, segment.file->name() + " has no footer that verifies and was scanned");
  SegmentScanner scanner(segment);
  for (uint64_t at = kFirstUnitOffset; at < end;) {
    const auto unit = scanner.UnitAt(at);
    if (unit && uint64_t{unit->header.blocks} * format::kBlockBytes <= end - at) {
      NoteUnit(segment, unit->payload, static_cast<uint32_t>(at + format::kUnitHeaderBytes));
      segment.time_ms_max = std::max(segment.time_ms_max, unit->header.time_ms);
      at += uint64_t{unit->header.blocks} * format::kBlockBytes;
      continue;
    }
    if (!absl::IsDataLoss(scanner.read_error()) && Stops(scanner.read_error())) return scanner.read_error();
    const uint64_t next = scanner.FindUnit(at + format::kBlockBytes, end).value_or(end);
    std::string what =
        "acknowledged data does not verify: " + std::to_string(next - at) + " bytes are lost, whole or in part";
    if (!scanner.read_error().ok()) what += " (" + std::string(scanner.read_error().message()) + ")";
    FIRN_RETURN_IF_ERROR(Damage(At(segment, at), what));
    SalvageStretch(segment, at, std::min<uint64_t>(next, segment.file->size_bytes()));
    at = next;
  }
  return absl::OkStatus();
}

// The footer that sealing will write, read back as the segment's directory.
format::FooterReader Recovery::DirectoryOfScanned(Segment& segment) {
  const uint32_t units_end = segment.units_end.load();
  segment.written_end.store(units_end);
  segment.recovered_footer = FinishFooter(segment);
  const auto footer_bytes = static_cast<uint32_t>(segment.recovered_footer.size());
  const format::Trailer trailer{units_end, footer_bytes, uint64_t{units_end} + footer_bytes};
  auto directory = format::FooterReader::Open(segment.recovered_footer, trailer, segment.seed, segment.id);
  FIRN_CHECK(directory.has_value());
  return *std::move(directory);
}

// Rule 7: the image is believed where the log reaches as far as it did when the image was written, and each segment it
// speaks for that is still part of the log is the same, and ends where it ended.
void Recovery::AskImage(std::vector<Job>& jobs) {
  if (options_.image == nullptr || options_.image->revision > walked_revision_) return;
  const auto& covered = options_.image->segments;
  for (Job& job : jobs) {
    const Segment& segment = *job.segment;
    const auto found = std::lower_bound(covered.begin(), covered.end(), segment.id,
                                        [](const auto& each, SegmentId id) { return each.id < id; });
    if (found == covered.end() || found->id != segment.id) continue;
    if (found->salt != segment.header.salt || found->units_end != job.end ||
        found->file_bytes != segment.file->size_bytes() || walked_.contains(segment.id)) {
      return;
    }
    job.covered = &*found;
  }
  result_.image_agrees = true;
}

absl::StatusOr<std::optional<format::FooterReader>> Recovery::LoadSegment(const Job& job) {
  Segment& segment = *job.segment;
  const auto seal = [&](const auto& known) {
    segment.sealed.store(true);
    segment.units_end.store(job.end);
    segment.written_end.store(job.end);
    segment.last_revision = known.last_revision;
    segment.time_ms_max = known.time_ms_max;
    segment.revision_min.store(known.revision_min);
    segment.records = known.records;
    segment.directory.reset();
  };
  if (job.covered != nullptr && result_.image_agrees) {
    seal(*job.covered);
    return std::nullopt;
  }
  if (walked_.contains(segment.id)) return DirectoryOfScanned(segment);
  std::unique_ptr<base::KeyFilter> filter;
  uint64_t record_bytes = 0;
  const auto note = [&](const format::FooterSummary& summary, const format::DirectoryEntry& entry) {
    record_bytes += entry.size;
    if (options_.read_only) return;  // nothing is ever dropped from it
    if (filter == nullptr) filter = std::make_unique<base::KeyFilter>(summary.records);
    filter->Add(KeyHash(entry.namespace_id, entry.key));
  };
  if (auto footer = LoadFooter(segment, note); footer && footer->summary().units_end == job.end) {
    seal(footer->summary());
    segment.record_bytes = record_bytes;
    segment.filter = std::move(filter);
    return footer;
  }
  segment.units_end.store(job.end);
  FIRN_RETURN_IF_ERROR(ScanSealed(segment, job.end));
  return DirectoryOfScanned(segment);
}

// What is part of the store, and where each ends.
absl::Status Recovery::FindLive(std::vector<Job>& jobs) {
  // What was adopted may be listed as well, by a segment that became active in between.
  std::map<SegmentId, uint32_t> ends;
  for (const format::LiveIds::Segment& listed : newest_->live_ids.segments) ends[listed.id] = listed.end;
  for (const Position& adopted : newest_->adopted) ends[adopted.segment] = adopted.offset;
  for (const auto& listed : ends) {
    const SegmentId id = listed.first;
    if (std::count(newest_->retired.begin(), newest_->retired.end(), id) != 0) continue;
    if (id == newest_->id || !CanEndUnits(listed.second)) {
      FIRN_RETURN_IF_ERROR(Loss(newest_->file->name(), kFirstUnitOffset,
                                "its list of what lives has segment " + std::to_string(id) + " up to offset " +
                                    std::to_string(listed.second) + ", which cannot be"));
      continue;
    }
    const auto at = std::find_if(candidates_.begin(), candidates_.end(), [&](const auto& s) { return s->id == id; });
    if (at == candidates_.end()) {
      missing_ = true;
      FIRN_RETURN_IF_ERROR(
          Loss(SegmentFileName(id), 0,
               "segment " + std::to_string(id) +
                   " is listed as part of the store, but its file is missing or its header is damaged"));
      continue;
    }
    jobs.push_back({.segment = *at, .end = listed.second});
  }
  jobs.push_back({.segment = newest_, .end = newest_->units_end.load()});
  return absl::OkStatus();
}

// Opens the directories of all live segments, several at once.
absl::Status Recovery::LoadLive() {
  std::vector<Job> jobs;
  FIRN_RETURN_IF_ERROR(FindLive(jobs));
  AskImage(jobs);
  std::atomic<size_t> next{0};
  const auto work = [&] {
    for (size_t i = next.fetch_add(1); i < jobs.size(); i = next.fetch_add(1)) {
      jobs[i].directory = base::OrOutOfMemory([&] { return LoadSegment(jobs[i]); });
    }
  };
  std::vector<base::Thread> threads;
  threads.reserve(kThreads);
  // A helper that cannot be had is done without.
  base::IfMemoryPermits([&] {
    for (size_t i = 1; i < std::min(kThreads, jobs.size()); ++i) threads.emplace_back("firn-recover", work);
  });
  work();
  for (base::Thread& thread : threads) thread.Join();

  for (Job& job : jobs) {
    if (!job.directory.ok()) return job.directory.status();
    Saw(job.segment->last_revision);
    result_.time_ms = std::max(result_.time_ms, job.segment->time_ms_max);
    result_.segments.push_back({job.segment, *std::move(job.directory)});
  }
  std::sort(result_.segments.begin(), result_.segments.end(),
            [](const RecoveredSegment& a, const RecoveredSegment& b) { return a.segment->id < b.segment->id; });
  return absl::OkStatus();
}

// Files that belong to no live segment are used again, but a few only. What cannot be read is left alone while
// something is missing: it may be what is missing.
void Recovery::TakeSpares() {
  constexpr size_t kSparesMax = 2;
  std::vector<SpareFile> spares;
  for (SegmentPtr& segment : candidates_) {
    const bool live = std::any_of(result_.segments.begin(), result_.segments.end(),
                                  [&](const RecoveredSegment& r) { return r.segment == segment; });
    if (live) continue;
    if (const auto footer = LoadFooter(*segment)) Saw(footer->summary().last_revision);
    spares.push_back({segment->file->name(), segment->header.incarnation, segment->file->size_bytes()});
  }
  spares.insert(spares.end(), no_segments_.begin(), no_segments_.end());
  if (!missing_) spares.insert(spares.end(), unreadable_.begin(), unreadable_.end());
  candidates_.clear();
  if (options_.read_only) {
    result_.spares = std::move(spares);  // they count as the store's space
    return;
  }
  for (SpareFile& spare : spares) {
    if (result_.spares.size() < kSparesMax) {
      result_.spares.push_back(std::move(spare));
    } else {
      static_cast<void>(disk_.Remove(spare.name));
    }
  }
}

}  // namespace firn::log
