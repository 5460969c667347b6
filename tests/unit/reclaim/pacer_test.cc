// The three zones of space, and what writers wait in them.
#include <catch2/catch.hpp>

#include "reclaim/pacer.h"
#include "support/scheduler.h"
#include "support/sim_disk.h"

namespace firn::reclaim {
namespace {

constexpr uint64_t kMiB = uint64_t{1} << 20;

// Waits take virtual time only.
void InVirtualTime(const std::function<void(base::Clock&)>& body) {
  test::SimClock clock;
  test::SimScheduler scheduler({.seed = 1});
  REQUIRE(scheduler.Run([&] { body(clock); }));
}

TEST_CASE("the ceiling is the asked multiple of the user's bytes, above a floor") {
  CHECK(GoalFor({.user_bytes = 100 * kMiB, .needed_bytes = 110 * kMiB}, 1.5, kMiB).ceiling_bytes == 150 * kMiB);
  CHECK(GoalFor({.user_bytes = kMiB, .needed_bytes = 2 * kMiB}, 1.5, kMiB).ceiling_bytes ==
        kCeilingFloorSegments * kMiB);
  CHECK(GoalFor({}, 1.5, kMiB).ceiling_bytes == kCeilingFloorSegments * kMiB);
}

TEST_CASE("where the need itself comes near the ceiling, reclaim has a goal it can meet") {
  const Goal goal = GoalFor({.user_bytes = 100 * kMiB, .needed_bytes = 148 * kMiB}, 1.5, kMiB);
  CHECK(goal.ceiling_bytes == 185 * kMiB);
  CHECK(goal.start_bytes > 148 * kMiB);
}

TEST_CASE("what snapshots pin comes on top of the ceiling") {
  const Goal without = GoalFor({.user_bytes = 100 * kMiB, .needed_bytes = 110 * kMiB}, 1.5, kMiB);
  const Goal with =
      GoalFor({.user_bytes = 100 * kMiB, .needed_bytes = 110 * kMiB, .pinned_bytes = 50 * kMiB}, 1.5, kMiB);
  CHECK(with.ceiling_bytes == without.ceiling_bytes + 50 * kMiB);
  CHECK(with.start_bytes == without.start_bytes + 50 * kMiB);
}

TEST_CASE("snapshots pin more than the ceiling allows when what lives and what is pinned come above it") {
  const auto is_over = [](uint64_t pinned_bytes) {
    const Space space{.user_bytes = 100 * kMiB, .needed_bytes = 110 * kMiB, .pinned_bytes = pinned_bytes};
    return IsPinnedOver(space, GoalFor(space, 1.5, kMiB));
  };
  CHECK_FALSE(is_over(0));
  CHECK_FALSE(is_over(40 * kMiB));
  CHECK(is_over(40 * kMiB + 1));
}

TEST_CASE("writers wait for nothing while reclaim could do more, and the longer the nearer the ceiling") {
  InVirtualTime([](base::Clock& clock) {
    const auto wait_at = [&](uint64_t disk_bytes) {
      Pacer pacer(clock);
      pacer.Update({.disk_bytes = disk_bytes}, {.start_bytes = 100 * kMiB, .ceiling_bytes = 200 * kMiB});
      return pacer.Throttle(128 * 1024);
    };
    CHECK(wait_at(100 * kMiB) == 0);
    CHECK(wait_at(150 * kMiB) == 0);
    Pacer with_step(clock);
    with_step.Update({.disk_bytes = 150 * kMiB, .step_bytes = 50 * kMiB},
                     {.start_bytes = 100 * kMiB, .ceiling_bytes = 200 * kMiB});
    CHECK(with_step.debt() == 1);  // as if it were claimed already
    const uint64_t early = wait_at(170 * kMiB), late = wait_at(180 * kMiB), full = wait_at(200 * kMiB);
    CHECK(early > 0);
    CHECK(early < late);
    CHECK(late < full);
    CHECK(wait_at(2'000 * kMiB) <= Pacer::kDelayNanosMax);
  });
}

TEST_CASE("what is written between two updates counts at once") {
  InVirtualTime([](base::Clock& clock) {
    Pacer pacer(clock);
    const Goal goal{.start_bytes = 100 * kMiB, .ceiling_bytes = 200 * kMiB};
    pacer.Update({.disk_bytes = 90 * kMiB}, goal);
    pacer.Grew(10 * kMiB);
    CHECK(pacer.debt() == 0);
    pacer.Grew(50 * kMiB);
    CHECK(pacer.debt() == 0.5);
    pacer.Update({.disk_bytes = 110 * kMiB}, goal);
    CHECK(pacer.debt() == 0.1);
    pacer.Relax(20 * kMiB);
    pacer.Grew(50 * kMiB);
    CHECK(pacer.debt() == 0.4);
    pacer.Relax();
    pacer.Grew(500 * kMiB);
    CHECK(pacer.debt() == 0);
  });
}

TEST_CASE("small writes wait together, not each for itself, and nobody waits longer than the limit") {
  InVirtualTime([](base::Clock& clock) {
    Pacer pacer(clock);
    pacer.Update({.disk_bytes = 180 * kMiB}, {.start_bytes = 100 * kMiB, .ceiling_bytes = 200 * kMiB});
    uint64_t waits = 0, longest = 0;
    for (int i = 0; i < 10'000; ++i) {
      const uint64_t waited = pacer.Throttle(100);
      waits += waited != 0 ? 1 : 0;
      longest = std::max(longest, waited);
    }
    CHECK(waits > 0);
    CHECK(waits < 1'000);
    CHECK(longest <= Pacer::kDelayNanosMax);
    for (int i = 0; i < 10; ++i) CHECK(pacer.Throttle(uint64_t{1} << 30) <= Pacer::kDelayNanosMax);
  });
}

// After a millisecond of work, where the range of space is from 100 to 200 MiB.
uint64_t RestAt(Pacer& pacer, uint64_t disk_bytes) {
  pacer.Update({.disk_bytes = disk_bytes}, {.start_bytes = 100 * kMiB, .ceiling_bytes = 200 * kMiB});
  return pacer.RestNanos(1'000'000);
}

TEST_CASE("reclaim rests most just above the start, and not at all from half way to the ceiling on") {
  test::SimClock clock;
  Pacer pacer(clock);
  CHECK(RestAt(pacer, 101 * kMiB) == 3'000'000);
  CHECK(RestAt(pacer, 125 * kMiB) == 1'000'000);
  CHECK(RestAt(pacer, 150 * kMiB) == 0);
  CHECK(RestAt(pacer, 200 * kMiB) == 0);
}

TEST_CASE("a round that a machine has slept through is not rested from for as long") {
  test::SimClock clock;
  Pacer pacer(clock);
  pacer.Update({.disk_bytes = 101 * kMiB}, {.start_bytes = 100 * kMiB, .ceiling_bytes = 200 * kMiB});
  CHECK(pacer.RestNanos(3'600'000'000'000) == 10'000'000'000);
}

TEST_CASE("reclaim rests longer while the foreground suffers from it, but not at the ceiling") {
  test::SimClock clock;
  Pacer pacer(clock);
  const auto work = [&](uint64_t mean_nanos, int times) {
    for (; times > 0; --times) pacer.NoteWork({.operations = 200, .nanos = 200 * mean_nanos});
  };
  CHECK(pacer.slow_down() == 1);
  pacer.NoteRest({.operations = 100, .nanos = 100 * 1'000});
  pacer.NoteWork({.operations = 3, .nanos = 3 * 100'000});
  CHECK(pacer.slow_down() == 1);  // too few to tell
  work(1'400, 10);
  CHECK(pacer.slow_down() > 1.3);
  CHECK(RestAt(pacer, 125 * kMiB) == 1'000'000);
  work(3'000, 10);
  CHECK(pacer.slow_down() > 2.9);
  CHECK(pacer.slow_down() < 3.1);
  CHECK(RestAt(pacer, 125 * kMiB) > 2'900'000);  // half the share
  work(1'000'000, 10);
  CHECK(RestAt(pacer, 125 * kMiB) == 7'000'000);  // a quarter of it, and no less
  CHECK(RestAt(pacer, 200 * kMiB) == 0);
  work(1'000, 20);
  CHECK(pacer.slow_down() < 1.1);
}

}  // namespace
}  // namespace firn::reclaim
