// One shard of the value cache: a table of what is there, two queues of chunks, and fingerprints of what has left.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "base/epoch.h"
#include "base/fork.h"
#include "base/sync.h"
#include "io/large_memory.h"
#include "memory/chunk_memory.h"
#include "memory/value_cache.h"

namespace firn::memory {

// At the start of a value's bytes in a chunk; the value and then its metadata follow.
struct CacheEntry {
  uint64_t hash;                  // of its key
  std::atomic<uint64_t> address;  // written once its hash leads to it only by Move()
  uint32_t value_bytes;
  uint16_t metadata_bytes;
  std::atomic<uint8_t> uses;  // reads since it was put in its queue, kUsesMax at most

  static constexpr uint8_t kUsesMax = 3;
  CacheKey key() const {
    CacheKey key;
    key.hash = hash;
    key.address = address.load(std::memory_order_relaxed);
    return key;
  }
  const std::byte* value() const { return reinterpret_cast<const std::byte*>(this) + sizeof(CacheEntry); }
  base::Bytes value_span() const { return {value(), value_bytes}; }
  base::Bytes metadata_span() const { return {value() + value_bytes, metadata_bytes}; }
};
static_assert(sizeof(CacheEntry) == 24);

inline size_t EntryBytes(size_t value_bytes, size_t metadata_bytes) {
  return base::RoundUp(sizeof(CacheEntry) + value_bytes + metadata_bytes, alignof(CacheEntry));
}

// The header of a chunk, whose memory is aligned to ValueCache::kChunkBytes, so that an entry, which begins in the
// first so many bytes, leads to it. Headers begin at different offsets, or all would want the same few places in the
// processor's caches: those who pin values change them.
struct alignas(64) Chunk {
  static constexpr size_t kColours = 64;

  CacheShard* shard = nullptr;
  Chunk* next = nullptr;    // the newer one in its queue, or any in another list
  size_t memory_bytes = 0;  // all of it
  size_t end = 0;           // where the next entry goes, from the start of the header
  // The cache's own, given up once no reader can find the chunk any more, and the pins.
  std::atomic<uint32_t> holds{0};
  bool has_left = false;  // only pins hold it; under the shard's mutex

  std::byte* at(size_t offset) { return reinterpret_cast<std::byte*>(this) + offset; }
  std::byte* memory() { return reinterpret_cast<std::byte*>(MemoryOf(this)); }
  size_t bytes_left() { return memory_bytes - static_cast<size_t>(at(end) - memory()); }
  // Of chunk memory that begins here.
  static Chunk* In(uintptr_t memory) {
    const uintptr_t colour = memory / ValueCache::kChunkBytes % kColours;
    return reinterpret_cast<Chunk*>(memory + colour * sizeof(Chunk));
  }
  static Chunk* Of(const CacheEntry* entry) { return In(MemoryOf(entry)); }

 private:
  static uintptr_t MemoryOf(const void* at) {
    return reinterpret_cast<uintptr_t>(at) & ~uintptr_t{ValueCache::kChunkBytes - 1};
  }
};
static_assert(sizeof(Chunk) == 64);

// Where entries are found: buckets of a cache line. A word is an entry's address with the hash's first 16 bits in the
// place of the address's, which are zero on every 64-bit Linux; 0 is a free slot. An entry lies in the bucket that its
// hash names or in one of the next two.
class CacheTable {
 public:
  static constexpr size_t kSlotsPerBucket = 8;
  static constexpr size_t kProbes = 3;

  explicit CacheTable(size_t buckets);  // a power of two

