// The tree's invariants, walked by tests.
#include <string>

#include "index/node.h"
#include "index/node_store.h"
#include "index/tree.h"

namespace firn::index {
namespace {

struct Totals {
  uint64_t entries = 0;
  uint64_t bytes = 0;
};

std::string KeyAt(const Node& node, uint32_t position) {
  std::string key(node.prefix());
  node.AppendSuffix(position, node.lock().Read(), key);
  return key;
}

// `low`, and with `has_high` also `high`, are what the parent says the node's range is.
std::string CheckNode(const Node& node, const std::string& low, bool has_high, const std::string& high,
                      Totals& totals) {
  const std::string where = "node at level " + std::to_string(node.level()) + " from \"" + low.substr(0, 40) + "\": ";
  if (VersionLock::IsObsolete(node.lock().Read())) return where + "obsolete, but in the tree";
  if (node.low() != low) return where + "low fence is not its separator";
  if (node.has_high() != has_high || (has_high && node.High() != high)) return where + "wrong high fence";
  if (node.prefix().size() != Range{low, has_high, high}.PrefixSize()) return where + "wrong prefix";
  if (node.FreeBytes() + node.LiveBytes() > node.content_bytes()) return where + "counters do not add up";
  totals.bytes += node.allocated_bytes();
  std::string previous;
  for (uint32_t i = 0; i < node.count(); ++i) {
    const bool first_child = !node.is_leaf() && i == 0;
    const std::string key = first_child ? low : KeyAt(node, i);
    if (key < low || (has_high && key >= high)) return where + "key out of range";
    if (i > 0 && key <= previous) return where + "keys not in order";
    previous = key;
    if (node.is_leaf()) {
      ++totals.entries;
      if (const LongKey* long_key = node.LongKeyAt(i)) totals.bytes += sizeof(LongKey) + long_key->size;
      continue;
    }
    const Node& child = *node.ChildAt(i);
    if (child.level() + 1 != node.level()) return where + "child of another level";
    const bool last = i + 1 == node.count();
    std::string problem = CheckNode(child, key, !last || has_high, last ? high : KeyAt(node, i + 1), totals);
    if (!problem.empty()) return problem;
  }
  if (!node.is_leaf() && node.count() == 0) return where + "inner node without children";
  return {};
}

}  // namespace

std::string Tree::CheckConsistency() const {
  base::EpochGuard guard(epochs_);
  Totals totals;
  std::string problem = CheckNode(*top_->ChildAt(0), {}, false, {}, totals);
  if (!problem.empty()) return problem;
  if (totals.entries != entries()) return "entries() is not the number of entries";
  if (totals.bytes > memory_bytes()) return "memory_bytes() is less than what the nodes take";
  return {};
}

}  // namespace firn::index
