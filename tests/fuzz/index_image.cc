// The index image: under checksums that verify its manifest is in order, and its records are sorted and lie within
// their segments, or it is refused.
//
//   input: size of the manifest u16 | manifest | head from byte 16 on, up to 108 bytes | the block's records
#include <algorithm>
#include <cstring>
#include <span>
#include <string>

#include "format/block.h"
#include "format/index_image.h"
#include "fuzz/raw_format.h"

namespace firn::fuzz {
namespace {

using format::ImageHead;

constexpr uint64_t kBlockAt = format::kBlockBytes;

void CheckHead(const ImageHead& head, const format::ImageLayout& layout) {
  uint64_t filter_bytes = 0;
  for (size_t i = 0; i < head.segments.size(); ++i) {
    Require(i == 0 || head.segments[i - 1].id < head.segments[i].id, "segments ascend");
    Require(head.segments[i].last_revision <= head.revision, "no segment is newer than the image");
    filter_bytes += head.segments[i].filter_bytes;
  }
  Require(filter_bytes == layout.filters_bytes, "the filters are as long as the segments say");
  for (size_t i = 1; i < head.first_keys.size(); ++i) {
    Require(head.first_keys[i - 1] < head.first_keys[i], "first keys ascend");
  }
  const std::string manifest = format::EncodeImageManifest(head);
  Require(manifest.size() <= layout.file_bytes - layout.manifest_at, "a manifest has one encoding");
}

void CheckBlock(const ImageHead& head, const std::string& block) {
  if (head.first_keys.empty()) return;
  const format::ChecksumSeed seed(kSecret, head.salt);
  format::ImageBlockReader reader;
  if (!reader.Open(base::AsBytes(block), seed, kBlockAt, head.first_keys[0], head).ok()) return;
  format::KeyPlace before;
  for (format::ImageRecord record; reader.Next(record);) {
    const format::KeyPlace key{record.namespace_id, std::string(record.key)};
    Require(before <= key, "records are sorted");
    Require(record.segment < head.segments.size(), "a record's segment is one of the image's");
    Require(uint64_t{record.offset} + record.size <= head.segments[record.segment].units_end,
            "a record lies within its segment");
    Require(record.revision <= head.revision, "a record is not newer than the image");
    before = key;
  }
}

}  // namespace
}  // namespace firn::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace firn;
  using namespace firn::fuzz;
  constexpr size_t kHeadFieldsAt = 16, kHeadFieldsEnd = 124, kUuidAt = 24, kManifestChecksumAt = 104;
  constexpr uint64_t kMagic = format::Magic("firnIMG1");
  Input input(data, size);
  std::string manifest(input.Text(input.Number<uint16_t>()));
  manifest.resize(base::RoundUp(manifest.size(), format::kBlockBytes));
  std::string head_bytes(format::kBlockBytes, '\0');
  const std::string_view fields = input.Text(kHeadFieldsEnd - kHeadFieldsAt);
  fields.copy(head_bytes.data() + kHeadFieldsAt, fields.size());
  std::string block(16, '\0');
  block += input.Rest();
  block.resize(base::RoundUp(block.size(), format::kBlockBytes));

  format::Superblock superblock;
  superblock.secret = kSecret;
  std::memcpy(head_bytes.data() + kUuidAt, superblock.uuid.data(), sizeof(format::Uuid));
  format::Salt salt;
  std::memcpy(salt.data(), head_bytes.data() + 40, sizeof(salt));
  const format::ChecksumSeed seed(kSecret, salt);
  const auto bytes = std::as_writable_bytes(std::span(head_bytes));
  const auto manifest_at = base::LoadLe<uint64_t>(bytes.data() + 96);
  base::StoreLe(bytes.data() + 72, manifest_at + manifest.size());
  base::StoreLe(bytes.data() + kManifestChecksumAt, base::Hash64(base::AsBytes(manifest), seed.At(manifest_at)));
  format::SealBlock(kMagic, kSecret, bytes);
  const auto layout = format::DecodeImageLayout(bytes, superblock, base::LoadLe<uint64_t>(bytes.data() + 72));
  if (!layout.ok()) return 0;
  const auto head = format::DecodeImageHead(bytes, *layout, base::AsBytes(manifest), superblock);
  if (!head.ok()) return 0;
  CheckHead(*head, *layout);

  const auto of_block = std::as_writable_bytes(std::span(block));
  const auto used = base::LoadLe<uint32_t>(of_block.data() + 12);
  if (used == 0) base::StoreLe(of_block.data() + 12, static_cast<uint32_t>(block.size() - 16));
  if (base::LoadLe<uint32_t>(of_block.data() + 8) == 0) base::StoreLe(of_block.data() + 8, UINT32_MAX);
  base::StoreLe(of_block.data(), base::Hash64(of_block.subspan(8), seed.At(kBlockAt)));
  CheckBlock(*head, block);
  return 0;
}
