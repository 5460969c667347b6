// "Fail operation N" for N = 0, 1, 2, ... until it runs clean: never a crash, never a hang (the scheduler finds
// deadlocks), never wrong data, and no success that is none.
#include <catch2/catch.hpp>

#include "crash/at_each.h"
#include "crash/extents.h"

namespace firn::test {
namespace {

// Whatever can be read is what was written; what cannot says so.
void ReadAll(Client& client) {
  if (!client.is_open()) return;
  for (const char* key : {"kept", "filler", "first", "batch1"}) {
    const auto value = client.db().Get(key);
    if (value.ok()) {
      REQUIRE_FALSE(value->empty());
      continue;
    }
    INFO(key << ": " << value.status().ToString());
    REQUIRE_FALSE((absl::IsNotFound(value.status()) && std::string_view(key) == "kept"));
  }
}

TEST_CASE("an operation that fails while writing, sealing, retiring or closing costs nothing acknowledged",
          "[faults]") {
  for (const unsigned operations : kFaultyOperations) {
    if (operations == kReadOperation) continue;  // none of these reads
    AtEachFault(operations, 300,
                {.prepare =
                     [](SimWorld&, Client& client) {
                       REQUIRE(client.Put("kept", "from the beginning").ok());
                       REQUIRE(client.Put("first", "dies").ok());
                       client.FillSegment("old");
                     },
                 .run =
                     [](SimWorld&, Client& client) {
                       client.Put("first", "in the second segment").IgnoreError();
                       client.Apply({{"batch1", "x"}, {"batch2", Value("y", 5'000)}}).IgnoreError();
                       client.FillSegment("new", Durability::kBuffered);
                       ReadAll(client);
                       client.Delete("batch2").IgnoreError();
                       client.Flush().IgnoreError();
                       Nap(600);
                       client.FillSegment("newer");
                       client.Put("kept", "at last").IgnoreError();
                       ReadAll(client);
                       client.Close().IgnoreError();
                     }});
  }
}

TEST_CASE("an operation that fails while opening after a crash is reported, and the next open has everything",
          "[faults][recovery]") {
  for (const unsigned operations : kFaultyOperations) {
    AtEachFault(operations, 300,
                {.prepare =
                     [](SimWorld&, Client& client) {
                       REQUIRE(client.Put("kept", "from the beginning").ok());
                       REQUIRE(client.Flush().ok());
                       client.FillSegment("old");
                       REQUIRE(client.Put("first", "synced").ok());
                     },
                 .run =
                     [](SimWorld&, Client& client) {
                       client.Crash({CrashKind::kPowerCut, Survival::kNothing});
                       const absl::Status status = client.Open();
                       if (!status.ok()) {
                         INFO(status.ToString());
                         REQUIRE_FALSE(absl::IsNotFound(status));
                         return;
                       }
                       ReadAll(client);
                       client.Put("first", "after the recovery").IgnoreError();
                       ReadAll(client);
                       client.Close().IgnoreError();
                     }});
  }
}

TEST_CASE("an operation that fails while a killed process's tail is taken over is reported, and nothing is lost",
          "[faults][recovery]") {
  for (const unsigned operations : kFaultyOperations) {
    for (uint64_t point = 0;; ++point) {
      bool reached = false;
      INFO("operations " << operations << ", point " << point);
      InSchedule(301, [&](SimWorld& world) {
        Client client(world);
        REQUIRE(client.Open().ok());
        REQUIRE(client.Put("kept", "synced").ok());
        for (int i = 0; i < 12; ++i) {
          REQUIRE(client.Put("key" + std::to_string(i), Value("buffered", 9'000), Durability::kBuffered).ok());
        }
        client.Crash({CrashKind::kKill, Survival::kNothing});
        world.machine.Inject({.operations = operations, .after = point});
        const bool opened = client.Open().ok();
        Nap(100);
        reached = world.machine.faults_hit() > 0;
        world.machine.ClearFaults();
        if (opened && client.db().GetStats().poisoned == false) client.CheckNow();
        client.Drop();
        client.CheckRecovered(false);
      });
      if (!reached) break;
    }
  }
}

TEST_CASE("an operation that fails while a store is made leaves none, or a whole one", "[faults]") {
  for (const unsigned operations : kFaultyOperations) {
    for (uint64_t point = 0;; ++point) {
      bool reached = false;
      INFO("operations " << operations << ", point " << point);
      InSchedule(302, [&](SimWorld& world) {
        Client client(world);
        world.machine.Inject({.operations = operations, .after = point});
        const bool opened = client.Open().ok();
        const bool put = opened && client.Put("key", "value").ok();
        client.Drop();
        reached = world.machine.faults_hit() > 0;
        world.machine.ClearFaults();
        REQUIRE(client.Open().ok());
        REQUIRE((client.db().Get("key").ok() || !put));
        REQUIRE(client.Put("key", "value").ok());
        REQUIRE(client.Close().ok());
      });
      if (!reached) break;
    }
  }
}

TEST_CASE("a read that fails is reported for its key, and the next one succeeds", "[faults]") {
  InSchedule(303, [](SimWorld& world) {
    Client client(world);
    REQUIRE(client.Open().ok());
    REQUIRE(client.Put("kept", "value").ok());
    REQUIRE(client.Close().ok());
    REQUIRE(client.Open().ok());
    world.machine.Inject({.operations = kReadOperation});
    const auto failed = client.db().Get("kept");
    REQUIRE_FALSE(failed.ok());
    REQUIRE_FALSE(absl::IsNotFound(failed.status()));
    REQUIRE(*client.db().Get("kept") == "value");
    world.machine.Inject({.operations = kReadOperation});
    REQUIRE_FALSE(client.db().MultiGet(std::vector<std::string_view>{"kept"})[0].ok());
    REQUIRE(client.Put("other", "x").ok());
  });
}

TEST_CASE("a full disk refuses writes cleanly, serves reads, and takes writes again as soon as there is room",
          "[faults][full]") {
  for (uint64_t room_bytes = 0; room_bytes <= 4 * kSmallSegmentBytes; room_bytes += kSmallSegmentBytes / 2) {
    INFO("room for " << room_bytes << " bytes");
    InSchedule(304, [&](SimWorld& world) {
      Client client(world);
      REQUIRE(client.Open().ok());
      REQUIRE(client.Put("kept", "value").ok());
      REQUIRE(client.Put("doomed", "value").ok());
      Nap(100);
      world.machine.set_capacity_bytes(world.machine.claimed_bytes() + room_bytes);
      absl::Status status;
      // Sealing and reclaim give a little back in between.
      for (int i = 0, refused = 0; refused < 3; ++i) {
        REQUIRE(i < 100);
        status = client.Put("key" + std::to_string(i), Value("x", kLargeValueBytes));
        refused = status.ok() ? 0 : refused + 1;
      }
      INFO(status.ToString());
      REQUIRE(absl::IsResourceExhausted(status));
      REQUIRE(client.events().Count(EventKind::kDiskFull) >= 1);
      REQUIRE(client.events().Count(EventKind::kPoisoned) == 0);
      client.CheckNow();
      // A delete is small: the last segment still has room for it.
      REQUIRE(client.Delete("doomed").ok());
      REQUIRE(client.Sync().ok());
      REQUIRE(absl::IsResourceExhausted(client.Put("no room", Value("x", kLargeValueBytes))));
      world.machine.set_capacity_bytes(UINT64_MAX);
      REQUIRE(client.Put("room again", Value("x", kLargeValueBytes)).ok());
      client.CheckNow();
      CHECK(client.Flush().ok());
      REQUIRE(client.Close().ok());
      client.CheckRecovered(false);
    });
  }
}

TEST_CASE("space that fails to be claimed the Nth time fails that write only", "[faults][full]") {
  for (uint64_t n = 0; n < 6; ++n) {
    InSchedule(305 + n, [&](SimWorld& world) {
      Client client(world);
      REQUIRE(client.Open().ok());
      world.machine.Inject({.operations = kAllocateOperation, .after = n});
      for (int i = 0; i < 40; ++i) {
        const absl::Status status = client.Put("key" + std::to_string(i), Value("x", kLargeValueBytes));
        INFO(status.ToString());
        REQUIRE((status.ok() || absl::IsResourceExhausted(status)));
      }
      REQUIRE(world.machine.faults_hit() == 1);
      client.CheckNow();
      REQUIRE(client.Close().ok());
      client.CheckRecovered(false);
    });
  }
}

TEST_CASE("a read that fails while the store of a killed process is opened loses nothing it was told",
          "[faults][kill]") {
  uint64_t refused = 0;
  bool reached = true;
  for (uint64_t point = 0; reached; ++point) {
    InSchedule(1'200 + point, [&](SimWorld& world) {
      INFO("read " << point);
      Client client(world);
      client.set_usual_options(SeparatingOptions());
      REQUIRE(client.Open().ok());
      REQUIRE(client.Put("synced", Extent("synced")).ok());
      REQUIRE(client.Put("buffered", Extent("buffered"), Durability::kBuffered).ok());
      REQUIRE(client.Put("after it", "small", Durability::kBuffered).ok());
      const State newest = Look(client.db());
      client.Crash({CrashKind::kKill, Survival::kEverything});
      world.machine.Inject({.operations = kReadOperation, .after = point});
      const absl::Status opened = client.Open();
      INFO(opened.ToString());
      reached = world.machine.faults_hit() > 0;
      world.machine.ClearFaults();
      if (!opened.ok()) {
        ++refused;
        REQUIRE(client.Open().ok());
      }
      REQUIRE(Look(client.db()) == newest);
      REQUIRE(client.Close().ok());
    });
  }
  CHECK(refused > 1);
}

}  // namespace
}  // namespace firn::test
