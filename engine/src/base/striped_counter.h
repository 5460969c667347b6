// Counting without making threads share a cache line.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>

namespace firn::base {

// A number of the calling thread's, small and dense: threads that are counted in stripes take theirs by it.
inline size_t StripeOfThisThread() {
  static std::atomic<size_t> next{0};
  thread_local const size_t stripe = next.fetch_add(1, std::memory_order_relaxed);
  return stripe;
}

class StripedCounter {
 public:
  // Returns what this thread's stripe was before.
  uint64_t Add(uint64_t count) {
    std::atomic<uint64_t>& stripe = stripes_[StripeOfThisThread() % stripes_.size()].count;
    return stripe.fetch_add(count, std::memory_order_relaxed);
  }
  // What was added before, and perhaps some of what is being added.
  uint64_t Sum() const {
    uint64_t sum = 0;
    for (const Stripe& stripe : stripes_) sum += stripe.count.load(std::memory_order_relaxed);
    return sum;
  }

 private:
  struct alignas(64) Stripe {
    std::atomic<uint64_t> count{0};
  };
  std::array<Stripe, 16> stripes_;
};

}  // namespace firn::base
