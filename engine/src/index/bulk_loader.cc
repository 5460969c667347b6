// Builds a tree bottom-up. Keys are collected until they fill a leaf; then the inner levels are built over
// the leaves, whose low fences are the separators.
#include <algorithm>
#include <deque>
#include <string>
#include <utility>
#include <vector>

#include "base/check.h"
#include "index/node.h"
#include "index/node_store.h"
#include "index/tree.h"

namespace firn::index {
namespace {

constexpr uint64_t Fill(uint64_t content_bytes) { return content_bytes / 16 * 15; }

size_t CommonPrefix(std::string_view a, std::string_view b) { return Range{a, true, b}.PrefixSize(); }

}  // namespace

struct Tree::BulkLoader::State {
  State(Tree& tree_to_fill, std::string_view from)
      : tree(tree_to_fill), change(*tree_to_fill.store_), first_low(from), low(from) {}
  void Add(std::string_view key, const Entry& entry);
  void Join(State& next);
  // Ends the leaf being collected.
  void Cut(bool has_high, std::string_view high);
  // One node of the pieces, or as many as they need.
  void Emit(uint32_t level, const Piece* begin, const Piece* end, const Range& range, std::vector<Node*>& nodes);
  void BuildAbove();
  uint64_t MeasureWithout(size_t prefix_bytes) const;

  Tree& tree;
  Change change;             // of all that is built
  std::vector<Node*> nodes;  // of the highest level that is complete
  uint64_t entries = 0;

  const std::string first_low;
  // The leaf being collected.
  std::string low;
  std::vector<Piece> pieces;
  std::deque<std::string> keys;  // of the pieces; reused, and never moved
  size_t prefix_bytes = 0;       // what low and the last key share
  uint64_t content_bytes = 0;    // what the pieces take without that prefix
};

uint64_t Tree::BulkLoader::State::MeasureWithout(size_t shared_bytes) const {
  uint64_t bytes = 0;
  for (const Piece& piece : pieces) bytes += Node::SlotAndItemBytes(0, piece.suffix.size() - shared_bytes);
  return bytes;
}

void Tree::BulkLoader::State::Add(std::string_view key, const Entry& entry) {
  FIRN_CHECK(!key.empty() && key.size() <= kIndexKeyBytesMax);
  FIRN_CHECK(pieces.empty() || pieces.back().suffix < key);
  size_t shared = CommonPrefix(low, key);
  uint64_t others = shared == prefix_bytes ? content_bytes : MeasureWithout(shared);
  const uint64_t limit = Fill(NodeStore::ContentBytesMax({low, false, {}}));
  if (!pieces.empty() && others + Node::SlotAndItemBytes(0, key.size() - shared) > limit) {
    Cut(true, key.substr(0, CommonPrefix(pieces.back().suffix, key) + 1));
    shared = low.size();
    others = 0;
  }
  if (pieces.size() == keys.size()) keys.emplace_back();
  std::string& copy = keys[pieces.size()];
  copy.assign(key);
  Piece piece;
  piece.suffix = copy;
  piece.entry = entry;
  pieces.push_back(piece);
  prefix_bytes = shared;
  content_bytes = others + Node::SlotAndItemBytes(0, key.size() - shared);
  ++entries;
}

void Tree::BulkLoader::State::Cut(bool has_high, std::string_view high) {
  Emit(0, pieces.data(), pieces.data() + pieces.size(), {low, has_high, high}, nodes);
  low.assign(high);
  pieces.clear();
}

void Tree::BulkLoader::State::Join(State& next) {
  if (next.entries == 0) return;
  Cut(true, next.first_low);
  nodes.reserve(nodes.size() + next.nodes.size());
  change.TakeOver(next.change);
  nodes.insert(nodes.end(), next.nodes.begin(), next.nodes.end());
  next.nodes.clear();
  low = std::move(next.low);
  pieces = std::move(next.pieces);
  keys.swap(next.keys);  // what the pieces' suffixes are views of
  prefix_bytes = next.prefix_bytes;
  content_bytes = next.content_bytes;
  entries += std::exchange(next.entries, 0);
}

void Tree::BulkLoader::State::Emit(uint32_t level, const Piece* begin, const Piece* end, const Range& range,
                                   std::vector<Node*>& to) {
  NodeStore& store = *tree.store_;
  const uint64_t max = NodeStore::ContentBytesMax(range);
  const uint64_t limit = level == 0 ? max : Fill(max) - Node::SlotAndItemBytesMaxInner();
  const uint64_t bytes = NodeStore::Measure(level, range, begin, end, 0);
  if (bytes <= limit) {
    const uint32_t room = level == 0 ? 0 : Node::SlotAndItemBytesMaxInner();
    to.push_back(store.Build(level, range, begin, end, 0, change, bytes + room));
    return;
  }
  const Piece* middle = begin + (end - begin) / 2;
  const size_t size = level == 0 ? CommonPrefix((middle - 1)->suffix, middle->suffix) + 1 : middle->suffix.size();
  const std::string separator(middle->suffix.substr(0, size));
  Emit(level, begin, middle, {range.low, true, separator}, to);
  Emit(level, middle, end, {separator, range.has_high, range.high}, to);
}

void Tree::BulkLoader::State::BuildAbove() {
  for (uint32_t level = 1; nodes.size() > 1; ++level) {
    std::vector<Piece> children(nodes.size());
    for (size_t i = 0; i < nodes.size(); ++i) {
      children[i].child = nodes[i];
      children[i].suffix = nodes[i]->low();
    }
    std::vector<Node*> above;
    Emit(level, children.data(), children.data() + children.size(), Range{}, above);
    nodes.swap(above);
  }
}

Tree::BulkLoader::BulkLoader(Tree& tree, std::string_view low) : state_(std::make_unique<State>(tree, low)) {
  FIRN_CHECK(tree.entries() == 0);
}

Tree::BulkLoader::~BulkLoader() = default;

void Tree::BulkLoader::Add(std::string_view key, const Entry& entry) { state_->Add(key, entry); }

void Tree::BulkLoader::Join(BulkLoader& next) { state_->Join(*next.state_); }

void Tree::BulkLoader::Finish() {
  State& state = *state_;
  if (state.entries == 0) return;
  Tree& tree = state.tree;
  state.Cut(false, {});
  state.BuildAbove();
  Place place;
  place.parent = tree.top_;
  place.parent_version = tree.top_->lock().Read();
  place.node = tree.top_->ChildAt(0);
  place.version = place.node->lock().Read();
  FIRN_CHECK(tree.LockBoth(place));
  FIRN_CHECK(place.node->count() == 0);
  HeldLocks held(*place.node, *place.parent);
  Replace(place, state.nodes.front(), state.change, held);
  tree.entries_.store(state.entries, std::memory_order_relaxed);
  state.change.Retire();
  state.nodes.clear();
  state.entries = 0;
}

}  // namespace firn::index
