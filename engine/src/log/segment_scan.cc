#include "log/segment_scan.h"

#include <algorithm>
#include <cstring>
#include <string>

#include "base/check.h"
#include "format/block.h"
#include "format/record.h"

namespace firn::log {
namespace {

// One read of this much at a file's end holds the trailer and, in most segments, the whole footer.
constexpr uint64_t kFooterReadBytes = uint64_t{64} << 10;

}  // namespace

base::Bytes SegmentScanner::Window(uint64_t offset, uint64_t size) {
  for (const Segment::Overlay& overlay : segment_.overlays) {
    if (offset < overlay.offset || offset + size > overlay.offset + overlay.size) continue;
    return base::Bytes(overlay.bytes.bytes()).subspan(offset - overlay.offset, size);
  }
  const uint64_t file_bytes = base::RoundDown(segment_.file->size_bytes(), format::kBlockBytes);
  if (offset + size > file_bytes) return {};
  if (offset < window_offset_ || offset + size > window_offset_ + window_size_) {
    const uint64_t wanted = std::min(std::max(size, read_ahead_bytes_), file_bytes - offset);
    if (window_.size() < wanted) window_ = base::AlignedBuffer(wanted);
    window_size_ = 0;
    if (absl::Status status = segment_.file->Read(offset, window_.bytes().first(wanted)); !status.ok()) {
      // What was read ahead does not matter; what was asked for does.
      if (size == wanted || !segment_.file->Read(offset, window_.bytes().first(size)).ok()) {
        read_error_ = status;
        return {};
      }
      window_size_ = size;
    } else {
      window_size_ = wanted;
    }
    window_offset_ = offset;
  }
  return base::Bytes(window_.bytes()).subspan(offset - window_offset_, size);
}

std::optional<SegmentScanner::FoundUnit> SegmentScanner::UnitAt(uint64_t offset) {
  const base::Bytes block = Window(offset, format::kBlockBytes);
  if (block.empty()) return std::nullopt;
  const auto head = format::PeekUnit(block.first(format::kUnitHeaderBytes), segment_.seed, offset);
  if (!head) return std::nullopt;
  const base::Bytes unit = Window(offset, uint64_t{head->blocks} * format::kBlockBytes);
  if (unit.empty()) return std::nullopt;
  const auto verified = format::VerifyUnit(unit, segment_.seed, offset);
  if (!verified) return std::nullopt;
  const base::Bytes payload = unit.subspan(format::kUnitHeaderBytes, verified->payload_bytes);
  if (!HoldsOperations(payload)) return std::nullopt;
  return FoundUnit{*verified, payload};
}

std::optional<uint64_t> SegmentScanner::FindUnit(uint64_t offset, uint64_t limit) {
  for (uint64_t at = offset; at + format::kBlockBytes <= limit; at += format::kBlockBytes) {
    if (UnitAt(at)) return at;
  }
  return std::nullopt;
}

bool SegmentScanner::HasUnitHead(uint64_t offset) {
  const base::Bytes block = Window(offset, format::kBlockBytes);
  return !block.empty() && format::PeekUnit(block.first(format::kUnitHeaderBytes), segment_.seed, offset).has_value();
}

std::optional<format::FooterReader> LoadFooter(const Segment& segment, const format::FooterReader::Visitor& visit) {
  const uint64_t file_bytes = segment.file->size_bytes();
  if (file_bytes < 2 * format::kBlockBytes || file_bytes % format::kBlockBytes != 0) return std::nullopt;
  base::AlignedBuffer end(std::min(kFooterReadBytes, file_bytes));
  if (!segment.file->Read(file_bytes - end.size(), end.bytes()).ok()) return std::nullopt;
  const auto trailer =
      format::DecodeTrailer(base::Bytes(end.bytes()).last(format::kTrailerBytes), segment.seed, file_bytes);
  if (!trailer || uint64_t{trailer->footer_offset} + trailer->footer_bytes != file_bytes) return std::nullopt;
  std::string bytes;
  if (trailer->footer_bytes <= end.size()) {
    bytes = base::AsText(base::Bytes(end.bytes()).last(trailer->footer_bytes));
  } else {
    base::AlignedBuffer whole(trailer->footer_bytes);
    if (!segment.file->Read(trailer->footer_offset, whole.bytes().first(trailer->footer_bytes)).ok())
      return std::nullopt;
    bytes = base::AsText(base::Bytes(whole.bytes()).first(trailer->footer_bytes));
  }
  return format::FooterReader::Open(std::move(bytes), *trailer, segment.seed, segment.id, visit);
}

absl::StatusOr<format::FooterReader> ScanDirectory(const Segment& segment) {
  const uint32_t end = segment.units_end.load(std::memory_order_relaxed);
  Segment scanned;
  scanned.id = segment.id;
  scanned.header = segment.header;
  scanned.seed = segment.seed;
  scanned.units_end.store(end, std::memory_order_relaxed);
  SegmentScanner scanner(segment);
  for (uint64_t at = kFirstUnitOffset; at < end;) {
    const auto unit = scanner.UnitAt(at);
    if (!unit || uint64_t{unit->header.blocks} * format::kBlockBytes > end - at) {
      if (!scanner.read_error().ok()) return scanner.read_error();
      return base::DataLoss(segment.file->name() + " at offset " + std::to_string(at) +
                            ": neither the footer nor this unit verifies");
    }
    NoteUnit(scanned, unit->payload, static_cast<uint32_t>(at + format::kUnitHeaderBytes));
    scanned.time_ms_max = std::max(scanned.time_ms_max, unit->header.time_ms);
    at += uint64_t{unit->header.blocks} * format::kBlockBytes;
  }
  std::string footer = FinishFooter(scanned);
  const auto footer_bytes = static_cast<uint32_t>(footer.size());
  auto directory = format::FooterReader::Open(std::move(footer), {end, footer_bytes, uint64_t{end} + footer_bytes},
                                              segment.seed, segment.id);
  FIRN_CHECK(directory.has_value());
  return *std::move(directory);
}

namespace {

// Takes the records of one unit that verify, in operations that are there whole. Damaged ones between them may have
// belonged to any operation. The fresh log gives each operation, in order, the next revision; relocation segments have
// no batches.
class UnitSalvage {
 public:
  // `begins`: a unit is known to begin here. `before`: the revision before its first, if known too.
  UnitSalvage(const Segment& segment, SalvagedRecords& saved, bool begins, std::optional<uint64_t> before)
      : segment_(segment), saved_(saved), batches_(segment.header.generation == 0), begins_(begins), last_(before) {}

