#include "format/index_image.h"

#include <algorithm>

#include "unit/format/golden_testing.h"

namespace firn::format {
namespace {

using namespace testing;

constexpr uint64_t kSecret = 0x1122334455667788;

Superblock ExampleSuperblock() {
  Superblock superblock;
  superblock.uuid = SaltFrom(0x00);
  superblock.secret = kSecret;
  return superblock;
}

ImageHead ExampleHead() {
  ImageHead head;
  head.store_uuid = SaltFrom(0x00);
  head.salt = SaltFrom(0xC0);
  head.revision = 90;
  head.next_namespace_id = 7;
  head.next_value_file = 4;
  head.segments = {{.id = 1,
                    .salt = SaltFrom(0xB0),
                    .units_end = 0x3000,
                    .file_bytes = 0x4000,
                    .revision_min = 2,
                    .last_revision = 40,
                    .time_ms_max = 1'700'000'000'000,
                    .records = 5,
                    .record_bytes = 200,
                    .tombstones = 1,
                    .filter_bytes = 64,
                    .filter_checksum = 0x1234},
                   {.id = 9,
                    .salt = SaltFrom(0xD0),
                    .units_end = 0x9000,
                    .file_bytes = 0xA000,
                    .revision_min = 50,
                    .last_revision = 80}};
  return head;
}

struct OwnedRecord {
  std::string key;
  ImageRecord record;
  bool operator==(const OwnedRecord& other) const {
    const ImageRecord &a = record, &b = other.record;
    return key == other.key && a.namespace_id == b.namespace_id && a.type == b.type && a.segment == b.segment &&
           a.offset == b.offset && a.size == b.size && a.revision == b.revision && a.expires_at_ms == b.expires_at_ms &&
           a.extent == b.extent;
  }
};

std::vector<OwnedRecord> ExampleRecords() {
  const ExtentName extent{1, 2, 300'000, 3, 8'192, 77};
  return {{"\1", {.type = RecordType::kNamespaceCreate, .segment = 0, .offset = 4'160, .size = 40, .revision = 2}},
          {"apple", {.namespace_id = 1, .segment = 0, .offset = 4'184, .size = 30, .revision = 3}},
          {"apple",
           {.namespace_id = 1,
            .type = RecordType::kExpiryChange,
            .segment = 1,
            .offset = 4'160,
            .size = 28,
            .revision = 51,
            .expires_at_ms = 1'700'000'000'001}},
          {"apricot",
           {.namespace_id = 1,
            .segment = 1,
            .offset = 8'200,
            .size = 42,
            .revision = 60,
            .expires_at_ms = 1'800'000'000'000}},
          {"banana", {.namespace_id = 1, .segment = 0, .offset = 5'000, .size = 60, .revision = 4, .extent = extent}},
          {"apple", {.namespace_id = 6, .segment = 1, .offset = 9'000, .size = 33, .revision = 70}}};
}

// All in one block, at `offset` of the file.
Buffer ExampleBlock(const ImageHead& head, uint64_t offset, KeyPlace* first_key) {
  ImageBlockBuilder builder;
  std::vector<OwnedRecord> records = ExampleRecords();
  for (size_t i = 0; i < records.size();) {
    std::vector<ImageRecord> of_one_key;
    const OwnedRecord& first = records[i];
    for (; i < records.size() && records[i].key == first.key &&
           records[i].record.namespace_id == first.record.namespace_id;
         ++i) {
      of_one_key.push_back(records[i].record);
      of_one_key.back().key = records[i].key;
    }
    REQUIRE(builder.Add(of_one_key, head.segments));
  }
  CHECK(builder.records() == records.size());
  *first_key = builder.first_key();
  return ToBuffer(builder.Finish(ChecksumSeed(kSecret, head.salt), offset, /*last=*/true));
}

std::vector<OwnedRecord> ReadAll(ImageBlockReader& reader) {
  std::vector<OwnedRecord> records;
  ImageRecord record;
  while (reader.Next(record)) {
    records.push_back({std::string(record.key), record});
    records.back().record.key = {};
  }
  return records;
}

TEST_CASE("the records of an image's block are read as they were written") {
  ImageHead head = ExampleHead();
  KeyPlace first_key;
  const Buffer block = ExampleBlock(head, 4'096, &first_key);
  ImageBlockReader reader;
  const ChecksumSeed seed(kSecret, head.salt);
  REQUIRE(reader.Open(block, seed, 4'096, first_key, head).ok());
  CHECK(ReadAll(reader) == ExampleRecords());
  CHECK(reader.AtEnd());
  CHECK(reader.LastKey() == KeyPlace{6, "apple"});
  // At another place, or of another image, it is none.
  CHECK(absl::IsDataLoss(reader.Open(block, seed, 8'192, first_key, head)));
  CHECK(absl::IsDataLoss(reader.Open(block, ChecksumSeed(kSecret, SaltFrom(1)), 4'096, first_key, head)));
}

TEST_CASE("a flipped bit anywhere in an image's block is found") {
  ImageHead head = ExampleHead();
  KeyPlace first_key;
  const Buffer block = ExampleBlock(head, 4'096, &first_key);
  const ChecksumSeed seed(kSecret, head.salt);
  CHECK(AcceptedFlips(block, [&](const Buffer& damaged) {
          ImageBlockReader reader;
          return reader.Open(damaged, seed, 4'096, first_key, head).ok();
        }) == kNone);
}

// Whoever knows the secret can make any checksum fit.
TEST_CASE("records that are forged are refused, or are in order and within their segments") {
  Random random;
  INFO(random.ReplayLine());
  ImageHead head = ExampleHead();
  KeyPlace first_key;
  const Buffer block = ExampleBlock(head, 4'096, &first_key);
  const ChecksumSeed seed(kSecret, head.salt);
  for (int round = 0; round < 20'000; ++round) {
    Buffer forged(block.begin(), block.begin() + 512);
    for (uint64_t changes = 1 + random.Below(3); changes > 0; --changes) {
      forged[8 + random.Below(300)] = static_cast<std::byte>(random.Skewed());
    }
    base::StoreLe(forged.data(), base::Hash64(base::Bytes(forged).subspan(8), seed.At(4'096)));
    ImageBlockReader reader;
    if (!reader.Open(forged, seed, 4'096, first_key, head).ok()) continue;
    KeyPlace before;
    ImageRecord record;
    while (reader.Next(record)) {
      const KeyPlace key{record.namespace_id, std::string(record.key)};
      REQUIRE(key >= before);
      REQUIRE(record.segment < head.segments.size());
      REQUIRE(uint64_t{record.offset} + record.size <= head.segments[record.segment].units_end);
      REQUIRE(record.revision <= head.revision);
      before = key;
    }
  }
}

TEST_CASE("a block takes what fits, and a key's records together") {
  ImageHead head = ExampleHead();
  ImageBlockBuilder builder;
  const std::string long_key(60'000, 'k');
  int blocks = 0;
  for (int i = 0; i < 20; ++i) {
    const std::string key = std::to_string(10 + i) + long_key;
    ImageRecord put{.namespace_id = 1, .key = key, .segment = 0, .offset = 4'096, .size = 50, .revision = 9};
    ImageRecord change = put;
    change.type = RecordType::kExpiryChange;
    change.revision = 10;
    const ImageRecord records[] = {put, change};
    if (builder.Add(records, head.segments)) continue;
    ++blocks;
    const KeyPlace first = builder.first_key();
    const Buffer block = ToBuffer(builder.Finish(ChecksumSeed(kSecret, head.salt), 4'096, /*last=*/false));
    CHECK(block.size() == kImageBlockBytes);
    ImageBlockReader reader;
    REQUIRE(reader.Open(block, ChecksumSeed(kSecret, head.salt), 4'096, first, head).ok());
    CHECK(ReadAll(reader).size() % 2 == 0);
    CHECK(reader.AtEnd());
    REQUIRE(builder.Add(records, head.segments));
  }
  CHECK(blocks >= 4);
}

TEST_CASE("an image's head is read as it was written, and every bit of it and its manifest is checked") {
  ImageHead head = ExampleHead();
  head.records = 6;
  head.first_keys = {{0, "\1"}};
  const std::string manifest = EncodeImageManifest(head);
  const ImageLayout layout = LayoutOf(head, 4'096, manifest.size());
  Buffer block(kBlockBytes);
  EncodeImageHead(head, layout, base::AsBytes(manifest), kSecret, block);
  const auto decode = [&](base::Bytes from, base::Bytes list) -> absl::StatusOr<ImageHead> {
    const auto found = DecodeImageLayout(from, ExampleSuperblock(), layout.file_bytes);
    if (!found.ok()) return found.status();
    return DecodeImageHead(from, *found, list, ExampleSuperblock());
  };
  const auto whole = decode(block, base::AsBytes(manifest));
  INFO(whole.status().ToString());
  REQUIRE(whole.ok());
  CHECK(*whole == head);
  CHECK(AcceptedFlips(block, [&](const Buffer& damaged) { return decode(damaged, base::AsBytes(manifest)).ok(); }) ==
        kNone);
  CHECK(AcceptedFlips(ToBuffer(manifest), [&](const Buffer& damaged) { return decode(block, damaged).ok(); }) == kNone);
  Superblock other = ExampleSuperblock();
  other.uuid = SaltFrom(1);
  CHECK(absl::IsDataLoss(DecodeImageLayout(block, other, layout.file_bytes).status()));
  CHECK(absl::IsDataLoss(DecodeImageLayout(block, ExampleSuperblock(), layout.file_bytes + 4'096).status()));
}

TEST_CASE("an index image has the bytes of its golden file", "[golden]") {
  ImageHead head = ExampleHead();
  KeyPlace first_key;
  const Buffer records = ExampleBlock(head, kBlockBytes, &first_key);
  head.records = ExampleRecords().size();
  head.first_keys = {first_key};
  const std::string manifest = EncodeImageManifest(head);
  const ImageLayout layout = LayoutOf(head, records.size(), manifest.size());
  Buffer block(kBlockBytes);
  EncodeImageHead(head, layout, base::AsBytes(manifest), kSecret, block);
  const std::vector<Part> golden =
      CheckGolden("index_image", {{"head", block}, {"block of records", records}, {"manifest", ToBuffer(manifest)}});
  REQUIRE(golden.size() == 3);
  const auto found = DecodeImageLayout(golden[0].bytes, ExampleSuperblock(), layout.file_bytes);
  REQUIRE(found.ok());
  const auto read = DecodeImageHead(golden[0].bytes, *found, golden[2].bytes, ExampleSuperblock());
  REQUIRE(read.ok());
  CHECK(*read == head);
}

}  // namespace
}  // namespace firn::format
