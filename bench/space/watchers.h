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

// Moments at which something stood still.
class Gaps {
 public:
  void Add(uint64_t start_ns, uint64_t end_ns) { gaps_.push_back({start_ns, end_ns}); }
  uint64_t longest_ns() const;
  // The longest part of one that lies in [start, end).
  uint64_t OverlapNs(uint64_t start_ns, uint64_t end_ns) const;

 private:
  struct Gap {
    uint64_t start_ns, end_ns;
  };
  std::vector<Gap> gaps_;
};

// Sleeps a millisecond and reads the clock, over and over. Its gaps are the machine's own pauses: an engine that pauses
// at the same moment need not be to blame.
class ClockWatcher {
 public:
  ClockWatcher();
  ~ClockWatcher() { Stop(); }
  ClockWatcher(const ClockWatcher&) = delete;
  void Stop();

  const Gaps& gaps() const { return gaps_; }  // longer than 2 ms; after Stop()

 private:
  void Run();

  Gaps gaps_;
  std::atomic<bool> stop_ = false;
  std::thread thread_;
};

// Writes 4 KiB to a file of its own, past the page cache, every 10 ms. Where that takes long the disk stands still, or
// has much to do.
class DiskWatcher {
 public:
  explicit DiskWatcher(const std::string& path);
  ~DiskWatcher() { Stop(); }
  DiskWatcher(const DiskWatcher&) = delete;
  void Stop();

  const Gaps& gaps() const { return gaps_; }  // writes of more than 2 ms; after Stop()

 private:
  void Run();

  const std::string path_;
  Gaps gaps_;
  std::atomic<bool> stop_ = false;
  std::thread thread_;
};

}  // namespace firn::bench
