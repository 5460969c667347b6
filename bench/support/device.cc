#include "support/device.h"

#include <filesystem>
#include <fstream>
#include <sstream>

#include <sys/stat.h>
#include <sys/sysmacros.h>

namespace firn::bench {

uint64_t ProcessWrittenBytes() {
  std::ifstream io("/proc/self/io");
  uint64_t written = 0, cancelled = 0, number = 0;
  for (std::string name; io >> name >> number;) {
    if (name == "write_bytes:") written = number;
    if (name == "cancelled_write_bytes:") cancelled = number;
  }
  return written - cancelled;
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
