// A disk that answers reads with what was there before, as a device or one half of a mirror does that missed a write.
// Segments and value files are reused, so that what was there before is often a whole unit, record or value of ours.
#include <algorithm>
#include <catch2/catch.hpp>
#include <cerrno>

#include "crash/at_each.h"
#include "crash/extents.h"
#include "crash/reclaim_history.h"

namespace firn::test {
namespace {

struct StaleReads {
  uint64_t points = 0;      // reads during which a page was stale
  uint64_t refused = 0;     // the open said DataLoss
  uint64_t unreadable = 0;  // keys that said DataLoss
  uint64_t right = 0;       // runs in which everything was read as it is
};

// Segments that were retired and reused, and extents where others were.
void MakeReusedStore(SimWorld& world, Client& client) {
  client.set_usual_options(SeparatingOptions());
  OpenSeparating(client);
  for (int round = 0; round < 3; ++round) {
    MakeHistory(world, client);
    for (int i = 0; i < 4; ++i) {
      const std::string key = "large" + std::to_string(i);
      REQUIRE(client.Put(key, Extent(key + "/" + std::to_string(round))).ok());
    }
    REQUIRE(client.db().Compact().ok());
    Nap(kUpkeepMs);
  }
}

// From the read with this number on, or that one alone, while the store is opened after a close, read, verified and
// compacted. Once the disk is sound again everything is there.
StaleReads AtEachStaleRead(uint64_t seed, bool lasting) {
  constexpr uint64_t kStep = kPointsStep;
  StaleReads stale;
  bool reached = true;
  for (uint64_t point = 0; reached; point += kStep) {
    InSchedule(seed, [&](SimWorld& world) {
      Client client(world);
      REQUIRE(client.Open().ok());
      MakeReusedStore(world, client);
      Possible newest;
      for (const auto& [key, shown] : Look(client.db())) newest[key] = {shown};
      REQUIRE(client.Close().ok());
      world.machine.Inject(
          {.kind = Fault::Kind::kStaleRead, .operations = kReadOperation, .after = point, .lasting = lasting});
      INFO("stale from read " << point << " on");
      const absl::Status opened = client.Open();
      INFO(opened.ToString());
      uint64_t unreadable = 0;
      if (opened.ok()) {
        unreadable = CheckNoLies(client, newest);
        REQUIRE(client.db().Verify().ok());
        client.db().Compact().IgnoreError();
        unreadable += CheckNoLies(client, newest);
      } else {
        REQUIRE(absl::IsDataLoss(opened));
        ++stale.refused;
      }
      reached = world.machine.faults_hit() > 0;
      stale.unreadable += unreadable;
      if (world.machine.stale_pages_read() > 0) ++stale.points;
      if (opened.ok() && unreadable == 0) ++stale.right;
      world.machine.ClearFaults();
      if (client.is_open()) client.Close().IgnoreError();
      REQUIRE(client.Open().ok());
      client.CheckNow();
      client.Drop();
    });
  }
  return stale;
}

TEST_CASE("a closed store that reads what was there before says so, or shows what is there now", "[stale]") {
  for (const bool lasting : {false, true}) {
    const StaleReads stale = AtEachStaleRead(811, lasting);
    INFO((lasting ? "lasting: " : "once: ") << stale.points << " points, " << stale.refused << " refused, "
                                            << stale.unreadable << " unreadable, " << stale.right << " right");
    CHECK(stale.points > 15 / kPointsStep);
    CHECK(stale.refused > 0);
    CHECK(stale.unreadable > 0);
  }
}

// What the log cannot tell: units above the last watermark, when the device shows what their blocks held before, look
// like an end of the log that was never acknowledged (docs/limitations.md). An older record that shows again may name
// an extent that has been given back since: it says DataLoss.
TEST_CASE("a store that lost power and reads what was there before shows nothing that never was", "[stale]") {
  uint64_t points = 0, refused = 0, older = 0;
  bool reached = true;
  for (uint64_t point = 0; reached; point += kPointsStep) {
    InSchedule(812, [&](SimWorld& world) {
      Client client(world);
      REQUIRE(client.Open().ok());
      MakeReusedStore(world, client);
      REQUIRE(client.Put("last", "but two").ok());
      REQUIRE(client.Put("last", "but one").ok());
      const State newest = Look(client.db());
      const auto ever = client.ledger().EverShown();
      client.Crash({CrashKind::kPowerCut, Survival::kNothing});
      world.machine.Inject({.kind = Fault::Kind::kStaleRead, .operations = kReadOperation, .after = point});
      INFO("stale at read " << point);
      const absl::Status opened = client.Open();
      INFO(opened.ToString());
      reached = world.machine.faults_hit() > 0;
      points += world.machine.stale_pages_read() > 0;
      if (!opened.ok()) {
        REQUIRE(absl::IsDataLoss(opened));
        ++refused;
        return;
      }
      for (const bool sound : {false, true}) {
        if (sound) {
          world.machine.ClearFaults();
          client.Close().IgnoreError();
          REQUIRE(client.Open().ok());
        }
        CheckNoLies(client, ever);
        size_t unreadable = 0;
        if (sound) older += LookPast(client.db(), &unreadable) != newest;
      }
      client.Drop();
    });
  }
  INFO(points << " points, " << refused << " refused, " << older << " older than what was acknowledged");
  CHECK(points > 15 / kPointsStep);
  CHECK(refused > 0);
}

}  // namespace
}  // namespace firn::test
