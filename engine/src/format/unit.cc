#include "format/unit.h"

#include "base/check.h"
#include "format/block.h"

namespace firn::format {
namespace {

constexpr uint64_t kMagic = Magic("firnUNI1");
constexpr uint64_t kSegmentBytesMax = uint64_t{1} << 32;  // offsets in a segment are 32 bits wide

constexpr size_t kPayloadChecksumAt = 16;
constexpr size_t kFirstRevisionAt = 24;
constexpr size_t kLastRevisionAt = 32;
constexpr size_t kTimeMsAt = 40;
constexpr size_t kBlocksAt = 48;
constexpr size_t kPayloadBytesAt = 52;
constexpr size_t kDurableSegmentAt = 56;
constexpr size_t kDurableOffsetAt = 60;

static_assert(kChecksumAt + sizeof(uint64_t) == kPayloadChecksumAt);
static_assert(kPayloadChecksumAt + sizeof(uint64_t) == kFirstRevisionAt);
static_assert(kFirstRevisionAt + sizeof(uint64_t) == kLastRevisionAt);
static_assert(kLastRevisionAt + sizeof(uint64_t) == kTimeMsAt);
static_assert(kTimeMsAt + sizeof(int64_t) == kBlocksAt);
static_assert(kBlocksAt + sizeof(uint32_t) == kPayloadBytesAt);
static_assert(kPayloadBytesAt + sizeof(uint32_t) == kDurableSegmentAt);
static_assert(kDurableSegmentAt + sizeof(SegmentId) == kDurableOffsetAt);
static_assert(kDurableOffsetAt + sizeof(uint32_t) == kUnitHeaderBytes, "the header has no unused byte");

uint64_t UnitBytes(uint32_t blocks) { return blocks * kBlockBytes; }

bool LengthsArePlausible(uint32_t blocks, uint32_t payload_bytes, uint64_t offset) {
  return blocks > 0 && offset % kBlockBytes == 0 && offset < kSegmentBytesMax &&
         UnitBytes(blocks) <= kSegmentBytesMax - offset && payload_bytes <= UnitBytes(blocks) - kUnitHeaderBytes;
}

// Covers the payload's checksum too, so that header and payload cannot be exchanged for those of another
// write.
uint64_t HeaderChecksum(const std::byte* unit, uint64_t seed) {
  return base::Hash64({unit + kPayloadChecksumAt, kUnitHeaderBytes - kPayloadChecksumAt}, seed);
}

}  // namespace

void SealUnit(const UnitHeader& header, const ChecksumSeed& seed, uint64_t offset, base::MutableBytes unit) {
  FIRN_CHECK(LengthsArePlausible(header.blocks, header.payload_bytes, offset));
  FIRN_CHECK(unit.size() == UnitBytes(header.blocks));
  std::byte* const at = unit.data();
  const uint64_t place_seed = seed.At(offset);
  base::StoreLe(at + kMagicAt, kMagic);
  base::StoreLe(at + kPayloadChecksumAt, base::Hash64(unit.subspan(kUnitHeaderBytes), place_seed));
  base::StoreLe(at + kFirstRevisionAt, header.first_revision);
  base::StoreLe(at + kLastRevisionAt, header.last_revision);
  base::StoreLe(at + kTimeMsAt, header.time_ms);
  base::StoreLe(at + kBlocksAt, header.blocks);
  base::StoreLe(at + kPayloadBytesAt, header.payload_bytes);
  base::StoreLe(at + kDurableSegmentAt, header.durable.segment);
  base::StoreLe(at + kDurableOffsetAt, header.durable.offset);
  base::StoreLe(at + kChecksumAt, HeaderChecksum(at, place_seed));
}

std::optional<UnitHeader> PeekUnit(base::Bytes head, const ChecksumSeed& seed, uint64_t offset) {
  if (head.size() < kUnitHeaderBytes) return std::nullopt;
  const std::byte* const at = head.data();
  if (base::LoadLe<uint64_t>(at + kMagicAt) != kMagic) return std::nullopt;
  if (base::LoadLe<uint64_t>(at + kChecksumAt) != HeaderChecksum(at, seed.At(offset))) return std::nullopt;
  UnitHeader header;
  header.blocks = base::LoadLe<uint32_t>(at + kBlocksAt);
  header.payload_bytes = base::LoadLe<uint32_t>(at + kPayloadBytesAt);
  if (!LengthsArePlausible(header.blocks, header.payload_bytes, offset)) return std::nullopt;
  header.first_revision = base::LoadLe<uint64_t>(at + kFirstRevisionAt);
  header.last_revision = base::LoadLe<uint64_t>(at + kLastRevisionAt);
  header.time_ms = base::LoadLe<int64_t>(at + kTimeMsAt);
  header.durable.segment = base::LoadLe<SegmentId>(at + kDurableSegmentAt);
  header.durable.offset = base::LoadLe<uint32_t>(at + kDurableOffsetAt);
  return header;
}

std::optional<UnitHeader> VerifyUnit(base::Bytes unit, const ChecksumSeed& seed, uint64_t offset) {
  const std::optional<UnitHeader> header = PeekUnit(unit, seed, offset);
  if (!header || unit.size() != UnitBytes(header->blocks)) return std::nullopt;
  const base::Bytes covered = unit.subspan(kUnitHeaderBytes);
  if (base::LoadLe<uint64_t>(unit.data() + kPayloadChecksumAt) != base::Hash64(covered, seed.At(offset))) {
    return std::nullopt;
  }
  if (!IsZero(covered.subspan(header->payload_bytes))) return std::nullopt;
  return header;
}

}  // namespace firn::format
