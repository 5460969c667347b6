#include "memory/cache_shard.h"

#include <algorithm>
#include <cstring>
#include <new>

#include "base/check.h"
#include "base/memory.h"

namespace firn::memory {
namespace {

constexpr size_t kTableBucketsMin = 64;
// A table grows when this many of a bucket's eight slots are taken on average: few buckets are full by then.
constexpr size_t kTakenPerBucketMax = 4;
// The part of a shard that the small queue gets, as in the paper.
constexpr uint64_t kSmallQueuePart = 10;
// The part that is kept for chunks whose readers have yet to leave; and for what main-queue entries are copied to.
constexpr uint64_t kLeavingPart = 16;
constexpr uint64_t kLeavingChunksMin = 3;
// On average; smaller ones are copied by who reads them.
constexpr uint64_t kLargeValueBytes = 256;
constexpr uint64_t kTablePartMax = 4;  // of a shard; a smaller capacity makes it smaller

constexpr size_t kFirstEntryAt = sizeof(Chunk);
constexpr size_t kHeaderEndMax = Chunk::kColours * sizeof(Chunk);

// Of the chunk that an entry of `bytes` goes to. It shares it with others, or has one of its own size.
uint64_t ChunkBytesFor(uint64_t bytes) {
  return bytes > ValueCache::kChunkBytes / 4 ? kHeaderEndMax + bytes : ValueCache::kChunkBytes;
}

}  // namespace

CacheTable::CacheTable(size_t buckets) : mask_(buckets - 1) {
  if (buckets * sizeof(Bucket) < io::kHugePageBytes) {
    small_.reset(new Bucket[buckets]);
    buckets_ = small_.get();
  } else {
    large_ = io::AllocateLarge(buckets * sizeof(Bucket));
    buckets_ = new (large_.get()) Bucket[buckets];
  }
}

bool CacheTable::Add(uint64_t hash, const CacheEntry* entry) {
  for (size_t probe = 0; probe < kProbes; ++probe) {
    for (std::atomic<uint64_t>& slot : BucketOf(hash, probe)) {
      if (slot.load(std::memory_order_relaxed) != 0) continue;
      slot.store(WordOf(hash, entry), std::memory_order_release);
      return true;
    }
  }
  return false;
}

bool CacheTable::Holds(uint64_t hash, const CacheEntry* entry) const {
  const uint64_t word = WordOf(hash, entry);
  for (size_t probe = 0; probe < kProbes; ++probe) {
    for (const std::atomic<uint64_t>& slot : BucketOf(hash, probe)) {
      if (slot.load(std::memory_order_relaxed) == word) return true;
    }
  }
  return false;
}

bool CacheTable::Replace(uint64_t hash, const CacheEntry* entry, const CacheEntry* by) {
  const uint64_t word = WordOf(hash, entry);
  for (size_t probe = 0; probe < kProbes; ++probe) {
    for (std::atomic<uint64_t>& slot : BucketOf(hash, probe)) {
      if (slot.load(std::memory_order_relaxed) != word) continue;
      slot.store(WordOf(hash, by), std::memory_order_release);
      return true;
    }
  }
  return false;
}

void CacheShard::Abandon() noexcept {
  bool is_last;
  {
    base::MutexLock lock(mutex_);
    abandoned_ = true;
    while (free_ != nullptr) Free(std::exchange(free_, free_->next));
    for (Queue* queue : {&small_, &main_}) {
      while (queue->oldest != nullptr) {
        Chunk* const chunk = std::exchange(queue->oldest, queue->oldest->next);
        if (chunk->holds.fetch_sub(1, std::memory_order_acq_rel) == 1) Free(chunk);
      }
    }
    table_.store(nullptr, std::memory_order_relaxed);
    own_table_.reset();
    ghosts_ = {};
    is_last = chunks_ == 0;
  }
  if (is_last) delete this;
}

// What is in the queues and the table, or pinned, as opposed to what waits for readers or to be used again.
uint64_t CacheShard::LiveBytes() const {
  const uint64_t table_bytes = own_table_ != nullptr ? own_table_->memory_bytes() : 0;
  return small_.bytes + main_.bytes + left_pinned_bytes_ + table_bytes + ghosts_.capacity() * sizeof(uint32_t);
}

uint64_t CacheShard::LiveBytesMax() const {
  const uint64_t kept = std::max(capacity_bytes_ / kLeavingPart, kLeavingChunksMin * ValueCache::kChunkBytes);
  return capacity_bytes_ - std::min(capacity_bytes_, kept);
}

void CacheShard::Insert(CacheKey key, base::Bytes value, base::Bytes metadata) noexcept {
  bool wanted = false;
  // What makes room may itself have to leave first: no reader may have been in it, and then a second attempt succeeds.
  for (int attempt = 0; attempt < 2; ++attempt) {
    Leaving leaving;
    {
      base::MutexLock lock(mutex_);
      if (capacity_bytes_ < ValueCache::kShardBytesMin) return;
      if (own_table_ != nullptr && own_table_->Find(key) != nullptr) return;
      bool inserted = false;
      base::IfMemoryPermits(
          [&]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { inserted = TryInsert(key, value, metadata, wanted, leaving); });
      if (inserted || leaving.chunks == nullptr) attempt = 2;
      if (!inserted && attempt != 0) ++refused_;
    }
    Leave(leaving);
  }
}

bool CacheShard::TryInsert(CacheKey key, base::Bytes value, base::Bytes metadata, bool& wanted, Leaving& leaving) {
  if (own_table_ == nullptr) {
    Resize(kTableBucketsMin, leaving);
  } else if (values_ >= kTakenPerBucketMax * own_table_->buckets()) {
    const uint64_t more_bytes = 2 * (own_table_->memory_bytes() + ghosts_.size() * sizeof(uint32_t));
    if (MakeRoom(more_bytes, leaving) && MayTake(more_bytes)) Resize(2 * own_table_->buckets(), leaving);
  }
  wanted = TakeGhost(key.hash) || wanted;
  Queue& queue = wanted ? main_ : small_;
  const uint64_t bytes = EntryBytes(value.size(), metadata.size());
  if (!HasRoom(queue, bytes) && !MakeRoom(ChunkBytesFor(bytes), leaving)) return false;
  CacheEntry* const entry = Append(queue, key, value, metadata);
  if (entry == nullptr) return false;
  // The bytes of what is not in the table leave with their chunk.
  if (const CacheEntry* const older = own_table_->FindOlder(key); older != nullptr) {
    own_table_->Replace(key.hash, older, entry);
    ++evicted_;
  } else if (own_table_->Add(key.hash, entry)) {
    ++values_;
  } else {
    return false;
  }
  ++inserted_;
  has_large_values_.store((small_.bytes + main_.bytes) / values_ > kLargeValueBytes, std::memory_order_relaxed);
  return true;
}

bool CacheShard::HasRoom(const Queue& queue, uint64_t bytes) {
  return ChunkBytesFor(bytes) == ValueCache::kChunkBytes && queue.open != nullptr && queue.open->bytes_left() >= bytes;
}

// Null if there is no room and no memory for another chunk.
CacheEntry* CacheShard::Append(Queue& queue, CacheKey key, base::Bytes value, base::Bytes metadata) {
  const size_t bytes = EntryBytes(value.size(), metadata.size());
  Chunk* chunk = queue.open;
  if (!HasRoom(queue, bytes)) {
    const uint64_t chunk_bytes = ChunkBytesFor(bytes);
    chunk = NewChunk(chunk_bytes);
    if (chunk == nullptr) return nullptr;
    Push(queue, chunk);
    if (chunk_bytes == ValueCache::kChunkBytes) queue.open = chunk;
  }
  auto* const entry = new (chunk->at(chunk->end)) CacheEntry{.hash = key.hash,
                                                             .address = key.address,
                                                             .value_bytes = static_cast<uint32_t>(value.size()),
                                                             .metadata_bytes = static_cast<uint16_t>(metadata.size()),
                                                             .uses = 0};
  std::byte* const at = chunk->at(chunk->end + sizeof(CacheEntry));
  if (!value.empty()) std::memcpy(at, value.data(), value.size());
  if (!metadata.empty()) std::memcpy(at + value.size(), metadata.data(), metadata.size());
  chunk->end += bytes;
  return entry;
}

// From what may be used again, or from the heap as long as everything together stays within the capacity.
Chunk* CacheShard::NewChunk(uint64_t bytes) {
  Chunk* chunk = nullptr;
  if (bytes == ValueCache::kChunkBytes && free_ != nullptr) {
    chunk = std::exchange(free_, free_->next);
  } else {
    if (!MayTake(bytes)) return nullptr;
    void* memory = bytes == ValueCache::kChunkBytes && memory_ != nullptr ? memory_->Take() : nullptr;
    if (memory == nullptr) {
      memory = ::operator new (bytes, std::align_val_t{ValueCache::kChunkBytes}, std::nothrow);
    }
    if (memory == nullptr) return nullptr;
    used_bytes_.fetch_add(bytes, std::memory_order_relaxed);
    ++chunks_;
    chunk = new (Chunk::In(reinterpret_cast<uintptr_t>(memory))) Chunk;
    chunk->shard = this;
    chunk->memory_bytes = bytes;
  }
  chunk->next = nullptr;
  chunk->end = kFirstEntryAt;
  chunk->holds.store(1, std::memory_order_relaxed);
  chunk->has_left = false;
  return chunk;
}

void CacheShard::Free(Chunk* chunk) {
  used_bytes_.fetch_sub(chunk->memory_bytes, std::memory_order_relaxed);
  --chunks_;
  if (memory_ != nullptr && memory_->Holds(chunk)) {
    memory_->Give(chunk->memory());
  } else {
    ::operator delete (chunk->memory(), std::align_val_t{ValueCache::kChunkBytes});
  }
}

void CacheShard::Push(Queue& queue, Chunk* chunk) {
  (queue.newest == nullptr ? queue.oldest : queue.newest->next) = chunk;
  queue.newest = chunk;
  queue.bytes += chunk->memory_bytes;
}

// Whether so much more stays within the capacity; for that, what is free is given back.
bool CacheShard::MayTake(uint64_t bytes) {
  while (free_ != nullptr && used_bytes_.load(std::memory_order_relaxed) + bytes > capacity_bytes_) {
    Free(std::exchange(free_, free_->next));
  }
  return used_bytes_.load(std::memory_order_relaxed) + bytes <= capacity_bytes_;
}

// Evicts until there may be `bytes` more. False if that takes more than an insertion may do.
bool CacheShard::MakeRoom(uint64_t bytes, Leaving& leaving) {
  while (LiveBytes() + bytes > LiveBytesMax()) {
    // Without memory for what is wanted of it, nothing is evicted: readers have yet to leave what was, and soon will.
    // Pins may stay, so there what is wanted goes too.
    const bool has_memory = free_ != nullptr || MayTake(ValueCache::kChunkBytes);
    if (!has_memory && left_pinned_bytes_ == 0) return false;
    if (leaving.evictions >= kEvictionsMax + 2 * bytes / ValueCache::kChunkBytes) return false;
    if (!Evict(leaving, /*keep_wanted=*/has_memory)) return false;
  }
  return true;
}

// Takes the oldest chunk out of the queue whose turn it is. False if there is none.
bool CacheShard::Evict(Leaving& leaving, bool keep_wanted) {
  const uint64_t small_bytes = std::max(capacity_bytes_ / kSmallQueuePart, uint64_t{ValueCache::kChunkBytes});
  const bool from_main = main_.oldest != nullptr && small_.bytes <= small_bytes;
  Queue& queue = from_main ? main_ : small_;
  Chunk* const chunk = queue.oldest;
  if (chunk == nullptr) return false;
  Promise(leaving);
  ++leaving.evictions;
  queue.oldest = chunk->next;
  if (queue.oldest == nullptr) queue.newest = nullptr;
  if (queue.open == chunk) queue.open = nullptr;
  queue.bytes -= chunk->memory_bytes;
  EvictEntries(*chunk, from_main, keep_wanted);
  chunk->next = leaving.chunks;
  leaving.chunks = chunk;
  return true;
}

void CacheShard::EvictEntries(Chunk& chunk, bool from_main, bool keep_wanted) {
  for (size_t at = kFirstEntryAt; at < chunk.end;) {
    const auto* const entry = std::launder(reinterpret_cast<const CacheEntry*>(chunk.at(at)));
    at += EntryBytes(entry->value_bytes, entry->metadata_bytes);
    const uint64_t hash = entry->hash;
    if (!own_table_->Holds(hash, entry)) continue;  // it found no place, or another is there by now
    const uint8_t uses = entry->uses.load(std::memory_order_relaxed);
    if (keep_wanted && uses > 0) {
      // It goes round in the main queue, if there is memory for that.
      if (CacheEntry* const copy = Append(main_, entry->key(), entry->value_span(), entry->metadata_span())) {
        copy->uses.store(from_main ? uses - 1 : 0, std::memory_order_relaxed);
        own_table_->Replace(hash, entry, copy);
        continue;
      }
    }
    own_table_->Replace(hash, entry, nullptr);
    --values_;
    ++evicted_;
    if (!from_main) NoteGhost(hash);
  }
}

// For one more to leave.
void CacheShard::Promise(Leaving& leaving) { leaving.promises.emplace_back(epochs_, 1); }

// Readers may still be in what leaves: once they are not, its memory is let go of. Runs deferred calls, so no lock is
// held.
void CacheShard::Leave(Leaving& leaving) noexcept {
  const auto take_promise = [&] {
    base::EpochDomain::Promise promise = std::move(leaving.promises.back());
    leaving.promises.pop_back();
    return promise;
  };
  if (leaving.table == nullptr && leaving.chunks == nullptr) return;
  if (leaving.table != nullptr) {
    const CacheTable* const table = leaving.table.release();
    take_promise().Retire([this, table] {
      used_bytes_.fetch_sub(table->memory_bytes(), std::memory_order_relaxed);
      delete table;
    });
  }
  while (leaving.chunks != nullptr) {
    Chunk* const chunk = std::exchange(leaving.chunks, leaving.chunks->next);
    take_promise().Retire([chunk] { chunk->shard->LetGoLeft(chunk); });
  }
  epochs_.Drain();
}

void CacheShard::LetGo(Chunk* chunk) noexcept {
  // In a child another thread of the parent may hold the mutex for good.
  if (base::ForkGeneration() != fork_generation_) return;
  if (chunk->holds.fetch_sub(1, std::memory_order_acq_rel) != 1) return;
  bool is_last;
  {
    base::MutexLock lock(mutex_);
    is_last = Recycle(chunk);
  }
  if (is_last) delete this;
}

// The cache's own hold: readers have left.
void CacheShard::LetGoLeft(Chunk* chunk) noexcept {
  base::MutexLock lock(mutex_);
  chunk->has_left = true;
  left_pinned_bytes_ += chunk->memory_bytes;
  if (chunk->holds.fetch_sub(1, std::memory_order_acq_rel) == 1) Recycle(chunk);
}

// Nothing holds it any more. True if it was the last thing that kept an abandoned shard.
bool CacheShard::Recycle(Chunk* chunk) {
  if (std::exchange(chunk->has_left, false)) left_pinned_bytes_ -= chunk->memory_bytes;
  const bool fits = used_bytes_.load(std::memory_order_relaxed) <= capacity_bytes_;
  if (fits && !abandoned_ && chunk->memory_bytes == ValueCache::kChunkBytes) {
    chunk->next = free_;
    free_ = chunk;
  } else {
    Free(chunk);
  }
  return abandoned_ && chunks_ == 0;
}

// Replaces the table by one of so many buckets. Entries that find no place there are lost.
void CacheShard::Resize(size_t buckets, Leaving& leaving) {
  if (leaving.table != nullptr) return;
  Promise(leaving);
  auto table = std::make_unique<CacheTable>(buckets);
  std::vector<uint32_t> ghosts(table->slots());
  uint64_t values = 0;
  if (own_table_ != nullptr) {
    own_table_->ForEach([&](const CacheEntry* entry) {
      if (table->Add(entry->hash, entry)) ++values;
    });
  }
  used_bytes_.fetch_add(table->memory_bytes() + ghosts.capacity() * sizeof(uint32_t), std::memory_order_relaxed);
  used_bytes_.fetch_sub(ghosts_.capacity() * sizeof(uint32_t), std::memory_order_relaxed);
  ghosts_.swap(ghosts);
  evicted_ += values_ - values;
  values_ = values;
  table_.store(table.get(), std::memory_order_release);
  leaving.table = std::move(own_table_);
  own_table_ = std::move(table);
}

void CacheShard::Move(CacheKey from, uint64_t to_address) noexcept {
  base::MutexLock lock(mutex_);
  if (own_table_ == nullptr) return;
  const CacheEntry* const entry = own_table_->Find(from);
  if (entry != nullptr) const_cast<CacheEntry*>(entry)->address.store(to_address, std::memory_order_relaxed);
}

void CacheShard::SetCapacity(uint64_t bytes) noexcept {
  for (bool done = false; !done;) {
    Leaving leaving;
    {
      base::MutexLock lock(mutex_);
      capacity_bytes_ = bytes;
      // Without memory for what it takes, the next call does it.
      const bool had_memory = base::IfMemoryPermits([&]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
        if (own_table_ != nullptr && own_table_->buckets() > kTableBucketsMin &&
            own_table_->memory_bytes() > capacity_bytes_ / kTablePartMax) {
          Resize(own_table_->buckets() / 2, leaving);
        }
        for (uint64_t i = 0; i < kEvictionsMax && LiveBytes() > LiveBytesMax(); ++i) {
          if (!Evict(leaving, /*keep_wanted=*/false)) break;
        }
      });
      while (free_ != nullptr && used_bytes_.load(std::memory_order_relaxed) > capacity_bytes_) {
        Free(std::exchange(free_, free_->next));
      }
      done = !had_memory || (leaving.chunks == nullptr && leaving.table == nullptr);
    }
    Leave(leaving);
  }
}

// A fingerprint and where it goes are of other bits of the hash than the table's place.
void CacheShard::NoteGhost(uint64_t hash) {
  ghosts_[(hash >> 20) & (ghosts_.size() - 1)] = static_cast<uint32_t>(hash >> 32) | 1;
}

bool CacheShard::TakeGhost(uint64_t hash) {
  uint32_t& ghost = ghosts_[(hash >> 20) & (ghosts_.size() - 1)];
  if (ghost != (static_cast<uint32_t>(hash >> 32) | 1)) return false;
  ghost = 0;
  return true;
}

void CacheShard::AddTo(CacheStats& stats) const {
  base::MutexLock lock(mutex_);
  stats.used_bytes += used_bytes();
  stats.values += values_;
  stats.inserted += inserted_;
  stats.evicted += evicted_;
  stats.refused += refused_;
}

}  // namespace firn::memory
