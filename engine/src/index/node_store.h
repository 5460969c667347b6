// Where nodes and long keys come from: counts every byte, takes nodes apart and builds new ones.
#pragma once

#include <atomic>
#include <cstdint>
#include <deque>
#include <string>
#include <string_view>
#include <vector>

#include "base/epoch.h"
#include "index/node.h"

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

// What left the tree under locks, to be retired once it is unlinked and the locks are free.
struct Garbage {
  std::vector<Node*> nodes;
  std::vector<const LongKey*> keys;
};

class NodeStore {
 public:
  // Nodes take a multiple of this, so that a node grows in small steps and little of it stays empty.
  static constexpr uint32_t kStepBytes = 512;
  static constexpr uint32_t kNodeBytesMax = 4096;

  NodeStore(base::EpochDomain& epochs, std::atomic<uint64_t>& memory_bytes)
      : epochs_(epochs), memory_bytes_(memory_bytes) {}

  // The content a node of this range may have at most. Long fences come on top of a node's usual size.
  static uint32_t ContentBytesMax(const Range& range);
  // What a node's content would take; `base_size` is that of the pieces' suffixes.
  static uint64_t Measure(uint32_t level, const Range& range, const Piece* begin, const Piece* end, size_t base_size);

  // At least `content_bytes` of content, rounded up to a whole step.
  Node* NewNode(uint32_t level, const Range& range, uint64_t content_bytes);
  // The same items, with at least `free_bytes` of room. `node` is locked.
  Node* Copy(const Node& node, uint32_t free_bytes);
  // A node that holds the pieces. Keys that become long get a LongKey; those no longer needed go to
  // `garbage`.
  Node* Build(uint32_t level, const Range& range, const Piece* begin, const Piece* end, size_t base_size,
              Garbage& garbage, uint64_t content_bytes_min = 0);
  const LongKey* NewLongKey(std::string_view base, std::string_view suffix);

  // Frees once no reader can see it. The caller holds no node lock: this may run what others have deferred.
  void Retire(const Garbage& garbage);
  // Frees at once a node that no reader can see; with everything below it and its long keys.
  void FreeSubtree(Node* node);

 private:
  void* Allocate(size_t size);
  void Free(const void* memory, size_t size);

  base::EpochDomain& epochs_;
  std::atomic<uint64_t>& memory_bytes_;
};

}  // namespace firn::index
