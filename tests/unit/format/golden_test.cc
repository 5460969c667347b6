#include "unit/format/golden_testing.h"

#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "format/block.h"
#include "format/segment_header.h"
#include "format/superblock.h"
#include "format/unit.h"
#include "format/value_header.h"
#include "unit/format/footer_testing.h"

namespace firn::format::testing {
namespace {

std::filesystem::path SourcePath(std::string_view path_in_project) {
  return std::filesystem::path(FIRN_SOURCE_DIR) / path_in_project;
}

std::string HexLine(size_t offset, base::Bytes row) {
  char text[128];
  int end = std::snprintf(text, sizeof(text), "%08zx ", offset);
  std::string line(text, static_cast<size_t>(end));
  for (const std::byte byte : row) {
    end = std::snprintf(text, sizeof(text), " %02x", static_cast<unsigned>(byte));
    line.append(text, static_cast<size_t>(end));
  }
  line.append(3 * (16 - row.size()) + 2, ' ');
  for (const char c : base::AsText(row)) line += c > ' ' && c < 0x7F ? c : '.';
  return line;
}

}  // namespace

std::string HexText(const std::vector<Part>& parts) {
  std::string text;
  char offset_text[32];
  for (const Part& part : parts) {
    text += "# " + part.title + "\n";
    bool skipping = false;
    for (size_t at = 0; at < part.bytes.size(); at += 16) {
      const base::Bytes row = base::Bytes(part.bytes).subspan(at, std::min<size_t>(16, part.bytes.size() - at));
      const bool skip = row.size() == 16 && IsZero(row);
      if (!skip) text += HexLine(at, row) + "\n";
      if (skip && !skipping) text += "*\n";
      skipping = skip;
    }
    std::snprintf(offset_text, sizeof(offset_text), "%08zx\n", part.bytes.size());
    text += offset_text;
  }
  return text;
}

std::vector<Part> ParseHexText(std::string_view text) {
  std::vector<Part> parts;
  std::istringstream lines{std::string(text)};
  for (std::string line; std::getline(lines, line);) {
    if (line.starts_with("# ")) {
      parts.push_back({line.substr(2), {}});
      continue;
    }
    if (line == "*") continue;
    REQUIRE(!parts.empty());
    REQUIRE(line.size() >= 8);
    Buffer& bytes = parts.back().bytes;
    bytes.resize(std::stoul(line.substr(0, 8), nullptr, 16));
    for (size_t at = 10; at + 1 < line.size() && at < 10 + 3 * 16 && line[at] != ' '; at += 3) {
      bytes.push_back(static_cast<std::byte>(std::stoul(line.substr(at, 2), nullptr, 16)));
    }
  }
  return parts;
}

std::string ReadSourceFile(std::string_view path_in_project) {
  std::ifstream file(SourcePath(path_in_project), std::ios::binary);
  INFO(path_in_project);
  REQUIRE(file.good());
  std::ostringstream content;
  content << file.rdbuf();
  return content.str();
}

std::vector<Part> CheckGolden(std::string_view name, const std::vector<Part>& parts) {
  const std::string path = "tests/golden/" + std::string(name) + ".hex";
  const std::string text = HexText(parts);
  if (std::getenv("FIRN_UPDATE_GOLDEN") != nullptr) std::ofstream(SourcePath(path), std::ios::binary) << text;
  const std::string golden = ReadSourceFile(path);
  INFO("the bytes on disk changed; if that is meant, follow docs/format.md, \"Changing the format\"");
  CHECK(golden == text);
  return ParseHexText(golden);
}

}  // namespace firn::format::testing

namespace firn::format {
namespace {

using namespace testing;

constexpr uint64_t kSecret = 0x1122334455667788;
const Uuid kUuid = SaltFrom(0x00);
const Salt kSalt = SaltFrom(0xB0);
const ChecksumSeed kSeed(kSecret, kSalt);
constexpr int64_t kTimeMs = 1'700'000'000'000;

Superblock ExampleSuperblock() {
  Superblock superblock;
  superblock.uuid = kUuid;
  superblock.secret = kSecret;
  superblock.created_ms = kTimeMs;
  superblock.salt = SaltFrom(0xA0);
  return superblock;
}

SegmentHeader ExampleHeader() {
  SegmentHeader header;
  header.store_uuid = kUuid;
  header.segment = 1;
  header.incarnation = 1;
  header.salt = kSalt;
  header.first_revision = 1;
  header.created_ms = kTimeMs;
  header.superblock = ExampleSuperblock();
  return header;
}

struct Example {
  std::string title, key, metadata, value;
  uint64_t revision = 0;
  RecordType type = RecordType::kPut;
  uint8_t flags = 0;
  uint32_t namespace_id = kDefaultNamespace;
  int64_t expires_at_ms = 0;

