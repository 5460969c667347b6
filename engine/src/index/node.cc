#include "index/node.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <new>

#include "base/check.h"

namespace firn::index {
namespace {

constexpr uint32_t kHeadBytes = 4;

uint32_t RestWords(size_t suffix_size) {
  return suffix_size <= kHeadBytes ? 0 : static_cast<uint32_t>((suffix_size - kHeadBytes + 3) / 4);
}

// Up to four bytes as a number that sorts like them; what is missing counts as zero.
uint32_t BigEndian(std::string_view bytes, size_t from) {
  if (from + 4 <= bytes.size()) {
    uint32_t word;
    std::memcpy(&word, bytes.data() + from, 4);
    return __builtin_bswap32(word);
  }
  uint32_t word = 0;
  for (size_t i = 0; i < 4; ++i) {
    word = word << 8 | (from + i < bytes.size() ? static_cast<unsigned char>(bytes[from + i]) : 0u);
  }
  return word;
}

void StoreBigEndian(uint32_t word, uint32_t bytes, char* to) {
  word = __builtin_bswap32(word);
  if (bytes >= 4) {
    std::memcpy(to, &word, 4);
  } else {
    std::memcpy(to, &word, bytes);
  }
}

}  // namespace

uint32_t Range::PrefixSize() const {
  if (!has_high) return 0;
  const size_t limit = std::min(low.size(), high.size());
  return static_cast<uint32_t>(
      std::mismatch(low.begin(), low.begin() + static_cast<ptrdiff_t>(limit), high.begin()).first - low.begin());
}

uint32_t Node::SlotAndItemBytes(uint32_t level, size_t suffix_size) {
  const uint32_t payload = level == 0 ? kEntryWords : kPointerWords;
  if (!IsIndirect(level, suffix_size)) return kSlotBytes + (payload + RestWords(suffix_size)) * kWordBytes;
  return kSlotBytes + (payload + (level == 0 ? kPointerWords : 0)) * kWordBytes;
}

size_t Node::BytesBesideContent(const Range& range) {
  return sizeof(Node) + range.low.size() + (range.has_high ? range.high.size() - range.PrefixSize() : 0);
}

Node* Node::Construct(void* memory, uint32_t level, const Range& range, uint32_t content_bytes) {
  Node* node = new (memory) Node(level, range, content_bytes);
  char* fences = reinterpret_cast<char*>(node->Content() + content_bytes);
  fences += range.low.copy(fences, range.low.size());
  if (range.has_high) range.high.copy(fences, node->high_rest_size_, node->prefix_size_);
  return node;
}

Node::Node(uint32_t level, const Range& range, uint32_t content_bytes)
    : items_begin_(content_bytes),
      content_bytes_(content_bytes),
      low_size_(static_cast<uint32_t>(range.low.size())),
      high_rest_size_(static_cast<uint32_t>(range.has_high ? range.high.size() - range.PrefixSize() : 0)),
      prefix_size_(range.PrefixSize()),
      level_(static_cast<uint16_t>(level)),
      has_high_(range.has_high) {}

void Node::Prefetch() const {
  // Header and the slots of a full leaf: they are needed in an order the processor cannot guess.
  constexpr size_t kBytes = 704, kLineBytes = 64;
  for (size_t i = 0; i < kBytes; i += kLineBytes) __builtin_prefetch(reinterpret_cast<const char*>(this) + i);
}

uint32_t Node::FreeBytes() const {
  const uint32_t begin = items_begin_.load(std::memory_order_acquire);
  const uint32_t slots = count() * kSlotBytes;
  return begin > slots ? begin - slots : 0;
}

uint32_t Node::LiveBytes() const {
  return content_bytes_ - items_begin_.load(std::memory_order_acquire) - dead_bytes_.load(std::memory_order_acquire) +
         count() * kSlotBytes;
}

uint32_t Node::BoundedCount() const { return std::min(count(), content_bytes_ / kSlotBytes); }

bool Node::IndirectKeyOf(uint64_t slot, uint64_t version, std::string_view& key) const {
  const uint32_t item = ItemWordOf(slot);
  if (is_leaf()) {
    const auto* long_key = LoadPointer<LongKey>(item + kEntryWords);
    if (!lock_.Unchanged(version)) return false;
    key = long_key->view();  // NOLINT(clang-analyzer-core.CallAndMessage): a slot that stands has its pointer
  } else {
    const auto* child = LoadPointer<Node>(item);
    if (!lock_.Unchanged(version)) return false;
    key = child->low();  // NOLINT(clang-analyzer-core.CallAndMessage): as above
  }
  return true;
}

// `order` is below, at or above zero as the slot's suffix is to `suffix`. The heads are equal. Zero padding
// sorts rightly: where all words are equal the shorter string is a prefix of the longer one, which goes on
// with zeros.
bool Node::Compare(uint64_t slot, std::string_view suffix, uint64_t version, int& order) const {
  const uint32_t size = SuffixSizeOf(slot);
  if (size == kIndirect) {
    std::string_view whole;
    if (!IndirectKeyOf(slot, version, whole)) return false;
    order = whole.substr(prefix_size_).compare(suffix);
    return true;
  }
  const uint32_t first = ItemWordOf(slot) + PayloadWords();
  const uint32_t words = std::min(RestWords(size), RestWords(suffix.size()));
  for (uint32_t i = 0; i < words; ++i) {
    const uint32_t mine = LoadWord(first + i);
    const uint32_t other = BigEndian(suffix, size_t{kHeadBytes} * (i + 1));
    if (mine != other) {
      order = mine < other ? -1 : 1;
      return true;
    }
  }
  order = size < suffix.size() ? -1 : static_cast<int>(size > suffix.size());
  return true;
}

uint32_t Node::FirstHeadAtLeast(uint64_t bound, uint32_t count) const {
  uint32_t begin = 0;
  for (uint32_t left = count; left > 0;) {
    const uint32_t half = (left + 1) / 2;
    begin += HeadOf(LoadSlot(begin + half - 1)) < bound ? half : 0;
    left -= half;
  }
  return begin;
}

void Node::PrefetchItem(std::string_view key) const {
  const uint32_t count = BoundedCount();
  const uint32_t position = FirstHeadAtLeast(BigEndian(key.substr(prefix_size_), 0), count);
  if (position == count) return;
  const std::byte* const item = Content() + size_t{ItemWordOf(LoadSlot(position))} * kWordBytes;
  __builtin_prefetch(item);
  __builtin_prefetch(item + kEntryWords * kWordBytes + kWordBytes);  // it may reach into the next line
}

bool Node::LowerBound(std::string_view key, uint64_t version, uint32_t& position, bool& equal) const {
  const std::string_view suffix = key.substr(prefix_size_);
  const uint32_t head = BigEndian(suffix, 0);
  const uint32_t count = BoundedCount();
  equal = false;
  position = FirstHeadAtLeast(head, count);
  if (position == count || HeadOf(LoadSlot(position)) != head) return true;
  uint32_t end = position + 1;
  if (end < count && HeadOf(LoadSlot(end)) == head) end = FirstHeadAtLeast(uint64_t{head} + 1, count);
  while (position < end) {
    const uint32_t middle = position + (end - position) / 2;
    int order;
    if (!Compare(LoadSlot(middle), suffix, version, order)) return false;
    if (order == 0) {
      position = middle;
      equal = true;
      return true;
    }
    if (order < 0) {
      position = middle + 1;
    } else {
      end = middle;
    }
  }
  return true;
}

bool Node::FindChild(std::string_view key, Side side, uint64_t version, uint32_t& position) const {
  if (side == Side::kLast) {
    position = BoundedCount();
    if (position == 0) return false;
    --position;
    return true;
  }
  bool equal;
  if (!LowerBound(key, version, position, equal)) return false;
  if (side == Side::kAt && equal) return true;
  if (position == 0) return false;
  --position;
  return true;
}

bool Node::SuffixSize(uint32_t position, uint64_t version, uint32_t& size) const {
  const uint64_t slot = LoadSlot(position);
  size = SuffixSizeOf(slot);
  if (size != kIndirect) return size <= kSuffixBytesMaxLeaf;
  std::string_view whole;
  if (!IndirectKeyOf(slot, version, whole)) return false;
  size = static_cast<uint32_t>(whole.size()) - prefix_size_;
  return true;
}

bool Node::CopySuffix(uint32_t position, uint64_t version, uint32_t size, char* to) const {
  const uint64_t slot = LoadSlot(position);
  if (SuffixSizeOf(slot) == kIndirect) {
    std::string_view whole;
    if (!IndirectKeyOf(slot, version, whole) || whole.size() != prefix_size_ + size) return false;
    whole.copy(to, size, prefix_size_);
    return true;
  }
  if (SuffixSizeOf(slot) != size) return false;
  StoreBigEndian(HeadOf(slot), std::min(size, kHeadBytes), to);
  uint32_t word = ItemWordOf(slot) + PayloadWords();
  for (uint32_t done = kHeadBytes; done < size; done += kWordBytes, ++word) {
    StoreBigEndian(LoadWord(word), size - done, to + done);
  }
  return true;
}

bool Node::AppendSuffix(uint32_t position, uint64_t version, std::string& to) const {
  uint32_t size;
  if (!SuffixSize(position, version, size)) return false;
  const size_t begin = to.size();
  to.resize(begin + size);
  return CopySuffix(position, version, size, to.data() + begin);
}

Entry Node::EntryAt(uint32_t position) const {
  std::array<uint32_t, kEntryWords> words;
  const uint32_t item = ItemWordOf(LoadSlot(position));
  for (uint32_t i = 0; i < kEntryWords; ++i) words[i] = LoadWord(item + i);
  return std::bit_cast<Entry>(words);
}

Node* Node::ChildAt(uint32_t position) const { return LoadPointer<Node>(ItemWordOf(LoadSlot(position))); }

LongKey* Node::LongKeyAt(uint32_t position) const {
  const uint64_t slot = LoadSlot(position);
  if (SuffixSizeOf(slot) != kIndirect) return nullptr;
  return LoadPointer<LongKey>(ItemWordOf(slot) + kEntryWords);
}

void Node::StorePointer(uint32_t word, const void* pointer) {
  const auto value = std::bit_cast<uint64_t>(pointer);
  StoreWord(word, static_cast<uint32_t>(value));
  StoreWord(word + 1, static_cast<uint32_t>(value >> 32));
}

uint32_t Node::InsertSlot(uint32_t position, std::string_view suffix) {
  const uint32_t bytes = SlotAndItemBytes(level_, suffix.size());
  FIRN_CHECK(FreeBytes() >= bytes);
  const uint32_t count = count_.load(std::memory_order_relaxed);
  const uint32_t begin = items_begin_.load(std::memory_order_relaxed) - (bytes - kSlotBytes);
  const uint32_t item = begin / kWordBytes;
  const bool indirect = IsIndirect(level_, suffix.size());
  for (uint32_t i = indirect ? 0 : RestWords(suffix.size()); i > 0; --i) {
    StoreWord(item + PayloadWords() + i - 1, BigEndian(suffix, size_t{kHeadBytes} * i));
  }
  for (uint32_t i = count; i > position; --i) StoreSlot(i, LoadSlot(i - 1));
  const uint64_t size = indirect ? kIndirect : suffix.size();
  StoreSlot(position, uint64_t{BigEndian(suffix, 0)} << 32 | uint64_t{item} << 16 | size);
  items_begin_.store(begin, std::memory_order_release);
  count_.store(count + 1, std::memory_order_release);
  const bool appended = position == count;
  appends_in_row_ = appended ? static_cast<uint8_t>(std::min(appends_in_row_ + 1, 255)) : uint8_t{0};
  return item;
}

void Node::InsertEntry(uint32_t position, std::string_view suffix, const Entry& entry, const LongKey* long_key) {
  FIRN_CHECK(is_leaf() && IsIndirect(0, suffix.size()) == (long_key != nullptr));
  const uint32_t item = InsertSlot(position, suffix);
  if (long_key != nullptr) StorePointer(item + kEntryWords, long_key);
  SetEntry(position, entry);
}

void Node::InsertChild(uint32_t position, std::string_view suffix, const Node* child) {
  FIRN_CHECK(!is_leaf() && suffix.empty() == (position == 0));
  StorePointer(InsertSlot(position, suffix), child);
}

void Node::SetEntry(uint32_t position, const Entry& entry) {
  const auto words = std::bit_cast<std::array<uint32_t, kEntryWords>>(entry);
  const uint32_t item = ItemWordOf(LoadSlot(position));
  for (uint32_t i = 0; i < kEntryWords; ++i) StoreWord(item + i, words[i]);
}

void Node::SetChild(uint32_t position, const Node* child) { StorePointer(ItemWordOf(LoadSlot(position)), child); }

uint32_t Node::ItemWords(uint64_t slot) const {
  const uint32_t size = SuffixSizeOf(slot);
  if (size == kIndirect) return PayloadWords() + (is_leaf() ? kPointerWords : 0);
  return PayloadWords() + RestWords(size);
}

void Node::Remove(uint32_t position) {
  const uint32_t count = count_.load(std::memory_order_relaxed);
  FIRN_CHECK(position < count);
  const uint64_t slot = LoadSlot(position);
  const uint32_t bytes = ItemWords(slot) * kWordBytes;
  const uint32_t begin = items_begin_.load(std::memory_order_relaxed);
  if (ItemWordOf(slot) * kWordBytes == begin) {
    items_begin_.store(begin + bytes, std::memory_order_release);
  } else {
    dead_bytes_.store(dead_bytes_.load(std::memory_order_relaxed) + bytes, std::memory_order_release);
  }
  for (uint32_t i = position; i + 1 < count; ++i) StoreSlot(i, LoadSlot(i + 1));
  count_.store(count - 1, std::memory_order_release);
  appends_in_row_ = 0;
}

void Node::AppendAll(const Node& from) {
  uint32_t begin = content_bytes_;
  for (uint32_t i = 0; i < from.count(); ++i) {
    const uint64_t slot = from.LoadSlot(i);
    const uint32_t words = ItemWords(slot);
    begin -= words * kWordBytes;
    const uint32_t item = begin / kWordBytes;
    for (uint32_t word = 0; word < words; ++word) StoreWord(item + word, from.LoadWord(ItemWordOf(slot) + word));
    StoreSlot(i, (slot & ~(uint64_t{0xffff} << 16)) | uint64_t{item} << 16);
  }
  FIRN_CHECK(begin >= from.count() * kSlotBytes);
  items_begin_.store(begin, std::memory_order_release);
  count_.store(from.count(), std::memory_order_release);
  appends_in_row_ = from.appends_in_row_;
}

}  // namespace firn::index
