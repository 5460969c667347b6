#include "db/image_reader.h"

#include <algorithm>
#include <cstring>

#include "base/key_filter.h"
#include "format/block.h"

namespace firn {
namespace {

absl::Status AsLoss(const absl::Status& status) {
  // A file that ends before what is in it has lost it.
  return absl::IsOutOfRange(status) ? base::DataLoss(std::string(status.message())) : status;
}

}  // namespace

absl::StatusOr<std::unique_ptr<ImageReader>> ImageReader::Open(io::Disk& disk, const format::Superblock& superblock) {
  FIRN_ASSIGN_OR_RETURN(std::unique_ptr<io::File> file, disk.Open(format::kImageFile, io::OpenMode::kRead));
  base::AlignedBuffer block(format::kBlockBytes);
  FIRN_RETURN_IF_ERROR(AsLoss(file->Read(0, block.bytes())));
  auto reader = std::make_unique<ImageReader>();
  FIRN_ASSIGN_OR_RETURN(reader->layout_, format::DecodeImageLayout(block.bytes(), superblock, file->size_bytes()));
  const format::ImageLayout& layout = reader->layout_;
  const base::AlignedBuffer manifest(layout.file_bytes - layout.manifest_at);
  FIRN_RETURN_IF_ERROR(AsLoss(file->Read(layout.manifest_at, manifest.bytes())));
  FIRN_ASSIGN_OR_RETURN(reader->head_, format::DecodeImageHead(block.bytes(), layout, manifest.bytes(), superblock));
  reader->file_ = std::move(file);
  reader->seed_ = format::ChecksumSeed(superblock.secret, reader->head_.salt);
  reader->indexes_.assign(reader->head_.segments.size(), kGone);
  return reader;
}

absl::StatusOr<base::AlignedBuffer> ImageReader::ReadFilters() const {
  base::AlignedBuffer filters(layout_.manifest_at - layout_.filters_at);
  if (filters.size() == 0) return filters;
  FIRN_RETURN_IF_ERROR(AsLoss(file_->Read(layout_.filters_at, filters.bytes())));
  uint64_t at = 0;
  for (const format::ImageSegment& covered : head_.segments) {
    const base::Bytes bytes = base::Bytes(filters.bytes()).subspan(at, covered.filter_bytes);
    if (!bytes.empty() && base::Hash64(bytes, seed_.At(layout_.filters_at + at)) != covered.filter_checksum) {
      return base::DataLoss("index image: a key filter does not verify");
    }
    at += bytes.size();
  }
  if (!format::IsZero(base::Bytes(filters.bytes()).subspan(at))) {
    return base::DataLoss("index image: reserved bytes are not zero");
  }
  return filters;
}

absl::Status ImageReader::TakeSegments(const std::vector<log::RecoveredSegment>& segments, bool read_only) {
  base::AlignedBuffer filters;
  if (!read_only) {
    FIRN_ASSIGN_OR_RETURN(filters, ReadFilters());
  }
  uint64_t at = 0;
  auto recovered = segments.begin();
  for (size_t i = 0; i < head_.segments.size(); ++i) {
    const format::ImageSegment& covered = head_.segments[i];
    const uint64_t filter_at = at;
    at += covered.filter_bytes;
    while (recovered != segments.end() && recovered->segment->id < covered.id) ++recovered;
    if (recovered == segments.end() || recovered->segment->id != covered.id) continue;
    indexes_[i] = static_cast<size_t>(recovered - segments.begin());
    log::Segment& segment = *recovered->segment;
    segment.record_bytes = covered.record_bytes;
    segment.tombstones.store(static_cast<int64_t>(covered.tombstones), std::memory_order_relaxed);
    if (read_only || covered.filter_bytes == 0) continue;
    segment.filter = base::KeyFilter::FromBytes(base::Bytes(filters.bytes()).subspan(filter_at, covered.filter_bytes));
    if (segment.filter == nullptr) return base::DataLoss("index image: no key filter has this size");
  }
  return absl::OkStatus();
}

absl::StatusOr<size_t> ImageReader::ReadBlocks(size_t block, size_t count, base::MutableBytes buffer) const {
  count =
      std::clamp<size_t>(buffer.size() / format::kImageBlockBytes, 1, std::min(count, head_.first_keys.size() - block));
  const uint64_t begin = layout_.BlockAt(block),
                 end = layout_.BlockAt(block + count - 1) + layout_.BlockBytes(block + count - 1);
  FIRN_RETURN_IF_ERROR(AsLoss(file_->Read(begin, buffer.first(end - begin))));
  return count;
}

absl::Status ImageReader::Check() const {
  FIRN_RETURN_IF_ERROR(ReadFilters().status());
  ImageCursor cursor(*this, {});
  format::ImageRecord record;
  uint64_t records = 0;
  while (cursor.Next(record)) ++records;
  FIRN_RETURN_IF_ERROR(cursor.status());
  return records == head_.records ? absl::OkStatus() : base::DataLoss("index image: records are missing");
}

ImageCursor::ImageCursor(const ImageReader& reader, const format::KeyPlace& low) : reader_(&reader), low_(low) {
  const auto& keys = reader.head().first_keys;
  const auto after = std::upper_bound(keys.begin(), keys.end(), low);
  next_block_ = static_cast<size_t>(after - keys.begin());
  if (next_block_ > 0) --next_block_;
}

bool ImageCursor::OpenBlock() {
  const format::ImageHead& head = reader_->head();
  if (!status_.ok() || next_block_ == head.first_keys.size()) return false;
  const format::KeyPlace& first_key = head.first_keys[next_block_];
  if (block_.LastKey() >= first_key) {
    status_ = base::DataLoss("index image: blocks overlap");
    return false;
  }
  if (next_block_ < buffered_begin_ || next_block_ >= buffered_end_) {
    if (buffer_.size() == 0) {
      const size_t blocks = std::min(kBlocksAhead, head.first_keys.size() - next_block_);
      buffer_ = base::AlignedBuffer(blocks * format::kImageBlockBytes);
    }
    const auto read = reader_->ReadBlocks(next_block_, kBlocksAhead, buffer_.bytes());
    if (!read.ok()) {
      status_ = read.status();
      return false;
    }
    buffered_begin_ = next_block_;
    buffered_end_ = next_block_ + *read;
  }
  const format::ImageLayout& layout = reader_->layout();
  const base::Bytes bytes =
      base::Bytes(buffer_.bytes())
          .subspan((next_block_ - buffered_begin_) * format::kImageBlockBytes, layout.BlockBytes(next_block_));
  status_ = block_.Open(bytes, reader_->seed(), layout.BlockAt(next_block_), first_key, head);
  ++next_block_;
  return status_.ok();
}

bool ImageCursor::Next(format::ImageRecord& record) {
  for (;;) {
    if (block_.Next(record)) {
      if (!passing_) return true;
      passing_ =
          record.namespace_id != low_.namespace_id ? record.namespace_id < low_.namespace_id : record.key < low_.key;
      if (!passing_) return true;
      continue;
    }
    if (status_.ok() && !block_.AtEnd()) status_ = base::DataLoss("index image: a record that cannot be");
    if (!OpenBlock()) return false;
  }
}

}  // namespace firn
