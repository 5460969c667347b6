// Bytes that nobody of ours wrote, under checksums that do not fit: no decoder believes them. What decoders make of
// bytes whose checksums fit is for tests/fuzz.
#include <cstring>

#include "format/segment_header.h"
#include "format/superblock.h"
#include "format/unit.h"
#include "unit/format/footer_testing.h"

namespace firn::format {
namespace {

using namespace testing;

constexpr int kIterations = 100'000;
const ChecksumSeed kSeed(0x1122334455667788, SaltFrom(0xB0));

// Sets, flips, inserts, removes or repeats a few bytes.
void Mutate(Buffer& bytes, Random& random) {
  for (uint64_t n = 1 + random.Below(4); n > 0 && !bytes.empty(); --n) {
    const auto at = static_cast<ptrdiff_t>(random.Below(bytes.size()));
    std::byte& byte = bytes[static_cast<size_t>(at)];
    switch (random.Below(6)) {
      case 0:
        byte ^= static_cast<std::byte>(1u << random.Below(8));
        break;
      case 1:
        byte = static_cast<std::byte>(random.Next());
        break;
      case 2:
        byte = std::byte{0xFF};
        break;
      case 3:
        bytes.insert(bytes.begin() + at, static_cast<std::byte>(random.Next()));
        break;
      case 4:
        bytes.erase(bytes.begin() + at);
        break;
      case 5:
        bytes.resize(static_cast<size_t>(at));
        break;
    }
  }
  bytes.shrink_to_fit();
}

// Whatever parses is a record that encodes to the very same bytes: there is one encoding of each record.
void CheckParsed(const Buffer& bytes) {
  const auto parsed = ParseRecord(bytes);
  if (!parsed) return;
  if (parsed->size_bytes > bytes.size() || RecordSize(parsed->record) != parsed->size_bytes) {
    FAIL("a record's size is wrong");
  }
  Buffer again(parsed->size_bytes);
  EncodeRecord(parsed->record, kSeed, 4096, again.data());
  if (std::memcmp(again.data() + 8, bytes.data() + 8, again.size() - 8) != 0) FAIL("a record has two encodings");
}

TEST_CASE("random bytes are nothing to any decoder") {
  Random random;
  INFO(random.ReplayLine());
  const Uuid uuid = SaltFrom(1);
  for (int i = 0; i < kIterations; ++i) {
    Buffer bytes = ToBuffer(random.Text(random.Below(200)));
    if (bytes.size() > 17 && random.Below(2)) bytes[16] = std::byte{1}, bytes[17] = std::byte{0};
    CheckParsed(bytes);
    const uint64_t offset = random.Below(100) * kBlockBytes;
    const bool believed = DecodeRecord(bytes, kSeed, offset) || PeekUnit(bytes, kSeed, offset) ||
                          VerifyUnit(bytes, kSeed, offset) || DecodeTrailer(bytes, kSeed, offset) ||
                          DecodeSuperblock(bytes).ok() || DecodeSegmentHeader(bytes, 1, uuid).ok();
    if (believed) FAIL("random bytes were believed");
    DecodeLiveIds(bytes);
    DecodeRetireList(bytes);
    DecodeCutList(bytes);
    DecodeAdoptList(bytes);
    DecodeValuePointer(bytes);
  }
}

TEST_CASE("a mutated record parses to nothing, or to a record with exactly these bytes") {
  Random random;
  INFO(random.ReplayLine());
  Record record;
  record.revision = 300;
  record.type = RecordType::kPut;
  record.namespace_id = 200;
  record.expires_at_ms = 1'700'000'000'000;
  record.key = base::AsBytes("some key");
  record.metadata = base::AsBytes("meta");
  record.value = base::AsBytes("some value that goes on");
  Buffer good(RecordSize(record));
  EncodeRecord(record, kSeed, 4160, good.data());
  for (int i = 0; i < kIterations; ++i) {
    Buffer bytes = good;
    Mutate(bytes, random);
    CheckParsed(bytes);
    const bool is_whole = bytes.size() >= good.size() && std::equal(good.begin(), good.end(), bytes.begin());
    if (!is_whole && DecodeRecord(bytes, kSeed, 4160)) FAIL("a mutated record was believed");
  }
}

}  // namespace
}  // namespace firn::format