  // By any thread, in an epoch guard. What it returns may just have been removed.
  const CacheEntry* Find(CacheKey key) const {
    return FindIf(key.hash, [&](uint64_t address) { return address == key.address; });
  }
  // The entry of the same part of the same key, whatever its address.
  const CacheEntry* FindOlder(CacheKey key) const {
    return FindIf(key.hash, [&](uint64_t address) { return ((address ^ key.address) >> CacheKey::kPartShift) == 0; });
  }
  void Prefetch(uint64_t hash) const { __builtin_prefetch(&BucketOf(hash, 0)); }
  // Of what has the same tag in the first bucket: the entry's head and the beginning of its value. And its chunk, if
  // the value `will_be_pinned`.
  void PrefetchEntry(uint64_t hash, bool will_be_pinned) const {
    for (const std::atomic<uint64_t>& slot : BucketOf(hash, 0)) {
      const uint64_t word = slot.load(std::memory_order_relaxed);
      if ((word ^ hash) >> kTagShift != 0) continue;
      const auto* const at = reinterpret_cast<const std::byte*>(EntryOf(word));
      if (at == nullptr) continue;
      __builtin_prefetch(at);
      __builtin_prefetch(at + 64);
      if (will_be_pinned) __builtin_prefetch(Chunk::Of(EntryOf(word)), /*rw=*/1);
    }
  }

  // These by one thread at a time.
  // False if there is no free slot.
  bool Add(uint64_t hash, const CacheEntry* entry);
  bool Holds(uint64_t hash, const CacheEntry* entry) const;
  // Puts another entry, or none, in the place of `entry`. False if it is not there.
  bool Replace(uint64_t hash, const CacheEntry* entry, const CacheEntry* by);
  template <typename Visit>
  void ForEach(const Visit& visit) const {
    for (size_t i = 0; i <= mask_; ++i) {
      for (const std::atomic<uint64_t>& slot : buckets_[i].slots) {
        if (const CacheEntry* entry = EntryOf(slot.load(std::memory_order_relaxed)); entry != nullptr) visit(entry);
      }
    }
  }

  size_t buckets() const { return mask_ + 1; }
  size_t slots() const { return buckets() * kSlotsPerBucket; }
  size_t memory_bytes() const { return sizeof(CacheTable) + buckets() * sizeof(Bucket); }

 private:
  static constexpr int kTagShift = 48;
  using Slots = std::array<std::atomic<uint64_t>, kSlotsPerBucket>;
  struct alignas(64) Bucket {
    Slots slots{};
  };

  template <typename Matches>
  const CacheEntry* FindIf(uint64_t hash, const Matches& matches) const {
    for (size_t probe = 0; probe < kProbes; ++probe) {
      for (const std::atomic<uint64_t>& slot : BucketOf(hash, probe)) {
        const uint64_t word = slot.load(std::memory_order_acquire);
        if ((word ^ hash) >> kTagShift != 0) continue;
        const CacheEntry* const entry = EntryOf(word);
        if (entry == nullptr || entry->hash != hash) continue;
        if (matches(entry->address.load(std::memory_order_relaxed))) return entry;
      }
    }
    return nullptr;
  }
  static const CacheEntry* EntryOf(uint64_t word) {
    return reinterpret_cast<const CacheEntry*>(word & ((uint64_t{1} << kTagShift) - 1));
  }
  static uint64_t WordOf(uint64_t hash, const CacheEntry* entry) {
    return entry == nullptr ? 0 : reinterpret_cast<uint64_t>(entry) | (hash >> kTagShift << kTagShift);
  }
  Slots& BucketOf(uint64_t hash, size_t probe) const { return buckets_[(hash + probe) & mask_].slots; }

  const size_t mask_;
  io::LargeMemory large_;  // of a table that fills a huge page
  std::unique_ptr<Bucket[]> small_;
  Bucket* buckets_;
};

class CacheShard {
 public:
  // `memory`, which may be null, is where chunks come from first.
  CacheShard(base::EpochDomain& epochs, std::shared_ptr<ChunkMemory> memory)
      : epochs_(epochs), memory_(std::move(memory)) {}
  CacheShard(const CacheShard&) = delete;
  // The cache ends. Every deferred call of the shard's own has run, and no reader can find it; it is gone with the last
  // pin, which may be now.
  void Abandon() noexcept;

  void SetCapacity(uint64_t bytes) noexcept;
  uint64_t used_bytes() const { return used_bytes_.load(std::memory_order_relaxed); }

