// Reclaim that meets faults: those of other engines that have to do with it, failing operations, a full disk.
#include <malloc.h>

#include <algorithm>
#include <atomic>
#include <catch2/catch.hpp>
#include <cstdio>
#include <set>

#include "base/sync.h"
#include "crash/reclaim_history.h"
#include "support/temp_dir.h"

namespace firn::test {
namespace {

TEST_CASE("fault A14: expired keys that nobody touches again go, with their tombstones, across restarts too",
          "[A14][reclaim]") {
  for (const bool restart : {false, true}) {
    InSchedule(411, [&](SimWorld& world) {
      Client client(world);
      REQUIRE(client.Open().ok());
      const int64_t soon_ms = world.clock.WallTimeMs() + 5'000;
      PutOptions options;
      options.expires_at_ms = soon_ms;
      options.durability = Durability::kBuffered;
      for (int i = 0; i < 400; ++i) {
        if (i % 20 == 0) REQUIRE(client.Put(KeyOf(i), Value("stays", kValueBytes), Durability::kBuffered).ok());
        REQUIRE(client.db().Put("expires" + std::to_string(i), Value(kBanned, kValueBytes), options).ok());
      }
      REQUIRE(client.Flush().ok());
      world.clock.JumpWall(20'000);
      if (restart) {
        client.Crash({CrashKind::kPowerCut, Survival::kNothing});
        REQUIRE(client.Open().ok());
      }
      for (int turn = 0; turn < 5'000 && client.db().GetStats().keys != 20; ++turn) Nap(kUpkeepMs);
      REQUIRE(client.db().GetStats().keys == 20);
      REQUIRE(client.db().Compact().ok());
      const Stats stats = client.db().GetStats();
      INFO(stats.ToString());
      CHECK(stats.log_bytes < 20 * (kValueBytes + 200) + 3 * kSmallSegmentBytes);
      // Tombstones of what no segment holds any more are of no use.
      uint64_t tombstones = 0;
      for (const SegmentReport& each : client.db().GcReport()) tombstones += each.tombstones;
      CHECK(tombstones <= 20);
      RequireNoneBack(client.db());
      REQUIRE(client.Close().ok());
    });
  }
}

// Holds the bytes of the heap at each event, when what reclaim remembers of its moves is at its largest.
class HeapWatch final : public EventListener {
 public:
  void OnEvent(const Event& event) override {
    if (event.message.find("adopted") == std::string::npos) return;
    ++rounds_;
    peak_bytes_ = std::max<uint64_t>(peak_bytes_, HeapBytes());
  }
  static uint64_t HeapBytes() {
    const struct mallinfo2 info = mallinfo2();
    return info.uordblks + info.hblkhd;
  }
  uint64_t peak_bytes() const { return peak_bytes_; }
  int rounds() const { return rounds_; }

 private:
  std::atomic<uint64_t> peak_bytes_{0};
  std::atomic<int> rounds_{0};
};

TEST_CASE("fault A16: reclaim moves what lives in batches, not in whole levels", "[A16][reclaim]") {
  testing::TempDir dir;
  HeapWatch watch;
  Options options;
  options.listener = &watch;
  options.max_space_amplification = 10;                 // all the work is left to Compact()
  options.memory_budget_bytes = kMemoryBudgetBytesMin;  // a value cache that is full from the beginning
  auto db = DB::Open(options, dir.path());
  REQUIRE(db.ok());
  PutOptions put;
  put.durability = Durability::kBuffered;
  constexpr int kKeys = 48'000;
  constexpr size_t kBytes = 2'000;
  for (int i = 0; i < kKeys; ++i) {
    REQUIRE((*db)->Put("key" + std::to_string(i), std::string(kBytes, static_cast<char>('a' + i % 26)), put).ok());
  }
  // Every fifth dies, in every segment: four fifths of 100 MB have to move.
  for (int i = 0; i < kKeys; i += 5) REQUIRE((*db)->Delete("key" + std::to_string(i), put).ok());
  REQUIRE((*db)->Flush().ok());
  const uint64_t before = HeapWatch::HeapBytes();
  REQUIRE((*db)->Compact().ok());
  const Stats stats = (*db)->GetStats();
  INFO(stats.ToString());
  CHECK(stats.relocated_bytes > uint64_t{60} << 20);
  CHECK(watch.rounds() > 3);
  // A batch of records, a unit, a directory, a footer and what is remembered of the moves of one segment.
  constexpr uint64_t kBound = uint64_t{24} << 20;
  INFO("heap before " << before << ", at most " << watch.peak_bytes());
  CHECK(watch.peak_bytes() < before + kBound);
  for (int i = 0; i < kKeys; i += 997) CHECK((*db)->Get("key" + std::to_string(i)).ok() == (i % 5 != 0));
  REQUIRE((*db)->Close().ok());
}

TEST_CASE("fault A16: writers go on in every interleaving while a round runs, and wait for no part of it",
          "[A16][reclaim]") {
  constexpr uint64_t kLatencyMs = 20;  // of each disk operation, at most
  for (uint64_t seed = 420; seed < 450; ++seed) {
    InSchedule(
        seed,
        [&](SimWorld& world) {
          Client client(world);
          Options options = QuietOptions();
          options.max_space_amplification = 10;
          REQUIRE(client.Open(options).ok());
          for (int round = 0; round < 6; ++round) PutMany(client, std::to_string(round), 1 + round % 2);
          REQUIRE(client.Flush().ok());
          world.machine.set_latency_nanos_max(kLatencyMs * 1'000'000);
          std::atomic<bool> over{false};
          uint64_t puts = 0, slowest_nanos = 0;
          base::Thread writer("writer", [&] {
            // Keys that are about to move, and others.
            for (int i = 0; !over; ++i) {
              const uint64_t began = world.clock.MonotonicNanos();
              REQUIRE(client.Put(i % 2 == 0 ? KeyOf(i % 16) : "other", "during the round", Durability::kBuffered).ok());
              slowest_nanos = std::max(slowest_nanos, world.clock.MonotonicNanos() - began);
              ++puts;
              Nap(1);
            }
          });
          auto& scheduler = static_cast<SimScheduler&>(*base::Scheduler::Current());
          const uint64_t began = scheduler.NowNanos();
          const absl::Status status = client.db().Compact();
          // But for what passed because nobody but a thread that spins was let run.
          const uint64_t took_nanos = scheduler.NowNanos() - began - scheduler.ForcedNanosSince(began);
          over = true;
          writer.Join();
          REQUIRE(status.ok());
          INFO(puts << " puts in " << took_nanos / 1'000'000 << " ms, the slowest " << slowest_nanos / 1'000'000);
          REQUIRE(client.db().GetStats().relocated_records > 0);
          // A round takes dozens of disk operations; a put at most waits for a few, when the log turns to a new
          // segment.
          CHECK(took_nanos > 4 * kLatencyMs * 1'000'000);
          CHECK(slowest_nanos <= 6 * kLatencyMs * 1'000'000);
          CHECK(puts >= took_nanos / (8 * kLatencyMs * 1'000'000));
          client.CheckNow();
          REQUIRE(CheckReferences(client.db()).empty());
          REQUIRE(client.Close().ok());
        },
        0.3);
  }
}

TEST_CASE("an operation that fails in a round of reclaim costs nothing acknowledged", "[faults][reclaim]") {
  for (const unsigned operations : kFaultyOperations) {
    AtEachFault(operations, 460,
                {.prepare = MakeHistory,
                 .run =
                     [](SimWorld&, Client& client) {
                       client.db().Compact().IgnoreError();
                       client.Put(KeyOf(1), "after the fault").IgnoreError();
                       client.db().Compact().IgnoreError();
                       PutMany(client, "fourth", 4);
                       client.Sync().IgnoreError();
                     },
                 .look =
                     [](SimWorld&, Client& client) {
                       RequireNoneBack(client.db());
                       REQUIRE(client.db().Compact().ok());
                       RequireNoneBack(client.db());
                     }});
  }
}

TEST_CASE("a write that the disk lost in silence in a round of reclaim is damage, never another value or a deleted one",
          "[faults][reclaim]") {
  uint64_t refused = 0, unreadable = 0, points = 0;
  for (bool reached = true; reached; ++points) {
    INFO("point " << points);
    InSchedule(462, [&](SimWorld& world) {
      Client client(world);
      REQUIRE(client.Open().ok());
      MakeHistory(world, client);
      Nap(kUpkeepMs);
      const State expected = Look(client.db());
      world.machine.Inject({.kind = Fault::Kind::kLoseWrite, .operations = kWriteOperation, .after = points});
      REQUIRE(client.db().Compact().ok());
      REQUIRE(client.Close().ok());
      reached = world.machine.faults_hit() > 0;
      world.machine.ClearFaults();
      world.machine.Crash({CrashKind::kPowerCut, Survival::kNothing});
      // Each round of a medium's lies is found out by a checksum, at open or when the value is read.
      if (const absl::Status opened = client.Open(); !opened.ok()) {
        INFO(opened.ToString());
        REQUIRE(absl::IsDataLoss(opened));
        ++refused;
        return;
      }
      for (const auto& [key, shown] : expected) {
        std::string value;
        ValueInfo info;
        const absl::Status status = client.db().GetInto(key, &value, &info);
        INFO(key << ": " << status.ToString());
        unreadable += absl::IsDataLoss(status) ? 1 : 0;
        REQUIRE((absl::IsDataLoss(status) || Shown(value, info.metadata, info.expires_at_ms) == shown));
      }
      REQUIRE(absl::IsNotFound(client.db().Get("deleted").status()));
      REQUIRE(absl::IsNotFound(client.db().Get(KeyOf(5)).status()));
      client.Drop();
    });
  }
  INFO(points << " points, " << refused << " refused, " << unreadable << " values unreadable");
  CHECK(points >= 5);
  CHECK(refused + unreadable > 0);
}

std::set<uint32_t> Segments(const DB& db) {
  std::set<uint32_t> ids;
  for (const SegmentReport& each : db.GcReport()) ids.insert(each.segment);
  return ids;
}

TEST_CASE("a copy that cannot be made poisons nothing: the store goes on, and the next round succeeds",
          "[faults][reclaim]") {
  // What goes where nothing fails.
  std::set<uint32_t> retired;
  InSchedule(461, [&](SimWorld& world) {
    Client client(world);
    REQUIRE(client.Open().ok());
    MakeHistory(world, client);
    Nap(kUpkeepMs);
    retired = Segments(client.db());
    REQUIRE(client.db().Compact().ok());
    for (const uint32_t id : Segments(client.db())) retired.erase(id);
    REQUIRE(client.Close().ok());
  });
  REQUIRE(!retired.empty());
  uint64_t failed_copies = 0;
  for (const unsigned operations : kFaultyOperations) {
    bool reached = true;
    for (uint64_t point = 0; reached; ++point) {
      INFO("operations " << operations << ", point " << point);
      InSchedule(461, [&](SimWorld& world) {
        Client client(world);
        REQUIRE(client.Open().ok());
        MakeHistory(world, client);
        Nap(kUpkeepMs);
        std::string failed;
        world.machine.set_trace([&](const std::string& line) {
          if (line.find("fails with") != std::string::npos) failed = line;
        });
        world.machine.Inject({.operations = operations, .after = point});
        const absl::Status status = client.db().Compact();
        reached = world.machine.faults_hit() > 0;
        world.machine.ClearFaults();
        world.machine.set_trace(nullptr);
        INFO(status.ToString() << "; " << failed);
        // Only the log itself may poison: a file that is part of the store.
        bool of_the_log = false;
        for (const SegmentReport& each : client.db().GcReport()) {
          char name[32];
          std::snprintf(name, sizeof(name), "log/%010u.seg", each.segment);
          if (each.generation == 0 && failed.find(name) != std::string::npos) of_the_log = true;
        }
        const bool poisoned = client.db().GetStats().poisoned;
        if (poisoned) {
          REQUIRE(of_the_log);
          REQUIRE((operations & (kWriteOperation | kSyncOperation)) != 0);
        } else {
          failed_copies += status.ok() ? 0 : 1;
          client.CheckNow();
          REQUIRE(CheckReferences(client.db()).empty());
          REQUIRE(client.Put("after", "the fault").ok());
          // What could not be written says nothing against the segment that was to be copied: its garbage goes too.
          Nap(20'000);
          REQUIRE(client.db().Compact().ok());
          if ((operations & kReadOperation) == 0) {
            for (const uint32_t id : Segments(client.db())) {
              INFO("segment " << id);
              REQUIRE(retired.count(id) == 0);
            }
          }
          client.CheckNow();
          REQUIRE(CheckReferences(client.db()).empty());
          REQUIRE(client.Close().ok());
        }
        client.Drop();
        client.CheckRecovered(false);
        RequireNoneBack(client.db());
        REQUIRE(client.Close().ok());
      });
    }
  }
  CHECK(failed_copies >= 7);  // create, claim, write and sync of the copies among them
}

TEST_CASE("a full disk loses nothing and poisons nothing, and reclaim and writes go on as soon as there is room",
          "[faults][full][reclaim]") {
  for (uint64_t room_bytes = 0; room_bytes <= 3 * kSmallSegmentBytes; room_bytes += kSmallSegmentBytes / 4) {
    INFO("room for " << room_bytes << " bytes");
    InSchedule(462, [&](SimWorld& world) {
      Client client(world);
      REQUIRE(client.Open().ok());
      MakeHistory(world, client);
      Nap(kUpkeepMs);
      world.machine.set_capacity_bytes(world.machine.claimed_bytes() + room_bytes);
      const absl::Status status = client.db().Compact();
      REQUIRE((status.ok() || absl::IsResourceExhausted(status)));
      REQUIRE_FALSE(client.db().GetStats().poisoned);
      client.CheckNow();
      client.Delete(KeyOf(1)).IgnoreError();
      client.CheckNow();
      REQUIRE(CheckReferences(client.db()).empty());
      world.machine.set_capacity_bytes(UINT64_MAX);
      REQUIRE(client.db().Compact().ok());
      REQUIRE(client.Put("room again", Value("x", kLargeValueBytes)).ok());
      client.CheckNow();
      REQUIRE(client.Close().ok());
      client.CheckRecovered(false);
    });
  }
}

}  // namespace
}  // namespace firn::test
