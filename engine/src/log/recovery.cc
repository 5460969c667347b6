#include "log/recovery.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <utility>

#include "base/check.h"
#include "log/recovery_steps.h"

namespace firn::log {

// Acknowledged bytes that do not verify: refused, or reported when salvaging.
absl::Status Recovery::Damage(std::string_view place, std::string_view what) {
  std::string message = std::string(disk_.path()) + "/" + std::string(place) + ": " + std::string(what);
  if (options_.salvage) {
    Say(EventKind::kDamageFound, message);
    return absl::OkStatus();
  }
  message += ". The store is left as it is; Options::salvage (firn --salvage) opens it with what still verifies";
  return base::DataLoss(message);
}

// Damage that nothing would tell of once the store is open without it.
absl::Status Recovery::Loss(const std::string& file, uint64_t offset, const std::string& what) {
  if (options_.salvage) result_.damages.push_back({.file = file, .offset = offset, .what = what});
  return Damage(file + " at offset " + std::to_string(offset), what);
}

absl::Status Recovery::OpenFiles() {
  auto names = disk_.List(kLogFolder);
  if (absl::IsNotFound(names.status())) {
    return base::DataLoss(std::string(disk_.path()) + ": there is a SUPERBLOCK but no log/: the whole log is lost");
  }
  if (!names.ok()) return names.status();
  const io::OpenMode mode = options_.read_only ? io::OpenMode::kRead : io::OpenMode::kReadWrite;
  std::vector<std::unique_ptr<io::File>> files;
  for (const std::string& name : *names) {
    if (!name.ends_with(".seg")) continue;
    // Names are not believed, but whatever bears one keeps it.
    constexpr SegmentId kIdsMax = SegmentId{1} << 31;
    if (const auto id = static_cast<SegmentId>(std::strtoul(name.c_str(), nullptr, 10)); id < kIdsMax) {
      result_.last_segment = std::max(result_.last_segment, id);
    }
    FIRN_ASSIGN_OR_RETURN(files.emplace_back(), disk_.Open(std::string(kLogFolder) + "/" + name, mode));
  }
  base::AlignedBuffer blocks(std::max<size_t>(1, files.size()) * format::kBlockBytes);
  std::vector<io::ReadRequest> reads;
  for (size_t i = 0; i < files.size(); ++i) {
    const base::MutableBytes block = blocks.bytes().subspan(i * format::kBlockBytes, format::kBlockBytes);
    std::memset(block.data(), 0, block.size());
    if (files[i]->size_bytes() >= format::kBlockBytes) reads.push_back({files[i].get(), 0, block, {}});
  }
  disk_.ReadMany(reads);
  // What cannot be read must not pass for a file that was never used.
  std::set<std::string> not_read;
  for (const io::ReadRequest& read : reads) {
    if (read.status.ok()) continue;
    if (Stops(read.status)) return read.status;
    not_read.insert(read.file->name());
  }
  for (size_t i = 0; i < files.size(); ++i) {
    const base::Bytes block = base::Bytes(blocks.bytes()).subspan(i * format::kBlockBytes, format::kBlockBytes);
    const auto header = format::DecodeSegmentHeader(block, superblock_.secret, superblock_.uuid);
    if (header.status().code() == absl::StatusCode::kFailedPrecondition) return header.status();
    if (!header.ok()) {
      const bool never_used = absl::IsNotFound(header.status()) && !not_read.contains(files[i]->name());
      (never_used ? no_segments_ : unreadable_).push_back({files[i]->name(), 0, files[i]->size_bytes()});
      continue;
    }
    auto segment = std::make_shared<Segment>();
    segment->id = header->segment;
    segment->header = *header;
    segment->seed = format::ChecksumSeed(superblock_.secret, header->salt);
    segment->file = std::move(files[i]);
    segment->revision_min.store(header->first_revision);
    result_.last_segment = std::max(result_.last_segment, segment->id);
    Saw(header->first_revision == 0 ? 0 : header->first_revision - 1);
    candidates_.push_back(std::move(segment));
  }
  std::sort(candidates_.begin(), candidates_.end(), [](const auto& a, const auto& b) { return a->id < b->id; });
  const auto twin = std::adjacent_find(candidates_.begin(), candidates_.end(),
                                       [](const auto& a, const auto& b) { return a->id == b->id; });
  if (twin != candidates_.end()) {
    return base::DataLoss(std::string(disk_.path()) + ": " + (*twin)->file->name() + " and " +
                          (*(twin + 1))->file->name() + " are copies of one segment; move one of them away");
  }
  return absl::OkStatus();
}

// A tail of the wrong size cannot be mapped, and nothing in it is where it should be.
absl::Status Recovery::PutAsideTail() {
  uint64_t size_bytes;
  {
    const auto file = disk_.Open(kTailFile, io::OpenMode::kRead);
    if (absl::IsNotFound(file.status())) return absl::OkStatus();
    if (!file.ok()) return file.status();
    size_bytes = (*file)->size_bytes();
  }
  if (size_bytes == kTailFileBytes) return absl::OkStatus();
  FIRN_RETURN_IF_ERROR(
      Damage(kTailFile, "it has " + std::to_string(size_bytes) + " bytes, not " + std::to_string(kTailFileBytes) +
                            ". If the process that had the store open was killed, buffered writes it held are lost; "
                            "salvage keeps it as TAIL.damaged and makes a new one"));
  FIRN_RETURN_IF_ERROR(disk_.Rename(kTailFile, kDamagedTailFile));
  return disk_.SyncFolder("");
}

absl::Status Recovery::LoadTail() {
  base::Bytes tail;
  if (options_.read_only) {
    auto file = disk_.Open(kTailFile, io::OpenMode::kRead);
    if (!file.ok()) return absl::IsNotFound(file.status()) ? absl::OkStatus() : file.status();
    if ((*file)->size_bytes() != kTailFileBytes) {
      Say(EventKind::kDamageFound, std::string(disk_.path()) + "/TAIL has the wrong size and was not read");
      return absl::OkStatus();
    }
    tail_copy_ = base::AlignedBuffer(kTailFileBytes);
    FIRN_RETURN_IF_ERROR((*file)->Read(0, tail_copy_.bytes().first(kTailFileBytes)));
    tail = base::Bytes(tail_copy_.bytes()).first(kTailFileBytes);
  } else {
    FIRN_RETURN_IF_ERROR(PutAsideTail());
    FIRN_ASSIGN_OR_RETURN(result_.tail, disk_.MapShared(kTailFile, kTailFileBytes));
    tail = result_.tail->bytes();
  }
  tail_units_ = FindTailUnits(tail, superblock_.secret);
  for (const TailUnit& unit : tail_units_) {
    tail_by_place_[{unit.segment, unit.offset}] = &unit;
    Saw(unit.last_revision);
  }
  close_mark_ = FindCloseMark(tail, superblock_.secret);
  if (close_mark_) {
    // Neither revisions nor ids are given twice, even if the segment is gone.
    Saw(close_mark_->last_revision);
    result_.last_segment = std::max(result_.last_segment, close_mark_->end.segment);
  }
  return absl::OkStatus();
}

// The newest segment whose live ids are on disk: in its first unit, or in its footer. Relocation segments have none and
// are no part of the log's chain: they are found through it.
absl::Status Recovery::FindNewest(bool fresh) {
  for (auto at = candidates_.rbegin(); at != candidates_.rend(); ++at) {
    Segment& segment = **at;
    if (segment.header.generation > 0) continue;
    SegmentScanner scanner(segment);  // owns the bytes of the unit
    if (auto unit = scanner.UnitAt(kFirstUnitOffset)) {
      const auto first = format::ParseRecord(unit->payload);
      if (!first || first->record.type != format::RecordType::kLiveIds) continue;
      newest_ = *at;
      newest_footer_ = LoadFooter(segment);
      return absl::OkStatus();
    }
    if (auto footer = LoadFooter(segment)) {
      newest_ = *at;
      newest_footer_ = std::move(footer);
      return absl::OkStatus();
    }
    if (Stops(scanner.read_error())) return scanner.read_error();
  }
  if (fresh) return absl::OkStatus();
  return base::DataLoss(std::string(disk_.path()) + ": there is a SUPERBLOCK but no segment in log/ verifies (" +
                        std::to_string(candidates_.size() + unreadable_.size() + no_segments_.size()) +
                        " files): the whole log is lost or damaged");
}

// A header is small enough to be written whole or not at all. One that does not verify is damage; where its file is
// newer than all others, by name at least, what was acknowledged last is in there.
absl::Status Recovery::CheckUnreadable() {
  for (const auto& [name, incarnation, size_bytes] : unreadable_) {
    if (name < newest_->file->name()) continue;
    missing_ = true;
    FIRN_RETURN_IF_ERROR(Loss(name, 0,
                              "the segment's header does not verify; what was acknowledged last, after revision " +
                                  std::to_string(walked_revision_) + ", may be lost with it"));
  }
  return absl::OkStatus();
}

absl::Status Recovery::TakeTailUnit(const TailUnit& unit) {
  result_.clean = false;
  if (options_.read_only) {
    base::AlignedBuffer copy(unit.size);
    std::memcpy(copy.data(), unit.bytes.data(), unit.size);
    newest_->overlays.push_back({unit.offset, std::move(copy), unit.size});
    return absl::OkStatus();
  }
  return newest_->file->Write(unit.offset, base::Bytes(unit.bytes.bytes()).first(unit.size), io::Flush::kNone);
}

// Makes the units taken so far durable, as a later segment and every later watermark will say they are. What no
// watermark vouches for may be in the system's cache only, marked clean by a flush that failed: a sync alone would then
// report success and write nothing. So the same bytes go to the same place again
// (docs/decisions/0003-recovery-rewrites.md).
absl::Status Recovery::MakeDurable() {
  if (options_.read_only || !walked_.contains(newest_->id)) return absl::OkStatus();
  const Position end{newest_->id, newest_->units_end.load()};
  uint64_t at = kFirstUnitOffset;
  if (vouched_.segment == newest_->id) at = std::max<uint64_t>(at, vouched_.offset);
  constexpr uint64_t kPieceBytes = uint64_t{1} << 20;
  base::AlignedBuffer piece(std::min(kPieceBytes, end.offset - std::min<uint64_t>(at, end.offset)));
  for (; at < end.offset; at += piece.size()) {
    const base::MutableBytes bytes = piece.bytes().first(std::min<uint64_t>(piece.size(), end.offset - at));
    FIRN_RETURN_IF_ERROR(newest_->file->Read(at, bytes));
    FIRN_RETURN_IF_ERROR(newest_->file->Write(at, bytes, io::Flush::kNone));
  }
  vouched_ = std::max(vouched_, end);
  return newest_->file->Sync();
}

// The segment that a killed process had moved on to without having written its first unit.
Recovery::SegmentPtr Recovery::NextInTail() const {
  for (const SegmentPtr& segment : candidates_) {
    if (segment->id <= newest_->id || segment->header.generation > 0) continue;
    const auto unit = tail_by_place_.find({segment->id, kFirstUnitOffset});
    if (unit == tail_by_place_.end() || unit->second->salt != segment->header.salt) continue;
    if (unit->second->first_revision == walked_revision_ + 1) return segment;
  }
  return nullptr;
}

// Takes units in order from `at` on, from disk or else from the tail buffers, until one is missing. With
// `previous` != 0 the first one must follow that revision.
absl::Status Recovery::WalkNewest(uint64_t at, uint64_t previous) {
  SegmentScanner scanner(*newest_);
  walked_.insert(newest_->id);
  for (;;) {
    const auto follows = [&](uint64_t first) { return previous == 0 || first == previous + 1; };
    const auto tail = tail_by_place_.find({newest_->id, static_cast<uint32_t>(at)});
    const bool tail_fits = tail != tail_by_place_.end() && tail->second->salt == newest_->header.salt &&
                           follows(tail->second->first_revision) &&
                           at + tail->second->size <= newest_->file->size_bytes();
    if (const auto unit = scanner.UnitAt(at); unit && follows(unit->header.first_revision)) {
      NoteUnit(*newest_, unit->payload, static_cast<uint32_t>(at + format::kUnitHeaderBytes));
      newest_->time_ms_max = std::max(newest_->time_ms_max, unit->header.time_ms);
      vouched_ = std::max(vouched_, unit->header.durable);
      previous = unit->header.last_revision;
      at += uint64_t{unit->header.blocks} * format::kBlockBytes;
    } else if (tail_fits) {
      const TailUnit& found = *tail->second;
      const base::Bytes bytes = base::Bytes(found.bytes.bytes()).first(found.size);
      const auto header = format::PeekUnit(bytes.first(format::kUnitHeaderBytes), newest_->seed, at);
      FIRN_CHECK(header.has_value());
      const base::Bytes payload = bytes.subspan(format::kUnitHeaderBytes, header->payload_bytes);
      if (options_.believe_tail_unit) {
        FIRN_ASSIGN_OR_RETURN(const bool believed, options_.believe_tail_unit(payload));
        if (!believed) break;
      }
      FIRN_RETURN_IF_ERROR(TakeTailUnit(found));
      NoteUnit(*newest_, payload, static_cast<uint32_t>(at + format::kUnitHeaderBytes));
      previous = found.last_revision;
      at += found.size;
    } else {
      // The log must not seem to end where it cannot be read.
      if (Stops(scanner.read_error())) return scanner.read_error();
      break;
    }
  }
  newest_->units_end.store(static_cast<uint32_t>(at));
  walked_revision_ = previous;
  Saw(previous);
  return absl::OkStatus();
}

// The first unit beyond the end of the log that says more than the end was durable when it was written.
absl::StatusOr<std::optional<Recovery::Witness>> Recovery::FindWitness() {
  const Position end{newest_->id, newest_->units_end.load()};
  for (const SegmentPtr& segment : candidates_) {
    if (segment->id < newest_->id || segment->header.generation > 0) continue;
    SegmentScanner scanner(*segment);
    const uint64_t limit = segment->file->size_bytes();
    uint64_t at = segment == newest_ ? end.offset : kFirstUnitOffset;
    torn_ = torn_ || scanner.HasUnitHead(at);
    while (const auto found = scanner.FindUnit(at, limit)) {
      const auto unit = scanner.UnitAt(*found);
      if (!unit) break;  // it could not be read again
      const format::UnitHeader& header = unit->header;
      torn_ = true;
      Saw(header.last_revision);
      if (header.durable > end) return std::optional<Witness>({segment, *found, header.first_revision});
      at = *found + uint64_t{header.blocks} * format::kBlockBytes;
    }
    if (!absl::IsDataLoss(scanner.read_error()) && Stops(scanner.read_error())) return scanner.read_error();
  }
  return std::optional<Witness>();
}

// What lies beyond the end of the log: nothing, a torn tail, or proof that acknowledged data is missing.
absl::Status Recovery::CheckBeyondEnd() {
  for (;;) {
    FIRN_ASSIGN_OR_RETURN(const std::optional<Witness> witness, FindWitness());
    if (!witness) break;
    const uint64_t end = newest_->units_end.load();
    FIRN_RETURN_IF_ERROR(Loss(newest_->file->name(), end,
                              "acknowledged data does not verify: " + At(*witness->segment, witness->offset) +
                                  " proves that more was durable. Lost, whole or in part: writes with revisions " +
                                  std::to_string(walked_revision_ + 1) + " to " +
                                  std::to_string(witness->first_revision - 1)));
    uint64_t from = end;
    if (witness->segment != newest_) {
      FIRN_RETURN_IF_ERROR(MakeDurable());
      GoOnIn(witness->segment);
      from = kFirstUnitOffset;
    }
    SalvageStretch(*newest_, from, witness->offset);
    FIRN_RETURN_IF_ERROR(WalkNewest(witness->offset, 0));
  }
  FIRN_RETURN_IF_ERROR(CheckCloseMark());
  if (torn_) {
    Say(EventKind::kTornTail,
        At(*newest_, newest_->units_end.load()) + ": the log ends here; unacknowledged bytes beyond were dropped");
  }
  return absl::OkStatus();
}

// After a clean close the newest segment is there up to where it ended.
absl::Status Recovery::CheckCloseMark() {
  const Position end{newest_->id, newest_->units_end.load()};
  if (!close_mark_ || end >= close_mark_->end) return absl::OkStatus();
  const Position marked = close_mark_->end;
  const auto file = std::find_if(candidates_.begin(), candidates_.end(),
                                 [&](const SegmentPtr& segment) { return segment->id == marked.segment; });
  const bool missing = file == candidates_.end(), begun = newest_->id == marked.segment;
  FIRN_RETURN_IF_ERROR(Loss(
      missing ? SegmentFileName(marked.segment) : (*file)->file->name(),
      missing ? 0
      : begun ? end.offset
              : kFirstUnitOffset,
      std::string(missing ? "the file is missing or its header does not verify" : "acknowledged data does not verify") +
          ": when the store was closed this was its newest segment, ending at offset " + std::to_string(marked.offset) +
          ". Lost, whole or in part: writes with revisions " + std::to_string(walked_revision_ + 1) + " to " +
          std::to_string(close_mark_->last_revision)));
  result_.clean = false;
  if (missing) {
    missing_ = true;
    return absl::OkStatus();
  }
  if (!begun) {
    FIRN_RETURN_IF_ERROR(MakeDurable());
    GoOnIn(*file);
  }
  walked_.insert(newest_->id);
  const uint64_t from = begun ? end.offset : kFirstUnitOffset;
  const uint64_t file_bytes = base::RoundDown(newest_->file->size_bytes(), format::kBlockBytes);
  const uint64_t to = std::min<uint64_t>(marked.offset, file_bytes);
  const bool saved = from < to && SalvageStretch(*newest_, from, to) != 0;
  newest_->units_end.store(static_cast<uint32_t>(saved ? to : from));
  vouched_ = std::max(vouched_, {newest_->id, newest_->units_end.load()});
  return absl::OkStatus();
}

// What is left of a segment that is newer than the newest is taken as that. Its own list of live segments may be lost.
void Recovery::GoOnIn(const SegmentPtr& segment) {
  const SegmentPtr before = std::exchange(newest_, segment);
  newest_footer_.reset();
  newest_->live_ids = before->live_ids;
  auto& listed = newest_->live_ids.segments;  // a relocation segment's id may be above that of the segment it is in
  std::erase_if(listed, [&](const auto& s) { return s.id == before->id; });  // only a forged list has itself
  const auto at = std::find_if(listed.begin(), listed.end(), [&](const auto& s) { return s.id > before->id; });
  listed.insert(at, {before->id, before->units_end.load()});
  newest_->retired = before->retired;
  newest_->adopted = before->adopted;
}

// The newest segment is lost, and with it, it may be, the record that adopted copies which reclaim had made since, and
// that which retired the originals. Copies are whole, footer included, before they are adopted.
void Recovery::AdoptInDoubt() {
  for (const SegmentPtr& segment : candidates_) {
    if (segment->header.generation == 0 || segment->id <= newest_->id) continue;
    const auto footer = LoadFooter(*segment);
    if (!footer) continue;
    newest_->adopted.push_back({segment->id, footer->summary().units_end});
    Say(EventKind::kDamageFound,
        At(*segment, 0) + ": taken as part of the store, though the record that says so may be lost");
  }
}

size_t Recovery::SalvageStretch(Segment& segment, uint64_t from, uint64_t to) {
  base::AlignedBuffer memory;
  size_t saved = 0;
  for (const auto& [offset, record] : SalvageRecords(segment, from, to, memory)) {
    NoteUnit(segment, record, offset);
    ++saved;
  }
  Say(EventKind::kDamageFound, At(segment, from) + ": salvaged " + std::to_string(saved) + " records of " +
                                   std::to_string(to - from) + " damaged bytes");
  return saved;
}

// Counters go on from what was seen. No store comes near their ends: they were forged, and going on would start again
// from zero.
absl::Status Recovery::CheckCounters() const {
  constexpr uint64_t kRevisionMax = uint64_t{1} << 63;
  constexpr SegmentId kSegmentMax = SegmentId{1} << 31;
  if (result_.last_revision <= kRevisionMax && result_.last_segment <= kSegmentMax) return absl::OkStatus();
  return base::DataLoss(std::string(disk_.path()) + ": revision " + std::to_string(result_.last_revision) +
                        " or segment " + std::to_string(result_.last_segment) +
                        " is beyond what any store reaches; its files were not written by one");
}

absl::StatusOr<RecoveredLog> Recovery::Run(bool fresh) {
  Saw(superblock_.revision_floor);
  FIRN_RETURN_IF_ERROR(OpenFiles());
  FIRN_RETURN_IF_ERROR(LoadTail());
  FIRN_RETURN_IF_ERROR(FindNewest(fresh));
  if (newest_ == nullptr) {
    TakeSpares();
    FIRN_RETURN_IF_ERROR(CheckCounters());
    return std::move(result_);
  }
  if (newest_footer_) {
    const format::FooterSummary& summary = newest_footer_->summary();
    newest_->units_end.store(summary.units_end);
    newest_->live_ids = summary.live_ids;
    newest_->retired = summary.retired;
    newest_->adopted = summary.adopted;
    newest_->last_revision = summary.last_revision;
    walked_revision_ = summary.last_revision;
  } else {
    FIRN_RETURN_IF_ERROR(WalkNewest(kFirstUnitOffset, 0));
  }
  while (const SegmentPtr next = NextInTail()) {
    // As when the log was written: a segment's first unit vouches for all before it.
    FIRN_RETURN_IF_ERROR(MakeDurable());
    const SegmentPtr before = std::exchange(newest_, next);
    FIRN_RETURN_IF_ERROR(WalkNewest(kFirstUnitOffset, walked_revision_));
    if (next->units_end.load() > kFirstUnitOffset) continue;
    // Its first unit is not believed. With it goes the list of what lives: the log ends in the segment before.
    walked_.erase(next->id);
    newest_ = before;
    break;
  }
  FIRN_RETURN_IF_ERROR(CheckBeyondEnd());
  FIRN_RETURN_IF_ERROR(CheckUnreadable());
  FIRN_RETURN_IF_ERROR(MakeDurable());
  // A newer segment without a unit: its first writes may have been promised revisions, and are gone.
  for (const SegmentPtr& segment : candidates_) {
    if (segment->header.generation == 0 && segment->id > newest_->id) result_.clean = false;
  }
  if (walked_.contains(newest_->id)) {
    result_.clean = false;
    result_.cuts.push_back({newest_->id, newest_->units_end.load()});
  }
  result_.closed = close_mark_ && close_mark_->end == Position{newest_->id, newest_->units_end.load()};
  result_.next_namespace_id = newest_->live_ids.next_namespace_id;
  if (options_.salvage && missing_) AdoptInDoubt();
  FIRN_RETURN_IF_ERROR(LoadLive());
  TakeSpares();
  FIRN_RETURN_IF_ERROR(CheckCounters());
  if (!result_.clean) {
    Say(EventKind::kRecovered, "opened after a crash: " + std::to_string(result_.segments.size()) +
                                   " segments, the log ends in " + At(*newest_, newest_->units_end.load()));
  }
  return std::move(result_);
}

absl::StatusOr<RecoveredLog> RecoverLog(io::Disk& disk, const format::Superblock& superblock, bool fresh,
                                        const RecoveryOptions& options) {
  return Recovery(disk, superblock, options).Run(fresh);
}

}  // namespace firn::log
