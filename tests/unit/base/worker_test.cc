#include "base/worker.h"

#include <atomic>
#include <catch2/catch.hpp>
#include <functional>
#include <vector>

#include "support/scheduler.h"
#include "support/sim_disk.h"

namespace firn::base {
namespace {

void Scheduled(const std::function<void(Clock&)>& body) {
  for (uint64_t seed = 1; seed <= 20; ++seed) {
    test::SimClock clock;
    test::SimScheduler scheduler({.seed = seed});
    REQUIRE(scheduler.Run([&] { body(clock); }));
  }
}

void Sleep(Clock& clock, uint64_t nanos) {
  Mutex mutex;
  CondVar never;
  MutexLock lock(mutex);
  const uint64_t until_nanos = clock.MonotonicNanos() + nanos;
  while (clock.MonotonicNanos() < until_nanos) never.WaitFor(mutex, until_nanos - clock.MonotonicNanos());
}

TEST_CASE("a worker does a turn for a kick, and one more for those that come during it") {
  Scheduled([](Clock& clock) {
    std::atomic<int> begun{0}, ended{0};
    std::atomic<bool> may_end{false};
    Worker worker;
    worker.Start("worker", clock, [&] {
      ++begun;
      while (!may_end) SpinPause(0);
      ++ended;
      return Worker::kUntilKicked;
    });
    Sleep(clock, 5'000'000);
    CHECK(begun == 0);
    worker.Kick();
    while (begun == 0) SpinPause(0);
    for (int i = 0; i < 3; ++i) worker.Kick();
    may_end = true;
    Sleep(clock, 10'000'000);
    CHECK(begun == 2);
    worker.Kick();
    while (begun == 2) SpinPause(0);
    worker.Stop();
    CHECK(ended == 3);
    worker.Stop();
  });
}

TEST_CASE("a worker that is not kicked does its turn when it is due") {
  Scheduled([](Clock& clock) {
    constexpr uint64_t kPeriodNanos = 10'000'000;
    std::vector<uint64_t> turns;
    Worker worker;
    worker.Start("worker", clock, [&] {
      turns.push_back(clock.MonotonicNanos());
      return turns.back() + kPeriodNanos;
    });
    worker.Kick();
    Sleep(clock, 55'000'000);
    worker.Stop();
    REQUIRE(turns.size() >= 5);
    for (size_t i = 1; i < turns.size(); ++i) CHECK(turns[i] - turns[i - 1] >= kPeriodNanos);
  });
}

}  // namespace
}  // namespace firn::base
