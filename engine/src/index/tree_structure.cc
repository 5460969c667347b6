// How the tree changes its shape. Every change locks a node and its parent (and, to merge, a sibling), builds
// new nodes, puts them into the parent and marks the old ones obsolete. Locks are only tried, never waited
// for, so there is no order to keep and no deadlock: who does not get one lets go of all and starts again at
// the root. Where memory runs out the locks are let go, and what was built is freed, before anything has changed.
#include <algorithm>
#include <string>

#include "base/check.h"
#include "index/node.h"
#include "index/node_store.h"
#include "index/tree.h"

namespace firn::index {
namespace {

// Ascending inserts are taken for a pattern after this many: the node is left full and the next one begins.
constexpr uint32_t kAppendsInRowMin = 8;

size_t CommonPrefix(std::string_view a, std::string_view b) {
  const auto end = a.begin() + static_cast<ptrdiff_t>(std::min(a.size(), b.size()));
  return static_cast<size_t>(std::mismatch(a.begin(), end, b.begin()).first - a.begin());
}

// Where to cut the pieces so that both halves take about the same room; near the middle, where neighbours
// share least: that gives short separators and long prefixes.
size_t MiddleCut(uint32_t level, const std::vector<Piece>& list) {
  uint64_t whole = 0;
  for (const Piece& piece : list) whole += Node::SlotAndItemBytes(level, piece.suffix.size());
  uint64_t left = 0;
  size_t middle = 0;
  while (2 * left < whole) left += Node::SlotAndItemBytes(level, list[middle++].suffix.size());
  const size_t window = level == 0 ? list.size() / 16 : 0;
  const size_t first = std::max<size_t>(1, middle - std::min(middle, window));
  const size_t last = std::min(list.size() - 1, middle + window);
  size_t best = std::clamp<size_t>(middle, 1, list.size() - 1);
  size_t best_common = CommonPrefix(list[best - 1].suffix, list[best].suffix);
  for (size_t cut = first; cut <= last; ++cut) {
    const size_t common = CommonPrefix(list[cut - 1].suffix, list[cut].suffix);
    if (common < best_common) {
      best = cut;
      best_common = common;
    }
  }
  return best;
}

}  // namespace

bool Tree::LockBoth(Place& place) const {
  if (!place.node->lock().TryLock(place.version)) return false;
  if (place.parent->lock().TryLock(place.parent_version)) return true;
  place.node->lock().UnlockUnchanged();
  return false;
}

// Both locks are held; they are free afterwards.
void Tree::Replace(Place& place, Node* fresh, Change& change, HeldLocks& held) {
  change.Prepare(1);
  place.parent->SetChild(place.position, fresh);
  place.parent->lock().Unlock();
  place.node->lock().UnlockObsolete();
  held.Done();
  change.Show({place.node});
}

void Tree::ReplaceWithTwo(Place& place, Node* left, Node* right, Change& change, HeldLocks& held) {
  if (place.parent == top_) {
    Piece halves[2];
    halves[0].child = left;
    halves[1].child = right;
    halves[1].suffix = right->low();
    const uint64_t content = Node::SlotAndItemBytes(1, right->low().size()) + 2 * Node::SlotAndItemBytesMaxInner();
    Node* root = store_->Build(left->level() + 1, Range{}, halves, halves + 2, 0, change, content);
    Replace(place, root, change, held);
    return;
  }
  change.Prepare(1);
  place.parent->SetChild(place.position, left);
  place.parent->InsertChild(place.position + 1, right->low().substr(place.parent->prefix().size()), right);
  place.parent->lock().Unlock();
  place.node->lock().UnlockObsolete();
  held.Done();
  change.Show({place.node});
}

// `pieces` are the node's, and perhaps one more. Both locks are held; they are free afterwards.
void Tree::Split(Place& place, Pieces& pieces, size_t cut, Change& change, HeldLocks& held) {
  const Node& node = *place.node;
  const std::vector<Piece>& list = pieces.list;
  FIRN_CHECK(cut > 0 && cut < list.size());
  std::string separator(node.prefix().substr(0, pieces.base_size()));
  const std::string_view next = list[cut].suffix;
  // The shortest that separates; between inner nodes the separator exists already, as the low fence of a
  // child.
  const size_t size = node.is_leaf() ? CommonPrefix(list[cut - 1].suffix, next) + 1 : next.size();
  separator.append(next.substr(0, size));
  const std::string high = node.High();
  const Piece* begin = list.data();
  const Piece* end = begin + list.size();
  Node* left =
      store_->Build(node.level(), {node.low(), true, separator}, begin, begin + cut, pieces.base_size(), change);
  Node* right =
      store_->Build(node.level(), {separator, node.has_high(), high}, begin + cut, end, pieces.base_size(), change);
  ReplaceWithTwo(place, left, right, change, held);
}

// An inner node gets room for one more child: by moving to a larger node, or by a split.
void Tree::MakeRoom(Place& place) {
  if (!LockBoth(place)) return;
  Change change(*store_);
  {
    HeldLocks held(*place.node, *place.parent);
    const Node& node = *place.node;
    const uint32_t room = Node::SlotAndItemBytesMaxInner();
    const std::string high = node.High();
    if (node.LiveBytes() + room <= NodeStore::ContentBytesMax({node.low(), node.has_high(), high})) {
      Replace(place, store_->Copy(node, room, change), change, held);
    } else {
      Pieces pieces(node.prefix().size());
      pieces.Append(node);
      Split(place, pieces, MiddleCut(node.level(), pieces.list), change, held);
    }
  }
  change.Retire();
}

// The leaf's lock is held, the parent's is not; the leaf's is free afterwards. False: try again from the
// root.
bool Tree::InsertIntoFull(Place& place, uint32_t position, std::string_view key, const Entry& entry) {
  const Node& leaf = *place.node;
  if (!place.parent->lock().TryLock(place.parent_version)) {
    place.node->lock().UnlockUnchanged();
    return false;
  }
  Change change(*store_);
  {
    HeldLocks held(*place.node, *place.parent);
    const std::string_view suffix = key.substr(leaf.prefix().size());
    const uint32_t room = Node::SlotAndItemBytes(0, suffix.size());
    const std::string high = leaf.High();
    if (leaf.LiveBytes() + room <= NodeStore::ContentBytesMax({leaf.low(), leaf.has_high(), high})) {
      Node* copy = store_->Copy(leaf, room, change);
      const bool indirect = Node::IsIndirect(0, suffix.size());
      copy->InsertEntry(position, suffix, entry, indirect ? store_->NewLongKey({}, key, change) : nullptr);
      Replace(place, copy, change, held);
    } else {
      Pieces pieces(leaf.prefix().size());
      pieces.Append(leaf);
      Piece added;
      added.suffix = suffix;
      added.entry = entry;
      pieces.list.insert(pieces.list.begin() + position, added);
      const bool at_end = position == leaf.count();
      const bool ascending = at_end && (!leaf.has_high() || leaf.appends_in_row() >= kAppendsInRowMin);
      Split(place, pieces, ascending ? pieces.list.size() - 1 : MiddleCut(0, pieces.list), change, held);
    }
  }
  change.Retire();
  return true;
}

// After a removal: merges and shortens the nodes on the way to `key` while there is something to gain.
void Tree::Shrink(std::string_view key) {
  for (bool changed = true; changed;) {
    changed = false;
    for (uint32_t level = 0;; ++level) {
      Shrunk shrunk;
      bool lonely = false;
      for (int turn = 0; (shrunk = ShrinkLevel(key, level, lonely)) == Shrunk::kAgain; ++turn) base::SpinPause(turn);
      if (shrunk == Shrunk::kTooHigh) break;
      if (shrunk == Shrunk::kSomething) changed = true;
      if (shrunk == Shrunk::kNothing && !changed && !lonely) break;
    }
  }
}

// `lonely`: the node has no sibling to merge with, so the nodes above have to merge first.
Tree::Shrunk Tree::ShrinkLevel(std::string_view key, uint32_t level, bool& lonely) {
  Place place;
  const Step step = Descend(key, Side::kAt, level, Way::kRead, place);
  if (step == Step::kTooHigh) return Shrunk::kTooHigh;
  if (step != Step::kThere) return Shrunk::kAgain;
  if (!place.node->IsSparse()) return Shrunk::kNothing;
  if (!LockBoth(place)) return Shrunk::kAgain;
  Change change(*store_);
  Shrunk shrunk;
  {
    HeldLocks held(*place.node, *place.parent);
    lonely = place.parent->count() == 1;
    shrunk = ShrinkLocked(place, change, held);
  }
  change.Retire();
  return shrunk;
}

Tree::Shrunk Tree::ShrinkLocked(Place& place, Change& change, HeldLocks& held) {
  const Node& node = *place.node;
  if (place.parent == top_ && !node.is_leaf() && node.count() == 1) {
    Replace(place, node.ChildAt(0), change, held);
    return Shrunk::kSomething;
  }
  const uint32_t first = place.position > 0 ? place.position - 1 : 0;
  for (uint32_t left = first; left <= place.position && left + 1 < place.parent->count(); ++left) {
    if (const Shrunk shrunk = MergeWith(place, left, change, held); shrunk != Shrunk::kNothing) return shrunk;
  }
  const uint32_t room = node.is_leaf() ? 0 : Node::SlotAndItemBytesMaxInner();
  if (node.LiveBytes() + room + NodeStore::kStepBytes <= node.content_bytes()) {
    Replace(place, store_->Copy(node, room, change), change, held);
    return Shrunk::kSomething;
  }
  return Shrunk::kNothing;
}

// Makes one node of the children at `left_position` and the next, one of which is place.node. Both locks are
// held.
Tree::Shrunk Tree::MergeWith(Place& place, uint32_t left_position, Change& change, HeldLocks& held) {
  Node* left = place.parent->ChildAt(left_position);
  Node* right = place.parent->ChildAt(left_position + 1);
  Node* sibling = left == place.node ? right : left;
  uint64_t version = sibling->lock().Peek();
  if (!sibling->lock().TryLock(version)) return Shrunk::kAgain;
  HeldLocks held_sibling(*sibling);
  const uint32_t level = left->level();
  const std::string high = right->High();
  const Range range{left->low(), right->has_high(), high};
  Pieces pieces(range.PrefixSize());
  pieces.Append(*left);
  pieces.Append(*right);
  const Piece* begin = pieces.list.data();
  const Piece* end = begin + pieces.list.size();
  const uint64_t content = NodeStore::Measure(level, range, begin, end, pieces.base_size());
  const bool one_empty = left->count() == 0 || right->count() == 0;
  // Short of full, or the next insert would split it again.
  const uint64_t limit = uint64_t{NodeStore::ContentBytesMax(range)} * (one_empty ? 8 : 7) / 8;
  const uint32_t room = level > 0 ? Node::SlotAndItemBytesMaxInner() : 0;
  if (content + room > limit) return Shrunk::kNothing;
  Node* merged = store_->Build(level, range, begin, end, pieces.base_size(), change, content + room);
  change.Prepare(2);
  place.parent->SetChild(left_position, merged);
  place.parent->Remove(left_position + 1);
  place.parent->lock().Unlock();
  for (Node* node : {left, right}) node->lock().UnlockObsolete();
  held.Done();
  held_sibling.Done();
  change.Show({left, right});
  return Shrunk::kSomething;
}

}  // namespace firn::index
