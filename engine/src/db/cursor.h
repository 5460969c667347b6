// The one kind of iterator.
#pragma once

#include <memory>
#include <optional>
#include <string>

#include <firn/iterator.h>

#include "db/store.h"

namespace firn {

// Walks copies of index leaves; between leaves it finds its way by key, so nothing it holds keeps the index or the log
// from changing.
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
  template <typename Walk>
  void Guarded(const Walk& walk);
  void EnsureRecord();
  bool Ready();
  void LoadRecord();
  absl::Status FindAgain();
  absl::Status ReadFound();
  // Positions on the first visible entry at or after item `at_` of the page, or at or before it.
  void SettleForward();
  void SettleBackward();
  void WalkForward();
  void WalkBackward();
  void CheckEnd();
  bool Accept();
  void Prefetch() const;
  void SeekForwardTo(const std::string& index_key);
  void SeekBackwardBefore(const std::string& index_key);

  Store& store_;
  const uint32_t namespace_id_;
  const bool keys_only_;
  std::string lower_, upper_;  // index keys: [lower_, upper_)
  uint64_t revision_ = 0;
  bool has_view_ = false;

  index::Tree::Page page_;
  size_t at_ = 0;
  bool valid_ = false;
  Version version_;
  std::string value_, metadata_;
  bool loaded_ = false;
  absl::Status status_;
  bool broken_ = false;  // status_ is final: the store or the namespace cannot be read
};

}  // namespace firn
