// Latencies by the microsecond and below, within 2 %, in constant memory.
#pragma once

#include <algorithm>
#include <array>
#include <bit>
#include <cstdint>

namespace firn::bench {

class Histogram {
 public:
  void Add(uint64_t ns) {
    ++counts_[SlotOf(ns)];
    ++count_;
    max_ns_ = std::max(max_ns_, ns);
  }
  void Add(const Histogram& other) {
    for (size_t slot = 0; slot < counts_.size(); ++slot) counts_[slot] += other.counts_[slot];
    count_ += other.count_;
    max_ns_ = std::max(max_ns_, other.max_ns_);
  }
  // The smallest latency that a share of at least `quantile` does not exceed.
  uint64_t Quantile(double quantile) const {
    const auto rank = static_cast<uint64_t>(quantile * static_cast<double>(count_));
    uint64_t seen = 0;
    for (size_t slot = 0; slot < counts_.size(); ++slot) {
      seen += counts_[slot];
      if (seen > rank) return std::min(UpperEndOf(slot), max_ns_);
    }
    return max_ns_;
  }
  uint64_t max_ns() const { return max_ns_; }

 private:
  static constexpr unsigned kBits = 6;  // slots for each power of two
  static constexpr uint64_t kSlots = uint64_t{1} << kBits;

  static size_t SlotOf(uint64_t ns) {
    if (ns < kSlots) return ns;
    const unsigned shift = static_cast<unsigned>(std::bit_width(ns)) - kBits - 1;
    return (shift + 1) * kSlots + ((ns >> shift) - kSlots);
  }
  static uint64_t UpperEndOf(size_t slot) {
    if (slot < kSlots) return slot;
    const uint64_t shift = slot / kSlots - 1;
    return ((kSlots + slot % kSlots + 1) << shift) - 1;
  }

  std::array<uint64_t, (64 - kBits + 1)* kSlots> counts_ = {};
  uint64_t count_ = 0, max_ns_ = 0;
};

}  // namespace firn::bench
