#include "format/unit.h"

#include <algorithm>

#include "format/block.h"
#include "unit/format/testing.h"

namespace firn::format {
namespace {

using namespace testing;

const ChecksumSeed kSeed(0x1122334455667788, SaltFrom(0xB0));
constexpr uint64_t kOffset = 5 * kBlockBytes;

Buffer SealedUnit(UnitHeader& header, Random& random, uint64_t offset) {
  Buffer unit(header.blocks * kBlockBytes, std::byte{0});
  const Buffer payload = ToBuffer(random.Text(header.payload_bytes));
  std::copy(payload.begin(), payload.end(), unit.begin() + kUnitHeaderBytes);
  header.first_revision = random.Skewed();
  header.last_revision = random.Skewed();
  header.durable = {static_cast<SegmentId>(random.Skewed()), static_cast<uint32_t>(random.Skewed())};
  header.time_ms = static_cast<int64_t>(random.Next());
  SealUnit(header, kSeed, offset, unit);
  return unit;
}

bool SameHeader(const UnitHeader& a, const UnitHeader& b) {
  return a.blocks == b.blocks && a.payload_bytes == b.payload_bytes && a.first_revision == b.first_revision &&
         a.last_revision == b.last_revision && a.durable == b.durable && a.time_ms == b.time_ms;
}

TEST_CASE("a unit is read back as it was sealed, from its head alone and whole") {
  Random random;
  INFO(random.ReplayLine());
  for (int i = 0; i < 300; ++i) {
    UnitHeader header;
    header.blocks = static_cast<uint32_t>(1 + random.Below(4));
    header.payload_bytes = static_cast<uint32_t>(random.Below(header.blocks * kBlockBytes - kUnitHeaderBytes + 1));
    const uint64_t offset = random.Below(1000) * kBlockBytes;
    const Buffer unit = SealedUnit(header, random, offset);
    const auto peeked = PeekUnit(base::Bytes(unit).first(kUnitHeaderBytes), kSeed, offset);
    const auto verified = VerifyUnit(unit, kSeed, offset);
    REQUIRE((peeked && verified));
    REQUIRE((SameHeader(*peeked, header) && SameHeader(*verified, header)));
  }
}

TEST_CASE("every single flipped bit of a unit, padding included, fails its verification") {
  Random random;
  INFO(random.ReplayLine());
  UnitHeader header{.blocks = 2, .payload_bytes = 5000};
  const Buffer unit = SealedUnit(header, random, kOffset);
  CHECK(AcceptedFlips(unit, [](base::Bytes bytes) { return VerifyUnit(bytes, kSeed, kOffset).has_value(); }) == kNone);
}

TEST_CASE("every single flipped bit of a unit's header fails the peek, and no bit of the payload does") {
  Random random;
  INFO(random.ReplayLine());
  UnitHeader header{.blocks = 1, .payload_bytes = 100};
  Buffer unit = SealedUnit(header, random, kOffset);
  const Buffer head(unit.begin(), unit.begin() + kUnitHeaderBytes);
  CHECK(AcceptedFlips(head, [](base::Bytes bytes) { return PeekUnit(bytes, kSeed, kOffset).has_value(); }) == kNone);
  unit[kUnitHeaderBytes] ^= std::byte{1};
  CHECK(PeekUnit(unit, kSeed, kOffset).has_value());
}

TEST_CASE("a unit cut at any byte, or followed by more, is not a unit") {
  Random random;
  INFO(random.ReplayLine());
  UnitHeader header{.blocks = 1, .payload_bytes = 4000};
  Buffer unit = SealedUnit(header, random, kOffset);
  CHECK(AcceptedTruncations(unit, [](base::Bytes bytes) { return VerifyUnit(bytes, kSeed, kOffset).has_value(); }) ==
        kNone);
  const Buffer head(unit.begin(), unit.begin() + kUnitHeaderBytes);
  CHECK(AcceptedTruncations(head, [](base::Bytes bytes) { return PeekUnit(bytes, kSeed, kOffset).has_value(); }) ==
        kNone);
  unit.resize(2 * kBlockBytes);
  CHECK_FALSE(VerifyUnit(unit, kSeed, kOffset));
}

TEST_CASE("a unit at another offset, under another salt or another secret never verifies") {
  Random random;
  INFO(random.ReplayLine());
  UnitHeader header{.blocks = 1, .payload_bytes = 200};
  const Buffer unit = SealedUnit(header, random, kOffset);
  REQUIRE(VerifyUnit(unit, kSeed, kOffset));
  for (uint64_t block = 0; block < 10'000; ++block) {
    if (block * kBlockBytes == kOffset) continue;
    REQUIRE_FALSE(PeekUnit(unit, kSeed, block * kBlockBytes));
  }
  CHECK_FALSE(PeekUnit(unit, ChecksumSeed(0x1122334455667788, SaltFrom(0xB1)), kOffset));
  CHECK_FALSE(PeekUnit(unit, ChecksumSeed(0x1122334455667789, SaltFrom(0xB0)), kOffset));
}

TEST_CASE("header and payload of two units sealed at one place cannot be exchanged") {
  Random random;
  INFO(random.ReplayLine());
  UnitHeader header{.blocks = 1, .payload_bytes = 200};
  const Buffer one = SealedUnit(header, random, kOffset);
  Buffer mixed = SealedUnit(header, random, kOffset);
  std::copy(one.begin(), one.begin() + kUnitHeaderBytes, mixed.begin());
  CHECK(PeekUnit(mixed, kSeed, kOffset));
  CHECK_FALSE(VerifyUnit(mixed, kSeed, kOffset));
}

TEST_CASE("a unit whose padding is not zero is refused even where its checksums are right") {
  UnitHeader header{.blocks = 1, .payload_bytes = 10};
  Buffer unit(kBlockBytes, std::byte{0});
  unit.back() = std::byte{1};
  SealUnit(header, kSeed, kOffset, unit);
  CHECK_FALSE(VerifyUnit(unit, kSeed, kOffset));
}

TEST_CASE("a unit may be empty, may be full, and lengths that contradict each other are refused") {
  Random random;
  INFO(random.ReplayLine());
  const auto full = static_cast<uint32_t>(kBlockBytes - kUnitHeaderBytes);
  for (const uint32_t payload_bytes : {0u, 1u, full - 1, full}) {
    UnitHeader header{.blocks = 1, .payload_bytes = payload_bytes};
    CHECK(VerifyUnit(SealedUnit(header, random, kOffset), kSeed, kOffset));
  }

  // Forged with the secret in hand: the lengths alone must be enough to refuse.
  UnitHeader header{.blocks = 1, .payload_bytes = full};
  const Buffer good = SealedUnit(header, random, kOffset);
  const auto forged = [&](uint32_t blocks, uint32_t payload_bytes) {
    Buffer unit = good;
    base::StoreLe(unit.data() + 48, blocks);
    base::StoreLe(unit.data() + 52, payload_bytes);
    base::StoreLe(unit.data() + kChecksumAt,
                  base::Hash64(base::Bytes(unit).subspan(16, kUnitHeaderBytes - 16), kSeed.At(kOffset)));
    return PeekUnit(unit, kSeed, kOffset).has_value();
  };
  CHECK(forged(1, full));
  CHECK_FALSE(forged(1, full + 1));
  CHECK_FALSE(forged(0, 0));
  CHECK_FALSE(forged(UINT32_MAX, full));
}

}  // namespace
}  // namespace firn::format
