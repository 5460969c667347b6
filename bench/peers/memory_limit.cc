#include "peers/memory_limit.h"

#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <fstream>

#include "support/child.h"
#include "support/device.h"
#include "support/workplace.h"

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

void WarmMemory(uint64_t bytes) {
  bytes = std::min(bytes, AvailableMemoryBytes() / 4 * 3);
  static_cast<void>(RunInChild([bytes]() -> absl::StatusOr<Figures> {
    void* const memory = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) return Figures{};
    static_cast<void>(::madvise(memory, bytes, MADV_HUGEPAGE));
    for (uint64_t at = 0; at < bytes; at += 4 * kKiB) static_cast<volatile char*>(memory)[at] = 1;
    return Figures{};
  }));
}

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
