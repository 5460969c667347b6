// Reads and single-key writes. How nodes split and merge is in tree_structure.cc.
//
// A node's range never changes, and a node that is not obsolete is in the tree. So a reader that comes to a
// node by a validated pointer, and finds it not obsolete, is at the right place whatever has happened to the
// nodes above.
#include "index/tree.h"

#include <algorithm>
#include <array>

#include "base/check.h"
#include "base/memory.h"
#include "index/node.h"
#include "index/node_store.h"

namespace firn::index {

using base::EpochGuard;

namespace {

// More than a processor keeps in flight of lines that it misses; few enough for its first cache.
constexpr size_t kWalksAbreast = 16;

// The fixed node, above an empty leaf.
Node* MakeTop(NodeStore& store) {
  Change change(store);
  Node* const top = store.NewNode(Node::kLevelTop, Range{}, 0, change);
  top->InsertChild(0, {}, store.NewNode(0, Range{}, 0, change));
  change.Show({});
  return top;
}

}  // namespace

Tree::Tree(base::EpochDomain& epochs, uint64_t heap_bytes)
    : epochs_(epochs), store_(std::make_unique<NodeStore>(epochs, memory_bytes_, heap_bytes)), top_(MakeTop(*store_)) {}

Tree::~Tree() {
  epochs_.Synchronize();
  store_->FreeSubtree(top_);
}

uint64_t Tree::free_bytes() const { return store_->free_bytes(); }

// From a node that Enter() found in place to its child, which is yet to be entered.
Tree::Step Tree::GoDown(std::string_view key, Side side, Place& place) const {
  uint32_t position = 0;
  if (place.node != top_ && !place.node->FindChild(key, side, place.version, position)) return Step::kAgain;
  Node* const child = place.node->ChildAt(position);
  if (!place.node->lock().Unchanged(place.version)) return Step::kAgain;
  place.parent = place.node;
  place.parent_version = place.version;
  place.position = position;
  place.node = child;
  child->Prefetch();
  return Step::kAbove;
}

Tree::Step Tree::Enter(uint32_t level, Place& place) {
  place.version = place.node->lock().Read();
  if (VersionLock::IsObsolete(place.version)) return Step::kAgain;
  if (place.node->level() < level) return Step::kTooHigh;
  return place.node->level() == level ? Step::kThere : Step::kAbove;
}

// Goes to the node of `level` that `key` belongs to. An insert wants room for one more child in every inner
// node it passes, so that a split below finds it; kCrowded stops at the first that has none.
Tree::Step Tree::Descend(std::string_view key, Side side, uint32_t level, Way way, Place& place) const {
  place.parent = nullptr;
  place.node = top_;
  place.version = top_->lock().Read();
  for (;;) {
    Step step = GoDown(key, side, place);
    if (step == Step::kAbove) step = Enter(level, place);
    if (step != Step::kAbove) return step;
    if (way == Way::kInsert && place.node->FreeBytes() < Node::SlotAndItemBytesMaxInner()) return Step::kCrowded;
  }
}

std::optional<Entry> Tree::Find(std::string_view key) const {
  EpochGuard guard(epochs_);
  for (int turn = 0;; ++turn) {
    Place place;
    uint32_t position;
    bool found;
    if (Descend(key, Side::kAt, 0, Way::kRead, place) == Step::kThere &&
        place.node->LowerBound(key, place.version, position, found)) {
      std::optional<Entry> entry;
      if (found) entry = place.node->EntryAt(position);
      if (place.node->lock().Unchanged(place.version)) return entry;
    }
    base::SpinPause(turn);
  }
}

void Tree::FindMany(std::span<const std::string_view> keys, std::span<std::optional<Entry>> found) const {
  EpochGuard guard(epochs_);
  for (size_t at = 0; at < keys.size(); at += kWalksAbreast) {
    const size_t count = std::min(keys.size() - at, kWalksAbreast);
    FindGroup(keys.subspan(at, count), found.subspan(at, count));
  }
}

void Tree::FindGroup(std::span<const std::string_view> keys, std::span<std::optional<Entry>> found) const {
  std::array<Place, kWalksAbreast> places;
  std::array<Step, kWalksAbreast> steps;
  size_t walking = keys.size();
  for (size_t i = 0; i < keys.size(); ++i) {
    places[i].node = top_;
    places[i].version = top_->lock().Read();
    steps[i] = GoDown(keys[i], Side::kAt, places[i]);
  }
  while (walking > 0) {
    walking = 0;
    for (size_t i = 0; i < keys.size(); ++i) {
      if (steps[i] != Step::kAbove) continue;
      steps[i] = Enter(0, places[i]);
      if (steps[i] == Step::kAbove) steps[i] = GoDown(keys[i], Side::kAt, places[i]);
      if (steps[i] == Step::kAbove) ++walking;
      if (steps[i] == Step::kThere) places[i].node->PrefetchItem(keys[i]);
    }
  }
  for (size_t i = 0; i < keys.size(); ++i) found[i] = FindAt(keys[i], steps[i], places[i]);
}

// In the leaf, if the walk came to it; else from the top.
std::optional<Entry> Tree::FindAt(std::string_view key, Step step, const Place& place) const {
  uint32_t position;
  bool is_there;
  if (step == Step::kThere && place.node->LowerBound(key, place.version, position, is_there)) {
    std::optional<Entry> entry;
    if (is_there) entry = place.node->EntryAt(position);
    if (place.node->lock().Unchanged(place.version)) return entry;
  }
  return Find(key);
}

Tree::Lookup::Lookup(const Tree& tree, std::string_view key) : tree_(tree), key_(key) {
  place_.node = tree.top_;
  place_.version = tree.top_->lock().Read();
  step_ = tree.GoDown(key, Side::kAt, place_);
  while (step_ == Step::kAbove && place_.parent->level() != 1) {
    step_ = Enter(0, place_);
    if (step_ == Step::kAbove) step_ = tree.GoDown(key, Side::kAt, place_);
  }
}

std::optional<Entry> Tree::Lookup::Get() {
  while (step_ == Step::kAbove) {
    step_ = Enter(0, place_);
    if (step_ == Step::kAbove) step_ = tree_.GoDown(key_, Side::kAt, place_);
  }
  return tree_.FindAt(key_, step_, place_);
}

std::optional<Entry> Tree::Upsert(std::string_view key, const Entry& entry) {
  FIRN_CHECK(!key.empty() && key.size() <= kIndexKeyBytesMax);
  EpochGuard guard(epochs_);
  for (int turn = 0;; ++turn) {
    Place place;
    const Step step = Descend(key, Side::kAt, 0, Way::kInsert, place);
    if (step == Step::kCrowded) {
      MakeRoom(place);
      continue;
    }
    if (step != Step::kThere || !place.node->lock().TryLock(place.version)) {
      base::SpinPause(turn);
      continue;
    }
    Node& leaf = *place.node;
    uint32_t position;
    bool found;
    FIRN_CHECK(leaf.LowerBound(key, place.version, position, found));
    if (found) {
      const Entry old = leaf.EntryAt(position);
      leaf.SetEntry(position, entry);
      leaf.lock().Unlock();
      return old;
    }
    const std::string_view suffix = key.substr(leaf.prefix().size());
    if (leaf.FreeBytes() < Node::SlotAndItemBytes(0, suffix.size())) {
      if (!InsertIntoFull(place, position, key, entry)) {
        base::SpinPause(turn);
        continue;
      }
    } else if (Node::IsIndirect(0, suffix.size())) {
      HeldLocks held(leaf);
      Change change(*store_);
      leaf.InsertEntry(position, suffix, entry, store_->NewLongKey({}, key, change));
      change.Show({});
      leaf.lock().Unlock();
      held.Done();
    } else {
      leaf.InsertEntry(position, suffix, entry, nullptr);
      leaf.lock().Unlock();
    }
    entries_.fetch_add(1, std::memory_order_relaxed);
    return std::nullopt;
  }
}

Node& Tree::LockLeaf(std::string_view key, uint32_t& position, bool& found) const {
  for (int turn = 0;; ++turn) {
    Place place;
    if (Descend(key, Side::kAt, 0, Way::kRead, place) == Step::kThere && place.node->lock().TryLock(place.version)) {
      FIRN_CHECK(place.node->LowerBound(key, place.version, position, found));
      return *place.node;
    }
    base::SpinPause(turn);
  }
}

void Tree::Update(std::string_view key, const Entry& entry) {
  EpochGuard guard(epochs_);
  uint32_t position;
  bool found;
  Node& leaf = LockLeaf(key, position, found);
  FIRN_CHECK(found);
  leaf.SetEntry(position, entry);
  leaf.lock().Unlock();
}

std::optional<Entry> Tree::Erase(std::string_view key, uint64_t only_revision) {
  EpochGuard guard(epochs_);
  uint32_t position;
  bool found;
  Node& leaf = LockLeaf(key, position, found);
  std::optional<Entry> old;
  if (found) old = leaf.EntryAt(position);
  if (!found || (only_revision != 0 && old->revision != only_revision)) {
    leaf.lock().UnlockUnchanged();
    return std::nullopt;
  }
  const LongKey* const long_key = leaf.LongKeyAt(position);
  leaf.Remove(position);
  const bool sparse = leaf.IsSparse();
  leaf.lock().Unlock();
  entries_.fetch_sub(1, std::memory_order_relaxed);
  if (long_key != nullptr) store_->RetireKey(long_key);
  if (sparse) base::IfMemoryPermits([&] { Shrink(key); });
  return old;
}

}  // namespace firn::index
