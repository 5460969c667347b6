// Reading an index image, which is not trusted: anything wrong with it is DataLoss, and whoever opens the store does
// without (docs/format.md).
#pragma once

#include <memory>
#include <optional>
#include <vector>

#include "base/aligned_buffer.h"
#include "base/status.h"
#include "format/index_image.h"
#include "io/disk.h"
#include "log/recovery.h"

namespace firn {

class ImageReader {
 public:
  // Reads head and manifest. NotFound if there is no image.
  static absl::StatusOr<std::unique_ptr<ImageReader>> Open(io::Disk& disk, const format::Superblock& superblock);

  const format::ImageHead& head() const { return head_; }
  const format::ImageLayout& layout() const { return layout_; }
  const format::ChecksumSeed& seed() const { return seed_; }

  // Tells which of the image's segments are part of the store, and gives these what the image says of them; unless
  // `read_only` the key filters too.
  absl::Status TakeSegments(const std::vector<log::RecoveredSegment>& segments, bool read_only);
  // The place among those of a segment in the image's list; none if it is gone.
  std::optional<size_t> IndexOf(uint32_t segment) const {
    return indexes_[segment] == kGone ? std::nullopt : std::optional<size_t>(indexes_[segment]);
  }
  // Reads whole blocks from `block` on, `count` at most and at least one, into `buffer`.
  absl::StatusOr<size_t> ReadBlocks(size_t block, size_t count, base::MutableBytes buffer) const;
  // Verifies everything.
  absl::Status Check() const;

 private:
  static constexpr size_t kGone = SIZE_MAX;

  // Verified.
  absl::StatusOr<base::AlignedBuffer> ReadFilters() const;

  std::unique_ptr<io::File> file_;
  format::ChecksumSeed seed_;
  format::ImageHead head_;
  format::ImageLayout layout_;
  std::vector<size_t> indexes_;
};

// Walks the records from a key on. Any number of cursors may walk one image.
class ImageCursor {
 public:
  ImageCursor(const ImageReader& reader, const format::KeyPlace& low);

  const ImageReader& reader() const { return *reader_; }
  // `record`'s views are valid until the next call. False at the end, and where the image cannot be read.
  bool Next(format::ImageRecord& record);
  const absl::Status& status() const { return status_; }

 private:
  static constexpr size_t kBlocksAhead = 4;  // read at once

  bool OpenBlock();

  const ImageReader* reader_;
  const format::KeyPlace low_;
  bool passing_ = true;  // over what is below it
  size_t next_block_ = 0;
  base::AlignedBuffer buffer_;
  size_t buffered_begin_ = 0, buffered_end_ = 0;  // blocks
  format::ImageBlockReader block_;
  absl::Status status_;
};

}  // namespace firn
