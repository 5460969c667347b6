// Counts by size, for latencies and group sizes: 8 buckets for each power of two, so a percentile is within 12.5 %.
#pragma once

#include <algorithm>
#include <array>
#include <atomic>
#include <bit>
#include <cstdint>

namespace firn::base {

// Thread-safe; concurrent Add() calls may be missing from a reading in progress.
class Histogram {
 public:
  void Add(uint64_t value) {
    counts_[BucketOf(value)].fetch_add(1, std::memory_order_relaxed);
    uint64_t seen = max_.load(std::memory_order_relaxed);
    while (seen < value && !max_.compare_exchange_weak(seen, value, std::memory_order_relaxed)) {
    }
  }

  // The smallest bucket bound that at least `fraction` (0..1) of the values do not exceed; 0 without values.
  uint64_t Percentile(double fraction) const {
    uint64_t total = 0;
    for (const auto& count : counts_) total += count.load(std::memory_order_relaxed);
    const auto wanted = static_cast<uint64_t>(static_cast<double>(total) * fraction);
    uint64_t seen = 0;
    for (size_t i = 0; i < counts_.size() && total > 0; ++i) {
      seen += counts_[i].load(std::memory_order_relaxed);
      if (seen > wanted || seen == total) return std::min(UpperBound(i), max());
    }
    return 0;
  }
  uint64_t max() const { return max_.load(std::memory_order_relaxed); }

 private:
  static constexpr int kBitsPerOctave = 3;

  static size_t BucketOf(uint64_t value) {
    if (value < (1u << kBitsPerOctave)) return value;
    const int shift = std::bit_width(value) - 1 - kBitsPerOctave;
    return (static_cast<size_t>(shift + 1) << kBitsPerOctave) + ((value >> shift) & ((1u << kBitsPerOctave) - 1));
  }
  static uint64_t UpperBound(size_t bucket) {
    if (bucket < (1u << kBitsPerOctave)) return bucket;
    const size_t shift = (bucket >> kBitsPerOctave) - 1;
    const uint64_t low = ((bucket & ((1u << kBitsPerOctave) - 1)) | (1u << kBitsPerOctave)) << shift;
    return low + (uint64_t{1} << shift) - 1;
  }

  std::array<std::atomic<uint64_t>, 62 << kBitsPerOctave> counts_{};
  std::atomic<uint64_t> max_{0};
};

}  // namespace firn::base
