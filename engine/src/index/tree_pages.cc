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
  page.keys_.clear();
  page.items_.clear();
  page.low_.assign(node.low());
  page.has_high_ = node.has_high();
  page.high_.clear();
  if (page.has_high_) page.high_.append(node.prefix()).append(node.high_rest());
  const uint32_t count = node.BoundedCount();
  for (uint32_t i = 0; i < count; ++i) {
    const size_t begin = page.keys_.size();
    page.keys_.append(node.prefix());
    if (!node.AppendSuffix(i, version, page.keys_)) return false;
    const size_t size = page.keys_.size() - begin;
    page.items_.push_back({static_cast<uint32_t>(begin), static_cast<uint32_t>(size), node.EntryAt(i)});
  }
  return node.lock().Unchanged(version);
}

}  // namespace firn::index
