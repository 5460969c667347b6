// The ordered, concurrent index: key -> where its newest record lies. A B+-tree in memory with optimistic
// lock coupling (V. Leis, F. Scheibner, A. Kemper, T. Neumann, "The ART of Practical Synchronization",
// DaMoN 2016).
//
// Readers take no lock: they read nodes as atomic words, so that a concurrent writer is no data race,
// validate the node's version, and start again when it changed. Nodes that leave the tree are freed through
// the EpochDomain. Structural changes replace nodes, they do not rearrange them in place.
//
// Keys are whole index keys (namespace prefix + user key, 1..kIndexKeyBytesMax bytes), ordered bytewise.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/epoch.h"

namespace firn::index {

inline constexpr size_t kIndexKeyBytesMax = 65535 + 4;

// What the tree holds beside each key. 24 bytes in the leaf.
struct Entry {
  uint32_t segment = 0;
  uint32_t offset = 0;  // of the record in its segment
  uint32_t size = 0;    // of the record, bytes
  uint32_t flags = 0;   // the caller's; the tree never looks at them
  uint64_t revision = 0;

  bool operator==(const Entry&) const = default;
};

class Node;
class NodeStore;
class Pieces;
class Change;
class HeldLocks;
enum class Side;

class Tree {
 public:
  // Nodes beyond the first `heap_bytes` have memory of their own, in huge pages.
  static constexpr uint64_t kHeapBytes = uint64_t{4} << 20;
  explicit Tree(base::EpochDomain& epochs, uint64_t heap_bytes = kHeapBytes);
  // Waits for readers inside the epoch domain; the caller holds no guard.
  ~Tree();
  Tree(const Tree&) = delete;

  // All operations are thread-safe. Two writers of the same key must be serialised by the caller (stripe
  // locks).

  // Reads. They enter the epoch domain themselves; a caller that goes on to use what the entry names (a
  // segment) holds its own guard around both.
  std::optional<Entry> Find(std::string_view key) const;
  // Find() of each key. The walks go side by side: while one waits for memory the others go on.
  void FindMany(std::span<const std::string_view> keys, std::span<std::optional<Entry>> found) const;

  // Find() in two steps. After the first the processor was asked for the leaf: the caller may do meanwhile what does
  // not depend on the entry.
  class Lookup;

  // Inserts or replaces; returns the entry that was there. Throws std::bad_alloc, and has changed nothing then.
  std::optional<Entry> Upsert(std::string_view key, const Entry& entry);
  // Replaces the entry of a key that is there, and needs no memory.
  void Update(std::string_view key, const Entry& entry);

  // Removes `key` if it is there and (with `only_revision` != 0) still has that revision. Returns what was
  // removed. Needs no memory, but leaves nodes as sparse as they come to be where there is none.
  std::optional<Entry> Erase(std::string_view key, uint64_t only_revision = 0);

  // A copy of one leaf's entries, in key order: the unit of iteration. Each fill is one consistent read of
  // one leaf; between fills the tree may change. Reuse the object, it keeps its memory.
  class Page {
   public:
    size_t size() const { return items_.size(); }
    std::string_view key(size_t i) const {
      return std::string_view(keys_).substr(items_[i].key_offset, items_[i].key_size);
    }
    const Entry& entry(size_t i) const { return items_[i].entry; }
    // Where the next fill goes on. `low` is inclusive, `high` exclusive: all keys of the leaf lie in [low,
    // high). An empty `high` with has_high() false means there is nothing after.
    std::string_view low() const { return low_; }
    bool has_high() const { return has_high_; }
    std::string_view high() const { return high_; }

   private:
    friend class Tree;
    struct Item {
      uint32_t key_offset;
      uint32_t key_size;
      Entry entry;
    };
    std::string keys_;
    std::vector<Item> items_;
    std::string low_, high_;
    bool has_high_ = false;
  };
  // Fills `page` with the leaf whose range contains `key` (all of that leaf's entries, also those before
  // `key`). The page may be empty though the tree is not; the caller goes on at high().
  void ReadLeaf(std::string_view key, Page& page) const;
  // Calls each(page) for one leaf after the other, from the one whose range contains `from` on, until it returns false.
  template <typename Each>
  void ForEachPage(std::string_view from, const Each& each) const {
    Page page;
    std::string at(from);
    for (bool more = true; more; at = page.high()) {
      ReadLeaf(at, page);
      more = each(std::as_const(page)) && page.has_high();
    }
  }
  static constexpr std::string_view kLowest{"\0", 1};  // no key is below it

