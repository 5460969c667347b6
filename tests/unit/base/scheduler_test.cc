#include "support/scheduler.h"

#include <catch2/catch.hpp>
#include <stdexcept>
#include <string>
#include <vector>

#include "base/sync.h"

namespace firn::test {
namespace {

using base::CondVar;
using base::Mutex;
using base::MutexLock;
using base::SchedulePoint;
using base::Scheduler;
using base::Thread;

// The order in which three threads take their turns.
std::string Interleaving(uint64_t seed) {
  std::string order;
  SimScheduler scheduler({.seed = seed});
  scheduler.Run([&order] {
    std::vector<Thread> threads;
    for (char name = 'a'; name < 'd'; ++name) {
      threads.emplace_back(std::string(1, name), [&order, name] {
        for (int i = 0; i < 8; ++i) {
          order += name;
          SchedulePoint();
        }
      });
    }
    for (Thread& thread : threads) thread.Join();
  });
  return order;
}

}  // namespace

TEST_CASE("a seed decides the interleaving") {
  CHECK(Interleaving(1) == Interleaving(1));
  CHECK(Interleaving(1) != Interleaving(2));
  CHECK(Interleaving(1).size() == 24);
}

TEST_CASE("some interleavings lose an update that no lock protects, and none with a lock") {
  int lost_without = 0, lost_with = 0;
  for (uint64_t seed = 0; seed < 50; ++seed) {
    int without = 0, with = 0;
    SimScheduler scheduler({.seed = seed});
    scheduler.Run([&] {
      Mutex mutex;
      const auto body = [&] {
        for (int i = 0; i < 5; ++i) {
          const int seen = without;
          SchedulePoint();
          without = seen + 1;
          MutexLock lock(mutex);
          const int seen_locked = with;
          SchedulePoint();
          with = seen_locked + 1;
        }
      };
      Thread other("other", body);
      body();
      other.Join();
    });
    lost_without += without != 10;
    lost_with += with != 10;
  }
  CHECK(lost_without > 10);
  CHECK(lost_with == 0);
}

TEST_CASE("no wake-up is lost between a producer and its consumers") {
  for (uint64_t seed = 0; seed < 50; ++seed) {
    int consumed = 0;
    SimScheduler scheduler({.seed = seed, .switch_probability = seed % 2 == 0 ? 0.9 : 0.1});
    const bool ended = scheduler.Run([&consumed] {
      Mutex mutex;
      CondVar filled;
      int queued = 0;
      bool closed = false;
      const auto consume = [&] {
        MutexLock lock(mutex);
        while (true) {
          while (queued == 0 && !closed) filled.Wait(mutex);
          if (queued == 0) return;
          --queued;
          ++consumed;
        }
      };
      Thread first("first", consume), second("second", consume);
      for (int i = 0; i < 20; ++i) {
        MutexLock lock(mutex);
        ++queued;
        filled.NotifyOne();
      }
      {
        MutexLock lock(mutex);
        closed = true;
        filled.NotifyAll();
      }
      first.Join();
      second.Join();
    });
    INFO("seed " << seed);
    CHECK(ended);
    CHECK(consumed == 20);
  }
}

TEST_CASE("virtual time moves to the next deadline when nobody can run") {
  SimScheduler scheduler({.seed = 3, .early_return_probability = 0});
  scheduler.Run([&scheduler] {
    Mutex mutex;
    CondVar never;
    constexpr uint64_t kHourNanos = 3'600'000'000'000;
    const uint64_t before = scheduler.NowNanos();
    MutexLock lock(mutex);
    CHECK_FALSE(never.WaitFor(mutex, kHourNanos));
    CHECK(scheduler.NowNanos() == before + kHourNanos);
  });
}

TEST_CASE("a timed wait that is notified returns at once, however long its timeout") {
  SimScheduler scheduler({.seed = 4});
  scheduler.Run([&scheduler] {
    Mutex mutex;
    CondVar changed;
    bool ready = false;
    const uint64_t before = scheduler.NowNanos();
    Thread notifier("notifier", [&] {
      MutexLock lock(mutex);
      ready = true;
      changed.NotifyAll();
    });
    {
      MutexLock lock(mutex);
      while (!ready) CHECK(changed.WaitFor(mutex, UINT64_MAX));
    }
    notifier.Join();
    CHECK(scheduler.NowNanos() == before);
  });
}

TEST_CASE("a timed wait of an ordinary thread may ask for the longest timeout") {
  Mutex mutex;
  CondVar changed;
  bool ready = false;
  Thread notifier("notifier", [&] {
    MutexLock lock(mutex);
    ready = true;
    changed.NotifyAll();
  });
  {
    MutexLock lock(mutex);
    while (!ready) CHECK(changed.WaitFor(mutex, UINT64_MAX));
  }
  notifier.Join();
}

TEST_CASE("a deadlock is reported with every thread's name") {
  // Stuck threads stay where they are, so what they use must outlive the test.
  static Mutex* first = new Mutex;
  static Mutex* second = new Mutex;
  std::string report;
  bool ended = true;
  for (uint64_t seed = 0; seed < 100 && ended; ++seed) {
    SimScheduler scheduler({.seed = seed, .on_stuck = [&report](const std::string& r) { report = r; }});
    ended = scheduler.Run([] {
      Thread other("reverse", [] {
        MutexLock lock_second(*second);
        MutexLock lock_first(*first);
      });
      {
        MutexLock lock_first(*first);
        MutexLock lock_second(*second);
      }
      other.Join();
    });
  }
  CHECK_FALSE(ended);
  CHECK_THAT(report, Catch::Contains("deadlock") && Catch::Contains("main: waits for") &&
                         Catch::Contains("reverse: waits for"));
}

TEST_CASE("a run that never ends is reported at its step limit") {
  std::string report;
  SimScheduler scheduler({.seed = 5, .steps_max = 1000, .on_stuck = [&report](const std::string& r) { report = r; }});
  CHECK_FALSE(scheduler.Run([] {
    while (true) SchedulePoint();
  }));
  CHECK_THAT(report, Catch::Contains("step limit") && Catch::Contains("main: runnable"));
}

TEST_CASE("what a scheduled thread throws comes out of Run") {
  SimScheduler scheduler({.seed = 6});
  CHECK_THROWS_AS(scheduler.Run([] {
    Thread thrower("thrower", [] { throw std::runtime_error("wrong"); });
    thrower.Join();
  }),
                  std::runtime_error);
}

TEST_CASE("thread-local destructors have run when a scheduled thread is joined") {
  static int destroyed = 0;
  struct Local {
    int used = 0;
    ~Local() { ++destroyed; }
  };
  SimScheduler scheduler({.seed = 7});
  scheduler.Run([] {
    for (int i = 1; i <= 5; ++i) {
      Thread thread("local", [] {
        thread_local Local local;
        local.used = 1;
      });
      thread.Join();
      CHECK(destroyed == i);
    }
  });
}

TEST_CASE("the step hook sees every scheduling point") {
  uint64_t seen = 0;
  SimScheduler scheduler({.seed = 8});
  scheduler.SetStepHook([&seen] { ++seen; });
  scheduler.Run([] {
    for (int i = 0; i < 10; ++i) SchedulePoint();
  });
  CHECK(seen == 10);
  CHECK(scheduler.steps() == 10);
}

}  // namespace firn::test
