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

uint64_t CheckNoLies(Client& client, const Possible& allowed) {
  uint64_t unreadable = 0;
  for (const auto& [key, possible] : allowed) {
    std::string value;
    ValueInfo info;
    const absl::Status status = client.db().GetInto(key, &value, &info);
    INFO(key << ": " << status.ToString());
    if (absl::IsDataLoss(status)) {
      ++unreadable;
      continue;
    }
    std::optional<std::string> found;
    if (!absl::IsNotFound(status)) {
      REQUIRE(status.ok());
      found = Shown(value, info.metadata, info.expires_at_ms);
    }
    INFO("found " << found.value_or("nothing") << " after a ledger that " << client.ledger().Describe());
    REQUIRE(possible.contains(found));
  }
  size_t skipped = 0;
  for (const auto& [key, shown] : LookPast(client.db(), &skipped)) {
    INFO(key << " = " << shown);
    REQUIRE(allowed.contains(key));
    REQUIRE(allowed.at(key).contains(shown));
  }
  return unreadable;
}

namespace {

SilentFaults AtEachSilentFault(Fault::Kind kind, uint64_t seed, const Scenario& scenario) {
  SilentFaults silent;
  for (const bool closed : {true, false}) {
    bool reached = true;
    for (uint64_t point = 0; reached; ++point) {
      InSchedule(seed, [&](SimWorld& world) {
        std::string what = "nothing";
        world.machine.set_trace([&](const std::string& line) {
          if (line.find("in silence") != std::string::npos) what = line;
          if (line.find("misdirected to") != std::string::npos) what += line;
        });
        Client client(world);
        REQUIRE(client.Open().ok());
        scenario.prepare(world, client);
        world.machine.Inject({.kind = kind, .operations = kWriteOperation, .after = point});
        scenario.run(world, client);
        if (closed && client.is_open()) client.Close().IgnoreError();
        reached = world.machine.faults_hit() > 0;
        world.machine.ClearFaults();
        client.Crash({CrashKind::kPowerCut, Survival::kNothing});
        INFO("in silence: " << what << (closed ? ", then closed" : ", then the power failed"));
        client.events().Clear();
        const absl::Status opened = client.Open();
        INFO(opened.ToString() << "\n" << client.events().Text());
        if (!opened.ok()) {
          REQUIRE(absl::IsDataLoss(opened));
          ++silent.refused;
          return;
        }
        const uint64_t unreadable = CheckNoLies(client, client.ledger().EverShown());
        silent.unreadable += unreadable;
        const std::string wrong = CheckReferences(client.db());
        INFO(wrong);
        REQUIRE(wrong.empty());
        if (!closed && kind == Fault::Kind::kLoseWrite) REQUIRE(UnexplainedValueBytes(client.db()) == 0);
        const auto verified = client.db().Verify();
        REQUIRE(verified.ok());
        if (unreadable != 0) REQUIRE(!verified->damages.empty());
        if (verified->damages.empty()) {
          ++silent.unnoticed;
          if (scenario.look) scenario.look(world, client);
        }
        client.Drop();
      });
      if (reached) silent.points = std::max(silent.points, point + 1);
    }
  }
  REQUIRE(silent.points > scenario.points_min);
  return silent;
}

}  // namespace

SilentFaults AtEachLostWrite(uint64_t seed, const Scenario& scenario) {
  return AtEachSilentFault(Fault::Kind::kLoseWrite, seed, scenario);
}

SilentFaults AtEachMisdirectedWrite(uint64_t seed, const Scenario& scenario) {
  return AtEachSilentFault(Fault::Kind::kMisdirect, seed, scenario);
}

}  // namespace firn::test
