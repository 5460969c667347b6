// One node of the tree: a sorted array of slots that grows from the front, items that grow from the back.
//
//   | header | slot 0 | slot 1 | ... | free | ... | item 1 | item 0 | low fence | rest of the high fence |
//            |<------------------ content ----------------------->|
//
//   slot        u64: head (u32: first 4 bytes of the suffix, big-endian, zero-padded)
//                    | item position (u16, in words of the content) | suffix size (u16; kIndirect: see below)
//   leaf item   entry (6 words), rest of the suffix beyond the head (big-endian words, zero-padded)
//   inner item  child (2 words), rest of the suffix
//   suffix      the key without the node's prefix, which is what its two fences share
//
// A node holds the keys in [low, high); without a high fence there is no upper end. A child's low fence is
// its separator in the parent; slot 0 of an inner node always has an empty suffix, since no key of the node
// lies below it. Suffixes too long for a node are indirect: in a leaf the item ends with a pointer to a
// LongKey; in an inner node the separator is read from the child's low fence.
//
// Slots, items and the counters change under the lock and are atomic words (see version_lock.h). Everything
// else is written before the node is published and never again, so it is read plainly; so is a LongKey. A
// reader that has not validated yet may see any mixture of words: positions are bounded, pointers are not
// followed.
#pragma once

#include <atomic>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "base/coding.h"
#include "index/tree.h"
#include "index/version_lock.h"

namespace firn::index {

// A key kept outside its leaf, whole. It moves from leaf to leaf with its item.
struct LongKey {
  uint32_t size;
  mutable const LongKey* next_unretired;  // of NodeStore, once it has left the tree
  std::string_view view() const { return {reinterpret_cast<const char*>(this + 1), size}; }
};

struct Range {
  std::string_view low;
  bool has_high = false;
  std::string_view high;

  // How many bytes all keys of the range share.
  uint32_t PrefixSize() const;
};

// The sibling to choose on the way down.
enum class Side {
  kAt,      // the child whose range holds the key
  kBefore,  // the child whose range holds the largest possible key below it
  kLast,    // the last child
};

class Node {
 public:
  static constexpr uint32_t kWordBytes = 4;
  static constexpr uint32_t kSlotBytes = 8;
  static constexpr uint32_t kSuffixBytesMaxLeaf = 512;
  static constexpr uint32_t kSuffixBytesMaxInner = 128;
  static constexpr uint32_t kLevelTop = 0xffff;  // the fixed node above the root

  // Content bytes that a slot and its item take.
  static uint32_t SlotAndItemBytes(uint32_t level, size_t suffix_size);
  static uint32_t SlotAndItemBytesMaxInner() { return SlotAndItemBytes(1, kSuffixBytesMaxInner); }
  static bool IsIndirect(uint32_t level, size_t suffix_size) {
    return suffix_size > (level == 0 ? kSuffixBytesMaxLeaf : kSuffixBytesMaxInner);
  }
  static size_t BytesBesideContent(const Range& range);

  // `memory` has BytesBesideContent(range) + content_bytes bytes.
  static Node* Construct(void* memory, uint32_t level, const Range& range, uint32_t content_bytes);
  size_t allocated_bytes() const { return sizeof(Node) + content_bytes_ + low_size_ + high_rest_size_; }

  VersionLock& lock() { return lock_; }
  const VersionLock& lock() const { return lock_; }
  void Prefetch() const;
  // Of a leaf that is in the processor's cache: asks for the item that LowerBound() will look at.
  void PrefetchItem(std::string_view key) const;

  uint32_t level() const { return level_; }
  bool is_leaf() const { return level_ == 0; }
  std::string_view low() const { return {Fences(), low_size_}; }
  bool has_high() const { return has_high_; }
  std::string_view prefix() const { return {Fences(), prefix_size_}; }
  std::string_view high_rest() const { return {Fences() + low_size_, high_rest_size_}; }
  std::string High() const { return std::string(prefix()).append(high_rest()); }

  uint32_t count() const { return count_.load(std::memory_order_acquire); }
  uint32_t content_bytes() const { return content_bytes_; }
  // For readers that have not validated: a count that stays inside the content.
  uint32_t BoundedCount() const;
  uint32_t FreeBytes() const;  // between slots and items
  uint32_t LiveBytes() const;  // slots and items in use
  // Worth a look for merging or shortening.
  bool IsSparse() const { return LiveBytes() < content_bytes_ / 2; }

  // The reads below take the version they are to be judged by and return false when it has changed. What they
  // give is to be believed only after lock().Unchanged(version), or under the lock.

