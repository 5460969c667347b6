#include "log/stretch.h"

#include <algorithm>
#include <cstring>
#include <optional>

#include "format/block.h"
#include "format/unit.h"
#include "log/segment_scan.h"

namespace firn::log {
namespace {

constexpr uint64_t kBlock = format::kBlockBytes;

// Looks for records in one part of a stretch: the payload of a unit whose header verifies, or blocks in which none
// does.
class PartReader {
 public:
  PartReader(const Segment& segment, Stretch& stretch, uint64_t from)
      : segment_(segment), stretch_(stretch), from_(from) {}

  // `begins`: the first record of a unit is at `at`.
  void Read(uint64_t at, uint64_t end, bool begins) {
    uint64_t gap = at;  // where it began, if this is one
    for (bool in_gap = !begins; at < end;) {
      const auto record = format::DecodeRecord(Bytes(at, end), segment_.seed, at);
      if (!record) {
        if (!in_gap) gap = at;
        in_gap = true;
        ++at;
        continue;
      }
      // The records of a unit begin right after its header.
      const bool after_head = at % kBlock == format::kUnitHeaderBytes && at - gap <= format::kUnitHeaderBytes;
      if (in_gap) Close(gap, at, after_head);
      Take(record->record, at, record->size_bytes, !in_gap || after_head);
      in_gap = false;
      at += record->size_bytes;
      gap = at;
      begins = false;
    }
    if (gap < end) Close(gap, end, false);
    if (goes_on_) stretch_.incomplete_batches.push_back(revision_);
  }

 private:
  base::Bytes Bytes(uint64_t at, uint64_t end) const {
    return base::Bytes(stretch_.memory.bytes()).subspan(at - from_, end - at);
  }

  void Take(const format::Record& record, uint64_t at, uint64_t size_bytes, bool follows) {
    const bool same_batch = follows && goes_on_ && record.revision == revision_;
    const bool was_cut = goes_on_ && !same_batch;
    if (was_cut) stretch_.incomplete_batches.push_back(revision_);
    goes_on_ = (record.flags & format::record_flags::kInBatch) != 0;
    // What was lost before it may have been of the same batch; one that is no batch's beginning surely had more.
    if (!follows && (goes_on_ || record.revision == revision_)) stretch_.incomplete_batches.push_back(record.revision);
    revision_ = record.revision;
    stretch_.records.push_back({static_cast<uint32_t>(at), Bytes(at, at + size_bytes)});
    stretch_.records_end = at + size_bytes;
  }

  // Padding is zeros up to the end of a block, behind a record.
  void Close(uint64_t begin, uint64_t end, bool is_head) {
    if (begin >= end || is_head) return;
    // A unit begins where the stretch does.
    if (begin == from_ && end - begin > format::kUnitHeaderBytes) begin += format::kUnitHeaderBytes;
    const bool behind_record = !stretch_.records.empty() && stretch_.records_end == begin;
    const uint64_t padding_end = base::RoundUp(begin, kBlock);
    if (behind_record && padding_end <= end && format::IsZero(Bytes(begin, padding_end))) begin = padding_end;
    if (begin < end) stretch_.gaps.emplace_back(begin, end);
  }

