// Superblock, segment header and value file header: the structures that are one block each.
#include <algorithm>

#include "format/block.h"
#include "format/segment_header.h"
#include "format/superblock.h"
#include "format/value_header.h"
#include "unit/format/testing.h"

namespace firn::format {
namespace {

using namespace testing;

constexpr uint64_t kSecret = 0x1122334455667788;

Superblock RandomSuperblock(Random& random) {
  Superblock superblock;
  superblock.uuid = SaltFrom(static_cast<uint8_t>(random.Next()));
  superblock.secret = random.Next();
  superblock.revision_floor = random.Skewed();
  superblock.created_ms = static_cast<int64_t>(random.Next());
  superblock.salt = SaltFrom(static_cast<uint8_t>(random.Next()));
  return superblock;
}

SegmentHeader RandomSegmentHeader(Random& random) {
  SegmentHeader header;
  header.store_uuid = SaltFrom(static_cast<uint8_t>(random.Next()));
  header.segment = static_cast<SegmentId>(random.Below(UINT32_MAX) + 1);
  header.incarnation = random.Skewed();
  header.salt = SaltFrom(static_cast<uint8_t>(random.Next()));
  header.first_revision = random.Skewed();
  header.created_ms = static_cast<int64_t>(random.Next());
  header.generation = static_cast<uint32_t>(random.Skewed());
  if (random.Below(2) == 0) header.superblock = RandomSuperblock(random);
  return header;
}

ValueHeader RandomValueHeader(Random& random) {
  ValueHeader header;
  header.file = static_cast<uint32_t>(random.Below(UINT32_MAX) + 1);
  header.store_uuid = SaltFrom(static_cast<uint8_t>(random.Next()));
  header.salt = SaltFrom(static_cast<uint8_t>(random.Next()));
  header.alignment_bytes = kValueAlignmentBytesMin << random.Below(6);
  header.created_ms = static_cast<int64_t>(random.Next());
  return header;
}

Buffer Encode(const Superblock& superblock) {
  Buffer block(kBlockBytes, std::byte{0xEE});
  EncodeSuperblock(superblock, block);
  return block;
}

Buffer Encode(const SegmentHeader& header) {
  Buffer block(kBlockBytes, std::byte{0xEE});
  EncodeSegmentHeader(header, kSecret, block);
  return block;
}

Buffer Encode(const ValueHeader& header) {
  Buffer block(kBlockBytes, std::byte{0xEE});
  EncodeValueHeader(header, kSecret, block);
  return block;
}

TEST_CASE("a segment header's copy of the superblock is had whatever else of the header is wrong, and not if it is") {
  Random random;
  INFO(random.ReplayLine());
  SegmentHeader header = RandomSegmentHeader(random);
  header.superblock = RandomSuperblock(random);
  const Buffer whole = Encode(header);
  constexpr size_t kCopyAt = kSuperblockCopyAt, kCopyEnd = kCopyAt + kSuperblockFieldsBytes;
  for (size_t at = 0; at < whole.size(); ++at) {
    Buffer damaged = whole;
    damaged[at] ^= std::byte{16};
    const auto copy = SuperblockInHeader(damaged);
    if (at >= kCopyAt && at < kCopyEnd) {
      REQUIRE_FALSE(copy.has_value());
    } else {
      REQUIRE(copy == header.superblock);
    }
  }
  header.superblock.reset();
  CHECK_FALSE(SuperblockInHeader(Encode(header)).has_value());
}

TEST_CASE("a superblock is read back as it was written") {
  Random random;
  INFO(random.ReplayLine());
  for (int i = 0; i < 1000; ++i) {
    const Superblock superblock = RandomSuperblock(random);
    const auto decoded = DecodeSuperblock(Encode(superblock));
    REQUIRE(decoded.ok());
    REQUIRE(*decoded == superblock);
  }
}

TEST_CASE("every single flipped bit of a superblock is DataLoss") {
  Random random;
  INFO(random.ReplayLine());
  CHECK(AcceptedFlips(Encode(RandomSuperblock(random)),
                      [](base::Bytes block) { return !absl::IsDataLoss(DecodeSuperblock(block).status()); }) == kNone);
}

TEST_CASE("a truncated superblock is DataLoss") {
  Random random;
  INFO(random.ReplayLine());
  CHECK(AcceptedTruncations(Encode(RandomSuperblock(random)), [](base::Bytes block) {
          return !absl::IsDataLoss(DecodeSuperblock(block).status());
        }) == kNone);
}

TEST_CASE("a superblock of a newer version, another block size or an unknown feature is refused as such") {
  Random random;
  INFO(random.ReplayLine());
  const Superblock good = RandomSuperblock(random);
  Superblock newer = good, other_block = good, feature = good, version_zero = good;
  newer.format_version = kFormatVersion + 1;
  other_block.block_bytes = 2 * kBlockBytes;
  feature.features = uint64_t{1} << 63;
  version_zero.format_version = 0;
  CHECK(absl::IsFailedPrecondition(DecodeSuperblock(Encode(newer)).status()));
  CHECK(absl::IsFailedPrecondition(DecodeSuperblock(Encode(other_block)).status()));
  CHECK(absl::IsFailedPrecondition(DecodeSuperblock(Encode(feature)).status()));
  CHECK(absl::IsDataLoss(DecodeSuperblock(Encode(version_zero)).status()));
}

TEST_CASE("a newer superblock that uses reserved bytes is refused as newer, not as damaged") {
  Superblock newer;
  newer.format_version = kFormatVersion + 1;
  Buffer block = Encode(newer);
  block.back() = std::byte{1};
  SealBlock(base::LoadLe<uint64_t>(block.data()), 0, block);
  CHECK(absl::IsFailedPrecondition(DecodeSuperblock(block).status()));
}

TEST_CASE("reserved bytes of a superblock and of a segment header are checked even where the checksum is right") {
  Superblock superblock;
  Buffer block = Encode(superblock);
  block.back() = std::byte{1};
  SealBlock(base::LoadLe<uint64_t>(block.data()), 0, block);
  CHECK(absl::IsDataLoss(DecodeSuperblock(block).status()));

  SegmentHeader header;
  header.segment = 1;
  block = Encode(header);
  block.back() = std::byte{1};
  SealBlock(base::LoadLe<uint64_t>(block.data()), kSecret, block);
  CHECK(absl::IsDataLoss(DecodeSegmentHeader(block, kSecret, header.store_uuid).status()));
}

TEST_CASE("a segment header is read back as it was written") {
  Random random;
  INFO(random.ReplayLine());
  for (int i = 0; i < 1000; ++i) {
    const SegmentHeader header = RandomSegmentHeader(random);
    const auto decoded = DecodeSegmentHeader(Encode(header), kSecret, header.store_uuid);
    REQUIRE(decoded.ok());
    REQUIRE(*decoded == header);
  }
}

TEST_CASE("every single flipped bit and every truncation of a segment header is DataLoss") {
  Random random;
  INFO(random.ReplayLine());
  const SegmentHeader header = RandomSegmentHeader(random);
  const auto accepts = [&](base::Bytes block) {
    return !absl::IsDataLoss(DecodeSegmentHeader(block, kSecret, header.store_uuid).status());
  };
  CHECK(AcceptedFlips(Encode(header), accepts) == kNone);
  CHECK(AcceptedTruncations(Encode(header), accepts) == kNone);
}

TEST_CASE("a segment header block of zeros is NotFound, a block of anything else that is no header DataLoss") {
  Random random;
  INFO(random.ReplayLine());
  const Uuid uuid = SaltFrom(1);
  Buffer block(kBlockBytes, std::byte{0});
  CHECK(absl::IsNotFound(DecodeSegmentHeader(block, kSecret, uuid).status()));
  block.back() = std::byte{1};
  CHECK(absl::IsDataLoss(DecodeSegmentHeader(block, kSecret, uuid).status()));
  block = ToBuffer(random.Text(kBlockBytes));
  CHECK(absl::IsDataLoss(DecodeSegmentHeader(block, kSecret, uuid).status()));
}

TEST_CASE("a segment header of another store, by uuid or by secret, is DataLoss") {
  SegmentHeader header;
  header.segment = 7;
  header.store_uuid = SaltFrom(1);
  CHECK(absl::IsDataLoss(DecodeSegmentHeader(Encode(header), kSecret, SaltFrom(2)).status()));
  CHECK(absl::IsDataLoss(DecodeSegmentHeader(Encode(header), kSecret + 1, header.store_uuid).status()));
}

TEST_CASE("a segment header of a newer version is FailedPrecondition and of segment 0 DataLoss") {
  SegmentHeader header;
  header.segment = 7;
  header.format_version = kFormatVersion + 1;
  CHECK(absl::IsFailedPrecondition(DecodeSegmentHeader(Encode(header), kSecret, header.store_uuid).status()));
  header.format_version = kFormatVersion;
  header.segment = kNoSegment;
  CHECK(absl::IsDataLoss(DecodeSegmentHeader(Encode(header), kSecret, header.store_uuid).status()));
}

TEST_CASE("a value file header is read back as it was written") {
  Random random;
  INFO(random.ReplayLine());
  for (int i = 0; i < 1000; ++i) {
    const ValueHeader header = RandomValueHeader(random);
    const auto decoded = DecodeValueHeader(Encode(header), kSecret, header.store_uuid);
    REQUIRE(decoded.ok());
    REQUIRE(*decoded == header);
  }
}

TEST_CASE("every single flipped bit and every truncation of a value file header is DataLoss") {
  Random random;
  INFO(random.ReplayLine());
  const ValueHeader header = RandomValueHeader(random);
  const auto accepts = [&](base::Bytes block) {
    return !absl::IsDataLoss(DecodeValueHeader(block, kSecret, header.store_uuid).status());
  };
  CHECK(AcceptedFlips(Encode(header), accepts) == kNone);
  CHECK(AcceptedTruncations(Encode(header), accepts) == kNone);
}

TEST_CASE("a value file header of zeros is NotFound, of another store, file 0 or a strange alignment DataLoss") {
  ValueHeader header;
  header.file = 7;
  header.store_uuid = SaltFrom(1);
  const auto code = [&](const ValueHeader& changed) {
    return DecodeValueHeader(Encode(changed), kSecret, SaltFrom(1)).status().code();
  };
  CHECK(code(header) == absl::StatusCode::kOk);
  CHECK(absl::IsNotFound(DecodeValueHeader(Buffer(kBlockBytes), kSecret, SaltFrom(1)).status()));
  CHECK(absl::IsDataLoss(DecodeValueHeader(Encode(header), kSecret, SaltFrom(2)).status()));
  CHECK(absl::IsDataLoss(DecodeValueHeader(Encode(header), kSecret + 1, SaltFrom(1)).status()));
  ValueHeader changed = header;
  changed.file = 0;
  CHECK(code(changed) == absl::StatusCode::kDataLoss);
  for (const uint32_t alignment : {0u, 2048u, 4097u, 12288u, 256u << 10}) {
    changed = header;
    changed.alignment_bytes = alignment;
    CHECK(code(changed) == absl::StatusCode::kDataLoss);
  }
  changed = header;
  changed.format_version = kFormatVersion + 1;
  CHECK(code(changed) == absl::StatusCode::kFailedPrecondition);
}

TEST_CASE("reserved bytes of a value file header are checked even where the checksum is right") {
  ValueHeader header;
  header.file = 1;
  Buffer block = Encode(header);
  block.back() = std::byte{1};
  SealBlock(base::LoadLe<uint64_t>(block.data()), kSecret, block);
  CHECK(absl::IsDataLoss(DecodeValueHeader(block, kSecret, header.store_uuid).status()));
}

TEST_CASE("magics read as text in a dump") {
  const Buffer superblock = Encode(Superblock{});
  CHECK(base::AsText(superblock).substr(0, 8) == "firnSUP1");
  const Buffer header = Encode(SegmentHeader{});
  CHECK(base::AsText(header).substr(0, 8) == "firnSEG1");
  CHECK(base::AsText(Encode(ValueHeader{})).substr(0, 8) == "firnVAL1");
}

}  // namespace
}  // namespace firn::format
