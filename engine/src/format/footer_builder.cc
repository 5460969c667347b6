#include <algorithm>
#include <cstring>

#include <firn/limits.h>

#include "base/check.h"
#include "format/footer_layout.h"

namespace firn::format {
namespace {

using namespace footer_layout;

// Entries wait in the arena as: namespace v | key size v | key | type u8 | flags u8 | offset v | size v |
// revision v | [expiry v] | [value pointer size v | value pointer]. Namespace and key come first because
// sorting looks at them.
DirectoryEntry LoadEntry(const std::string& arena, uint32_t position) {
  base::Reader reader(base::AsBytes(arena).subspan(position));
  DirectoryEntry entry;
  entry.namespace_id = static_cast<uint32_t>(reader.Varint());
  entry.key = base::AsText(reader.Take(reader.Varint()));
  entry.type = static_cast<RecordType>(reader.Fixed<uint8_t>());
  entry.flags = reader.Fixed<uint8_t>();
  entry.offset = static_cast<uint32_t>(reader.Varint());
  entry.size = static_cast<uint32_t>(reader.Varint());
  entry.revision = reader.Varint();
  if ((entry.flags & record_flags::kHasExpiry) != 0) entry.expires_at_ms = static_cast<int64_t>(reader.Varint());
  if ((entry.flags & record_flags::kValuePointer) != 0) {
    entry.value_pointer = base::AsText(reader.Take(reader.Varint()));
  }
  return entry;
}

// Keys compare by the eight bytes that follow what all keys share, as a number that orders as they do: most
// comparisons touch no entry.
struct SortItem {
  uint64_t key_part;
  uint32_t namespace_id;
  uint32_t position;
};
static_assert(sizeof(SortItem) == 16);

uint64_t KeyPart(std::string_view key, size_t shared_by_all) {
  uint64_t part = 0;
  std::memcpy(&part, key.data() + shared_by_all, std::min(key.size() - shared_by_all, sizeof(part)));
  return __builtin_bswap64(part);
}

std::string_view LoadKey(const std::string& arena, uint32_t position) {
  base::Reader reader(base::AsBytes(arena).subspan(position));
  reader.Varint();
  return base::AsText(reader.Take(reader.Varint()));
}

bool SortsBefore(const std::string& arena, const SortItem& a, const SortItem& b) {
  if (a.namespace_id != b.namespace_id) return a.namespace_id < b.namespace_id;
  if (a.key_part != b.key_part) return a.key_part < b.key_part;
  const int order = LoadKey(arena, a.position).compare(LoadKey(arena, b.position));
  if (order != 0) return order < 0;
  const DirectoryEntry left = LoadEntry(arena, a.position), right = LoadEntry(arena, b.position);
  if (left.revision != right.revision) return left.revision < right.revision;
  return left.offset < right.offset;  // a batch may write a key twice, under one revision
}

size_t SharedPrefix(std::string_view a, std::string_view b) {
  const size_t limit = std::min(a.size(), b.size());
  return static_cast<size_t>(std::mismatch(a.begin(), a.begin() + static_cast<ptrdiff_t>(limit), b.begin()).first -
                             a.begin());
}

void AppendEntry(std::string& to, const DirectoryEntry& entry, const DirectoryEntry& previous,
                 uint64_t first_revision) {
  const uint32_t namespace_step = entry.namespace_id - previous.namespace_id;
  const size_t shared = namespace_step == 0 ? SharedPrefix(entry.key, previous.key) : 0;
  const bool has_pointer = (entry.flags & record_flags::kValuePointer) != 0;
  std::byte head[kEntryHeadBytesMax];
  std::byte* end = head;
  *end++ = static_cast<std::byte>(entry.type);
  *end++ = static_cast<std::byte>(entry.flags);
  end = base::StoreVarint(end, namespace_step);
  end = base::StoreVarint(end, shared);
  end = base::StoreVarint(end, entry.key.size() - shared);
  end = base::StoreVarint(end, entry.offset);
  end = base::StoreVarint(end, entry.size);
  end = base::StoreVarint(end, entry.revision - first_revision);
  if (entry.expires_at_ms != 0) end = base::StoreVarint(end, static_cast<uint64_t>(entry.expires_at_ms));
  if (has_pointer) end = base::StoreVarint(end, entry.value_pointer.size());
  to.append(base::AsText({head, end}));
  to.append(entry.key.substr(shared));
  to.append(entry.value_pointer);
}

void StoreHead(const FooterSummary& summary, std::byte* at) {
  base::StoreLe(at + kMagicAt, kHeadMagic);
  base::StoreLe(at + head::kSegmentAt, summary.segment);
  base::StoreLe(at + head::kUnitsEndAt, summary.units_end);
  base::StoreLe(at + head::kRecordsAt, summary.records);
  base::StoreLe(at + head::kFirstRevisionAt, summary.first_revision);
  base::StoreLe(at + head::kLastRevisionAt, summary.last_revision);
  base::StoreLe(at + head::kRevisionMinAt, summary.revision_min);
  base::StoreLe(at + head::kTimeMsMaxAt, summary.time_ms_max);
}

// Appends a part and notes its length in the head.
void AppendPart(std::string& footer, std::string_view part, size_t length_at) {
  footer.append(part);
  base::StoreLe(std::as_writable_bytes(std::span(footer)).data() + length_at, static_cast<uint32_t>(part.size()));
}

void StoreTrailer(const FooterSummary& summary, const ChecksumSeed& seed, base::MutableBytes footer) {
  const base::MutableBytes body = footer.first(footer.size() - kTrailerBytes);
  const uint64_t file_bytes = summary.units_end + footer.size();
  std::byte* const at = body.data() + body.size();
  base::StoreLe(at + kMagicAt, kTrailerMagic);
  base::StoreLe(at + kVersionAt, kFormatVersion);
  base::StoreLe(at + trailer::kSegmentAt, summary.segment);
  base::StoreLe(at + trailer::kBodyChecksumAt, base::Hash64(body, seed.At(summary.units_end)));
  base::StoreLe(at + trailer::kFileBytesAt, file_bytes);
  base::StoreLe(at + trailer::kFooterOffsetAt, summary.units_end);
  base::StoreLe(at + trailer::kFooterBytesAt, static_cast<uint32_t>(footer.size()));
  std::memcpy(at + trailer::kSaltAt, seed.salt().data(), sizeof(Salt));
  const base::Bytes covered{at + kVersionAt, kTrailerBytes - kVersionAt};
  base::StoreLe(at + kChecksumAt, base::Hash64(covered, seed.At(file_bytes - kTrailerBytes)));
}

}  // namespace

bool HasDirectoryEntry(RecordType type) {
  switch (type) {
    case RecordType::kPut:
    case RecordType::kDelete:
    case RecordType::kExpiryChange:
    case RecordType::kNamespaceCreate:
    case RecordType::kNamespaceDrop:
      return true;
    default:
      return false;
  }
}

void FooterBuilder::Add(const DirectoryEntry& entry) {
  FIRN_CHECK(HasDirectoryEntry(entry.type) && entry.key.size() <= kKeyBytesMax);
  FIRN_CHECK(arena_.size() <= UINT32_MAX);
  positions_.push_back(static_cast<uint32_t>(arena_.size()));
  revision_min_ = std::min(revision_min_, entry.revision);

  uint8_t flags = entry.flags & static_cast<uint8_t>(~record_flags::kHasExpiry);
  if (entry.expires_at_ms != 0) flags |= record_flags::kHasExpiry;
  std::byte encoded[kEntryHeadBytesMax];
  std::byte* end = base::StoreVarint(encoded, entry.namespace_id);
  end = base::StoreVarint(end, entry.key.size());
  arena_.append(base::AsText({encoded, end}));
  arena_.append(entry.key);

  end = encoded;
  *end++ = static_cast<std::byte>(entry.type);
  *end++ = static_cast<std::byte>(flags);
  end = base::StoreVarint(end, entry.offset);
  end = base::StoreVarint(end, entry.size);
  end = base::StoreVarint(end, entry.revision);
  if (entry.expires_at_ms != 0) end = base::StoreVarint(end, static_cast<uint64_t>(entry.expires_at_ms));
  const bool has_pointer = (flags & record_flags::kValuePointer) != 0;
  if (has_pointer) end = base::StoreVarint(end, entry.value_pointer.size());
  arena_.append(base::AsText({encoded, end}));
  if (has_pointer) arena_.append(entry.value_pointer);
}

void FooterBuilder::ForEachKey(const std::function<void(uint32_t, std::string_view)>& visit) const {
  for (const uint32_t position : positions_) {
    base::Reader reader(base::AsBytes(arena_).subspan(position));
    const auto namespace_id = static_cast<uint32_t>(reader.Varint());
    visit(namespace_id, base::AsText(reader.Take(reader.Varint())));
  }
}

void FooterBuilder::AppendDirectory(std::string& footer, const FooterSummary& summary) const {
  if (positions_.empty()) return;
  const std::string_view any_key = LoadKey(arena_, positions_[0]);
  size_t shared_by_all = any_key.size();
  for (const uint32_t position : positions_) {
    shared_by_all = SharedPrefix(any_key.substr(0, shared_by_all), LoadKey(arena_, position));
  }
  std::vector<SortItem> items;
  items.reserve(positions_.size());
  for (const uint32_t position : positions_) {
    const DirectoryEntry entry = LoadEntry(arena_, position);
    items.push_back({KeyPart(entry.key, shared_by_all), entry.namespace_id, position});
  }
  std::sort(items.begin(), items.end(),
            [this](const SortItem& a, const SortItem& b) { return SortsBefore(arena_, a, b); });
  DirectoryEntry previous;
  for (const SortItem& item : items) {
    const DirectoryEntry entry = LoadEntry(arena_, item.position);
    FIRN_CHECK(uint64_t{entry.offset} + entry.size <= summary.units_end);
    FIRN_CHECK(summary.first_revision <= entry.revision && entry.revision <= summary.last_revision);
    AppendEntry(footer, entry, previous, summary.first_revision);
    previous = entry;
  }
}

std::string FooterBuilder::Finish(const FooterSummary& summary, const ChecksumSeed& seed) {
  FIRN_CHECK(summary.units_end % kBlockBytes == 0 && summary.segment != kNoSegment);
  FooterSummary counted = summary;
  counted.records = entries();
  counted.revision_min = revision_min_;

  std::string footer;
  footer.reserve(arena_.size() + 2 * kBlockBytes);
  footer.resize(head::kHeadBytes);
  StoreHead(counted, std::as_writable_bytes(std::span(footer)).data());
  AppendPart(footer, EncodeLiveIds(summary.live_ids), head::kLiveIdsBytesAt);
  AppendPart(footer, EncodeRetireList(summary.retired), head::kRetiredBytesAt);
  AppendPart(footer, EncodeCutList(summary.cuts), head::kCutsBytesAt);
  AppendPart(footer, EncodeAdoptList(summary.adopted), head::kAdoptedBytesAt);
  const size_t directory_begin = footer.size();
  AppendDirectory(footer, counted);
  base::StoreLe(std::as_writable_bytes(std::span(footer)).data() + head::kDirectoryBytesAt,
                static_cast<uint32_t>(footer.size() - directory_begin));

  footer.resize(base::RoundUp(footer.size() + kTrailerBytes, kBlockBytes));
  FIRN_CHECK(footer.size() <= UINT32_MAX);
  StoreTrailer(counted, seed, std::as_writable_bytes(std::span(footer)));
  // Neither clear() nor moving an empty string in would give the memory back.
  std::string().swap(arena_);
  std::vector<uint32_t>().swap(positions_);
  revision_min_ = kNoRevision;
  return footer;
}

}  // namespace firn::format
