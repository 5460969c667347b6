#include "space/watchers.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <ctime>

#include "support/device.h"

namespace firn::bench {
namespace {

constexpr uint64_t kMillisecondNs = 1'000'000;
constexpr uint64_t kSampleEveryNs = 100 * kMillisecondNs;
constexpr uint64_t kShortestGapNs = 2 * kMillisecondNs;

uint64_t ThreadCpuNs() {
  timespec time;
  ::clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
  return static_cast<uint64_t>(time.tv_sec) * 1'000'000'000 + static_cast<uint64_t>(time.tv_nsec);
}

void Sleep(uint64_t ns) { std::this_thread::sleep_for(std::chrono::nanoseconds(ns)); }

}  // namespace

uint64_t NowNs() {
  return static_cast<uint64_t>(std::chrono::nanoseconds(std::chrono::steady_clock::now().time_since_epoch()).count());
}

SpaceWatcher::SpaceWatcher(std::string path) : path_(std::move(path)), thread_([this] { Run(); }) {}

void SpaceWatcher::Stop() {
  stop_ = true;
  if (thread_.joinable()) thread_.join();
}

void SpaceWatcher::Run() {
  uint64_t last = 0;
  while (!stop_) {
    const uint64_t start = NowNs(), cpu_start = ThreadCpuNs();
    const uint64_t bytes = AllocatedBytes(path_);
    bytes_max_ = std::max(bytes_max_, bytes);
    bytes_sum_ += static_cast<double>(bytes);
    ++samples_;
    if (last != 0) gap_max_ns_ = std::max(gap_max_ns_, start - last);
    last = start;
    const uint64_t took = NowNs() - start, cpu_took = ThreadCpuNs() - cpu_start;
    Sleep(std::max(kSampleEveryNs - std::min(took, kSampleEveryNs), 9 * cpu_took));
  }
}

ClockWatcher::ClockWatcher() : thread_([this] { Run(); }) {}

void ClockWatcher::Stop() {
  stop_ = true;
  if (thread_.joinable()) thread_.join();
}

void ClockWatcher::Run() {
  for (uint64_t before = NowNs(); !stop_;) {
    Sleep(kMillisecondNs);
    const uint64_t now = NowNs();
    if (now - before > kShortestGapNs) gaps_.Add(before, now);
    before = now;
  }
}

uint64_t Gaps::longest_ns() const {
  uint64_t longest = 0;
  for (const Gap& gap : gaps_) longest = std::max(longest, gap.end_ns - gap.start_ns);
  return longest;
}

uint64_t Gaps::OverlapNs(uint64_t start_ns, uint64_t end_ns) const {
  uint64_t longest = 0;
  for (const Gap& gap : gaps_) {
    const uint64_t from = std::max(gap.start_ns, start_ns), to = std::min(gap.end_ns, end_ns);
    if (from < to) longest = std::max(longest, to - from);
  }
  return longest;
}

DiskWatcher::DiskWatcher(const std::string& path) : path_(path), thread_([this] { Run(); }) {}

void DiskWatcher::Stop() {
  if (!thread_.joinable()) return;
  stop_ = true;
  thread_.join();
}

void DiskWatcher::Run() {
  constexpr uint64_t kPauseNs = 10 * kMillisecondNs;
  const int fd = ::open(path_.c_str(), O_RDWR | O_CREAT | O_DIRECT | O_CLOEXEC, 0600);
  alignas(4096) const std::byte block[4096] = {};
  while (fd >= 0 && !stop_) {
    const uint64_t start = NowNs();
    if (::pwrite(fd, block, sizeof(block), 0) != static_cast<ssize_t>(sizeof(block))) break;
    const uint64_t end = NowNs();
    if (end - start > kShortestGapNs) gaps_.Add(start, end);
    Sleep(kPauseNs);
  }
  if (fd >= 0) ::close(fd);
  ::unlink(path_.c_str());
}

}  // namespace firn::bench
