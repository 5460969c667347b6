#include "support/device.h"

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <thread>

#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include "support/timing.h"

namespace firn::bench {
namespace {

// The number that follows `name` in a file of names and numbers; 0 if there is none.
uint64_t NumberIn(const char* path, std::string_view name) {
  std::ifstream file(path);
  for (std::string word; file >> word;) {
    uint64_t number = 0;
    if (word == name && file >> number) return number;
  }
  return 0;
}

// What a container may still take; all there is where nothing limits it.
uint64_t MemoryBelowLimit(const char* limit_path, const char* used_path) {
  uint64_t limit = 0, used = 0;
  // A file that says "max", as one that is not there, gives no number.
  if (!(std::ifstream(limit_path) >> limit) || !(std::ifstream(used_path) >> used)) return UINT64_MAX;
  return limit - std::min(limit, used);
}

}  // namespace

uint64_t ProcessWrittenBytes() {
  constexpr const char* kFile = "/proc/self/io";
  return NumberIn(kFile, "write_bytes:") - NumberIn(kFile, "cancelled_write_bytes:");
}

uint64_t PeakResidentBytes() {
  struct rusage usage {};
  ::getrusage(RUSAGE_SELF, &usage);
  return static_cast<uint64_t>(usage.ru_maxrss) * 1'024;
}

double WaitForRest(double quiet_seconds, double seconds_max, double cpu_share_max) {
  constexpr auto kPause = std::chrono::milliseconds(50);
  const auto began = SteadyClock::now();
  auto last_change = began, looked = began;
  uint64_t written = ProcessWrittenBytes();
  double cpu = CpuSeconds();
  while (SecondsSince(last_change) < quiet_seconds && SecondsSince(began) < seconds_max) {
    std::this_thread::sleep_for(kPause);
    const uint64_t written_now = ProcessWrittenBytes();
    const double cpu_now = CpuSeconds();
    const bool busy = cpu_now - cpu > cpu_share_max * SecondsSince(looked);
    looked = SteadyClock::now();
    if (written_now != written || busy) last_change = looked;
    written = written_now;
    cpu = cpu_now;
  }
  return std::chrono::duration<double>(last_change - began).count();
}

uint64_t AvailableMemoryBytes() {
  return std::min(
      {NumberIn("/proc/meminfo", "MemAvailable:") * 1'024,
       MemoryBelowLimit("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory.current"),
       MemoryBelowLimit("/sys/fs/cgroup/memory/memory.limit_in_bytes", "/sys/fs/cgroup/memory/memory.usage_in_bytes")});
}

uint64_t FreeDiskBytes(const std::string& path) {
  std::error_code error;
  const std::filesystem::space_info space = std::filesystem::space(path, error);
  return error ? 0 : space.available;
}

uint64_t DiskWrittenBytes(const std::string& path) {
  struct stat status;
  if (::stat(path.c_str(), &status) != 0) return 0;
  std::ifstream disks("/proc/diskstats");
  for (std::string line; std::getline(disks, line);) {
    unsigned major_number = 0, minor_number = 0;
    std::string name;
    uint64_t reads, reads_merged, sectors_read, read_ms, writes, writes_merged, sectors_written = 0;
    std::istringstream fields(line);
    fields >> major_number >> minor_number >> name >> reads >> reads_merged >> sectors_read >> read_ms >> writes >>
        writes_merged >> sectors_written;
    if (fields && makedev(major_number, minor_number) == status.st_dev) return sectors_written * 512;
  }
  return 0;
}

uint64_t AllocatedBytes(const std::string& path) {
  uint64_t bytes = 0;
  std::error_code error;
  // Files come and go meanwhile.
  std::filesystem::recursive_directory_iterator entry(path, error);
  while (!error && entry != std::filesystem::recursive_directory_iterator()) {
    struct stat status;
    if (::lstat(entry->path().c_str(), &status) == 0) bytes += static_cast<uint64_t>(status.st_blocks) * 512;
    entry.increment(error);
  }
  return bytes;
}

}  // namespace firn::bench
