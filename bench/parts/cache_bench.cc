// The value cache alone: lookups of what is there and of what is not, and insertions that each push out what is older.
#include <benchmark/benchmark.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <random>
#include <span>
#include <vector>

#include "base/check.h"
#include "base/coding.h"
#include "base/epoch.h"
#include "base/hash.h"
#include "memory/value_cache.h"

namespace firn::memory {
namespace {

constexpr uint64_t kCapacityBytes = uint64_t{128} << 20;  // more than the processor's caches hold
constexpr int64_t kSmallBytes = 100, kLargeBytes = 4'096;
constexpr size_t kKeysAtOnce = 32;

CacheKey KeyOf(uint64_t number) {
  constexpr uint64_t kRecordsPerSegment = uint64_t{1} << 20, kRecordBytes = 4'096;
  std::array<std::byte, sizeof(number)> bytes;
  base::StoreLe(bytes.data(), number);
  return {base::Hash64(bytes), static_cast<uint32_t>(1 + number / kRecordsPerSegment),
          static_cast<uint32_t>(number % kRecordsPerSegment * kRecordBytes)};
}

class Cache {
 public:
  Cache(int64_t value_bytes, uint64_t filled_bytes)
      : value_(static_cast<size_t>(value_bytes), std::byte{1}), keys_(filled_bytes / value_.size()) {
    for (uint64_t number = 0; number < keys_; ++number) Insert(number);
  }
  void Insert(uint64_t number) { cache_.Insert(KeyOf(number), value_, {}); }
  uint64_t keys() const { return keys_; }  // numbers from 0 on, and no others, were inserted
  base::EpochDomain& epochs() { return epochs_; }
  const ValueCache& values() const { return cache_; }

 private:
  const std::vector<std::byte> value_;
  const uint64_t keys_;
  base::EpochDomain epochs_;
  ValueCache cache_{epochs_, kCapacityBytes};
};

// Of each size there is one, for all threads and all benchmarks that only look. Values take half of it, so none has
// left.
Cache& Roomy(int64_t value_bytes) {
  static Cache small(kSmallBytes, kCapacityBytes / 2), large(kLargeBytes, kCapacityBytes / 2);
  return value_bytes == kSmallBytes ? small : large;
}
// One that has had twice what it holds.
Cache& Full(int64_t value_bytes) {
  static Cache small(kSmallBytes, kCapacityBytes * 2), large(kLargeBytes, kCapacityBytes * 2);
  return value_bytes == kSmallBytes ? small : large;
}

std::mt19937_64 RandomOf(const benchmark::State& state) {
  return std::mt19937_64(static_cast<uint64_t>(state.thread_index()) + 1);
}

// A few find no place in the cache's table when they are inserted, so not quite all are found.
void NoteFound(benchmark::State& state, uint64_t looks, uint64_t found) {
  using benchmark::Counter;
  state.SetItemsProcessed(static_cast<int64_t>(looks));
  state.counters["found"] = Counter(static_cast<double>(found) / static_cast<double>(looks), Counter::kAvgThreads);
}

// With the epoch guard that each lookup needs. `first`: of as many numbers as were inserted.
void FindFrom(benchmark::State& state, uint64_t first, Cache& cache) {
  std::mt19937_64 random = RandomOf(state);
  uint64_t looks = 0, found_count = 0;
  for (auto _ : state) {
    const base::EpochGuard guard(cache.epochs());
    Cached found;
    found_count += cache.values().Find(KeyOf(first + random() % cache.keys()), found) ? 1 : 0;
    benchmark::DoNotOptimize(found);
    ++looks;
  }
  NoteFound(state, looks, found_count);
}
void FindHit(benchmark::State& state) { FindFrom(state, 0, Roomy(state.range(0))); }
void FindMiss(benchmark::State& state) {
  Cache& cache = Roomy(state.range(0));
  FindFrom(state, cache.keys(), cache);
}

void FindMany32(benchmark::State& state) {
  Cache& cache = Roomy(state.range(0));
  std::mt19937_64 random = RandomOf(state);
  std::array<CacheKey, kKeysAtOnce> keys;
  std::array<Cached, kKeysAtOnce> found;
  uint64_t looks = 0, found_count = 0;
  for (auto _ : state) {
    for (CacheKey& key : keys) key = KeyOf(random() % cache.keys());
    const base::EpochGuard guard(cache.epochs());
    cache.values().FindMany(keys, found);
    for (const Cached& each : found) found_count += each.chunk != nullptr ? 1 : 0;
    looks += keys.size();
  }
  NoteFound(state, looks, found_count);
}

void InsertEvicting(benchmark::State& state) {
  constexpr uint64_t kNumbersPerThread = uint64_t{1} << 32;
  static std::atomic<uint64_t> next{uint64_t{1} << 40};
  Cache& cache = Full(state.range(0));
  uint64_t number = next.fetch_add(kNumbersPerThread);
  for (auto _ : state) cache.Insert(number++);
  FIRN_CHECK(cache.values().GetStats().evicted > 0);
  state.SetItemsProcessed(state.iterations());
  state.SetBytesProcessed(state.iterations() * state.range(0));
}

BENCHMARK(FindHit)->Arg(kSmallBytes)->Arg(kLargeBytes)->ThreadRange(1, 2)->UseRealTime();
BENCHMARK(FindMiss)->Arg(kSmallBytes)->Arg(kLargeBytes)->ThreadRange(1, 2)->UseRealTime();
BENCHMARK(FindMany32)->Arg(kSmallBytes)->Arg(kLargeBytes)->ThreadRange(1, 2)->UseRealTime();
BENCHMARK(InsertEvicting)->Arg(kSmallBytes)->Arg(kLargeBytes)->ThreadRange(1, 2)->UseRealTime();

}  // namespace
}  // namespace firn::memory
