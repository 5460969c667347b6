// A segment file, read in every way that recovery, reclaim and salvage read it: header, units one by one and searched
// for, footer, directory from the units alone, records out of damaged stretches.
//
//   input: how u8 | what the header claims | pieces of the file, each led by a kind u8: end (0), unit, raw block,
//          footer; then edits without a checksum
#include <string>

#include "format/segment_header.h"
#include "fuzz/memory_file.h"
#include "fuzz/raw_format.h"
#include "log/segment_scan.h"

namespace firn::fuzz {
namespace {

constexpr format::SegmentId kSegment = 9;
constexpr uint64_t kFileBytesMax = 64 * kBlock;
const format::Uuid kUuid = SaltOf(7);

struct File {
  format::SegmentHeader header;
  std::string bytes;
  uint64_t units_end = 0;  // where a list of live segments says that its units end
};

// The footer of a directory that has nothing to do with the units: a forged one, or one of another time.
std::string FooterFrom(Input& input, uint64_t place, const format::ChecksumSeed& seed) {
  format::FooterBuilder builder;
  const uint64_t first_revision = input.Skewed();
  const uint64_t steps = input.Byte();
  const uint64_t last_revision = first_revision + std::min(steps, UINT64_MAX - first_revision);
  for (int entries = input.Byte() & 7; entries > 0; --entries) {
    const std::string_view key = input.Text(input.Byte() & 0x1F);
    const uint64_t offset = std::min<uint64_t>(input.Skewed(), place);
    const uint64_t size = std::min<uint64_t>(input.Skewed(), place - offset);
    const uint64_t revision = first_revision + std::min<uint64_t>(input.Byte(), last_revision - first_revision);
    if (key.empty()) continue;
    builder.Add({.key = key,
                 .type = format::RecordType::kPut,
                 .offset = static_cast<uint32_t>(offset),
                 .size = static_cast<uint32_t>(size),
                 .revision = revision});
  }
  return builder.Finish({.segment = kSegment,
                         .units_end = static_cast<uint32_t>(place),
                         .first_revision = first_revision,
                         .last_revision = last_revision},
                        seed);
}

File FileFrom(Input& input) {
  enum : uint8_t { kEnd = 0, kUnit = 1, kRaw = 2, kFooter = 3 };
  File file;
  const uint8_t how = input.Byte();
  file.header = {.store_uuid = kUuid, .segment = kSegment, .incarnation = 1, .salt = SaltOf(1)};
  file.header.first_revision = input.Skewed();
  file.header.generation = how & 1;
  const format::ChecksumSeed seed(kSecret, file.header.salt);
  file.bytes.assign(kBlock, '\0');
  format::EncodeSegmentHeader(file.header, kSecret, {At(file.bytes, 0), kBlock});
  for (uint8_t kind = input.Byte() & 3; kind != kEnd && file.bytes.size() < kFileBytesMax; kind = input.Byte() & 3) {
    const uint64_t place = file.bytes.size();
    if (kind == kUnit) {
      file.bytes += UnitFrom(input, seed, place);
      file.units_end = file.bytes.size();
    } else if (kind == kRaw) {
      file.bytes += input.Text(input.Byte());
      file.bytes.resize(base::RoundUp(file.bytes.size(), kBlock));
    } else {
      file.bytes += FooterFrom(input, place, seed);
    }
  }
  file.units_end = std::max(file.units_end, kBlock);
  if ((how & 2) != 0) file.units_end = std::max(kBlock, base::RoundDown(input.Number<uint16_t>(), kBlock));
  if ((how & 8) != 0) file.bytes.resize(std::min<size_t>(file.bytes.size(), input.Number<uint16_t>()));
  for (int edits = how >> 4; edits > 0 && !file.bytes.empty(); --edits) {
    char& byte = file.bytes[input.Number<uint32_t>() % file.bytes.size()];
    byte = static_cast<char>(byte ^ input.Byte());
  }
  return file;
}

// Only what a header that verifies has let in is read further.
std::optional<format::SegmentHeader> HeaderOf(const std::string& bytes) {
  if (bytes.size() < kBlock) return std::nullopt;
  const auto header = format::DecodeSegmentHeader(Part(bytes, 0, kBlock), kSecret, kUuid);
  if (!header.ok()) return std::nullopt;
  return *header;
}

void CheckUnits(const log::Segment& segment) {
  log::SegmentScanner scanner(segment);
  const uint64_t limit = segment.file->size_bytes();
  for (uint64_t at = log::kFirstUnitOffset; at + kBlock <= limit; at += kBlock) {
    const bool has_head = scanner.HasUnitHead(at);
    const auto unit = scanner.UnitAt(at);
    if (!unit) continue;
    Require(has_head, "where a unit verifies its header does");
    Require(at + uint64_t{unit->header.blocks} * kBlock <= limit, "a unit lies within its file");
    bool goes_on = false;
    for (base::Bytes rest = unit->payload; !rest.empty();) {
      const auto record = format::ParseRecord(rest);
      Require(record.has_value(), "a unit holds records");
      goes_on = (record->record.flags & format::record_flags::kInBatch) != 0;
      rest = rest.subspan(record->size_bytes);
    }
    Require(!goes_on, "a unit ends with a whole operation");
    Require(scanner.FindUnit(log::kFirstUnitOffset, limit).has_value(), "a unit that is there can be searched for");
  }
  Require(scanner.read_error().ok(), "what can be read is no read error");
}

void CheckDirectory(format::FooterReader directory, uint64_t units_end) {
  uint64_t records = 0;
  for (format::DirectoryEntry entry; directory.Next(entry); ++records) {
    Require(uint64_t{entry.offset} + entry.size <= units_end, "an entry lies within the units");
  }
  Require(records == directory.summary().records, "a directory can be walked to its end");
}

void CheckSalvage(const log::Segment& segment, uint64_t from, uint64_t to) {
  base::AlignedBuffer memory;
  uint64_t end = from;
  for (const auto& [offset, bytes] : log::SalvageRecords(segment, from, to, memory)) {
    Require(offset >= end && offset + bytes.size() <= to, "salvaged records lie in order in their stretch");
    const auto record = format::DecodeRecord(bytes, segment.seed, offset);
    Require(record && record->size_bytes == bytes.size(), "a salvaged record verifies at its place");
    end = offset + bytes.size();
  }
}

}  // namespace
}  // namespace firn::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace firn;
  using namespace firn::fuzz;
  Input input(data, size);
  File file = FileFrom(input);
  const auto header = HeaderOf(file.bytes);
  if (!header) return 0;
  const uint64_t file_bytes = file.bytes.size();
  log::Segment segment;
  segment.id = header->segment;
  segment.header = *header;
  segment.seed = format::ChecksumSeed(kSecret, header->salt);
  segment.file = std::make_unique<MemoryFile>(std::move(file.bytes));
  segment.units_end.store(static_cast<uint32_t>(file.units_end));

  CheckUnits(segment);
  if (auto footer = log::LoadFooter(segment)) {
    const uint64_t units_end = footer->summary().units_end;
    Require(units_end < file_bytes, "a footer lies in its file");
    CheckDirectory(*std::move(footer), units_end);
  }
  if (auto directory = log::ScanDirectory(segment); directory.ok()) {
    CheckDirectory(*std::move(directory), file.units_end);
  }
  const uint64_t end = base::RoundDown(file_bytes, kBlock);
  const uint64_t from = std::min(end, log::kFirstUnitOffset + base::RoundDown(input.Number<uint16_t>(), kBlock));
  CheckSalvage(segment, from, end);
  return 0;
}
