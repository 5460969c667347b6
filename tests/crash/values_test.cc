// Rules 4 and 5 in a whole store: wherever the crash comes, what a record points to is there, and nothing that is still
// needed was freed.
#include <atomic>
#include <catch2/catch.hpp>
#include <utility>
#include <vector>

#include "base/sync.h"
#include "crash/extents.h"

namespace firn::test {
namespace {

void MakeValues(SimWorld& world, Client& client) {
  world.machine.set_capacity_bytes(32 << 20);  // where holes do not wait
  OpenSeparating(client);
  REQUIRE(client.Put("overwritten", Value("first", kSeparatedBytes)).ok());
  REQUIRE(client.Put("deleted", Value("gone", kSeparatedBytes)).ok());
  REQUIRE(client.Put("twin one", Value("shared", kSeparatedBytes)).ok());
  REQUIRE(client.Put("twin two", Value("shared", kSeparatedBytes)).ok());
  REQUIRE(client.Put("shrinks", Value("large", kSeparatedBytes)).ok());
  REQUIRE(client.db().GetStats().value_extents == 4);
  // Upkeep retires what the reopening left behind. Later that would make durable what is to stay undone.
  Nap(600);
}

TEST_CASE("rule 4: no record points to an extent that is not there, wherever the crash comes", "[rule4][values]") {
  for (const Durability durability : {Durability::kSynced, Durability::kBuffered}) {
    AtEachCrash(600, {.prepare = MakeValues,
                      .run =
                          [&](SimWorld&, Client& client) {
                            client.Put("overwritten", Value("second", kSeparatedBytes), durability).IgnoreError();
                            client.Put("fresh", Value("new", kSeparatedBytes), durability).IgnoreError();
                            client
                                .Apply({{"a", Value("in a batch", kSeparatedBytes)},
                                        {"twin one", Value("shared no more", kSeparatedBytes)}},
                                       durability)
                                .IgnoreError();
                            client.Put("third twin", Value("shared", kSeparatedBytes), durability).IgnoreError();
                            client.Sync().IgnoreError();
                          },
                      .look = RequireNothingLost,
                      .points_min = 12});
  }
}

// The kernel writes the tail buffers' mapping back by itself, and here it has come to all of it.
void WriteBackTail(SimWorld& world) {
  for (int turn = 0; turn < 64; ++turn) world.machine.WriteBackMappings();
}

TEST_CASE("rule 4: a record that outlived a power cut in the tail buffers counts only if its extent did too",
          "[rule4][values]") {
  enum class Last { kInline, kIntoOldFile, kIntoFirstFile };
  for (const Last last : {Last::kInline, Last::kIntoOldFile, Last::kIntoFirstFile}) {
    for (const bool read_only_first : {false, true}) {
      InSchedule(603, [&](SimWorld& world) {
        Client client(world);
        REQUIRE(client.Open().ok());
        if (last == Last::kIntoFirstFile) {
          OpenSeparating(client);
        } else {
          MakeValues(world, client);
        }
        const size_t bytes = last == Last::kInline ? 3'000 : kSeparatedBytes;
        REQUIRE(client.Put("overwritten", Value("second", bytes), Durability::kBuffered).ok());
        REQUIRE(client.Put("fresh", Value("new", bytes), Durability::kBuffered).ok());
        WriteBackTail(world);
        client.Crash({CrashKind::kPowerCut, Survival::kNothing});
        if (read_only_first) {
          Options options = QuietOptions();
          options.read_only = true;
          REQUIRE(client.Open(options).ok());
          REQUIRE(client.db().Get("fresh").ok() == (last == Last::kInline));
          client.Drop();
        }
        client.CheckRecovered(true);
        // Inline values were in the buffers themselves: so they did outlive the power.
        REQUIRE(client.db().Get("fresh").ok() == (last == Last::kInline));
        RequireNothingLost(world, client);
        REQUIRE(client.Close().ok());
      });
    }
  }
}

TEST_CASE("rule 4: what a failed fsync left in the cache is durable once a restart has taken its record over",
          "[rule4][values]") {
  for (uint64_t seed = 604; seed < 612; ++seed) {
    InSchedule(seed, [](SimWorld& world) {
      Client client(world);
      REQUIRE(client.Open().ok());
      MakeValues(world, client);
      REQUIRE(client.Put("overwritten", Value("second", kSeparatedBytes), Durability::kBuffered).ok());
      REQUIRE(client.Put("fresh", Value("new", kSeparatedBytes), Durability::kBuffered).ok());
      world.machine.Inject({.operations = kSyncOperation});
      REQUIRE_FALSE(client.Sync().ok());
      client.Crash({CrashKind::kKill, Survival::kNothing});
      client.CheckRecovered(false);
      REQUIRE(client.db().Get("fresh").ok());
      client.Crash({CrashKind::kPowerCut, Survival::kNothing});
      client.CheckRecovered(true);
      REQUIRE(client.db().Get("fresh").ok());
      RequireNothingLost(world, client);
      REQUIRE(client.Close().ok());
    });
  }
}

TEST_CASE("rule 5: no extent is freed while what dropped it can still be undone", "[rule5][values]") {
  AtEachCrash(601,
              {.prepare = MakeValues,
               .run =
                   [](SimWorld&, Client& client) {
                     client.Put("overwritten", Value("second", kSeparatedBytes), Durability::kBuffered).IgnoreError();
                     client.Delete("deleted", Durability::kBuffered).IgnoreError();
                     client.Put("shrinks", "small", Durability::kBuffered).IgnoreError();
                     client.Delete("twin one", Durability::kBuffered).IgnoreError();
                     Nap(600);  // upkeep has its turns
                     client.Put("deleted", Value("gone", kSeparatedBytes), Durability::kBuffered).IgnoreError();
                     client.Sync().IgnoreError();
                     Nap(600);
                     client.Delete("twin two").IgnoreError();
                     client.db().Compact().IgnoreError();
                   },
               .look = RequireNothingLost});
}

TEST_CASE("rule 5: what an open snapshot needs is not freed, and goes after it or with the crash",
          "[rule5][snapshots]") {
  AtEachCrash(605, {.prepare = MakeValues,
                    .run =
                        [](SimWorld& world, Client& client) {
                          auto snapshot = client.db().GetSnapshot();
                          const auto require_seen = [&] {
                            if (world.machine.crashes() != 0) return;
                            const ReadOptions at{.snapshot = snapshot.get()};
                            for (const auto& [key, tag] : {std::pair{"overwritten", "first"},
                                                           {"deleted", "gone"},
                                                           {"twin one", "shared"},
                                                           {"shrinks", "large"}}) {
                              const auto found = client.db().Get(key, at);
                              INFO(key << ": " << found.status());
                              if (world.machine.crashes() != 0) return;
                              REQUIRE((found.ok() && *found == Value(tag, kSeparatedBytes)));
                            }
                          };
                          client.Put("overwritten", Value("second", kSeparatedBytes)).IgnoreError();
                          client.Delete("deleted", Durability::kBuffered).IgnoreError();
                          client.Delete("twin one", Durability::kBuffered).IgnoreError();
                          client.Put("shrinks", "small").IgnoreError();
                          Nap(kUpkeepTurnsMs);
                          client.db().Compact().IgnoreError();
                          require_seen();
                          client.Delete("twin two").IgnoreError();
                          Nap(kUpkeepTurnsMs);
                          require_seen();
                          snapshot.reset();
                          Nap(kUpkeepTurnsMs);
                          if (world.machine.crashes() == 0) REQUIRE(client.db().GetStats().value_extents == 1);
                        },
                    .look = RequireNothingLost});
}

// Three writers put values that only they have, and some that others put at the same time; the power fails.
void PutTogether(SimWorld& world, uint64_t seed) {
  world.machine.set_latency_nanos_max(2'000'000);
  Client client(world);
  REQUIRE(client.Open(SeparatingOptions()).ok());
  REQUIRE(client.Put("the file", Extent("is there")).ok());
  constexpr int kWriters = 3, kPuts = 5;
  base::Mutex mutex;
  std::map<std::string, std::string> acknowledged;
  std::vector<base::Thread> writers;
  world.machine.CrashAfter(seed % 60, {CrashKind::kPowerCut, Survival::kNothing});
  for (int i = 0; i < kWriters; ++i) {
    writers.emplace_back("writer", [&, i] {
      for (int n = 0; n < kPuts; ++n) {
        const std::string key = std::to_string(i) + "." + std::to_string(n);
        const std::string value = Extent(n % 2 == 0 ? "together" + std::to_string(n) : key);
        if (!client.db().Put(key, value).ok()) return;
        base::MutexLock lock(mutex);
        acknowledged[key] = value;
      }
    });
  }
  for (base::Thread& writer : writers) writer.Join();
  world.machine.ClearFaults();
  client.Crash({CrashKind::kPowerCut, Survival::kNothing});
  REQUIRE(client.Open(SeparatingOptions()).ok());
  for (const auto& [key, value] : acknowledged) {
    const auto found = client.db().Get(key);
    INFO(key << ": " << found.status());
    REQUIRE((found.ok() && *found == value));
  }
  RequireNothingLost(world, client);
  REQUIRE(client.Close().ok());
}

TEST_CASE("rule 4, fault A8: values put while another's flush runs, equal or not, are durable when that is said",
          "[rule4][A8][together]") {
  for (uint64_t seed = 800; seed < 980; ++seed) {
    InSchedule(
        seed, [seed](SimWorld& world) { PutTogether(world, seed); }, seed % 2 == 0 ? 0.25 : 0.6);
  }
}

TEST_CASE("rules 4 and 5: a fault in any operation on extents loses nothing acknowledged", "[rule4][rule5][values]") {
  for (const unsigned operations : kFaultyOperations) {
    AtEachFault(operations, 602,
                {.prepare = MakeValues,
                 .run =
                     [](SimWorld&, Client& client) {
                       client.Put("overwritten", Value("second", kSeparatedBytes)).IgnoreError();
                       client.Delete("deleted").IgnoreError();
                       client.Put("twin one", Value("gone", kSeparatedBytes)).IgnoreError();
                       client.db().Compact().IgnoreError();
                       client.db().Get("overwritten").status().IgnoreError();
                     },
                 .look = RequireNothingLost});
  }
}

TEST_CASE("rules 4 and 5: a value whose record may be on disk stays, though its write was refused", "[rule5][values]") {
  uint64_t outlived = 0;
  for (uint64_t seed = 620; seed < 700 || outlived < 3; ++seed) {
    REQUIRE(seed < 1'500);  // the moment is rare
    InSchedule(
        seed,
        [&](SimWorld& world) {
          Client client(world);
          REQUIRE(client.Open().ok());
          MakeValues(world, client);
          REQUIRE(client.Put("same", "always").ok());
          // Something to retire, so that upkeep waits for the flush that fails.
          client.FillSegment("dead", Durability::kBuffered);
          REQUIRE(client.Flush().ok());
          REQUIRE(client.Put("filler", "short").ok());
          // Larger than the tail buffers, so nobody sees it before it is written.
          std::vector<std::pair<std::string, std::string>> batch{{"fresh", Value("new", kSeparatedBytes)}};
          for (int i = 0; i < 100; ++i) batch.emplace_back("filler" + std::to_string(i), Value("filler", 3'000));
          world.machine.set_latency_nanos_max(100'000'000);
          world.machine.Inject({.operations = kSyncOperation, .after = 4 + seed % 9});
          // Writers who have the log synced, so that the batch is taken along.
          std::atomic<bool> done = false;
          std::vector<base::Thread> threads;
          for (int i = 0; i < 3; ++i) {
            threads.emplace_back("syncing", [&] {
              while (!done && client.db().Put("same", "always").ok()) continue;
            });
          }
          threads.emplace_back("compacting", [&] { client.db().Compact().IgnoreError(); });
          const bool refused = !client.Apply(batch, Durability::kBuffered).ok();
          done = true;
          for (base::Thread& thread : threads) thread.Join();
          Nap(kUpkeepTurnsMs);
          world.machine.set_latency_nanos_max(0);
          world.machine.ClearFaults();
          client.Crash({CrashKind::kKill, Survival::kNothing});
          client.CheckRecovered(false);
          outlived += refused && client.db().Get("fresh").ok() ? 1 : 0;
          RequireNothingLost(world, client);
          REQUIRE(client.Close().ok());
        },
        0.5);
  }
}

TEST_CASE("an open that fails while it takes over the value files leaves no clean end behind", "[rule4][values]") {
  uint64_t failed = 0;
  bool hit = true;
  for (uint64_t after = 0; hit; ++after) {
    InSchedule(606, [&](SimWorld& world) {
      Client client(world);
      REQUIRE(client.Open().ok());
      MakeValues(world, client);
      client.Crash({CrashKind::kKill, Survival::kNothing});
      world.machine.Inject({.operations = kSyncOperation, .after = after});
      const bool opened = client.Open(SeparatingOptions()).ok();
      hit = world.machine.faults_hit() > 0;
      world.machine.ClearFaults();
      if (opened) return client.Drop();
      ++failed;
      client.events().Clear();
      REQUIRE(client.Open(SeparatingOptions()).ok());
      REQUIRE(client.events().Count(EventKind::kRecovered) == 1);
      RequireNothingLost(world, client);
      REQUIRE(client.Close().ok());
    });
  }
  REQUIRE(failed >= 4);
}

TEST_CASE("a power cut after a clean end brings back no space that was given back before it", "[values]") {
  uint64_t clean_ends = 0;
  for (const Survival survival : kSurvivals) {
    for (uint64_t seed = 680; seed < 690; ++seed) {
      InSchedule(seed, [&](SimWorld& world) {
        Client client(world);
        REQUIRE(client.Open().ok());
        MakeValues(world, client);
        REQUIRE(client.Close().ok());
        // Nothing is added, so that nothing is cut at the end.
        REQUIRE(client.Open(SeparatingOptions()).ok());
        REQUIRE(client.Delete("deleted").ok());
        REQUIRE(client.Delete("shrinks").ok());
        REQUIRE(client.Close().ok());
        world.machine.Crash({CrashKind::kPowerCut, survival});
        client.events().Clear();
        REQUIRE(client.Open(SeparatingOptions()).ok());
        clean_ends += client.events().Count(EventKind::kRecovered) == 0 ? 1 : 0;
        RequireNothingLost(world, client);
        REQUIRE(client.Close().ok());
      });
    }
  }
  REQUIRE(clean_ends >= 10);
}

}  // namespace
}  // namespace firn::test
