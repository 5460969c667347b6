// Crashes, or faults, at every single disk operation of a scenario, one after the other.
//
//   CrashTest test{.prepare = MakeStore, .run = WriteAFew, .check = EverythingAcknowledgedIsThere};
//   ForEachCrash(test, {CrashKind::kPowerCut, CrashKind::kKill}, seed);
//
// Each point gets a fresh machine and scheduler of the same seed, so every run is the same up to its point.
#pragma once

#include <cstdint>
#include <functional>
#include <initializer_list>

#include "support/sim_disk.h"

namespace firn::test {

// All that a store needs from outside.
struct SimWorld {
  explicit SimWorld(uint64_t seed) : machine(seed), random(seed ^ 0x5EED) {}
  SimMachine machine;
  SimClock clock;
  Rng random;
};

// Each part runs as a scheduled thread, and throws (Catch2's REQUIRE does) when something is wrong.
struct CrashTest {
  std::function<void(SimWorld&)> prepare;  // nothing fails yet; may be empty
  std::function<void(SimWorld&)> run;      // meets the crash or fault; must close what it opened
  std::function<void(SimWorld&)> check;    // on what is left; nothing fails any more
};

// Under a sanitizer each point meets one pattern of each kind only: there is no time for more.
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
inline constexpr uint64_t kPointsStep = 4;
#else
inline constexpr uint64_t kPointsStep = 1;
#endif

struct PointCount {
  uint64_t points = 0;  // disk operations of `run`
  uint64_t runs = 0;
};

// Every point of `run` with every kind of crash and every Survival; under a sanitizer, one of them at each point.
PointCount ForEachCrash(const CrashTest& test, std::initializer_list<CrashKind> kinds, uint64_t seed);

// Every point of `run` among `operations` (bits of Operation) fails once, or from there on.
PointCount ForEachFault(const CrashTest& test, unsigned operations, bool lasting, uint64_t seed);

}  // namespace firn::test
