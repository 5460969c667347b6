#include "db/image_writer.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <utility>

#include "base/check.h"
#include "db/store.h"

namespace firn {
namespace {

constexpr uint64_t kClaimBytes = uint64_t{4} << 20;
// Keys whose expiry was changed have to be looked up in the directories, in memory that comes on top: where there are
// more of them there is no image.
constexpr size_t kChangedMax = size_t{1} << 20;

}  // namespace

absl::Status ImageWriter::Run() {
  FIRN_RETURN_IF_ERROR(ChooseSegments());
  FIRN_RETURN_IF_ERROR(FindChanged());
  head_.store_uuid = store_.superblock_.uuid;
  for (size_t half = 0; half < 2; ++half) base::StoreLe(head_.salt.data() + 8 * half, store_.random_.Next());
  seed_ = format::ChecksumSeed(store_.superblock_.secret, head_.salt);
  static_cast<void>(store_.disk_->Remove(format::kUnfinishedImageFile));
  FIRN_ASSIGN_OR_RETURN(file_, store_.disk_->Open(format::kUnfinishedImageFile, io::OpenMode::kCreate));
  FIRN_RETURN_IF_ERROR(AddKeys());
  FIRN_RETURN_IF_ERROR(WriteBlock(/*last=*/true));
  // Rule 7: a key that is left out, because of a record that the image does not speak for, is lost with that record.
  head_.revision = store_.log_->LastReserved();
  FIRN_RETURN_IF_ERROR(store_.log_->WaitDurable(head_.revision));
  head_.next_namespace_id = store_.log_->next_namespace_id.load();
  head_.next_value_file = store_.values_->next_file_id();

  FIRN_RETURN_IF_ERROR(WriteFilters());
  const std::string manifest = format::EncodeImageManifest(head_);
  if (manifest.size() > format::kImageManifestBytesMax) return base::FailedPrecondition("keys are too long");
  layout_ = format::LayoutOf(head_, blocks_bytes_, manifest.size());
  FIRN_RETURN_IF_ERROR(Write(layout_.manifest_at, manifest));
  base::AlignedBuffer block(format::kBlockBytes);
  format::EncodeImageHead(head_, layout_, base::AsBytes(manifest), store_.superblock_.secret, block.bytes());
  FIRN_RETURN_IF_ERROR(Write(0, base::AsText(block.bytes())));
  if (file_->size_bytes() > layout_.file_bytes) FIRN_RETURN_IF_ERROR(file_->Truncate(layout_.file_bytes));
  return file_->Sync();
}

// All that are sealed. What is not is newer than all of them, or an older record of a key that the index has dropped
// might come back from there.
absl::Status ImageWriter::ChooseSegments() {
  const std::vector<std::shared_ptr<log::Segment>> all = store_.log_->segments().All();
  uint64_t last_revision = 0;
  std::vector<std::shared_ptr<log::Segment>> others;
  for (const auto& segment : all) {
    const bool covered = segment->sealed.load(std::memory_order_acquire) && segment->settled.load();
    if (covered) last_revision = std::max(last_revision, segment->last_revision);
    (covered ? segments_ : others).push_back(segment);
  }
  for (const auto& segment : others) {
    if (segment->header.generation > 0 || segment->revision_min.load() <= last_revision) {
      return base::FailedPrecondition(segment->file->name() + " is not sealed");
    }
  }
  if (segments_.size() > format::kImageSegmentsMax) return base::FailedPrecondition("there are too many segments");
  store_.log_->published().WaitFor(last_revision);
  // A version that a view still needs may be copied to another segment later on, while nothing in the image says that
  // it was deleted. Asked for once everything that the image speaks for is published.
  if (!store_.closed_.load() && store_.versions_->kept() != 0) {
    return base::FailedPrecondition("older versions are kept");
  }
  for (const auto& segment : segments_) {
    const auto* filter = segment->filter.get();
    head_.segments.push_back({.id = segment->id,
                              .salt = segment->header.salt,
                              .units_end = segment->units_end.load(),
                              .file_bytes = segment->file->size_bytes(),
                              .revision_min = segment->revision_min.load(),
                              .last_revision = segment->last_revision,
                              .time_ms_max = segment->time_ms_max,
                              .records = segment->records,
                              .record_bytes = segment->record_bytes,
                              .tombstones = static_cast<uint64_t>(std::max<int64_t>(0, segment->tombstones.load())),
                              .filter_bytes = filter == nullptr ? 0 : filter->bytes().size()});
  }
  return absl::OkStatus();
}

std::optional<uint32_t> ImageWriter::IndexOf(uint32_t segment) const {
  const auto& segments = head_.segments;
  const auto at = std::lower_bound(segments.begin(), segments.end(), segment,
                                   [](const format::ImageSegment& each, uint32_t id) { return each.id < id; });
  if (at == segments.end() || at->id != segment) return std::nullopt;
  return static_cast<uint32_t>(at - segments.begin());
}

// The puts' own revisions and expiries, from the directories.
absl::Status ImageWriter::FindChanged() {
  bool too_many = false;
  store_.expiries_->ForEachPage(index::Tree::kLowest, [&](const index::Tree::Page& page) {
    for (size_t i = 0; i < page.size(); ++i) {
      if (Expiry::Unpack(page.entry(i)).change_segment == 0) continue;
      const auto entry = store_.tree_->Find(page.key(i));
      if (!entry || (entry->flags & entry_flags::kExpiryChanged) == 0) continue;
      const auto segment = IndexOf(entry->segment);
      if (segment) changed_.push_back({.segment = *segment, .offset = entry->offset});
    }
    too_many = changed_.size() > kChangedMax;
    return !too_many && keep_going_();
  });
  if (too_many) return base::FailedPrecondition("too many expiries were changed");
  std::sort(changed_.begin(), changed_.end());
  for (auto begin = changed_.begin(); begin != changed_.end();) {
    const auto end = std::find_if(begin, changed_.end(), [&](const Changed& c) { return c.segment != begin->segment; });
    FIRN_ASSIGN_OR_RETURN(format::FooterReader directory,
                          store_.log_->LoadDirectory(head_.segments[begin->segment].id));
    for (format::DirectoryEntry entry; directory.Next(entry);) {
      const auto at = std::lower_bound(begin, end, entry.offset,
                                       [](const Changed& each, uint32_t offset) { return each.offset < offset; });
      if (at == end || at->offset != entry.offset) continue;
      at->revision = entry.revision;
      at->expires_at_ms = entry.expires_at_ms;
    }
    begin = end;
  }
  return absl::OkStatus();
}

const ImageWriter::Changed* ImageWriter::FindPut(uint32_t segment, uint32_t offset) const {
  const auto at = std::lower_bound(changed_.begin(), changed_.end(), std::pair(segment, offset),
                                   [](const Changed& each, const std::pair<uint32_t, uint32_t>& place) {
                                     return std::pair(each.segment, each.offset) < place;
                                   });
  const bool found = at != changed_.end() && at->segment == segment && at->offset == offset && at->revision != 0;
  return found ? &*at : nullptr;
}

absl::Status ImageWriter::AddKeys() {
  index::Tree::Page page;
  std::string at(index::Tree::kLowest);
  for (bool more = true; more; at = page.high()) {
    if (!keep_going_()) return base::FailedPrecondition("there are other things to do");
    // What the page names stays as it is: extents too.
    base::EpochGuard guard(store_.epochs_);
    store_.tree_->ReadLeaf(at, page);
    for (size_t i = 0; i < page.size(); ++i) FIRN_RETURN_IF_ERROR(AddKey(page.key(i), page.entry(i)));
    more = page.has_high();
  }
  return absl::OkStatus();
}

absl::Status ImageWriter::AddKey(std::string_view index_key, index::Entry entry) {
  Expiry expiry;
  if ((entry.flags & entry_flags::kHasExpiry) != 0) {
    auto packed = store_.expiries_->Find(index_key);
    if (!packed || packed->revision != entry.revision) {
      // A writer is at it.
      base::MutexLock stripe(store_.StripeOf(index_key));
      const auto current = store_.tree_->Find(index_key);
      if (!current) return absl::OkStatus();
      entry = *current;
      packed = store_.expiries_->Find(index_key);
    }
    if ((entry.flags & entry_flags::kHasExpiry) != 0 && packed) expiry = Expiry::Unpack(*packed);
  }
  if ((entry.flags & entry_flags::kTombstone) != 0) return absl::OkStatus();
  const uint32_t namespace_id = NamespaceOf(index_key);
  std::array<format::ImageRecord, 2> records;
  size_t count = 0;
  if (const auto segment = IndexOf(entry.segment)) {
    format::ImageRecord& put = records[count++];
    put = {.namespace_id = namespace_id,
           .key = index_key.substr(kNamespacePrefixBytes),
           .type = namespace_id == format::kSystemNamespace ? format::RecordType::kNamespaceCreate
                                                            : format::RecordType::kPut,
           .segment = *segment,
           .offset = entry.offset,
           .size = RecordBytes(entry),
           .revision = entry.revision,
           .expires_at_ms = expiry.at_ms};
    if (IsSeparated(entry)) put.extent = store_.values_->NameOf(entry.size);
    if ((entry.flags & entry_flags::kExpiryChanged) != 0) {
      const Changed* own = FindPut(*segment, entry.offset);
      if (own == nullptr) return base::FailedPrecondition("an expiry has just been changed");
      put.revision = own->revision;
      put.expires_at_ms = own->expires_at_ms;
    }
  }
  if (expiry.change_segment != 0) {
    if (const auto segment = IndexOf(expiry.change_segment)) {
      records[count++] = {.namespace_id = namespace_id,
                          .key = index_key.substr(kNamespacePrefixBytes),
                          .type = format::RecordType::kExpiryChange,
                          .segment = *segment,
                          .offset = log::kFirstUnitOffset,  // nobody asks where it is
                          .size = expiry.change_size,
                          .revision = expiry.revision,
                          .expires_at_ms = expiry.at_ms};
    }
  }
  return count == 0 ? absl::OkStatus() : AddRecords(std::span(records).first(count));
}

absl::Status ImageWriter::AddRecords(std::span<const format::ImageRecord> of_one_key) {
  if (!block_.Add(of_one_key, head_.segments)) {
    FIRN_RETURN_IF_ERROR(WriteBlock(/*last=*/false));
    FIRN_CHECK(block_.Add(of_one_key, head_.segments));
  }
  return absl::OkStatus();
}

absl::Status ImageWriter::WriteBlock(bool last) {
  if (block_.records() == 0) return absl::OkStatus();
  head_.records += block_.records();
  head_.first_keys.push_back(block_.first_key());
  const uint64_t at = format::kBlockBytes + blocks_bytes_;
  const std::string_view bytes = block_.Finish(seed_, at, last);
  blocks_bytes_ += bytes.size();
  return Write(at, bytes);
}

absl::Status ImageWriter::WriteFilters() {
  std::string filters;
  uint64_t at = format::kBlockBytes + blocks_bytes_;
  const uint64_t filters_at = at;
  for (size_t i = 0; i < segments_.size(); ++i) {
    format::ImageSegment& covered = head_.segments[i];
    if (covered.filter_bytes == 0) continue;
    const base::Bytes bytes = segments_[i]->filter->bytes();
    covered.filter_checksum = base::Hash64(bytes, seed_.At(at));
    at += bytes.size();
    filters += base::AsText(bytes);
  }
  filters.resize(base::RoundUp(filters.size(), format::kBlockBytes));
  return Write(filters_at, filters);
}

// Whole blocks only.
absl::Status ImageWriter::Write(uint64_t offset, std::string_view bytes) {
  if (bytes.empty()) return absl::OkStatus();
  FIRN_RETURN_IF_ERROR(Claim(offset + bytes.size()));
  if (buffer_.size() < bytes.size()) buffer_ = base::AlignedBuffer(bytes.size());
  std::memcpy(buffer_.data(), bytes.data(), bytes.size());
  return file_->Write(offset, buffer_.bytes().first(bytes.size()), io::Flush::kNone);
}

// An image is not worth anybody's room: it leaves the reserve alone.
absl::Status ImageWriter::Claim(uint64_t size_bytes) {
  if (size_bytes <= claimed_bytes_) return absl::OkStatus();
  const uint64_t wanted_bytes = base::RoundUp(size_bytes, kClaimBytes);
  if (store_.room_->FreeBytes() < 2 * (wanted_bytes - claimed_bytes_)) {
    return base::ResourceExhausted("there is no room for an index image");
  }
  FIRN_RETURN_IF_ERROR(store_.room_->Claim(*file_, wanted_bytes, claimed_bytes_, io::Claimant::kWrite));
  claimed_bytes_ = wanted_bytes;
  return absl::OkStatus();
}

}  // namespace firn
