// Bodies of control records, and value pointers.
#include <firn/limits.h>

#include "format/record.h"
#include "unit/format/testing.h"

namespace firn::format {
namespace {

using namespace testing;

LiveIds RandomLiveIds(Random& random) {
  LiveIds live;
  live.next_namespace_id = static_cast<uint32_t>(random.Skewed());
  SegmentId id = 0;
  for (uint64_t i = random.Below(100); i > 0; --i) {
    id += static_cast<SegmentId>(1 + random.Below(40'000'000));
    live.segments.push_back({id, static_cast<uint32_t>(random.Skewed())});
  }
  return live;
}

ValuePointer RandomPointer(Random& random, uint64_t length) {
  ValuePointer pointer{.hash_low = random.Next(),
                       .hash_high = random.Next(),
                       .length = length,
                       .file = static_cast<uint32_t>(random.Skewed()),
                       .offset = random.Skewed()};
  for (uint64_t i = 0; i < (length + 65535) / 65536; ++i) pointer.piece_checksums.push_back(random.Next());
  return pointer;
}

// A body accepts itself, none of its proper prefixes, and nothing after it.
template <typename Decode>
void CheckExact(const std::string& body, const Decode& decode) {
  REQUIRE(decode(base::AsBytes(body)).has_value());
  CHECK(AcceptedTruncations(ToBuffer(body), [&](base::Bytes cut) { return decode(cut).has_value(); }) == kNone);
  const std::string longer = body + '\0';
  CHECK_FALSE(decode(base::AsBytes(longer)).has_value());
}

TEST_CASE("live ids, retire, cut and adopt lists are read back as they were written") {
  Random random;
  INFO(random.ReplayLine());
  for (int i = 0; i < 200; ++i) {
    const LiveIds live = RandomLiveIds(random);
    REQUIRE(DecodeLiveIds(base::AsBytes(EncodeLiveIds(live))) == live);
    std::vector<SegmentId> retired;
    std::vector<Position> cuts;
    for (uint64_t n = random.Below(50); n > 0; --n) {
      retired.push_back(static_cast<SegmentId>(random.Below(UINT32_MAX) + 1));
      cuts.push_back({retired.back(), static_cast<uint32_t>(random.Skewed())});
    }
    REQUIRE(DecodeRetireList(base::AsBytes(EncodeRetireList(retired))) == retired);
    REQUIRE(DecodeCutList(base::AsBytes(EncodeCutList(cuts))) == cuts);
    REQUIRE(DecodeAdoptList(base::AsBytes(EncodeAdoptList(cuts))) == cuts);
  }
}

TEST_CASE("a control body that is cut short or goes on is nothing") {
  CheckExact(EncodeLiveIds({.segments = {{3, 8192}, {500, 4096}}, .next_namespace_id = 9}), DecodeLiveIds);
  CheckExact(EncodeRetireList({1, 300, UINT32_MAX}), DecodeRetireList);
  CheckExact(EncodeCutList({{1, 4096}, {2, UINT32_MAX}}), DecodeCutList);
  CheckExact(EncodeAdoptList({{1, 4096}, {2, UINT32_MAX}}), DecodeAdoptList);
}

TEST_CASE("a control body whose count exceeds its bytes is refused before memory is taken for it") {
  std::byte huge[base::kVarintBytesMax + 1] = {std::byte{2}};
  const std::byte* end = base::StoreVarint(huge + 1, UINT64_MAX);
  CHECK_FALSE(DecodeLiveIds({huge, end}));
  CHECK_FALSE(DecodeRetireList({huge + 1, end}));
  CHECK_FALSE(DecodeCutList({huge + 1, end}));
  CHECK_FALSE(DecodeAdoptList({huge + 1, end}));
}

TEST_CASE("segment 0, ids that do not ascend and ids past 32 bits are refused in control bodies") {
  using namespace std::string_view_literals;
  CHECK(DecodeLiveIds(base::AsBytes("\x02\x01\x01\x05"sv)));
  CHECK_FALSE(DecodeLiveIds(base::AsBytes("\x02\x01\x00\x05"sv)));
  CHECK_FALSE(DecodeLiveIds(base::AsBytes("\x02\x02\x01\x05\x00\x05"sv)));
  CHECK_FALSE(DecodeLiveIds(base::AsBytes("\x02\x02\x01\x05\xFF\xFF\xFF\xFF\x0F\x05"sv)));
  CHECK_FALSE(DecodeRetireList(base::AsBytes("\x01\x00"sv)));
  CHECK_FALSE(DecodeRetireList(base::AsBytes("\x01\x80\x80\x80\x80\x10"sv)));
  CHECK_FALSE(DecodeCutList(base::AsBytes("\x01\x00\x05"sv)));
  CHECK_FALSE(DecodeAdoptList(base::AsBytes("\x01\x00\x05"sv)));
}

TEST_CASE("a value pointer is read back as it was written, with one checksum per 64 KiB") {
  Random random;
  INFO(random.ReplayLine());
  for (const uint64_t length : {uint64_t{0}, uint64_t{1}, uint64_t{65535}, uint64_t{65536}, uint64_t{65537},
                                kValueBytesMax - 1, kValueBytesMax}) {
    CAPTURE(length);
    const ValuePointer pointer = RandomPointer(random, length);
    CHECK(DecodeValuePointer(base::AsBytes(EncodeValuePointer(pointer))) == pointer);
  }
  CheckExact(EncodeValuePointer(RandomPointer(random, 200'000)), DecodeValuePointer);
}

TEST_CASE("a value pointer past 1 GiB or past file 4,294,967,295 is refused") {
  const auto decode = [](uint64_t length, uint64_t file) {
    std::byte bytes[16 + 3 * base::kVarintBytesMax] = {};
    std::byte* end = base::StoreVarint(bytes + 16, length);
    end = base::StoreVarint(end, file);
    end = base::StoreVarint(end, 0);
    Buffer whole(bytes, end);
    whole.resize(whole.size() + (length + 65535) / 65536 * 8);
    return DecodeValuePointer(whole).has_value();
  };
  CHECK(decode(kValueBytesMax, UINT32_MAX));
  CHECK_FALSE(decode(kValueBytesMax + 1, 1));
  CHECK_FALSE(decode(100, uint64_t{UINT32_MAX} + 1));
}

}  // namespace
}  // namespace firn::format
