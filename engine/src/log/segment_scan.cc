#include "log/segment_scan.h"

#include <algorithm>
#include <cstring>
#include <string>

#include "format/record.h"

namespace firn::log {
namespace {

constexpr uint64_t kReadAheadBytes = uint64_t{1} << 20;
// One read of this much at a file's end holds the trailer and, in most segments, the whole footer.
constexpr uint64_t kFooterReadBytes = 64 * 1024;

}  // namespace

base::Bytes SegmentScanner::Window(uint64_t offset, uint64_t size) {
  for (const Segment::Overlay& overlay : segment_.overlays) {
    if (offset < overlay.offset || offset + size > overlay.offset + overlay.size) continue;
    return base::Bytes(overlay.bytes.bytes()).subspan(offset - overlay.offset, size);
  }
  const uint64_t file_bytes = base::RoundDown(segment_.file->size_bytes(), format::kBlockBytes);
  if (offset + size > file_bytes) return {};
  if (offset < window_offset_ || offset + size > window_offset_ + window_size_) {
    const uint64_t wanted = std::min(std::max(size, kReadAheadBytes), file_bytes - offset);
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
  return FoundUnit{*verified, unit.subspan(format::kUnitHeaderBytes, verified->payload_bytes)};
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

std::optional<format::FooterReader> LoadFooter(const Segment& segment) {
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
  return format::FooterReader::Open(std::move(bytes), *trailer, segment.seed, segment.id);
}

std::vector<std::pair<uint32_t, base::Bytes>> SalvageRecords(const Segment& segment, uint64_t from, uint64_t to,
                                                             base::AlignedBuffer& memory) {
  std::vector<std::pair<uint32_t, base::Bytes>> saved, group;
  memory = base::AlignedBuffer(to - from);
  for (uint64_t at = from; at < to; at += format::kBlockBytes) {
    base::MutableBytes block = memory.bytes().subspan(at - from, format::kBlockBytes);
    if (!segment.file->Read(at, block).ok()) std::memset(block.data(), 0, block.size());
  }
  bool group_whole = true;
  for (uint64_t at = from + format::kUnitHeaderBytes; at < to;) {
    const base::Bytes rest = base::Bytes(memory.bytes()).subspan(at - from, to - at);
    const auto checked = format::DecodeRecord(rest, segment.seed, at);
    // A damaged record may still say how long it is; without that the rest of the stretch is out of reach.
    const auto parsed = checked ? checked : format::ParseRecord(rest);
    if (!parsed || parsed->record.type == format::RecordType::kPadding) break;
    group.emplace_back(static_cast<uint32_t>(at), rest.first(parsed->size_bytes));
    group_whole = group_whole && checked.has_value();
    at += parsed->size_bytes;
    if ((parsed->record.flags & format::record_flags::kInBatch) != 0) continue;
    if (group_whole) saved.insert(saved.end(), group.begin(), group.end());
    group.clear();
    group_whole = true;
  }
  return saved;
}

}  // namespace firn::log
