// Looking at each file in log/ by itself: what it is, what it verifies with, and what it says of others.
#include "log/salvage_steps.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>

#include "base/aligned_buffer.h"
#include "format/block.h"
#include "format/unit.h"
#include "log/segment_scan.h"
#include "log/stretch.h"

namespace firn::log {
namespace {

using format::Salt;

constexpr uint64_t kBlock = format::kBlockBytes;

// Bytes that are not there, of a segment of which only the tail buffers have something.
struct OwnCounters {
  io::Counters own_counters;
};
class NoFile final : private OwnCounters, public io::File {
 public:
  explicit NoFile(std::string name) : File(std::move(name), own_counters) {}
  uint64_t size_bytes() const override { return 0; }
  absl::StatusOr<uint64_t> AllocatedBytes() override { return 0; }
  absl::StatusOr<uint64_t> Links() override { return 1; }

 private:
  static absl::Status Refuse() { return base::FailedPrecondition("there is no such file"); }
  absl::Status DoRead(uint64_t, base::MutableBytes) override { return Refuse(); }
  absl::Status DoWrite(uint64_t, base::Bytes, io::Flush) override { return Refuse(); }
  absl::Status DoSync() override { return Refuse(); }
  absl::Status DoAllocate(uint64_t, uint64_t) override { return Refuse(); }
  absl::Status DoTruncate(uint64_t) override { return Refuse(); }
  absl::Status DoPunchHole(uint64_t, uint64_t) override { return Refuse(); }
};

// As opposed to what keeps one from looking, which a user may change.
bool IsGone(const absl::Status& opened) { return absl::IsNotFound(opened) || absl::IsDataLoss(opened); }

}  // namespace

SegmentId IdOfSegmentFile(const std::string& name) {
  return static_cast<SegmentId>(std::strtoul(name.c_str() + kLogFolder.size() + 1, nullptr, 10));
}

absl::StatusOr<std::vector<std::string>> SegmentFilesIn(io::Disk& disk) {
  std::vector<std::string> files;
  const auto names = disk.List(kLogFolder);
  if (IsGone(names.status())) return files;
  if (!names.ok()) return names.status();
  for (const std::string& name : *names) {
    if (name.ends_with(".seg")) files.push_back(std::string(kLogFolder) + "/" + name);
  }
  std::sort(files.begin(), files.end());
  return files;
}

// As much of TAIL as can be read, zeros for the rest.
absl::Status LogSalvage::LoadTail() {
  const auto file = disk_.Open(kTailFile, io::OpenMode::kRead);
  if (IsGone(file.status())) {
    tail_damage_ = absl::IsNotFound(file.status()) ? "it is missing" : "it cannot be read";
    return absl::OkStatus();
  }
  if (!file.ok()) return file.status();
  tail_bytes_ = (*file)->size_bytes();
  if (tail_bytes_ != kTailFileBytes) {
    tail_damage_ = "it has " + std::to_string(tail_bytes_) + " bytes, not " + std::to_string(kTailFileBytes);
  }
  base::AlignedBuffer tail(kTailFileBytes);
  std::memset(tail.data(), 0, tail.size());
  const uint64_t there = base::RoundDown(std::min(tail_bytes_, kTailFileBytes), kBlock);
  for (uint64_t at = 0; at < there; at += kBlock) {
    const base::MutableBytes block = tail.bytes().subspan(at, kBlock);
    if ((*file)->Read(at, block).ok()) continue;
    std::memset(block.data(), 0, block.size());
    tail_damage_ = "not all of it can be read";
  }
  const base::Bytes bytes = base::Bytes(tail.bytes()).first(kTailFileBytes);
  tail_units_ = FindTailUnits(bytes, superblock_.secret);
  close_mark_ = FindCloseMark(bytes, superblock_.secret);
  if (close_mark_) Saw(close_mark_->last_revision);
  if (HasDamagedDescriptor(bytes, superblock_.secret)) tail_damage_ = "its buffers' descriptors do not verify";
  return absl::OkStatus();
}

// The salt that something in the file verifies with.
std::optional<Salt> LogSalvage::FindSalt(io::File& file, base::Bytes header,
                                         const std::optional<format::TrailerIdentity>& trailer) {
  std::vector<Salt> salts{format::UncheckedSegmentHeader(header).salt};
  if (trailer) salts.push_back(trailer->salt);
  for (const TailUnit& unit : tail_units_) salts.push_back(unit.salt);
  const Salt stands = salts[0];
  for (size_t bit = 0; bit < stands.size() * 8; ++bit) {
    salts.push_back(stands);
    salts.back()[bit / 8] ^= static_cast<std::byte>(1 << bit % 8);
  }
  std::vector<format::ChecksumSeed> seeds;
  seeds.reserve(salts.size());
  for (const Salt& salt : salts) seeds.emplace_back(superblock_.secret, salt);
  const uint64_t file_bytes = file.size_bytes();
  if (trailer) {
    base::AlignedBuffer block(kBlock);
    if (file.Read(file_bytes - kBlock, block.bytes()).ok()) {
      for (size_t i = 0; i < salts.size(); ++i) {
        const base::Bytes end = base::Bytes(block.bytes()).last(format::kTrailerBytes);
        if (format::DecodeTrailer(end, seeds[i], file_bytes)) return salts[i];
      }
    }
  }
  constexpr uint64_t kPieceBytes = uint64_t{1} << 20;
  base::AlignedBuffer piece(kPieceBytes);
  const uint64_t end = AddressableBytes(file);
  for (uint64_t at = kFirstUnitOffset; at < end; at += kPieceBytes) {
    const base::MutableBytes bytes = piece.bytes().first(std::min(kPieceBytes, end - at));
    ReadPast(file, at, bytes);
    for (uint64_t block = 0; block < bytes.size(); block += kBlock) {
      for (size_t i = 0; i < salts.size(); ++i) {
        const base::Bytes head = base::Bytes(bytes).subspan(block, format::kUnitHeaderBytes);
        if (format::PeekUnit(head, seeds[i], at + block)) return salts[i];
      }
    }
  }
  return std::nullopt;
}

absl::Status LogSalvage::OpenFile(const std::string& name) {
  auto opened = disk_.Open(name, io::OpenMode::kRead);
  if (!opened.ok()) {
    if (!absl::IsDataLoss(opened.status())) return opened.status();
    unreadable_.push_back(name);
    return absl::OkStatus();
  }
  io::File& file = **opened;
  const uint64_t file_bytes = file.size_bytes();
  base::AlignedBuffer block(kBlock);
  if (file_bytes >= kBlock) {
    ReadPast(file, 0, block.bytes());
  } else {
    std::memset(block.data(), 0, kBlock);
  }
  auto segment = std::make_shared<Segment>();
  const auto header = format::DecodeSegmentHeader(block.bytes(), superblock_.secret, superblock_.uuid);
  if (absl::IsFailedPrecondition(header.status())) return header.status();
  if (header.ok()) {
    segment->header = *header;
    segment->id = header->segment;
  } else {
    std::optional<format::TrailerIdentity> trailer;
    if (file_bytes >= 2 * kBlock && file_bytes % kBlock == 0) {
      base::AlignedBuffer end(kBlock);
      ReadPast(file, file_bytes - kBlock, end.bytes());
      trailer = format::PeekTrailer(base::Bytes(end.bytes()).last(format::kTrailerBytes));
    }
    const auto salt = FindSalt(file, block.bytes(), trailer);
    if (!salt || (!trailer && IdOfSegmentFile(name) == format::kNoSegment)) {
      // A block of zeros and nothing behind it is a file that never was a segment, or one that was wiped.
      unreadable_.push_back(name);
      return absl::OkStatus();
    }
    segment->header = format::UncheckedSegmentHeader(block.bytes());
    segment->header.salt = *salt;
    segment->header.first_revision = 1;
    segment->id = trailer && trailer->salt == *salt ? trailer->segment : IdOfSegmentFile(name);
    for (const TailUnit& unit : tail_units_) {
      if (unit.salt == *salt) segment->id = unit.segment;
    }
    segment->header.segment = segment->id;
    Note(name + " at offset 0: the segment's header does not verify; what is needed of it was had from elsewhere");
  }
  segment->seed = format::ChecksumSeed(superblock_.secret, segment->header.salt);
  segment->file = *std::move(opened);
  TakeTailUnits(*segment);
  candidates_.push_back({.segment = std::move(segment), .footer = {}, .says = {}, .header_verifies = header.ok()});
  return absl::OkStatus();
}

// Units that a killed process had not written yet, or that are damaged where they were written.
void LogSalvage::TakeTailUnits(Segment& segment) {
  for (const TailUnit& unit : tail_units_) {
    if (unit.salt != segment.header.salt) continue;
    if (SegmentScanner(segment).UnitAt(unit.offset)) continue;
    base::AlignedBuffer copy(unit.size);
    std::memcpy(copy.data(), unit.bytes.data(), unit.size);
    segment.overlays.push_back({unit.offset, std::move(copy), unit.size});
  }
}

void LogSalvage::AddFilelessSegments() {
  for (const TailUnit& unit : tail_units_) {
    const bool known = std::any_of(candidates_.begin(), candidates_.end(),
                                   [&](const Candidate& c) { return c.segment->header.salt == unit.salt; });
    if (known) continue;
    auto segment = std::make_shared<Segment>();
    segment->id = segment->header.segment = unit.segment;
    segment->header.salt = unit.salt;
    segment->header.first_revision = 1;
    segment->seed = format::ChecksumSeed(superblock_.secret, unit.salt);
    segment->file = std::make_unique<NoFile>(SegmentFileName(unit.segment));
    TakeTailUnits(*segment);
    candidates_.push_back({.segment = std::move(segment), .footer = {}, .says = {}});
  }
}

// Whether the segment is one of copies that reclaim made: they are marked, and nothing else is with them.
bool LogSalvage::HoldsCopies(Candidate& candidate) {
  std::optional<bool> relocated;
  const auto look = [&](uint8_t flags) {
    if (!relocated) relocated = (flags & format::record_flags::kRelocated) != 0;
  };
  if (candidate.footer) {
    format::DirectoryEntry entry;
    if (candidate.footer->Next(entry)) look(entry.flags);
    candidate.footer->Rewind();
  } else {
    ForEachFoundRecord(*candidate.segment, kFirstUnitOffset, EndOf(*candidate.segment),
                       [&](const format::Record& record) { look(record.flags); });
  }
  return relocated.value_or(false);
}

// What the segment says of others, from its footer or from whatever of its units and records verifies.
void LogSalvage::Listen(Candidate& candidate) {
  Segment& segment = *candidate.segment;
  candidate.footer = LoadFooter(segment);
  Says& says = candidate.says;
  SegmentScanner scanner(segment);
  if (const auto first = scanner.UnitAt(kFirstUnitOffset)) {
    candidate.has_units = true;
    says.first_time_ms = first->header.time_ms;
  }
  // A header that does not verify may be wrong about it.
  if (!candidate.header_verifies) segment.header.generation = HoldsCopies(candidate) ? 1 : 0;
  if (candidate.footer) {
    const format::FooterSummary& summary = candidate.footer->summary();
    candidate.has_units = true;
    says.has_live_ids = segment.header.generation == 0;
    says.live_ids = summary.live_ids;
    says.retired = summary.retired;
    says.adopted = summary.adopted;
    Saw(summary.last_revision);
    return;
  }
  if (segment.header.generation > 0 && candidate.has_units) return;
  ForEachFoundRecord(segment, kFirstUnitOffset, EndOf(segment), [&](const format::Record& record) {
    candidate.has_units = true;
    Saw(record.revision);
    switch (record.type) {
      case format::RecordType::kLiveIds:
        if (auto live = format::DecodeLiveIds(record.value)) {
          says.has_live_ids = true;
          says.live_ids = *std::move(live);
        }
        break;
      case format::RecordType::kRetire:
        for (SegmentId id : format::DecodeRetireList(record.value).value_or(std::vector<SegmentId>{})) {
          says.retired.push_back(id);
        }
        break;
      case format::RecordType::kAdopt:
        for (Position end : format::DecodeAdoptList(record.value).value_or(std::vector<Position>{})) {
          says.adopted.push_back(end);
        }
        break;
      default:
        break;
    }
  });
}

absl::StatusOr<format::Superblock> SuperblockFromSegments(io::Disk& disk) {
  std::vector<std::pair<format::Superblock, size_t>> found;
  base::AlignedBuffer block(kBlock);
  FIRN_ASSIGN_OR_RETURN(const std::vector<std::string> files, SegmentFilesIn(disk));
  for (const std::string& name : files) {
    const auto file = disk.Open(name, io::OpenMode::kRead);
    if (!file.ok() && !IsGone(file.status())) return file.status();
    if (!file.ok() || (*file)->size_bytes() < kBlock) continue;
    ReadPast(**file, 0, block.bytes());
    const auto superblock = format::SuperblockInHeader(block.bytes());
    if (!superblock) continue;
    const auto same = std::find_if(found.begin(), found.end(), [&](const auto& f) { return f.first == *superblock; });
    if (same != found.end()) {
      ++same->second;
    } else {
      found.emplace_back(*superblock, 1);
    }
  }
  if (found.empty()) return base::NotFound("no segment's header has a copy of the superblock that verifies");
  return std::max_element(found.begin(), found.end(), [](const auto& a, const auto& b) { return a.second < b.second; })
      ->first;
}

}  // namespace firn::log
