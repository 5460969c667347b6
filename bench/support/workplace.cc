#include "support/workplace.h"

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <thread>

namespace firn::bench {

FreshDirectory::FreshDirectory(const std::string& parent, const std::string& prefix)
    : path_(parent + "/" + prefix + "-XXXXXX") {
  std::error_code ignored;
  std::filesystem::create_directories(parent, ignored);
  if (::mkdtemp(path_.data()) != nullptr) return;
  error_ = "cannot make a directory in " + parent + ": " + std::strerror(errno);
  path_.clear();
}

FreshDirectory::~FreshDirectory() {
  std::error_code ignored;
  if (!path_.empty()) std::filesystem::remove_all(path_, ignored);
}

void WarnIfBusy(const char* program) {
  double load = 0;
  const unsigned cores = std::thread::hardware_concurrency();
  if (::getloadavg(&load, 1) != 1 || load < 0.5 * cores) return;
  std::fprintf(stderr, "%s: this machine is busy: load %.1f on %u cores; the figures will suffer\n", program, load,
               cores);
}

}  // namespace firn::bench
