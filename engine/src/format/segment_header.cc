#include "format/segment_header.h"

#include <algorithm>
#include <array>
#include <cstring>

#include "base/check.h"
#include "format/block.h"

namespace firn::format {
namespace {

constexpr uint64_t kMagic = Magic("firnSEG1");
constexpr std::string_view kName = "segment header";

constexpr size_t kSegmentAt = 20;
constexpr size_t kUuidAt = 24;
constexpr size_t kIncarnationAt = 40;
constexpr size_t kSaltAt = 48;
constexpr size_t kFirstRevisionAt = 64;
constexpr size_t kCreatedMsAt = 72;
constexpr size_t kGenerationAt = 80;
constexpr size_t kFieldsEnd = 84;
constexpr size_t kSuperblockAt = kSuperblockCopyAt;
constexpr size_t kSuperblockEnd = kSuperblockAt + kSuperblockFieldsBytes;

static_assert(kVersionAt + sizeof(uint32_t) == kSegmentAt);
static_assert(kSegmentAt + sizeof(SegmentId) == kUuidAt);
static_assert(kUuidAt + sizeof(Uuid) == kIncarnationAt);
static_assert(kIncarnationAt + sizeof(uint64_t) == kSaltAt);
static_assert(kSaltAt + sizeof(Salt) == kFirstRevisionAt);
static_assert(kFirstRevisionAt + sizeof(uint64_t) == kCreatedMsAt);
static_assert(kCreatedMsAt + sizeof(int64_t) == kGenerationAt);
static_assert(kGenerationAt + sizeof(uint32_t) == kFieldsEnd && kFieldsEnd <= kSuperblockAt);
static_assert(kSuperblockEnd <= kSectorBytes);

using Block = std::array<std::byte, kBlockBytes>;

}  // namespace

void EncodeSegmentHeader(const SegmentHeader& header, uint64_t store_secret, base::MutableBytes block) {
  FIRN_CHECK(block.size() == kBlockBytes);
  std::fill(block.begin(), block.end(), std::byte{0});
  std::byte* const at = block.data();
  base::StoreLe(at + kVersionAt, header.format_version);
  base::StoreLe(at + kSegmentAt, header.segment);
  std::memcpy(at + kUuidAt, header.store_uuid.data(), sizeof(Uuid));
  base::StoreLe(at + kIncarnationAt, header.incarnation);
  std::memcpy(at + kSaltAt, header.salt.data(), sizeof(Salt));
  base::StoreLe(at + kFirstRevisionAt, header.first_revision);
  base::StoreLe(at + kCreatedMsAt, header.created_ms);
  base::StoreLe(at + kGenerationAt, header.generation);
  if (header.superblock) {
    Block superblock;
    EncodeSuperblock(*header.superblock, superblock);
    std::memcpy(at + kSuperblockAt, superblock.data(), kSuperblockFieldsBytes);
  }
  SealBlock(kMagic, store_secret, block);
}

absl::StatusOr<SegmentHeader> DecodeSegmentHeader(base::Bytes block, uint64_t store_secret, const Uuid& store_uuid) {
  if (block.size() == kBlockBytes && IsZero(block)) return base::NotFound("segment header: a block of zeros");
  FIRN_RETURN_IF_ERROR(CheckBlock(kMagic, store_secret, block, kName));
  SegmentHeader header = UncheckedSegmentHeader(block);
  if (header.store_uuid != store_uuid) return base::DataLoss("segment header: belongs to another store");
  if (header.segment == kNoSegment) return base::DataLoss("segment header: segment id 0");
  if (!IsZero(block.subspan(kFieldsEnd, kSuperblockAt - kFieldsEnd)) || !IsZero(block.subspan(kSuperblockEnd))) {
    return base::DataLoss("segment header: reserved bytes are not zero");
  }
  header.superblock = SuperblockInHeader(block);
  if (!header.superblock && !IsZero(block.subspan(kSuperblockAt, kSuperblockFieldsBytes))) {
    return base::DataLoss("segment header: its copy of the superblock does not verify");
  }
  return header;
}

std::optional<Superblock> SuperblockInHeader(base::Bytes block) {
  if (block.size() != kBlockBytes) return std::nullopt;
  // Beyond its fields a superblock is zeros.
  Block whole{};
  std::memcpy(whole.data(), block.data() + kSuperblockAt, kSuperblockFieldsBytes);
  const auto superblock = DecodeSuperblock(whole);
  return superblock.ok() ? std::optional(*superblock) : std::nullopt;
}

bool HasSegmentMagic(base::Bytes block) {
  return block.size() == kBlockBytes && base::LoadLe<uint64_t>(block.data() + kMagicAt) == kMagic;
}

SegmentHeader UncheckedSegmentHeader(base::Bytes block) {
  FIRN_CHECK(block.size() == kBlockBytes);
  const std::byte* const at = block.data();
  SegmentHeader header;
  header.format_version = base::LoadLe<uint32_t>(at + kVersionAt);
  header.segment = base::LoadLe<SegmentId>(at + kSegmentAt);
  std::memcpy(header.store_uuid.data(), at + kUuidAt, sizeof(Uuid));
  header.incarnation = base::LoadLe<uint64_t>(at + kIncarnationAt);
  std::memcpy(header.salt.data(), at + kSaltAt, sizeof(Salt));
  header.first_revision = base::LoadLe<uint64_t>(at + kFirstRevisionAt);
  header.created_ms = base::LoadLe<int64_t>(at + kCreatedMsAt);
  header.generation = base::LoadLe<uint32_t>(at + kGenerationAt);
  return header;
}

}  // namespace firn::format
