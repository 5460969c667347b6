// Iteration: one consistent copy of a leaf at a time.
#include "index/node.h"
#include "index/tree.h"

namespace firn::index {

void Tree::ReadLeaf(std::string_view key, Page& page) const { FillPage(key, Side::kAt, page); }

void Tree::ReadLeafBefore(std::string_view key, Page& page) const {
  FillPage(key, key.empty() ? Side::kLast : Side::kBefore, page);
}

void Tree::FillPage(std::string_view key, Side side, Page& page) const {
  base::EpochGuard guard(epochs_);
  for (int turn = 0;; ++turn) {
    Place place;
    if (Descend(key, side, 0, Way::kRead, place) == Step::kThere && TryFillPage(*place.node, place.version, page)) {
      return;
    }
    base::SpinPause(turn);
  }
}

bool Tree::TryFillPage(const Node& node, uint64_t version, Page& page) {
  page.low_.assign(node.low());
  page.has_high_ = node.has_high();
  page.high_.clear();
  if (page.has_high_) page.high_.append(node.prefix()).append(node.high_rest());
  const uint32_t count = node.BoundedCount();
  page.items_.resize(count);
  const std::string_view prefix = node.prefix();
  size_t keys_bytes = 0;
  for (uint32_t i = 0; i < count; ++i) {
    uint32_t suffix_size;
    if (!node.SuffixSize(i, version, suffix_size)) return false;
    page.items_[i].key_offset = static_cast<uint32_t>(keys_bytes);
    page.items_[i].key_size = static_cast<uint32_t>(prefix.size()) + suffix_size;
    keys_bytes += page.items_[i].key_size;
  }
  page.keys_.resize(keys_bytes);
  for (uint32_t i = 0; i < count; ++i) {
    Page::Item& item = page.items_[i];
    char* const key = page.keys_.data() + item.key_offset;
    prefix.copy(key, prefix.size());
    const auto suffix_size = item.key_size - static_cast<uint32_t>(prefix.size());
    if (!node.CopySuffix(i, version, suffix_size, key + prefix.size())) return false;
    item.entry = node.EntryAt(i);
  }
  return node.lock().Unchanged(version);
}

}  // namespace firn::index
