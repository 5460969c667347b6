// Where nodes and long keys come from: counts every byte, takes nodes apart and builds new ones.
#pragma once

#include <algorithm>
#include <array>
#include <atomic>
#include <cstdint>
#include <deque>
#include <initializer_list>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/epoch.h"
#include "base/sync.h"
#include "index/node.h"
#include "index/node_memory.h"

namespace firn::index {

// One item outside a node. `suffix` is the key without a base prefix that all pieces of a list share.
struct Piece {
  std::string_view suffix;
  Entry entry;                        // of a leaf
  Node* child = nullptr;              // of an inner node
  const LongKey* long_key = nullptr;  // the item's, if it has one
};

// Consecutive items of one or two nodes, and the memory of their suffixes. The nodes must stay as they are.
class Pieces {
 public:
  explicit Pieces(size_t base_size) : base_size_(base_size) {}
  // Appends the items of a locked node whose prefix is at least the base.
  void Append(const Node& node);

  size_t base_size() const { return base_size_; }
  std::vector<Piece> list;

 private:
  const size_t base_size_;
  std::deque<std::string> memory_;
};

class NodeStore;

// What a change of the tree's shape makes, and what leaves the tree by it. Until it is shown it can be given up, and
// then what it made is freed.
//
//   Change change(store);
//   Node* fresh = store.Build(..., change);   // may run out of memory
//   change.Prepare(1);                        // may run out of memory, and nothing after it
//   parent->SetChild(...), locks are let go
//   change.Show({node});
//   change.Retire();
class Change {
 public:
  explicit Change(NodeStore& store) : store_(store) {}
  ~Change();
  Change(const Change&) = delete;

  // Has memory for the retirement of the long keys that go, and of `nodes`.
  void Prepare(size_t nodes);
  // What was made is part of the tree from here on, and `left` no longer.
  void Show(std::initializer_list<Node*> left) noexcept;
  // Frees what has left once no reader can see it. No node lock is held: this may run what others have deferred.
  void Retire() noexcept;
  // What `other`, of the same store, has made is made by this one.
  void TakeOver(Change& other);

 private:
  friend class NodeStore;

  NodeStore& store_;
  std::vector<Node*> made_nodes_;
  std::vector<const LongKey*> made_keys_;
  std::vector<const LongKey*> going_keys_;
  std::array<Node*, 2> left_nodes_{};
  std::optional<base::EpochDomain::Promise> promise_;
};

// Locked nodes. Unless Done() they are unlocked as they were.
class HeldLocks {
 public:
  explicit HeldLocks(Node& node) : nodes_{&node, nullptr} {}
  HeldLocks(Node& node, Node& parent) : nodes_{&node, &parent} {}
  ~HeldLocks() {
    for (Node* node : nodes_) {
      if (node != nullptr) node->lock().UnlockUnchanged();
    }
  }
  HeldLocks(const HeldLocks&) = delete;
  void Done() { nodes_ = {}; }  // they were changed, and unlocked

 private:
  std::array<Node*, 2> nodes_;
};

class NodeStore {
 public:
  // Nodes take a multiple of this, so that a node grows in small steps and little of it stays empty.
  static constexpr uint32_t kStepBytes = 512;
  static constexpr uint32_t kNodeBytesMax = 4096;

  NodeStore(base::EpochDomain& epochs, std::atomic<uint64_t>& memory_bytes, uint64_t heap_bytes)
      : epochs_(epochs), memory_bytes_(memory_bytes), heap_bytes_(heap_bytes) {}
  ~NodeStore();

  // The content a node of this range may have at most. Long fences come on top of a node's usual size.
  static uint32_t ContentBytesMax(const Range& range);
  // What a node's content would take; `base_size` is that of the pieces' suffixes.
  static uint64_t Measure(uint32_t level, const Range& range, const Piece* begin, const Piece* end, size_t base_size);

  // At least `content_bytes` of content, rounded up to a whole step.
  Node* NewNode(uint32_t level, const Range& range, uint64_t content_bytes, Change& change);
  // The same items, with at least `free_bytes` of room. `node` is locked.
  Node* Copy(const Node& node, uint32_t free_bytes, Change& change);
  // A node that holds the pieces. Keys that become long get a LongKey; those no longer needed go.
  Node* Build(uint32_t level, const Range& range, const Piece* begin, const Piece* end, size_t base_size,
              Change& change, uint64_t content_bytes_min = 0);
  const LongKey* NewLongKey(std::string_view base, std::string_view suffix, Change& change);

  // Beside what is counted: memory that is kept for nodes to come.
  uint64_t free_bytes() const {
    const uint64_t used = node_memory_used_.load(std::memory_order_relaxed), all = node_memory_.region_bytes();
    return all - std::min(all, used);
  }

  // Of a key that has left the tree. The caller holds no node lock.
  void RetireKey(const LongKey* key) noexcept;
  // Frees at once a node that no reader can see; with everything below it and its long keys.
  void FreeSubtree(Node* node);

 private:
  friend class Change;

  void* Allocate(size_t size);
  void Free(const void* memory, size_t size) noexcept;
  void FreeNode(Node* node) noexcept { Free(node, node->allocated_bytes()); }
  void FreeKey(const LongKey* key) noexcept { Free(key, sizeof(LongKey) + key->size); }

  base::EpochDomain& epochs_;
  std::atomic<uint64_t>& memory_bytes_;
  const uint64_t heap_bytes_;
  NodeMemory node_memory_;
  std::atomic<uint64_t> node_memory_used_{0};
  base::Mutex unretired_mutex_;
  // Keys that left the tree when there was no memory to retire them: with the next one.
  const LongKey* unretired_ ABSL_GUARDED_BY(unretired_mutex_) = nullptr;
};

}  // namespace firn::index
