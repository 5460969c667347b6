// The index alone: point lookups, inserts and scans over 1,000,000 random 16-byte keys in one namespace.
#include <benchmark/benchmark.h>

#include <unistd.h>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <memory>
#include <random>
#include <string>

#include "base/epoch.h"
#include "index/tree.h"

namespace firn::index {
namespace {

constexpr uint64_t kKeys = 1000000;

class KeyMaker {
 public:
  std::string_view Of(uint64_t number) {
    for (uint64_t half = 0; half < 2; ++half) {
      uint64_t x = (2 * number + half + 1) * 0x9e3779b97f4a7c15u;
      x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
      x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
      x ^= x >> 31;
      std::memcpy(key_ + 4 + 8 * half, &x, 8);
    }
    return {key_, sizeof(key_)};
  }

 private:
  char key_[20] = {0, 0, 0, 1};
};

uint64_t ResidentBytes() {
  unsigned long long total = 0, resident = 0;
  if (std::FILE* file = std::fopen("/proc/self/statm", "r")) {
    if (std::fscanf(file, "%llu %llu", &total, &resident) != 2) resident = 0;
    std::fclose(file);
  }
  return resident * static_cast<uint64_t>(sysconf(_SC_PAGESIZE));
}

struct Filled {
  Filled() {
    const uint64_t before = ResidentBytes();
    KeyMaker keys;
    for (uint64_t i = 0; i < kKeys; ++i) tree.Upsert(keys.Of(i), Entry{.revision = i});
    epochs.Drain();
    resident_per_key = static_cast<double>(ResidentBytes() - before) / kKeys;
  }
  base::EpochDomain epochs;
  Tree tree{epochs};
  double resident_per_key = 0;
};

Filled& Shared() {
  static auto* filled = new Filled;
  return *filled;
}

void Find(benchmark::State& state) {
  Filled& filled = Shared();
  std::mt19937_64 random(static_cast<uint64_t>(state.thread_index()) + 1);
  KeyMaker keys;
  for ([[maybe_unused]] auto _ : state) benchmark::DoNotOptimize(filled.tree.Find(keys.Of(random() % kKeys)));
  using benchmark::Counter;
  const double bytes_per_key = static_cast<double>(filled.tree.memory_bytes()) / kKeys;
  state.counters["bytes_per_key"] = Counter(bytes_per_key, Counter::kAvgThreads);
  state.counters["resident_per_key"] = Counter(filled.resident_per_key, Counter::kAvgThreads);
}
BENCHMARK(Find)->ThreadRange(1, 2)->UseRealTime();

void Replace(benchmark::State& state) {
  Filled& filled = Shared();
  std::mt19937_64 random(static_cast<uint64_t>(state.thread_index()) + 1);
  KeyMaker keys;
  for ([[maybe_unused]] auto _ : state) {
    const uint64_t number = random() % kKeys;
    benchmark::DoNotOptimize(filled.tree.Upsert(keys.Of(number), Entry{.revision = number}));
  }
}
BENCHMARK(Replace)->ThreadRange(1, 2)->UseRealTime();

void InsertMillion(benchmark::State& state) {
  for ([[maybe_unused]] auto _ : state) {
    base::EpochDomain epochs;
    Tree tree(epochs);
    KeyMaker keys;
    for (uint64_t i = 0; i < kKeys; ++i) tree.Upsert(keys.Of(i), Entry{.revision = i});
  }
  state.SetItemsProcessed(static_cast<int64_t>(state.iterations() * kKeys));
}
BENCHMARK(InsertMillion)->Unit(benchmark::kMillisecond);

void ScanMillion(benchmark::State& state) {
  Filled& filled = Shared();
  Tree::Page page;
  for ([[maybe_unused]] auto _ : state) {
    std::string from;
    do {
      filled.tree.ReadLeaf(from, page);
      benchmark::DoNotOptimize(page.size());
      from = page.high();
    } while (page.has_high());
  }
  state.SetItemsProcessed(static_cast<int64_t>(state.iterations() * kKeys));
}
BENCHMARK(ScanMillion)->Unit(benchmark::kMillisecond);

}  // namespace
}  // namespace firn::index
