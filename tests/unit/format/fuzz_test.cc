// Bytes that nobody of ours wrote: every decoder must answer, within bounds, whatever it is given. Run under
// the sanitizers these are the proof that no input is undefined behaviour.
#include <cstring>

#include "format/footer_layout.h"
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

TEST_CASE("mutated control bodies decode to nothing, or to what encodes to exactly these bytes") {
  Random random;
  INFO(random.ReplayLine());
  const std::string live =
      EncodeLiveIds({.segments = {{3, 8192}, {500, 4096}, {70000, 12288}}, .next_namespace_id = 900});
  const std::string retired = EncodeRetireList({1, 300, 70000});
  const std::string cuts = EncodeCutList({{1, 4096}, {2, 1 << 20}});
  const std::string pointer = EncodeValuePointer(
      {.hash_low = 1, .hash_high = 2, .length = 100'000, .file = 300, .offset = 1 << 30, .piece_checksums = {3, 4}});
  const auto check = [&](const std::string& good, const auto& decode, const auto& encode) {
    Buffer bytes = ToBuffer(good);
    Mutate(bytes, random);
    if (const auto decoded = decode(bytes); decoded && encode(*decoded) != base::AsText(bytes)) {
      FAIL("a body has two encodings");
    }
  };
  for (int i = 0; i < kIterations; ++i) {
    check(live, DecodeLiveIds, EncodeLiveIds);
    check(retired, DecodeRetireList, EncodeRetireList);
    check(cuts, DecodeCutList, EncodeCutList);
    check(cuts, DecodeAdoptList, EncodeAdoptList);
    check(pointer, DecodeValuePointer, EncodeValuePointer);
  }
}

// Makes the checksums of a mutated footer right again, so that its fields are what the reader has to judge.
void Reseal(Buffer& footer, uint32_t units_end) {
  namespace trailer = footer_layout::trailer;
  std::byte* const end = footer.data() + footer.size() - kTrailerBytes;
  const base::Bytes body{footer.data(), footer.size() - kTrailerBytes};
  base::StoreLe(end + trailer::kBodyChecksumAt, base::Hash64(body, kSeed.At(units_end)));
  base::StoreLe(end + kChecksumAt, base::Hash64({end + kVersionAt, kTrailerBytes - kVersionAt},
                                                kSeed.At(units_end + footer.size() - kTrailerBytes)));
}

TEST_CASE("a mutated footer with right checksums opens as a sorted directory within bounds, or not at all") {
  Random random;
  INFO(random.ReplayLine());
  const FooterSummary summary = SummaryFor(1 << 20);
  const std::string good = BuildFooter(RandomEntries(random, 12, summary), summary, kSeed);
  REQUIRE(good.size() == kBlockBytes);
  size_t used = good.size() - kTrailerBytes;
  while (good[used - 1] == '\0') --used;
  int opened = 0;
  for (int i = 0; i < kIterations; ++i) {
    Buffer bytes = ToBuffer(good);
    Buffer front(bytes.begin(), bytes.begin() + static_cast<ptrdiff_t>(used));
    Mutate(front, random);
    front.resize(std::min(front.size(), bytes.size() - kTrailerBytes));
    std::fill(bytes.begin(), bytes.end() - kTrailerBytes, std::byte{0});
    std::copy(front.begin(), front.end(), bytes.begin());
    if (random.Below(8) == 0) {
      bytes[bytes.size() - kTrailerBytes + kVersionAt + random.Below(kTrailerBytes - kVersionAt)] ^= std::byte{1};
    }
    Reseal(bytes, summary.units_end);
    auto reader = OpenFooter(base::AsText(bytes), kSeed, summary.segment, summary.units_end + bytes.size());
    if (!reader) continue;
    ++opened;
    const std::vector<OwnedEntry> entries = ReadAll(*reader);
    if (entries.size() != reader->summary().records) FAIL("the directory ended early");
    uint64_t revision_min = kNoRevision;
    for (const OwnedEntry& entry : entries) revision_min = std::min(revision_min, entry.revision);
    if (revision_min != reader->summary().revision_min) FAIL("the lowest revision is not that of the directory");
    for (size_t n = 0; n < entries.size(); ++n) {
      const OwnedEntry& entry = entries[n];
      if (n > 0 && !(entries[n - 1].Order() < entry.Order())) FAIL("the directory is not sorted");
      if (uint64_t{entry.offset} + entry.size > summary.units_end) FAIL("an entry points past the units");
      if (entry.key.empty() || !HasDirectoryEntry(entry.type)) FAIL("an entry is not well-formed");
    }
  }
  CHECK(opened > 0);
}

}  // namespace
}  // namespace firn::format
