#include "base/clock.h"

#include <ctime>
#include <random>

namespace firn::base {
namespace {

class SystemClock final : public Clock {
 public:
  int64_t WallTimeMs() override {
    timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return now.tv_sec * 1000 + now.tv_nsec / 1'000'000;
  }
  uint64_t MonotonicNanos() override {
    timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return static_cast<uint64_t>(now.tv_sec) * 1'000'000'000 + static_cast<uint64_t>(now.tv_nsec);
  }
};

class SystemRandom final : public Random {
 public:
  uint64_t Next() override {
    std::random_device device;  // getrandom or RDRAND: no state to share between threads
    return (static_cast<uint64_t>(device()) << 32) | device();
  }
};

// Not made by their first user: a child of a fork that came meanwhile would wait for that thread for good.
constinit SystemClock system_clock;
constinit SystemRandom system_random;

}  // namespace

Clock& Clock::System() { return system_clock; }

Random& Random::System() { return system_random; }

}  // namespace firn::base
