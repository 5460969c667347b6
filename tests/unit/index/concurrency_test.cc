// Readers, scanners and writers at once. Stable keys are never touched, churned ones come and go; what a
// reader sees of either must be whole.
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <catch2/catch.hpp>
#include <iostream>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "index/tree.h"
#include "unit/index/key_shapes.h"

namespace firn::index {
namespace {

#if defined(__SANITIZE_THREAD__) || defined(__SANITIZE_ADDRESS__)
constexpr uint64_t kRounds = 6;
#else
constexpr uint64_t kRounds = 30;
#endif
constexpr uint64_t kKeys = 6000;

// A reader that has gone astray may never come back. Then the process ends, which is a failure like any other.
class EndsInTime {
 public:
  EndsInTime() { alarm(kSeconds); }
  ~EndsInTime() { alarm(0); }
  EndsInTime(const EndsInTime&) = delete;

 private:
  static constexpr unsigned kSeconds = 120;
};

// An entry that shows when halves of two writes were mixed.
bool IsWhole(const Entry& entry) { return entry == EntryOf(entry.revision); }

struct Keys {
  std::vector<std::string> stable;   // ascending
  std::vector<std::string> churned;  // ascending, interleaved with the stable ones
};

Keys MakeKeys(uint64_t seed) {
  KeyShapes shapes(seed);
  std::vector<std::string> all;
  for (uint64_t i = 0; i < kKeys; ++i) all.push_back(shapes.Next());
  for (uint64_t i = 0; i < kKeys; ++i) all.push_back(std::string("ns\0\2", 4) + KeyShapes::Random16(i));
  std::sort(all.begin(), all.end());
  all.erase(std::unique(all.begin(), all.end()), all.end());
  Keys keys;
  for (std::string& key : all) (shapes.Below(8) == 0 ? keys.stable : keys.churned).push_back(std::move(key));
  return keys;
}

struct Stage {
  explicit Stage(uint64_t seed) : keys(MakeKeys(seed)) {
    for (const std::string& key : keys.stable) tree.Upsert(key, EntryOf(1));
  }
  base::EpochDomain epochs;
  Tree tree{epochs};
  const Keys keys;
  std::atomic<bool> stop{false};
  std::atomic<uint64_t> lost{0}, torn{0}, unordered{0}, out_of_range{0};
};

// Each writer has churned keys of its own, so that it knows what must be there.
void Churn(Stage& stage, uint64_t writer, uint64_t writers, uint64_t seed) {
  std::mt19937_64 random(seed + writer);
  std::vector<const std::string*> mine;
  for (size_t i = writer; i < stage.keys.churned.size(); i += writers) mine.push_back(&stage.keys.churned[i]);
  for (uint64_t round = 0; round < kRounds; ++round) {
    std::shuffle(mine.begin(), mine.end(), random);
    for (const std::string* key : mine) stage.lost += stage.tree.Upsert(*key, EntryOf(random())).has_value();
    for (const std::string* key : mine) {
      const Entry entry = EntryOf(random());
      stage.lost += !stage.tree.Upsert(*key, entry).has_value();
      stage.lost += stage.tree.Find(*key) != entry;
    }
    if (round % 2 == 0) std::sort(mine.begin(), mine.end(), [](auto* a, auto* b) { return *a < *b; });
    for (const std::string* key : mine) stage.lost += !stage.tree.Erase(*key).has_value();
  }
}

void Look(Stage& stage, uint64_t seed) {
  std::mt19937_64 random(seed);
  while (!stage.stop) {
    const std::string& key = stage.keys.stable[random() % stage.keys.stable.size()];
    stage.lost += stage.tree.Find(key) != EntryOf(1);
    const std::string& other = stage.keys.churned[random() % stage.keys.churned.size()];
    if (const auto entry = stage.tree.Find(other)) stage.torn += !IsWhole(*entry);
  }
}

void JudgePage(Stage& stage, const Tree::Page& page) {
  for (size_t i = 0; i < page.size(); ++i) {
    stage.torn += !IsWhole(page.entry(i));
    stage.unordered += i > 0 && page.key(i - 1) >= page.key(i);
    stage.out_of_range += page.key(i) < page.low() || (page.has_high() && page.key(i) >= page.high());
  }
  // Every stable key of the range is there.
  const auto& stable = stage.keys.stable;
  auto expected = std::lower_bound(stable.begin(), stable.end(), page.low());
  for (size_t i = 0; i < page.size() && expected != stable.end(); ++i) {
    if (page.key(i) == *expected) ++expected;
  }
  stage.lost += expected != stable.end() && (!page.has_high() || *expected < page.high());
}

void Scan(Stage& stage, bool backward) {
  Tree::Page page;
  while (!stage.stop) {
    std::string at;
    do {
      if (backward) {
        stage.tree.ReadLeafBefore(at, page);
        // A page that ends below `at` would leave keys out.
        stage.lost += at.empty() ? page.has_high() : page.has_high() && page.high() < at;
        at = page.low();
      } else {
        stage.tree.ReadLeaf(at, page);
        stage.lost += page.low() > at;
        at = page.high();
      }
      JudgePage(stage, page);
    } while (backward ? !at.empty() : page.has_high());
  }
}

TEST_CASE("readers and scanners find every stable key, whole and in order, while writers churn the others") {
  const EndsInTime ends_in_time;
  const uint64_t seed = std::random_device{}();
  std::cout << "churn: seed " << seed << "\n";
  INFO("seed " << seed);
  Stage stage(seed);
  const uint64_t memory_before = stage.tree.memory_bytes();
  std::vector<std::thread> writers, readers;
  for (uint64_t i = 0; i < 3; ++i) writers.emplace_back([&stage, i, seed] { Churn(stage, i, 3, seed); });
  readers.emplace_back([&] { Look(stage, seed + 100); });
  readers.emplace_back([&] { Scan(stage, false); });
  readers.emplace_back([&] { Scan(stage, true); });
  for (std::thread& thread : writers) thread.join();
  stage.stop = true;
  for (std::thread& thread : readers) thread.join();
  CHECK(stage.lost == 0);
  CHECK(stage.torn == 0);
  CHECK(stage.unordered == 0);
  CHECK(stage.out_of_range == 0);
  CHECK(stage.tree.CheckConsistency() == "");
  CHECK(stage.tree.entries() == stage.keys.stable.size());
  stage.epochs.Synchronize();
  CHECK(stage.tree.memory_bytes() < 2 * memory_before);
}

TEST_CASE("writers that empty the tree together leave one leaf") {
  const uint64_t seed = std::random_device{}();
  std::cout << "empty together: seed " << seed << "\n";
  base::EpochDomain epochs;
  Tree tree(epochs);
  const uint64_t before = tree.memory_bytes();
  std::vector<std::thread> threads;
  for (uint64_t writer = 0; writer < 4; ++writer) {
    threads.emplace_back([&tree, writer] {
      for (uint64_t i = 0; i < 4 * kKeys; ++i) tree.Upsert(KeyShapes::Random16(4 * i + writer), EntryOf(i));
      for (uint64_t i = 0; i < 4 * kKeys; ++i) tree.Erase(KeyShapes::Random16(4 * i + writer));
    });
  }
  for (std::thread& thread : threads) thread.join();
  epochs.Synchronize();
  CHECK(tree.CheckConsistency() == "");
  CHECK(tree.entries() == 0);
  CHECK(tree.memory_bytes() <= before);
}

TEST_CASE("a replaced entry is seen whole by every reader") {
  base::EpochDomain epochs;
  Tree tree(epochs);
  for (uint64_t i = 0; i < 50; ++i) tree.Upsert("key" + std::to_string(i), EntryOf(0));
  std::atomic<bool> stop{false};
  std::atomic<uint64_t> torn{0}, backwards{0};
  std::vector<std::thread> readers;
  for (int reader = 0; reader < 2; ++reader) {
    readers.emplace_back([&] {
      uint64_t last = 0;
      while (!stop) {
        const auto entry = tree.Find("key25");
        torn += !entry.has_value() || !IsWhole(*entry);
        if (!entry.has_value()) continue;
        backwards += entry->revision < last;
        last = entry->revision;
      }
    });
  }
  for (uint64_t revision = 1; revision < 10000 * kRounds; ++revision) tree.Upsert("key25", EntryOf(revision));
  stop = true;
  for (std::thread& thread : readers) thread.join();
  CHECK(torn == 0);
  CHECK(backwards == 0);
}

TEST_CASE("a key beside which others come and go is there for every reader") {
  base::EpochDomain epochs;
  Tree tree(epochs);
  constexpr uint64_t kStableKeys = 50;  // in one leaf
  for (uint64_t i = 0; i < kStableKeys; ++i) tree.Upsert("key" + std::to_string(100 + i), EntryOf(i));
  std::atomic<bool> stop{false};
  std::atomic<uint64_t> lost{0};
  std::vector<std::thread> readers;
  readers.emplace_back([&] {
    for (uint64_t i = 0; !stop; i = (i + 1) % kStableKeys) {
      lost += tree.Find("key" + std::to_string(100 + i)) != EntryOf(i);
    }
  });
  readers.emplace_back([&] {
    Tree::Page page;
    while (!stop) {
      tree.ReadLeaf("key", page);
      uint64_t seen = 0;
      for (size_t i = 0; i < page.size(); ++i) seen += page.key(i) == "key" + std::to_string(100 + seen);
      lost += seen != kStableKeys;
    }
  });
  // Before all others, which have to make room for it and close up again.
  for (uint64_t i = 0; i < 10000 * kRounds; ++i) {
    tree.Upsert("key", EntryOf(i));
    lost += tree.Erase("key") != EntryOf(i);
  }
  stop = true;
  for (std::thread& thread : readers) thread.join();
  CHECK(lost == 0);
}

}  // namespace
}  // namespace firn::index
