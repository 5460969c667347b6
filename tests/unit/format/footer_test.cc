#include "format/footer.h"

#include <firn/limits.h>

#include "format/block.h"
#include "unit/format/footer_testing.h"

namespace firn::format {
namespace {

using namespace testing;

const ChecksumSeed kSeed(0x1122334455667788, SaltFrom(0xB0));
constexpr uint32_t kUnitsEnd = 1 << 20;

TEST_CASE("a footer gives back every entry, sorted by namespace, key, revision and offset") {
  Random random;
  INFO(random.ReplayLine());
  for (const size_t count : {0, 1, 2, 3, 100, 5000}) {
    CAPTURE(count);
    const FooterSummary summary = SummaryFor(kUnitsEnd);
    std::vector<OwnedEntry> entries = RandomEntries(random, count, summary);
    const std::string footer = BuildFooter(entries, summary, kSeed);
    REQUIRE(footer.size() % kBlockBytes == 0);
    auto reader = OpenFooter(footer, kSeed, summary.segment, kUnitsEnd + footer.size());
    REQUIRE(reader);
    Sort(entries);
    CHECK(reader->summary().records == count);
    CHECK(ReadAll(*reader) == entries);
    reader->Rewind();
    CHECK(ReadAll(*reader) == entries);
  }
}

TEST_CASE("a footer gives back its summary") {
  const FooterSummary summary = SummaryFor(kUnitsEnd);
  const std::string footer = BuildFooter({}, summary, kSeed);
  const auto reader = OpenFooter(footer, kSeed, summary.segment, kUnitsEnd + footer.size());
  REQUIRE(reader);
  const FooterSummary& read = reader->summary();
  CHECK(read.segment == summary.segment);
  CHECK(read.units_end == summary.units_end);
  CHECK(read.records == 0);
  CHECK(read.first_revision == summary.first_revision);
  CHECK(read.last_revision == summary.last_revision);
  CHECK(read.time_ms_max == summary.time_ms_max);
  CHECK(read.live_ids == summary.live_ids);
  CHECK(read.retired == summary.retired);
  CHECK(read.cuts == summary.cuts);
  CHECK(read.adopted == summary.adopted);
  CHECK(read.revision_min == kNoRevision);
}

TEST_CASE("a footer names the lowest revision in its directory, which may lie above the segment's first") {
  Random random;
  INFO(random.ReplayLine());
  const FooterSummary summary = SummaryFor(kUnitsEnd);
  const std::vector<OwnedEntry> entries = RandomEntries(random, 20, summary);
  uint64_t lowest = kNoRevision;
  for (const OwnedEntry& entry : entries) lowest = std::min(lowest, entry.revision);
  const std::string footer = BuildFooter(entries, summary, kSeed);
  const auto reader = OpenFooter(footer, kSeed, summary.segment, kUnitsEnd + footer.size());
  REQUIRE(reader);
  CHECK(reader->summary().revision_min == lowest);
}

TEST_CASE("a builder names the keys it holds, namespaces too, whatever stands between them") {
  Random random;
  INFO(random.ReplayLine());
  FooterBuilder builder;
  std::vector<std::pair<uint32_t, std::string>> added, visited;
  for (const OwnedEntry& entry : RandomEntries(random, 50, SummaryFor(kUnitsEnd))) {
    builder.Add(entry.View());
    added.emplace_back(entry.namespace_id, entry.key);
  }
  builder.ForEachKey([&](uint32_t namespace_id, std::string_view key) { visited.emplace_back(namespace_id, key); });
  CHECK(visited == added);
}

TEST_CASE("a footer of a segment with no records has no last revision and opens all the same") {
  FooterSummary summary = SummaryFor(kUnitsEnd);
  summary.last_revision = 0;
  const std::string footer = BuildFooter({}, summary, kSeed);
  auto reader = OpenFooter(footer, kSeed, summary.segment, kUnitsEnd + footer.size());
  REQUIRE(reader);
  CHECK(reader->summary().first_revision == summary.first_revision);
  CHECK(ReadAll(*reader).empty());
}

TEST_CASE("a key written twice by one batch keeps both entries, the later one last") {
  const FooterSummary summary = SummaryFor(kUnitsEnd);
  const OwnedEntry later{.namespace_id = 1, .key = "k", .offset = 9000, .size = 40, .revision = 1001};
  OwnedEntry earlier = later;
  earlier.offset = 5000;
  const std::string footer = BuildFooter({later, earlier}, summary, kSeed);
  auto reader = OpenFooter(footer, kSeed, summary.segment, kUnitsEnd + footer.size());
  REQUIRE(reader);
  CHECK(ReadAll(*reader) == std::vector<OwnedEntry>{earlier, later});
}

TEST_CASE("a footer holds keys of 65,535 bytes and keys that are prefixes of one another") {
  const FooterSummary summary = SummaryFor(kUnitsEnd);
  std::vector<OwnedEntry> entries;
  const std::string longest(kKeyBytesMax, '\xFF');
  for (const size_t size : {size_t{1}, size_t{7}, size_t{8}, size_t{9}, kKeyBytesMax - 1, kKeyBytesMax}) {
    entries.push_back({.namespace_id = 1, .key = longest.substr(0, size), .offset = 64, .size = 9, .revision = 1001});
    entries.push_back({.namespace_id = 1, .key = std::string(size, '\0'), .offset = 64, .size = 9, .revision = 1001});
  }
  const std::string footer = BuildFooter(entries, summary, kSeed);
  auto reader = OpenFooter(footer, kSeed, summary.segment, kUnitsEnd + footer.size());
  REQUIRE(reader);
  Sort(entries);
  CHECK(ReadAll(*reader) == entries);
}

TEST_CASE("every single flipped bit of a footer is detected, trailer and padding included") {
  Random random;
  INFO(random.ReplayLine());
  const FooterSummary summary = SummaryFor(kUnitsEnd);
  const std::string footer = BuildFooter(RandomEntries(random, 60, summary), summary, kSeed);
  const uint64_t file_bytes = kUnitsEnd + footer.size();
  REQUIRE(OpenFooter(footer, kSeed, summary.segment, file_bytes));
  CHECK(AcceptedFlips(ToBuffer(footer), [&](base::Bytes bytes) {
          return OpenFooter(base::AsText(bytes), kSeed, summary.segment, file_bytes).has_value();
        }) == kNone);
}

TEST_CASE("a footer that changes between reading its trailer and reading the rest is refused") {
  Random random;
  INFO(random.ReplayLine());
  const FooterSummary summary = SummaryFor(kUnitsEnd);
  const std::string footer = BuildFooter(RandomEntries(random, 10, summary), summary, kSeed);
  const auto trailer = DecodeTrailer(base::AsBytes(footer).last(kTrailerBytes), kSeed, kUnitsEnd + footer.size());
  REQUIRE(trailer);
  const auto opens = [&](base::Bytes bytes) {
    return FooterReader::Open(std::string(base::AsText(bytes)), *trailer, kSeed, summary.segment).has_value();
  };
  REQUIRE(opens(base::AsBytes(footer)));
  CHECK(AcceptedFlips(ToBuffer(footer), opens) == kNone);
  CHECK(AcceptedTruncations(ToBuffer(footer), opens) == kNone);
  CHECK_FALSE(opens(base::AsBytes(footer + '\0')));
}

TEST_CASE("a footer is not one at another place, in another segment, under another salt or another secret") {
  const FooterSummary summary = SummaryFor(kUnitsEnd);
  const std::string footer = BuildFooter({}, summary, kSeed);
  const uint64_t file_bytes = kUnitsEnd + footer.size();
  REQUIRE(OpenFooter(footer, kSeed, summary.segment, file_bytes));
  CHECK_FALSE(OpenFooter(footer, kSeed, summary.segment + 1, file_bytes));
  CHECK_FALSE(OpenFooter(footer, ChecksumSeed(0x1122334455667788, SaltFrom(0xB1)), summary.segment, file_bytes));
  CHECK_FALSE(OpenFooter(footer, ChecksumSeed(0x1122334455667789, SaltFrom(0xB0)), summary.segment, file_bytes));
  for (uint64_t blocks = 1; blocks < 10'000; ++blocks) {
    if (blocks * kBlockBytes == file_bytes) continue;
    REQUIRE_FALSE(OpenFooter(footer, kSeed, summary.segment, blocks * kBlockBytes));
  }
}

TEST_CASE("a value that is a copy of a real trailer, or of a whole footer, is never believed") {
  // The victim: a preallocated file whose last bytes are a client's value, copied from a sealed file of the
  // same store.
  const FooterSummary summary = SummaryFor(kUnitsEnd);
  const std::string value = BuildFooter({}, summary, kSeed);
  const uint64_t sealed_bytes = kUnitsEnd + value.size();
  const ChecksumSeed victim(0x1122334455667788, SaltFrom(0xC0));
  for (const uint64_t file_bytes : {sealed_bytes, sealed_bytes + kBlockBytes, uint64_t{64} << 20}) {
    CHECK_FALSE(OpenFooter(value, victim, summary.segment, file_bytes));
  }
  // Within the very segment that was sealed, at any other place.
  for (const uint64_t file_bytes : {sealed_bytes - kBlockBytes, sealed_bytes + kBlockBytes, uint64_t{64} << 20}) {
    CHECK_FALSE(OpenFooter(value, kSeed, summary.segment, file_bytes));
  }
  // A forger who knows the layout but not the secret checksums it as well as can be done.
  Buffer forged = ToBuffer(value);
  std::byte* const end = forged.data() + forged.size() - kTrailerBytes;
  base::StoreLe(end + kChecksumAt, base::Hash64({end + 16, kTrailerBytes - 16}, 0));
  CHECK_FALSE(OpenFooter(base::AsText(forged), kSeed, summary.segment, sealed_bytes));
}

TEST_CASE("a trailer tells its segment and the salt it verifies with") {
  const FooterSummary summary = SummaryFor(kUnitsEnd);
  const std::string footer = BuildFooter({}, summary, kSeed);
  const auto identity = PeekTrailer(base::AsBytes(footer).last(kTrailerBytes));
  REQUIRE(identity.has_value());
  CHECK(identity->segment == summary.segment);
  CHECK(identity->salt == kSeed.salt());
  CHECK_FALSE(PeekTrailer(base::AsBytes(footer).first(kTrailerBytes)).has_value());
}

TEST_CASE("a trailer cut at any byte is not one") {
  const std::string footer = BuildFooter({}, SummaryFor(kUnitsEnd), kSeed);
  const uint64_t file_bytes = kUnitsEnd + footer.size();
  const Buffer end = ToBuffer(std::string_view(footer).substr(footer.size() - kTrailerBytes));
  CHECK(DecodeTrailer(end, kSeed, file_bytes));
  CHECK(AcceptedTruncations(end, [&](base::Bytes cut) { return DecodeTrailer(cut, kSeed, file_bytes).has_value(); }) ==
        kNone);
}

TEST_CASE("a builder takes 500,000 entries in any order, says what memory it holds and is empty afterwards") {
  const FooterSummary summary = SummaryFor(64u << 20);
  FooterBuilder builder;
  constexpr uint32_t kCount = 500'000;
  for (uint32_t i = 0; i < kCount; ++i) {
    const uint32_t shuffled = static_cast<uint32_t>(uint64_t{i} * 7'919 % kCount);
    const std::string key = "user:" + std::to_string(1'000'000 + shuffled);
    builder.Add({.namespace_id = 1,
                 .key = key,
                 .type = RecordType::kPut,
                 .offset = 4160 + shuffled * 128,
                 .size = 128,
                 .revision = 1000 + shuffled % 4000});
  }
  CHECK(builder.entries() == kCount);
  CHECK(builder.memory_bytes() >= kCount * (12 + sizeof(uint32_t)));
  CHECK(builder.memory_bytes() <= uint64_t{kCount} * 100);
  const std::string footer = builder.Finish(summary, kSeed);
  CHECK(builder.entries() == 0);
  CHECK(builder.memory_bytes() < 100);
  CHECK(footer.size() < uint64_t{kCount} * 20);

  auto reader = OpenFooter(footer, kSeed, summary.segment, summary.units_end + footer.size());
  REQUIRE(reader);
  CHECK(reader->summary().records == kCount);
  uint32_t in_order = 0;
  for (DirectoryEntry entry; reader->Next(entry); ++in_order) {
    if (entry.offset != 4160 + in_order * 128) FAIL("entry " << in_order << " is out of order");
  }
  CHECK(in_order == kCount);
}

TEST_CASE("types that have no place in the directory are those that the summary carries, and padding") {
  CHECK(HasDirectoryEntry(RecordType::kPut));
  CHECK(HasDirectoryEntry(RecordType::kDelete));
  CHECK(HasDirectoryEntry(RecordType::kExpiryChange));
  CHECK(HasDirectoryEntry(RecordType::kNamespaceCreate));
  CHECK(HasDirectoryEntry(RecordType::kNamespaceDrop));
  CHECK_FALSE(HasDirectoryEntry(RecordType::kPadding));
  CHECK_FALSE(HasDirectoryEntry(RecordType::kLiveIds));
  CHECK_FALSE(HasDirectoryEntry(RecordType::kRetire));
  CHECK_FALSE(HasDirectoryEntry(RecordType::kCut));
  CHECK_FALSE(HasDirectoryEntry(RecordType::kAdopt));
  CHECK_FALSE(HasDirectoryEntry(static_cast<RecordType>(200)));
}

}  // namespace
}  // namespace firn::format
