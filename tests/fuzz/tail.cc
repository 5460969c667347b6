// The tail buffers of a killed process, and batches: units that are found verify, lie in order, and hold whole
// operations only; a batch whose last record is missing is none.
//
//   input: for each buffer: descriptor (segment, base offset, salt; segment 0: none) | what lies in it, in turns:
//          sealed units, and records without a unit header
#include <algorithm>
#include <string>

#include "fuzz/raw_format.h"
#include "log/tail.h"

namespace firn::fuzz {
namespace {

constexpr uint64_t kDescriptorBytes = 32;
constexpr uint64_t kMarkAt = 2048;

std::string DescriptorFrom(Input& input) {
  std::string bytes(kDescriptorBytes, '\0');
  base::StoreLe(At(bytes, 0), static_cast<uint32_t>(input.Byte()));
  base::StoreLe(At(bytes, 4), static_cast<uint32_t>(input.Skewed() * kBlock));
  bytes[8] = static_cast<char>(input.Byte());
  base::StoreLe(At(bytes, 24), base::Hash64(Part(bytes, 0, 24), kSecret ^ 0x7461696c));
  return bytes;
}

// What a killed process left of an open unit: records behind room for the header.
std::string OpenUnitFrom(Input& input, const format::ChecksumSeed& seed, uint64_t place) {
  std::string unit(format::kUnitHeaderBytes, '\0');
  for (int records = input.Byte() & 7; records > 0; --records) unit += RecordFrom(input, seed, place + unit.size());
  unit.resize(base::RoundUp(unit.size(), kBlock));
  return unit;
}

void FillBuffer(Input& input, std::string& tail, size_t buffer) {
  const std::string descriptor = DescriptorFrom(input);
  tail.replace(buffer * kDescriptorBytes, descriptor.size(), descriptor);
  const auto base_offset = base::LoadLe<uint32_t>(At(descriptor, 4));
  const format::ChecksumSeed seed(kSecret, SaltOf(static_cast<uint8_t>(descriptor[8])));
  uint64_t at = 0;
  for (uint8_t kind = input.Byte(); (kind & 3) != 0; kind = input.Byte()) {
    const auto place = static_cast<uint32_t>(base_offset + at);
    const std::string unit = (kind & 1) != 0 ? UnitFrom(input, seed, place) : OpenUnitFrom(input, seed, place);
    if (at + unit.size() > log::kTailBufferBytes) break;
    tail.replace(kBlock + buffer * log::kTailBufferBytes + at, unit.size(), unit);
    at += unit.size();
  }
}

void CheckUnit(const log::TailUnit& unit) {
  const format::ChecksumSeed seed(kSecret, unit.salt);
  const base::Bytes bytes = base::Bytes(unit.bytes.bytes()).first(unit.size);
  const auto header = format::VerifyUnit(bytes, seed, unit.offset);
  Require(header.has_value(), "a unit that was found verifies at its place");
  Require(header->first_revision == unit.first_revision && header->last_revision == unit.last_revision,
          "a unit that was found has the revisions of its header");
  bool goes_on = false;
  for (base::Bytes rest = bytes.subspan(format::kUnitHeaderBytes, header->payload_bytes); !rest.empty();) {
    const auto record = format::ParseRecord(rest);
    Require(record.has_value(), "a unit that was found holds records");
    goes_on = (record->record.flags & format::record_flags::kInBatch) != 0;
    rest = rest.subspan(record->size_bytes);
  }
  Require(!goes_on, "a unit that was found ends with a whole operation");
}

}  // namespace
}  // namespace firn::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace firn;
  using namespace firn::fuzz;
  Input input(data, size);
  // As large as the file; made once, for most of it stays zero.
  static std::string tail(log::kTailFileBytes, '\0');
  std::fill(tail.begin(), tail.end(), '\0');
  for (size_t buffer = 0; buffer < log::kTailBuffers; ++buffer) FillBuffer(input, tail, buffer);
  tail.replace(kMarkAt, 8, "firnCLO1");
  const std::string_view mark = input.Text(16);
  tail.replace(kMarkAt + 16, mark.size(), mark);
  base::StoreLe(At(tail, kMarkAt + 8), base::Hash64(Part(tail, kMarkAt + 16, 16), kSecret ^ 0x636c6f7365));

  const base::Bytes bytes = Part(tail, 0, tail.size());
  if (const auto found = log::FindCloseMark(bytes, kSecret)) {
    Require(log::CanEndUnits(found->end.offset), "a close mark names where units can end");
  }
  const std::vector<log::TailUnit> units = log::FindTailUnits(bytes, kSecret);
  for (size_t i = 0; i < units.size(); ++i) {
    CheckUnit(units[i]);
    Require(i == 0 || format::Position{units[i - 1].segment, units[i - 1].offset} <=
                          format::Position{units[i].segment, units[i].offset},
            "units are found in the order of the log");
  }
  return 0;
}
