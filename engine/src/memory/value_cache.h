// The value cache: what was read from disk, or was just written, kept in memory by its address in the log.
//
// Addresses are never used twice, so whatever is found is right: nothing is ever invalidated. Where a value may lie
// depends on its key alone, so that a reader can ask memory for it before it knows the address; a value with another
// address takes the place of its key's older one. Eviction is S3-FIFO (J. Yang et al., "FIFO queues are all you need
// for cache eviction", SOSP 2023): values enter a small queue; those read while in it move to the main queue when it
// comes to their turn, the others leave, and only a fingerprint of them stays for a while, by which they enter the main
// queue directly if they come again. What leaves the main queue goes round once more for each time it was read.
//
// A queue is a list of chunks: values are appended to the newest and leave with the oldest, so there is no
// fragmentation, and memory is counted to the byte. A value that would fill a quarter of a chunk has one to itself.
//
// Hits take no lock and allocate nothing. Proof: a reader is inside an epoch guard from before Find() until it has
// copied or pinned. A chunk leaves the table first, then every reader that may have seen it leaves its epoch, and only
// then is its memory used again; a pin counts from within the guard, so the epoch's end sees it, and then the last
// unpin gives the memory back. Tables are replaced in the same way. Entries never change but for their count of uses,
// and for their address when reclaim has copied the record: the bytes are the same.
//
// Thread-safe. Insert() locks one of a few shards and copies the value under it.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <utility>
#include <vector>

#include "base/coding.h"
#include "base/epoch.h"
#include "base/sync.h"

namespace firn::memory {

class CacheShard;
struct Chunk;

// What a value is known by: where its record lies in the log, and which of its parts it is. With a hash of its key.
struct CacheKey {
  enum class Part : uint64_t {
    kRecord = 0,  // the value in the record, or the pointer to a separated one; and the metadata
    kSeparatedValue = 1,
  };
  CacheKey() = default;
  CacheKey(uint64_t key_hash, uint32_t segment, uint32_t offset, Part part = Part::kRecord)
      : hash(key_hash), address((static_cast<uint64_t>(part) << kPartShift) | (uint64_t{segment} << 32) | offset) {}

  static constexpr int kPartShift = 63;
  uint64_t hash = 0;
  uint64_t address = 0;
};
// Segments from here on, which come after 2^31 others, are not cached.
inline constexpr uint32_t kCachedSegmentsMax = uint32_t{1} << 31;

// A value in the cache, valid inside the epoch guard it was found in.
struct Cached {
  base::Bytes value;
  base::Bytes metadata;
  Chunk* chunk = nullptr;
};

// Keeps what was found valid beyond the guard. Movable; may outlive the cache.
class CachePin {
 public:
  CachePin() = default;
  // Inside the guard in which `cached` was found.
  explicit CachePin(const Cached& cached);
  CachePin(CachePin&& other) noexcept : chunk_(std::exchange(other.chunk_, nullptr)) {}
  CachePin& operator=(CachePin&& other) noexcept {
    std::swap(chunk_, other.chunk_);
    return *this;
  }
  ~CachePin();

  // For those who keep it in another form: what Leave() gives is taken over by exactly one such pin.
  explicit CachePin(void* left) : chunk_(static_cast<Chunk*>(left)) {}
  void* Leave() { return std::exchange(chunk_, nullptr); }

 private:
  Chunk* chunk_ = nullptr;
};

struct CacheStats {
  uint64_t capacity_bytes = 0;
  uint64_t used_bytes = 0;  // chunks, tables and fingerprints, of readers that have yet to leave too
  uint64_t values = 0;
  uint64_t inserted = 0, evicted = 0;
  uint64_t refused = 0;  // insertions for which there was no memory, or no place in the table
};

class ValueCache {
 public:
  static constexpr size_t kChunkBytes = size_t{256} << 10;
  // Below this much a shard keeps nothing.
  static constexpr uint64_t kShardBytesMin = 8 * kChunkBytes;

  // `capacity_bytes_max` is the most that it will ever be set to; it decides how many shards there are.
  ValueCache(base::EpochDomain& epochs, uint64_t capacity_bytes_max);
  // No reader is inside an epoch guard. What is pinned stays as long as its pins.
  ~ValueCache();
  ValueCache(const ValueCache&) = delete;

  // The most that is taken from now on: evicts until it is no more, as far as readers and pins permit. Not more than
  // the constructor was told.
  void SetCapacity(uint64_t bytes);
  uint64_t capacity_bytes_max() const { return capacity_bytes_max_; }
  uint64_t capacity_bytes() const { return capacity_bytes_.load(std::memory_order_relaxed); }
  uint64_t used_bytes() const;
  // The largest value, with its metadata, that is kept.
  uint64_t value_bytes_max() const;

  // Null if it is not there. Inside an epoch guard. `counts`: a read that says something about how wanted the value is.
  bool Find(CacheKey key, Cached& found, bool counts = true) const;
  // Asks the processor for what any Find() of such a hash looks at first; and, when that has come, for what it looks at
  // then. Inside the guard.
  void Prefetch(uint64_t key_hash) const;
  void PrefetchEntry(uint64_t key_hash) const;
  // Find() of each key, whose chunk is null if it is not there. All wait for memory together.
  void FindMany(std::span<const CacheKey> keys, std::span<Cached> found, bool counts = true) const;
  // Keeps a copy, if there is room and it is not there. Never throws. May run deferred calls of the epoch domain.
  void Insert(CacheKey key, base::Bytes value, base::Bytes metadata) noexcept;
  // What is there is found at another address from now on: its record was copied, and the original will go.
  void Move(CacheKey from, CacheKey to) noexcept;

  CacheStats GetStats() const;

 private:
  struct AbandonShard {
    void operator()(CacheShard* shard) const noexcept;
  };
  CacheShard& ShardOf(uint64_t hash) const;
  bool Look(CacheKey key, Cached& found, bool counts) const;

  base::EpochDomain& epochs_;
  std::vector<std::unique_ptr<CacheShard, AbandonShard>> shards_;
  const uint64_t capacity_bytes_max_;
  std::atomic<uint64_t> capacity_bytes_{0};
};

}  // namespace firn::memory
