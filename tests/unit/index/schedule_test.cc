// The tree under a seed's scheduler: threads change places at every lock, upgrade and validation.
#include <catch2/catch.hpp>
#include <functional>
#include <iostream>
#include <map>
#include <memory>
#include <optional>
#include <random>
#include <string>
#include <vector>

#include "base/sync.h"
#include "index/tree.h"
#include "support/scheduler.h"
#include "unit/index/key_shapes.h"

namespace firn::index {
namespace {

constexpr uint64_t kWriters = 3;
constexpr uint64_t kStable = 24;

std::string Padded(uint64_t number, const char* suffix) {
  return std::to_string(1000 + number) + std::string(300, '.') + suffix;
}

// Long suffixes, so that a leaf holds few and the tree splits and merges all the time.
struct Play {
  explicit Play(uint64_t seed_of_run) : seed(seed_of_run) {
    for (uint64_t i = 0; i < kStable; ++i) tree.Upsert(Padded(i, "stable"), EntryOf(i));
  }

  void Write(uint64_t writer) {
    std::mt19937_64 random(seed * kWriters + writer);
    std::map<std::string, Entry> mine;
    for (int i = 0; i < 150; ++i) {
      const std::string key = Padded(random() % kStable, "w") + std::to_string(writer);
      const auto at = mine.find(key);
      std::optional<Entry> expected;
      if (at != mine.end()) expected = at->second;
      wrong += tree.Find(key) != expected;
      if (i < 100 && random() % 3 != 0) {
        const Entry entry = EntryOf(random());
        wrong += tree.Upsert(key, entry) != expected;
        mine[key] = entry;
      } else {
        wrong += tree.Erase(key) != expected;
        mine.erase(key);
      }
    }
    for (const auto& [key, entry] : mine) wrong += tree.Erase(key) != entry;
  }

  void Scan() {
    Tree::Page page;
    for (int i = 0; i < 15; ++i) {
      uint64_t stable = 0;
      std::string from, last;
      do {
        tree.ReadLeaf(from, page);
        for (size_t item = 0; item < page.size(); ++item) {
          if (page.key(item) < from) continue;
          wrong += page.key(item) <= last;
          last = page.key(item);
          stable += last.ends_with("stable");
        }
        from = page.high();
      } while (page.has_high());
      wrong += stable != kStable;
    }
  }

  const uint64_t seed;
  base::EpochDomain epochs;
  Tree tree{epochs};
  uint64_t wrong = 0;  // one scheduled thread runs at a time
};

TEST_CASE("writers and a scanner agree with their models under any schedule") {
  const uint64_t first_seed = std::random_device{}();
  std::cout << "schedule: first seed " << first_seed << "\n";
  for (uint64_t seed = first_seed; seed < first_seed + 20; ++seed) {
    INFO("seed " << seed);
    Play play(seed);
    test::SimScheduler scheduler({.seed = seed});
    REQUIRE(scheduler.Run([&play] {
      std::vector<base::Thread> threads;
      for (uint64_t i = 0; i < kWriters; ++i) threads.emplace_back("writer", [&play, i] { play.Write(i); });
      threads.emplace_back("scanner", [&play] { play.Scan(); });
      for (base::Thread& thread : threads) thread.Join();
    }));
    REQUIRE(play.wrong == 0);
    REQUIRE(play.tree.CheckConsistency() == "");
    REQUIRE(play.tree.entries() == kStable);
  }
}

TEST_CASE("nothing that was in the tree is freed while an operation that may have seen it goes on") {
  struct Operation {
    const char* name;
    std::function<void(Tree& tree)> run;
  };
  const Operation operations[] = {{"Find", [](Tree& tree) { static_cast<void>(tree.Find(Padded(3, "stable"))); }},
                                  {"Upsert", [](Tree& tree) { tree.Upsert(Padded(3, "stable"), EntryOf(7)); }},
                                  {"Erase", [](Tree& tree) { tree.Erase(Padded(3, "absent")); }},
                                  {"ReadLeaf", [](Tree& tree) {
                                     Tree::Page page;
                                     tree.ReadLeaf(Padded(3, "stable"), page);
                                   }}};
  for (const Operation& operation : operations) {
    INFO(operation.name);
    Play play(1);
    bool inside = false, stop = false;
    int rounds = 0, seen_inside = 0, freed_inside = 0;
    test::SimScheduler scheduler({.seed = 1});
    REQUIRE(scheduler.Run([&] {
      base::Thread thread("operation", [&] {
        while (rounds < 200) {
          ++rounds;
          inside = true;
          operation.run(play.tree);
          inside = false;
          base::SchedulePoint();
        }
        stop = true;
      });
      while (!stop) {
        base::SchedulePoint();
        if (!inside) continue;
        // The other thread waits at a point within the operation.
        const int round = rounds;
        const auto is_inside = [&] { return inside && rounds == round; };
        const auto freed = std::make_shared<bool>(false);
        play.epochs.Retire([freed] { *freed = true; });
        play.epochs.Drain();
        seen_inside += is_inside() ? 1 : 0;
        freed_inside += is_inside() && *freed ? 1 : 0;
        while (is_inside()) base::SchedulePoint();
      }
      thread.Join();
    }));
    CHECK(seen_inside > 10);
    CHECK(freed_inside == 0);
  }
}

}  // namespace
}  // namespace firn::index
