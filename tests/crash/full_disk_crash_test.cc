// Crashes and failing allocations on a disk that is full.
#include <catch2/catch.hpp>

#include "crash/full_disk.h"

namespace firn::test {
namespace {

using namespace full_disk;

// There is a run for each operation: the less the store holds the fewer these are.
constexpr uint64_t kLittleCapacityBytes = log::kTailFileBytes + 12 * kSmallSegmentBytes;

TEST_CASE("a crash at any point on a full disk, and an open on the still full one, lose nothing", "[full]") {
  for (const Limit limit : kLimits) {
    for (const Load load : {limit == Limit::kDisk ? Load::kFreshKeys : Load::kSeparated}) {
      INFO("limit " << static_cast<int>(limit) << ", load " << static_cast<int>(load));
      AtEachCrash(770, {.prepare =
                            [&](SimWorld& world, Client& client) {
                              REQUIRE(client.Close().ok());
                              SetLimit(world, client, limit, load, kLittleCapacityBytes);
                              REQUIRE(client.Open().ok());
                              MakeFull(client, load);
                            },
                        .run =
                            [&](SimWorld&, Client& client) {
                              client.Put("more", ValueFor(load, 1)).IgnoreError();
                              client.Delete(KeyOf(1)).IgnoreError();
                              client.db().Compact().IgnoreError();
                              client.Put("more", ValueFor(load, 2)).IgnoreError();
                              client.Delete(KeyOf(2), Durability::kBuffered).IgnoreError();
                              client.Flush().IgnoreError();
                            },
                        .look =
                            [&](SimWorld& world, Client& client) {
                              // A power cut may have undone the last removals of files.
                              REQUIRE(world.machine.claimed_bytes() <= kLittleCapacityBytes + 6 * kSmallSegmentBytes);
                              REQUIRE(client.Delete(KeyOf(3)).ok());
                              RequireCompacted(client);
                              REQUIRE(client.db().Verify()->damages.empty());
                            },
                        .points_min = 20});
    }
  }
}

TEST_CASE("fault A8: on a full disk an extent goes only once the delete that dropped it is durable", "[A8][full]") {
  for (const Limit limit : kLimits) {
    AtEachCrash(771, {.prepare =
                          [&](SimWorld& world, Client& client) {
                            REQUIRE(client.Close().ok());
                            SetLimit(world, client, limit, Load::kSeparated, kLittleCapacityBytes);
                            REQUIRE(client.Open().ok());
                            MakeFull(client, Load::kSeparated);
                          },
                      .run =
                          [&](SimWorld&, Client& client) {
                            for (int i = 1; i < 40; i += 2) {
                              client.Delete(KeyOf(i), Durability::kBuffered).IgnoreError();
                              // Wants at once what was just dropped.
                              client
                                  .Put("more" + std::to_string(i), ValueFor(Load::kSeparated, 1'000 + i),
                                       Durability::kBuffered)
                                  .IgnoreError();
                            }
                            client.Sync().IgnoreError();
                          },
                      .look = [](SimWorld&, Client& client) { REQUIRE(client.db().Verify()->damages.empty()); }});
  }
}

TEST_CASE("whatever room is left, a round of reclaim succeeds and deletes go on", "[full]") {
  for (uint64_t room_bytes = 0; room_bytes <= 3 * kSmallSegmentBytes; room_bytes += kSmallSegmentBytes / 8) {
    INFO("room for " << room_bytes << " bytes");
    InSchedule(780, [&](SimWorld& world) {
      Client client(world);
      REQUIRE(client.Open().ok());
      for (int i = 0; i < 200; ++i) {
        REQUIRE(client.Put(KeyOf(i), ValueFor(Load::kFreshKeys, i), Durability::kBuffered).ok());
      }
      for (int i = 0; i < 200; i += 3) REQUIRE(client.Delete(KeyOf(i), Durability::kBuffered).ok());
      REQUIRE(client.Flush().ok());
      world.machine.set_capacity_bytes(world.machine.claimed_bytes() + room_bytes);
      const uint64_t before = world.machine.claimed_bytes();
      const absl::Status compacted = client.db().Compact();
      INFO(compacted.ToString());
      REQUIRE(compacted.ok());
      CHECK(client.db().GetStats().relocated_records > 100);
      CHECK(world.machine.claimed_bytes() < before - 2 * kSmallSegmentBytes);
      for (int i = 1; i < 200; i += 3) REQUIRE(client.Delete(KeyOf(i)).ok());
      client.CheckNow();
      REQUIRE(CheckReferences(client.db()).empty());
      REQUIRE(client.Close().ok());
      client.CheckRecovered(false);
      REQUIRE(client.Close().ok());
    });
  }
}

TEST_CASE("an allocation that fails anywhere in a round of reclaim poisons nothing", "[faults][full]") {
  for (const bool lasting : {false, true}) {
    bool reached = true;
    for (uint64_t point = 0; reached; ++point) {
      INFO("point " << point << (lasting ? ", lasting" : ""));
      InSchedule(781, [&](SimWorld& world) {
        Client client(world);
        SetLimit(world, client, Limit::kQuota);
        REQUIRE(client.Open().ok());
        MakeFull(client, Load::kFreshKeys);
        world.machine.Inject({.operations = kAllocateOperation, .after = point, .lasting = lasting});
        client.db().Compact().IgnoreError();
        client.Put("more", ValueFor(Load::kFreshKeys, 1)).IgnoreError();
        client.Delete(KeyOf(1)).IgnoreError();
        reached = world.machine.faults_hit() > 0;
        world.machine.ClearFaults();
        RequireSound(world, client);
        for (int i = 2; i < 100; ++i) RequireDeleted(client, i);
        RequireWritable(client, Load::kFreshKeys, 20'000, 20);
        REQUIRE(client.Close().ok());
        client.CheckRecovered(false);
        REQUIRE(client.Close().ok());
      });
    }
  }
}
}  // namespace
}  // namespace firn::test
