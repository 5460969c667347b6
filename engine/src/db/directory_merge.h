// All records of several segments in the order of their keys, from the segments' directories.
#pragma once

#include <algorithm>
#include <vector>

#include "log/recovery.h"

namespace firn {

// Walks all directories at once, in the order of (namespace, key, revision). Of a record that was relocated the copy
// comes last, and so decides: the value it points to may lie elsewhere by now. Copies are in younger segments.
class DirectoryMerge {
 public:
  explicit DirectoryMerge(std::vector<log::RecoveredSegment>& segments) : sources_(segments.size()) {
    for (size_t i = 0; i < segments.size(); ++i) {
      sources_[i].recovered = &segments[i];
      Advance(i);
    }
    std::make_heap(heap_.begin(), heap_.end(), Later{this});
  }

  bool done() const { return heap_.empty(); }
  const format::DirectoryEntry& entry() const { return sources_[heap_.front()].entry; }
  log::Segment* segment() const { return sources_[heap_.front()].recovered->segment.get(); }

  void Next() {
    std::pop_heap(heap_.begin(), heap_.end(), Later{this});
    const size_t source = heap_.back();
    heap_.pop_back();
    if (Advance(source)) std::push_heap(heap_.begin(), heap_.end(), Later{this});
  }

 private:
  struct Source {
    log::RecoveredSegment* recovered = nullptr;
    format::DirectoryEntry entry;
  };
  struct Later {
    const DirectoryMerge* merge;
    bool operator()(size_t a, size_t b) const { return merge->ComesLater(a, b); }
  };

  bool ComesLater(size_t a, size_t b) const;
  const log::Segment& SegmentOf(size_t source) const { return *sources_[source].recovered->segment; }

  bool Advance(size_t i) {
    if (!sources_[i].recovered->directory.Next(sources_[i].entry)) return false;
    heap_.push_back(i);
    return true;
  }

  std::vector<Source> sources_;
  std::vector<size_t> heap_;
};

}  // namespace firn
