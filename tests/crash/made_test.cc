// A store that is being made, and loses its maker or the power meanwhile.
#include <catch2/catch.hpp>
#include <optional>

#include "crash/client.h"

namespace firn::test {
namespace {

TEST_CASE("a crash at any point of making a store leaves none or a whole one, and one that was opened for good",
          "[made]") {
  for (const CrashKind kind : {CrashKind::kPowerCut, CrashKind::kKill}) {
    std::optional<Client> client;
    const CrashTest test{.prepare = nullptr,
                         .run =
                             [&](SimWorld& world) {
                               client.emplace(world);
                               if (client->Open().ok()) client->Put("key", "value").IgnoreError();
                               client->Drop();
                             },
                         .check =
                             [&](SimWorld&) {
                               client->CheckRecovered(kind == CrashKind::kPowerCut);
                               REQUIRE(client->Close().ok());
                               client.reset();
                             }};
    REQUIRE(ForEachCrash(test, {kind}, 49).points > 15);
  }
}

// The maker's last act is to make the name of the superblock durable.
TEST_CASE("what is written to a store whose maker was killed survives a power cut, whenever that was", "[made]") {
  bool reached = true;
  for (uint64_t point = 0; reached; ++point) {
    INFO("killed in disk operation " << point);
    InSchedule(50, [&](SimWorld& world) {
      Client client(world);
      world.machine.CrashAfter(point, {CrashKind::kKill});
      client.Open().IgnoreError();
      client.Drop();
      reached = world.machine.crashes() > 0;
      world.machine.ClearFaults();
      REQUIRE(client.Open().ok());
      REQUIRE(client.Put("key", "value").ok());
      client.Crash({CrashKind::kPowerCut, Survival::kNothing});
      client.CheckRecovered(true);
      client.Drop();
    });
  }
}

}  // namespace
}  // namespace firn::test
