#include "memory/value_cache.h"

#include <algorithm>
#include <array>
#include <bit>
#include <limits>

#include "base/memory.h"
#include "memory/cache_shard.h"

namespace firn::memory {
namespace {

// A shard has this much at least, so that it holds values of some size; and there are no more than so many.
constexpr uint64_t kShardBytesWanted = uint64_t{16} << 20;
constexpr size_t kShardsMax = 16;
// A cache that large has its chunks in huge pages.
constexpr uint64_t kOwnMemoryBytesMin = uint64_t{32} << 20;
// The largest value is this part of a shard.
constexpr uint64_t kLargestValuePart = 8;

}  // namespace

CachePin::CachePin(const Cached& cached) : chunk_(cached.chunk) {
  if (chunk_ != nullptr) chunk_->holds.fetch_add(1, std::memory_order_relaxed);
}

CachePin::~CachePin() {
  if (chunk_ != nullptr) chunk_->shard->LetGo(chunk_);
}

ValueCache::ValueCache(base::EpochDomain& epochs, uint64_t capacity_bytes_max)
    : epochs_(epochs), capacity_bytes_max_(capacity_bytes_max) {
  std::shared_ptr<ChunkMemory> memory;
  if (capacity_bytes_max >= kOwnMemoryBytesMin) {
    // Where there are no addresses for it the heap does.
    base::IfMemoryPermits(
        [&] { memory = std::make_shared<ChunkMemory>(capacity_bytes_max / kChunkBytes, kChunkBytes); });
  }
  const uint64_t shards = std::clamp<uint64_t>(capacity_bytes_max / kShardBytesWanted, 1, kShardsMax);
  for (size_t i = 0; i < std::bit_floor(shards); ++i) {
    shards_.push_back(std::unique_ptr<CacheShard, AbandonShard>(new CacheShard(epochs, memory)));
  }
  SetCapacity(capacity_bytes_max);
}

ValueCache::~ValueCache() { epochs_.Synchronize(); }

void ValueCache::AbandonShard::operator()(CacheShard* shard) const noexcept { shard->Abandon(); }

CacheShard& ValueCache::ShardOf(uint64_t hash) const { return *shards_[(hash >> 44) & (shards_.size() - 1)]; }

void ValueCache::SetCapacity(uint64_t bytes) {
  bytes = std::min(bytes, capacity_bytes_max_);
  capacity_bytes_.store(bytes, std::memory_order_relaxed);
  for (const auto& shard : shards_) shard->SetCapacity(bytes / shards_.size());
}

uint64_t ValueCache::used_bytes() const {
  uint64_t bytes = 0;
  for (const auto& shard : shards_) bytes += shard->used_bytes();
  return bytes;
}

uint64_t ValueCache::value_bytes_max() const {
  return capacity_bytes_.load(std::memory_order_relaxed) / shards_.size() / kLargestValuePart;
}

bool ValueCache::Find(CacheKey key, Cached& found, bool counts) const {
  const bool is_there = Look(key, found, counts);
  base::SchedulePoint();  // it may leave here
  return is_there;
}

bool ValueCache::Look(CacheKey key, Cached& found, bool counts) const {
  const CacheEntry* const entry = ShardOf(key.hash).Find(key);
  if (entry == nullptr) return false;
  if (counts) {
    const uint8_t uses = entry->uses.load(std::memory_order_relaxed);
    auto& changing = const_cast<CacheEntry*>(entry)->uses;
    if (uses < CacheEntry::kUsesMax) changing.store(uses + 1, std::memory_order_relaxed);
  }
  found = {entry->value_span(), entry->metadata_span(), Chunk::Of(entry)};
  return true;
}

void ValueCache::Prefetch(uint64_t key_hash) const { ShardOf(key_hash).Prefetch(key_hash); }

void ValueCache::PrefetchEntry(uint64_t key_hash) const { ShardOf(key_hash).PrefetchEntry(key_hash); }

void ValueCache::FindMany(std::span<const CacheKey> keys, std::span<Cached> found, bool counts) const {
  constexpr size_t kAbreast = 32;
  for (size_t at = 0; at < keys.size(); at += kAbreast) {
    const size_t count = std::min(keys.size() - at, kAbreast);
    for (size_t i = at; i < at + count; ++i) Prefetch(keys[i].hash);
    for (size_t i = at; i < at + count; ++i) PrefetchEntry(keys[i].hash);
    for (size_t i = at; i < at + count; ++i) {
      found[i].chunk = nullptr;
      Look(keys[i], found[i], counts);
    }
  }
  base::SchedulePoint();  // they may leave here
}

void ValueCache::Insert(CacheKey key, base::Bytes value, base::Bytes metadata) noexcept {
  if (metadata.size() > std::numeric_limits<uint16_t>::max()) return;
  if (value.size() + metadata.size() > value_bytes_max()) return;
  ShardOf(key.hash).Insert(key, value, metadata);
}

void ValueCache::Move(CacheKey from, CacheKey to) noexcept { ShardOf(from.hash).Move(from, to.address); }

CacheStats ValueCache::GetStats() const {
  CacheStats stats{.capacity_bytes = capacity_bytes()};
  for (const auto& shard : shards_) shard->AddTo(stats);
  return stats;
}

}  // namespace firn::memory
