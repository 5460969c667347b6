// Where holes cannot be punched, live values move out of files that are mostly dead: the crash comes at each disk
// operation of it, and no record is left pointing to what is gone.
#include <catch2/catch.hpp>

#include "crash/at_each.h"

namespace firn::test {
namespace {

constexpr size_t kSeparatedBytes = 12'000;  // little enough of its three blocks is lost
constexpr int kValues = 12;
constexpr int64_t kNeverMs = 4'000'000'000'000;

std::string KeyOf(int i) { return "key" + std::to_string(10 + i); }

// One file, of which most is dead.
void MakeDeadFile(SimWorld& world, Client& client) {
  world.machine.set_can_punch(false);
  REQUIRE(client.Close().ok());
  Options options = QuietOptions();
  options.value_separation_threshold_bytes = 4 * 1024;
  REQUIRE(client.Open(options).ok());
  for (int i = 0; i < kValues; ++i) {
    // The last four share one value.
    REQUIRE(client.Put(KeyOf(i), Value("v" + std::to_string(std::min(i, 8)), kSeparatedBytes)).ok());
  }
  REQUIRE(client.SetExpiry(KeyOf(1), kNeverMs).ok());
  REQUIRE(client.Flush().ok());
  for (int i = 2; i < 8; ++i) REQUIRE(client.Delete(KeyOf(i)).ok());
}

void VerifyAll(SimWorld&, Client& client) {
  REQUIRE(client.db().Verify()->damages.empty());
  REQUIRE(client.db().Compact().ok());
  REQUIRE(client.db().Verify()->damages.empty());
  REQUIRE(CheckReferences(client.db()).empty());
  // And once more: what the first recovery decided, the next ones do.
  client.Crash({CrashKind::kPowerCut, Survival::kNothing});
  client.CheckRecovered(true);
  REQUIRE(client.db().Verify()->damages.empty());
}

TEST_CASE("rules 4 and 5: values leave a file that is mostly dead, and lose nothing wherever the crash comes",
          "[rule4][rule5][values][evacuation]") {
  AtEachCrash(610, {.prepare = MakeDeadFile,
                    .run =
                        [](SimWorld& world, Client& client) {
                          const auto snapshot = client.db().GetSnapshot();
                          client.Delete(KeyOf(11), Durability::kBuffered).IgnoreError();
                          client.db().Compact().IgnoreError();
                          const Stats stats = client.db().GetStats();
                          const bool seen = client.db().Get(KeyOf(11), {.snapshot = snapshot.get()}).ok();
                          if (world.machine.crashes() == 0) {
                            INFO(stats.ToString());
                            REQUIRE(stats.value_files == 1);
                            REQUIRE(stats.value_extents == 3);
                            REQUIRE(stats.value_waiting_bytes == 0);
                            REQUIRE(stats.values_evacuated == 3);
                            REQUIRE(seen);
                          }
                          client.Put(KeyOf(3), Value("again", kSeparatedBytes), Durability::kBuffered).IgnoreError();
                          client.SetExpiry(KeyOf(8), kNeverMs, Durability::kBuffered).IgnoreError();
                          client.db().Compact().IgnoreError();
                        },
                    .look = VerifyAll,
                    .points_min = 20});
}

TEST_CASE("rules 4 and 5: a fault in any operation of moving values out of a file costs nothing acknowledged",
          "[rule4][rule5][values][evacuation][faults]") {
  for (const unsigned operations : kFaultyOperations) {
    AtEachFault(operations, 611,
                {.prepare = MakeDeadFile,
                 .run =
                     [](SimWorld&, Client& client) {
                       client.db().Compact().IgnoreError();
                       client.db().Compact().IgnoreError();
                       for (int i = 0; i < kValues; ++i) client.db().Get(KeyOf(i)).status().IgnoreError();
                     },
                 .look = VerifyAll});
  }
}

void MoveValues(SimWorld&, Client& client) {
  client.db().Compact().IgnoreError();
  client.Put(KeyOf(3), Value("again", kSeparatedBytes)).IgnoreError();
  client.SetExpiry(KeyOf(8), kNeverMs, Durability::kBuffered).IgnoreError();
  client.db().Compact().IgnoreError();
}

TEST_CASE("a write that the disk lost while values moved out of a file is damage or an older value",
          "[values][evacuation][lost]") {
  const SilentFaults lost =
      AtEachLostWrite(614, {.prepare = MakeDeadFile, .run = MoveValues, .look = VerifyAll, .points_min = 5});
  INFO(lost.points << " points, " << lost.refused << " refused, " << lost.unreadable << " unreadable");
  CHECK(lost.refused + lost.unreadable > 0);
}

TEST_CASE("a write that landed elsewhere while values moved out of a file is damage or an older value",
          "[values][evacuation][misdirected]") {
  const SilentFaults misdirected =
      AtEachMisdirectedWrite(615, {.prepare = MakeDeadFile, .run = MoveValues, .look = VerifyAll, .points_min = 5});
  CHECK(misdirected.refused + misdirected.unreadable > 0);
}

TEST_CASE("rule 4: values that were moved are durable before anybody can believe that they were",
          "[rule4][values][evacuation]") {
  // The flush of their file fails, and takes what was in the cache for written; the adoption is in the tail buffers,
  // which outlive a kill.
  uint64_t failed = 0;
  for (uint64_t after = 0; after < 12; ++after) {
    InSchedule(612, [&](SimWorld& world) {
      Client client(world);
      REQUIRE(client.Open().ok());
      MakeDeadFile(world, client);
      world.machine.Inject({.operations = kSyncOperation, .after = after});
      failed += client.db().Compact().ok() ? 0 : 1;
      world.machine.ClearFaults();
      client.Crash({CrashKind::kKill, Survival::kNothing});
      client.CheckRecovered(true);
      client.Crash({CrashKind::kPowerCut, Survival::kNothing});
      client.CheckRecovered(true);
      VerifyAll(world, client);
      REQUIRE(client.Close().ok());
    });
  }
  REQUIRE(failed >= 5);
}

TEST_CASE("a value that has rotted keeps its file, which is tried once, and not the segment that names it",
          "[values][evacuation]") {
  InSchedule(613, [](SimWorld& world) {
    Client client(world);
    REQUIRE(client.Open().ok());
    MakeDeadFile(world, client);
    const std::string name = "values/0000000001.val";
    const size_t at = world.machine.ReadFile(name).find(Value("v0", kSeparatedBytes));
    REQUIRE(at != std::string::npos);
    world.machine.FlipBits(name, at + 5'000, std::byte{1});
    REQUIRE(client.db().Compact().ok());
    const Stats first = client.db().GetStats();
    for (int turn = 0; turn < 3; ++turn) {
      Nap(60'000);
      REQUIRE(client.db().Compact().ok());
    }
    const Stats stats = client.db().GetStats();
    INFO(stats.ToString());
    CHECK(stats.values_evacuated == first.values_evacuated);
    CHECK(stats.relocated_records == first.relocated_records);
    CHECK(absl::IsDataLoss(client.db().Get(KeyOf(0)).status()));
    for (int i : {1, 8, 9, 10, 11}) CHECK(client.db().Get(KeyOf(i)).ok());
    REQUIRE(client.db().Close().ok());
  });
}

}  // namespace
}  // namespace firn::test
