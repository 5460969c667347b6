#include "format/record.h"

#include <algorithm>
#include <memory>

#include <firn/limits.h>

#include "unit/format/testing.h"

namespace firn::format {
namespace {

using namespace testing;

const ChecksumSeed kSeed(0x1122334455667788, SaltFrom(0xB0));
constexpr uint64_t kOffset = 4096 + 64;

Buffer Encode(const Record& record, uint64_t offset = kOffset) {
  Buffer bytes(RecordSize(record));
  EncodeRecord(record, kSeed, offset, bytes.data());
  return bytes;
}

Record Put(std::string_view key, std::string_view value) {
  Record record;
  record.revision = 1;
  record.type = RecordType::kPut;
  record.namespace_id = kDefaultNamespace;
  record.key = base::AsBytes(key);
  record.value = base::AsBytes(value);
  return record;
}

// A record with any field out of range and the right checksum: what EncodeRecord itself refuses to write.
struct Forged {
  uint8_t type = 1, flags = 0;
  uint64_t namespace_id = 1, key_bytes = 3, metadata_bytes = 0, value_bytes = 0, expires_at_ms = 0;

  Buffer Bytes() const {
    Buffer bytes(kRecordHeadBytesMax);
    bytes[16] = static_cast<std::byte>(type);
    bytes[17] = static_cast<std::byte>(flags);
    std::byte* end = bytes.data() + kRecordFixedBytes;
    for (const uint64_t field : {namespace_id, key_bytes, metadata_bytes, value_bytes}) {
      end = base::StoreVarint(end, field);
    }
    if ((flags & record_flags::kHasExpiry) != 0) end = base::StoreVarint(end, expires_at_ms);
    bytes.resize(static_cast<size_t>(end - bytes.data()));
    bytes.resize(bytes.size() + key_bytes + metadata_bytes + value_bytes, std::byte{'x'});
    base::StoreLe(bytes.data(), base::Hash64(base::Bytes(bytes).subspan(8), kSeed.At(kOffset)));
    return bytes;
  }
  bool IsAccepted() const {
    const Buffer bytes = Bytes();
    const bool parsed = ParseRecord(bytes).has_value();
    REQUIRE(parsed == DecodeRecord(bytes, kSeed, kOffset).has_value());
    return parsed;
  }
};

bool Same(const Record& a, const Record& b) {
  return a.revision == b.revision && a.type == b.type && a.namespace_id == b.namespace_id &&
         a.expires_at_ms == b.expires_at_ms && base::AsText(a.key) == base::AsText(b.key) &&
         base::AsText(a.metadata) == base::AsText(b.metadata) && base::AsText(a.value) == base::AsText(b.value);
}

TEST_CASE("a record of any type is read back as it was written, whatever bytes follow it") {
  Random random;
  INFO(random.ReplayLine());
  const RecordType types[] = {
      RecordType::kPut,           RecordType::kDelete,  RecordType::kExpiryChange, RecordType::kNamespaceCreate,
      RecordType::kNamespaceDrop, RecordType::kLiveIds, RecordType::kRetire,       RecordType::kCut,
      RecordType::kAdopt};
  for (int i = 0; i < 5000; ++i) {
    const RecordType type = types[random.Below(std::size(types))];
    const bool is_put = type == RecordType::kPut;
    const bool is_control = type >= RecordType::kLiveIds;
    const std::string key = random.Text((is_control ? 0 : 1) + random.Below(60));
    const std::string metadata = random.Text(random.Below(50));
    const std::string value = random.Text(is_put || is_control ? random.Below(2000) : 0);
    Record record;
    record.revision = random.Skewed();
    record.type = type;
    record.flags = static_cast<uint8_t>(random.Below(2) ? record_flags::kInBatch : record_flags::kRelocated);
    if (is_put && random.Below(2)) record.flags |= record_flags::kValuePointer;
    record.namespace_id = static_cast<uint32_t>(random.Skewed());
    if (is_put || type == RecordType::kExpiryChange) {
      record.expires_at_ms = static_cast<int64_t>(random.Skewed() & uint64_t{kExpiryMsMax});
    }
    record.key = base::AsBytes(key);
    record.metadata = base::AsBytes(metadata);
    record.value = base::AsBytes(value);

    const uint64_t offset = random.Below(uint64_t{1} << 32);
    Buffer bytes = Encode(record, offset);
    const size_t size = bytes.size();
    bytes.resize(size + random.Below(40), std::byte{0xFF});
    const auto decoded = DecodeRecord(bytes, kSeed, offset);
    const auto parsed = ParseRecord(bytes);
    REQUIRE((decoded && parsed));
    REQUIRE((decoded->size_bytes == size && parsed->size_bytes == size));
    REQUIRE((Same(decoded->record, record) && Same(parsed->record, record)));
    const uint8_t expiry_flag = record.expires_at_ms != 0 ? record_flags::kHasExpiry : 0;
    REQUIRE(decoded->record.flags == (record.flags | expiry_flag));
  }
}

TEST_CASE("a record's size does not depend on its revision, and its head never exceeds kRecordHeadBytesMax") {
  Record record = Put("key", "value");
  const uint64_t size = RecordSize(record);
  record.revision = UINT64_MAX;
  CHECK(RecordSize(record) == size);
  CHECK(Encode(record).size() == size);
  record.namespace_id = UINT32_MAX;
  record.expires_at_ms = kExpiryMsMax;
  CHECK(RecordSize(record) <= kRecordHeadBytesMax + 3 + 5);
}

TEST_CASE("every single flipped bit of a record is detected") {
  Record record = Put("some key", "some value that goes on for a while");
  record.metadata = base::AsBytes("metadata");
  record.expires_at_ms = 1'700'000'000'000;
  record.revision = 77;
  CHECK(AcceptedFlips(Encode(record),
                      [](base::Bytes bytes) { return DecodeRecord(bytes, kSeed, kOffset).has_value(); }) == kNone);
}

TEST_CASE("a record cut at any byte is nothing") {
  const std::string value(300, 'v');
  Record record = Put("some key", value);
  record.metadata = base::AsBytes("metadata");
  record.expires_at_ms = 1'700'000'000'000;
  const Buffer bytes = Encode(record);
  CHECK(AcceptedTruncations(bytes, [](base::Bytes cut) { return DecodeRecord(cut, kSeed, kOffset).has_value(); }) ==
        kNone);
  CHECK(AcceptedTruncations(bytes, [](base::Bytes cut) { return ParseRecord(cut).has_value(); }) == kNone);
}

TEST_CASE("a record at another offset or under another salt never verifies") {
  const Buffer bytes = Encode(Put("key", "value"));
  REQUIRE(DecodeRecord(bytes, kSeed, kOffset));
  for (uint64_t offset = 0; offset < 100'000; ++offset) {
    if (offset != kOffset) REQUIRE_FALSE(DecodeRecord(bytes, kSeed, offset));
  }
  CHECK_FALSE(DecodeRecord(bytes, ChecksumSeed(0x1122334455667788, SaltFrom(0xB1)), kOffset));
}

TEST_CASE("a value that holds a copy of a record is only a value") {
  const Buffer inner = Encode(Put("victim", "forged"));
  const std::string value(base::AsText(inner));
  const Buffer outer = Encode(Put("key", value), kOffset);
  const size_t at = outer.size() - value.size();
  REQUIRE(ParseRecord(base::Bytes(outer).subspan(at)));
  CHECK_FALSE(DecodeRecord(base::Bytes(outer).subspan(at), kSeed, kOffset + at));
}

TEST_CASE("keys of data records have 1 to 65,535 bytes") {
  for (const uint8_t type : {1, 2, 4}) {
    CAPTURE(static_cast<int>(type));
    CHECK_FALSE(Forged{.type = type, .key_bytes = 0}.IsAccepted());
    CHECK(Forged{.type = type, .key_bytes = 1}.IsAccepted());
    CHECK(Forged{.type = type, .key_bytes = kKeyBytesMax - 1}.IsAccepted());
    CHECK(Forged{.type = type, .key_bytes = kKeyBytesMax}.IsAccepted());
    CHECK_FALSE(Forged{.type = type, .key_bytes = kKeyBytesMax + 1}.IsAccepted());
  }
}

TEST_CASE("namespace records have a key of an id and a name of at most 64 bytes, and no value") {
  for (const uint8_t type : {8, 9}) {
    CAPTURE(static_cast<int>(type));
    CHECK_FALSE(Forged{.type = type, .key_bytes = 0}.IsAccepted());
    CHECK(Forged{.type = type, .key_bytes = 1}.IsAccepted());
    CHECK(Forged{.type = type, .key_bytes = kNamespaceKeyBytesMax - 1}.IsAccepted());
    CHECK(Forged{.type = type, .key_bytes = kNamespaceKeyBytesMax}.IsAccepted());
    CHECK_FALSE(Forged{.type = type, .key_bytes = kNamespaceKeyBytesMax + 1}.IsAccepted());
    CHECK_FALSE(Forged{.type = type, .value_bytes = 1}.IsAccepted());
  }
}

TEST_CASE("metadata has up to 4,096 bytes") {
  CHECK(Forged{.metadata_bytes = kMetadataBytesMax - 1}.IsAccepted());
  CHECK(Forged{.metadata_bytes = kMetadataBytesMax}.IsAccepted());
  CHECK_FALSE(Forged{.metadata_bytes = kMetadataBytesMax + 1}.IsAccepted());
}

TEST_CASE("values of puts have up to 1 GiB") {
  // The value's own bytes are not looked at, so they are not written either.
  const size_t room = kRecordHeadBytesMax + 3 + kValueBytesMax + 1;
  const std::unique_ptr<std::byte[]> memory(new std::byte[room]);
  for (const auto& [value_bytes, accepted] :
       {std::pair(kValueBytesMax - 1, true), {kValueBytesMax, true}, {kValueBytesMax + 1, false}}) {
    CAPTURE(value_bytes);
    std::fill_n(memory.get(), kRecordHeadBytesMax, std::byte{0});
    memory[16] = std::byte{1};
    std::byte* end = memory.get() + kRecordFixedBytes;
    for (const uint64_t field : {uint64_t{1}, uint64_t{3}, uint64_t{0}, value_bytes})
      end = base::StoreVarint(end, field);
    const auto parsed = ParseRecord({memory.get(), room});
    REQUIRE(parsed.has_value() == accepted);
    if (parsed) CHECK(parsed->record.value.size() == value_bytes);
  }
}

TEST_CASE("control records may have no key and a long body") {
  for (const uint8_t type : {10, 11, 12, 14}) {
    CAPTURE(static_cast<int>(type));
    CHECK(Forged{.type = type, .key_bytes = 0, .value_bytes = 200'000}.IsAccepted());
    CHECK_FALSE(Forged{.type = type, .flags = record_flags::kHasExpiry, .expires_at_ms = 1}.IsAccepted());
    CHECK_FALSE(Forged{.type = type, .flags = record_flags::kValuePointer}.IsAccepted());
  }
}

TEST_CASE("a type or flag that this version does not write is refused") {
  for (int type = 0; type < 256; ++type) {
    const bool known = type == 1 || type == 2 || type == 4 || (type >= 8 && type <= 12) || type == 14;
    CAPTURE(type);
    CHECK(Forged{.type = static_cast<uint8_t>(type)}.IsAccepted() == known);
  }
  for (int bit = 0; bit < 8; ++bit) {
    CAPTURE(bit);
    CHECK(Forged{.flags = static_cast<uint8_t>(1 << bit), .expires_at_ms = 1}.IsAccepted() == (bit < 4));
  }
}

TEST_CASE("an expiry is encoded exactly where its flag is set, 1 to kExpiryMsMax, on puts and expiry changes") {
  const uint8_t has_expiry = record_flags::kHasExpiry;
  const auto max = uint64_t{kExpiryMsMax};
  for (const uint8_t type : {1, 4}) {
    CHECK_FALSE(Forged{.type = type, .flags = has_expiry, .expires_at_ms = 0}.IsAccepted());
    CHECK(Forged{.type = type, .flags = has_expiry, .expires_at_ms = 1}.IsAccepted());
    CHECK(Forged{.type = type, .flags = has_expiry, .expires_at_ms = max - 1}.IsAccepted());
    CHECK(Forged{.type = type, .flags = has_expiry, .expires_at_ms = max}.IsAccepted());
    CHECK_FALSE(Forged{.type = type, .flags = has_expiry, .expires_at_ms = max + 1}.IsAccepted());
    CHECK_FALSE(Forged{.type = type, .flags = has_expiry, .expires_at_ms = UINT64_MAX}.IsAccepted());
  }
  CHECK_FALSE(Forged{.type = 2, .flags = has_expiry, .expires_at_ms = 1}.IsAccepted());

  Record record = Put("key", "value");
  record.flags = has_expiry;  // left over from a record this one was made of
  const Buffer bytes = Encode(record);
  CHECK(DecodeRecord(bytes, kSeed, kOffset)->record.flags == 0);
}

TEST_CASE("deletes and expiry changes carry no value, and only puts a value pointer") {
  for (const uint8_t type : {2, 4}) {
    CHECK_FALSE(Forged{.type = type, .value_bytes = 1}.IsAccepted());
    CHECK_FALSE(Forged{.type = type, .flags = record_flags::kValuePointer}.IsAccepted());
  }
  CHECK(Forged{.type = 1, .flags = record_flags::kValuePointer, .value_bytes = 20}.IsAccepted());
}

TEST_CASE("namespace ids have 32 bits and sizes that overflow are refused") {
  CHECK(Forged{.namespace_id = UINT32_MAX}.IsAccepted());
  CHECK_FALSE(Forged{.namespace_id = uint64_t{UINT32_MAX} + 1}.IsAccepted());
  for (const uint64_t huge : {uint64_t{UINT32_MAX}, uint64_t{1} << 63, UINT64_MAX}) {
    Buffer bytes(200, std::byte{0});
    bytes[16] = std::byte{1};
    std::byte* end = bytes.data() + kRecordFixedBytes;
    for (const uint64_t field : {uint64_t{1}, huge, huge, huge}) end = base::StoreVarint(end, field);
    CHECK_FALSE(ParseRecord(bytes));
  }
}

}  // namespace
}  // namespace firn::format
