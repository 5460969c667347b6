#include "index/node_store.h"

#include <algorithm>
#include <new>
#include <utility>

#include "base/check.h"
#include "base/coding.h"
#include "base/memory.h"

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

Change::~Change() {
  for (Node* node : made_nodes_) {
    if (node != nullptr) store_.FreeNode(node);
  }
  for (const LongKey* key : made_keys_) {
    if (key != nullptr) store_.FreeKey(key);
  }
}

void Change::TakeOver(Change& other) {
  made_nodes_.reserve(made_nodes_.size() + other.made_nodes_.size());
  made_keys_.reserve(made_keys_.size() + other.made_keys_.size());
  made_nodes_.insert(made_nodes_.end(), other.made_nodes_.begin(), other.made_nodes_.end());
  made_keys_.insert(made_keys_.end(), other.made_keys_.begin(), other.made_keys_.end());
  other.made_nodes_.clear();
  other.made_keys_.clear();
}

void Change::Prepare(size_t nodes) {
  FIRN_CHECK(nodes <= left_nodes_.size());
  promise_.emplace(store_.epochs_, going_keys_.size() + nodes);
}

void Change::Show(std::initializer_list<Node*> left) noexcept {
  made_nodes_.clear();
  made_keys_.clear();
  std::copy(left.begin(), left.end(), left_nodes_.begin());
}

void Change::Retire() noexcept {
  NodeStore* const store = &store_;
  for (Node* node : std::exchange(left_nodes_, {})) {
    if (node != nullptr) promise_->Retire([store, node] { store->FreeNode(node); });
  }
  if (!promise_) return;
  for (const LongKey* key : going_keys_) promise_->Retire([store, key] { store->FreeKey(key); });
  going_keys_.clear();
}

NodeStore::~NodeStore() {
  base::MutexLock lock(unretired_mutex_);
  while (unretired_ != nullptr) FreeKey(std::exchange(unretired_, unretired_->next_unretired));
}

Node* NodeStore::NewNode(uint32_t level, const Range& range, uint64_t content_bytes, Change& change) {
  const size_t beside = Node::BytesBesideContent(range);
  const size_t size = base::RoundUp(beside + content_bytes, kStepBytes);
  const auto content = static_cast<uint32_t>(base::RoundDown(size - beside, Node::kWordBytes));
  Node*& made = change.made_nodes_.emplace_back(nullptr);
  made = Node::Construct(Allocate(beside + content), level, range, content);
  return made;
}

Node* NodeStore::Copy(const Node& node, uint32_t free_bytes, Change& change) {
  const std::string high = node.High();
  const Range range{node.low(), node.has_high(), high};
  Node* copy = NewNode(node.level(), range, uint64_t{node.LiveBytes()} + free_bytes, change);
  copy->AppendAll(node);
  return copy;
}

Node* NodeStore::Build(uint32_t level, const Range& range, const Piece* begin, const Piece* end, size_t base_size,
                       Change& change, uint64_t content_bytes_min) {
  const size_t drop = range.PrefixSize() - base_size;
  const uint64_t content_bytes = std::max(content_bytes_min, Measure(level, range, begin, end, base_size));
  Node* node = NewNode(level, range, content_bytes, change);
  for (const Piece* piece = begin; piece != end; ++piece) {
    const auto position = static_cast<uint32_t>(piece - begin);
    if (level > 0) {
      node->InsertChild(position, position == 0 ? std::string_view() : piece->suffix.substr(drop), piece->child);
      continue;
    }
    const std::string_view suffix = piece->suffix.substr(drop);
    const LongKey* long_key = nullptr;
    if (Node::IsIndirect(0, suffix.size())) {
      long_key = piece->long_key != nullptr ? piece->long_key
                                            : NewLongKey(range.low.substr(0, base_size), piece->suffix, change);
    } else if (piece->long_key != nullptr) {
      change.going_keys_.push_back(piece->long_key);
    }
    node->InsertEntry(position, suffix, piece->entry, long_key);
  }
  node->ForgetAppends();
  return node;
}

const LongKey* NodeStore::NewLongKey(std::string_view base, std::string_view suffix, Change& change) {
  const size_t size = base.size() + suffix.size();
  const LongKey*& made = change.made_keys_.emplace_back(nullptr);
  auto* key = static_cast<LongKey*>(Allocate(sizeof(LongKey) + size));
  key->size = static_cast<uint32_t>(size);
  key->next_unretired = nullptr;
  char* bytes = reinterpret_cast<char*>(key + 1);
  bytes += base.copy(bytes, base.size());
  suffix.copy(bytes, suffix.size());
  made = key;
  return key;
}

void NodeStore::RetireKey(const LongKey* key) noexcept {
  {
    base::MutexLock lock(unretired_mutex_);
    key->next_unretired = std::exchange(unretired_, key);
  }
  for (;;) {
    // One at a time: none may be lost if memory runs out.
    std::optional<base::EpochDomain::Promise> promise;
    if (!base::IfMemoryPermits([&] { promise.emplace(epochs_, 1); })) return;
    {
      base::MutexLock lock(unretired_mutex_);
      if (unretired_ == nullptr) return;
      key = std::exchange(unretired_, unretired_->next_unretired);
    }
    promise->Retire([this, key] { FreeKey(key); });
  }
}

void NodeStore::FreeSubtree(Node* node) {
  for (uint32_t i = 0; i < node->count(); ++i) {
    if (!node->is_leaf()) {
      FreeSubtree(node->ChildAt(i));
    } else if (const LongKey* key = node->LongKeyAt(i)) {
      FreeKey(key);
    }
  }
  FreeNode(node);
}

void* NodeStore::Allocate(size_t size) {
  const size_t whole = base::RoundUp(size, kAlignmentBytes);
  // A small tree is in the processor's caches, and should not take a huge page.
  const bool is_large = memory_bytes_.load(std::memory_order_relaxed) >= heap_bytes_;
  void* memory = nullptr;
  if (is_large && NodeMemory::HasSize(whole)) {
    memory = node_memory_.Allocate(whole);
    node_memory_used_.fetch_add(whole, std::memory_order_relaxed);
  } else {
    memory = ::operator new (whole, std::align_val_t{kAlignmentBytes});
  }
  memory_bytes_.fetch_add(whole, std::memory_order_relaxed);
  return memory;
}

void NodeStore::Free(const void* memory, size_t size) noexcept {
  const size_t whole = base::RoundUp(size, kAlignmentBytes);
  if (node_memory_.region_bytes() > 0 && node_memory_.Free(memory, whole)) {
    node_memory_used_.fetch_sub(whole, std::memory_order_relaxed);
  } else {
    ::operator delete (const_cast<void*>(memory), std::align_val_t{kAlignmentBytes});
  }
  memory_bytes_.fetch_sub(whole, std::memory_order_relaxed);
}

}  // namespace firn::index
