// The one kind of iterator.
#pragma once

#include <memory>
#include <span>
#include <string>
#include <vector>

#include <firn/iterator.h>

#include "db/store.h"

namespace firn {

// Walks copies of index leaves; between leaves it finds its way by key, so nothing it holds keeps the index or the log
// from changing. Of a leaf it looks at a window of entries at a time, whose values come from memory, or from disk,
// together.
class Cursor final : public Iterator {
 public:
  Cursor(Store& store, uint32_t namespace_id, IteratorOptions options);
  ~Cursor() override;

  void SeekToFirst() override;
  void SeekToLast() override;
  void Seek(std::string_view key) override;
  void SeekForPrev(std::string_view key) override;
  void Next() override;
  void Prev() override;

  bool Valid() const override { return valid_; }
  std::string_view key() const override;
  std::string_view value() override;
  std::string_view metadata() override;
  Revision revision() const override { return valid_ ? version_.entry.revision : 0; }
  int64_t expires_at_ms() const override { return valid_ ? version_.expiry.at_ms : 0; }
  absl::Status status() const override { return status_; }

 private:
  enum class Direction { kForward, kBackward };

  template <typename Walk>
  void Guarded(const Walk& walk);
  bool Ready();
  void CheckEnd();
  // Pages.
  size_t PlaceInPage(std::string_view index_key) const;
  void ReadPage(std::string_view index_key, Direction direction);
  void SeekForwardTo(const std::string& index_key);
  void SeekBackwardBefore(const std::string& index_key);
  void WalkForward();
  void WalkBackward(size_t end);
  bool Accept(Direction direction);
  // Windows.
  bool IsInWindow() const { return Steps() < rows_count_; }
  size_t Steps() const { return direction_ == Direction::kForward ? at_ - window_at_ : window_at_ - at_; }
  Store::ManyRead& row() { return rows_[Steps()]; }
  void DropWindow();
  void MakeWindow(Direction direction, bool with_values);
  void MakeRows(bool with_values);
  void ReadRows();
  void LoadRecord();
  void LoadMetadata();
  bool Ensured(void (Cursor::*load)());

  Store& store_;
  const uint32_t namespace_id_;
  const bool keys_only_;
  std::string lower_, upper_;  // index keys: [lower_, upper_)
  uint64_t revision_ = 0;
  bool has_view_ = false;

  index::Tree::Page page_;
  size_t page_begin_ = 0, page_end_ = 0;  // of the page: what lies within the bounds
  size_t at_ = 0;
  bool valid_ = false;
  Version version_;

  // The window: the page's entries from window_at_ on, in the order of the walk. A row without a revision is not
  // visible; one that is still `found` has not been read.
  std::vector<Store::ManyRead> rows_;
  size_t rows_count_ = 0;
  size_t rows_max_, disk_rows_max_;  // of the next one; and of what is not in memory, to be read together
  size_t window_at_ = 0;
  Direction direction_ = Direction::kForward;
  bool rows_read_ = false;     // their values, as far as the disk was asked for them
  bool value_wanted_ = false;  // that of the entry it stands on, or stood on last
  std::string metadata_;       // of a separated value
  bool metadata_read_ = false;
  absl::Status status_;
  bool broken_ = false;  // status_ is final: the store or the namespace cannot be read
};

}  // namespace firn