  const CacheEntry* Find(CacheKey key) const {
    const CacheTable* const table = table_.load(std::memory_order_acquire);
    return table != nullptr ? table->Find(key) : nullptr;
  }
  void Prefetch(uint64_t hash) const {
    if (const CacheTable* const table = table_.load(std::memory_order_acquire)) table->Prefetch(hash);
  }
  void PrefetchEntry(uint64_t hash) const {
    if (const CacheTable* const table = table_.load(std::memory_order_acquire)) {
      table->PrefetchEntry(hash, has_large_values_.load(std::memory_order_relaxed));
    }
  }
  void Insert(CacheKey key, base::Bytes value, base::Bytes metadata) noexcept;
  void Move(CacheKey from, uint64_t to_address) noexcept;

  // A pin less. Whose last it was, the memory can be used again.
  void LetGo(Chunk* chunk) noexcept;
  void AddTo(CacheStats& stats) const;

 private:
  ~CacheShard() = default;

  struct Queue {
    Chunk* oldest = nullptr;
    Chunk* newest = nullptr;
    Chunk* open = nullptr;  // where entries are appended: one of the queue's, or none
    uint64_t bytes = 0;
  };
  // What leaves in one step, and for each a promise that its memory can be let go of later.
  struct Leaving {
    std::vector<base::EpochDomain::Promise> promises;
    Chunk* chunks = nullptr;
    std::unique_ptr<const CacheTable> table;
    uint64_t evictions = 0;
  };
  static constexpr uint64_t kEvictionsMax = 4;  // of one insertion, and two for each chunk's worth of a larger value

  bool TryInsert(CacheKey key, base::Bytes value, base::Bytes metadata, bool& wanted, Leaving& leaving)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  static bool HasRoom(const Queue& queue, uint64_t bytes);
  CacheEntry* Append(Queue& queue, CacheKey key, base::Bytes value, base::Bytes metadata)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  bool MakeRoom(uint64_t bytes, Leaving& leaving) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  bool Evict(Leaving& leaving, bool keep_wanted) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void EvictEntries(Chunk& chunk, bool from_main, bool keep_wanted) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  bool MayTake(uint64_t bytes) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  Chunk* NewChunk(uint64_t bytes) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  static void Push(Queue& queue, Chunk* chunk);
  void Free(Chunk* chunk) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Resize(size_t buckets, Leaving& leaving) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void LetGoLeft(Chunk* chunk) noexcept;
  bool Recycle(Chunk* chunk) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Promise(Leaving& leaving) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Leave(Leaving& leaving) noexcept ABSL_LOCKS_EXCLUDED(mutex_);
  uint64_t LiveBytes() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  uint64_t LiveBytesMax() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void NoteGhost(uint64_t hash) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  bool TakeGhost(uint64_t hash) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  base::EpochDomain& epochs_;
  const std::shared_ptr<ChunkMemory> memory_;
  const uint64_t fork_generation_ = base::ForkGeneration();
  std::atomic<const CacheTable*> table_{nullptr};  // owned by own_table_
  std::atomic<bool> has_large_values_{false};      // most are pinned by those who read them, not copied
  mutable base::Mutex mutex_;
  std::unique_ptr<CacheTable> own_table_ ABSL_GUARDED_BY(mutex_);
  Queue small_ ABSL_GUARDED_BY(mutex_), main_ ABSL_GUARDED_BY(mutex_);
  Chunk* free_ ABSL_GUARDED_BY(mutex_) = nullptr;  // to be used again
  // As many as the table has slots; a later one overwrites an older one. 0: none.
  std::vector<uint32_t> ghosts_ ABSL_GUARDED_BY(mutex_);
  uint64_t capacity_bytes_ ABSL_GUARDED_BY(mutex_) = 0;
  uint64_t values_ ABSL_GUARDED_BY(mutex_) = 0;
  uint64_t inserted_ ABSL_GUARDED_BY(mutex_) = 0, evicted_ ABSL_GUARDED_BY(mutex_) = 0;
  uint64_t refused_ ABSL_GUARDED_BY(mutex_) = 0;
  std::atomic<uint64_t> used_bytes_{0};          // changed under mutex_
  uint64_t chunks_ ABSL_GUARDED_BY(mutex_) = 0;  // that there are, wherever
  uint64_t left_pinned_bytes_ ABSL_GUARDED_BY(mutex_) = 0;
  bool abandoned_ ABSL_GUARDED_BY(mutex_) = false;
};

}  // namespace firn::memory