  // The first position whose suffix is not below that of `key`, and whether it is equal. `key` lies in the
  // range.
  bool LowerBound(std::string_view key, uint64_t version, uint32_t& position, bool& equal) const;
  // `key` lies in the range (kAt), or above low and not above high (kBefore).
  bool FindChild(std::string_view key, Side side, uint64_t version, uint32_t& position) const;
  bool SuffixSize(uint32_t position, uint64_t version, uint32_t& size) const;
  // The suffix, which had this size; false as well if it has another by now.
  bool CopySuffix(uint32_t position, uint64_t version, uint32_t size, char* to) const;
  bool AppendSuffix(uint32_t position, uint64_t version, std::string& to) const;
  // The whole key, for an indirect item.
  bool IndirectKey(uint32_t position, uint64_t version, std::string_view& key) const {
    return IndirectKeyOf(LoadSlot(position), version, key);
  }
  bool IsIndirectAt(uint32_t position) const { return SuffixSizeOf(LoadSlot(position)) == kIndirect; }
  uint32_t InlineSuffixSize(uint32_t position) const { return SuffixSizeOf(LoadSlot(position)); }
  Entry EntryAt(uint32_t position) const;
  Node* ChildAt(uint32_t position) const;
  LongKey* LongKeyAt(uint32_t position) const;

  // Changes, under the lock or before the node is published. Inserting needs FreeBytes().
  void InsertEntry(uint32_t position, std::string_view suffix, const Entry& entry, const LongKey* long_key);
  void InsertChild(uint32_t position, std::string_view suffix, const Node* child);
  void SetEntry(uint32_t position, const Entry& entry);
  void SetChild(uint32_t position, const Node* child);
  void Remove(uint32_t position);
  // Appends the items of `from`, which has the same range.
  void AppendAll(const Node& from);

  // How many of the last inserts went behind all others: the sign of ascending keys. Read and written under
  // the lock.
  uint32_t appends_in_row() const { return appends_in_row_; }
  void ForgetAppends() { appends_in_row_ = 0; }

 private:
  static constexpr uint32_t kIndirect = 0xffff;
  static constexpr uint32_t kEntryWords = sizeof(Entry) / kWordBytes;
  static constexpr uint32_t kPointerWords = sizeof(void*) / kWordBytes;

  Node(uint32_t level, const Range& range, uint32_t content_bytes);

  static uint32_t HeadOf(uint64_t slot) { return static_cast<uint32_t>(slot >> 32); }
  static uint32_t ItemWordOf(uint64_t slot) { return static_cast<uint32_t>(slot >> 16) & 0xffff; }
  static uint32_t SuffixSizeOf(uint64_t slot) { return static_cast<uint32_t>(slot) & 0xffff; }

  std::byte* Content() const { return const_cast<std::byte*>(reinterpret_cast<const std::byte*>(this + 1)); }
  const char* Fences() const { return reinterpret_cast<const char*>(Content() + content_bytes_); }
  uint32_t PayloadWords() const { return is_leaf() ? kEntryWords : kPointerWords; }
  uint32_t ItemWords(uint64_t slot) const;

  uint64_t LoadSlot(uint32_t position) const {
    auto& place = *reinterpret_cast<uint64_t*>(Content() + size_t{position} * kSlotBytes);
    return std::atomic_ref<uint64_t>(place).load(std::memory_order_acquire);
  }
  void StoreSlot(uint32_t position, uint64_t slot) {
    auto& place = *reinterpret_cast<uint64_t*>(Content() + size_t{position} * kSlotBytes);
    std::atomic_ref<uint64_t>(place).store(slot, std::memory_order_release);
  }
  // A word beyond the content reads as zero: only a reader that is about to fail its validation asks for one.
  uint32_t LoadWord(uint32_t word) const {
    if (word * kWordBytes >= content_bytes_) return 0;
    auto& place = *reinterpret_cast<uint32_t*>(Content() + size_t{word} * kWordBytes);
    return std::atomic_ref<uint32_t>(place).load(std::memory_order_acquire);
  }
  void StoreWord(uint32_t word, uint32_t value) {
    auto& place = *reinterpret_cast<uint32_t*>(Content() + size_t{word} * kWordBytes);
    std::atomic_ref<uint32_t>(place).store(value, std::memory_order_release);
  }
  template <typename Pointer>
  Pointer* LoadPointer(uint32_t word) const {
    return std::bit_cast<Pointer*>(LoadWord(word) | uint64_t{LoadWord(word + 1)} << 32);
  }
  void StorePointer(uint32_t word, const void* pointer);

  uint32_t FirstHeadAtLeast(uint64_t bound, uint32_t count) const;
  bool IndirectKeyOf(uint64_t slot, uint64_t version, std::string_view& key) const;
  bool Compare(uint64_t slot, std::string_view suffix, uint64_t version, int& order) const;
  // Makes room for an item, writes its slot and the rest of its suffix; returns the item's first word.
  uint32_t InsertSlot(uint32_t position, std::string_view suffix);

  VersionLock lock_;
  std::atomic<uint32_t> count_{0};
  std::atomic<uint32_t> items_begin_;    // lowest byte of the content that belongs to an item
  std::atomic<uint32_t> dead_bytes_{0};  // of removed items
  const uint32_t content_bytes_;
  const uint32_t low_size_;
  const uint32_t high_rest_size_;
  const uint32_t prefix_size_;
  const uint16_t level_;
  const bool has_high_;
  uint8_t appends_in_row_ = 0;
};
static_assert(sizeof(Node) == 40 && sizeof(Entry) == 24 && sizeof(void*) == 8);

}  // namespace firn::index