  // Reads records from the front of `bytes`, whose place is `at`, for as long as they say how long they are. Returns
  // where the last one that verifies ends: from there on nothing is sure.
  uint64_t Take(base::Bytes bytes, uint64_t at) {
    uint64_t verified_end = at;
    while (!bytes.empty()) {
      const auto checked = format::DecodeRecord(bytes, segment_.seed, at);
      const auto parsed = checked ? checked : format::ParseRecord(bytes);
      if (!parsed) break;
      if (checked) {
        TakeRecord(checked->record, static_cast<uint32_t>(at), bytes.first(checked->size_bytes));
        verified_end = at + checked->size_bytes;
      } else {
        ++damaged_;
      }
      bytes = bytes.subspan(parsed->size_bytes);
      at += parsed->size_bytes;
    }
    return verified_end;
  }

 private:
  void TakeRecord(const format::Record& record, uint32_t at, base::Bytes bytes) {
    if (damaged_ != 0 || !goes_on_) {
      whole_ = !batches_ || BeginsOperation(record.revision);
      operation_.clear();
    }
    damaged_ = 0;
    begins_ = true;
    last_ = record.revision;
    goes_on_ = (record.flags & format::record_flags::kInBatch) != 0;
    operation_.emplace_back(at, bytes);
    if (!goes_on_ && whole_) saved_.insert(saved_.end(), operation_.begin(), operation_.end());
  }

  // Whether none of the damaged records before can belong to the operation that has this revision: each of them then
  // has a revision of its own that is missing, or ends the operation before.
  bool BeginsOperation(uint64_t revision) const {
    if (damaged_ == 0) return begins_;
    return last_ && revision > *last_ && damaged_ == revision - *last_ - 1 + (goes_on_ ? 1 : 0);
  }

  const Segment& segment_;
  SalvagedRecords& saved_;
  const bool batches_;
  bool begins_;
  std::optional<uint64_t> last_;  // revision of the last record that verified
  bool goes_on_ = false;          // and its operation has more
  bool whole_ = false;            // the operation under way, so far
  uint64_t damaged_ = 0;          // since the last record that verified
  SalvagedRecords operation_;
};

}  // namespace

SalvagedRecords SalvageRecords(const Segment& segment, uint64_t from, uint64_t to, base::AlignedBuffer& memory) {
  to = base::RoundDown(to, format::kBlockBytes);
  memory = base::AlignedBuffer(to - from);
  for (uint64_t at = from; at < to; at += format::kBlockBytes) {
    base::MutableBytes block = memory.bytes().subspan(at - from, format::kBlockBytes);
    if (!segment.file->Read(at, block).ok()) std::memset(block.data(), 0, block.size());
  }
  SalvagedRecords saved;
  bool begins = true;  // a unit, at `at`
  for (uint64_t at = from; at < to;) {
    const base::Bytes unit = base::Bytes(memory.bytes()).subspan(at - from, to - at);
    const uint64_t payload_at = at + format::kUnitHeaderBytes;
    base::Bytes payload = unit.subspan(format::kUnitHeaderBytes);
    if (const auto head = format::PeekUnit(unit, segment.seed, at)) {
      payload = payload.first(std::min<uint64_t>(payload.size(), head->payload_bytes));
      UnitSalvage(segment, saved, /*begins=*/true, head->first_revision - 1).Take(payload, payload_at);
      at += uint64_t{head->blocks} * format::kBlockBytes;
      begins = true;
      continue;
    }
    uint64_t end = payload_at;
    if (begins || format::DecodeRecord(payload, segment.seed, payload_at)) {
      end = UnitSalvage(segment, saved, begins, std::nullopt).Take(payload, payload_at);
    }
    const uint64_t next = base::RoundUp(end, format::kBlockBytes);
    begins = end > payload_at && format::IsZero(unit.subspan(end - at, next - end));
    at = next;
  }
  return saved;
}

}  // namespace firn::log
