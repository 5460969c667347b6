#include "format/index_image.h"

#include <firn/limits.h>

#include <algorithm>
#include <cstring>
#include <utility>

#include "base/check.h"
#include "format/block.h"

namespace firn::format {
namespace {

constexpr uint64_t kMagic = Magic("firnIMG1");
constexpr std::string_view kName = "index image";

namespace head_at {
constexpr size_t kSegments = 20;
constexpr size_t kUuid = 24;
constexpr size_t kSalt = 40;
constexpr size_t kRevision = 56;
constexpr size_t kRecords = 64;
constexpr size_t kFileBytes = 72;
constexpr size_t kFiltersAt = 80;
constexpr size_t kFiltersBytes = 88;
constexpr size_t kManifestAt = 96;
constexpr size_t kManifestChecksum = 104;
constexpr size_t kBlocks = 112;
constexpr size_t kNextNamespace = 116;
constexpr size_t kNextValueFile = 120;
constexpr size_t kFieldsEnd = 124;

static_assert(kVersionAt + sizeof(uint32_t) == kSegments && kSegments + sizeof(uint32_t) == kUuid);
static_assert(kUuid + sizeof(Uuid) == kSalt && kSalt + sizeof(Salt) == kRevision);
static_assert(kRevision + sizeof(uint64_t) == kRecords && kRecords + sizeof(uint64_t) == kFileBytes);
static_assert(kFileBytes + sizeof(uint64_t) == kFiltersAt && kFiltersAt + sizeof(uint64_t) == kFiltersBytes);
static_assert(kFiltersBytes + sizeof(uint64_t) == kManifestAt && kManifestAt + sizeof(uint64_t) == kManifestChecksum);
static_assert(kManifestChecksum + sizeof(uint64_t) == kBlocks && kBlocks + sizeof(uint32_t) == kNextNamespace);
static_assert(kNextNamespace + sizeof(uint32_t) == kNextValueFile && kNextValueFile + sizeof(uint32_t) == kFieldsEnd);
static_assert(kFieldsEnd <= kBlockBytes);
}  // namespace head_at

// A block of records.
constexpr size_t kRecordsAt = 8, kRecordsBytesAt = 12, kFirstRecordAt = 16;

// A record's first byte: what it is, and which fields follow.
constexpr uint8_t kKindMask = 3, kPutKind = 0, kCreateKind = 1, kChangeKind = 2;
constexpr uint8_t kHasExpiry = 4, kHasExtent = 8, kNewNamespace = 16, kTagAll = 31;
constexpr size_t kRecordBytesMax = 1 + 2 + 4 + 7 * base::kVarintBytesMax + 20 + kKeyBytesMax;
static_assert(kFirstRecordAt + 2 * kRecordBytesMax <= kImageBlockBytes, "the records of a key go into one block");

template <typename T>
void Append(std::string& to, T value) {
  std::byte encoded[sizeof(T)];
  base::StoreLe(encoded, value);
  to.append(base::AsText(encoded));
}
void AppendVarint(std::string& to, uint64_t value) {
  std::byte encoded[base::kVarintBytesMax];
  to.append(base::AsText({encoded, base::StoreVarint(encoded, value)}));
}

absl::Status Wrong(const char* what) { return base::DataLoss(std::string(kName) + ": " + what); }

void AppendSegment(std::string& to, const ImageSegment& segment) {
  Append(to, segment.id);
  to.append(base::AsText(segment.salt));
  Append(to, segment.units_end);
  Append(to, segment.file_bytes);
  Append(to, segment.revision_min);
  Append(to, segment.last_revision);
  Append(to, segment.time_ms_max);
  Append(to, segment.records);
  Append(to, segment.record_bytes);
  Append(to, segment.tombstones);
  Append(to, segment.filter_bytes);
  Append(to, segment.filter_checksum);
}

ImageSegment ReadSegment(base::Reader& reader) {
  ImageSegment segment;
  segment.id = reader.Fixed<SegmentId>();
  if (const base::Bytes salt = reader.Take(sizeof(Salt)); reader.ok()) {
    std::memcpy(segment.salt.data(), salt.data(), sizeof(Salt));
  }
  segment.units_end = reader.Fixed<uint32_t>();
  segment.file_bytes = reader.Fixed<uint64_t>();
  segment.revision_min = reader.Fixed<uint64_t>();
  segment.last_revision = reader.Fixed<uint64_t>();
  segment.time_ms_max = reader.Fixed<int64_t>();
  segment.records = reader.Fixed<uint64_t>();
  segment.record_bytes = reader.Fixed<uint64_t>();
  segment.tombstones = reader.Fixed<uint64_t>();
  segment.filter_bytes = reader.Fixed<uint64_t>();
  segment.filter_checksum = reader.Fixed<uint64_t>();
  return segment;
}

bool IsKey(size_t bytes) { return bytes >= kKeyBytesMin && bytes <= kKeyBytesMax; }

uint8_t TagOf(const ImageRecord& record, bool new_namespace) {
  uint8_t tag = record.type == RecordType::kPut               ? kPutKind
                : record.type == RecordType::kNamespaceCreate ? kCreateKind
                                                              : kChangeKind;
  if (record.expires_at_ms != 0) tag |= kHasExpiry;
  if (record.extent) tag |= kHasExtent;
  if (new_namespace) tag |= kNewNamespace;
  return tag;
}

}  // namespace

std::string EncodeImageManifest(const ImageHead& head) {
  FIRN_CHECK(head.segments.size() <= kImageSegmentsMax);
  std::string bytes;
  for (const ImageSegment& segment : head.segments) AppendSegment(bytes, segment);
  for (const KeyPlace& key : head.first_keys) {
    Append(bytes, key.namespace_id);
    Append(bytes, static_cast<uint32_t>(key.key.size()));
    bytes += key.key;
  }
  bytes.resize(base::RoundUp(bytes.size(), kBlockBytes));
  return bytes;
}

ImageLayout LayoutOf(const ImageHead& head, uint64_t blocks_bytes, uint64_t manifest_bytes) {
  ImageLayout layout;
  layout.filters_at = kBlockBytes + blocks_bytes;
  for (const ImageSegment& segment : head.segments) layout.filters_bytes += segment.filter_bytes;
  layout.manifest_at = layout.filters_at + base::RoundUp(layout.filters_bytes, kBlockBytes);
  layout.file_bytes = layout.manifest_at + manifest_bytes;
  return layout;
}

void EncodeImageHead(const ImageHead& head, const ImageLayout& layout, base::Bytes manifest, uint64_t store_secret,
                     base::MutableBytes block) {
  FIRN_CHECK(block.size() == kBlockBytes);
  std::fill(block.begin(), block.end(), std::byte{0});
  std::byte* const at = block.data();
  base::StoreLe(at + kVersionAt, kFormatVersion);
  base::StoreLe(at + head_at::kSegments, static_cast<uint32_t>(head.segments.size()));
  std::memcpy(at + head_at::kUuid, head.store_uuid.data(), sizeof(Uuid));
  std::memcpy(at + head_at::kSalt, head.salt.data(), sizeof(Salt));
  base::StoreLe(at + head_at::kRevision, head.revision);
  base::StoreLe(at + head_at::kRecords, head.records);
  base::StoreLe(at + head_at::kFileBytes, layout.file_bytes);
  base::StoreLe(at + head_at::kFiltersAt, layout.filters_at);
  base::StoreLe(at + head_at::kFiltersBytes, layout.filters_bytes);
  base::StoreLe(at + head_at::kManifestAt, layout.manifest_at);
  base::StoreLe(at + head_at::kManifestChecksum,
                base::Hash64(manifest, ChecksumSeed(store_secret, head.salt).At(layout.manifest_at)));
  base::StoreLe(at + head_at::kBlocks, static_cast<uint32_t>(head.first_keys.size()));
  base::StoreLe(at + head_at::kNextNamespace, head.next_namespace_id);
  base::StoreLe(at + head_at::kNextValueFile, head.next_value_file);
  SealBlock(kMagic, store_secret, block);
}

absl::StatusOr<ImageLayout> DecodeImageLayout(base::Bytes block, const Superblock& superblock, uint64_t file_bytes) {
  FIRN_RETURN_IF_ERROR(CheckBlock(kMagic, superblock.secret, block, kName));
  const std::byte* const at = block.data();
  if (std::memcmp(at + head_at::kUuid, superblock.uuid.data(), sizeof(Uuid)) != 0) return Wrong("of another store");
  if (!IsZero(block.subspan(head_at::kFieldsEnd))) return Wrong("reserved bytes are not zero");
  ImageLayout layout;
  layout.file_bytes = base::LoadLe<uint64_t>(at + head_at::kFileBytes);
  layout.filters_at = base::LoadLe<uint64_t>(at + head_at::kFiltersAt);
  layout.filters_bytes = base::LoadLe<uint64_t>(at + head_at::kFiltersBytes);
  layout.manifest_at = base::LoadLe<uint64_t>(at + head_at::kManifestAt);
  const uint64_t blocks = base::LoadLe<uint32_t>(at + head_at::kBlocks);
  const bool ordered = layout.file_bytes == file_bytes && layout.manifest_at <= file_bytes &&
                       layout.filters_at <= layout.manifest_at && layout.filters_at >= kBlockBytes;
  if (!ordered || (layout.filters_at | layout.manifest_at | file_bytes) % kBlockBytes != 0 ||
      layout.filters_bytes > layout.manifest_at - layout.filters_at ||
      base::RoundUp(layout.filters_bytes, kBlockBytes) != layout.manifest_at - layout.filters_at ||
      base::RoundUp(layout.filters_at - kBlockBytes, kImageBlockBytes) / kImageBlockBytes != blocks ||
      file_bytes - layout.manifest_at > kImageManifestBytesMax) {
    return Wrong("the parts do not fit the file");
  }
  return layout;
}

absl::StatusOr<ImageHead> DecodeImageHead(base::Bytes block, const ImageLayout& layout, base::Bytes manifest,
                                          const Superblock& superblock) {
  const std::byte* const at = block.data();
  ImageHead head;
  head.store_uuid = superblock.uuid;
  std::memcpy(head.salt.data(), at + head_at::kSalt, sizeof(Salt));
  head.revision = base::LoadLe<uint64_t>(at + head_at::kRevision);
  head.records = base::LoadLe<uint64_t>(at + head_at::kRecords);
  head.next_namespace_id = base::LoadLe<uint32_t>(at + head_at::kNextNamespace);
  head.next_value_file = base::LoadLe<uint32_t>(at + head_at::kNextValueFile);
  if (base::LoadLe<uint64_t>(at + head_at::kManifestChecksum) !=
      base::Hash64(manifest, ChecksumSeed(superblock.secret, head.salt).At(layout.manifest_at))) {
    return Wrong("the manifest does not verify");
  }
  base::Reader reader(manifest);
  uint64_t filters_bytes = 0;
  const auto segments = base::LoadLe<uint32_t>(at + head_at::kSegments);
  for (uint32_t i = 0; i < segments; ++i) {
    const ImageSegment segment = ReadSegment(reader);
    const bool ordered = segment.id > (i == 0 ? kNoSegment : head.segments.back().id);
    if (!reader.ok() || !ordered || segment.filter_bytes > layout.filters_bytes - filters_bytes ||
        segment.units_end > segment.file_bytes || segment.last_revision > head.revision ||
        segment.tombstones > uint64_t{INT64_MAX}) {
      return Wrong("no segment is like that");
    }
    filters_bytes += segment.filter_bytes;
    head.segments.push_back(segment);
  }
  const auto blocks = base::LoadLe<uint32_t>(at + head_at::kBlocks);
  for (uint32_t i = 0; i < blocks; ++i) {
    KeyPlace key;
    key.namespace_id = reader.Fixed<uint32_t>();
    key.key = base::AsText(reader.Take(reader.Fixed<uint32_t>()));
    if (!reader.ok() || !IsKey(key.key.size()) || (i > 0 && key <= head.first_keys.back())) {
      return Wrong("the first keys are not in order");
    }
    head.first_keys.push_back(std::move(key));
  }
  if (filters_bytes != layout.filters_bytes || segments > kImageSegmentsMax) return Wrong("the filters do not fit");
  if (!IsZero(manifest.last(reader.remaining()))) return Wrong("reserved bytes are not zero");
  return head;
}

ImageBlockBuilder::ImageBlockBuilder() { bytes_.reserve(kImageBlockBytes); }

bool ImageBlockBuilder::Add(std::span<const ImageRecord> of_one_key, std::span<const ImageSegment> segments) {
  if (records_ == 0) bytes_.assign(kFirstRecordAt, '\0');
  const size_t end_before = bytes_.size();
  const ImageRecord& first = of_one_key.front();
  const bool new_block = records_ == 0, new_namespace = new_block || first.namespace_id != last_key_.namespace_id;
  const std::string_view before = last_key_.key;
  size_t shared = 0;
  if (!new_namespace) {
    const size_t limit = std::min(before.size(), first.key.size());
    while (shared < limit && before[shared] == first.key[shared]) ++shared;
  }
  for (const ImageRecord& record : of_one_key) {
    const bool is_first = &record == &first;
    if (!is_first) shared = record.key.size();
    FIRN_CHECK(IsKey(record.key.size()) && record.segment < segments.size());
    const uint64_t base_revision = segments[record.segment].revision_min;
    FIRN_CHECK(record.revision >= base_revision);
    bytes_.push_back(static_cast<char>(TagOf(record, is_first && new_namespace)));
    Append(bytes_, static_cast<uint16_t>(record.segment));
    Append(bytes_, record.offset);
    if (is_first && new_namespace) Append(bytes_, record.namespace_id);
    AppendVarint(bytes_, shared);
    AppendVarint(bytes_, record.key.size() - shared);
    AppendVarint(bytes_, record.size);
    AppendVarint(bytes_, record.revision - base_revision);
    if (record.expires_at_ms != 0) AppendVarint(bytes_, static_cast<uint64_t>(record.expires_at_ms));
    if (record.extent) {
      Append(bytes_, record.extent->hash_low);
      Append(bytes_, record.extent->hash_high);
      Append(bytes_, record.extent->check);
      AppendVarint(bytes_, record.extent->length);
      AppendVarint(bytes_, record.extent->file);
      AppendVarint(bytes_, record.extent->offset);
    }
    bytes_.append(record.key.substr(shared));
  }
  if (bytes_.size() > kImageBlockBytes) {
    FIRN_CHECK(!new_block);
    bytes_.resize(end_before);
    return false;
  }
  last_key_.namespace_id = first.namespace_id;
  last_key_.key.assign(first.key);
  if (new_block) first_key_ = last_key_;
  records_ += of_one_key.size();
  return true;
}

std::string_view ImageBlockBuilder::Finish(const ChecksumSeed& seed, uint64_t offset, bool last) {
  const auto used = static_cast<uint32_t>(bytes_.size() - kFirstRecordAt);
  bytes_.resize(last ? base::RoundUp(bytes_.size(), kBlockBytes) : kImageBlockBytes);
  const base::MutableBytes block = std::as_writable_bytes(std::span(bytes_));
  base::StoreLe(block.data() + kRecordsAt, static_cast<uint32_t>(records_));
  base::StoreLe(block.data() + kRecordsBytesAt, used);
  base::StoreLe(block.data(), base::Hash64(block.subspan(kRecordsAt), seed.At(offset)));
  records_ = 0;
  return bytes_;
}

absl::Status ImageBlockReader::Open(base::Bytes bytes, const ChecksumSeed& seed, uint64_t offset,
                                    const KeyPlace& first_key, const ImageHead& head) {
  if (bytes.size() < kFirstRecordAt ||
      base::LoadLe<uint64_t>(bytes.data()) != base::Hash64(bytes.subspan(kRecordsAt), seed.At(offset))) {
    return Wrong("a block does not verify");
  }
  left_ = base::LoadLe<uint32_t>(bytes.data() + kRecordsAt);
  const auto used = base::LoadLe<uint32_t>(bytes.data() + kRecordsBytesAt);
  if (left_ == 0 || used > bytes.size() - kFirstRecordAt) return Wrong("no block is like that");
  if (!IsZero(bytes.subspan(kFirstRecordAt + used))) return Wrong("reserved bytes are not zero");
  head_ = &head;
  rest_ = bytes.subspan(kFirstRecordAt, used);
  first_ = true;
  last_ = first_key;
  return absl::OkStatus();
}

bool ImageBlockReader::Next(ImageRecord& record) {
  if (left_ == 0) return false;
  base::Reader reader(rest_);
  const auto tag = reader.Fixed<uint8_t>();
  record.segment = reader.Fixed<uint16_t>();
  record.offset = reader.Fixed<uint32_t>();
  const bool new_namespace = (tag & kNewNamespace) != 0;
  record.namespace_id = new_namespace ? reader.Fixed<uint32_t>() : last_.namespace_id;
  const uint64_t shared = reader.Varint(), more = reader.Varint(), size = reader.Varint(), step = reader.Varint();
  const uint64_t expires_at_ms = (tag & kHasExpiry) != 0 ? reader.Varint() : 0;
  record.extent.reset();
  if ((tag & kHasExtent) != 0) {
    ExtentName& extent = record.extent.emplace();
    extent.hash_low = reader.Fixed<uint64_t>();
    extent.hash_high = reader.Fixed<uint64_t>();
    extent.check = reader.Fixed<uint32_t>();
    extent.length = reader.Varint();
    const uint64_t file = reader.Varint();
    if (file > UINT32_MAX) return false;
    extent.file = static_cast<uint32_t>(file);
    extent.offset = reader.Varint();
  }
  if (more > kKeyBytesMax) return false;
  const std::string_view suffix = base::AsText(reader.Take(more));
  if (!reader.ok() || tag > kTagAll || record.segment >= head_->segments.size()) return false;
  const uint8_t kind = tag & kKindMask;
  if (kind == kKindMask || (record.extent && kind != kPutKind)) return false;
  if (expires_at_ms > uint64_t{kExpiryMsMax} || ((tag & kHasExpiry) != 0 && expires_at_ms == 0)) return false;
  const ImageSegment& segment = head_->segments[record.segment];
  if (size == 0 || size > segment.units_end || record.offset > segment.units_end - size) return false;
  if (segment.revision_min > head_->revision || step > head_->revision - segment.revision_min) return false;

  // The first record has the key that the manifest says; others come in order. As prefixes are as long as they can be,
  // the first byte of the suffix decides.
  if (new_namespace) {
    if (shared != 0 || (!first_ && record.namespace_id <= last_.namespace_id)) return false;
    if (first_ && (record.namespace_id != last_.namespace_id || suffix != last_.key)) return false;
    last_.key.assign(suffix);
  } else {
    if (first_ || shared > last_.key.size()) return false;
    const bool goes_on = shared == last_.key.size();
    if (!goes_on && (suffix.empty() || static_cast<uint8_t>(suffix[0]) <= static_cast<uint8_t>(last_.key[shared]))) {
      return false;
    }
    last_.key.resize(shared);
    last_.key.append(suffix);
  }
  if (!IsKey(last_.key.size())) return false;
  first_ = false;
  --left_;
  last_.namespace_id = record.namespace_id;
  rest_ = rest_.last(reader.remaining());
  record.key = last_.key;
  record.type = kind == kPutKind      ? RecordType::kPut
                : kind == kCreateKind ? RecordType::kNamespaceCreate
                                      : RecordType::kExpiryChange;
  record.size = static_cast<uint32_t>(size);
  record.revision = segment.revision_min + step;
  record.expires_at_ms = static_cast<int64_t>(expires_at_ms);
  return left_ > 0 || rest_.empty();
}

}  // namespace firn::format
