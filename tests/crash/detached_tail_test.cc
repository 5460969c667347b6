// The file system of TAIL shuts down, and what is stored into its mapping stays with the process. Nothing that relies
// on it may be acknowledged.
#include <catch2/catch.hpp>

#include "crash/client.h"

namespace firn::test {
namespace {

TEST_CASE("no buffered write is acknowledged that TAIL no longer keeps: a kill afterwards loses nothing", "[tail]") {
  for (int writes_before = 0; writes_before < 60; ++writes_before) {
    INFO(writes_before << " writes before");
    InSchedule(400 + static_cast<uint64_t>(writes_before), [&](SimWorld& world) {
      Client client(world);
      REQUIRE(client.Open().ok());
      const auto write = [&](int i) -> absl::Status {
        const std::string key = "key" + std::to_string(i % 7), other = "other" + std::to_string(i);
        // Large enough to go from buffer to buffer, and from segment to segment.
        const std::string value = Value(std::to_string(i), i % 3 == 0 ? kLargeValueBytes : 50);
        if (i % 5 == 4) return client.Delete(key, Durability::kBuffered);
        if (i % 5 == 3) return client.Apply({{key, value}, {other, value}}, Durability::kBuffered);
        return client.Put(key, value, Durability::kBuffered);
      };
      for (int i = 0; i < writes_before; ++i) REQUIRE(write(i).ok());
      world.machine.DetachMappings();
      for (int i = writes_before; i < writes_before + 4; ++i) write(i).IgnoreError();
      client.Crash({CrashKind::kKill});
      client.CheckRecovered(false);
      REQUIRE(client.Close().ok());
    });
  }
}

TEST_CASE("a store whose TAIL is detached refuses writes and serves what is durable", "[tail]") {
  InSchedule(401, [](SimWorld& world) {
    Client client(world);
    REQUIRE(client.Open().ok());
    REQUIRE(client.Put("durable", "value").ok());
    REQUIRE(client.Put("buffered", "value", Durability::kBuffered).ok());
    world.machine.DetachMappings();
    const absl::Status refused = client.Put("after", "value", Durability::kBuffered);
    REQUIRE(absl::IsUnavailable(refused));
    REQUIRE(refused.message().find("TAIL") != std::string::npos);
    REQUIRE(client.events().Count(EventKind::kPoisoned) == 1);
    REQUIRE(absl::IsUnavailable(client.Put("synced", "value")));
    REQUIRE(absl::IsUnavailable(client.Sync()));
    REQUIRE(client.db().Get("durable").ok());
    REQUIRE(absl::IsUnavailable(client.db().Get("buffered").status()));
    REQUIRE(absl::IsUnavailable(client.db().Get("after").status()));
    REQUIRE_FALSE(client.Close().ok());
    client.Drop();
    world.machine.Crash({CrashKind::kKill});
    REQUIRE(client.Open().ok());
    REQUIRE(client.db().Get("buffered").ok());
    REQUIRE(absl::IsNotFound(client.db().Get("after").status()));
    REQUIRE(client.Close().ok());
  });
}

TEST_CASE("a unit is not written out of a detached TAIL, whose bytes may not be those that were stored", "[tail]") {
  InSchedule(402, [](SimWorld& world) {
    Client client(world);
    REQUIRE(client.Open().ok());
    REQUIRE(client.Put("buffered", "value", Durability::kBuffered).ok());
    world.machine.DetachMappings();
    REQUIRE(absl::IsUnavailable(client.Sync()));
    client.Drop();
  });
}

TEST_CASE("a store whose TAIL does not take the close mark is not closed well, and opens as after a kill", "[tail]") {
  InSchedule(403, [](SimWorld& world) {
    Client client(world);
    REQUIRE(client.Open().ok());
    REQUIRE(client.Put("key", "value").ok());
    world.machine.DetachMappings();
    REQUIRE_FALSE(client.Close().ok());
    client.Drop();
    REQUIRE(client.Open().ok());
    REQUIRE(client.db().Get("key").ok());
    REQUIRE(client.Close().ok());
  });
}

}  // namespace
}  // namespace firn::test
