// Every allocation of every scenario fails once, and from there on, on the simulated disk under the scheduler: so each
// run is the same up to its point, and a thread that hangs is named.
//
//   firn_test_nth_allocation [--every N] [--scenario NAME] [--point N] [--lasting]
//
// --every takes one point in N of each scenario only.
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>

#include "db/open.h"
#include "nth/allocations.h"
#include "nth/scenarios.h"
#include "nth/uncounted_disk.h"
#include "support/crash_points.h"
#include "support/scheduler.h"

namespace firn::test {
namespace {

constexpr uint64_t kSmallSegmentBytes = uint64_t{64} << 10;

void Nap(SimWorld& world, uint64_t milliseconds) {
  base::Mutex mutex;
  base::CondVar never;
  const uint64_t until = world.clock.MonotonicNanos() + milliseconds * 1'000'000;
  base::MutexLock lock(mutex);
  for (uint64_t now; (now = world.clock.MonotonicNanos()) < until;) never.WaitFor(mutex, until - now);
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
          Environment environment;
          {
            const Uncounted the_machine;
            environment.disk = std::make_unique<UncountedDisk>(world.machine.Attach());
          }
          environment.clock = &world.clock;
          environment.random = &world.random;
          environment.segment_bytes_min_for_test = kSmallSegmentBytes;
          environment.ceiling_floor_segments_for_test = 8;
          environment.replayable = true;
          return OpenOn(options, std::move(environment));
        },
        {absl::StatusCode::kResourceExhausted});
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
    if (life.is_open()) Nap(world, 600);
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
  for (const NthScenario& scenario : Scenarios()) {
    if (!only.empty() && scenario.name != only) continue;
    if (only_point != UINT64_MAX) {
      RunPoint(scenario, only_point, lasting_only);
      continue;
    }
    for (const bool lasting : {false, true}) {
      if (lasting_only && !lasting) continue;
      // Each scenario begins elsewhere, and the lasting ones at other points than those that fail once.
      uint64_t point = every == 1 ? 0 : (runs + (lasting ? every / 2 : 0)) % every, ran = 0;
      for (; RunPoint(scenario, point, lasting); point += every) ++ran;
      std::printf("%-12s %s: %6llu allocations, %6llu failed\n", std::string(scenario.name).c_str(),
                  lasting ? "from there on" : "once         ", static_cast<unsigned long long>(point),
                  static_cast<unsigned long long>(ran));
      std::fflush(stdout);
      all_points += lasting ? 0 : point;
      runs += ran;
    }
  }
  std::printf("%llu allocations in %zu scenarios, %llu runs with one that failed: all held\n",
              static_cast<unsigned long long>(all_points), Scenarios().size(), static_cast<unsigned long long>(runs));
  return 0;
}

}  // namespace
}  // namespace firn::test

int main(int argc, char** argv) { return firn::test::Main(argc, argv); }
