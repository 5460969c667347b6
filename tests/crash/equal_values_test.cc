// One extent under many names: taken, dropped and written again by several at once, with crashes in between.
#include <algorithm>
#include <catch2/catch.hpp>
#include <set>
#include <vector>

#include "base/sync.h"
#include "crash/extents.h"

namespace firn::test {
namespace {

// Names of one value, put in one order and dropped in another. What a crash leaves is told by how many there are.
class Names {
 public:
  Names(SimWorld& world, size_t count) : world_(world), client_(world) {
    for (size_t i = 0; i < count; ++i) put_order_.push_back("name" + std::to_string(i));
    drop_order_ = put_order_;
    for (size_t i = count; i > 1; --i) std::swap(drop_order_[i - 1], drop_order_[world.random.Below(i)]);
    REQUIRE(client_.Open(Options()).ok());
  }

  void PutAll() {
    Run(put_order_, [this](Batch& batch, const std::string& name) { batch.Put(name, value_); });
  }
  void DropAll() {
    Run(drop_order_, [](Batch& batch, const std::string& name) { batch.Delete(name); });
  }
  Client& client() { return client_; }
  uint64_t crashes() const { return crashes_; }

 private:
  static firn::Options Options() {
    firn::Options options = SeparatingOptions();
    options.memory_budget_bytes = 4 * kMemoryBudgetBytesMin;
    options.max_space_amplification = kSpaceAmplificationMax;  // moving ten thousand tombstones is not what is tested
    return options;
  }

  // Batches of the names in this order, from the first to the last, with a crash once in a while. A crash undoes some,
  // which are then asked for again.
  template <typename Ask>
  void Run(const std::vector<std::string>& order, const Ask& ask) {
    constexpr size_t kBatchMax = 60;
    constexpr uint64_t kSyncedOneIn = 4, kCrashOneIn = 12;
    const bool drops = &order == &drop_order_;
    for (size_t done = 0, durable = 0; done < order.size();) {
      const size_t end = std::min(order.size(), done + 1 + world_.random.Below(kBatchMax));
      Batch batch;
      for (size_t i = done; i < end; ++i) ask(batch, order[i]);
      const bool synced = world_.random.OneIn(kSyncedOneIn);
      WriteOptions options;
      options.durability = synced ? Durability::kSynced : Durability::kBuffered;
      REQUIRE(client_.db().Apply(batch, options).ok());
      done = end;
      if (synced) durable = done;
      if (world_.random.OneIn(kSyncedOneIn)) Nap(kUpkeepTurnsMs);
      if (!world_.random.OneIn(kCrashOneIn)) continue;
      ++crashes_;
      const CrashKind kind = world_.random.OneIn(2) ? CrashKind::kKill : CrashKind::kPowerCut;
      client_.Crash({kind, kSurvivals[world_.random.Below(std::size(kSurvivals))]});
      REQUIRE(client_.Open(Options()).ok());
      const size_t found = CheckFound(order, drops);
      REQUIRE(found >= (kind == CrashKind::kKill ? done : durable));
      REQUIRE(found <= done);
      done = durable = found;
    }
  }

  // How much of the order is done, from what the store shows: exactly that, and one extent as long as there is a name.
  size_t CheckFound(const std::vector<std::string>& order, bool drops) {
    std::set<std::string> names;
    const auto iterator = client_.db().NewIterator();
    for (iterator->SeekToFirst(); iterator->Valid(); iterator->Next()) names.emplace(iterator->key());
    const size_t done = drops ? order.size() - names.size() : names.size();
    const auto middle = order.begin() + static_cast<std::ptrdiff_t>(done);
    REQUIRE(names == (drops ? std::set(middle, order.end()) : std::set(order.begin(), middle)));
    if (!names.empty()) REQUIRE(client_.db().Get(*names.begin()).value() == value_);
    REQUIRE(client_.db().GetStats().value_extents == (names.empty() ? 0 : 1));
    const std::string wrong = CheckReferences(client_.db());
    INFO(wrong);
    REQUIRE(wrong.empty());
    return done;
  }

