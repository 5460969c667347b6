// Threads that look on while an engine works.
#pragma once

#include <atomic>
#include <cstdint>
#include <string>
#include <thread>
#include <vector>

namespace firn::bench {

uint64_t NowNs();  // of a steady clock

// Samples the space below a directory every 100 ms, and less often where looking costs more than a tenth of a core.
class SpaceWatcher {
 public:
  explicit SpaceWatcher(std::string path);
  ~SpaceWatcher() { Stop(); }
  SpaceWatcher(const SpaceWatcher&) = delete;
  void Stop();

  // After Stop().
  uint64_t samples() const { return samples_; }
  uint64_t gap_max_ns() const { return gap_max_ns_; }  // between two samples
  uint64_t bytes_max() const { return bytes_max_; }
  double bytes_mean() const { return samples_ == 0 ? 0 : bytes_sum_ / static_cast<double>(samples_); }

 private:
  void Run();

  std::string path_;
  uint64_t samples_ = 0, gap_max_ns_ = 0, bytes_max_ = 0;
  double bytes_sum_ = 0;
  std::atomic<bool> stop_ = false;
  std::thread thread_;
};

// Sleeps a millisecond and reads the clock, over and over. Its gaps are the machine's own pauses: an engine that pauses
// at the same moment need not be to blame.
class ClockWatcher {
 public:
  struct Gap {
    uint64_t start_ns, end_ns;
  };

  ClockWatcher();
  ~ClockWatcher() { Stop(); }
  ClockWatcher(const ClockWatcher&) = delete;
  void Stop();

  // After Stop().
  uint64_t longest_gap_ns() const;
  // The longest part of a gap that lies in [start, end).
  uint64_t OverlapNs(uint64_t start_ns, uint64_t end_ns) const;

 private:
  void Run();

  std::vector<Gap> gaps_;  // longer than 2 ms
  std::atomic<bool> stop_ = false;
  std::thread thread_;
};

}  // namespace firn::bench
