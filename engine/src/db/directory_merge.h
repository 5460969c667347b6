// All records of several segments in the order of their keys, from the segments' directories and the index image.
#pragma once

#include <cstdint>
#include <cstring>
#include <optional>
#include <string_view>
#include <vector>

#include "db/image_reader.h"
#include "log/recovery.h"

namespace firn {

// Walks all directories at once, in the order of (namespace, key, revision). Of a record that was relocated the copy
// comes last, and so decides: the value it points to may lie elsewhere by now. Copies are in younger segments.
class DirectoryMerge {
 public:
  // The records from `low` on, up to `high` if there is one. The image, which may be null, speaks for the segments
  // that have no directory.
  explicit DirectoryMerge(const std::vector<log::RecoveredSegment>& segments, const ImageReader* image = nullptr,
                          const format::KeyPlace& low = {}, const std::optional<format::KeyPlace>& high = std::nullopt);

  bool done() const { return sources_[winner_].rank == kDone; }
  const format::DirectoryEntry& entry() const { return sources_[winner_].entry; }
  // Of the separated value that the image's record names, which has no value pointer.
  const std::optional<format::ExtentName>& extent() const { return sources_[winner_].extent; }
  // The place of the record's segment among the segments.
  size_t index() const { return sources_[winner_].index; }
  log::Segment* segment() const { return segments_[index()].segment.get(); }
  void Next() {
    Advance(sources_[winner_]);
    Replay(winner_);
  }
  // Not OK when the image turned out to be damaged: what has come of it is not to be used.
  absl::Status status() const { return cursor_ ? cursor_->status() : absl::OkStatus(); }

 private:
  static constexpr uint64_t kDone = UINT64_MAX;  // no namespace

  struct Source {
    std::optional<format::FooterReader> directory;  // none: the image
    uint64_t rank = kDone;                          // the entry's namespace
    uint64_t head = 0;                              // the key's first bytes, as a number that sorts like them
    format::DirectoryEntry entry;
    std::optional<format::ExtentName> extent;
    size_t index = 0;
  };

  void Advance(Source& source);
  bool NextOfImage(Source& source);
  bool ComesFirst(size_t a, size_t b) const;
  void Replay(size_t source);

  const std::vector<log::RecoveredSegment>& segments_;
  const std::optional<format::KeyPlace> high_;
  std::optional<ImageCursor> cursor_;
  std::vector<Source> sources_;
  // A tournament: at each inner node of the tree over the sources, the one that lost there.
  std::vector<size_t> losers_;
  size_t winner_ = 0;
};

}  // namespace firn