  // Fills `page` with the leaf whose range contains the largest possible key below `key`; with `key` empty,
  // the last leaf of the tree. Backward iteration goes on with ReadLeafBefore(page.low()) until low() is
  // empty.
  void ReadLeafBefore(std::string_view key, Page& page) const;

  // Builds a tree from keys in strictly increasing order; leaves are filled to about 15/16. For recovery: the
  // tree is empty at the start and nobody else uses it until Finish(). Several threads may each have one for a part of
  // the keys.
  class BulkLoader {
   public:
    // For the keys from `low` on.
    explicit BulkLoader(Tree& tree, std::string_view low = {});
    ~BulkLoader();  // without Finish() the tree stays empty
    void Add(std::string_view key, const Entry& entry);
    // What `next` holds follows what this one holds, whose keys are all below the other's `low`.
    void Join(BulkLoader& next);
    void Finish();

   private:
    struct State;
    std::unique_ptr<State> state_;
  };

  uint64_t entries() const { return entries_.load(std::memory_order_relaxed); }
  // Every byte the tree has allocated: nodes and long keys, retired ones included until they are freed.
  uint64_t memory_bytes() const { return memory_bytes_.load(std::memory_order_relaxed); }
  // Beside these: what it keeps for nodes to come. Less than 3 MiB, and what removals have left in between.
  uint64_t free_bytes() const;

  // For tests, with nobody else at work: every order, fence, prefix and counter is as it should be. Says what
  // is not.
  std::string CheckConsistency() const;

 private:
  // A node on the way to a key, with its parent and the versions they were read at.
  struct Place {
    Node* parent = nullptr;
    uint64_t parent_version = 0;
    uint32_t position = 0;  // of the node in its parent
    Node* node = nullptr;
    uint64_t version = 0;
  };
  enum class Step { kThere, kAbove, kAgain, kCrowded, kTooHigh };
  enum class Way { kRead, kInsert };

  Step GoDown(std::string_view key, Side side, Place& place) const;
  static Step Enter(uint32_t level, Place& place);
  void FindGroup(std::span<const std::string_view> keys, std::span<std::optional<Entry>> found) const;
  Step Descend(std::string_view key, Side side, uint32_t level, Way way, Place& place) const;
  bool LockBoth(Place& place) const;
  // The leaf of `key`, locked by the caller's thread, which is inside the epoch; where the key is in it, or would be.
  Node& LockLeaf(std::string_view key, uint32_t& position, bool& found) const;
  static void Replace(Place& place, Node* fresh, Change& change, HeldLocks& held);
  void ReplaceWithTwo(Place& place, Node* left, Node* right, Change& change, HeldLocks& held);
  void MakeRoom(Place& place);
  void Split(Place& place, Pieces& pieces, size_t cut, Change& change, HeldLocks& held);
  bool InsertIntoFull(Place& place, uint32_t position, std::string_view key, const Entry& entry);

  enum class Shrunk { kNothing, kSomething, kAgain, kTooHigh };
  void Shrink(std::string_view key);
  Shrunk ShrinkLevel(std::string_view key, uint32_t level, bool& lonely);
  Shrunk MergeWith(Place& place, uint32_t left_position, Change& change, HeldLocks& held);
  Shrunk ShrinkLocked(Place& place, Change& change, HeldLocks& held);

  static bool TryFillPage(const Node& node, uint64_t version, Page& page);
  void FillPage(std::string_view key, Side side, Page& page) const;

  std::optional<Entry> FindAt(std::string_view key, Step step, const Place& place) const;

  base::EpochDomain& epochs_;
  std::atomic<uint64_t> entries_{0};
  std::atomic<uint64_t> memory_bytes_{0};
  const std::unique_ptr<NodeStore> store_;
  Node* const top_;  // above the root, never replaced: its only child is the root
};

class Tree::Lookup {
 public:
  // `key` stays as long as this object.
  Lookup(const Tree& tree, std::string_view key);
  std::optional<Entry> Get();

 private:
  const Tree& tree_;
  const std::string_view key_;
  Place place_;
  Step step_;
};

}  // namespace firn::index
