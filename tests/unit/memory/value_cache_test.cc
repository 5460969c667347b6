// The value cache alone: what is found is what was put there, what is wanted stays, and memory is what was allowed.
#include <catch2/catch.hpp>

#include <atomic>
#include <cstring>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "base/epoch.h"
#include "base/hash.h"
#include "memory/value_cache.h"
#include "support/rng.h"
#include "support/scheduler.h"

namespace firn::memory {
namespace {

constexpr uint64_t kMiB = uint64_t{1} << 20;

uint64_t HashOf(uint64_t number) { return base::Hash64(base::AsBytes(std::to_string(number))); }
CacheKey KeyOf(uint64_t number) {
  return {HashOf(number), static_cast<uint32_t>(1 + number / 1'000), static_cast<uint32_t>(number % 1'000 * 4'096)};
}

// Says whose it is in every byte.
std::string ValueOf(uint64_t number, size_t size_bytes) {
  std::string value = std::to_string(number) + ":";
  while (value.size() < size_bytes) value += value;
  value.resize(size_bytes);
  return value;
}

struct Cache {
  explicit Cache(uint64_t capacity_bytes) : cache(epochs, capacity_bytes) {}

  void Insert(uint64_t number, size_t size_bytes) {
    cache.Insert(KeyOf(number), base::AsBytes(ValueOf(number, size_bytes)), {});
  }
  std::optional<std::string> Find(uint64_t number) const {
    const base::EpochGuard guard(epochs);
    Cached found;
    if (!cache.Find(KeyOf(number), found)) return std::nullopt;
    return std::string(base::AsText(found.value));
  }
  // Reads it `times` times.
  bool Use(uint64_t number, int times = 1) const {
    bool found = true;
    for (int i = 0; i < times; ++i) found = Find(number).has_value() && found;
    return found;
  }
  uint64_t CountOf(uint64_t first, uint64_t count) const {
    uint64_t found = 0;
    for (uint64_t i = first; i < first + count; ++i) found += Find(i).has_value() ? 1 : 0;
    return found;
  }

  mutable base::EpochDomain epochs;
  ValueCache cache;
};

TEST_CASE("a value is found by its address, with its metadata, and nothing else is") {
  Cache cache(16 * kMiB);
  cache.cache.Insert({HashOf(1), 7, 4'096}, base::AsBytes("value"), base::AsBytes("metadata"));
  cache.cache.Insert({HashOf(2), 7, 4'097}, base::AsBytes(""), {});
  const base::EpochGuard guard(cache.epochs);
  Cached found;
  REQUIRE(cache.cache.Find({HashOf(1), 7, 4'096}, found));
  CHECK(base::AsText(found.value) == "value");
  CHECK(base::AsText(found.metadata) == "metadata");
  REQUIRE(cache.cache.Find({HashOf(2), 7, 4'097}, found));
  CHECK(found.value.empty());
  CHECK(found.metadata.empty());
  CHECK_FALSE(cache.cache.Find({HashOf(1), 7, 4'098}, found));
  CHECK_FALSE(cache.cache.Find({HashOf(1), 8, 4'096}, found));
  CHECK_FALSE(cache.cache.Find({HashOf(1), 7, 4'096, CacheKey::Part::kSeparatedValue}, found));
}

TEST_CASE("a key's newer value takes the place of its older one, and of no other part's") {
  Cache cache(16 * kMiB);
  const auto text = [&](uint32_t offset, CacheKey::Part part = CacheKey::Part::kRecord) {
    const base::EpochGuard guard(cache.epochs);
    Cached found;
    return cache.cache.Find({HashOf(1), 7, offset, part}, found) ? std::string(base::AsText(found.value)) : "";
  };
  cache.cache.Insert({HashOf(1), 7, 0, CacheKey::Part::kSeparatedValue}, base::AsBytes("separated"), {});
  // More often than there are places for the key.
  for (uint32_t i = 0; i < 100; ++i) {
    cache.cache.Insert({HashOf(1), 7, i}, base::AsBytes(std::to_string(i)), {});
    CHECK(text(i) == std::to_string(i));
    if (i > 0) CHECK(text(i - 1).empty());
  }
  CHECK(text(0, CacheKey::Part::kSeparatedValue) == "separated");
  CHECK(cache.cache.GetStats().values == 2);
  CHECK(cache.cache.GetStats().refused == 0);
}

TEST_CASE("many are found at once as each by itself, and those that are not there are said not to be") {
  Cache cache(16 * kMiB);
  std::vector<CacheKey> keys;
  for (uint64_t i = 0; i < 100; ++i) {
    keys.push_back(KeyOf(i));
    if (i % 3 != 0) cache.Insert(i, 50 + i);
  }
  std::vector<Cached> found(keys.size());
  const base::EpochGuard guard(cache.epochs);
  cache.cache.FindMany(keys, found);
  for (uint64_t i = 0; i < 100; ++i) {
    CHECK((found[i].chunk != nullptr) == (i % 3 != 0));
    if (found[i].chunk != nullptr) CHECK(base::AsText(found[i].value) == ValueOf(i, 50 + i));
  }
}

TEST_CASE("a cache of huge pages gives memory back, takes it again, and stays within its capacity") {
  Cache cache(64 * kMiB);
  test::Rng rng(5);
  for (int round = 0; round < 6; ++round) {
    const uint64_t capacity = round % 2 == 0 ? 64 * kMiB : 40 * kMiB;
    cache.cache.SetCapacity(capacity);
    for (uint64_t i = 0; i < 40'000; ++i) cache.Insert(rng.Below(100'000), 2'000);
    CHECK(cache.cache.used_bytes() <= capacity);
    uint64_t right = 0, there = 0;
    for (uint64_t i = 0; i < 100'000; ++i) {
      const auto value = cache.Find(i);
      there += value ? 1 : 0;
      right += value && *value == ValueOf(i, 2'000) ? 1 : 0;
    }
    CHECK(there == right);
    CHECK(there * 2'000 > capacity / 2);
  }
}

TEST_CASE("many small values are all found while there is room") {
  constexpr uint64_t kValues = 320'000;
  Cache cache(64 * kMiB);
  for (uint64_t i = 0; i < kValues; ++i) cache.Insert(i, 100);
  uint64_t wrong = 0;
  for (uint64_t i = 0; i < kValues; ++i) {
    const auto value = cache.Find(i);
    if (value && *value != ValueOf(i, 100)) ++wrong;
  }
  CHECK(wrong == 0);
  // One in ten thousand may find no place in its three buckets.
  CHECK(cache.CountOf(0, kValues) + kValues / 10'000 >= kValues);
  CHECK(cache.cache.GetStats().evicted == 0);
}

TEST_CASE("a full cache takes new values though nobody else lets go of what has left") {
  Cache cache(16 * kMiB);
  for (uint64_t i = 0; i < 600'000; ++i) cache.Insert(i, 100);
  const CacheStats stats = cache.cache.GetStats();
  CHECK(stats.refused * 1'000 < stats.inserted);
  CHECK(stats.evicted > 400'000);
}

TEST_CASE("values of all sizes stay within the capacity, whatever comes and goes") {
  Cache cache(20 * kMiB);
  test::Rng rng(1);
  for (uint64_t i = 0; i < 30'000; ++i) {
    const uint64_t size = rng.OneIn(200) ? rng.Below(2 * kMiB) : rng.OneIn(3) ? rng.Below(20'000) : rng.Below(200);
    cache.Insert(i, size);
    if (rng.OneIn(2)) cache.Use(rng.Below(i + 1));
    REQUIRE(cache.cache.used_bytes() <= 20 * kMiB);
  }
  const CacheStats stats = cache.cache.GetStats();
  CHECK(stats.evicted > 1'000);
  // And it is used, not just kept within.
  CHECK(stats.used_bytes > 14 * kMiB);
}

TEST_CASE("what is read again stays while others pass by once") {
  Cache cache(16 * kMiB);
  constexpr uint64_t kWanted = 2'000;
  for (uint64_t i = 0; i < kWanted; ++i) {
    cache.Insert(i, 1'000);
    cache.Use(i);
  }
  for (uint64_t i = 0; i < 100'000; ++i) {
    cache.Insert(kWanted + i, 1'000);
    if (i % 10 == 0) cache.Use(i / 10 % kWanted);
  }
  CHECK(cache.CountOf(0, kWanted) > kWanted * 95 / 100);
}

TEST_CASE("what comes again soon after it has left is taken for wanted") {
  Cache cache(16 * kMiB);
  uint64_t next = 1'000'000;
  const auto pass_by = [&](uint64_t count) {
    for (uint64_t i = 0; i < count; ++i) cache.Insert(next++, 1'000);
  };
  for (uint64_t i = 100'000; i < 114'000; ++i) {
    cache.Insert(i, 1'000);
    cache.Use(i);
  }
  pass_by(20'000);  // most of it is the main queue by now
  constexpr uint64_t kWanted = 1'000;
  for (uint64_t i = 0; i < kWanted; ++i) cache.Insert(i, 1'000);
  pass_by(5'000);
  const uint64_t stayed = cache.CountOf(0, kWanted);
  for (uint64_t i = 0; i < kWanted; ++i) cache.Insert(i, 1'000);
  pass_by(5'000);
  INFO(stayed << " had stayed");
  CHECK(stayed < kWanted / 2);
  CHECK(cache.CountOf(0, kWanted) > kWanted * 8 / 10);
}

TEST_CASE("a value too large for its share of the cache is not kept, one that fits is") {
  Cache cache(16 * kMiB);
  const uint64_t largest = cache.cache.value_bytes_max();
  cache.Insert(1, largest);
  cache.Insert(2, largest + 1);
  CHECK((cache.Find(1) == ValueOf(1, largest)));
  CHECK_FALSE(cache.Find(2).has_value());
  // Where everything is small already, too.
  for (uint64_t i = 10; i < 40'000; ++i) cache.Insert(i, 1'000);
  cache.Insert(3, largest);
  CHECK((cache.Find(3) == ValueOf(3, largest)));
}

TEST_CASE("a smaller capacity evicts at once, and a larger one is used again") {
  Cache cache(64 * kMiB);
  for (uint64_t i = 0; i < 60'000; ++i) cache.Insert(i, 1'000);
  REQUIRE(cache.cache.used_bytes() > 40 * kMiB);
  cache.cache.SetCapacity(16 * kMiB);
  cache.epochs.Synchronize();
  CHECK(cache.cache.used_bytes() <= 16 * kMiB);
  CHECK(cache.CountOf(0, 60'000) > 5'000);
  cache.cache.SetCapacity(0);
  cache.epochs.Synchronize();
  CHECK(cache.cache.used_bytes() < kMiB);
  CHECK(cache.CountOf(0, 60'000) == 0);
  cache.Insert(1, 10);
  CHECK_FALSE(cache.Find(1).has_value());
  cache.cache.SetCapacity(64 * kMiB);
  for (uint64_t i = 0; i < 30'000; ++i) cache.Insert(i, 1'000);
  CHECK(cache.CountOf(0, 30'000) > 29'000);
}

TEST_CASE("a pinned value outlives its eviction, and its memory comes back with the pin") {
  Cache cache(16 * kMiB);
  cache.Insert(1, 1'000);
  Cached found;
  CachePin pin;
  {
    const base::EpochGuard guard(cache.epochs);
    REQUIRE(cache.cache.Find(KeyOf(1), found));
    pin = CachePin(found);
  }
  cache.cache.SetCapacity(0);
  cache.epochs.Synchronize();
  CHECK_FALSE(cache.Find(1).has_value());
  CHECK((base::AsText(found.value) == ValueOf(1, 1'000)));
  const uint64_t pinned_bytes = cache.cache.used_bytes();
  CHECK(pinned_bytes >= ValueCache::kChunkBytes);
  CachePin moved = std::move(pin);
  CHECK((base::AsText(found.value) == ValueOf(1, 1'000)));
  moved = CachePin();
  CHECK(cache.cache.used_bytes() <= pinned_bytes - ValueCache::kChunkBytes);
}

TEST_CASE("pins hold their own chunks, and others come and go as before") {
  Cache cache(16 * kMiB);
  std::vector<CachePin> pins;
  for (uint64_t i = 0; i < 8'000; ++i) {
    cache.Insert(i, 1'000);
    if (i % 400 != 0) continue;
    const base::EpochGuard guard(cache.epochs);
    Cached found;
    REQUIRE(cache.cache.Find(KeyOf(i), found, /*counts=*/false));
    pins.emplace_back(found);
  }
  // All that was pinned leaves the cache, 20 chunks, and what comes then still is kept, within the capacity.
  for (uint64_t i = 10'000; i < 60'000; ++i) cache.Insert(i, 1'000);
  CHECK(cache.CountOf(0, 8'000) == 0);
  CHECK(cache.CountOf(59'000, 1'000) > 950);
  CHECK(cache.cache.used_bytes() <= 16 * kMiB);
  pins.clear();
  for (uint64_t i = 100'000; i < 150'000; ++i) cache.Insert(i, 1'000);
  CHECK(cache.CountOf(137'000, 13'000) > 12'500);
}

TEST_CASE("a pinned value outlives the cache") {
  CachePin pin, evicted_pin;
  Cached found, evicted;
  {
    Cache cache(16 * kMiB);
    cache.Insert(1, 1'000);
    const auto find = [&](Cached& result, CachePin& kept) {
      const base::EpochGuard guard(cache.epochs);
      REQUIRE(cache.cache.Find(KeyOf(1), result));
      kept = CachePin(result);
    };
    find(evicted, evicted_pin);
    cache.cache.SetCapacity(0);
    cache.cache.SetCapacity(16 * kMiB);
    cache.Insert(1, 1'000);
    find(found, pin);
  }
  CHECK((base::AsText(found.value) == ValueOf(1, 1'000)));
  pin = CachePin();
  CHECK((base::AsText(evicted.value) == ValueOf(1, 1'000)));
}

TEST_CASE("a moved value is found at its new address alone, and what is not there is not moved") {
  Cache cache(16 * kMiB);
  cache.Insert(1, 1'000);
  const CacheKey moved(HashOf(1), 77, 5), other(HashOf(3), 78, 5);
  cache.cache.Move(KeyOf(1), moved);
  cache.cache.Move(KeyOf(3), other);
  {
    const base::EpochGuard guard(cache.epochs);
    Cached found;
    REQUIRE(cache.cache.Find(moved, found));
    CHECK(base::AsText(found.value) == ValueOf(1, 1'000));
    CHECK_FALSE(cache.cache.Find(other, found));
  }
  CHECK_FALSE(cache.Find(1).has_value());
  // It stays where it is when it goes round.
  cache.cache.Move(moved, KeyOf(1));
  CHECK(cache.Use(1, 3));
  for (uint64_t i = 10; i < 30'000; ++i) cache.Insert(i, 1'000);
  CHECK(cache.Find(1) == ValueOf(1, 1'000));
}

TEST_CASE("a reader inside an epoch sees the bytes it found, however much comes in meanwhile") {
  Cache cache(16 * kMiB);
  cache.Insert(1, 1'000);
  const base::EpochGuard guard(cache.epochs);
  Cached found;
  REQUIRE(cache.cache.Find(KeyOf(1), found));
  for (uint64_t i = 10; i < 60'000; ++i) cache.Insert(i, 1'000);
  CHECK((base::AsText(found.value) == ValueOf(1, 1'000)));
  CHECK(cache.cache.used_bytes() <= 16 * kMiB);
}

// Readers that check every byte, writers, pins, and a capacity that changes.
template <typename Spawn>
uint64_t Play(Cache& cache, uint64_t seed, uint64_t steps, const std::vector<uint64_t>& capacities,
              const Spawn& spawn) {
  std::atomic<uint64_t> wrong{0};
  constexpr uint64_t kNumbers = 3'000;
  const auto size_of = [](uint64_t number) -> size_t { return number % 50 == 0 ? 70'000 : number % 3 * 700; };
  const auto play = [&](uint64_t player) {
    test::Rng rng(seed * 16 + player);
    struct Pinned {
      CachePin pin;
      Cached found;
      uint64_t number = 0;
    };
    std::vector<Pinned> pinned;
    for (uint64_t step = 0; step < steps; ++step) {
      const uint64_t number = rng.OneIn(2) ? rng.Below(100) : rng.Below(kNumbers);
      {
        const base::EpochGuard guard(cache.epochs);
        Cached found;
        if (cache.cache.Find(KeyOf(number), found)) {
          if (base::AsText(found.value) != ValueOf(number, size_of(number))) ++wrong;
          if (rng.OneIn(20)) pinned.push_back({CachePin(found), found, number});
        } else {
          cache.cache.Insert(KeyOf(number), base::AsBytes(ValueOf(number, size_of(number))), {});
        }
      }
      if (pinned.size() > 8 || (!pinned.empty() && rng.OneIn(30))) {
        const Pinned& last = pinned.back();
        if (base::AsText(last.found.value) != ValueOf(last.number, size_of(last.number))) ++wrong;
        pinned.pop_back();
      }
      if (player == 0 && rng.OneIn(steps / 10)) cache.cache.SetCapacity(capacities[rng.Below(capacities.size())]);
    }
  };
  spawn(play);
  return wrong;
}

TEST_CASE("readers, insertions, pins and changes of capacity at once never show a wrong byte") {
  for (uint64_t seed = 0; seed < 3; ++seed) {
    Cache cache(8 * kMiB);
    const uint64_t wrong = Play(cache, seed, 20'000, {0, 3 * kMiB, 8 * kMiB}, [](const auto& play) {
      std::vector<std::thread> threads;
      for (uint64_t i = 0; i < 4; ++i) threads.emplace_back([&, i] { play(i); });
      for (std::thread& thread : threads) thread.join();
    });
    CHECK(wrong == 0);
  }
}

TEST_CASE("the same under a seed's schedule, where threads change places between finding and reading") {
  for (uint64_t seed = 0; seed < 20; ++seed) {
    INFO("seed " << seed);
    Cache cache(4 * kMiB);
    test::SimScheduler scheduler({.seed = seed});
    uint64_t wrong = 0;
    REQUIRE(scheduler.Run([&] {
      wrong = Play(cache, seed, 400, {0, 3 * kMiB, 4 * kMiB}, [](const auto& play) {
        std::vector<base::Thread> threads;
        for (uint64_t i = 0; i < 3; ++i) threads.emplace_back("player", [&play, i] { play(i); });
        for (base::Thread& thread : threads) thread.Join();
      });
    }));
    CHECK(wrong == 0);
  }
}

}  // namespace
}  // namespace firn::memory
