#include "format/record.h"

#include <cstring>

#include <firn/limits.h>

#include "base/check.h"

namespace firn::format {
namespace {

constexpr size_t kChecksumBytes = sizeof(uint64_t);
constexpr size_t kRevisionAt = 8;
constexpr size_t kTypeAt = 16;
constexpr size_t kFlagsAt = 17;

static_assert(kChecksumBytes == kRevisionAt && kRevisionAt + sizeof(uint64_t) == kTypeAt);
static_assert(kFlagsAt + sizeof(uint8_t) == kRecordFixedBytes);

struct Shape {
  RecordType type;
  uint8_t flags;
  uint64_t key_bytes, metadata_bytes, value_bytes;
  int64_t expires_at_ms;
};

// The one rule for what a record may look like: checked before a record is written and after one is read, so
// that nothing can be written that would not be read back.
bool IsWellFormed(const Shape& shape) {
  if ((shape.flags & ~record_flags::kAll) != 0) return false;
  const bool has_expiry = (shape.flags & record_flags::kHasExpiry) != 0;
  const bool has_pointer = (shape.flags & record_flags::kValuePointer) != 0;
  if (has_expiry ? shape.expires_at_ms < 1 || shape.expires_at_ms > kExpiryMsMax : shape.expires_at_ms != 0) {
    return false;
  }
  if (shape.key_bytes > kKeyBytesMax || shape.metadata_bytes > kMetadataBytesMax ||
      shape.value_bytes > kValueBytesMax) {
    return false;
  }
  switch (shape.type) {
    case RecordType::kPut:
      return shape.key_bytes >= kKeyBytesMin;
    case RecordType::kExpiryChange:
      return shape.key_bytes >= kKeyBytesMin && shape.value_bytes == 0 && !has_pointer;
    case RecordType::kDelete:
      return shape.key_bytes >= kKeyBytesMin && shape.value_bytes == 0 && !has_pointer && !has_expiry;
    case RecordType::kNamespaceCreate:
    case RecordType::kNamespaceDrop:
      return shape.key_bytes >= 1 && shape.key_bytes <= kNamespaceKeyBytesMax && shape.value_bytes == 0 &&
             !has_pointer && !has_expiry;
    case RecordType::kLiveIds:
    case RecordType::kRetire:
    case RecordType::kCut:
    case RecordType::kAdopt:
      return !has_pointer && !has_expiry;
    case RecordType::kPadding:
    case RecordType::kRangeDelete:
    case RecordType::kPrepare:
    case RecordType::kCommit:
    case RecordType::kRollback:
    case RecordType::kHorizon:
      // Reserved types come with a feature bit; a reader that skipped them would serve wrong data.
      return false;
  }
  return false;
}

std::byte* StoreBytes(std::byte* to, base::Bytes bytes) {
  if (!bytes.empty()) std::memcpy(to, bytes.data(), bytes.size());  // memcpy of a null range is undefined
  return to + bytes.size();
}

}  // namespace

uint64_t RecordSize(const Record& record) {
  uint64_t size = kRecordFixedBytes + base::VarintSize(record.namespace_id) + base::VarintSize(record.key.size()) +
                  base::VarintSize(record.metadata.size()) + base::VarintSize(record.value.size());
  if (record.expires_at_ms != 0) size += base::VarintSize(static_cast<uint64_t>(record.expires_at_ms));
  return size + record.key.size() + record.metadata.size() + record.value.size();
}

void EncodeRecord(const Record& record, const ChecksumSeed& seed, uint64_t offset, std::byte* to) {
  uint8_t flags = record.flags & static_cast<uint8_t>(~record_flags::kHasExpiry);
  if (record.expires_at_ms != 0) flags |= record_flags::kHasExpiry;
  FIRN_CHECK(IsWellFormed(
      {record.type, flags, record.key.size(), record.metadata.size(), record.value.size(), record.expires_at_ms}));

  base::StoreLe(to + kRevisionAt, record.revision);
  base::StoreLe(to + kTypeAt, static_cast<uint8_t>(record.type));
  base::StoreLe(to + kFlagsAt, flags);
  std::byte* end = to + kRecordFixedBytes;
  end = base::StoreVarint(end, record.namespace_id);
  end = base::StoreVarint(end, record.key.size());
  end = base::StoreVarint(end, record.metadata.size());
  end = base::StoreVarint(end, record.value.size());
  if (record.expires_at_ms != 0) end = base::StoreVarint(end, static_cast<uint64_t>(record.expires_at_ms));
  end = StoreBytes(end, record.key);
  end = StoreBytes(end, record.metadata);
  end = StoreBytes(end, record.value);
  base::StoreLe(to, base::Hash64({to + kChecksumBytes, end}, seed.At(offset)));
}

std::optional<DecodedRecord> ParseRecord(base::Bytes bytes) {
  std::optional<DecodedRecord> decoded;
  if (bytes.size() < kRecordFixedBytes) return decoded;
  base::Reader reader(bytes.subspan(kRecordFixedBytes));
  const uint64_t namespace_id = reader.Varint();
  Shape shape;
  shape.type = static_cast<RecordType>(bytes[kTypeAt]);
  shape.flags = static_cast<uint8_t>(bytes[kFlagsAt]);
  shape.key_bytes = reader.Varint();
  shape.metadata_bytes = reader.Varint();
  shape.value_bytes = reader.Varint();
  const bool has_expiry = (shape.flags & record_flags::kHasExpiry) != 0;
  const uint64_t expires_at_ms = has_expiry ? reader.Varint() : 0;
  if (!reader.ok() || namespace_id > UINT32_MAX || expires_at_ms > uint64_t{kExpiryMsMax}) return decoded;
  shape.expires_at_ms = static_cast<int64_t>(expires_at_ms);
  if (!IsWellFormed(shape)) return decoded;

  decoded.emplace();
  Record& record = decoded->record;
  record.revision = base::LoadLe<uint64_t>(bytes.data() + kRevisionAt);
  record.type = shape.type;
  record.flags = shape.flags;
  record.namespace_id = static_cast<uint32_t>(namespace_id);
  record.expires_at_ms = shape.expires_at_ms;
  record.key = reader.Take(shape.key_bytes);
  record.metadata = reader.Take(shape.metadata_bytes);
  record.value = reader.Take(shape.value_bytes);
  decoded->size_bytes = bytes.size() - reader.remaining();
  if (!reader.ok()) decoded.reset();
  return decoded;
}

std::optional<DecodedRecord> DecodeRecord(base::Bytes bytes, const ChecksumSeed& seed, uint64_t offset) {
  std::optional<DecodedRecord> decoded = ParseRecord(bytes);
  if (!decoded) return decoded;
  const base::Bytes covered = bytes.subspan(kChecksumBytes, decoded->size_bytes - kChecksumBytes);
  if (base::LoadLe<uint64_t>(bytes.data()) != base::Hash64(covered, seed.At(offset))) decoded.reset();
  return decoded;
}

}  // namespace firn::format
