#include "format/value_header.h"

#include <algorithm>
#include <bit>
#include <cstring>

#include "base/check.h"
#include "format/block.h"

namespace firn::format {
namespace {

constexpr uint64_t kMagic = Magic("firnVAL1");
constexpr std::string_view kName = "value file header";

constexpr size_t kFileAt = 20;
constexpr size_t kUuidAt = 24;
constexpr size_t kSaltAt = 40;
constexpr size_t kCreatedMsAt = 56;
constexpr size_t kAlignmentAt = 64;
constexpr size_t kFieldsEnd = 68;

static_assert(kVersionAt + sizeof(uint32_t) == kFileAt);
static_assert(kFileAt + sizeof(uint32_t) == kUuidAt);
static_assert(kUuidAt + sizeof(Uuid) == kSaltAt);
static_assert(kSaltAt + sizeof(Salt) == kCreatedMsAt);
static_assert(kCreatedMsAt + sizeof(int64_t) == kAlignmentAt);
static_assert(kAlignmentAt + sizeof(uint32_t) == kFieldsEnd && kFieldsEnd <= kBlockBytes);

}  // namespace

bool IsValueAlignment(uint64_t bytes) {
  return std::has_single_bit(bytes) && bytes >= kValueAlignmentBytesMin && bytes <= kValueAlignmentBytesMax;
}

void EncodeValueHeader(const ValueHeader& header, uint64_t store_secret, base::MutableBytes block) {
  FIRN_CHECK(block.size() == kBlockBytes);
  std::fill(block.begin(), block.end(), std::byte{0});
  std::byte* const at = block.data();
  base::StoreLe(at + kVersionAt, header.format_version);
  base::StoreLe(at + kFileAt, header.file);
  std::memcpy(at + kUuidAt, header.store_uuid.data(), sizeof(Uuid));
  std::memcpy(at + kSaltAt, header.salt.data(), sizeof(Salt));
  base::StoreLe(at + kCreatedMsAt, header.created_ms);
  base::StoreLe(at + kAlignmentAt, header.alignment_bytes);
  SealBlock(kMagic, store_secret, block);
}

absl::StatusOr<ValueHeader> DecodeValueHeader(base::Bytes block, uint64_t store_secret, const Uuid& store_uuid) {
  if (block.size() == kBlockBytes && IsZero(block)) return base::NotFound("value file header: a block of zeros");
  FIRN_RETURN_IF_ERROR(CheckBlock(kMagic, store_secret, block, kName));
  const std::byte* const at = block.data();
  ValueHeader header;
  header.format_version = base::LoadLe<uint32_t>(at + kVersionAt);
  header.file = base::LoadLe<uint32_t>(at + kFileAt);
  std::memcpy(header.store_uuid.data(), at + kUuidAt, sizeof(Uuid));
  std::memcpy(header.salt.data(), at + kSaltAt, sizeof(Salt));
  header.created_ms = base::LoadLe<int64_t>(at + kCreatedMsAt);
  header.alignment_bytes = base::LoadLe<uint32_t>(at + kAlignmentAt);

  if (header.store_uuid != store_uuid) return base::DataLoss("value file header: belongs to another store");
  if (header.file == 0) return base::DataLoss("value file header: file id 0");
  if (!IsValueAlignment(header.alignment_bytes)) return base::DataLoss("value file header: no such alignment");
  if (!IsZero(block.subspan(kFieldsEnd))) return base::DataLoss("value file header: reserved bytes are not zero");
  return header;
}

}  // namespace firn::format
