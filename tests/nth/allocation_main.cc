// Every allocation of every scenario fails once, and from there on, on the simulated disk under the scheduler: so each
// run is the same up to its point, and a thread that hangs is named.
//
//   firn_test_nth_allocation [--every N] [--scenario NAME] [--point N] [--lasting]
//
// --every takes one point in N of each scenario only.
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "db/open.h"
#include "nth/allocations.h"
#include "nth/scenarios.h"
#include "nth/uncounted_disk.h"
#include "support/crash_points.h"
#include "support/scheduler.h"
#include "support/sim_environment.h"

namespace firn::test {
namespace {

constexpr uint64_t kSmallSegmentBytes = uint64_t{64} << 10;

Environment OnSimMachine(SimWorld& world) {
  const Uncounted the_machine;
  Environment environment = SimEnvironment(world.machine, world.clock, world.random, kSmallSegmentBytes);
  environment.disk = std::make_unique<UncountedDisk>(std::move(environment.disk));
  return environment;
}

// Whether the point was reached.
bool RunPoint(const NthScenario& scenario, uint64_t point, bool lasting) {
  const Uncounted uncounted;
  SetLabel("--scenario " + std::string(scenario.name) + " --point " + std::to_string(point) +
           (lasting ? " --lasting" : ""));
  SimWorld world(7);
  SimScheduler scheduler({.seed = 7});
  bool reached = false;
  scheduler.Run([&] {
    const Uncounted this_thread_too;
    Life life(
        [&](const Options& options) {
          Environment environment = OnSimMachine(world);
          environment.ceiling_floor_segments_for_test = 8;
          return OpenOn(options, std::move(environment));
        },
        {.of_all = {absl::StatusCode::kResourceExhausted}});
    if (scenario.prepare) {
      life.Open();
      scenario.prepare(life);
      if (scenario.killed_before) {
        world.machine.Crash({CrashKind::kKill, Survival::kNothing});
        life.Drop();
      } else if (scenario.opens) {
        life.Close();
      }
    } else if (!scenario.opens) {
      life.Open();
    }
    life.BeginFailures();
    FailAllocation(point, lasting);
    scenario.run(life);
    // What goes on in the background meets it too.
    if (life.is_open()) Nap(600);
    const uint64_t made = StopFailingAllocations();
    reached = made > point;
    life.EndFailures();
    life.CheckAlive();
    Life::End end = Life::End::kClosed;
    if (point % 3 == 0) {
      life.Close();
    } else if (point % 3 == 1) {
      end = Life::End::kKilled;
      life.Drop();
    } else {
      end = Life::End::kPowerCut;
      world.machine.Crash({CrashKind::kPowerCut, Survival::kNothing});
      life.Drop();
    }
    life.CheckReopened(end);
  });
  return reached;
}

// The store that salvage reads, and what it makes of it.
bool SalvageAtPoint(uint64_t point, bool lasting) {
  const Uncounted uncounted;
  SetLabel("--scenario salvage --point " + std::to_string(point) + (lasting ? " --lasting" : ""));
  SimWorld from(7), to(8);
  SimScheduler scheduler({.seed = 7});
  bool reached = false;
  scheduler.Run([&] {
    const Uncounted this_thread_too;
    const std::string large(40'000, 'l');
    const Options options;
    {
      auto db = OpenOn(options, OnSimMachine(from));
      Demand(db.ok() && (*db)->Put("small", "one").ok() && (*db)->Put("large", large).ok() && (*db)->Flush().ok() &&
                 (*db)->CreateNamespace("space").ok() && (*db)->Put("small", "two").ok() && (*db)->Close().ok(),
             "the source is not made");
    }
    FailAllocation(point, lasting);
    absl::StatusOr<SalvageReport> report = absl::UnknownError("salvage threw");
    try {
      std::unique_ptr<io::Disk> source = std::make_unique<UncountedDisk>(from.machine.Attach());
      const Counted counted;
      report = SalvageOn(std::move(source), [&] { return OnSimMachine(to); }, {});
    } catch (const std::exception& thrown) {
      Fail(std::string("salvage threw ") + thrown.what());
    }
    reached = StopFailingAllocations() > point;
    Demand(report.ok() || absl::IsResourceExhausted(report.status()), std::string(report.status().ToString()));
    for (SimWorld* const world : {&from, &to}) {
      if (world == &to && !report.ok()) continue;
      auto db = OpenOn(options, OnSimMachine(*world));
      Demand(db.ok() && (*db)->Get("small").value_or("") == "two" && (*db)->Get("large").value_or("") == large &&
                 (*db)->OpenNamespace("space").ok() && (*db)->Verify().value().damages.empty() && (*db)->Close().ok(),
             world == &from ? "the source was changed" : "something is missing in what salvage made");
    }
  });
  return reached;
}

struct Case {
  std::string name;
  std::function<bool(uint64_t point, bool lasting)> run;  // whether the point was reached
};

std::vector<Case> AllCases() {
  std::vector<Case> cases;
  for (const NthScenario& scenario : Scenarios()) {
    cases.push_back({std::string(scenario.name),
                     [&scenario](uint64_t point, bool lasting) { return RunPoint(scenario, point, lasting); }});
  }
  cases.push_back({"salvage", SalvageAtPoint});
  return cases;
}

int Main(int argc, char** argv) {
  uint64_t every = 1, only_point = UINT64_MAX;
  std::string only;
  bool lasting_only = false;
  for (int i = 1; i < argc; ++i) {
    const std::string argument = argv[i];
    const bool has_value = i + 1 < argc;
    if (argument == "--every" && has_value) {
      every = std::strtoull(argv[++i], nullptr, 10);
    } else if (argument == "--scenario" && has_value) {
      only = argv[++i];
    } else if (argument == "--point" && has_value) {
      only_point = std::strtoull(argv[++i], nullptr, 10);
    } else if (argument == "--lasting") {
      lasting_only = true;
    } else {
      std::fprintf(stderr, "usage: %s [--every N] [--scenario NAME] [--point N] [--lasting]\n", argv[0]);
      return 2;
    }
  }
  uint64_t all_points = 0, runs = 0;
  std::vector<Case> cases = AllCases();
  if (!only.empty()) std::erase_if(cases, [&](const Case& each) { return each.name != only; });
  for (const Case& each : cases) {
    if (only_point != UINT64_MAX) {
      runs += each.run(only_point, lasting_only) ? 1 : 0;
      continue;
    }
    for (const bool lasting : {false, true}) {
      if (lasting_only && !lasting) continue;
      // Each begins elsewhere, and the lasting ones at other points than those that fail once.
      uint64_t point = every == 1 ? 0 : (runs + (lasting ? every / 2 : 0)) % every, ran = 0;
      for (; each.run(point, lasting); point += every) ++ran;
      std::printf("%-12s %s: %6llu allocations, %6llu failed\n", each.name.c_str(),
                  lasting ? "from there on" : "once         ", static_cast<unsigned long long>(point),
                  static_cast<unsigned long long>(ran));
      std::fflush(stdout);
      all_points += lasting ? 0 : point;
      runs += ran;
    }
  }
  if (runs == 0) {
    std::printf("nothing has failed: there is no such scenario or point\n");
    return 1;
  }
  if (only_point != UINT64_MAX) {
    std::printf("held\n");
    return 0;
  }
  std::printf("%llu allocations in %zu scenarios, %llu runs with one that failed: all held\n",
              static_cast<unsigned long long>(all_points), cases.size(), static_cast<unsigned long long>(runs));
  return 0;
}

}  // namespace
}  // namespace firn::test

int main(int argc, char** argv) { return firn::test::Main(argc, argv); }
