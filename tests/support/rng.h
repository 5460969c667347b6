// The one source of chance in simulations: everything a seed decides comes from here, on every platform the same.
#pragma once

#include <atomic>
#include <cstdint>

#include "base/clock.h"

namespace firn::test {

// Thread-safe, for stores on ordinary threads, where the order of draws is nobody's. SplitMix64. Source: G. Steele et
// al., "Fast splittable pseudorandom number generators", OOPSLA 2014.
class Rng final : public base::Random {
 public:
  explicit Rng(uint64_t seed) : state_(seed) {}
  Rng(const Rng& other) : Random(other), state_(other.state_.load(std::memory_order_relaxed)) {}
  Rng& operator=(const Rng& other) {
    state_.store(other.state_.load(std::memory_order_relaxed), std::memory_order_relaxed);
    return *this;
  }

  uint64_t Next() override {
    constexpr uint64_t kStep = 0x9E3779B97F4A7C15u;
    uint64_t z = state_.fetch_add(kStep, std::memory_order_relaxed) + kStep;
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
    return z ^ (z >> 31);
  }
  // 0..count-1; 0 when count is 0. The bias is below 2^-40 for the counts used here.
  uint64_t Below(uint64_t count) { return count == 0 ? 0 : Next() % count; }
  uint64_t Between(uint64_t low, uint64_t high) { return low + Below(high - low + 1); }
  bool Chance(double probability) { return static_cast<double>(Next() >> 11) * 0x1.0p-53 < probability; }
  bool OneIn(uint64_t count) { return Below(count) == 0; }
  // A generator of its own, so that what is drawn here does not shift what is drawn elsewhere.
  Rng Fork() { return Rng(Next()); }

 private:
  std::atomic<uint64_t> state_;
};

}  // namespace firn::test
