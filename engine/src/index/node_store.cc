#include "index/node_store.h"

#include <algorithm>
#include <cstdlib>

#include "base/check.h"
#include "base/coding.h"

namespace firn::index {
namespace {

constexpr uint32_t kAlignmentBytes = 64;
constexpr uint32_t kContentBytesLeast = 3072;

}  // namespace

void Pieces::Append(const Node& node) {
  const std::string_view extra = node.prefix().substr(base_size_);
  size_t bytes = 0;
  for (uint32_t i = 0; i < node.count(); ++i) {
    if (!node.IsIndirectAt(i)) bytes += extra.size() + node.InlineSuffixSize(i);
  }
  // Views point into it: it must never move.
  std::string& memory = memory_.emplace_back();
  memory.reserve(bytes);
  const uint64_t version = node.lock().ReadLocked();
  for (uint32_t i = 0; i < node.count(); ++i) {
    Piece piece;
    if (node.is_leaf()) {
      piece.entry = node.EntryAt(i);
      piece.long_key = node.LongKeyAt(i);
    } else {
      piece.child = node.ChildAt(i);
    }
    if (!node.is_leaf() && i == 0) {
      piece.suffix = node.low().substr(base_size_);
    } else if (node.IsIndirectAt(i)) {
      std::string_view whole;
      FIRN_CHECK(node.IndirectKey(i, version, whole));
      piece.suffix = whole.substr(base_size_);
    } else {
      const size_t begin = memory.size();
      memory.append(extra);
      FIRN_CHECK(node.AppendSuffix(i, version, memory));
      piece.suffix = std::string_view(memory).substr(begin);
    }
    list.push_back(piece);
  }
}

uint32_t NodeStore::ContentBytesMax(const Range& range) {
  const size_t beside = Node::BytesBesideContent(range);
  if (beside + kContentBytesLeast >= kNodeBytesMax) return kContentBytesLeast;
  return static_cast<uint32_t>(base::RoundDown(kNodeBytesMax - beside, Node::kWordBytes));
}

uint64_t NodeStore::Measure(uint32_t level, const Range& range, const Piece* begin, const Piece* end,
                            size_t base_size) {
  const size_t drop = range.PrefixSize() - base_size;
  uint64_t bytes = 0;
  for (const Piece* piece = begin; piece != end; ++piece) {
    const bool empty = level > 0 && piece == begin;
    bytes += Node::SlotAndItemBytes(level, empty ? 0 : piece->suffix.size() - drop);
  }
  return bytes;
}

Node* NodeStore::NewNode(uint32_t level, const Range& range, uint64_t content_bytes) {
  const size_t beside = Node::BytesBesideContent(range);
  const size_t size = base::RoundUp(beside + content_bytes, kStepBytes);
  const auto content = static_cast<uint32_t>(base::RoundDown(size - beside, Node::kWordBytes));
  return Node::Construct(Allocate(beside + content), level, range, content);
}

Node* NodeStore::Copy(const Node& node, uint32_t free_bytes) {
  const std::string high = node.High();
  Node* copy = NewNode(node.level(), {node.low(), node.has_high(), high}, uint64_t{node.LiveBytes()} + free_bytes);
  copy->AppendAll(node);
  return copy;
}

Node* NodeStore::Build(uint32_t level, const Range& range, const Piece* begin, const Piece* end, size_t base_size,
                       Garbage& garbage, uint64_t content_bytes_min) {
  const size_t drop = range.PrefixSize() - base_size;
  Node* node = NewNode(level, range, std::max(content_bytes_min, Measure(level, range, begin, end, base_size)));
  for (const Piece* piece = begin; piece != end; ++piece) {
    const auto position = static_cast<uint32_t>(piece - begin);
    if (level > 0) {
      node->InsertChild(position, position == 0 ? std::string_view() : piece->suffix.substr(drop), piece->child);
      continue;
    }
    const std::string_view suffix = piece->suffix.substr(drop);
    const LongKey* long_key = nullptr;
    if (Node::IsIndirect(0, suffix.size())) {
      long_key =
          piece->long_key != nullptr ? piece->long_key : NewLongKey(range.low.substr(0, base_size), piece->suffix);
    } else if (piece->long_key != nullptr) {
      garbage.keys.push_back(piece->long_key);
    }
    node->InsertEntry(position, suffix, piece->entry, long_key);
  }
  node->ForgetAppends();
  return node;
}

const LongKey* NodeStore::NewLongKey(std::string_view base, std::string_view suffix) {
  const size_t size = base.size() + suffix.size();
  auto* key = static_cast<LongKey*>(Allocate(sizeof(LongKey) + size));
  key->size = static_cast<uint32_t>(size);
  char* bytes = reinterpret_cast<char*>(key + 1);
  bytes += base.copy(bytes, base.size());
  suffix.copy(bytes, suffix.size());
  return key;
}

void NodeStore::Retire(const Garbage& garbage) {
  for (Node* node : garbage.nodes) {
    epochs_.Retire([this, node] { Free(node, node->allocated_bytes()); });
  }
  for (const LongKey* key : garbage.keys) {
    epochs_.Retire([this, key] { Free(key, sizeof(LongKey) + key->size); });
  }
}

void NodeStore::FreeSubtree(Node* node) {
  for (uint32_t i = 0; i < node->count(); ++i) {
    if (!node->is_leaf()) {
      FreeSubtree(node->ChildAt(i));
    } else if (const LongKey* key = node->LongKeyAt(i)) {
      Free(key, sizeof(LongKey) + key->size);
    }
  }
  Free(node, node->allocated_bytes());
}

void* NodeStore::Allocate(size_t size) {
  const size_t whole = base::RoundUp(size, kAlignmentBytes);
  void* memory = std::aligned_alloc(kAlignmentBytes, whole);
  FIRN_CHECK(memory != nullptr);
  memory_bytes_.fetch_add(whole, std::memory_order_relaxed);
  return memory;
}

void NodeStore::Free(const void* memory, size_t size) {
  std::free(const_cast<void*>(memory));
  memory_bytes_.fetch_sub(base::RoundUp(size, kAlignmentBytes), std::memory_order_relaxed);
}

}  // namespace firn::index
