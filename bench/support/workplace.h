// Where a benchmark works: a directory that goes away with it, on a machine that should do nothing else.
#pragma once

#include <cstdint>
#include <string>

namespace firn::bench {

inline constexpr uint64_t kKiB = 1'024;
inline constexpr uint64_t kMiB = kKiB * kKiB;
inline constexpr uint64_t kKeyBytes = 16;

class FreshDirectory {
 public:
  // Below `parent`, which is made if it is missing. Where that is not possible path() is empty and error() says why.
  FreshDirectory(const std::string& parent, const std::string& prefix);
  ~FreshDirectory();
  FreshDirectory(const FreshDirectory&) = delete;
  const std::string& path() const { return path_; }
  const std::string& error() const { return error_; }

 private:
  std::string path_, error_;
};

// On standard error, in the name of `program`.
void WarnIfBusy(const char* program);

}  // namespace firn::bench
