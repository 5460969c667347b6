#include "crash/at_each.h"

#include <catch2/catch.hpp>
#include <optional>

namespace firn::test {
namespace {

// The client of one run. A store that a failure leaves open would keep its threads running for good.
class OneClient {
 public:
  void Step(const std::function<void()>& step) {
    try {
      step();
    } catch (...) {
      client_.reset();
      throw;
    }
  }
  void Make(SimWorld& world, const Part& prepare) {
    Step([&] {
      client_.emplace(world);
      REQUIRE(client_->Open().ok());
      prepare(world, *client_);
    });
  }
  void CheckAndEnd(SimWorld& world, bool power_was_cut, const Part& look) {
    Step([&] {
      client_->CheckRecovered(power_was_cut);
      if (look) look(world, *client_);
      const std::string wrong = CheckReferences(client_->db());
      INFO(wrong);
      REQUIRE(wrong.empty());
      REQUIRE(client_->Close().ok());
    });
    client_.reset();
  }
  Client& operator*() { return *client_; }

 private:
  std::optional<Client> client_;
};

}  // namespace

void AtEachCrash(uint64_t seed, const Scenario& scenario) {
  for (const CrashKind kind : {CrashKind::kPowerCut, CrashKind::kKill}) {
    OneClient client;
    const CrashTest test{
        .prepare = [&](SimWorld& world) { client.Make(world, scenario.prepare); },
        .run =
            [&](SimWorld& world) {
              client.Step([&] {
                scenario.run(world, *client);
                (*client).Drop();
              });
            },
        .check = [&](SimWorld& world) { client.CheckAndEnd(world, kind == CrashKind::kPowerCut, scenario.look); }};
    const PointCount count = ForEachCrash(test, {kind}, seed);
    REQUIRE(count.points > scenario.points_min);
  }
}

void AtEachFault(unsigned operations, uint64_t seed, const Scenario& scenario) {
  for (const bool lasting : {false, true}) {
    for (const Survival survival : {Survival::kNothing, Survival::kSectors}) {
      OneClient client;
      const CrashTest test{.prepare = [&](SimWorld& world) { client.Make(world, scenario.prepare); },
                           .run = [&](SimWorld& world) { client.Step([&] { scenario.run(world, *client); }); },
                           .check =
                               [&](SimWorld& world) {
                                 world.machine.Crash({CrashKind::kPowerCut, survival});
                                 (*client).Drop();
                                 client.CheckAndEnd(world, true, scenario.look);
                               }};
      const PointCount count = ForEachFault(test, operations, lasting, seed);
      REQUIRE(count.points > 0);
    }
  }
}

}  // namespace firn::test
