#include <algorithm>
#include <cstring>

#include <firn/limits.h>

#include "format/footer_layout.h"

namespace firn::format {
namespace {

using namespace footer_layout;

// What a directory entry says before its key suffix and value pointer.
struct EntryHead {
  RecordType type;
  uint8_t flags;
  uint64_t namespace_step, shared, suffix, offset, size, revision_step, expires_at_ms, pointer_size;
};

EntryHead ReadEntryHead(base::Reader& reader) {
  EntryHead head;
  head.type = static_cast<RecordType>(reader.Fixed<uint8_t>());
  head.flags = reader.Fixed<uint8_t>();
  head.namespace_step = reader.Varint();
  head.shared = reader.Varint();
  head.suffix = reader.Varint();
  head.offset = reader.Varint();
  head.size = reader.Varint();
  head.revision_step = reader.Varint();
  head.expires_at_ms = (head.flags & record_flags::kHasExpiry) != 0 ? reader.Varint() : 0;
  head.pointer_size = (head.flags & record_flags::kValuePointer) != 0 ? reader.Varint() : 0;
  return head;
}

// All that can be said of an entry without the one before it. Sums are of numbers that were bounded first.
bool IsPlausible(const EntryHead& head, const FooterSummary& summary) {
  if (!HasDirectoryEntry(head.type) || (head.flags & ~record_flags::kAll) != 0) return false;
  if ((head.flags & record_flags::kHasExpiry) != 0 &&
      (head.expires_at_ms == 0 || head.expires_at_ms > uint64_t{kExpiryMsMax})) {
    return false;
  }
  if (head.shared > kKeyBytesMax || head.suffix > kKeyBytesMax - head.shared) return false;
  if (head.shared + head.suffix < kKeyBytesMin) return false;
  if (head.size > summary.units_end || head.offset > summary.units_end - head.size) return false;
  return summary.first_revision <= summary.last_revision &&
         head.revision_step <= summary.last_revision - summary.first_revision;
}

base::Bytes Covered(base::Bytes trailer) { return trailer.subspan(kVersionAt); }

}  // namespace

std::optional<Trailer> DecodeTrailer(base::Bytes end, const ChecksumSeed& seed, uint64_t file_bytes) {
  if (end.size() != kTrailerBytes || file_bytes < kTrailerBytes) return std::nullopt;
  const std::byte* const at = end.data();
  if (base::LoadLe<uint64_t>(at + kMagicAt) != kTrailerMagic) return std::nullopt;
  if (base::LoadLe<uint64_t>(at + kChecksumAt) != base::Hash64(Covered(end), seed.At(file_bytes - kTrailerBytes))) {
    return std::nullopt;
  }
  if (base::LoadLe<uint32_t>(at + kVersionAt) != kFormatVersion) return std::nullopt;
  if (std::memcmp(at + trailer::kSaltAt, seed.salt().data(), sizeof(Salt)) != 0) return std::nullopt;
  Trailer trailer;
  trailer.footer_offset = base::LoadLe<uint32_t>(at + trailer::kFooterOffsetAt);
  trailer.footer_bytes = base::LoadLe<uint32_t>(at + trailer::kFooterBytesAt);
  trailer.file_bytes = base::LoadLe<uint64_t>(at + trailer::kFileBytesAt);
  if (trailer.file_bytes != file_bytes || uint64_t{trailer.footer_offset} + trailer.footer_bytes != file_bytes ||
      trailer.footer_offset % kBlockBytes != 0 || trailer.footer_bytes % kBlockBytes != 0 ||
      trailer.footer_bytes < head::kHeadBytes + kTrailerBytes) {
    return std::nullopt;
  }
  return trailer;
}

std::optional<TrailerIdentity> PeekTrailer(base::Bytes end) {
  if (end.size() != kTrailerBytes || base::LoadLe<uint64_t>(end.data() + kMagicAt) != kTrailerMagic) {
    return std::nullopt;
  }
  TrailerIdentity identity;
  identity.segment = base::LoadLe<SegmentId>(end.data() + trailer::kSegmentAt);
  std::memcpy(identity.salt.data(), end.data() + trailer::kSaltAt, sizeof(Salt));
  return identity;
}

std::optional<FooterReader> FooterReader::Open(std::string bytes, const Trailer& trailer, const ChecksumSeed& seed,
                                               SegmentId segment, const Visitor& visit) {
  const base::Bytes all = base::AsBytes(bytes);
  if (all.size() != trailer.footer_bytes || all.size() < head::kHeadBytes + kTrailerBytes) return std::nullopt;
  const base::Bytes body = all.first(all.size() - kTrailerBytes);
  // The caller read the trailer on its own, perhaps at another time: these bytes have to say the same.
  const base::Bytes end = all.last(kTrailerBytes);
  const std::optional<Trailer> own = DecodeTrailer(end, seed, trailer.file_bytes);
  if (!own || own->footer_offset != trailer.footer_offset || own->footer_bytes != trailer.footer_bytes ||
      base::LoadLe<SegmentId>(end.data() + trailer::kSegmentAt) != segment ||
      base::LoadLe<uint64_t>(end.data() + trailer::kBodyChecksumAt) !=
          base::Hash64(body, seed.At(trailer.footer_offset))) {
    return std::nullopt;
  }

  const auto read = std::make_shared<Body>();
  read->bytes = std::move(bytes);
  if (!ReadHead(*read, trailer, segment)) return std::nullopt;
  std::optional<FooterReader> reader{FooterReader()};
  reader->body_ = read;
  reader->Rewind();
  // So that Next() can say "the end" and mean it.
  uint64_t records = 0, revision_min = kNoRevision;
  read->marks.push_back(reader->at_);
  for (DirectoryEntry entry; reader->Next(entry); ++records) {
    revision_min = std::min(revision_min, entry.revision);
    if (visit) visit(read->summary, entry);
    if ((records + 1) % kKeysApart == 0) read->marks.push_back(reader->at_);
  }
  if (reader->at_.position != read->directory_end || records != read->summary.records ||
      revision_min != read->summary.revision_min) {
    return std::nullopt;
  }
  reader->Rewind();
  return reader;
}

bool FooterReader::ReadHead(Body& read, const Trailer& trailer, SegmentId segment) {
  FooterSummary& summary = read.summary;
  const base::Bytes body = base::AsBytes(read.bytes).first(read.bytes.size() - kTrailerBytes);
  const std::byte* const at = body.data();
  if (base::LoadLe<uint64_t>(at + kMagicAt) != kHeadMagic) return false;
  summary.segment = base::LoadLe<SegmentId>(at + head::kSegmentAt);
  summary.units_end = base::LoadLe<uint32_t>(at + head::kUnitsEndAt);
  summary.records = base::LoadLe<uint64_t>(at + head::kRecordsAt);
  summary.first_revision = base::LoadLe<uint64_t>(at + head::kFirstRevisionAt);
  summary.last_revision = base::LoadLe<uint64_t>(at + head::kLastRevisionAt);
  summary.revision_min = base::LoadLe<uint64_t>(at + head::kRevisionMinAt);
  summary.time_ms_max = base::LoadLe<int64_t>(at + head::kTimeMsMaxAt);
  if (summary.segment != segment || summary.units_end != trailer.footer_offset) return false;
  // A segment of which nothing could be salvaged has no last revision.
  if (summary.records > 0 && summary.first_revision > summary.last_revision) return false;

  base::Reader parts(body.subspan(head::kHeadBytes));
  std::optional<LiveIds> live = DecodeLiveIds(parts.Take(base::LoadLe<uint32_t>(at + head::kLiveIdsBytesAt)));
  auto retired = DecodeRetireList(parts.Take(base::LoadLe<uint32_t>(at + head::kRetiredBytesAt)));
  auto cuts = DecodeCutList(parts.Take(base::LoadLe<uint32_t>(at + head::kCutsBytesAt)));
  auto adopted = DecodeAdoptList(parts.Take(base::LoadLe<uint32_t>(at + head::kAdoptedBytesAt)));
  if (!live || !retired || !cuts || !adopted || !parts.ok()) return false;
  summary.live_ids = std::move(*live);
  summary.retired = std::move(*retired);
  summary.cuts = std::move(*cuts);
  summary.adopted = std::move(*adopted);

  read.directory_begin = body.size() - parts.remaining();
  parts.Take(base::LoadLe<uint32_t>(at + head::kDirectoryBytesAt));
  if (!parts.ok()) return false;
  read.directory_end = body.size() - parts.remaining();
  return IsZero(body.subspan(read.directory_end));
}

bool FooterReader::Next(DirectoryEntry& entry) {
  const Body& body = *body_;
  if (at_.position == body.directory_end) return false;
  base::Reader reader(base::AsBytes(body.bytes).subspan(at_.position, body.directory_end - at_.position));
  const EntryHead head = ReadEntryHead(reader);
  const std::string_view suffix = base::AsText(reader.Take(head.suffix));
  const std::string_view pointer = base::AsText(reader.Take(head.pointer_size));
  if (!reader.ok() || !IsPlausible(head, body.summary)) return false;

  const bool is_first = at_.position == body.directory_begin;
  const uint64_t revision = body.summary.first_revision + head.revision_step;
  const bool same_namespace = head.namespace_step == 0 && !is_first;
  if (head.namespace_step > UINT32_MAX - at_.namespace_id || head.shared > (same_namespace ? at_.key.size() : 0))
    return false;
  if (same_namespace) {
    // Prefixes are as long as they can be, so the first byte of the suffix decides the order.
    const bool same_key = head.shared == at_.key.size() && suffix.empty();
    const bool key_extends = head.shared == at_.key.size() && !suffix.empty();
    const bool byte_decides = head.shared < at_.key.size() && !suffix.empty() &&
                              static_cast<uint8_t>(suffix[0]) > static_cast<uint8_t>(at_.key[head.shared]);
    const bool same_key_later =
        same_key && (revision > at_.revision || (revision == at_.revision && head.offset > at_.offset));
    if (!key_extends && !byte_decides && !same_key_later) return false;
  }

  at_.namespace_id += static_cast<uint32_t>(head.namespace_step);
  at_.revision = revision;
  at_.offset = static_cast<uint32_t>(head.offset);
  at_.key.resize(head.shared);
  at_.key.append(suffix);
  at_.position = body.directory_end - reader.remaining();
  entry = {.namespace_id = at_.namespace_id,
           .key = at_.key,
           .type = head.type,
           .flags = head.flags,
           .offset = at_.offset,
           .size = static_cast<uint32_t>(head.size),
           .revision = at_.revision,
           .expires_at_ms = static_cast<int64_t>(head.expires_at_ms),
           .value_pointer = pointer};
  return true;
}

void FooterReader::Rewind() {
  at_ = {};
  at_.position = body_->directory_begin;
}

void FooterReader::Seek(const KeyPlace& place) {
  const auto is_below = [&place](uint32_t namespace_id, std::string_view key) {
    return namespace_id != place.namespace_id ? namespace_id < place.namespace_id : key < place.key;
  };
  // The first mark stands before the first entry.
  const auto& marks = body_->marks;
  const auto mark = std::partition_point(marks.begin() + 1, marks.end(),
                                         [&](const Place& each) { return is_below(each.namespace_id, each.key); });
  at_ = *(mark - 1);
  for (DirectoryEntry entry;;) {
    Place before = at_;
    if (!Next(entry)) return;
    if (is_below(entry.namespace_id, entry.key)) continue;
    at_ = std::move(before);
    return;
  }
}

std::vector<KeyPlace> FooterReader::SampleKeys() const {
  std::vector<KeyPlace> keys;
  const auto& marks = body_->marks;
  for (auto mark = marks.begin() + 1; mark != marks.end(); ++mark) keys.push_back({mark->namespace_id, mark->key});
  return keys;
}

}  // namespace firn::format
