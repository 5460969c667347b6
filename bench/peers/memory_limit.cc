#include "peers/memory_limit.h"

#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "support/device.h"

namespace firn::bench {
namespace {

// Version 2 of the interface, or the memory controller of version 1.
struct Interface {
  const char* root;
  const char* limit;
  const char* peak;
};
constexpr Interface kInterfaces[] = {{"/sys/fs/cgroup", "memory.max", "memory.peak"},
                                     {"/sys/fs/cgroup/memory", "memory.limit_in_bytes", "memory.max_usage_in_bytes"}};
constexpr const char* kPrefix = "firn-bench-";

std::string peak_file;

// To a file that is there: where the controller is not, the folder is an ordinary one.
bool Write(const std::string& path, const std::string& text) {
  std::fstream file(path, std::ios::in | std::ios::out);
  return static_cast<bool>(file << text << std::flush);
}

}  // namespace

bool LimitMemory(uint64_t bytes) {
  for (const Interface& each : kInterfaces) {
    const std::string folder = std::string(each.root) + "/" + kPrefix + std::to_string(::getpid());
    if (::mkdir(folder.c_str(), 0755) != 0) continue;
    if (Write(folder + "/" + each.limit, std::to_string(bytes)) &&
        Write(folder + "/cgroup.procs", std::to_string(::getpid()))) {
      peak_file = folder + "/" + each.peak;
      return true;
    }
    ::rmdir(folder.c_str());
  }
  return false;
}

uint64_t PeakMemoryBytes() {
  uint64_t peak = 0;
  if (std::ifstream file(peak_file); !peak_file.empty() && file >> peak) return peak;
  return PeakResidentBytes();
}

void RemoveMemoryLimits() {
  for (const Interface& each : kInterfaces) {
    std::error_code ignored;
    for (const auto& entry : std::filesystem::directory_iterator(each.root, ignored)) {
      if (entry.path().filename().string().starts_with(kPrefix)) ::rmdir(entry.path().c_str());
    }
  }
}

}  // namespace firn::bench
