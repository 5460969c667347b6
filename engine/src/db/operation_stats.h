// Counting operations without making threads share a cache line, and timing one in 16 of them.
#pragma once

#include <atomic>
#include <cstdint>

#include <firn/stats.h>

#include "base/clock.h"
#include "base/histogram.h"
#include "base/striped_counter.h"

namespace firn {

class OperationStats {
 public:
  LatencySummary Summary() const {
    LatencySummary summary;
    summary.count = operations_.Sum();
    summary.p50_ns = latencies_.Percentile(0.5);
    summary.p99_ns = latencies_.Percentile(0.99);
    summary.p999_ns = latencies_.Percentile(0.999);
    summary.max_ns = latencies_.max();
    return summary;
  }

  // Operations that were timed, and what they took in all.
  uint64_t timed() const { return timed_.load(std::memory_order_relaxed); }
  uint64_t timed_nanos() const { return timed_nanos_.load(std::memory_order_relaxed); }

 private:
  friend class OperationTimer;
  void AddLatency(uint64_t nanos) {
    latencies_.Add(nanos);
    timed_.fetch_add(1, std::memory_order_relaxed);
    timed_nanos_.fetch_add(nanos, std::memory_order_relaxed);
  }

  static constexpr uint64_t kTimeOneIn = 16;

  base::StripedCounter operations_;
  base::Histogram latencies_;
  std::atomic<uint64_t> timed_{0}, timed_nanos_{0};
};

// Counts the operation it lives through.
class OperationTimer {
 public:
  OperationTimer(OperationStats& stats, base::Clock& clock) : stats_(stats), clock_(clock) {
    const uint64_t before = stats_.operations_.Add(1);
    if (before % OperationStats::kTimeOneIn == 0) began_nanos_ = clock_.MonotonicNanos();
  }
  ~OperationTimer() {
    if (began_nanos_ != 0) stats_.AddLatency(clock_.MonotonicNanos() - began_nanos_);
  }
  OperationTimer(const OperationTimer&) = delete;

 private:
  OperationStats& stats_;
  base::Clock& clock_;
  uint64_t began_nanos_ = 0;
};

}  // namespace firn
