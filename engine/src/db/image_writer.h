// Writing an index image: what the index names in segments that are sealed, to a new file.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string_view>
#include <vector>

#include "base/aligned_buffer.h"
#include "base/status.h"
#include "db/keys.h"
#include "format/index_image.h"
#include "io/disk.h"
#include "log/segment.h"

namespace firn {

class Store;

class ImageWriter {
 public:
  // `keep_going` is asked now and then, in the middle of the writing too.
  ImageWriter(Store& store, std::function<bool()> keep_going) : store_(store), keep_going_(std::move(keep_going)) {}

  // Writes the file, synced, under its unfinished name. The caller holds the reclaim mutex, or has closed the store.
  // FailedPrecondition where there can be no image now, ResourceExhausted where there is no room for one.
  absl::Status Run();
  const format::ImageHead& head() const { return head_; }
  uint64_t file_bytes() const { return layout_.file_bytes; }

 private:
  // A put whose key's expiry was changed: the index has the change's revision only.
  struct Changed {
    uint32_t segment = 0;  // in the head's list
    uint32_t offset = 0;
    uint64_t revision = 0;
    int64_t expires_at_ms = 0;
    auto operator<=>(const Changed&) const = default;
  };

  absl::Status ChooseSegments();
  absl::Status FindChanged();
  absl::Status AddKeys();
  absl::Status AddKey(std::string_view index_key, index::Entry entry);
  absl::Status AddRecords(std::span<const format::ImageRecord> of_one_key);
  std::optional<uint32_t> IndexOf(uint32_t segment) const;
  const Changed* FindPut(uint32_t segment, uint32_t offset) const;
  absl::Status Claim(uint64_t size_bytes);
  absl::Status WriteBlock(bool last);
  absl::Status WriteFilters();
  absl::Status Write(uint64_t offset, std::string_view bytes);

  Store& store_;
  const std::function<bool()> keep_going_;
  std::vector<std::shared_ptr<log::Segment>> segments_;  // covered
  std::vector<Changed> changed_;                         // sorted
  format::ImageHead head_;
  format::ImageLayout layout_;
  format::ChecksumSeed seed_;
  std::unique_ptr<io::File> file_;
  uint64_t claimed_bytes_ = 0;
  uint64_t blocks_bytes_ = 0;
  format::ImageBlockBuilder block_;
  base::AlignedBuffer buffer_;
};

}  // namespace firn
