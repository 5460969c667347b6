#include "format/superblock.h"

#include <algorithm>
#include <cstring>
#include <string>

#include "base/check.h"
#include "format/block.h"

namespace firn::format {
namespace {

constexpr uint64_t kMagic = Magic("firnSUP1");
constexpr std::string_view kName = "superblock";
// The secret is inside, so the superblock's own checksum cannot be seeded with it.
constexpr uint64_t kSeed = 0;
constexpr uint64_t kKnownFeatures = 0;

constexpr size_t kBlockBytesAt = 20;
constexpr size_t kUuidAt = 24;
constexpr size_t kSecretAt = 40;
constexpr size_t kFeaturesAt = 48;
constexpr size_t kRevisionFloorAt = 56;
constexpr size_t kCreatedMsAt = 64;
constexpr size_t kSaltAt = 72;
constexpr size_t kFieldsEnd = kSuperblockFieldsBytes;

static_assert(kVersionAt + sizeof(uint32_t) == kBlockBytesAt);
static_assert(kBlockBytesAt + sizeof(uint32_t) == kUuidAt);
static_assert(kUuidAt + sizeof(Uuid) == kSecretAt);
static_assert(kSecretAt + sizeof(uint64_t) == kFeaturesAt);
static_assert(kFeaturesAt + sizeof(uint64_t) == kRevisionFloorAt);
static_assert(kRevisionFloorAt + sizeof(uint64_t) == kCreatedMsAt);
static_assert(kCreatedMsAt + sizeof(int64_t) == kSaltAt);
static_assert(kSaltAt + sizeof(Salt) == kFieldsEnd && kFieldsEnd <= kBlockBytes);

}  // namespace

void EncodeSuperblock(const Superblock& superblock, base::MutableBytes block) {
  FIRN_CHECK(block.size() == kBlockBytes);
  std::fill(block.begin(), block.end(), std::byte{0});
  std::byte* const at = block.data();
  base::StoreLe(at + kVersionAt, superblock.format_version);
  base::StoreLe(at + kBlockBytesAt, superblock.block_bytes);
  std::memcpy(at + kUuidAt, superblock.uuid.data(), sizeof(Uuid));
  base::StoreLe(at + kSecretAt, superblock.secret);
  base::StoreLe(at + kFeaturesAt, superblock.features);
  base::StoreLe(at + kRevisionFloorAt, superblock.revision_floor);
  base::StoreLe(at + kCreatedMsAt, superblock.created_ms);
  std::memcpy(at + kSaltAt, superblock.salt.data(), sizeof(Salt));
  SealBlock(kMagic, kSeed, block);
}

absl::StatusOr<Superblock> DecodeSuperblock(base::Bytes block) {
  FIRN_RETURN_IF_ERROR(CheckBlock(kMagic, kSeed, block, kName));
  const std::byte* const at = block.data();
  Superblock superblock;
  superblock.format_version = base::LoadLe<uint32_t>(at + kVersionAt);
  superblock.block_bytes = base::LoadLe<uint32_t>(at + kBlockBytesAt);
  std::memcpy(superblock.uuid.data(), at + kUuidAt, sizeof(Uuid));
  superblock.secret = base::LoadLe<uint64_t>(at + kSecretAt);
  superblock.features = base::LoadLe<uint64_t>(at + kFeaturesAt);
  superblock.revision_floor = base::LoadLe<uint64_t>(at + kRevisionFloorAt);
  superblock.created_ms = base::LoadLe<int64_t>(at + kCreatedMsAt);
  std::memcpy(superblock.salt.data(), at + kSaltAt, sizeof(Salt));

  // Before the reserved bytes: a feature that this build does not know may well have put them to use.
  if ((superblock.features & ~kKnownFeatures) != 0) {
    return base::FailedPrecondition("superblock: the store uses features that this build does not know (bits " +
                                    std::to_string(superblock.features & ~kKnownFeatures) + ")");
  }
  if (superblock.block_bytes != kBlockBytes) {
    return base::FailedPrecondition("superblock: block size " + std::to_string(superblock.block_bytes) +
                                    " where this build has " + std::to_string(kBlockBytes));
  }
  if (!IsZero(block.subspan(kFieldsEnd))) return base::DataLoss("superblock: reserved bytes are not zero");
  return superblock;
}

}  // namespace firn::format