  Record View() const {
    return {revision,
            type,
            flags,
            namespace_id,
            expires_at_ms,
            base::AsBytes(key),
            base::AsBytes(metadata),
            base::AsBytes(value)};
  }
};

// The worked example of docs/format.md: a put, a put with metadata and expiry, a delete; then a batch of two.
std::vector<std::vector<Example>> ExampleUnits() {
  return {{{.title = "live ids",
            .value = EncodeLiveIds({}),
            .revision = 1,
            .type = RecordType::kLiveIds,
            .namespace_id = kSystemNamespace},
           {.title = "put", .key = "apple", .value = "red", .revision = 2},
           {.title = "put with metadata and expiry",
            .key = "apricot",
            .metadata = "m",
            .value = "orange",
            .revision = 3,
            .expires_at_ms = kTimeMs + 1},
           {.title = "delete", .key = "banana", .revision = 4, .type = RecordType::kDelete}},
          {{.title = "put in a batch that goes on",
            .key = "apple",
            .value = "green",
            .revision = 5,
            .flags = record_flags::kInBatch},
           {.title = "delete that ends a batch", .key = "apricot", .revision = 5, .type = RecordType::kDelete}}};
}

// The whole file: header, two units, footer.
Buffer ExampleSegment() {
  Buffer file(3 * kBlockBytes, std::byte{0});
  EncodeSegmentHeader(ExampleHeader(), kSecret, base::MutableBytes(file).first(kBlockBytes));
  FooterBuilder builder;
  auto at = static_cast<uint32_t>(kBlockBytes);
  for (const std::vector<Example>& examples : ExampleUnits()) {
    uint32_t end = at + static_cast<uint32_t>(kUnitHeaderBytes);
    for (const Example& example : examples) {
      const Record record = example.View();
      const auto size = static_cast<uint32_t>(RecordSize(record));
      EncodeRecord(record, kSeed, end, file.data() + end);
      if (HasDirectoryEntry(record.type)) {
        builder.Add({record.namespace_id,
                     example.key,
                     record.type,
                     record.flags,
                     end,
                     size,
                     record.revision,
                     record.expires_at_ms,
                     {}});
      }
      end += size;
    }
    const UnitHeader header{.blocks = 1,
                            .payload_bytes = end - at - static_cast<uint32_t>(kUnitHeaderBytes),
                            .first_revision = examples.front().revision,
                            .last_revision = examples.back().revision,
                            .durable = {1, at},
                            .time_ms = kTimeMs + at};
    SealUnit(header, kSeed, at, base::MutableBytes(file).subspan(at, kBlockBytes));
    at += static_cast<uint32_t>(kBlockBytes);
  }
  FooterSummary summary;
  summary.segment = 1;
  summary.units_end = at;
  summary.first_revision = 1;
  summary.last_revision = 5;
  summary.time_ms_max = kTimeMs + 2 * static_cast<int64_t>(kBlockBytes);
  const Buffer footer = ToBuffer(builder.Finish(summary, kSeed));
  file.insert(file.end(), footer.begin(), footer.end());
  return file;
}

TEST_CASE("the bytes of a superblock are those of its golden file, which today's reader reads", "[golden]") {
  Buffer block(kBlockBytes);
  EncodeSuperblock(ExampleSuperblock(), block);
  const auto golden = CheckGolden("superblock", {{"superblock", block}});
  const auto decoded = DecodeSuperblock(golden.at(0).bytes);
  REQUIRE(decoded.ok());
  CHECK(*decoded == ExampleSuperblock());
}

TEST_CASE("the bytes of a value file header are those of its golden file, which today's reader reads", "[golden]") {
  ValueHeader header;
  header.file = 3;
  header.store_uuid = kUuid;
  header.salt = SaltFrom(0xC0);
  header.alignment_bytes = 128 << 10;
  header.created_ms = kTimeMs;
  Buffer block(kBlockBytes);
  EncodeValueHeader(header, kSecret, block);
  const auto golden = CheckGolden("value_header", {{"values/0000000003.val, block 0", block}});
  const auto decoded = DecodeValueHeader(golden.at(0).bytes, kSecret, kUuid);
  REQUIRE(decoded.ok());
  CHECK(*decoded == header);
}

TEST_CASE("the bytes of a whole segment file are those of its golden file, which today's reader reads", "[golden]") {
  const auto golden = CheckGolden("segment", {{"log/0000000001.seg", ExampleSegment()}});
  const Buffer& file = golden.at(0).bytes;
  const base::Bytes bytes = file;
  const auto header = DecodeSegmentHeader(bytes.first(kBlockBytes), kSecret, kUuid);
  REQUIRE(header.ok());
  CHECK(*header == ExampleHeader());

  uint64_t at = kBlockBytes;
  for (const std::vector<Example>& examples : ExampleUnits()) {
    const auto unit = VerifyUnit(bytes.subspan(at, kBlockBytes), kSeed, at);
    REQUIRE(unit);
    uint64_t record_at = at + kUnitHeaderBytes;
    for (const Example& example : examples) {
      const auto record = DecodeRecord(bytes.subspan(record_at), kSeed, record_at);
      REQUIRE(record);
      CHECK(record->record.revision == example.revision);
      CHECK(base::AsText(record->record.key) == example.key);
      CHECK(base::AsText(record->record.value) == example.value);
      record_at += record->size_bytes;
    }
    CHECK(record_at == at + kUnitHeaderBytes + unit->payload_bytes);
    at += unit->blocks * kBlockBytes;
  }
  auto footer = OpenFooter(base::AsText(bytes.subspan(at)), kSeed, 1, file.size());
  REQUIRE(footer);
  std::vector<std::string> keys;
  for (DirectoryEntry entry; footer->Next(entry);) keys.emplace_back(entry.key);
  CHECK(keys == std::vector<std::string>{"apple", "apple", "apricot", "apricot", "banana"});
}

TEST_CASE("the worked example of docs/format.md is the golden segment and its golden superblock", "[golden]") {
  const std::string page = ReadSourceFile("docs/format.md");
  for (const std::string name : {"superblock", "segment"}) {
    INFO(name << ".hex stands in docs/format.md between ```text and ```");
    CHECK(page.find("```text\n" + ReadSourceFile("tests/golden/" + name + ".hex") + "```\n") != std::string::npos);
  }
}

TEST_CASE("the bytes of every type of record are those of their golden file, which today's reader reads", "[golden]") {
  constexpr uint64_t kOffset = 4160;
  const ValuePointer pointer{.hash_low = 0x0102030405060708,
                             .hash_high = 0x1112131415161718,
                             .length = 70'000,
                             .file = 3,
                             .offset = 8192,
                             .piece_checksums = {0x2122232425262728, 0x3132333435363738}};
  std::vector<Example> examples;
  for (const auto& unit : ExampleUnits()) examples.insert(examples.end(), unit.begin(), unit.end());
  const std::vector<Example> more = {
      {.title = "relocated put with a value pointer",
       .key = "big",
       .value = EncodeValuePointer(pointer),
       .revision = 300,
       .flags = record_flags::kValuePointer | record_flags::kRelocated,
       .namespace_id = 300},
      {.title = "expiry change",
       .key = "apple",
       .revision = 6,
       .type = RecordType::kExpiryChange,
       .expires_at_ms = kTimeMs},
      {.title = "expiry removed", .key = "apple", .revision = 7, .type = RecordType::kExpiryChange},
      {.title = "namespace create",
       .key = "users",
       .revision = 8,
       .type = RecordType::kNamespaceCreate,
       .namespace_id = 2},
      {.title = "namespace drop", .key = "users", .revision = 9, .type = RecordType::kNamespaceDrop, .namespace_id = 2},
      {.title = "live ids of two segments",
       .value = EncodeLiveIds({.segments = {{3, 8192}, {300, 4096}}, .next_namespace_id = 5}),
       .revision = 10,
       .type = RecordType::kLiveIds,
       .namespace_id = kSystemNamespace},
      {.title = "retire",
       .value = EncodeRetireList({3, 300}),
       .revision = 11,
       .type = RecordType::kRetire,
       .namespace_id = kSystemNamespace},
      {.title = "cut",
       .value = EncodeCutList({{300, 12288}}),
       .revision = 12,
       .type = RecordType::kCut,
       .namespace_id = kSystemNamespace},
      {.title = "adopt",
       .value = EncodeAdoptList({{301, 16384}}),
       .revision = 13,
       .type = RecordType::kAdopt,
       .namespace_id = kSystemNamespace}};
  examples.insert(examples.end(), more.begin(), more.end());

  std::vector<Part> parts;
  for (const Example& example : examples) {
    const Record record = example.View();
    parts.push_back({example.title, Buffer(RecordSize(record))});
    EncodeRecord(record, kSeed, kOffset, parts.back().bytes.data());
  }
  const auto golden = CheckGolden("records", parts);
  REQUIRE(golden.size() == examples.size());
  for (size_t i = 0; i < golden.size(); ++i) {
    CAPTURE(golden[i].title);
    const auto decoded = DecodeRecord(golden[i].bytes, kSeed, kOffset);
    REQUIRE(decoded);
    CHECK(decoded->size_bytes == golden[i].bytes.size());
    CHECK(decoded->record.type == examples[i].type);
    CHECK(decoded->record.revision == examples[i].revision);
    CHECK(base::AsText(decoded->record.value) == examples[i].value);
  }
  CHECK(DecodeValuePointer(base::AsBytes(examples[6].value)) == pointer);
}

TEST_CASE("the bytes of a footer with every kind of entry are those of its golden file", "[golden]") {
  FooterSummary summary;
  summary.segment = 9;
  summary.units_end = 65536;
  summary.first_revision = 100;
  summary.last_revision = 400;
  summary.time_ms_max = kTimeMs;
  summary.live_ids = {.segments = {{3, 8192}, {7, 4096}}, .next_namespace_id = 12};
  summary.retired = {1, 2};
  summary.cuts = {{7, 4096}};
  summary.adopted = {{8, 8192}};
  std::vector<OwnedEntry> entries = {
      {.namespace_id = 1, .key = "apple", .offset = 4160, .size = 40, .revision = 100},
      {.namespace_id = 1, .key = "apple", .type = RecordType::kDelete, .offset = 4200, .size = 30, .revision = 101},
      {.namespace_id = 1,
       .key = "apple pie",
       .type = RecordType::kExpiryChange,
       .flags = record_flags::kHasExpiry,
       .offset = 4230,
       .size = 40,
       .revision = 399,
       .expires_at_ms = kTimeMs},
      {.namespace_id = 1,
       .key = "apricot",
       .flags = record_flags::kValuePointer,
       .offset = 4270,
       .size = 90,
       .revision = 102,
       .value_pointer = "(an encoded value pointer)"},
      {.namespace_id = 2,
       .key = "users",
       .type = RecordType::kNamespaceCreate,
       .offset = 4360,
       .size = 30,
       .revision = 103},
      {.namespace_id = 300,
       .key = "old",
       .type = RecordType::kNamespaceDrop,
       .offset = 4390,
       .size = 30,
       .revision = 400}};
  const std::string footer = BuildFooter({entries.rbegin(), entries.rend()}, summary, kSeed);
  const auto golden = CheckGolden("footer", {{"footer", ToBuffer(footer)}});
  const Buffer& bytes = golden.at(0).bytes;
  auto reader = OpenFooter(base::AsText(bytes), kSeed, 9, summary.units_end + bytes.size());
  REQUIRE(reader);
  CHECK(ReadAll(*reader) == entries);
  CHECK(reader->summary().live_ids == summary.live_ids);
  CHECK(reader->summary().adopted == summary.adopted);
  CHECK(reader->summary().revision_min == 100);
}

TEST_CASE("the header of a relocation segment is that of its golden file, which today's reader reads", "[golden]") {
  SegmentHeader header = ExampleHeader();
  header.generation = 3;
  Buffer block(kBlockBytes);
  EncodeSegmentHeader(header, kSecret, block);
  const auto golden = CheckGolden("relocation_header", {{"segment header, generation 3", block}});
  const auto decoded = DecodeSegmentHeader(golden.at(0).bytes, kSecret, kUuid);
  REQUIRE(decoded.ok());
  CHECK(*decoded == header);
}

}  // namespace
}  // namespace firn::format
