// Time is passed in, never taken from the system in the middle of the engine.
#pragma once

#include <atomic>
#include <cstdint>

namespace firn::base {

class Clock {
 public:
  virtual ~Clock() = default;
  virtual int64_t WallTimeMs() = 0;       // since 1970-01-01 UTC; may jump either way
  virtual uint64_t MonotonicNanos() = 0;  // never runs backwards; origin unspecified

  static Clock& System();
};

// The store's time: the wall clock, but never behind a time that was recorded. Entries that have expired stay expired
// when the clock jumps back, across restarts too. Thread-safe.
class ForwardClock {
 public:
  explicit ForwardClock(Clock& clock) : clock_(clock) {}
  int64_t NowMs() {
    Advance(clock_.WallTimeMs());
    return latest_ms_.load(std::memory_order_relaxed);
  }
  void Advance(int64_t at_least_ms) {
    int64_t seen = latest_ms_.load(std::memory_order_relaxed);
    while (seen < at_least_ms && !latest_ms_.compare_exchange_weak(seen, at_least_ms, std::memory_order_relaxed)) {
    }
  }

 private:
  Clock& clock_;
  std::atomic<int64_t> latest_ms_{0};
};

// 64 random bits a call. Salts, uuids and secrets come from here; a simulation passes a seeded one.
class Random {
 public:
  virtual ~Random() = default;
  virtual uint64_t Next() = 0;

  static Random& System();  // the kernel's generator; thread-safe
};

}  // namespace firn::base
