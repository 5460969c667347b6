// Commit units: what verifies is whole blocks at a possible place, and sealing what was read gives the very same bytes.
//
//   input: how u8 | place in blocks u32 | the unit; zeros follow up to a whole block
#include <string>

#include "format/unit.h"
#include "fuzz/raw_format.h"

namespace firn::fuzz {
namespace {

const format::ChecksumSeed kSeed(kSecret, SaltOf(1));

void CheckVerified(const std::string& unit, const format::UnitHeader& header, uint64_t place) {
  Require(uint64_t{header.blocks} * kBlock == unit.size(), "a unit has as many blocks as it says");
  Require(format::kUnitHeaderBytes + uint64_t{header.payload_bytes} <= unit.size(), "a payload lies in its unit");
  std::string again(unit.size(), '\0');
  unit.copy(again.data() + format::kUnitHeaderBytes, header.payload_bytes, format::kUnitHeaderBytes);
  format::SealUnit(header, kSeed, place, {At(again, 0), again.size()});
  Require(again == unit, "a unit has one encoding");
}

}  // namespace
}  // namespace firn::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace firn;
  using namespace firn::fuzz;
  enum : uint8_t { kMagic = 1, kBlocks = 2, kSealed = 4, kAligned = 8 };
  Input input(data, size);
  const uint8_t how = input.Byte();
  uint64_t place = uint64_t{input.Number<uint32_t>()} * kBlock;
  if ((how & kAligned) == 0) place += how >> 4;
  std::string unit(input.Rest());
  format::PeekUnit(Part(unit, 0, unit.size()), kSeed, place);
  unit.resize(base::RoundUp(std::max<size_t>(unit.size(), 1), kBlock));
  if ((how & kMagic) != 0) unit.replace(0, 8, "firnUNI1");
  if ((how & kBlocks) != 0) base::StoreLe(At(unit, 48), static_cast<uint32_t>(unit.size() / kBlock));
  if ((how & kSealed) != 0) SealUnitAt(unit, 0, unit.size(), kSeed, place);
  const base::Bytes bytes = Part(unit, 0, unit.size());
  const auto head = format::PeekUnit(bytes.first(format::kUnitHeaderBytes), kSeed, place);
  const auto header = format::VerifyUnit(bytes, kSeed, place);
  if (!header) return 0;
  Require(head.has_value(), "a unit that verifies has a header that does");
  CheckVerified(unit, *header, place);
  return 0;
}
