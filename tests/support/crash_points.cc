#include "support/crash_points.h"

#include <algorithm>
#include <cstdio>
#include <string>

#include "support/scheduler.h"

namespace firn::test {
namespace {

// Returns whether the planned event came before `run` ended.
bool RunOnce(const CrashTest& test, uint64_t seed, const std::function<void(SimMachine&)>& plan,
             const std::function<bool(SimMachine&)>& happened, const std::string& label) {
  SimWorld world(seed);
  SimScheduler scheduler({.seed = seed});
  bool reached = false;
  try {
    scheduler.Run([&] {
      if (test.prepare) test.prepare(world);
      plan(world.machine);
      test.run(world);
      reached = happened(world.machine);
      world.machine.ClearFaults();
      test.check(world);
    });
  } catch (...) {
    std::fprintf(stderr, "failed with %s, seed %llu\n", label.c_str(), static_cast<unsigned long long>(seed));
    throw;
  }
  return reached;
}

std::string CrashLabel(uint64_t point, const Crash& crash) {
  return std::string(crash.kind == CrashKind::kKill ? "a kill" : "a power cut") + " in disk operation " +
         std::to_string(point) + ", survival pattern " + std::to_string(static_cast<int>(crash.survival));
}

}  // namespace

PointCount ForEachCrash(const CrashTest& test, std::initializer_list<CrashKind> kinds, uint64_t seed) {
  PointCount count;
  uint64_t pattern = 0;
  for (const CrashKind kind : kinds) {
    for (const Survival survival : kSurvivals) {
      const Crash crash{kind, survival};
      bool reached = true;
      uint64_t earlier = 0;  // `prepare` may crash too
      for (uint64_t point = pattern++ % kPointsStep; reached; point += kPointsStep) {
        reached = RunOnce(
            test, seed,
            [&](SimMachine& machine) {
              earlier = machine.crashes();
              machine.CrashAfter(point, crash);
            },
            [&](SimMachine& machine) { return machine.crashes() > earlier; }, CrashLabel(point, crash));
        ++count.runs;
        if (reached) count.points = std::max(count.points, point + 1);
      }
    }
  }
  return count;
}

PointCount ForEachFault(const CrashTest& test, unsigned operations, bool lasting, uint64_t seed) {
  PointCount count;
  bool reached = true;
  for (uint64_t point = 0; reached; ++point) {
    reached = RunOnce(
        test, seed,
        [&](SimMachine& machine) { machine.Inject({.operations = operations, .after = point, .lasting = lasting}); },
        [](SimMachine& machine) { return machine.faults_hit() > 0; },
        "a fault in disk operation " + std::to_string(point));
    ++count.runs;
    if (reached) count.points = point + 1;
  }
  return count;
}

}  // namespace firn::test