  SimWorld& world_;
  Client client_;
  const std::string value_ = Extent("the same for all");
  std::vector<std::string> put_order_, drop_order_;
  uint64_t crashes_ = 0;
};

TEST_CASE("ten thousand names of one value share one extent, which goes with the last of them, crashes or not",
          "[extents][equal]") {
  constexpr size_t kNames = 10'000;
  constexpr uint64_t kStepsMax = 50'000'000;
  InSchedule(
      720,
      [&](SimWorld& world) {
        Names names(world, kNames);
        names.PutAll();
        REQUIRE(names.client().db().GetStats().keys == kNames);
        names.DropAll();
        REQUIRE(names.crashes() > 20);
        REQUIRE(names.client().Sync().ok());
        const Stats stats = names.client().db().GetStats();
        REQUIRE(stats.keys == 0);
        REQUIRE(stats.value_extents == 0);
        RequireNothingLost(world, names.client());
        REQUIRE(names.client().Close().ok());
      },
      0.25, kStepsMax);
}

constexpr int kKeys = 2;
constexpr int kContents = 2;

std::string KeyOf(int worker, int i) { return "of " + std::to_string(worker) + "/" + std::to_string(i); }
std::string ContentOf(int i) { return Extent("content " + std::to_string(i)); }

// Several put and drop the same few contents; what each was told last of its own keys holds.
void ShareAndDrop(SimWorld& world, DB& db, int worker, Rng random, State& told) {
  constexpr int kTurns = 24;
  for (int turn = 0; turn < kTurns; ++turn) {
    const std::string key = KeyOf(worker, static_cast<int>(random.Below(kKeys)));
    const std::string content = ContentOf(static_cast<int>(random.Below(kContents)));
    PutOptions options;
    options.durability = random.OneIn(3) ? Durability::kBuffered : Durability::kSynced;
    if (random.OneIn(2)) {
      REQUIRE(db.Put(key, content, options).ok());
      told[key] = Shown(content, "", 0);
    } else {
      REQUIRE(db.Delete(key, options).ok());
      told.erase(key);
    }
    // Upkeep frees what was dropped while others ask for it again.
    if (random.OneIn(4)) Nap(world.random.Below(kUpkeepTurnsMs));
  }
}

TEST_CASE("content that is put while its last name goes, and while it is freed, is there afterwards",
          "[extents][equal]") {
  uint64_t shared = 0, freed = 0;
  for (uint64_t seed = 730; seed < 790; ++seed) {
    const double switch_probability = seed % 2 == 0 ? 0.25 : 0.6;
    InSchedule(
        seed,
        [&](SimWorld& world) {
          Client client(world);
          if (seed % 3 == 0) client.set_value_hash(&CollidingHash);
          REQUIRE(client.Open(SeparatingOptions()).ok());
          world.machine.set_latency_nanos_max(seed % 5 == 0 ? 0 : 2'000'000);
          constexpr int kWorkers = 3;
          State told[kWorkers];
          std::vector<base::Thread> threads;
          for (int i = 0; i < kWorkers; ++i) {
            threads.emplace_back("worker", [&, i, random = Rng(world.random.Next())] {
              ShareAndDrop(world, client.db(), i, random, told[i]);
            });
          }
          for (base::Thread& thread : threads) thread.Join();
          State all;
          for (const State& each : told) all.insert(each.begin(), each.end());
          REQUIRE(Look(client.db()) == all);
          const std::string wrong = CheckReferences(client.db());
          INFO(wrong);
          REQUIRE(wrong.empty());
          const Stats stats = client.db().GetStats();
          shared += stats.value_dedup_hits;
          REQUIRE(client.Sync().ok());
          Nap(2 * kUpkeepTurnsMs);
          freed += client.db().GetStats().value_extents < stats.puts.count - stats.value_dedup_hits;
          client.Crash({CrashKind::kPowerCut, Survival::kNothing});
          REQUIRE(client.Open(SeparatingOptions()).ok());
          REQUIRE(Look(client.db()) == all);
          RequireNothingLost(world, client);
          REQUIRE(client.Close().ok());
        },
        switch_probability);
  }
  REQUIRE(shared > 500);
  REQUIRE(freed > 30);
}

}  // namespace
}  // namespace firn::test
