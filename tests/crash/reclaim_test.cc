// Reclaim in a whole store: rules 1 and 2 at each disk operation of compacting, and in every order of victims.
#include <algorithm>
#include <catch2/catch.hpp>

#include "base/sync.h"
#include "crash/reclaim_history.h"
#include "support/must.h"

namespace firn::test {
namespace {

TEST_CASE("rules 1 and 2: a crash at any point of compacting loses nothing and brings nothing back",
          "[rule1][rule2][reclaim]") {
  const uint64_t seed = GENERATE(400, 401);
  AtEachCrash(seed, {.prepare = MakeHistory,
                     .run =
                         [](SimWorld&, Client& client) {
                           client.db().Compact().IgnoreError();
                           client.Delete(KeyOf(9), Durability::kBuffered).IgnoreError();
                           client.SetExpiry(KeyOf(1), kNeverMs + 2).IgnoreError();
                           PutMany(client, "fourth", 4);
                           client.db().Compact().IgnoreError();
                           PutMany(client, "in files that were used before", 5);
                           client.Sync().IgnoreError();
                         },
                     .look = [](SimWorld&, Client& client) { RequireNoneBack(client.db()); },
                     .points_min = 45});
}

TEST_CASE("rule 2: a snapshot that is held, or let go, while its versions move leaves no deleted key behind",
          "[rule1][rule2][reclaim]") {
  const uint64_t seed = GENERATE(402, 403);
  const auto see = [](Client& client, const Snapshot& snapshot) {
    std::string value;
    const absl::Status status = client.db().GetInto("deleted", &value, nullptr, {.snapshot = &snapshot});
    if (status.ok()) REQUIRE(value == kBanned);
    return status;
  };
  AtEachCrash(seed, {.prepare = MakeHistory,
                     .run =
                         [&](SimWorld& world, Client& client) {
                           client.Put("deleted", kBanned).IgnoreError();
                           auto early = client.db().GetSnapshot();
                           client.Delete("deleted").IgnoreError();
                           auto late = client.db().GetSnapshot();
                           PutMany(client, "fourth", 2);
                           client.db().Compact().IgnoreError();
                           const absl::Status seen = see(client, *early);
                           if (world.machine.crashes() == 0) REQUIRE(seen.ok());
                           if (world.machine.crashes() == 0) REQUIRE(absl::IsNotFound(see(client, *late)));
                           PutMany(client, "fifth", 3);
                           early.reset();
                           client.db().Compact().IgnoreError();
                           late.reset();
                           PutMany(client, "sixth", 2);
                           client.db().Compact().IgnoreError();
                         },
                     .look =
                         [](SimWorld&, Client& client) {
                           // The delete may be what the crash undid: then it is made up for.
                           REQUIRE(client.db().Delete("deleted", {}).ok());
                           REQUIRE(client.db().Compact().ok());
                           RequireNoneBack(client.db());
                           client.Crash({CrashKind::kPowerCut, Survival::kNothing});
                           REQUIRE(client.Open().ok());
                           RequireNoneBack(client.db());
                         },
                     .points_min = 45});
}

// What has expired hides older values; the store forgets the entry, and the record becomes a tombstone.
void MakeExpired(SimWorld& world, Client& client) {
  DB& db = client.db();  // past the ledger, which knows nothing of time
  const int64_t soon_ms = world.clock.WallTimeMs() + 1'000;
  REQUIRE(db.Put("expired", kBanned).ok());
  REQUIRE(db.Put("shortened", kBanned).ok());
  REQUIRE(db.Put("deleted late", kBanned).ok());
  PutMany(client, "first");
  REQUIRE(client.Flush().ok());
  PutOptions options;
  options.expires_at_ms = soon_ms;
  REQUIRE(db.Put("expired", kBanned, options).ok());
  REQUIRE(db.Put("deleted late", kBanned, options).ok());
  REQUIRE(db.SetExpiry("shortened", soon_ms).ok());
  PutMany(client, "second", 2);
  REQUIRE(client.Flush().ok());
  world.clock.JumpWall(10'000);
  REQUIRE(db.Delete("deleted late").ok());
  REQUIRE(client.Flush().ok());
}

TEST_CASE("rule 2: what has expired hides older values through reclaim, wherever the crash comes",
          "[rule2][reclaim][expiry]") {
  const uint64_t seed = GENERATE(404, 405);
  AtEachCrash(seed, {.prepare = MakeExpired,
                     .run =
                         [](SimWorld&, Client& client) {
                           Nap(kUpkeepMs);  // swept, once the time is recorded
                           client.db().Compact().IgnoreError();
                           PutMany(client, "third", 3);
                           Nap(kUpkeepMs);
                           client.db().Compact().IgnoreError();
                         },
                     .look =
                         [](SimWorld& world, Client& client) {
                           RequireNoneBack(client.db());
                           REQUIRE(client.db().Compact().ok());
                           // The clock is set back, to before anything expired: time does not run backwards.
                           world.clock.JumpWall(-15'000);
                           client.Crash({CrashKind::kPowerCut, Survival::kNothing});
                           REQUIRE(client.Open().ok());
                           RequireNoneBack(client.db());
                           REQUIRE(client.db().Compact().ok());
                           RequireNoneBack(client.db());
                         },
                     .points_min = 30});
}

TEST_CASE("rule 2: a dropped namespace and its keys stay gone through reclaim, wherever the crash comes",
          "[rule2][reclaim][namespaces]") {
  const uint64_t seed = 406;
  bool dropped = false;
  AtEachCrash(seed, {.prepare =
                         [&](SimWorld&, Client& client) {
                           dropped = false;
                           auto space = client.db().CreateNamespace("gone");
                           REQUIRE(space.ok());
                           REQUIRE(space->Put("victim", kBanned).ok());
                           PutMany(client, "first");
                           REQUIRE(client.Flush().ok());
                           for (int i = 0; i < 8; ++i) REQUIRE(space->Put(KeyOf(i), Value(kBanned, kValueBytes)).ok());
                           PutMany(client, "second", 2);
                           REQUIRE(client.Flush().ok());
                         },
                     .run =
                         [&](SimWorld& world, Client& client) {
                           const bool ok = client.db().DropNamespace("gone").ok();
                           dropped = ok && world.machine.crashes() == 0;
                           Nap(kUpkeepMs);
                           client.db().Compact().IgnoreError();
                           PutMany(client, "third", 2);
                           client.db().Compact().IgnoreError();
                         },
                     .look =
                         [&](SimWorld&, Client& client) {
                           const bool there = client.db().OpenNamespace("gone").ok();
                           REQUIRE_FALSE((dropped && there));
                           if (there) return;
                           auto again = client.db().CreateNamespace("gone");
                           REQUIRE(again.ok());
                           REQUIRE(absl::IsNotFound(again->Get("victim").status()));
                           REQUIRE(absl::IsNotFound(again->Get(KeyOf(1)).status()));
                         },
                     .points_min = 30});
}

TEST_CASE("fault A1: deletes do not come back through reclaim, whichever of their segments goes first",
          "[A1][reclaim]") {
  // A key's values lie in segments `first` and `second`, its delete in a later one; every segment has something that
  // keeps it, until that is overwritten in an order of its own.
  // What deletes it may be an expiry that has passed, too.
  constexpr int kSegments = 4;
  std::vector<int> order{0, 1, 2, 3};
  const auto run = [&](int deleted_in, bool expires, SimWorld& world) {
    Client client(world);
    // So large that next to nothing but values is in a segment: one at a time has garbage worth a round.
    REQUIRE(client.Open(QuietOptions(), uint64_t{1} << 20).ok());
    DB& db = client.db();
    for (int s = 0; s < kSegments; ++s) {
      if (s < deleted_in) REQUIRE(db.Put("victim", kBanned).ok());
      PutOptions soon;
      soon.expires_at_ms = world.clock.WallTimeMs() + 1'000;
      if (s == deleted_in && expires) REQUIRE(db.Put("victim", kBanned, soon).ok());
      if (s == deleted_in && !expires) REQUIRE(db.Delete("victim").ok());
      REQUIRE(client.Put("anchor" + std::to_string(s), "small").ok());
      for (int i = 0; i < 10; ++i) {
        REQUIRE(
            client.Put("of" + std::to_string(s) + "/" + std::to_string(i), Value("x", 100'000), Durability::kBuffered)
                .ok());
      }
      REQUIRE(client.Flush().ok());
    }
    for (const SegmentReport& each : db.GcReport()) {
      if (each.sealed) REQUIRE(each.live_fraction > 0.9);  // none goes with another
    }
    if (expires) world.clock.JumpWall(10'000);
    Nap(3 * kUpkeepMs);  // swept, once the time is recorded
    for (const int s : order) {
      for (int i = 0; i < 10; ++i) REQUIRE(client.Delete("of" + std::to_string(s) + "/" + std::to_string(i)).ok());
      REQUIRE(client.db().Compact().ok());
      REQUIRE(absl::IsNotFound(client.db().Get("victim").status()));
      client.Crash({CrashKind::kPowerCut, Survival::kNothing});
      client.CheckRecovered(true);
      REQUIRE(absl::IsNotFound(client.db().Get("victim").status()));
      REQUIRE(CheckReferences(client.db()).empty());
    }
    REQUIRE(client.Close().ok());
  };
  do {
    for (int deleted_in = 1; deleted_in < kSegments; ++deleted_in) {
      for (const bool expires : {false, true}) {
        InSchedule(410, [&](SimWorld& world) { run(deleted_in, expires, world); });
      }
    }
  } while (std::next_permutation(order.begin(), order.end()));
}

TEST_CASE("rule 2: a delete of a key that has expired holds, though the clock is set back before the next open",
          "[rule2][reclaim][expiry]") {
  for (const uint64_t nap_ms : {uint64_t{0}, kUpkeepMs / 2, kUpkeepMs, 4 * kUpkeepMs}) {
    InSchedule(540, [&](SimWorld& world) {
      Client client(world);
      REQUIRE(client.Open().ok());
      PutOptions soon;
      soon.expires_at_ms = world.clock.WallTimeMs() + 1'000;
      REQUIRE(client.db().Put("victim", kBanned, soon).ok());
      world.clock.JumpWall(10'000);
      if (nap_ms != 0) Nap(nap_ms);
      REQUIRE(client.db().Delete("victim").ok());
      client.Crash({CrashKind::kPowerCut, Survival::kNothing});
      world.clock.JumpWall(-15'000);
      client.CheckRecovered(true);
      RequireNoneBack(client.db());
      REQUIRE(client.Close().ok());
    });
  }
}

TEST_CASE("what a changed expiry and a dropped namespace hold is let go of by the next rounds", "[reclaim]") {
  InSchedule(541, [](SimWorld& world) {
    Client client(world);
    REQUIRE(client.Open().ok());
    PutMany(client, "first");
    REQUIRE(client.Flush().ok());
    for (int i = 0; i < 16; ++i) REQUIRE(client.SetExpiry(KeyOf(i), kNeverMs + i).ok());
    REQUIRE(client.Flush().ok());
    auto space = client.db().CreateNamespace("gone");
    REQUIRE(space.ok());
    for (int i = 0; i < 16; ++i) REQUIRE(space->Put(KeyOf(i), Value("x", kValueBytes)).ok());
    auto snapshot = client.db().GetSnapshot();
    for (int i = 0; i < 16; ++i) REQUIRE(space->Put(KeyOf(i), Value("y", kValueBytes)).ok());
    REQUIRE(client.db().GetStats().kept_versions == 16);
    REQUIRE(client.db().DropNamespace("gone").ok());
    Nap(2 * kUpkeepMs);
    CHECK(client.db().GetStats().kept_versions == 0);
    REQUIRE(client.db().Compact().ok());
    for (const SegmentReport& each : client.db().GcReport()) CHECK((each.generation > 0 || each.live_records == 0));
    client.CheckNow();
    snapshot.reset();
    REQUIRE(client.Close().ok());
  });
}

TEST_CASE("rule 2: a snapshot let go in the middle of a round does not lose the tombstone its copy needs",
          "[rule2][reclaim]") {
  for (uint64_t seed = 470; seed < 530; ++seed) {
    InSchedule(seed, [](SimWorld& world) {
      Client client(world);
      REQUIRE(client.Open().ok());
      REQUIRE(client.db().Put("victim", kBanned).ok());
      PutMany(client, "first");
      auto snapshot = client.db().GetSnapshot();
      REQUIRE(client.Flush().ok());
      REQUIRE(client.db().Delete("victim").ok());
      PutMany(client, "second", 2);
      REQUIRE(client.Flush().ok());
      PutMany(client, "third", 2);
      absl::Status status;
      base::Thread compacting("compacting", [&] { status = client.db().Compact(); });
      for (uint64_t turns = world.random.Below(300); turns > 0; --turns) base::SpinPause(0);
      snapshot.reset();
      compacting.Join();
      REQUIRE(status.ok());
      REQUIRE(client.Sync().ok());
      REQUIRE(CheckReferences(client.db()).empty());
      client.Crash({CrashKind::kPowerCut, Survival::kNothing});
      client.CheckRecovered(true);
      RequireNoneBack(client.db());
      REQUIRE(client.Close().ok());
    });
  }
}

TEST_CASE("compacting has an end though writers go on making garbage", "[reclaim]") {
  InSchedule(529, [](SimWorld& world) {
    Client client(world);
    REQUIRE(client.Open().ok());
    PutMany(client, "first");
    PutMany(client, "second", 2);
    REQUIRE(client.Flush().ok());
    const uint64_t segments = client.db().GetStats().segments;
    world.machine.set_latency_nanos_max(2'000'000);
    bool compacted = false;
    base::Thread writer("writer", [&] {
      PutOptions buffered;
      buffered.durability = Durability::kBuffered;
      Rng rng(1);
      while (!compacted) {
        Must(client.db().Put("busy" + std::to_string(rng.Below(100)), Value("busy", 3'000), buffered));
      }
    });
    uint64_t rounds = 0;
    const absl::Status status = client.db().Compact([&](uint64_t, uint64_t) { return ++rounds < 10 * segments; });
    compacted = true;
    writer.Join();
    INFO(status.ToString() << ", " << rounds << " rounds over " << segments << " segments");
    REQUIRE(status.ok());
    REQUIRE(client.db().Close().ok());
  });
}

TEST_CASE("victims that something holds stay, and with them those whose tombstones they need", "[rule2][reclaim]") {
  for (uint64_t seed = 530; seed < 560; ++seed) {
    InSchedule(seed, [](SimWorld& world) {
      Client client(world);
      REQUIRE(client.Open().ok());
      auto space = client.db().CreateNamespace("gone");
      REQUIRE(space.ok());
      REQUIRE(client.db().Put("victim", kBanned).ok());
      for (int i = 0; i < 16; ++i) REQUIRE(space->Put(KeyOf(i), Value("x", kValueBytes)).ok());
      REQUIRE(client.Flush().ok());
      REQUIRE(client.db().Delete("victim").ok());
      PutMany(client, "first");
      PutMany(client, "second", 2);
      REQUIRE(client.Flush().ok());
      // Its entries name their segment until they are freed in the background.
      REQUIRE(client.db().DropNamespace("gone").ok());
      REQUIRE(client.db().Compact().ok());
      const std::string wrong = CheckReferences(client.db());
      INFO(wrong);
      REQUIRE(wrong.empty());
      REQUIRE(client.Sync().ok());
      client.Crash({CrashKind::kPowerCut, Survival::kNothing});
      client.CheckRecovered(true);
      RequireNoneBack(client.db());
      REQUIRE(client.Close().ok());
    });
  }
}

}  // namespace
}  // namespace firn::test
