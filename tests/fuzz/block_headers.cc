// The superblock, and the headers of segments and value files: what decodes encodes to the very same block.
//
//   input: which of them u8 (upper bits: how) | the block; zeros follow
#include <string>

#include "format/segment_header.h"
#include "format/superblock.h"
#include "format/value_header.h"
#include "fuzz/raw_format.h"

namespace firn::fuzz {
namespace {

const format::Uuid kUuid = SaltOf(7);

template <typename Decoded, typename Encode>
void CheckSame(const std::string& block, const Decoded& decoded, const Encode& encode) {
  if (!decoded.ok()) {
    Require(!decoded.status().message().empty(), "a refusal says why");
    return;
  }
  std::string again(kBlock, 'x');
  encode(*decoded, base::MutableBytes(At(again, 0), again.size()));
  Require(again == block, "a block that decodes has one encoding");
}

void CheckBlock(const std::string& block, uint8_t which) {
  const base::Bytes bytes = Part(block, 0, block.size());
  if (which == 0) {
    CheckSame(block, format::DecodeSuperblock(bytes), format::EncodeSuperblock);
  } else if (which == 1) {
    CheckSame(block, format::DecodeSegmentHeader(bytes, kSecret, kUuid),
              [](const auto& header, base::MutableBytes to) { format::EncodeSegmentHeader(header, kSecret, to); });
  } else {
    CheckSame(block, format::DecodeValueHeader(bytes, kSecret, kUuid),
              [](const auto& header, base::MutableBytes to) { format::EncodeValueHeader(header, kSecret, to); });
  }
}

}  // namespace
}  // namespace firn::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace firn::fuzz;
  enum : uint8_t { kRaw = 4, kOwnMagic = 8, kOwnUuid = 16 };
  static constexpr const char* kMagics[] = {"firnSUP1", "firnSEG1", "firnVAL1"};
  Input input(data, size);
  const uint8_t how = input.Byte();
  const auto which = static_cast<uint8_t>((how & 3) % 3);
  std::string block(input.Text(kBlock));
  CheckBlock(block, which);  // as short as it is
  if (which == 1) firn::format::HasSegmentMagic(Part(block, 0, block.size()));
  block.resize(kBlock);
  if ((how & kOwnMagic) == 0) block.replace(0, 8, kMagics[which]);
  constexpr size_t kUuidAt = 24;  // in all three
  if ((how & kOwnUuid) == 0) block.replace(kUuidAt, kUuid.size(), firn::base::AsText(kUuid));
  if ((how & kRaw) == 0) SealBlockAt(block, 0, which == 0 ? 0 : kSecret);
  CheckBlock(block, which);
  if (which == 1) firn::format::UncheckedSegmentHeader(Part(block, 0, block.size()));
  return 0;
}