  const Segment& segment_;
  Stretch& stretch_;
  const uint64_t from_;
  uint64_t revision_ = 0;
  bool goes_on_ = false;
};

void ReadBlocks(const Segment& segment, uint64_t from, base::MutableBytes out) {
  for (uint64_t at = 0; at < out.size(); at += kBlock) {
    const base::MutableBytes block = out.subspan(at, kBlock);
    if (!ReadSegmentBytes(segment, from + at, block).ok()) std::memset(block.data(), 0, block.size());
  }
}

}  // namespace

Stretch ReadStretch(const Segment& segment, uint64_t from, uint64_t to) {
  Stretch stretch;
  stretch.memory = base::AlignedBuffer(std::max(to - from, kBlock));
  ReadBlocks(segment, from, stretch.memory.bytes().first(to - from));
  const base::Bytes bytes = base::Bytes(stretch.memory.bytes()).first(to - from);
  const auto head_at = [&](uint64_t at) {
    return format::PeekUnit(bytes.subspan(at - from, format::kUnitHeaderBytes), segment.seed, at);
  };
  for (uint64_t at = from; at < to;) {
    PartReader part(segment, stretch, from);
    if (const auto head = head_at(at)) {
      stretch.has_head = true;
      const uint64_t payload_at = at + format::kUnitHeaderBytes;
      part.Read(payload_at, std::min(to, payload_at + head->payload_bytes), /*begins=*/true);
      at = std::min(to, at + uint64_t{head->blocks} * kBlock);
      continue;
    }
    uint64_t end = at + kBlock;
    while (end < to && !head_at(end)) end += kBlock;
    part.Read(at, end, /*begins=*/false);
    at = end;
  }
  return stretch;
}

void ForEachFoundRecord(const Segment& segment, uint64_t from, uint64_t to,
                        const std::function<void(const format::Record&)>& visit) {
  SegmentScanner scanner(segment);
  for (uint64_t at = from; at < to;) {
    if (const auto unit = scanner.UnitAt(at)) {
      for (size_t done = 0; done < unit->payload.size();) {
        const auto record = format::ParseRecord(unit->payload.subspan(done));
        if (!record) break;
        visit(record->record);
        done += record->size_bytes;
      }
      at += uint64_t{unit->header.blocks} * kBlock;
      continue;
    }
    const uint64_t next = scanner.FindUnit(at + kBlock, to).value_or(to);
    const Stretch stretch = ReadStretch(segment, at, next);
    for (const FoundRecord& found : stretch.records) visit(format::ParseRecord(found.bytes)->record);
    at = next;
  }
}

uint64_t AddressableBytes(const io::File& file) {
  return std::min(base::RoundDown(file.size_bytes(), kBlock), uint64_t{UINT32_MAX} - kBlock + 1);
}

uint64_t EndOf(const Segment& segment) {
  constexpr uint64_t kPieceBytes = uint64_t{1} << 20;
  uint64_t end = AddressableBytes(*segment.file), zeros_from = end;
  base::AlignedBuffer piece(end <= kZerosKeptBytes ? 0 : kPieceBytes);
  while (zeros_from > kZerosKeptBytes) {
    const uint64_t begin = base::RoundDown(zeros_from - 1, kPieceBytes);
    const base::MutableBytes bytes = piece.bytes().first(zeros_from - begin);
    if (!segment.file->Read(begin, bytes).ok() || !format::IsZero(bytes)) break;
    zeros_from = begin;
  }
  end = std::min(end, zeros_from + kZerosKeptBytes);
  for (const Segment::Overlay& overlay : segment.overlays) end = std::max(end, overlay.offset + overlay.size);
  return end;
}

void ReadPast(io::File& file, uint64_t offset, base::MutableBytes out) {
  if (file.Read(offset, out).ok()) return;
  for (uint64_t at = 0; at < out.size(); at += kBlock) {
    const base::MutableBytes block = out.subspan(at, kBlock);
    if (!file.Read(offset + at, block).ok()) std::memset(block.data(), 0, block.size());
  }
}

bool IsEmptyBehindHeader(io::File& file) {
  constexpr uint64_t kPieceBytes = uint64_t{1} << 20;
  base::AlignedBuffer piece(kPieceBytes);
  const uint64_t file_bytes = AddressableBytes(file);
  for (uint64_t at = kFirstUnitOffset; at < file_bytes; at += kPieceBytes) {
    const base::MutableBytes bytes = piece.bytes().first(std::min(kPieceBytes, file_bytes - at));
    if (!file.Read(at, bytes).ok() || !format::IsZero(bytes)) return false;
  }
  return true;
}

}  // namespace firn::log
